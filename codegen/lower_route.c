/* Rows to experts and back, where what is moved is an element a slot. */
#include "codegen/lower.h"

/* How many slots share a row of the dense side. */
static int64_t slots_per_source(const Node *node) {
    return attrs_bool(&node->attrs, "per_slot", false) ? 1 : type_extent(lower_operand_type(node, 2), -1);
}

void lower_dispatch(CPrinter *c, const Node *node) {
    const Type *result = &node->results[0].type;
    int64_t width = type_span(result, 1, result->rank);
    c_pointers(c, node, (const char *const[]){"out", "x", "slot_of_row", NULL});
    c_constants(c, (const CConstant[]){{"n_rows", result->dims[0].extent},
                                       {"slots_per_source", slots_per_source(node)},
                                       {"width", width},
                                       {NULL, 0}});
    c_parallel(c, (double)type_n_elements(result), "");
    c_open(c, "for (int64_t row = 0; row < n_rows; row++)");
    c_line(c, "int64_t source = slot_of_row[row] / slots_per_source;");
    c_line(c, "if (slot_of_row[row] >= 0)");
    c_line(c, "    memcpy(out + row * width, x + source * width, sizeof(%s) * width);", c_type(result->dtype));
    c_close(c);
}

void lower_combine(CPrinter *c, const Node *node) {
    const Type *result = &node->results[0].type, *y = lower_operand_type(node, 0);
    int64_t width = type_span(y, 1, y->rank);
    c_pointers(c, node, (const char *const[]){"out", "y", NULL, "row_of_slot"});
    c_constants(c, (const CConstant[]){{"n_sources", type_n_elements(result) / width},
                                       {"slots_per_source", slots_per_source(node)},
                                       {"width", width},
                                       {NULL, 0}});
    c_parallel(c, (double)type_n_elements(result) * (double)slots_per_source(node), "");
    c_text(c, "for (int64_t source = 0; source < n_sources; source++) {\n"
              "    float *sum = out + source * width;\n"
              "    memset(sum, 0, sizeof(float) * width);\n"
              "    for (int64_t slot = source * slots_per_source; slot < (source + 1) * slots_per_source; slot++) {\n"
              "        int64_t row = row_of_slot[slot];\n"
              "        if (row < 0)\n"
              "            continue;\n"
              "        #pragma omp simd\n"
              "        for (int64_t i = 0; i < width; i++)\n"
              "            sum[i] += y[row * width + i];\n"
              "    }\n"
              "}\n");
}
