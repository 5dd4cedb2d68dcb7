/* Attention and rotary positions.

   Attention works on blocks of BLOCK queries by BLOCK keys, so that the scores of one block pair are all that is in
   memory (Dao et al. 2022); its products are small calls of moec_matmul within a thread. Every result is written by one
   thread in one order. */
#include <string.h>

#include "codegen/lower.h"

/* ---- Rotary positions ----------------------------------------------------------------------------------------- */

/* The angle from a position to the next of each pair, as ir/interpret_attention.c says. */
static void print_frequencies(CPrinter *c, const Node *node) {
    const Attrs *attrs = &node->attrs;
    bool is_stretched = strcmp(attrs_string(attrs, "scaling", ""), "llama3") == 0;
    if (is_stretched)
        c_line(c, "const double factor = %s, low = %s, high = %s, original = %s;",
               c_double(c, attrs_float(attrs, "factor", 1)), c_double(c, attrs_float(attrs, "low_freq_factor", 1)),
               c_double(c, attrs_float(attrs, "high_freq_factor", 1)),
               c_double(c, attrs_float(attrs, "original_context", 1)));
    c_line(c, "double frequencies[n_pairs];");
    c_open(c, "for (int64_t i = 0; i < n_pairs; i++)");
    c_line(c, "double frequency = pow(%s, -(double)i / n_pairs);", c_double(c, attrs_float(attrs, "theta", 1)));
    if (is_stretched)
        c_text(c, "double wavelength = 6.283185307179586 / frequency;\n"
                  "double smooth = (original / wavelength - low) / (high - low);\n"
                  "if (wavelength > original / low)\n"
                  "    frequency /= factor;\n"
                  "else if (!(wavelength < original / high))\n"
                  "    frequency *= (1 - smooth) / factor + smooth;\n");
    c_line(c, "frequencies[i] = frequency;");
    c_close(c);
}

void lower_rope_table(CPrinter *c, const Node *node) {
    const Type *type = &node->results[0].type;
    c_pointers(c, node, (const char *const[]){"table"});
    c_constants(
        c, (const CConstant[]){{"n_positions", type->dims[0].extent}, {"n_pairs", type->dims[1].extent}, {NULL, 0}});
    print_frequencies(c, node);
    c_parallel(c, 32.0 * (double)type_n_elements(type), "");
    c_text(c, "for (int64_t t = 0; t < n_positions; t++) {\n"
              "    for (int64_t i = 0; i < n_pairs; i++) {\n"
              "        table[(t * n_pairs + i) * 2] = (float)cos(t * frequencies[i]);\n"
              "        table[(t * n_pairs + i) * 2 + 1] = (float)sin(t * frequencies[i]);\n"
              "    }\n"
              "}\n");
}

void lower_rope(CPrinter *c, const Node *node) {
    const Type *x = lower_operand_type(node, 0);
    c_pointers(c, node, (const char *const[]){"out", "x", "table"});
    c_constants(c, (const CConstant[]){{"n_tokens", x->dims[0].extent * x->dims[1].extent},
                                       {"n_positions", x->dims[1].extent},
                                       {"n_heads", x->dims[2].extent},
                                       {"n_pairs", x->dims[3].extent / 2},
                                       {NULL, 0}});
    c_parallel(c, node_flops(node), "");
    c_open(c, "for (int64_t token = 0; token < n_tokens; token++)");
    c_line(c, "const float *angle = table + token %% n_positions * n_pairs * 2;");
    c_open(c, "for (int64_t head = token * n_heads; head < (token + 1) * n_heads; head++)");
    c_text(c, "const float *from = x + head * n_pairs * 2;\n"
              "float *to = out + head * n_pairs * 2;\n"
              "#pragma omp simd\n");
    c_open(c, "for (int64_t i = 0; i < n_pairs; i++)");
    c_line(c, "float cosine = angle[2 * i], sine = %sangle[2 * i + 1];",
           attrs_bool(&node->attrs, "inverse", false) ? "-" : "");
    c_text(c, "to[i] = from[i] * cosine - from[i + n_pairs] * sine;\n"
              "to[i + n_pairs] = from[i + n_pairs] * cosine + from[i] * sine;\n");
    c_close(c);
    c_close(c);
    c_close(c);
}

/* ---- Attention ------------------------------------------------------------------------------------------------ */

/* B sequences of T positions, H query heads and G key-value heads of D; a window of T is none. */
static void print_attention_constants(CPrinter *c, const Node *node) {
    const Type *q = lower_operand_type(node, 0), *k = lower_operand_type(node, 1);
    int64_t n_positions = q->dims[1].extent, window = attrs_int(&node->attrs, "window", 0);
    bool has_window = window > 0 && window < n_positions;
    c_constants(c, (const CConstant[]){{"B", q->dims[0].extent},
                                       {"T", n_positions},
                                       {"H", q->dims[2].extent},
                                       {"G", k->dims[2].extent},
                                       {"D", q->dims[3].extent},
                                       {"WINDOW", has_window ? window : n_positions},
                                       {NULL, 0}});
    c_line(c, "enum { BLOCK = 64, Q_STRIDE = H * D, K_STRIDE = G * D }; /* strides: from a position to the next */");
    c_line(c, "const float scale = %s;", c_literal(c, DTYPE_F32, attrs_float(&node->attrs, "scale", 1)));
}

static const char attention_body[] =
    "for (int64_t b = 0; b < B; b++) {\n"
    "    for (int64_t h = 0; h < H; h++) {\n"
    "        for (int64_t first = 0; first < T; first += BLOCK) {\n"
    "            int64_t n_queries = T - first < BLOCK ? T - first : BLOCK;\n"
    "            int64_t query = ((b * T + first) * H + h) * D, key = (b * T * G + h / (H / G)) * D;\n"
    "            float scores[BLOCK][BLOCK], mean[BLOCK][D], maximum[BLOCK], sum[BLOCK];\n"
    "            memset(mean, 0, sizeof mean);\n"
    "            memset(sum, 0, sizeof sum);\n"
    "            for (int64_t i = 0; i < BLOCK; i++)\n"
    "                maximum[i] = -FLT_MAX;\n"
    "\n"
    "            int64_t first_seen = first < WINDOW ? 0 : (first - WINDOW + 1) / BLOCK * BLOCK;\n"
    "            for (int64_t s = first_seen; s < first + n_queries; s += BLOCK) {\n"
    "                int64_t n_keys = first + n_queries - s < BLOCK ? first + n_queries - s : BLOCK;\n"
    "                const float *k_block = k + key + s * K_STRIDE, *v_block = v + key + s * K_STRIDE;\n"
    "                moec_matmul(false, true, n_queries, n_keys, D, scale, q + query, Q_STRIDE, k_block, K_STRIDE,\n"
    "                            0.0f, scores[0], BLOCK);\n"
    "                for (int64_t i = 0; i < n_queries; i++) {\n"
    "                    float before = maximum[i];\n"
    "                    sum[i] = moec_attend(scores[i], n_keys, first + i - s, WINDOW, &maximum[i], sum[i]);\n"
    "                    float correction = moec_exp(before - maximum[i]);\n"
    "                    #pragma omp simd\n"
    "                    for (int64_t d = 0; d < D; d++)\n"
    "                        mean[i][d] *= correction;\n"
    "                }\n"
    "                moec_matmul(false, false, n_queries, D, n_keys, 1.0f, scores[0], BLOCK, v_block, K_STRIDE, 1.0f,\n"
    "                            mean[0], D);\n"
    "            }\n"
    "\n"
    "            for (int64_t i = 0; i < n_queries; i++) {\n"
    "                logsumexp[(b * H + h) * T + first + i] = maximum[i] + logf(sum[i]);\n"
    "                #pragma omp simd\n"
    "                for (int64_t d = 0; d < D; d++)\n"
    "                    out[query + i * Q_STRIDE + d] = mean[i][d] / sum[i];\n"
    "            }\n"
    "        }\n"
    "    }\n"
    "}\n";

/* (q, k, v) -> out, logsumexp. */
void lower_attention(CPrinter *c, const Node *node) {
    c_pointers(c, node, (const char *const[]){"out", "logsumexp", "q", "k", "v"});
    print_attention_constants(c, node);
    c_parallel(c, node_flops(node), "collapse(3) schedule(dynamic)");
    c_text(c, attention_body);
}

/* dq: a block of queries, over all keys that they see. */
static const char attention_dq[] =
    "for (int64_t b = 0; b < B; b++) {\n"
    "    for (int64_t h = 0; h < H; h++) {\n"
    "        for (int64_t first = 0; first < T; first += BLOCK) {\n"
    "            int64_t n_queries = T - first < BLOCK ? T - first : BLOCK;\n"
    "            int64_t query = ((b * T + first) * H + h) * D, key = (b * T * G + h / (H / G)) * D;\n"
    "            float weights[BLOCK][BLOCK], dscores[BLOCK][BLOCK], means[BLOCK];\n"
    "            moec_row_products(means, dout + query, out + query, n_queries, D, Q_STRIDE);\n"
    "            int64_t first_seen = first < WINDOW ? 0 : (first - WINDOW + 1) / BLOCK * BLOCK;\n"
    "            for (int64_t s = first_seen; s < first + n_queries; s += BLOCK) {\n"
    "                int64_t n_keys = first + n_queries - s < BLOCK ? first + n_queries - s : BLOCK;\n"
    "                const float *k_block = k + key + s * K_STRIDE, *v_block = v + key + s * K_STRIDE;\n"
    "                moec_matmul(false, true, n_queries, n_keys, D, scale, q + query, Q_STRIDE, k_block, K_STRIDE,\n"
    "                            0.0f, weights[0], BLOCK);\n"
    "                moec_matmul(false, true, n_queries, n_keys, D, 1.0f, dout + query, Q_STRIDE, v_block, K_STRIDE,\n"
    "                            0.0f, dscores[0], BLOCK);\n"
    "                for (int64_t i = 0; i < n_queries; i++)\n"
    "                    moec_attend_backward(weights[i], dscores[i], n_keys, first + i - s, WINDOW,\n"
    "                                         logsumexp[(b * H + h) * T + first + i], means[i]);\n"
    "                moec_matmul(false, false, n_queries, D, n_keys, scale, dscores[0], BLOCK, k_block, K_STRIDE,\n"
    "                            s == first_seen ? 0.0f : 1.0f, dq + query, Q_STRIDE);\n"
    "            }\n"
    "        }\n"
    "    }\n"
    "}\n";

/* dk and dv: a block of keys, over all queries of its group's heads that see them. */
static const char attention_dk_dv[] =
    "for (int64_t b = 0; b < B; b++) {\n"
    "    for (int64_t g = 0; g < G; g++) {\n"
    "        for (int64_t s = 0; s < T; s += BLOCK) {\n"
    "            int64_t n_keys = T - s < BLOCK ? T - s : BLOCK, key = ((b * T + s) * G + g) * D;\n"
    "            int64_t last = s + n_keys - 1 + WINDOW; /* no query from here on sees the keys */\n"
    "            int64_t end = last < T ? last : T;\n"
    "            float weights[BLOCK][BLOCK], dscores[BLOCK][BLOCK], means[BLOCK], beta = 0.0f;\n"
    "            for (int64_t h = g * (H / G); h < (g + 1) * (H / G); h++) {\n"
    "                for (int64_t first = s; first < end; first += BLOCK) {\n"
    "                    int64_t n_queries = end - first < BLOCK ? end - first : BLOCK;\n"
    "                    int64_t query = ((b * T + first) * H + h) * D;\n"
    "                    moec_row_products(means, dout + query, out + query, n_queries, D, Q_STRIDE);\n"
    "                    moec_matmul(false, true, n_queries, n_keys, D, scale, q + query, Q_STRIDE, k + key,\n"
    "                                K_STRIDE, 0.0f, weights[0], BLOCK);\n"
    "                    moec_matmul(false, true, n_queries, n_keys, D, 1.0f, dout + query, Q_STRIDE, v + key,\n"
    "                                K_STRIDE, 0.0f, dscores[0], BLOCK);\n"
    "                    for (int64_t i = 0; i < n_queries; i++)\n"
    "                        moec_attend_backward(weights[i], dscores[i], n_keys, first + i - s, WINDOW,\n"
    "                                             logsumexp[(b * H + h) * T + first + i], means[i]);\n"
    "                    moec_matmul(true, false, n_keys, D, n_queries, 1.0f, weights[0], BLOCK, dout + query,\n"
    "                                Q_STRIDE, beta, dv + key, K_STRIDE);\n"
    "                    moec_matmul(true, false, n_keys, D, n_queries, scale, dscores[0], BLOCK, q + query,\n"
    "                                Q_STRIDE, beta, dk + key, K_STRIDE);\n"
    "                    beta = 1.0f;\n"
    "                }\n"
    "            }\n"
    "        }\n"
    "    }\n"
    "}\n";

/* (q, k, v, out, logsumexp, dout) -> dq, dk, dv. Two passes, each of which computes the weights again: so every result
   has one writer, and there is work for many threads whatever the number of heads. */
void lower_attention_grad(CPrinter *c, const Node *node) {
    c_pointers(c, node, (const char *const[]){"dq", "dk", "dv", "q", "k", "v", "out", "logsumexp", "dout"});
    print_attention_constants(c, node);
    c_parallel(c, node_flops(node), "collapse(3) schedule(dynamic)");
    c_text(c, attention_dq);
    c_parallel(c, node_flops(node), "collapse(3) schedule(dynamic)");
    c_text(c, attention_dk_dv);
}
