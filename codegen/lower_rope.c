/* Rotary positions: the table of angles, and the turning of heads by it. The table is made once, of doubles, and has no
   form: it is C that runs on the host. */
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

void lower_rope_table(NodeLowering *at) {
    CPrinter *c = at->text;
    const Type *type = &at->node->results[0].type;
    lower_result(at, "table", 0);
    at->has_text = true;
    c_line(c, "float *restrict table = args[0];");
    c_constants(
        c, (const CConstant[]){{"n_positions", type->dims[0].extent}, {"n_pairs", type->dims[1].extent}, {NULL, 0}});
    print_frequencies(c, at->node);
    c_parallel(c, 32.0 * (double)type_n_elements(type), "");
    c_text(c, "for (int64_t t = 0; t < n_positions; t++) {\n"
              "    for (int64_t i = 0; i < n_pairs; i++) {\n"
              "        table[(t * n_pairs + i) * 2] = (float)cos(t * frequencies[i]);\n"
              "        table[(t * n_pairs + i) * 2 + 1] = (float)sin(t * frequencies[i]);\n"
              "    }\n"
              "}\n");
}

/* ---- Turning --------------------------------------------------------------------------------------------------- */

/* Element i of a head's first half and that of its second are turned together, by the angle of the position. */
void lower_rope(NodeLowering *at) {
    enum { SEQUENCE, POSITION, HEAD, PAIR };
    const Type *x = lower_operand_type(at->node, 0);
    int64_t n_positions = x->dims[POSITION].extent, n_heads = x->dims[HEAD].extent, n_pairs = x->dims[PAIR].extent / 2;
    lower_index(at, "b", x->dims[SEQUENCE].extent, false);
    lower_index(at, "t", n_positions, false);
    lower_index(at, "h", n_heads, true);
    lower_index(at, "i", n_pairs, true);
    int64_t row = n_heads * n_pairs * 2;
    FormAccessMap to = {.strides = {n_positions * row, row, n_pairs * 2, 1}, .gather = FORM_NONE}, from = to;
    FormAccessMap angle = {.strides = {[POSITION] = n_pairs * 2, [PAIR] = 2}, .gather = FORM_NONE};
    to.arg = lower_result(at, "y", 0);
    from.arg = lower_operand(at, "x", 0);
    angle.arg = lower_operand(at, "table", 1);
    uint32_t a = lower_read(at, from, FORM_NONE), cosine = lower_read(at, angle, FORM_NONE);
    from.offset = n_pairs;
    angle.offset = 1;
    uint32_t b = lower_read(at, from, FORM_NONE), sine = lower_read(at, angle, FORM_NONE);
    if (attrs_bool(&at->node->attrs, "inverse", false))
        sine = lower_map(at, OP_neg, sine, FORM_NONE);
    lower_store(at, to, lower_map(at, OP_sub, lower_map(at, OP_mul, a, cosine), lower_map(at, OP_mul, b, sine)));
    to.offset = n_pairs;
    lower_store(at, to, lower_map(at, OP_add, lower_map(at, OP_mul, b, cosine), lower_map(at, OP_mul, a, sine)));
}
