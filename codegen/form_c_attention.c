/* C of attention, forward and backward.

   A kernel works on tiles of keys, which query heads that read them share; scores of one tile are all that is in memory
   (Dao et al. 2022). Within a tile, a few rows at a time go through product, softmax and product (codegen/prelude_*.c)
   with only the keys that they see: the halves of tiles on the diagonal that nobody sees cost nothing. Products read
   the second factor along its rows, so one factor of the scores' product is copied transposed: queries forward, keys
   backward. Every result is summed in one order, whatever the number of threads.

   What an operand's part computes goes to a buffer in front of that, a tile at a time, or, where many tiles read it and
   computing it costs something, all rows of a pair of a sequence and a head of keys once. A result's body has its rows
   when their sums are complete. */
#include <string.h>

#include "codegen/form_c_internal.h"

/* ---- Sizes ---------------------------------------------------------------------------------------------------- */

/* Tiles are whole numbers of the vectors of any machine, and of the rows of a product's tile. */
enum { KEYS_UNIT = 48, QUERIES_UNIT = 48 };

static int64_t rounded_up(int64_t n, int64_t unit) {
    return (n + unit - 1) / unit * unit;
}

/* B sequences of T positions, H query heads and G key-value heads of D, HEADS query heads to each of these. */
static void print_sizes(CPrinter *c, const Form *form) {
    const FormIndex *indices = form->body.indices;
    const FormAttention *attention = &form->attention;
    c_constants(c, (const CConstant[]){{"B", indices[ATTENTION_SEQUENCE].extent},
                                       {"T", indices[ATTENTION_POSITION].extent},
                                       {"G", indices[ATTENTION_HEAD].extent / attention->n_shared},
                                       {"HEADS", attention->n_shared},
                                       {"D", indices[ATTENTION_COLUMN].extent},
                                       {"WINDOW", attention->window},
                                       {NULL, 0}});
    c_constants(c, (const CConstant[]){{"QUERIES", rounded_up(attention->tile_queries, QUERIES_UNIT)},
                                       {"KEYS", rounded_up(attention->tile_keys, KEYS_UNIT)},
                                       {NULL, 0}});
    c_line(c, "enum { WIDTH = (D + MOEC_LANES - 1) / MOEC_LANES * MOEC_LANES };");
    c_line(c, "const float scale = %s;", c_literal(c, DTYPE_F32, attention->scale));
}

/* const float *restrict q = args[2]; and Q_B, Q_T, Q_H, from a sequence, a position or a head to the next. Of one that
   has a body: just Q_T, of its rows in a buffer. */
static void print_tensors(CPrinter *c, const Form *form) {
    for (int i = 0; i < form_attention_n_tensors(form); i++) {
        const FormAccessMap *map = &form->attention.maps[i];
        const char *name = form_attention_name(i), *constant = form_attention_is_result(form, i) ? "" : "const ";
        const char *offset = map->offset > 0 ? arena_printf(c->arena, " + %lld", (long long)map->offset) : "";
        if (!form->attention.bodies[i])
            c_line(c, "%sfloat *restrict %s = (%sfloat *)args[%u]%s;", constant, name, constant, map->arg, offset);
    }
    for (int i = 0; i < form_attention_n_tensors(form); i++) {
        const int64_t *strides = form->attention.maps[i].strides;
        const char *name = form_upper_case(c, form_attention_name(i));
        const CConstant in_memory[] = {{arena_printf(c->arena, "%s_B", name), strides[ATTENTION_SEQUENCE]},
                                       {arena_printf(c->arena, "%s_T", name), strides[ATTENTION_POSITION]},
                                       {arena_printf(c->arena, "%s_H", name), strides[ATTENTION_HEAD]},
                                       {NULL, 0}};
        const CConstant computed[] = {
            {arena_printf(c->arena, "%s_T", name), form->body.indices[ATTENTION_COLUMN].extent}, {NULL, 0}};
        c_constants(c, form->attention.bodies[i] ? computed : in_memory);
    }
}

/* Each of n_products multiplies and adds for each column of each pair of a query and a key that it sees. */
static double work_of(const Form *form, int n_products) {
    const FormIndex *indices = form->body.indices;
    double length = (double)indices[ATTENTION_POSITION].extent, window = (double)form->attention.window;
    double n_pairs = window * (window + 1) / 2 + (length - window) * window;
    n_pairs *= (double)(indices[ATTENTION_SEQUENCE].extent * indices[ATTENTION_HEAD].extent);
    return n_pairs * 2 * n_products * (double)(indices[ATTENTION_COLUMN].extent + 1);
}

/* Where there are pairs of a sequence and a group for all threads, the tasks of a pair follow each other on one, whose
   caches hold what it reads again. */
#define IS_BY_PAIR "B * G >= 4 * omp_get_max_threads()"

/* ---- Bodies of tensors ----------------------------------------------------------------------------------------- */

/* Whether the tensor's heads are those of keys. */
static bool has_kv_heads(const Form *form, int tensor) {
    const FormBody indices = form_attention_indices(form, tensor);
    return indices.indices[ATTENTION_HEAD].extent < form->body.indices[ATTENTION_HEAD].extent;
}

/* From a row of the tensor to that of its head at the next position. */
static int64_t row_step(const Form *form, int tensor) {
    return form_attention_indices(form, tensor).indices[ATTENTION_HEAD].extent;
}

static int64_t n_tiles(const Form *form, int64_t n_positions, int64_t unit) {
    int64_t n_tile = rounded_up(n_positions, unit);
    return (form->body.indices[ATTENTION_POSITION].extent + n_tile - 1) / n_tile;
}

/* How many tiles of the others a tile of the tensor meets, at most. */
static int64_t n_meetings(const Form *form, int tensor) {
    bool is_task =
        form->kind == FORM_KIND_ATTENTION ? tensor == ATTENTION_Q : tensor == ATTENTION_K || tensor == ATTENTION_V;
    return is_task                             ? 1
           : form->kind == FORM_KIND_ATTENTION ? n_tiles(form, form->attention.tile_queries, QUERIES_UNIT)
                                               : n_tiles(form, form->attention.tile_keys, KEYS_UNIT);
}

/* Whether the part does more than to read one element. */
static bool computes(const FormBody *part) {
    bool does = false;
    for (size_t i = 0; i < part->n_instrs; i++)
        does = does || (part->instrs[i].level == FORM_LEVEL_FULL && part->instrs[i].op == FORM_MAP);
    return does;
}

/* Whether all rows of a pair are computed once. */
static bool is_kept(const Form *form, int tensor) {
    const FormBody *body = form->attention.bodies[tensor];
    return body && !form_attention_is_result(form, tensor) && computes(body) && n_meetings(form, tensor) > 2;
}

/* dq is added up by many tasks; its body has what is kept meanwhile. */
static bool keeps_sums(const Form *form, int tensor) {
    return form->kind == FORM_KIND_ATTENTION_GRAD && tensor == ATTENTION_DQ && form->attention.bodies[tensor];
}

/* Floats that a pair keeps. */
static int64_t kept_floats(const Form *form, int n_tensors) {
    const FormIndex *indices = form->body.indices;
    int64_t n_vectors = 0;
    for (int i = 0; i < n_tensors; i++)
        n_vectors +=
            is_kept(form, i) || keeps_sums(form, i) ? (has_kv_heads(form, i) ? 1 : form->attention.n_shared) : 0;
    return n_vectors * indices[ATTENTION_POSITION].extent * indices[ATTENTION_COLUMN].extent;
}

static int64_t all_kept_floats(const Form *form) {
    return kept_floats(form, form_attention_n_tensors(form));
}

void form_print_attention_functions(CPrinter *c, const Form *form) {
    for (int i = 0; i < form_attention_n_tensors(form); i++) {
        const FormBody *body = form->attention.bodies[i];
        if (body && form_attention_is_result(form, i))
            form_print_row_of_result(c, form, body, form_attention_name(i));
        else if (body)
            form_print_rows_of_part(c, form, body, form_attention_name(i), row_step(form, i));
    }
}

/* Of rows [first, first + n) of the pair (b, g), all that it keeps. */
static void print_kept_rows(CPrinter *c, const Form *form, const char *first, const char *n) {
    for (int i = 0; i < form_attention_first_result(form); i++) {
        const char *name = form_attention_name(i), *upper = form_upper_case(c, name);
        if (!is_kept(form, i))
            continue;
        if (has_kv_heads(form, i) || form->attention.n_shared == 1) {
            c_line(c, "%s_%s(args, (b * T + %s) * G + g, %s, kept + %s_KEPT + %s * D);", form->name, name, first, n,
                   upper, first);
            continue;
        }
        c_line(c, "for (int h = 0; h < HEADS; h++)");
        c_line(c, "    %s_%s(args, (b * T + %s) * G * HEADS + g * HEADS + h, %s, kept + %s_KEPT + (h * T + %s) * D);",
               form->name, name, first, n, upper, first);
    }
}

/* Where keeping or `work` asks for it. */
static void print_is_by_pair(CPrinter *c, const Form *form, double work) {
    if (all_kept_floats(form) > 0 || c_is_parallel(work))
        c_line(c, "const int is_by_pair = " IS_BY_PAIR ";");
}

/* What pairs keep: each by itself where a thread has all of a pair, else those of all pairs. */
static void print_keeping(CPrinter *c, const Form *form) {
    if (all_kept_floats(form) == 0)
        return;
    for (int i = 0; i < form_attention_n_tensors(form); i++) {
        if (is_kept(form, i) || keeps_sums(form, i))
            c_line(c, "const int64_t %s_KEPT = %lld;", form_upper_case(c, form_attention_name(i)),
                   (long long)kept_floats(form, i));
    }
    c_line(c, "const int64_t n_kept = %lld; /* floats of a pair */", (long long)all_kept_floats(form));
    c_line(c, "float *shared = is_by_pair ? NULL : moec_gemm_scratch(B * G * n_kept);");
    if (kept_floats(form, form_attention_first_result(form)) == 0)
        return;
    c_open(c, "if (!is_by_pair)");
    c_line(c, "#pragma omp parallel for");
    c_open(c, "for (int64_t task = 0; task < B * G * N_PARTS; task++)");
    c_line(c, "int64_t pair = task / N_PARTS, first = task %% N_PARTS * QUERIES, b = pair / G, g = pair %% G;");
    c_line(c, "int n_queries = T - first < QUERIES ? T - first : QUERIES;");
    c_line(c, "float *kept = shared + pair * n_kept;");
    print_kept_rows(c, form, "first", "n_queries");
    c_close(c);
    c_close(c);
}

/* The beginning of a task; `is_first`: whether it is the first one of its pair. */
static void print_task_start(CPrinter *c, const Form *form, const char *is_first) {
    if (all_kept_floats(form) > 0)
        c_line(c, "float *kept = is_by_pair ? moec_gemm_scratch(n_kept) : shared + (b * G + g) * n_kept;");
    if (kept_floats(form, form_attention_first_result(form)) > 0) {
        c_open(c, "if (is_by_pair && %s)", is_first);
        print_kept_rows(c, form, "0", "T");
        c_close(c);
    }
    for (int i = 0; i < form_attention_first_result(form); i++) {
        if (form->attention.bodies[i] && !is_kept(form, i))
            c_line(c, "float %s_rows[QUERIES > KEYS ? QUERIES : KEYS][D] MOEC_ALIGNED;", form_attention_name(i));
    }
}

/* ---- Texts of kernels ------------------------------------------------------------------------------------------- */

/* In brackets where it is a sum. */
static const char *factor_text(CPrinter *c, const char *text) {
    return strchr(text, ' ') ? arena_printf(c->arena, "(%s)", text) : text;
}

/* Where rows of a head are, n from position t on; of a result's body, the call for row x at t. Given: b, t, h, and n or
   x. */
static const char *rows_text(const FormPrinter *at, int tensor, const char *const *given) {
    CPrinter *c = at->c;
    const Form *form = at->form;
    const char *name = form_attention_name(tensor), *upper = form_upper_case(c, name);
    const char *b = given[0], *t = given[1], *h = factor_text(c, given[2]),
               *heads = has_kv_heads(form, tensor) ? "G" : "G * HEADS";
    const FormBody *body = form->attention.bodies[tensor];
    if (!body)
        return arena_printf(c->arena, "%s + %s * %s_B + %s * %s_T + %s * %s_H", name, b, upper, factor_text(c, t),
                            upper, h, upper);
    if (form_attention_is_result(form, tensor))
        return arena_printf(c->arena, "%s_%s(args, (b * T + %s) * %s + %s, %s)", form->name, name, t, heads, h,
                            given[3]);
    if (!is_kept(form, tensor) && given[4])
        return NULL;
    if (!is_kept(form, tensor))
        return arena_printf(c->arena, "%s_%s(args, (b * T + %s) * %s + %s, %s, %s_rows[0])", form->name, name, t, heads,
                            h, given[3], name);
    return has_kv_heads(form, tensor)
               ? arena_printf(c->arena, "kept + %s_KEPT + %s * D", upper, factor_text(c, t))
               : arena_printf(c->arena, "kept + %s_KEPT + (%s %% HEADS * T + %s) * D", upper, h, t);
}

/* ---- Forward -------------------------------------------------------------------------------------------------- */

/* A task is a tile of queries, in all heads that share their keys. Queries are lanes of vectors, so that their maxima
   and sums need no sums across lanes. */
static const char forward[] =
    "int64_t first = (N_PARTS - 1 - part) * QUERIES; /* the longest work first */\n"
    "int n_queries = T - first < QUERIES ? T - first : QUERIES;\n"
    "float queries[HEADS][D][QUERIES] MOEC_ALIGNED, mean[HEADS][QUERIES][WIDTH] MOEC_ALIGNED;\n"
    "float sums[HEADS][QUERIES] MOEC_ALIGNED, maximum[HEADS][QUERIES] MOEC_ALIGNED;\n"
    "float keys[KEYS][D] MOEC_ALIGNED, values[KEYS][WIDTH] MOEC_ALIGNED;\n"
    "memset(mean, 0, sizeof mean);\n"
    "memset(sums, 0, sizeof sums);\n"
    "for (int h = 0; h < HEADS; h++) {\n"
    "    moec_transpose(queries[h][0], QUERIES, $q(b, first, g * HEADS + h, n_queries), Q_T,\n"
    "                   n_queries, D, scale * MOEC_LOG2_E);\n"
    "    for (int i = 0; i < QUERIES; i++)\n"
    "        maximum[h][i] = -FLT_MAX / 2; /* above what is not seen */\n"
    "}\n"
    "\n"
    "?q if (part + 1 < N_PARTS) {\n"
    "?q     for (int64_t h = g * HEADS; h < (g + 1) * HEADS; h++)\n"
    "?q         moec_fetch_rows($q(b, first - QUERIES, h, QUERIES), Q_T, QUERIES, D);\n"
    "?q }\n"
    "int64_t first_seen = first < WINDOW ? 0 : (first - WINDOW + 1) / KEYS * KEYS;\n"
    "for (int64_t s = first_seen; s < first + n_queries; s += KEYS) {\n"
    "    /* Query i sees keys (distance + i - WINDOW, distance + i] of the tile. */\n"
    "    int64_t distance = first - s;\n"
    "    int n_keys = distance + n_queries < KEYS ? distance + n_queries : KEYS;\n"
    "    moec_copy_rows(keys[0], D, $k(b, s, g, n_keys), K_T, n_keys, D, 1.0f);\n"
    "    moec_copy_rows(values[0], WIDTH, $v(b, s, g, n_keys), V_T, n_keys, D, 1.0f);\n"
    "    int n_next = moec_clamp(distance + n_queries - KEYS, KEYS);\n"
    "!k     (void)n_next;\n"
    "    moec_fetch_rows($k(b, s + KEYS, g, n_next, fetched), K_T, n_next, D);\n"
    "    moec_fetch_rows($v(b, s + KEYS, g, n_next, fetched), V_T, n_next, D);\n"
    "    for (int h = 0; h < HEADS; h++) {\n"
    "        float scores[KEYS][QUERIES] MOEC_ALIGNED, corrections[QUERIES] MOEC_ALIGNED;\n"
    "        for (int j = 0; j < n_keys; j += MOEC_TILE_ROWS) {\n"
    "            int n_rows = n_keys - j < MOEC_TILE_ROWS ? n_keys - j : MOEC_TILE_ROWS;\n"
    "            /* Queries [low, high) see some of these keys. */\n"
    "            int low = moec_clamp(j - distance, n_queries);\n"
    "            int high = moec_clamp(j + n_rows - 1 + WINDOW - distance, n_queries);\n"
    "            int start = low / MOEC_LANES * MOEC_LANES;\n"
    "            int n = moec_whole_vectors(high - start);\n"
    "            if (low < high)\n"
    "                moec_product(n_rows, n, D, keys[j], D, 1, queries[h][0] + start, QUERIES,\n"
    "                             MOEC_SET, NULL, 0, scores[j] + start, QUERIES);\n"
    "        }\n"
    "        moec_attend(scores[0], QUERIES, n_keys, n_queries, distance - WINDOW + 1, distance + 1,\n"
    "                    maximum[h], sums[h], corrections);\n"
    "        for (int i = 0; i < n_queries; i += MOEC_TILE_ROWS) {\n"
    "            int n_rows = n_queries - i < MOEC_TILE_ROWS ? n_queries - i : MOEC_TILE_ROWS;\n"
    "            int low = moec_clamp(distance + i - WINDOW + 1, n_keys);\n"
    "            int high = moec_clamp(distance + i + n_rows, n_keys);\n"
    "            if (low < high) /* else corrections are 1 */\n"
    "                moec_product(n_rows, WIDTH, high - low, &scores[low][i], 1, QUERIES, values[low],\n"
    "                             WIDTH, MOEC_SCALE, corrections + i, 0, mean[h][i], WIDTH);\n"
    "        }\n"
    "    }\n"
    "}\n"
    "\n"
    "for (int h = 0; h < HEADS; h++) {\n"
    "    for (int i = 0; i < n_queries; i++) {\n"
    "        logsumexp[b * LOGSUMEXP_B + (first + i) * LOGSUMEXP_T + (g * HEADS + h) * LOGSUMEXP_H] =\n"
    "            maximum[h][i] * MOEC_LN_2 + logf(sums[h][i]);\n"
    "?out         float *result = $out(b, first + i, g * HEADS + h, NULL);\n"
    "?out         moec_copy_rows(result, D, mean[h][i], WIDTH, 1, D, 1.0f / sums[h][i]);\n"
    "!out         moec_copy_rows(mean[h][i], WIDTH, mean[h][i], WIDTH, 1, D, 1.0f / sums[h][i]);\n"
    "!out         $out(b, first + i, g * HEADS + h, mean[h][i]);\n"
    "    }\n"
    "}\n";

static void print_forward(CPrinter *c, const Form *form) {
    FormPrinter at = form_printer_new(c, form, &form->body);
    c_line(c, "enum { N_PARTS = (T + QUERIES - 1) / QUERIES };");
    print_is_by_pair(c, form, work_of(form, 2));
    print_keeping(c, form);
    c_parallel(c, work_of(form, 2), "collapse(3) schedule(dynamic, is_by_pair ? N_PARTS : 1)");
    c_open(c, "for (int64_t b = 0; b < B; b++)");
    c_open(c, "for (int64_t g = 0; g < G; g++)");
    c_open(c, "for (int64_t part = 0; part < N_PARTS; part++)");
    print_task_start(c, form, "part == 0");
    form_print_filled(&at, forward, rows_text);
    c_close(c);
    c_close(c);
    c_close(c);
}

/* ---- Backward ------------------------------------------------------------------------------------------------- */

static const char backward_turns[] =
    "/* dq of a tile of queries is added up tile of keys after tile of keys: a thread waits for its turn. */\n"
    "int turns[B * G][N_PARTS];\n"
    "for (int64_t pair = 0; pair < B * G; pair++) {\n"
    "    for (int64_t i = 0; i < N_PARTS; i++)\n"
    "        turns[pair][i] = i * QUERIES < WINDOW ? 0 : (i * QUERIES - WINDOW + 1) / KEYS;\n"
    "}\n";

/* A task is a tile of keys, over all queries of its group's heads that see them. Tasks are begun in order, so the one
   that others wait for is always under way. */
static const char backward[] =
    "int64_t s = block * KEYS;\n"
    "int n_keys = T - s < KEYS ? T - s : KEYS;\n"
    "const float *task_k = $k(b, s, g, n_keys), *task_v = $v(b, s, g, n_keys);\n"
    "float keys[D][KEYS] MOEC_ALIGNED, values[D][KEYS] MOEC_ALIGNED, key_rows[KEYS][WIDTH] MOEC_ALIGNED;\n"
    "float dkeys[KEYS][WIDTH] MOEC_ALIGNED, dvalues[KEYS][WIDTH] MOEC_ALIGNED;\n"
    "moec_transpose(keys[0], KEYS, task_k, K_T, n_keys, D, scale * MOEC_LOG2_E);\n"
    "moec_transpose(values[0], KEYS, task_v, V_T, n_keys, D, 1.0f);\n"
    "moec_copy_rows(key_rows[0], WIDTH, task_k, K_T, n_keys, D, scale);\n"
    "memset(dkeys, 0, sizeof dkeys);\n"
    "memset(dvalues, 0, sizeof dvalues);\n"
    "\n"
    "int64_t unseen = s + n_keys - 1 + WINDOW, end = unseen < T ? unseen : T; /* of the queries */\n"
    "for (int64_t first = s / QUERIES * QUERIES; first < end; first += QUERIES) {\n"
    "    int n_queries = T - first < QUERIES ? T - first : QUERIES;\n"
    "    int *turn = &turns[pair][first / QUERIES];\n"
    "    while (__atomic_load_n(turn, __ATOMIC_ACQUIRE) != block)\n"
    "        sched_yield();\n"
    "    int n_next = moec_clamp(end - first - QUERIES, QUERIES);\n"
    "    for (int64_t h = g * HEADS; h < (g + 1) * HEADS; h++) {\n"
    "        int64_t next = first + QUERIES;\n"
    "        moec_fetch_rows($q(b, next, h, n_next, fetched), Q_T, n_next, D);\n"
    "        moec_fetch_rows($dout(b, next, h, n_next, fetched), DOUT_T, n_next, D);\n"
    "        moec_fetch_rows($out(b, next, h, n_next, fetched), OUT_T, n_next, D);\n"
    "?dq         moec_fetch_rows($dq(b, next, h, n_next), DQ_T, n_next, D);\n"
    "!dq         moec_fetch_rows(kept + DQ_KEPT + (h % HEADS * T + next) * D, DQ_T, n_next, D);\n"
    "        const float *task_out = $out(b, first, h, n_queries);\n"
    "?dq         float *task_dq = $dq(b, first, h, n_queries);\n"
    "!dq         float *task_dq = kept + DQ_KEPT + (h % HEADS * T + first) * D;\n"
    "        float scores[2][QUERIES][KEYS] MOEC_ALIGNED; /* of each its weight, and its gradient */\n"
    "        float(*weights)[KEYS] = scores[0], (*dscores)[KEYS] = scores[1];\n"
    "        float queries[QUERIES][WIDTH] MOEC_ALIGNED, douts[QUERIES][WIDTH] MOEC_ALIGNED;\n"
    "        float logsumexps[QUERIES], means[QUERIES]; /* negative, in bits and not */\n"
    "        moec_copy_rows(queries[0], WIDTH, $q(b, first, h, n_queries), Q_T, n_queries, D, 1.0f);\n"
    "        moec_copy_rows(douts[0], WIDTH, $dout(b, first, h, n_queries), DOUT_T, n_queries, D, 1.0f);\n"
    "        moec_dots(means, douts[0], WIDTH, task_out, OUT_T, n_queries, D, -1.0f);\n"
    "        for (int i = 0; i < n_queries; i++)\n"
    "            logsumexps[i] = -MOEC_LOG2_E *\n"
    "                            logsumexp[b * LOGSUMEXP_B + (first + i) * LOGSUMEXP_T + h * LOGSUMEXP_H];\n"
    "\n"
    "        /* Weights, the gradients of scores, and dq, for a tile of queries after the other. */\n"
    "        for (int i = 0; i < n_queries; i += MOEC_TILE_ROWS) {\n"
    "            int n_rows = n_queries - i < MOEC_TILE_ROWS ? n_queries - i : MOEC_TILE_ROWS;\n"
    "            int64_t distance = first + i - s, last = distance + n_rows - 1;\n"
    "            int low = moec_clamp(distance - WINDOW + 1, KEYS), high = moec_clamp(last + 1, KEYS);\n"
    "            int start = low / MOEC_LANES * MOEC_LANES, n = moec_whole_vectors(high - start);\n"
    "            if (low >= high)\n"
    "                continue;\n"
    "            moec_product_power(n_rows, n, D, queries[i], WIDTH, 1, keys[0] + start, KEYS, MOEC_FILL,\n"
    "                               logsumexps + i, 0, weights[i] + start, KEYS);\n"
    "            if (distance + 1 < KEYS || last >= WINDOW) /* some see only some */\n"
    "                moec_hide(weights[i], dscores[i], KEYS, n_rows, start, start + n, distance - WINDOW + 1,\n"
    "                          distance + 1);\n"
    "            moec_product_times(n_rows, n, D, douts[i], WIDTH, 1, values[0] + start, KEYS, MOEC_FILL,\n"
    "                               means + i, -(QUERIES * KEYS), dscores[i] + start, KEYS);\n"
    "            int is_first = s == 0 || distance + 1 >= WINDOW; /* of the blocks that the tile sees */\n"
    "            int start_dq = is_first ? MOEC_SET : MOEC_ADD;\n"
    "            if (D % MOEC_LANES == 0) {\n"
    "                moec_product(n_rows, D, high - low, dscores[i] + low, KEYS, 1, key_rows[low], WIDTH,\n"
    "                             start_dq, NULL, 0, task_dq + i * DQ_T, DQ_T);\n"
    "            } else {\n"
    "                float rows[MOEC_TILE_ROWS][WIDTH] MOEC_ALIGNED;\n"
    "                moec_copy_rows(rows[0], WIDTH, task_dq + i * DQ_T, DQ_T, n_rows, D, 1.0f);\n"
    "                moec_product(n_rows, WIDTH, high - low, dscores[i] + low, KEYS, 1, key_rows[low], WIDTH,\n"
    "                             start_dq, NULL, 0, rows[0], WIDTH);\n"
    "                for (int r = 0; r < n_rows; r++)\n"
    "                    moec_copy_rows(task_dq + (i + r) * DQ_T, D, rows[r], WIDTH, 1, D, 1.0f);\n"
    "            }\n"
    "        }\n"
    "\n"
    "        /* dk and dv, for a tile of keys after the other: queries [low, high) see some of it. */\n"
    "        for (int j = 0; j < n_keys; j += MOEC_TILE_ROWS) {\n"
    "            int n_rows = n_keys - j < MOEC_TILE_ROWS ? n_keys - j : MOEC_TILE_ROWS;\n"
    "            int low = moec_clamp(s + j - first, n_queries);\n"
    "            int high = moec_clamp(s + j - first + n_rows - 1 + WINDOW, n_queries);\n"
    "            if (low >= high)\n"
    "                continue;\n"
    "            moec_product(n_rows, WIDTH, high - low, &weights[low][j], 1, KEYS, douts[low], WIDTH,\n"
    "                         MOEC_ADD, NULL, 0, dvalues[j], WIDTH);\n"
    "            moec_product(n_rows, WIDTH, high - low, &dscores[low][j], 1, KEYS, queries[low], WIDTH,\n"
    "                         MOEC_ADD, NULL, 0, dkeys[j], WIDTH);\n"
    "        }\n"
    "!dq         int is_last = block == (first + n_queries - 1) / KEYS; /* of the blocks that the tile sees */\n"
    "!dq         for (int i = 0; i < n_queries && is_last; i++)\n"
    "!dq             $dq(b, first + i, h, task_dq + i * DQ_T);\n"
    "    }\n"
    "    __atomic_store_n(turn, (int)block + 1, __ATOMIC_RELEASE);\n"
    "}\n"
    "for (int j = 0; j < n_keys; j++) {\n"
    "    int64_t t = s + j;\n"
    "?dk     moec_copy_rows($dk(b, t, g, NULL), D, dkeys[j], WIDTH, 1, D, scale);\n"
    "!dk     moec_copy_rows(dkeys[j], WIDTH, dkeys[j], WIDTH, 1, D, scale);\n"
    "!dk     $dk(b, t, g, dkeys[j]);\n"
    "?dv     moec_copy_rows($dv(b, t, g, NULL), D, dvalues[j], WIDTH, 1, D, 1.0f);\n"
    "!dv     $dv(b, t, g, dvalues[j]);\n"
    "}\n";

static void print_backward(CPrinter *c, const Form *form) {
    FormPrinter at = form_printer_new(c, form, &form->body);
    c_line(c, "enum { N_BLOCKS = (T + KEYS - 1) / KEYS, N_PARTS = (T + QUERIES - 1) / QUERIES };");
    c_text(c, backward_turns);
    c_line(c, "const int is_by_pair = " IS_BY_PAIR ";"); /* tells tasks apart */
    print_keeping(c, form);
    c_parallel(c, work_of(form, 5), "schedule(monotonic : dynamic, is_by_pair ? N_BLOCKS : 1)");
    c_open(c, "for (int64_t task = 0; task < N_BLOCKS * B * G; task++)");
    c_line(c, "int64_t block = is_by_pair ? task %% N_BLOCKS : task / (B * G);");
    c_line(c, "int64_t pair = is_by_pair ? task / N_BLOCKS : task %% (B * G), b = pair / G, g = pair %% G;");
    print_task_start(c, form, "block == 0");
    form_print_filled(&at, backward, rows_text);
    c_close(c);
}

void form_print_attention(CPrinter *c, const Form *form) {
    print_tensors(c, form);
    print_sizes(c, form);
    if (form->kind == FORM_KIND_ATTENTION)
        print_forward(c, form);
    else
        print_backward(c, form);
}
