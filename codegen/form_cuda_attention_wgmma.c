/* ATTENTION and ATTENTION_GRAD forms with operands of bf16 as CUDA C on wgmma, for sm_90a (Shah et al. 2024).

   A block has three warpgroups. One brings tiles by TMA, a thread of it; two compute, each for 64 of the block's 128
   rows, and take turns in asking for products, so that one has its softmax while the other's products are under way.
   Tiles are swizzled by 128 bytes: 64 columns of all rows, then the next 64. A barrier says that a tile is there, and
   another one that no warp needs it any more. The rest is as in form_cuda_attention_mma.c: weights stay in registers,
   where they are the first factor of the next product, each result is summed by one block, and the gradient has seven
   products.

   This tier is for vectors of 64 to 256 columns that lie in memory in whole units of 16 bytes, or are computed. */
#include <assert.h>

#include "codegen/form_cuda_attention_tensor.h"

/* ---- Tiles ------------------------------------------------------------------------------------------------------ */

/* Columns in a line of shared memory, threads that do not compute, and registers of theirs and of the others. */
enum { SLICE = 64, GROUP = 128, REGISTERS_OF_COPIES = 40, REGISTERS = 232 };
enum { LEAST_COLUMNS = 64, MOST_COLUMNS = 256, MAX_SHARED_BYTES = 227 * 1024 };

/* For vectors of up to 64, 128, 192 and 256 columns. Of a thread's 240 registers, sums, scores and weights need up to
   224; tiles fill up to 200 KiB of shared memory. */
static const AttentionTile tiles[ATTENTION_N_TASKS][4] = {
    [ATTENTION_FORWARD] = {{128, 128, 8, 2}, {128, 128, 8, 2}, {128, 64, 8, 2}, {128, 64, 8, 2}},
    [ATTENTION_OF_QUERIES] = {{128, 128, 8, 3}, {128, 64, 8, 3}, {128, 64, 8, 2}, {128, 32, 8, 2}},
    [ATTENTION_OF_KEYS] = {{128, 64, 8, 3}, {128, 64, 8, 3}, {128, 64, 8, 2}, {128, 32, 8, 2}},
};

static AttentionPrinter printer_of(CudaPrinter *cuda, AttentionTask task) {
    int64_t n_columns = cuda->base.form->body.indices[ATTENTION_COLUMN].extent;
    return attention_printer_new(cuda, task, tiles[task][(n_columns - 1) / SLICE], SLICE);
}

/* ---- Tensor maps ------------------------------------------------------------------------------------------------ */

static const int operands[] = {ATTENTION_Q, ATTENTION_K, ATTENTION_V, ATTENTION_DOUT};

static int n_operands(const Form *form) {
    return form->kind == FORM_KIND_ATTENTION ? 3 : 4;
}

/* Rows that one copy brings: of the smallest tile. */
static int box_rows(const Form *form) {
    int64_t n_columns = form->body.indices[ATTENTION_COLUMN].extent;
    int least = SLICE;
    for (int task = 0; task < ATTENTION_N_TASKS; task++) {
        const AttentionTile *tile = &tiles[task][(n_columns - 1) / SLICE];
        least = tile->n_others < least ? tile->n_others : least;
    }
    return least;
}

/* Column, position, head, sequence. */
static FormCudaMap map_of(const Form *form, int tensor) {
    static const int order[] = {ATTENTION_COLUMN, ATTENTION_POSITION, ATTENTION_HEAD, ATTENTION_SEQUENCE};
    const FormAccessMap *map = &form->attention.maps[tensor];
    const FormBody indices = form_attention_indices(form, tensor);
    FormCudaMap made = {.arg = map->arg, .offset = map->offset, .rank = ATTENTION_N_INDICES, .swizzle = 128};
    for (int i = 0; i < ATTENTION_N_INDICES; i++) {
        made.extents[i] = indices.indices[order[i]].extent;
        /* Of one element the stride is any that the copy engine takes. */
        made.strides[i] = made.extents[i] > 1 ? map->strides[order[i]] : i > 0 ? MOST_COLUMNS : 1;
        made.box[i] = i == 0 ? SLICE : i == 1 ? box_rows(form) : 1;
    }
    return made;
}

/* What is computed goes to scratch memory, where it has one. */
static bool has_map(const Form *form, int tensor, const bool *is_unaligned) {
    enum { UNIT = 8 };
    if (form->attention.bodies[tensor])
        return true;
    const FormCudaMap map = map_of(form, tensor);
    bool has = form->args[map.arg].dtype == DTYPE_BF16 && !(is_unaligned && is_unaligned[map.arg]) &&
               map.offset % UNIT == 0 && map.extents[0] % UNIT == 0;
    for (int i = 1; i < ATTENTION_N_INDICES; i++)
        has = has && map.strides[i] % UNIT == 0 && map.strides[i] > 0;
    return has;
}

bool cuda_attention_has_maps(const Form *form, const bool *is_unaligned) {
    int64_t n_columns = form->body.indices[ATTENTION_COLUMN].extent;
    bool has = cuda_attention_is_bf16(form) && n_columns >= LEAST_COLUMNS && n_columns <= MOST_COLUMNS;
    for (int i = 0; i < n_operands(form) && has; i++)
        has = has_map(form, operands[i], is_unaligned);
    return has;
}

/* ---- Copies ----------------------------------------------------------------------------------------------------- */

static int map_number(int tensor) {
    int i = 0;
    while ((int)operands[i] != tensor)
        i++;
    return i;
}

static bool has_stats(const AttentionPrinter *at) {
    return at->own[0] == ATTENTION_K;
}

/* How many bytes of shared memory come before the barriers. */
static int64_t barriers_at(const AttentionPrinter *at) {
    const AttentionTile *tile = &at->tile;
    int64_t n_rows = at->n_own * tile->n_rows + tile->n_stages * at->n_others * tile->n_others;
    int64_t n_stats = has_stats(at) ? tile->n_stages * 2 * tile->n_others : 0;
    int64_t n_bytes = n_rows * at->width * 2 + n_stats * 4, result_bytes = attention_result_bytes(at);
    return n_bytes > result_bytes ? n_bytes : result_bytes;
}

static const char barriers[] = "if (threadIdx.x == 0) {\n"
                               "    moec_barrier_init(is_own, 1);\n"
                               "    for (int i = 0; i < 2 * STAGES; i++) {\n"
                               "        moec_barrier_init(is_full + i, FILLERS);\n"
                               "        moec_barrier_init(is_free + i, WARPS);\n"
                               "    }\n"
                               "    for (int i = 0; i < WARPS / 4; i++)\n"
                               "        moec_barrier_init(turns + i, 4);\n"
                               "    moec_barrier_init_fence();\n"
                               "}\n"
                               "__syncthreads();\n";

/* Opens the kernel; up to where warpgroups part. */
static void open_kernel(const AttentionPrinter *at, const char *what, int n_products) {
    CPrinter *c = at->c;
    int n_barriers = 1 + 4 * at->tile.n_stages + at->tile.n_warps / 4;
    int64_t n_bytes = barriers_at(at), shared_bytes = n_bytes + n_barriers * 8;
    assert(shared_bytes <= MAX_SHARED_BYTES);
    attention_open_kernel(at, what, n_products, at->tile.n_warps * CUDA_WARP + GROUP, shared_bytes);
    c_line(c, "enum { OWN_TILE = ROWS * WIDTH * 2, TILE = OTHERS * WIDTH * 2, BOX = %d, FILLERS = %d };",
           box_rows(at->form), has_stats(at) ? 1 + CUDA_WARP : 1);
    c_line(c, "unsigned char *stages = shared + %d * OWN_TILE;", at->n_own);
    if (has_stats(at))
        c_line(c, "float *stats = (float *)(stages + STAGES * 2 * TILE);");
    c_line(c, "uint64_t *is_own = (uint64_t *)(shared + %lld), *is_full = is_own + 1, *is_free = is_full + 2 * STAGES;",
           (long long)n_bytes);
    c_line(c, "uint64_t *turns = is_free + 2 * STAGES;");
    c_text(c, barriers);
}

/* The thread that copies: the own tiles, then those of the others, in turns. */
static void print_copies(const AttentionPrinter *at, const char *next_head, const char *next_first) {
    CPrinter *c = at->c;
    c_open(c, "if (threadIdx.x == 0)");
    for (int i = 0; i < at->n_own; i++)
        c_line(c, "moec_tma_prefetch(maps + %d);", map_number(at->own[i]));
    for (int i = 0; i < at->n_others; i++)
        c_line(c, "moec_tma_prefetch(maps + %d);", map_number(at->others[i]));
    c_line(c, "moec_barrier_expect(is_own, %d * OWN_TILE);", at->n_own);
    for (int i = 0; i < at->n_own; i++)
        c_line(c, "moec_load_tile(shared + %d * OWN_TILE, maps + %d, first, h, b, ROWS, BOX, WIDTH, is_own);", i,
               map_number(at->own[i]));
    c_open(c, "for (int n = 0; n < n_tiles; n++)");
    c_line(c, "int stage = n %% STAGES, parity = n / STAGES %% 2, next_head = %s, next_first = %s;", next_head,
           next_first);
    for (int i = 0; i < at->n_others; i++) {
        c_line(c, "moec_barrier_wait(is_free + 2 * stage + %d, !parity);", i);
        c_line(c, "moec_barrier_expect(is_full + 2 * stage + %d, TILE);", i);
        c_line(c, "moec_load_tile(stages + (2 * stage + %d) * TILE, maps + %d, next_first, next_head, b, OTHERS, BOX,",
               i, map_number(at->others[i]));
        c_line(c, "               WIDTH, is_full + 2 * stage + %d);", i);
    }
    c_close(c);
    c_close(c);
}

/* Of the queries of a tile, another warp brings the logsumexps, to base 2, and the means. */
static const char stats[] =
    "if (threadIdx.x / 32 == 1) {\n"
    "    for (int n = 0; n < n_tiles; n++) {\n"
    "        int stage = n % STAGES, parity = n / STAGES % 2, query_head = h * SHARED + n % SHARED;\n"
    "        const float *x = all_logsumexp + b * LOGSUMEXP_B + query_head * LOGSUMEXP_H;\n"
    "        const float *y = scratch + (int64_t)(b * (HEADS * SHARED) + query_head) * T;\n"
    "        moec_barrier_wait(is_free + 2 * stage, !parity);\n"
    "        moec_barrier_wait(is_free + 2 * stage + 1, !parity);\n"
    "        for (int i = lane; i < OTHERS; i += 32) {\n"
    "            int query = first + n / SHARED * OTHERS + i;\n"
    "            stats[2 * stage * OTHERS + i] = query < T ? 1.44269504f * x[query * LOGSUMEXP_T] : 0.0f;\n"
    "            stats[(2 * stage + 1) * OTHERS + i] = query < T ? y[query] : 0.0f;\n"
    "        }\n"
    "        moec_barrier_arrive(is_full + 2 * stage);\n"
    "        moec_barrier_arrive(is_full + 2 * stage + 1);\n"
    "    }\n"
    "}\n";

/* The warpgroup that copies, and up to where the others begin. */
static void print_groups(const AttentionPrinter *at, const char *next_head, const char *next_first) {
    CPrinter *c = at->c;
    c_open(c, "if (threadIdx.x < %d)", GROUP);
    c_line(c, "MOEC_REGISTERS_DEC(%d);", REGISTERS_OF_COPIES);
    print_copies(at, next_head, next_first);
    if (has_stats(at))
        c_text(c, stats);
    c->depth--;
    c_open(c, "} else");
    c_line(c, "MOEC_REGISTERS_INC(%d);", REGISTERS);
    c_line(c, "int consumer = (int)__shfl_sync(0xffffffffu, threadIdx.x / %d, 0) - 1;", GROUP);
    c_line(c, "int warp = (int)threadIdx.x / 32 - 4;");
    c_line(c, "int warp_first = first + warp * 16;");
    for (int i = 0; i < at->n_own; i++)
        c_line(c, "uint64_t own_%s = moec_matrix_descriptor(shared + %d * OWN_TILE + consumer * 64 * 128, 0, 1024);",
               form_attention_name(at->own[i]), i);
}

/* ---- Products --------------------------------------------------------------------------------------------------- */

/* NAME, `scores` or `dscores` of the warpgroup's rows: own tensor `i` times other tensor `i` of the stage. */
static void print_scores(const AttentionPrinter *at, const char *name, int i, const char *stage) {
    CPrinter *c = at->c;
    const char *own = form_attention_name(at->own[i]), *others = form_attention_name(at->others[i]);
    c_line(c, "uint64_t others_%s = moec_matrix_descriptor(stages + (2 * (%s) + %d) * TILE, 0, 1024);", others, stage,
           i);
    c_line(c, "own_%s = moec_anew(own_%s);", own, own);
    c_line(c, "moec_wgmma_fence();");
    c_line(c, "#pragma unroll");
    c_line(c, "for (int k = 0; k < WIDTH / 16; k++)");
    c_line(c, "    moec_wgmma_n%d(%s, own_%s + (k / 4 * ROWS * 128 + k %% 4 * 32) / 16,", at->tile.n_others, name, own);
    c_line(c, "                    others_%s + (k / 4 * OTHERS * 128 + k %% 4 * 32) / 16, k > 0);", others);
    c_line(c, "moec_wgmma_commit();");
}

/* sums_NAME of a result, plus what is packed in PACKED times other tensor `i` of the stage. */
static void print_sums(const AttentionPrinter *at, int result, const char *packed, int i, const char *stage) {
    CPrinter *c = at->c;
    const char *name = form_attention_name(result), *others = form_attention_name(at->others[i]);
    c_line(c, "uint64_t across_%s = moec_matrix_descriptor(stages + (2 * (%s) + %d) * TILE, OTHERS * 128, 1024);",
           others, stage, i);
    c_line(c, "moec_wgmma_fence();");
    c_line(c, "#pragma unroll");
    c_line(c, "for (int k = 0; k < OTHERS / 16; k++)");
    c_line(c, "    moec_wgmma_n%d_ra_tb(sums_%s, %s + 4 * k, across_%s + k * 2048 / 16, 1);", at->width, name, packed,
           others);
    c_line(c, "moec_wgmma_commit();");
}

/* Until all groups of products but the last n are done; then NAME is there. */
static void print_wait(const AttentionPrinter *at, int n, const char *name, const char *n_elements) {
    c_line(at->c, "MOEC_WGMMA_WAIT(%d);", n);
    c_line(at->c, "moec_wgmma_hold(%s, %s);", name, n_elements);
}

static void print_full(const AttentionPrinter *at, int i, const char *n) {
    c_line(at->c, "moec_barrier_wait(is_full + 2 * ((%s) %% STAGES) + %d, (%s) / STAGES %% 2);", n, i, n);
}

/* All lanes have read what threads, not products, read of the tile. */
static void print_free(const AttentionPrinter *at, int i, const char *n) {
    if (has_stats(at))
        c_line(at->c, "__syncwarp();");
    c_line(at->c, "if (lane == 0)");
    c_line(at->c, "    moec_barrier_arrive(is_free + 2 * ((%s) %% STAGES) + %d);", n, i);
}

/* ---- Queries ---------------------------------------------------------------------------------------------------- */

static const char queries_mask[] = "int s = seen + n * OTHERS;\n"
                                   "if (s + OTHERS - 1 > warp_first || s <= warp_first + 15 - WINDOW)\n"
                                   "    moec_hide_keys(scores, warp_first - s, WINDOW, BANDS, OTHERS);\n";

static const char forward_start[] =
    "float sums_out[N_SUMS] = {0}, maximum[2] = {-1e30f, -1e30f}; /* above what is not seen */\n"
    "float sum[2] = {0}, change[2];\n"
    "uint32_t packed[N_SCORES / 2];\n"
    "int turn = consumer == 0; /* the parity of the next one */\n"
    "moec_barrier_wait(is_own, 0);\n";

static void print_turn(const AttentionPrinter *at) {
    c_line(at->c, "moec_barrier_wait(turns + consumer, turn);");
    c_line(at->c, "turn = !turn;");
}

static void print_next_turn(const AttentionPrinter *at) {
    c_line(at->c, "if (lane == 0)");
    c_line(at->c, "    moec_barrier_arrive(turns + (consumer + 1) %% (WARPS / 4));");
}

/* What is done with the scores of tile n: the weights, not packed yet. */
static void print_softmax(const AttentionPrinter *at) {
    print_free(at, 0, "n");
    attention_print_scaled_scores(at);
    c_text(at->c, queries_mask);
    c_line(at->c, "moec_softmax(scores, maximum, sum, change, factor, BANDS, OTHERS);");
}

/* The first scores stand alone, and so do the last products with values: between them, scores of a tile are asked for
   with the products of the one before, and their softmax goes on while these do. */
static void print_forward_loop(const AttentionPrinter *at) {
    CPrinter *c = at->c;
    c_line(c, "{");
    c->depth++;
    c_line(c, "const int n = 0;");
    c_line(c, "float scores[N_SCORES];");
    print_full(at, 0, "n");
    print_turn(at);
    print_scores(at, "scores", 0, "n % STAGES");
    print_next_turn(at);
    print_wait(at, 0, "scores", "N_SCORES");
    print_softmax(at);
    c_line(c, "moec_pack_scores(packed, scores, N_SCORES);");
    c_close(c);
    c_open(c, "for (int n = 1; n < n_tiles; n++)");
    c_line(c, "float scores[N_SCORES];");
    print_full(at, 0, "n");
    print_full(at, 1, "n - 1");
    print_turn(at);
    print_scores(at, "scores", 0, "n % STAGES");
    print_sums(at, ATTENTION_OUT, "packed", 1, "(n - 1) % STAGES");
    print_next_turn(at);
    print_wait(at, 1, "scores", "N_SCORES");
    print_softmax(at);
    print_wait(at, 0, "sums_out", "N_SUMS");
    print_free(at, 1, "n - 1");
    c_line(c, "if (moec_rows_change(change, BANDS))");
    c_line(c, "    moec_scale_rows(sums_out, change, BANDS, WIDTH);");
    c_line(c, "moec_pack_scores(packed, scores, N_SCORES);");
    c_close(c);
    print_full(at, 1, "n_tiles - 1");
    print_sums(at, ATTENTION_OUT, "packed", 1, "(n_tiles - 1) % STAGES");
    print_wait(at, 0, "sums_out", "N_SUMS");
}

static void print_forward(CudaPrinter *cuda) {
    AttentionPrinter at = printer_of(cuda, ATTENTION_FORWARD);
    open_kernel(&at, "Softmax of queries times keys, times values", 2);
    c_text(at.c, attention_seen_keys);
    print_groups(&at, "h / SHARED", "seen + n * OTHERS");
    c_text(at.c, forward_start);
    print_forward_loop(&at);
    c_text(at.c, attention_forward_end);
    attention_print_results(&at, "moec_named_barrier(1, WARPS * 32)");
    c_close(at.c);
    c_close(at.c);
}

static const char queries_weights[] = "#pragma unroll\n"
                                      "for (int i = 0; i < N_SCORES; i++)\n"
                                      "    scores[i] = moec_exp2(factor * scores[i] - lowered[i / 2 % 2]);\n";

static const char queries_products[] = "#pragma unroll\n"
                                       "for (int i = 0; i < N_SCORES; i++)\n"
                                       "    dscores[i] = scores[i] * (dscores[i] - mean[i / 2 % 2]);\n"
                                       "moec_pack_scores(packed, dscores, N_SCORES);\n";

/* From scores of tile n to the gradients of them, packed. */
static void print_queries_tile(const AttentionPrinter *at, bool is_first) {
    CPrinter *c = at->c;
    c_line(c, "float scores[N_SCORES], dscores[N_SCORES];");
    print_full(at, 0, "n");
    print_full(at, 1, "n");
    if (!is_first)
        print_sums(at, ATTENTION_DQ, "packed", 0, "(n - 1) % STAGES");
    print_scores(at, "scores", 0, "n % STAGES");
    print_scores(at, "dscores", 1, "n % STAGES");
    print_wait(at, 1, "scores", "N_SCORES");
    if (!is_first)
        print_free(at, 0, "n - 1");
    attention_print_scaled_scores(at);
    c_text(c, queries_mask);
    c_text(c, queries_weights);
    print_wait(at, 0, "dscores", "N_SCORES");
    print_free(at, 1, "n");
    c_text(c, queries_products);
}

/* `tile` for the first tile, and for those behind it, with products for the one before. */
static void print_loop(const AttentionPrinter *at, void (*tile)(const AttentionPrinter *at, bool is_first)) {
    CPrinter *c = at->c;
    c_line(c, "{");
    c->depth++;
    c_line(c, "const int n = 0;");
    tile(at, true);
    c_close(c);
    c_open(c, "for (int n = 1; n < n_tiles; n++)");
    tile(at, false);
    c_close(c);
}

static void print_of_queries(CudaPrinter *cuda) {
    AttentionPrinter at = printer_of(cuda, ATTENTION_OF_QUERIES);
    CPrinter *c = at.c;
    open_kernel(&at, "Gradients of queries, and out . dout of each", 3);
    c_text(c, attention_seen_keys);
    print_groups(&at, "h / SHARED", "seen + n * OTHERS");
    attention_print_means(&at);
    c_line(c, "float sums_dq[N_SUMS] = {0};");
    c_line(c, "uint32_t packed[N_SCORES / 2];");
    c_line(c, "moec_barrier_wait(is_own, 0);");
    print_loop(&at, print_queries_tile);
    print_sums(&at, ATTENTION_DQ, "packed", 0, "(n_tiles - 1) % STAGES");
    print_wait(&at, 0, "sums_dq", "N_SUMS");
    attention_print_scaled_sums(&at, ATTENTION_DQ);
    attention_print_results(&at, "moec_named_barrier(1, WARPS * 32)");
    c_close(c);
    c_close(c);
}

/* ---- Keys ------------------------------------------------------------------------------------------------------- */

/* The lane's columns are queries. */
static const char keys_weights[] = "int s = first + n / SHARED * OTHERS;\n"
                                   "if (s < warp_first + 15 || s + OTHERS > warp_first + WINDOW || s + OTHERS > T)\n"
                                   "    moec_hide_queries(scores, s - warp_first, T - s, WINDOW, BANDS, OTHERS);\n"
                                   "const float *x = stats + n % STAGES * 2 * OTHERS + lane % 4 * 2;\n"
                                   "#pragma unroll\n"
                                   "for (int i = 0; i < N_SCORES; i++)\n"
                                   "    scores[i] = moec_exp2(factor * scores[i] - x[i / 4 * 8 + i % 2]);\n";

static const char keys_products[] = "#pragma unroll\n"
                                    "for (int i = 0; i < N_SCORES; i++)\n"
                                    "    dscores[i] = scores[i] * (dscores[i] - x[OTHERS + i / 4 * 8 + i % 2]);\n";

/* With the weights as values' products take them, which need half the registers. */
static const char keys_products_of_packed[] =
    "#pragma unroll\n"
    "for (int i = 0; i < N_SCORES; i++)\n"
    "    dscores[i] = moec_widen(packed[i / 2] >> i % 2 * 16) * (dscores[i] - x[OTHERS + i / 4 * 8 + i % 2]);\n";

static void print_keys_sums(const AttentionPrinter *at, const char *stage) {
    if (attention_has_result(at, ATTENTION_DV))
        print_sums(at, ATTENTION_DV, "packed", 1, stage);
    if (attention_has_result(at, ATTENTION_DK))
        print_sums(at, ATTENTION_DK, "dpacked", 0, stage);
}

/* From scores of tile n to weights, and to gradients of scores, packed. Products of these are asked for with the next
   scores: sums, scores, their gradients and what is packed would need more registers than there are. */
static void print_keys_tile(const AttentionPrinter *at, bool is_first) {
    CPrinter *c = at->c;
    bool has_keys = attention_has_result(at, ATTENTION_DK), has_values = attention_has_result(at, ATTENTION_DV);
    c_line(c, "float scores[N_SCORES]%s;", has_keys ? ", dscores[N_SCORES]" : "");
    print_full(at, 0, "n");
    if (!is_first)
        print_keys_sums(at, "(n - 1) % STAGES");
    print_scores(at, "scores", 0, "n % STAGES");
    print_full(at, 1, "n");
    print_wait(at, 0, "scores", "N_SCORES");
    if (!is_first) {
        print_free(at, 0, "n - 1");
        print_free(at, 1, "n - 1");
    }
    if (has_keys)
        print_scores(at, "dscores", 1, "n % STAGES");
    attention_print_scaled_scores(at);
    c_text(c, keys_weights);
    if (has_values)
        c_line(c, "moec_pack_scores(packed, scores, N_SCORES);");
    if (!has_keys)
        return;
    print_wait(at, 0, "dscores", "N_SCORES");
    c_text(c, has_values ? keys_products_of_packed : keys_products);
    c_line(c, "moec_pack_scores(dpacked, dscores, N_SCORES);");
}

static void print_of_keys(const AttentionPrinter *at, const char *what) {
    CPrinter *c = at->c;
    bool has_keys = attention_has_result(at, ATTENTION_DK), has_values = attention_has_result(at, ATTENTION_DV);
    open_kernel(at, what, 1 + 2 * has_keys + has_values);
    c_text(c, attention_seen_queries);
    print_groups(at, "h * SHARED + n % SHARED", "first + n / SHARED * OTHERS");
    for (int i = 0; i < at->n_results; i++)
        c_line(c, "float sums_%s[N_SUMS] = {0};", form_attention_name(at->results[i]));
    if (has_values)
        c_line(c, "uint32_t packed[N_SCORES / 2];");
    if (has_keys)
        c_line(c, "uint32_t dpacked[N_SCORES / 2];");
    c_line(c, "moec_barrier_wait(is_own, 0);");
    print_loop(at, print_keys_tile);
    print_keys_sums(at, "(n_tiles - 1) % STAGES");
    for (int i = 0; i < at->n_results; i++)
        print_wait(at, 0, arena_printf(c->arena, "sums_%s", form_attention_name(at->results[i])), "N_SUMS");
    if (has_keys)
        attention_print_scaled_sums(at, ATTENTION_DK);
    attention_print_results(at, "moec_named_barrier(1, WARPS * 32)");
    c_close(c);
    c_close(c);
}

/* ---- Forms ------------------------------------------------------------------------------------------------------ */

void cuda_print_attention_wgmma(CudaPrinter *cuda) {
    static const AttentionPrinters printers = {printer_of, print_forward, print_of_queries, print_of_keys};
    attention_start(cuda);
    const Form *form = cuda->base.form;
    for (int i = 0; i < n_operands(form); i++)
        cuda_add_map(cuda, map_of(form, operands[i]));
    attention_print_kernels(cuda, &printers);
}
