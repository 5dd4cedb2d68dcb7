/* Rotary positions: the table of angles, and the turning of heads by it. */
#include <string.h>

#include "codegen/lower.h"

/* ---- The table ------------------------------------------------------------------------------------------------ */

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
