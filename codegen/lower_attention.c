/* Attention, forward and backward.

   A kernel works on blocks of keys, which it first copies transposed, so that a product's second factor is read along
   its rows, and shares among the query heads that read them; scores of one block are all that is in memory (Dao et al.
   2022). Within a block, a tile of a few queries goes through product, softmax and product (codegen/prelude_*.c) with
   only the keys that it sees: the halves of blocks on the diagonal that nobody sees cost nothing. Every result is
   summed in one order, whatever the number of threads. */
#include <string.h>

#include "codegen/lower.h"

/* ---- Sizes ---------------------------------------------------------------------------------------------------- */

/* Keys of a block, a multiple of all lanes and of a tile's rows: 96, half of it where the sequence is that short. */
static int64_t n_block_keys(int64_t n_positions) {
    return n_positions <= 48 ? 48 : 96;
}

/* Queries of a task of the forward kernel: as many as share a block of keys while their results stay in a core's cache
   and there are tasks for many threads. A multiple of a tile's rows. */
static int64_t n_task_queries(const Type *q, const Type *k) {
    enum { MAX_FLOATS = 1 << 16, MANY_TASKS = 64 };
    int64_t n_positions = q->dims[1].extent, n_pairs = k->dims[0].extent * k->dims[2].extent;
    int64_t n_floats = q->dims[2].extent / k->dims[2].extent * q->dims[3].extent; /* of a query's results */
    int64_t n_queries = 192;
    while (n_queries > 48 && n_pairs * ((n_positions + n_queries - 1) / n_queries) < MANY_TASKS)
        n_queries /= 2;
    while (n_queries > 6 && n_queries * n_floats > MAX_FLOATS)
        n_queries /= 2;
    return n_queries;
}

/* B sequences of T positions, H query heads and G key-value heads of D, HEADS query heads to each of these; a window of
   T is none. */
static void print_sizes(CPrinter *c, const Node *node) {
    const Type *q = lower_operand_type(node, 0), *k = lower_operand_type(node, 1);
    int64_t n_positions = q->dims[1].extent, window = attrs_int(&node->attrs, "window", 0);
    int64_t n_heads = q->dims[2].extent, n_kv_heads = k->dims[2].extent;
    bool has_window = window > 0 && window < n_positions;
    c_constants(c, (const CConstant[]){{"B", q->dims[0].extent},
                                       {"T", n_positions},
                                       {"H", n_heads},
                                       {"G", n_kv_heads},
                                       {"HEADS", n_heads / n_kv_heads},
                                       {"D", q->dims[3].extent},
                                       {"WINDOW", has_window ? window : n_positions},
                                       {NULL, 0}});
    c_line(c, "enum { Q_STRIDE = H * D, K_STRIDE = G * D }; /* from a position to the next */");
    c_line(c, "enum { KEYS = %lld, WIDTH = (D + MOEC_LANES - 1) / MOEC_LANES * MOEC_LANES };",
           (long long)n_block_keys(n_positions));
    c_line(c, "const float scale = %s;", c_literal(c, DTYPE_F32, attrs_float(&node->attrs, "scale", 1)));
}

/* ---- Forward -------------------------------------------------------------------------------------------------- */

/* A task is a part of a sequence's queries, in all heads that share their keys. */
static const char forward[] =
    "for (int64_t b = 0; b < B; b++) {\n"
    "    for (int64_t g = 0; g < G; g++) {\n"
    "        for (int64_t part = 0; part < N_PARTS; part++) {\n"
    "            int64_t first = (N_PARTS - 1 - part) * QUERIES; /* the longest work first */\n"
    "            int n_queries = T - first < QUERIES ? T - first : QUERIES;\n"
    "            int64_t query = ((b * T + first) * H + g * HEADS) * D;\n"
    "            float keys[D][KEYS] MOEC_ALIGNED, values[KEYS][WIDTH] MOEC_ALIGNED;\n"
    "            float mean[HEADS][QUERIES][WIDTH] MOEC_ALIGNED, sums[HEADS][QUERIES][MOEC_LANES] MOEC_ALIGNED;\n"
    "            float maximum[HEADS][QUERIES];\n"
    "            memset(mean, 0, sizeof mean);\n"
    "            memset(sums, 0, sizeof sums);\n"
    "            for (int h = 0; h < HEADS; h++) {\n"
    "                for (int i = 0; i < QUERIES; i++)\n"
    "                    maximum[h][i] = -FLT_MAX / 2; /* above what is not seen */\n"
    "            }\n"
    "\n"
    "            int64_t first_seen = first < WINDOW ? 0 : (first - WINDOW + 1) / KEYS * KEYS;\n"
    "            for (int64_t s = first_seen; s < first + n_queries; s += KEYS) {\n"
    "                int n_keys = T - s < KEYS ? T - s : KEYS;\n"
    "                int64_t key = ((b * T + s) * G + g) * D;\n"
    "                moec_transpose(keys[0], KEYS, k + key, K_STRIDE, n_keys, D, scale);\n"
    "                moec_copy_rows(values[0], WIDTH, v + key, K_STRIDE, n_keys, D, 1.0f);\n"
    "                for (int i = 0; i < n_queries; i += MOEC_TILE_ROWS) {\n"
    "                    /* The first query sees keys (distance - WINDOW, distance], the tile [low, high). */\n"
    "                    int n_rows = n_queries - i < MOEC_TILE_ROWS ? n_queries - i : MOEC_TILE_ROWS;\n"
    "                    int64_t distance = first + i - s, last = distance + n_rows - 1;\n"
    "                    int low = distance < WINDOW ? 0 : distance - WINDOW + 1;\n"
    "                    int high = last < KEYS ? last + 1 : KEYS;\n"
    "                    int start = low / MOEC_LANES * MOEC_LANES; /* whole vectors around [low, high) */\n"
    "                    int n = (high - start + MOEC_LANES - 1) / MOEC_LANES * MOEC_LANES;\n"
    "                    for (int h = 0; h < HEADS && low < high; h++) {\n"
    "                        float scores[MOEC_TILE_ROWS][KEYS] MOEC_ALIGNED, corrections[MOEC_TILE_ROWS];\n"
    "                        const float *queries = q + query + i * Q_STRIDE + h * D;\n"
    "                        moec_product(n_rows, n, D, queries, Q_STRIDE, 1, keys[0] + start, KEYS, MOEC_SET, NULL,\n"
    "                                     scores[0] + start, KEYS);\n"
    "                        if (distance + 1 >= KEYS && last < WINDOW)\n"
    "                            moec_attend(scores[0], KEYS, 0, KEYS, 1, &maximum[h][i], &sums[h][i], corrections);\n"
    "                        else\n"
    "                            moec_attend(scores[0], KEYS, distance - WINDOW + 1, distance + 1, 0, &maximum[h][i],\n"
    "                                        &sums[h][i], corrections);\n"
    "                        moec_product(n_rows, WIDTH, high - low, scores[0] + low, KEYS, 1, values[low], WIDTH,\n"
    "                                     MOEC_SCALE, corrections, mean[h][i], WIDTH);\n"
    "                    }\n"
    "                }\n"
    "            }\n"
    "\n"
    "            for (int h = 0; h < HEADS; h++) {\n"
    "                for (int i = 0; i < n_queries; i++) {\n"
    "                    float sum = moec_lanes_sum(*(const MoecVector *)sums[h][i]), factor = 1.0f / sum;\n"
    "                    logsumexp[(b * H + g * HEADS + h) * T + first + i] = maximum[h][i] + logf(sum);\n"
    "                    moec_copy_rows(out + query + i * Q_STRIDE + h * D, D, mean[h][i], WIDTH, 1, D, factor);\n"
    "                }\n"
    "            }\n"
    "        }\n"
    "    }\n"
    "}\n";

/* (q, k, v) -> out, logsumexp. */
void lower_attention(CPrinter *c, const Node *node) {
    c_pointers(c, node, (const char *const[]){"out", "logsumexp", "q", "k", "v"});
    print_sizes(c, node);
    int64_t n_queries = n_task_queries(lower_operand_type(node, 0), lower_operand_type(node, 1));
    c_line(c, "enum { QUERIES = %lld, N_PARTS = (T + QUERIES - 1) / QUERIES };", (long long)n_queries);
    c_parallel(c, node_flops(node), "collapse(3) schedule(dynamic)");
    c_text(c, forward);
}

/* ---- Backward ------------------------------------------------------------------------------------------------- */

static const char backward_turns[] =
    "/* dq of a block of queries is added up block of keys after block of keys: a thread waits for its turn. */\n"
    "int turns[B * G][N_BLOCKS];\n"
    "for (int64_t pair = 0; pair < B * G; pair++) {\n"
    "    for (int64_t i = 0; i < N_BLOCKS; i++)\n"
    "        turns[pair][i] = i * KEYS < WINDOW ? 0 : (i * KEYS - WINDOW + 1) / KEYS;\n"
    "}\n";

/* A task is a block of keys, over all queries of its group's heads that see them. Tasks are begun in order, so the one
   that others wait for is always under way. */
static const char backward[] =
    "for (int64_t block = 0; block < N_BLOCKS; block++) {\n"
    "    for (int64_t b = 0; b < B; b++) {\n"
    "        for (int64_t g = 0; g < G; g++) {\n"
    "            int64_t s = block * KEYS, key = ((b * T + s) * G + g) * D;\n"
    "            int n_keys = T - s < KEYS ? T - s : KEYS;\n"
    "            float keys[D][KEYS] MOEC_ALIGNED, values[D][KEYS] MOEC_ALIGNED, key_rows[KEYS][WIDTH] MOEC_ALIGNED;\n"
    "            float dkeys[KEYS][WIDTH] MOEC_ALIGNED, dvalues[KEYS][WIDTH] MOEC_ALIGNED;\n"
    "            moec_transpose(keys[0], KEYS, k + key, K_STRIDE, n_keys, D, scale);\n"
    "            moec_transpose(values[0], KEYS, v + key, K_STRIDE, n_keys, D, 1.0f);\n"
    "            moec_copy_rows(key_rows[0], WIDTH, k + key, K_STRIDE, n_keys, D, scale);\n"
    "            memset(dkeys, 0, sizeof dkeys);\n"
    "            memset(dvalues, 0, sizeof dvalues);\n"
    "\n"
    "            int64_t unseen = s + n_keys - 1 + WINDOW, end = unseen < T ? unseen : T; /* of the queries */\n"
    "            for (int64_t first = s; first < end; first += KEYS) {\n"
    "                int n_queries = T - first < KEYS ? T - first : KEYS;\n"
    "                int *turn = &turns[b * G + g][first / KEYS];\n"
    "                while (__atomic_load_n(turn, __ATOMIC_ACQUIRE) != block)\n"
    "                    sched_yield();\n"
    "                for (int64_t h = g * HEADS; h < (g + 1) * HEADS; h++) {\n"
    "                    int64_t query = ((b * T + first) * H + h) * D;\n"
    "                    float weights[KEYS][KEYS] MOEC_ALIGNED, dscores[KEYS][KEYS] MOEC_ALIGNED;\n"
    "                    float queries[KEYS][WIDTH] MOEC_ALIGNED, douts[KEYS][WIDTH] MOEC_ALIGNED;\n"
    "                    float logsumexps[KEYS] = {0}, means[KEYS] = {0};\n"
    "                    moec_copy_rows(queries[0], WIDTH, q + query, Q_STRIDE, n_queries, D, 1.0f);\n"
    "                    moec_copy_rows(douts[0], WIDTH, dout + query, Q_STRIDE, n_queries, D, 1.0f);\n"
    "                    for (int i = 0; i < n_queries; i++) {\n"
    "                        logsumexps[i] = logsumexp[(b * H + h) * T + first + i];\n"
    "                        means[i] = moec_dot(douts[i], out + query + i * Q_STRIDE, D);\n"
    "                    }\n"
    "\n"
    "                    /* Weights, the gradients of scores, and dq, for a tile of queries after the other. */\n"
    "                    for (int i = 0; i < n_queries; i += MOEC_TILE_ROWS) {\n"
    "                        int n_rows = n_queries - i < MOEC_TILE_ROWS ? n_queries - i : MOEC_TILE_ROWS;\n"
    "                        int64_t distance = first + i - s, last = distance + n_rows - 1;\n"
    "                        int low = distance < WINDOW ? 0 : distance - WINDOW + 1;\n"
    "                        int high = last < KEYS ? last + 1 : KEYS;\n"
    "                        int start = low / MOEC_LANES * MOEC_LANES; /* whole vectors around [low, high) */\n"
    "                        int n = (high - start + MOEC_LANES - 1) / MOEC_LANES * MOEC_LANES;\n"
    "                        if (low >= high)\n"
    "                            continue;\n"
    "                        moec_product(n_rows, n, D, queries[i], WIDTH, 1, keys[0] + start, KEYS, MOEC_SET, NULL,\n"
    "                                     weights[i] + start, KEYS);\n"
    "                        moec_product(n_rows, n, D, douts[i], WIDTH, 1, values[0] + start, KEYS, MOEC_SET, NULL,\n"
    "                                     dscores[i] + start, KEYS);\n"
    "                        if (distance + 1 >= KEYS && last < WINDOW)\n"
    "                            moec_attend_backward(weights[i], dscores[i], KEYS, 0, KEYS, 1, logsumexps + i,\n"
    "                                                 means + i);\n"
    "                        else\n"
    "                            moec_attend_backward(weights[i], dscores[i], KEYS, distance - WINDOW + 1,\n"
    "                                                 distance + 1, 0, logsumexps + i, means + i);\n"
    "                        int is_first = s == 0 || distance + 1 >= WINDOW; /* of the blocks that the tile sees */\n"
    "                        moec_product(n_rows, D, high - low, dscores[i] + low, KEYS, 1, key_rows[low], WIDTH,\n"
    "                                     is_first ? MOEC_SET : MOEC_ADD, NULL, dq + query + i * Q_STRIDE, Q_STRIDE);\n"
    "                    }\n"
    "\n"
    "                    /* dk and dv, for a tile of keys after the other: queries [low, high) see some of it. */\n"
    "                    for (int j = 0; j < n_keys; j += MOEC_TILE_ROWS) {\n"
    "                        int n_rows = n_keys - j < MOEC_TILE_ROWS ? n_keys - j : MOEC_TILE_ROWS;\n"
    "                        int64_t distance = s + j - first, past = distance + n_rows - 1 + WINDOW;\n"
    "                        int low = distance > 0 ? distance : 0, high = past < n_queries ? past : n_queries;\n"
    "                        if (low >= high)\n"
    "                            continue;\n"
    "                        moec_product(n_rows, WIDTH, high - low, &weights[low][j], 1, KEYS, douts[low], WIDTH,\n"
    "                                     MOEC_ADD, NULL, dvalues[j], WIDTH);\n"
    "                        moec_product(n_rows, WIDTH, high - low, &dscores[low][j], 1, KEYS, queries[low], WIDTH,\n"
    "                                     MOEC_ADD, NULL, dkeys[j], WIDTH);\n"
    "                    }\n"
    "                }\n"
    "                __atomic_store_n(turn, (int)block + 1, __ATOMIC_RELEASE);\n"
    "            }\n"
    "            for (int j = 0; j < n_keys; j++) {\n"
    "                moec_copy_rows(dk + key + j * K_STRIDE, D, dkeys[j], WIDTH, 1, D, scale);\n"
    "                moec_copy_rows(dv + key + j * K_STRIDE, D, dvalues[j], WIDTH, 1, D, 1.0f);\n"
    "            }\n"
    "        }\n"
    "    }\n"
    "}\n";

/* (q, k, v, out, logsumexp, dout) -> dq, dk, dv. */
void lower_attention_grad(CPrinter *c, const Node *node) {
    c_pointers(c, node, (const char *const[]){"dq", "dk", "dv", "q", "k", "v", "out", "logsumexp", "dout"});
    print_sizes(c, node);
    c_line(c, "enum { N_BLOCKS = (T + KEYS - 1) / KEYS };");
    c_text(c, backward_turns);
    c_parallel(c, node_flops(node), "collapse(3) schedule(monotonic : dynamic)");
    c_text(c, backward);
}
