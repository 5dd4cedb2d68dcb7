/* ATTENTION and ATTENTION_GRAD forms with operands of bf16 as CUDA C on mma.m16n8k16, for sm_80 and later.

   A block has a tile of rows of its own, queries or keys, and goes through tiles of the others that these see, which
   cp.async brings while the ones before are multiplied (Dao 2023). A warp has some of the block's rows; scores and
   weights stay in its registers, where those of one product are the first factor of the next, and results are summed
   there. Scores are taken to base 2. Each result is summed by one block, in one order, which costs the gradient seven
   products instead of five: queries first, which leave out . dout of each in scratch memory, then keys. */
#include <assert.h>

#include "codegen/form_cuda_attention_tensor.h"

/* ---- Tiles ------------------------------------------------------------------------------------------------------ */

/* For vectors of up to 64, 128 and 256 columns. Two blocks and more fit in a processor, but for those of 256 columns;
   no thread needs more than the 255 registers that there are. Devices of compute capability 8.6 and 8.9 give a block
   99 KiB of shared memory. */
enum { MAX_SHARED_BYTES = 99 * 1024 };
static const AttentionTile tiles[ATTENTION_N_TASKS][3] = {
    [ATTENTION_FORWARD] = {{128, 64, 4, 2}, {128, 32, 4, 2}, {64, 32, 4, 2}},
    [ATTENTION_OF_QUERIES] = {{128, 32, 4, 2}, {64, 32, 4, 2}, {64, 16, 4, 2}},
    [ATTENTION_OF_KEYS] = {{64, 64, 4, 2}, {64, 32, 4, 2}, {64, 16, 4, 2}},
};

static AttentionPrinter printer_of(CudaPrinter *cuda, AttentionTask task) {
    int64_t n_columns = cuda->base.form->body.indices[ATTENTION_COLUMN].extent;
    return attention_printer_new(cuda, task, tiles[task][n_columns <= 64 ? 0 : n_columns <= 128 ? 1 : 2], 16);
}

/* ---- Copying tiles ---------------------------------------------------------------------------------------------- */

/* To n_rows lines at `to`, zeros behind the last position and column. What does not lie in units of 16 bytes, or is
   computed, comes through registers. */
static void print_copy(const AttentionPrinter *at, int tensor, const char *to, const char *head, const char *first,
                       const char *n_rows) {
    CPrinter *c = at->c;
    if (attention_has_units(at, tensor)) {
        c_line(c, "moec_copy_tile(%s, %s, %s_T, T - (%s), %s, D, WIDTH, WARPS * 32);", to,
               attention_vector(at, tensor, head, first), attention_upper_case(at, tensor), first, n_rows);
        return;
    }
    const char *low = attention_element(at, tensor, head, "position", "column");
    const char *high = attention_element(at, tensor, head, "position", "column + 1");
    c_open(c, "for (int i = (int)threadIdx.x; i < %s * WIDTH / 2; i += WARPS * 32)", n_rows);
    c_line(c, "int row = i / (WIDTH / 2), column = i %% (WIDTH / 2) * 2, position = %s + row;", first);
    c_line(c, "float low = position < T && column < D ? %s : 0.0f;", low);
    c_line(c, "float high = position < T && column + 1 < D ? %s : 0.0f;", high);
    c_line(c, "*(uint32_t *)(%s + row * LINE + column) = moec_bf16x2(low, high);", to);
    c_close(c);
}

/* Opens the kernel; up to the first copy. */
static void open_kernel(const AttentionPrinter *at, const char *what, int n_products) {
    CPrinter *c = at->c;
    const AttentionTile *tile = &at->tile;
    int n_lines = at->n_own * tile->n_rows + tile->n_stages * at->n_others * tile->n_others;
    int64_t tile_bytes = (int64_t)n_lines * (at->width + 8) * 2, result_bytes = attention_result_bytes(at);
    int64_t shared_bytes = tile_bytes > result_bytes ? tile_bytes : result_bytes;
    assert(shared_bytes <= MAX_SHARED_BYTES);
    attention_open_kernel(at, what, n_products, tile->n_warps * CUDA_WARP, shared_bytes);
    c_line(c, "enum { LINE = WIDTH + 8, TILE = OTHERS * LINE };");
    c_line(c, "int warp = (int)threadIdx.x / 32, warp_first = first + warp * 16 * BANDS;");
    c_line(c, "uint16_t *own = (uint16_t *)shared, *stages = own + %d * ROWS * LINE;", at->n_own);
    for (int i = 0; i < at->n_own; i++)
        print_copy(at, at->own[i], i == 0 ? "own" : "own + ROWS * LINE", "h", "first", "ROWS");
}

/* Opens the loop over the others' tiles, n of n_tiles: there is one at `others`, and the next are on their way. Of a
   tile that is copied `next_head` is the head, and `next_first` the first position. */
static void open_loop(const AttentionPrinter *at, const char *next_head, const char *next_first) {
    CPrinter *c = at->c;
    c_open(c, "for (int n = 1 - STAGES; n < n_tiles; n++)");
    c_open(c, "if (n >= 0)");
    c_line(c, "MOEC_COPY_ASYNC_WAIT(%d);", at->tile.n_stages - 2);
    c_line(c, "__syncthreads();");
    c_close(c);
    c_line(c, "int next = n + STAGES - 1;");
    c_open(c, "if (next < n_tiles)");
    c_line(c, "uint16_t *stage = stages + next %% STAGES * (2 * TILE);");
    c_line(c, "int next_head = %s, next_first = %s;", next_head, next_first);
    for (int i = 0; i < at->n_others; i++)
        print_copy(at, at->others[i], i == 0 ? "stage" : "stage + TILE", "next_head", "next_first", "OTHERS");
    c_close(c);
    c_line(c, "moec_copy_async_commit();");
    c_line(c, "if (n < 0)");
    c_line(c, "    continue;");
    c_line(c, "const uint16_t *others = stages + n %% STAGES * (2 * TILE);");
}

/* ---- Queries ---------------------------------------------------------------------------------------------------- */

/* Keys [s, s + OTHERS): the warp's rows see none of them, all, or some. */
static const char queries_scores[] =
    "int s = seen + n * OTHERS;\n"
    "if (s >= warp_first + 16 * BANDS || s + OTHERS <= warp_first - WINDOW + 1)\n"
    "    continue;\n"
    "bool is_whole = s + OTHERS - 1 <= warp_first && s > warp_first + 16 * BANDS - 1 - WINDOW;\n"
    "float scores[N_SCORES];\n"
    "uint32_t packed[N_SCORES / 2];\n"
    "moec_scores(scores, own + warp * 16 * BANDS * LINE, others, BANDS, OTHERS, WIDTH);\n";

static const char queries_mask[] = "if (!is_whole)\n"
                                   "    moec_hide_keys(scores, warp_first - s, WINDOW, BANDS, OTHERS);\n";

static const char forward_start[] =
    "float sums_out[N_SUMS] = {0}, maximum[2 * BANDS], sum[2 * BANDS] = {0}; /* of the lane's rows */\n"
    "#pragma unroll\n"
    "for (int i = 0; i < 2 * BANDS; i++)\n"
    "    maximum[i] = -1e30f; /* above what is not seen */\n";

static const char forward_products[] = "float change[2 * BANDS];\n"
                                       "moec_softmax(scores, maximum, sum, change, factor, BANDS, OTHERS);\n"
                                       "if (moec_rows_change(change, BANDS))\n"
                                       "    moec_scale_rows(sums_out, change, BANDS, WIDTH);\n"
                                       "moec_pack_scores(packed, scores, N_SCORES);\n"
                                       "moec_add_others(sums_out, packed, others + TILE, BANDS, OTHERS, WIDTH);\n";

static void print_forward(CudaPrinter *cuda) {
    AttentionPrinter at = printer_of(cuda, ATTENTION_FORWARD);
    open_kernel(&at, "Softmax of queries times keys, times values", 2);
    c_text(at.c, attention_seen_keys);
    c_text(at.c, forward_start);
    open_loop(&at, "h / SHARED", "seen + next * OTHERS");
    c_text(at.c, queries_scores);
    attention_print_scaled_scores(&at);
    c_text(at.c, queries_mask);
    c_text(at.c, forward_products);
    c_close(at.c);
    c_text(at.c, attention_forward_end);
    attention_print_results(&at, "__syncthreads()");
    c_close(at.c);
}

static const char queries_products[] =
    "float dscores[N_SCORES];\n"
    "moec_scores(dscores, own + (ROWS + warp * 16 * BANDS) * LINE, others + TILE, BANDS, OTHERS, WIDTH);\n"
    "#pragma unroll\n"
    "for (int i = 0; i < N_SCORES; i++) {\n"
    "    int row = i / (OTHERS / 2) * 2 + i / 2 % 2;\n"
    "    dscores[i] = moec_exp2(factor * scores[i] - lowered[row]) * (dscores[i] - mean[row]);\n"
    "}\n"
    "moec_pack_scores(packed, dscores, N_SCORES);\n"
    "moec_add_others(sums_dq, packed, others, BANDS, OTHERS, WIDTH);\n";

static void print_of_queries(CudaPrinter *cuda) {
    AttentionPrinter at = printer_of(cuda, ATTENTION_OF_QUERIES);
    open_kernel(&at, "Gradients of queries, and out . dout of each", 3);
    c_text(at.c, attention_seen_keys);
    c_line(at.c, "float sums_dq[N_SUMS] = {0};");
    attention_print_means(&at);
    open_loop(&at, "h / SHARED", "seen + next * OTHERS");
    c_text(at.c, queries_scores);
    attention_print_scaled_scores(&at);
    c_text(at.c, queries_mask);
    c_text(at.c, queries_products);
    c_close(at.c);
    attention_print_scaled_sums(&at, ATTENTION_DQ);
    attention_print_results(&at, "__syncthreads()");
    c_close(at.c);
}

/* ---- Keys ------------------------------------------------------------------------------------------------------- */

/* Queries [s, s + OTHERS): of the warp's keys they see none, all, or some. */
static const char keys_scores[] =
    "int query_head = h * SHARED + n % SHARED, s = first + n / SHARED * OTHERS, last = warp_first + 16 * BANDS - 1;\n"
    "if (s + OTHERS <= warp_first || s > last + WINDOW - 1)\n"
    "    continue;\n"
    "bool is_whole = s >= last && s + OTHERS <= warp_first + WINDOW && s + OTHERS <= T;\n"
    "float scores[N_SCORES];\n"
    "uint32_t packed[N_SCORES / 2];\n"
    "moec_scores(scores, own + warp * 16 * BANDS * LINE, others, BANDS, OTHERS, WIDTH);\n";

/* The lane's columns are queries. */
static const char keys_weights[] = "if (!is_whole)\n"
                                   "    moec_hide_queries(scores, s - warp_first, T - s, WINDOW, BANDS, OTHERS);\n"
                                   "const float *stats = all_logsumexp + b * LOGSUMEXP_B + query_head * LOGSUMEXP_H;\n"
                                   "#pragma unroll\n"
                                   "for (int j = 0; j < OTHERS / 4; j++) {\n"
                                   "    int query = s + j / 2 * 8 + lane % 4 * 2 + j % 2;\n"
                                   "    float lowered = query < T ? 1.44269504f * stats[query * LOGSUMEXP_T] : 0.0f;\n"
                                   "    #pragma unroll\n"
                                   "    for (int i = j / 2 * 4 + j % 2; i < N_SCORES; i += OTHERS / 2) {\n"
                                   "        scores[i] = moec_exp2(factor * scores[i] - lowered);\n"
                                   "        scores[i + 2] = moec_exp2(factor * scores[i + 2] - lowered);\n"
                                   "    }\n"
                                   "}\n";

static const char keys_values[] = "moec_pack_scores(packed, scores, N_SCORES);\n"
                                  "moec_add_others(sums_dv, packed, others + TILE, BANDS, OTHERS, WIDTH);\n";

static const char keys_products[] =
    "float dscores[N_SCORES];\n"
    "moec_scores(dscores, own + (ROWS + warp * 16 * BANDS) * LINE, others + TILE, BANDS, OTHERS, WIDTH);\n"
    "const float *means = scratch + (int64_t)(b * (HEADS * SHARED) + query_head) * T;\n"
    "#pragma unroll\n"
    "for (int j = 0; j < OTHERS / 4; j++) {\n"
    "    int query = s + j / 2 * 8 + lane % 4 * 2 + j % 2;\n"
    "    float mean = query < T ? means[query] : 0.0f;\n"
    "    #pragma unroll\n"
    "    for (int i = j / 2 * 4 + j % 2; i < N_SCORES; i += OTHERS / 2) {\n"
    "        dscores[i] = scores[i] * (dscores[i] - mean);\n"
    "        dscores[i + 2] = scores[i + 2] * (dscores[i + 2] - mean);\n"
    "    }\n"
    "}\n"
    "moec_pack_scores(packed, dscores, N_SCORES);\n"
    "moec_add_others(sums_dk, packed, others, BANDS, OTHERS, WIDTH);\n";

static void print_of_keys(const AttentionPrinter *at, const char *what) {
    CPrinter *c = at->c;
    bool has_keys = attention_has_result(at, ATTENTION_DK), has_values = attention_has_result(at, ATTENTION_DV);
    open_kernel(at, what, 1 + 2 * has_keys + has_values);
    c_text(c, attention_seen_queries);
    for (int i = 0; i < at->n_results; i++)
        c_line(c, "float sums_%s[N_SUMS] = {0};", form_attention_name(at->results[i]));
    open_loop(at, "h * SHARED + next % SHARED", "first + next / SHARED * OTHERS");
    c_text(c, keys_scores);
    attention_print_scaled_scores(at);
    c_text(c, keys_weights);
    if (has_values)
        c_text(c, keys_values);
    if (has_keys)
        c_text(c, keys_products);
    c_close(c);
    if (has_keys)
        attention_print_scaled_sums(at, ATTENTION_DK);
    attention_print_results(at, "__syncthreads()");
    c_close(c);
}

/* ---- Forms ------------------------------------------------------------------------------------------------------ */

void cuda_print_attention_mma(CudaPrinter *cuda) {
    static const AttentionPrinters printers = {printer_of, print_forward, print_of_queries, print_of_keys};
    attention_start(cuda);
    attention_print_kernels(cuda, &printers);
}

bool cuda_attention_is_bf16(const Form *form) {
    static const int operands[] = {ATTENTION_Q, ATTENTION_K, ATTENTION_V, ATTENTION_DOUT};
    int n = form->kind == FORM_KIND_ATTENTION ? 3 : 4, n_bf16 = 0, n_parts = 0;
    for (int i = 0; i < n; i++) {
        bool is_part = form->attention.bodies[operands[i]] != NULL;
        n_parts += is_part;
        n_bf16 += !is_part && form->args[form->attention.maps[operands[i]].arg].dtype == DTYPE_BF16;
    }
    return n_bf16 > 0 && n_bf16 + n_parts == n;
}
