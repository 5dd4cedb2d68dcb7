/* Attention on tensor cores: what the kernels of both tiers share. */
#include "codegen/form_cuda_attention_tensor.h"

const char *const cuda_attention_tensor_names[] = {
    "all_",       "b",        "h",          "i",       "j",          "k",        "n",       "row",       "column",
    "first",      "seen",     "seen_end",   "lane",    "warp",       "rest",     "tile",    "head",      "first_head",
    "n_together", "n_tiles",  "next",       "stage",   "stages",     "own",      "own_",    "next_head", "next_first",
    "warp_first", "others",   "others_",    "s",       "is_whole",   "scores",   "maximum", "sum",       "change",
    "shares",     "packed",   "position",   "query",   "query_head", "scale",    "factor",  "lowered",   "means",
    "stats",      "mean",     "sums_",      "dscores", "staged_",    "x",        "y",       "low",       "high",
    "from",       "shared",   "is_full",    "is_free", "is_own",     "turns",    "turn",    "dpacked",   "across_",
    "FILLERS",    "consumer", "parity",     "last",    "weights",    "T",        "HEADS",   "SHARED",    "WINDOW",
    "ROWS",       "OTHERS",   "WARPS",      "BANDS",   "THREADS",    "STAGES",   "WIDTH",   "LINE",      "TILE",
    "OWN_TILE",   "N_TILES",  "N_HEADS",    "N_SUMS",  "TOGETHER",   "N_SCORES", "D",       "UNITS",     "unit",
    "block",      "all",      "part",       "Q_",      "K_",         "V_",       "OUT_",    "DOUT_",     "DQ_",
    "DK_",        "DV_",      "LOGSUMEXP_", "BOX",     "CONSUMERS",  NULL};

enum { UNIT = 8 }; /* elements in 16 bytes */

/* ---- Tensors ---------------------------------------------------------------------------------------------------- */

int64_t attention_extent(const AttentionPrinter *at, int index) {
    return at->form->body.indices[index].extent;
}

const FormAccessMap *attention_map(const AttentionPrinter *at, int tensor) {
    return &at->form->attention.maps[tensor];
}

bool attention_has_body(const AttentionPrinter *at, int tensor) {
    return at->form->attention.bodies[tensor] != NULL;
}

/* Whether it was computed to scratch memory: the argument behind all others. */
static bool is_scratch(const AttentionPrinter *at, int tensor) {
    return attention_map(at, tensor)->arg == at->form->n_args;
}

/* Of a tensor without a body. */
static DType dtype_of(const AttentionPrinter *at, int tensor) {
    return is_scratch(at, tensor) ? DTYPE_BF16 : at->form->args[attention_map(at, tensor)->arg].dtype;
}

bool attention_is_bf16(const AttentionPrinter *at, int tensor) {
    return !attention_has_body(at, tensor) && dtype_of(at, tensor) == DTYPE_BF16;
}

bool attention_has_units(const AttentionPrinter *at, int tensor) {
    const FormAccessMap *map = attention_map(at, tensor);
    return attention_is_bf16(at, tensor) && (is_scratch(at, tensor) || cuda_is_aligned(at->cuda, map->arg)) &&
           attention_extent(at, ATTENTION_COLUMN) % UNIT == 0 && map->offset % UNIT == 0 &&
           map->strides[ATTENTION_SEQUENCE] % UNIT == 0 && map->strides[ATTENTION_POSITION] % UNIT == 0 &&
           map->strides[ATTENTION_HEAD] % UNIT == 0;
}

const char *attention_upper_case(const AttentionPrinter *at, int tensor) {
    return form_upper_case(at->c, form_attention_name(tensor));
}

const char *attention_vector(const AttentionPrinter *at, int tensor, const char *head, const char *position) {
    const char *upper = attention_upper_case(at, tensor);
    return arena_printf(at->c->arena, "all_%s + b * %s_B + %s * %s_H + (%s) * %s_T", form_attention_name(tensor), upper,
                        head, upper, position, upper);
}

/* "form_q(x, y, (b * T + position) * 4 + h, column": a call of the function of the tensor's body, but for its end. */
static const char *call_text(const AttentionPrinter *at, int tensor, const char *head, const char *position,
                             const char *column) {
    const FormBody indices = form_attention_indices(at->form, tensor);
    return arena_printf(at->c->arena, "%s_%s(%s, ((%s)b * T + (%s)) * %lld + %s, %s", at->form->name,
                        form_attention_name(tensor), cuda_arguments_text(at->cuda), at->cuda->int_type, position,
                        (long long)indices.indices[ATTENTION_HEAD].extent, head, column);
}

const char *attention_element(const AttentionPrinter *at, int tensor, const char *head, const char *position,
                              const char *column) {
    if (attention_has_body(at, tensor))
        return arena_printf(at->c->arena, "%s)", call_text(at, tensor, head, position, column));
    const char *vector = attention_vector(at, tensor, head, position);
    return arena_printf(at->c->arena, attention_is_bf16(at, tensor) ? "moec_widen((%s)[%s])" : "(%s)[%s]", vector,
                        column);
}

/* `const uint16_t *all_q = q + 64;` and Q_B, Q_T, Q_H, from a sequence, a position or a head to the next. */
static void print_tensor(const AttentionPrinter *at, int tensor) {
    CPrinter *c = at->c;
    const FormAccessMap *map = attention_map(at, tensor);
    const char *upper = attention_upper_case(at, tensor);
    const char *offset = map->offset > 0 ? arena_printf(c->arena, " + %lld", (long long)map->offset) : "";
    const char *arg = is_scratch(at, tensor) ? "(const uint16_t *)scratch" : at->cuda->base.arg_names[map->arg];
    c_line(c, "%s%s *all_%s = %s%s;", tensor >= form_attention_first_result(at->form) ? "" : "const ",
           c_type(dtype_of(at, tensor)), form_attention_name(tensor), arg, offset);
    c_line(c, "const int64_t %s_B = %lld, %s_T = %lld, %s_H = %lld;", upper,
           (long long)map->strides[ATTENTION_SEQUENCE], upper, (long long)map->strides[ATTENTION_POSITION], upper,
           (long long)map->strides[ATTENTION_HEAD]);
}

/* ---- Factors that are computed ---------------------------------------------------------------------------------- */

static const int factors[] = {ATTENTION_Q, ATTENTION_K, ATTENTION_V, ATTENTION_DOUT};
enum { N_FACTORS = sizeof factors / sizeof *factors };

static void print_bodies(CudaPrinter *cuda) {
    const Form *form = cuda->base.form;
    for (int i = 0; i < form_attention_n_tensors(form); i++) {
        const FormBody *body = form->attention.bodies[i];
        const char *name = arena_printf(cuda->base.c->arena, "%s_%s", form->name, form_attention_name(i));
        if (body && form_attention_is_result(form, i))
            cuda_print_result(cuda, body, name);
        else if (body)
            cuda_print_element(cuda, body, name);
    }
}

/* Units of a row of the tensor. */
static int64_t n_units(const Form *form) {
    return (form->body.indices[ATTENTION_COLUMN].extent + UNIT - 1) / UNIT;
}

/* Room for the tensor's rows, (sequence, position, head), each in whole units. */
static FormAccessMap add_room(CudaPrinter *cuda, const FormBody *indices) {
    static const int order[] = {ATTENTION_HEAD, ATTENTION_POSITION, ATTENTION_SEQUENCE};
    FormAccessMap map = {.arg = (uint32_t)cuda->base.form->n_args, .gather = FORM_NONE};
    int64_t stride = n_units(cuda->base.form) * UNIT;
    map.strides[ATTENTION_COLUMN] = 1;
    for (int i = 0; i < 3; i++) {
        map.strides[order[i]] = stride;
        stride *= indices->indices[order[i]].extent;
    }
    map.offset = cuda_add_scratch(cuda, stride / 2) * 2; /* floats, of two elements */
    return map;
}

void attention_start(CudaPrinter *cuda) {
    Form *form = arena_new_of(cuda->base.c->arena, Form);
    *form = *cuda->base.form;
    print_bodies(cuda);
    cuda->base.form = form;
    if (form->kind == FORM_KIND_ATTENTION_GRAD) {
        const FormBody indices = form_attention_indices(form, ATTENTION_LOGSUMEXP);
        cuda_add_scratch(cuda, form_n_rows(&indices));
    }
    for (int i = 0; i < N_FACTORS; i++) {
        const FormBody indices = form_attention_indices(form, factors[i]);
        if ((int)factors[i] >= form_attention_n_tensors(form) || !form->attention.bodies[factors[i]])
            continue;
        form->attention.maps[factors[i]] = add_room(cuda, &indices);
        form->attention.bodies[factors[i]] = NULL;
    }
}

static bool is_computed(const Form *form, int tensor) {
    return tensor < form_attention_n_tensors(form) && form->attention.maps[tensor].arg == form->n_args;
}

static int64_t n_part_units(const Form *form, int tensor) {
    const FormBody indices = form_attention_indices(form, tensor);
    return form_n_rows(&indices) * n_units(form);
}

static int64_t n_part_blocks(const Form *form, int tensor) {
    return is_computed(form, tensor) ? (n_part_units(form, tensor) + CUDA_THREADS - 1) / CUDA_THREADS : 0;
}

/* A thread computes a unit; `block` counts from the tensor's first. */
static void print_part(CudaPrinter *cuda, int tensor) {
    CPrinter *c = cuda->base.c;
    const Form *form = cuda->base.form;
    const char *element = arena_printf(c->arena, "%s_%s(%s, row, column", form->name, form_attention_name(tensor),
                                       cuda_arguments_text(cuda));
    c_open(c, "if (block >= 0 && block * %d + (int)threadIdx.x < %lld)", CUDA_THREADS,
           (long long)n_part_units(form, tensor));
    c_line(c, "int64_t unit = block * %d + (int)threadIdx.x, row = unit / UNITS, column = unit %% UNITS * %d;",
           CUDA_THREADS, UNIT);
    c_line(c, "uint32_t packed[%d];", UNIT / 2);
    c_line(c, "#pragma unroll");
    c_open(c, "for (int i = 0; i < %d; i++, column += 2)", UNIT / 2);
    c_line(c, "float low = column < D ? %s) : 0.0f;", element);
    c_line(c, "float high = column + 1 < D ? %s + 1) : 0.0f;", element);
    c_line(c, "packed[i] = moec_bf16x2(low, high);");
    c_close(c);
    c_line(c, "uint4 all = {packed[0], packed[1], packed[2], packed[3]};");
    c_line(c, "*(uint4 *)MOEC_ALIGNED((uint16_t *)scratch + %lld + unit * %d) = all;",
           (long long)form->attention.maps[tensor].offset, UNIT);
    c_close(c);
}

static void print_parts(CudaPrinter *cuda) {
    CPrinter *c = cuda->base.c;
    const Form *form = cuda->base.form;
    int64_t n_blocks = 0;
    for (int i = 0; i < N_FACTORS; i++)
        n_blocks += n_part_blocks(form, factors[i]);
    if (n_blocks == 0)
        return;
    cuda_open_kernel(cuda, n_blocks, CUDA_THREADS);
    c_comment(c, "Factors that are computed, rounded to bf16");
    c_line(c, "enum { D = %lld, UNITS = %lld };", (long long)form->body.indices[ATTENTION_COLUMN].extent,
           (long long)n_units(form));
    c_line(c, "int64_t block = (int64_t)blockIdx.x;");
    for (int i = 0; i < N_FACTORS; i++) {
        if (!is_computed(form, factors[i]))
            continue;
        print_part(cuda, factors[i]);
        c_line(c, "block -= %lld;", (long long)n_part_blocks(form, factors[i]));
    }
    c_close(c);
}

/* ---- Kernels ---------------------------------------------------------------------------------------------------- */

AttentionPrinter attention_printer_new(CudaPrinter *cuda, AttentionTask task, AttentionTile tile, int unit) {
    static const int own[][2] = {[ATTENTION_FORWARD] = {ATTENTION_Q},
                                 [ATTENTION_OF_QUERIES] = {ATTENTION_Q, ATTENTION_DOUT},
                                 [ATTENTION_OF_KEYS] = {ATTENTION_K, ATTENTION_V}};
    static const int others[][2] = {[ATTENTION_FORWARD] = {ATTENTION_K, ATTENTION_V},
                                    [ATTENTION_OF_QUERIES] = {ATTENTION_K, ATTENTION_V},
                                    [ATTENTION_OF_KEYS] = {ATTENTION_Q, ATTENTION_DOUT}};
    static const int results[][2] = {[ATTENTION_FORWARD] = {ATTENTION_OUT},
                                     [ATTENTION_OF_QUERIES] = {ATTENTION_DQ},
                                     [ATTENTION_OF_KEYS] = {ATTENTION_DK, ATTENTION_DV}};
    const Form *form = cuda->base.form;
    const FormIndex *indices = form->body.indices;
    int64_t n_shared = task == ATTENTION_OF_KEYS ? form->attention.n_shared : 1;
    AttentionPrinter at = {.cuda = cuda,
                           .c = cuda->base.c,
                           .form = form,
                           .tile = tile,
                           .n_heads = indices[ATTENTION_HEAD].extent / n_shared,
                           .width = (int)((indices[ATTENTION_COLUMN].extent + unit - 1) / unit * unit),
                           .n_own = task == ATTENTION_FORWARD ? 1 : 2,
                           .n_others = 2,
                           .n_results = task == ATTENTION_OF_KEYS ? 2 : 1};
    for (int i = 0; i < 2; i++) {
        at.own[i] = own[task][i];
        at.others[i] = others[task][i];
        at.results[i] = results[task][i];
    }
    return at;
}

static bool contains(const int *list, int n, int tensor) {
    int i = 0;
    while (i < n && list[i] != tensor)
        i++;
    return i < n;
}

bool attention_has_result(const AttentionPrinter *at, int tensor) {
    return contains(at->results, at->n_results, tensor);
}

/* Whether the kernel names it. */
static bool is_used(const AttentionPrinter *at, int tensor) {
    return contains(at->own, at->n_own, tensor) || contains(at->others, at->n_others, tensor) ||
           contains(at->results, at->n_results, tensor) || tensor == ATTENTION_LOGSUMEXP ||
           (tensor == ATTENTION_OUT && attention_has_result(at, ATTENTION_DQ));
}

static int64_t n_row_tiles(const AttentionPrinter *at) {
    return (attention_extent(at, ATTENTION_POSITION) + at->tile.n_rows - 1) / at->tile.n_rows;
}

/* Pairs of a query and a key that it sees, in all heads. */
static double n_pairs(const AttentionPrinter *at) {
    double length = (double)attention_extent(at, ATTENTION_POSITION), window = (double)at->form->attention.window;
    double n = window * (window + 1) / 2 + (length - window) * window;
    return n * (double)(attention_extent(at, ATTENTION_SEQUENCE) * attention_extent(at, ATTENTION_HEAD));
}

static double n_bytes(const AttentionPrinter *at) {
    double n = 0;
    for (int i = 0; i < form_attention_n_tensors(at->form); i++) {
        FormBody body = form_attention_indices(at->form, i);
        DType dtype = attention_is_bf16(at, i) ? DTYPE_BF16 : DTYPE_F32;
        if (is_used(at, i))
            n += (double)(form_n_rows(&body) * form_n_cols(&body)) * (double)dtype_size(dtype);
    }
    return n;
}

static void print_heading(const AttentionPrinter *at, const char *what, int n_products) {
    long long n_columns = (long long)attention_extent(at, ATTENTION_COLUMN);
    c_comment(at->c, arena_printf(
                         at->c->arena,
                         "%s: %lld sequences of %lld positions, which see %lld; %lld heads, %lld of which share keys, "
                         "of %lld columns; %.3g FLOPs, at least %.3g bytes",
                         what, (long long)attention_extent(at, ATTENTION_SEQUENCE),
                         (long long)attention_extent(at, ATTENTION_POSITION), (long long)at->form->attention.window,
                         (long long)attention_extent(at, ATTENTION_HEAD), (long long)at->form->attention.n_shared,
                         n_columns, n_pairs(at) * 2 * n_products * (double)n_columns, n_bytes(at)));
}

/* Heads whose blocks run side by side, so that what these read again is in the level 2 cache. */
static int64_t n_together(const AttentionPrinter *at) {
    enum { CACHE_BYTES = 16 << 20, OF_PAIR = 2 * 2 /* two tensors of two bytes */ };
    int64_t n_shared = at->form->attention.n_shared;
    int64_t of_vectors = OF_PAIR * attention_extent(at, ATTENTION_POSITION) * at->width;
    bool is_of_keys = at->own[0] == ATTENTION_K;
    int64_t n = CACHE_BYTES / (is_of_keys ? of_vectors * n_shared : of_vectors);
    n = (n < 1 ? 1 : n) * (is_of_keys ? 1 : n_shared);
    int64_t all = attention_extent(at, ATTENTION_SEQUENCE) * at->n_heads;
    return n < all ? n : all;
}

static void print_sizes(const AttentionPrinter *at) {
    CPrinter *c = at->c;
    const FormAttention *attention = &at->form->attention;
    const AttentionTile *tile = &at->tile;
    c_line(c, "enum { T = %lld, HEADS = %lld, D = %lld, SHARED = %lld, WINDOW = %lld };",
           (long long)attention_extent(at, ATTENTION_POSITION), (long long)at->n_heads,
           (long long)attention_extent(at, ATTENTION_COLUMN), (long long)attention->n_shared,
           (long long)attention->window);
    c_line(c, "enum { ROWS = %d, OTHERS = %d, WARPS = %d, STAGES = %d, WIDTH = %d };", tile->n_rows, tile->n_others,
           tile->n_warps, tile->n_stages, at->width);
    c_line(c, "enum { BANDS = ROWS / WARPS / 16, N_SCORES = BANDS * OTHERS / 2, N_SUMS = BANDS * WIDTH / 2 };");
    c_line(c, "enum { N_TILES = (T + ROWS - 1) / ROWS, N_HEADS = %lld, TOGETHER = %lld };",
           (long long)attention_extent(at, ATTENTION_SEQUENCE) * at->n_heads, (long long)n_together(at));
    for (int i = 0; i < form_attention_n_tensors(at->form); i++) {
        if (is_used(at, i) && !attention_has_body(at, i))
            print_tensor(at, i);
    }
}

int64_t attention_result_bytes(const AttentionPrinter *at) {
    return (int64_t)at->tile.n_rows * (at->width + 4) * (int64_t)sizeof(float);
}

/* ---- Scales ----------------------------------------------------------------------------------------------------- */

/* Weights are 2^(factor score - ..), the factor positive, so that the largest score has the largest weight: where the
   scale is not, scores are multiplied by it first. */
static bool has_plain_scores(const AttentionPrinter *at) {
    return at->form->attention.scale > 0;
}

static void print_scale(const AttentionPrinter *at) {
    static const double log2_e = 1.4426950408889634;
    double scale = at->form->attention.scale;
    c_line(at->c, "const float scale = %s, factor = %s;", c_literal(at->c, DTYPE_F32, scale),
           c_literal(at->c, DTYPE_F32, has_plain_scores(at) ? scale * log2_e : log2_e));
}

static void print_scaled(const AttentionPrinter *at, const char *values, const char *n) {
    c_line(at->c, "#pragma unroll");
    c_line(at->c, "for (int i = 0; i < %s; i++)", n);
    c_line(at->c, "    %s[i] *= scale;", values);
}

void attention_print_scaled_scores(const AttentionPrinter *at) {
    if (!has_plain_scores(at))
        print_scaled(at, "scores", "N_SCORES");
}

void attention_print_scaled_sums(const AttentionPrinter *at, int tensor) {
    print_scaled(at, arena_printf(at->c->arena, "sums_%s", form_attention_name(tensor)), "N_SUMS");
}

/* ---- Rows ------------------------------------------------------------------------------------------------------- */

static const char block[] =
    "int first_head = (int)blockIdx.x / (N_TILES * TOGETHER) * TOGETHER;\n"
    "int n_together = N_HEADS - first_head < TOGETHER ? N_HEADS - first_head : TOGETHER;\n"
    "int rest = (int)blockIdx.x - first_head * N_TILES, head = first_head + rest % n_together;\n"
    "int b = head / HEADS, h = head % HEADS, lane = (int)threadIdx.x % 32;\n";

void attention_open_kernel(const AttentionPrinter *at, const char *what, int n_products, int n_threads,
                           int64_t shared_bytes) {
    CPrinter *c = at->c;
    FormCuda *out = at->cuda->out;
    cuda_open_kernel(at->cuda, attention_extent(at, ATTENTION_SEQUENCE) * at->n_heads * n_row_tiles(at), n_threads);
    out->launches[out->n_launches - 1].shared_bytes = shared_bytes;
    print_heading(at, what, n_products);
    print_sizes(at);
    print_scale(at);
    c_text(c, block);
    c_line(c, "int first = (%s) * ROWS; /* the longest work first */",
           at->own[0] == ATTENTION_K ? "rest / n_together" : "N_TILES - 1 - rest / n_together");
    c_line(c, "MOEC_DYNAMIC_SHARED(shared);");
}

const char attention_seen_keys[] =
    "int seen = first < WINDOW ? 0 : first - WINDOW + 1, seen_end = first + ROWS < T ? first + ROWS : T;\n"
    "int n_tiles = (seen_end - seen + OTHERS - 1) / OTHERS;\n";

const char attention_seen_queries[] = "int seen_end = first + ROWS - 1 + WINDOW < T ? first + ROWS - 1 + WINDOW : T;\n"
                                      "int n_tiles = SHARED * ((seen_end - first + OTHERS - 1) / OTHERS);\n";

/* ---- Forward ---------------------------------------------------------------------------------------------------- */

const char attention_forward_end[] =
    "float shares[2 * BANDS];\n"
    "#pragma unroll\n"
    "for (int i = 0; i < 2 * BANDS; i++) {\n"
    "    int query = warp_first + i / 2 * 16 + i % 2 * 8 + lane / 4;\n"
    "    sum[i] = moec_lanes_sum(sum[i], 4);\n"
    "    shares[i] = 1.0f / sum[i];\n"
    "    if (query < T && lane % 4 == 0)\n"
    "        all_logsumexp[b * LOGSUMEXP_B + h * LOGSUMEXP_H + query * LOGSUMEXP_T] =\n"
    "            0.693147181f * factor * maximum[i] + logf(sum[i]);\n"
    "}\n"
    "moec_scale_rows(sums_out, shares, BANDS, WIDTH);\n";

/* ---- Backward --------------------------------------------------------------------------------------------------- */

static const char means_end[] = "    mean[i] = moec_lanes_sum(mean[i], 4);\n"
                                "    lowered[i] = query < T ? 1.44269504f * all_logsumexp[b * LOGSUMEXP_B + h * "
                                "LOGSUMEXP_H + query * LOGSUMEXP_T]\n"
                                "                           : 0.0f;\n"
                                "    if (query < T && lane % 4 == 0)\n"
                                "        scratch[(int64_t)head * T + query] = mean[i];\n"
                                "}\n";

/* Four lanes have a row together, and what is in memory of it they read once. */
void attention_print_means(const AttentionPrinter *at) {
    CPrinter *c = at->c;
    c_line(c, "float mean[2 * BANDS] = {0}, lowered[2 * BANDS];");
    c_line(c, "#pragma unroll");
    c_line(c, "for (int i = 0; i < 2 * BANDS; i++) {");
    c->depth++;
    c_line(c, "int query = warp_first + i / 2 * 16 + i %% 2 * 8 + lane / 4;");
    if (attention_has_units(at, ATTENTION_OUT) && attention_has_units(at, ATTENTION_DOUT)) {
        c_line(c, "const uint16_t *x = %s;", attention_vector(at, ATTENTION_OUT, "h", "query"));
        c_line(c, "const uint16_t *y = %s;", attention_vector(at, ATTENTION_DOUT, "h", "query"));
        c_line(c, "for (int j = lane %% 4 * 8; j < D && query < T; j += 32)");
        c_line(c, "    mean[i] += moec_dot_bf16(x + j, y + j);");
    } else {
        c_line(c, "for (int j = lane %% 4; j < D && query < T; j += 4)");
        c_line(c, "    mean[i] += %s *", attention_element(at, ATTENTION_OUT, "h", "query", "j"));
        c_line(c, "               %s;", attention_element(at, ATTENTION_DOUT, "h", "query", "j"));
    }
    c->depth--;
    c_text(c, means_end);
}

/* ---- Results ---------------------------------------------------------------------------------------------------- */

static void print_result(const AttentionPrinter *at, int tensor) {
    CPrinter *c = at->c;
    const char *name = form_attention_name(tensor), *upper = attention_upper_case(at, tensor);
    if (attention_has_units(at, tensor)) {
        c_line(c, "moec_store_tile(%s, %s_T, T - warp_first, D, (uint16_t *)shared + warp * 16 * BANDS * (WIDTH + 8),",
               attention_vector(at, tensor, "h", "warp_first"), upper);
        c_line(c, "                sums_%s, BANDS, WIDTH);", name);
        return;
    }
    c_line(c, "float *staged_%s = (float *)shared + warp * 16 * BANDS * (WIDTH + 4);", name);
    c_line(c, "moec_spread_sums(staged_%s, sums_%s, BANDS, WIDTH);", name, name);
    c_open(c, "for (int i = lane; i < 16 * BANDS * D; i += 32)");
    c_line(c, "int position = warp_first + i / D, column = i %% D;");
    c_line(c, "const float *x = staged_%s + i / D * (WIDTH + 4);", name);
    c_line(c, "if (position < T)");
    if (attention_has_body(at, tensor))
        c_line(c, "    %s, x);", call_text(at, tensor, "h", "position", "column"));
    else
        c_line(c, "    (%s)[column] = %s;", attention_vector(at, tensor, "h", "position"),
               attention_is_bf16(at, tensor) ? "moec_narrow(x[column])" : "x[column]");
    c_close(c);
}

void attention_print_results(const AttentionPrinter *at, const char *barrier) {
    for (int i = 0; i < at->n_results; i++) {
        c_line(at->c, "%s;", barrier);
        print_result(at, at->results[i]);
    }
}

/* ---- Kernels ---------------------------------------------------------------------------------------------------- */

/* Instead of both results of ATTENTION_OF_KEYS just one. */
static void choose_result(AttentionPrinter *at, int result) {
    at->n_results = 1;
    at->results[0] = result;
    at->n_own = result == ATTENTION_DV ? 1 : 2; /* gradients of values do not depend on these */
}

static void print_gradient(CudaPrinter *cuda, const AttentionPrinters *printers) {
    enum { MOST_COLUMNS_OF_BOTH = 128 }; /* whose sums of keys and of values fit in a warp's registers */
    printers->print_of_queries(cuda);
    AttentionPrinter of_keys = printers->printer_of(cuda, ATTENTION_OF_KEYS);
    if (of_keys.width <= MOST_COLUMNS_OF_BOTH) {
        printers->print_of_keys(&of_keys, "Gradients of keys and values");
        return;
    }
    choose_result(&of_keys, ATTENTION_DK);
    printers->print_of_keys(&of_keys, "Gradients of keys");
    choose_result(&of_keys, ATTENTION_DV);
    printers->print_of_keys(&of_keys, "Gradients of values");
}

void attention_print_kernels(CudaPrinter *cuda, const AttentionPrinters *printers) {
    print_parts(cuda);
    if (cuda->base.form->kind == FORM_KIND_ATTENTION)
        printers->print_forward(cuda);
    else
        print_gradient(cuda, printers);
}
