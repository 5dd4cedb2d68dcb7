/* ATTENTION and ATTENTION_GRAD forms as CUDA C, in floats. A block has a tile of queries, or of keys, and goes through
   the tiles of the others that these see (Dao et al. 2022); scores of one tile are all that is in memory. A thread has
   one row of the block's own tile, some of the tile's scores and some columns of the results. The gradient is in three
   kernels, so that each result is summed by one block, in one order: out . dout of each query, dk and dv, dq. Elements
   of operands with parts are computed on the way to shared memory, where results with bodies wait for these. */
#include "codegen/form_cuda_internal.h"

const char *const cuda_attention_names[] = {"all_",
                                            "b",
                                            "d",
                                            "first",
                                            "g",
                                            "h",
                                            "i",
                                            "j",
                                            "key",
                                            "key_rows",
                                            "keys",
                                            "k_row",
                                            "dkey",
                                            "dquery",
                                            "dvalue",
                                            "douts",
                                            "dscore",
                                            "dscores",
                                            "dweight",
                                            "factors",
                                            "is_query",
                                            "is_seen",
                                            "end",
                                            "before",
                                            "maximum",
                                            "mean",
                                            "means",
                                            "n",
                                            "number",
                                            "part",
                                            "q_row",
                                            "queries",
                                            "query",
                                            "row",
                                            "row_scores",
                                            "s",
                                            "score",
                                            "scores",
                                            "seen",
                                            "sum",
                                            "t",
                                            "tile",
                                            "value_rows",
                                            "values",
                                            "weight",
                                            "weights",
                                            "x",
                                            "y",
                                            "scale",
                                            "B",
                                            "T",
                                            "D",
                                            "HEADS",
                                            "SHARED",
                                            "WINDOW",
                                            "ROWS",
                                            "OTHERS",
                                            "N_TILES",
                                            "LINE",
                                            "THREADS",
                                            "PARTS",
                                            "N_OWN",
                                            "N_QUERIES",
                                            "Q_",
                                            "K_",
                                            "V_",
                                            "OUT_",
                                            "LOGSUMEXP_",
                                            "DOUT_",
                                            "DQ_",
                                            "DK_",
                                            "DV_",
                                            "logsumexp_rows",
                                            NULL};

enum { N_THREADS = 128 };

/* Rows of a tile, so that those of a block, with a column more so that lanes read different banks, fit in 48 KiB. */
static int64_t tile_rows(int64_t n_columns, int64_t least, int64_t most) {
    int64_t n = n_columns <= 64 ? most : n_columns <= 128 ? most / 2 : most / 4;
    return n < least ? least : n;
}

const char *cuda_refuse_attention(Arena *arena, const Form *form) {
    enum { MAX_COLUMNS = 256 };
    int64_t n_columns = form->body.indices[ATTENTION_COLUMN].extent;
    return n_columns <= MAX_COLUMNS
               ? NULL
               : arena_printf(arena, "form %s: the CUDA C of attention has heads of at most %d columns, not %lld",
                              form->name, MAX_COLUMNS, (long long)n_columns);
}

/* ---- What all kernels begin with -------------------------------------------------------------------------------- */

static int64_t extent_of(const CudaPrinter *at, int index) {
    return at->base.form->body.indices[index].extent;
}

/* Of those of the tensors that the kernel uses: const float *all_q = q; and Q_B, Q_T, Q_H, from a sequence, a position
   or a head to the next. */
static void print_tensors(CudaPrinter *at, unsigned used) {
    CPrinter *c = at->base.c;
    const Form *form = at->base.form;
    for (int i = 0; i < form_attention_n_tensors(form); i++) {
        const FormAccessMap *map = &form->attention.maps[i];
        const char *name = form_attention_name(i), *upper = form_upper_case(c, name);
        const char *offset = map->offset > 0 ? arena_printf(c->arena, " + %lld", (long long)map->offset) : "";
        if (!(used >> i & 1) || form->attention.bodies[i])
            continue;
        c_line(c, "%sfloat *all_%s = %s%s;", i >= form_attention_first_result(form) ? "" : "const ", name,
               at->base.arg_names[map->arg], offset);
        c_line(c, "const int64_t %s_B = %lld, %s_T = %lld, %s_H = %lld;", upper,
               (long long)map->strides[ATTENTION_SEQUENCE], upper, (long long)map->strides[ATTENTION_POSITION], upper,
               (long long)map->strides[ATTENTION_HEAD]);
    }
}

/* B sequences of T positions, HEADS query heads of D columns, SHARED of which share a head of keys and values. ROWS: of
   the block's own tile; OTHERS: of the tiles that it goes through; PARTS: threads that have one row together. */
static void print_sizes(CudaPrinter *at, int64_t n_rows, int64_t n_others, unsigned used) {
    CPrinter *c = at->base.c;
    const FormAttention *attention = &at->base.form->attention;
    c_line(c, "enum { T = %lld, HEADS = %lld, D = %lld, SHARED = %lld, WINDOW = %lld };",
           (long long)extent_of(at, ATTENTION_POSITION), (long long)extent_of(at, ATTENTION_HEAD),
           (long long)extent_of(at, ATTENTION_COLUMN), (long long)attention->n_shared, (long long)attention->window);
    c_line(c, "enum { ROWS = %lld, OTHERS = %lld, N_TILES = (T + ROWS - 1) / ROWS, LINE = D + 1 };", (long long)n_rows,
           (long long)n_others);
    c_line(c, "enum { THREADS = %d, PARTS = THREADS / ROWS, N_OWN = (D + PARTS - 1) / PARTS };", N_THREADS);
    print_tensors(at, used);
}

/* The tensors but those that `unused` names. */
static unsigned tensors_but(const CudaPrinter *at, unsigned unused) {
    return ((1u << form_attention_n_tensors(at->base.form)) - 1) & ~unused;
}

/* Blocks have heads, a tile of each. */
static void open_kernel(CudaPrinter *at, int64_t n_heads, int64_t n_rows, int64_t n_others, unsigned used) {
    int64_t n_tiles = (extent_of(at, ATTENTION_POSITION) + n_rows - 1) / n_rows;
    cuda_open_kernel(at, extent_of(at, ATTENTION_SEQUENCE) * n_heads * n_tiles, N_THREADS);
    print_sizes(at, n_rows, n_others, used);
    c_line(at->base.c, "const float scale = %s;", c_literal(at->base.c, DTYPE_F32, at->base.form->attention.scale));
}

/* ---- Tensors with bodies ---------------------------------------------------------------------------------------- */

static bool has_kv_heads(const Form *form, int tensor) {
    return form_attention_indices(form, tensor).indices[ATTENTION_HEAD].extent <
           form->body.indices[ATTENTION_HEAD].extent;
}

/* An element of a part, as a function of its row and column; and rows of it to lines of shared memory, of which n are
   there and the rest is 0, which the block has together. */
static void print_part(CudaPrinter *at, int tensor) {
    CPrinter *c = at->base.c;
    const Form *form = at->base.form;
    const char *name = arena_printf(c->arena, "%s_%s", form->name, form_attention_name(tensor));
    const FormBody indices = form_attention_indices(form, tensor);
    long long n_columns = (long long)indices.indices[ATTENTION_COLUMN].extent;
    cuda_print_element(at, form->attention.bodies[tensor], name);
    c_open(c, "MOEC_DEVICE void %s_rows(%s, float *to_, %s first_, int n_, int n_rows_)", name,
           cuda_parameters_text(at), at->int_type);
    c_open(c, "for (int i_ = (int)threadIdx.x; i_ < n_rows_ * %lld; i_ += %d)", n_columns, N_THREADS);
    c_line(c, "int row_ = i_ / %lld, col_ = i_ %% %lld;", n_columns, n_columns);
    c_line(c, "to_[row_ * %lld + col_] = row_ < n_ ? %s(%s, first_ + row_ * %lld, col_) : 0.0f;", n_columns + 1, name,
           cuda_arguments_text(at), (long long)indices.indices[ATTENTION_HEAD].extent);
    c_close(c);
    c_close(c);
    c_text(c, "\n");
}

/* Before the first kernel. */
static void print_bodies(CudaPrinter *at) {
    const Form *form = at->base.form;
    for (int i = 0; i < form_attention_n_tensors(form); i++) {
        const FormBody *body = form->attention.bodies[i];
        const char *name = arena_printf(at->base.c->arena, "%s_%s", form->name, form_attention_name(i));
        if (body && form_attention_is_result(form, i))
            cuda_print_result(at, body, name);
        else if (body)
            print_part(at, i);
    }
}

/* "x, y": what a kernel hands to the functions above. */
static const char *arguments_text(const FormPrinter *at) {
    const char *text = "";
    for (size_t i = 0; i < at->form->n_args; i++)
        text = arena_printf(at->c->arena, "%s%s%s", text, i > 0 ? ", " : "", at->arg_names[i]);
    return text;
}

/* Given b, h, t: where a row is, or, of a part, element d of it. With a tile and its number of rows: the copying of
   rows from t on. With a row of a result: what the body does with element d of it. */
static const char *tensor_text(const FormPrinter *at, int tensor, const char *const *given) {
    CPrinter *c = at->c;
    const Form *form = at->form;
    const char *name = form_attention_name(tensor), *upper = form_upper_case(c, name);
    const char *b = given[0], *h = given[1], *t = given[2];
    const char *place =
        arena_printf(c->arena, "all_%s + %s * %s_B + %s * %s_H + %s * %s_T", name, b, upper, h, upper, t, upper);
    const char *row = arena_printf(c->arena, "(%s * T + %s) * %s + %s", b, t,
                                   has_kv_heads(form, tensor) ? "(HEADS / SHARED)" : "HEADS", h);
    bool has_body = form->attention.bodies[tensor] != NULL;
    if (!has_body && given[3])
        return arena_printf(c->arena, "moec_copy_rows(%s, %s, %s_T, T - %s, %s, D, THREADS)", given[3], place, upper, t,
                            given[4]);
    if (!has_body)
        return place;
    const char *call = arena_printf(c->arena, "%s_%s", form->name, name), *arguments = arguments_text(at);
    if (form_attention_is_result(form, tensor))
        return arena_printf(c->arena, "%s(%s, %s, d, %s)", call, arguments, row, given[3]);
    return given[3]
               ? arena_printf(c->arena, "%s_rows(%s, %s, %s, T - %s, %s)", call, arguments, given[3], row, t, given[4])
               : arena_printf(c->arena, "%s(%s, %s, d)", call, arguments, row);
}

static void print_text(const CudaPrinter *at, const char *text) {
    form_print_filled(&at->base, text, tensor_text);
}

static const char thread[] = "int row = (int)threadIdx.x % ROWS, part = (int)threadIdx.x / ROWS;\n";

/* ---- Forward ---------------------------------------------------------------------------------------------------- */

static const char forward[] =
    "int tile = N_TILES - 1 - (int)blockIdx.x % N_TILES; /* the longest work first */\n"
    "int h = (int)blockIdx.x / N_TILES % HEADS, b = (int)blockIdx.x / (N_TILES * HEADS), first = tile * ROWS;\n"
    "MOEC_SHARED float queries[ROWS * LINE], keys[OTHERS * LINE], scores[ROWS * (OTHERS + 1)], factors[ROWS];\n"
    "int g = h / SHARED;\n"
    "$q(b, h, first, queries, ROWS);\n"
    "float mean[N_OWN] = {0}, maximum = -FLT_MAX / 2, sum = 0.0f; /* above what is not seen */\n"
    "int t = first + row, seen = first < WINDOW ? 0 : first - WINDOW + 1;\n"
    "for (int s = seen; s < first + ROWS && s < T; s += OTHERS) {\n"
    "    __syncthreads();\n"
    "    $k(b, g, s, keys, OTHERS);\n"
    "    __syncthreads();\n"
    "    for (int j = part; j < OTHERS; j += PARTS) {\n"
    "        bool is_seen = s + j <= t && s + j > t - WINDOW;\n"
    "        float score = scale * moec_dot(queries + row * LINE, keys + j * LINE, D);\n"
    "        scores[row * (OTHERS + 1) + j] = is_seen ? score : -INFINITY;\n"
    "    }\n"
    "    __syncthreads();\n"
    "    $v(b, g, s, keys, OTHERS);\n"
    "    if (part == 0) {\n"
    "        float before = maximum, *row_scores = scores + row * (OTHERS + 1);\n"
    "        for (int j = 0; j < OTHERS; j++)\n"
    "            maximum = fmaxf(maximum, row_scores[j]);\n"
    "        factors[row] = moec_exp_weight(before - maximum);\n"
    "        sum *= factors[row];\n"
    "        for (int j = 0; j < OTHERS; j++) {\n"
    "            row_scores[j] = moec_exp_weight(row_scores[j] - maximum);\n"
    "            sum += row_scores[j];\n"
    "        }\n"
    "    }\n"
    "    __syncthreads();\n"
    "    moec_add_rows(mean, factors[row], scores + row * (OTHERS + 1), keys, OTHERS, part, D, PARTS);\n"
    "}\n"
    "__syncthreads();\n"
    "if (part == 0) {\n"
    "    factors[row] = 1.0f / sum;\n"
    "    if (t < T)\n"
    "        all_logsumexp[b * LOGSUMEXP_B + h * LOGSUMEXP_H + t * LOGSUMEXP_T] = maximum + logf(sum);\n"
    "}\n"
    "__syncthreads();\n"
    "for (int i = 0; i < N_OWN; i++) {\n"
    "    int d = part + i * PARTS;\n"
    "    if (t < T && d < D)\n"
    "?out         ($out(b, h, t))[d] = mean[i] * factors[row];\n"
    "!out         queries[row * LINE + d] = mean[i] * factors[row];\n"
    "}\n"
    "!out __syncthreads();\n"
    "!out for (int d = part; d < D && t < T; d += PARTS)\n"
    "!out     $out(b, h, t, queries + row * LINE);\n";

static void print_forward(CudaPrinter *at) {
    int64_t n_columns = extent_of(at, ATTENTION_COLUMN);
    open_kernel(at, extent_of(at, ATTENTION_HEAD), tile_rows(n_columns, 16, 64), tile_rows(n_columns, 16, 32),
                tensors_but(at, 0));
    c_text(at->base.c, thread);
    print_text(at, forward);
    c_close(at->base.c);
}

/* ---- Backward --------------------------------------------------------------------------------------------------- */

/* A warp has a query. */
static const char products[] =
    "int number = (int)blockIdx.x * (THREADS / 32) + (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;\n"
    "int t = number % T, h = number / T % HEADS, b = number / (T * HEADS);\n"
    "bool is_query = number < N_QUERIES;\n"
    "float sum = 0.0f;\n"
    "for (int d = lane; d < D && is_query; d += 32) {\n"
    "?out     float x = ($out(b, h, t))[d];\n"
    "!out     float x = $out(b, h, t);\n"
    "?dout     float y = ($dout(b, h, t))[d];\n"
    "!dout     float y = $dout(b, h, t);\n"
    "    sum += x * y;\n"
    "}\n"
    "sum = moec_lanes_sum(sum, 32);\n"
    "if (is_query && lane == 0)\n"
    "    scratch[number] = sum;\n";

/* The weight of a key for a query, and the gradient of their score. */
static const char pair[] =
    "        float weight = 0.0f, dscore = 0.0f;\n"
    "        if (key <= query && key > query - WINDOW && query < T) {\n"
    "            float score = scale * moec_dot(queries + q_row * LINE, keys + k_row * LINE, D);\n"
    "            float dweight = moec_dot(douts + q_row * LINE, values + k_row * LINE, D);\n"
    "            weight = moec_exp(score - logsumexp_rows[query * LOGSUMEXP_T]);\n"
    "            dscore = scale * weight * (dweight - means[query]);\n"
    "        }\n";

/* Own rows are keys. */
static const char keys_start[] =
    "int tile = (int)blockIdx.x % N_TILES, g = (int)blockIdx.x / N_TILES % (HEADS / SHARED);\n"
    "int b = (int)blockIdx.x / (N_TILES * (HEADS / SHARED)), first = tile * ROWS, key = first + row, k_row = row;\n"
    "MOEC_SHARED float keys[ROWS * LINE], values[ROWS * LINE], queries[OTHERS * LINE], douts[OTHERS * LINE];\n"
    "MOEC_SHARED float weights[ROWS * (OTHERS + 1)], dscores[ROWS * (OTHERS + 1)];\n"
    "$k(b, g, first, keys, ROWS);\n"
    "$v(b, g, first, values, ROWS);\n"
    "float dkey[N_OWN] = {0}, dvalue[N_OWN] = {0};\n"
    "int end = first + ROWS - 1 + WINDOW < T ? first + ROWS - 1 + WINDOW : T;\n"
    "for (int n = 0; n < SHARED * ((end - first + OTHERS - 1) / OTHERS); n++) {\n"
    "    int h = g * SHARED + n % SHARED, s = first + n / SHARED * OTHERS;\n"
    "    const float *logsumexp_rows = all_logsumexp + b * LOGSUMEXP_B + h * LOGSUMEXP_H;\n"
    "    const float *means = scratch + (b * HEADS + h) * T;\n"
    "    __syncthreads();\n"
    "    $q(b, h, s, queries, OTHERS);\n"
    "    $dout(b, h, s, douts, OTHERS);\n"
    "    __syncthreads();\n"
    "    for (int q_row = part; q_row < OTHERS; q_row += PARTS) {\n"
    "        int query = s + q_row;\n";

static const char keys_end[] =
    "        weights[row * (OTHERS + 1) + q_row] = weight;\n"
    "        dscores[row * (OTHERS + 1) + q_row] = dscore;\n"
    "    }\n"
    "    __syncthreads();\n"
    "    moec_add_rows(dvalue, 1.0f, weights + row * (OTHERS + 1), douts, OTHERS, part, D, PARTS);\n"
    "    moec_add_rows(dkey, 1.0f, dscores + row * (OTHERS + 1), queries, OTHERS, part, D, PARTS);\n"
    "}\n"
    "for (int i = 0; i < N_OWN; i++) {\n"
    "    int d = part + i * PARTS;\n"
    "    if (key < T && d < D) {\n"
    "?dk         ($dk(b, g, key))[d] = dkey[i];\n"
    "!dk         keys[row * LINE + d] = dkey[i];\n"
    "?dv         ($dv(b, g, key))[d] = dvalue[i];\n"
    "!dv         values[row * LINE + d] = dvalue[i];\n"
    "    }\n"
    "}\n"
    "!dk __syncthreads();\n"
    "!dk for (int d = part; d < D && key < T; d += PARTS)\n"
    "!dk     $dk(b, g, key, keys + row * LINE);\n"
    "!dv __syncthreads();\n"
    "!dv for (int d = part; d < D && key < T; d += PARTS)\n"
    "!dv     $dv(b, g, key, values + row * LINE);\n";

/* Own rows are queries. */
static const char queries_start[] =
    "int tile = N_TILES - 1 - (int)blockIdx.x % N_TILES, h = (int)blockIdx.x / N_TILES % HEADS;\n"
    "int b = (int)blockIdx.x / (N_TILES * HEADS), g = h / SHARED, first = tile * ROWS;\n"
    "int query = first + row, q_row = row;\n"
    "MOEC_SHARED float queries[ROWS * LINE], douts[ROWS * LINE], keys[OTHERS * LINE], values[OTHERS * LINE];\n"
    "MOEC_SHARED float dscores[ROWS * (OTHERS + 1)];\n"
    "const float *logsumexp_rows = all_logsumexp + b * LOGSUMEXP_B + h * LOGSUMEXP_H;\n"
    "const float *means = scratch + (b * HEADS + h) * T;\n"
    "$q(b, h, first, queries, ROWS);\n"
    "$dout(b, h, first, douts, ROWS);\n"
    "float dquery[N_OWN] = {0};\n"
    "int seen = first < WINDOW ? 0 : first - WINDOW + 1;\n"
    "for (int s = seen; s < first + ROWS && s < T; s += OTHERS) {\n"
    "    __syncthreads();\n"
    "    $k(b, g, s, keys, OTHERS);\n"
    "    $v(b, g, s, values, OTHERS);\n"
    "    __syncthreads();\n"
    "    for (int k_row = part; k_row < OTHERS; k_row += PARTS) {\n"
    "        int key = s + k_row;\n";

static const char queries_end[] =
    "        dscores[row * (OTHERS + 1) + k_row] = dscore;\n"
    "    }\n"
    "    __syncthreads();\n"
    "    moec_add_rows(dquery, 1.0f, dscores + row * (OTHERS + 1), keys, OTHERS, part, D, PARTS);\n"
    "}\n"
    "for (int i = 0; i < N_OWN; i++) {\n"
    "    int d = part + i * PARTS;\n"
    "    if (query < T && d < D)\n"
    "?dq         ($dq(b, h, query))[d] = dquery[i];\n"
    "!dq         queries[row * LINE + d] = dquery[i];\n"
    "}\n"
    "!dq __syncthreads();\n"
    "!dq for (int d = part; d < D && query < T; d += PARTS)\n"
    "!dq     $dq(b, h, query, queries + row * LINE);\n";

static void print_backward(CudaPrinter *at) {
    CPrinter *c = at->base.c;
    int64_t n_heads = extent_of(at, ATTENTION_HEAD), n_columns = extent_of(at, ATTENTION_COLUMN);
    int64_t n_queries = extent_of(at, ATTENTION_SEQUENCE) * n_heads * extent_of(at, ATTENTION_POSITION);
    int64_t n_rows = tile_rows(n_columns, 8, 32);
    cuda_add_scratch(at, n_queries);
    cuda_open_kernel(at, (n_queries + N_THREADS / CUDA_WARP - 1) / (N_THREADS / CUDA_WARP), N_THREADS);
    print_sizes(at, n_rows, n_rows, 1u << ATTENTION_OUT | 1u << ATTENTION_DOUT);
    c_line(c, "enum { N_QUERIES = %lld };", (long long)n_queries);
    print_text(at, products);
    c_close(c);
    open_kernel(at, n_heads / at->base.form->attention.n_shared, n_rows, n_rows,
                tensors_but(at, 1u << ATTENTION_OUT | 1u << ATTENTION_DQ));
    c_text(c, thread);
    print_text(at, keys_start);
    c_text(c, pair);
    print_text(at, keys_end);
    c_close(c);
    open_kernel(at, n_heads, n_rows, n_rows,
                tensors_but(at, 1u << ATTENTION_OUT | 1u << ATTENTION_DK | 1u << ATTENTION_DV));
    c_text(c, thread);
    print_text(at, queries_start);
    c_text(c, pair);
    print_text(at, queries_end);
    c_close(c);
}

void cuda_print_attention(CudaPrinter *at) {
    if (cuda_attention_is_bf16(at->base.form)) {
        cuda_print_attention_mma(at);
        return;
    }
    Form form = *at->base.form;
    form_attention_widen(at->base.c->arena, &form);
    at->base.form = &form;
    print_bodies(at);
    if (at->base.form->kind == FORM_KIND_ATTENTION)
        print_forward(at);
    else
        print_backward(at);
}
