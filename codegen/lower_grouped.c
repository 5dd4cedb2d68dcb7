/* Per-expert vectors on ragged rows. */
#include "codegen/lower.h"

void lower_grouped_broadcast(CPrinter *c, const Node *node) {
    const Type *w = lower_operand_type(node, 0);
    int64_t n_elements = type_n_elements(&node->results[0].type);
    c_pointers(c, node, (const char *const[]){"out", "w", "offsets"});
    c_constants(c,
                (const CConstant[]){{"n_groups", w->dims[0].extent}, {"width", type_span(w, 1, w->rank)}, {NULL, 0}});
    c_parallel(c, (double)n_elements, "schedule(dynamic)");
    c_open(c, "for (int64_t group = 0; group < n_groups; group++)");
    c_open(c, "for (int64_t row = offsets[group]; row < offsets[group + 1]; row++)");
    c_line(c, "memcpy(out + row * width, w + group * width, sizeof(%s) * width);", c_type(w->dtype));
    c_close(c);
    c_close(c);
}

/* A block of columns at a time, so that there is work for as many threads as there are groups and blocks. */
void lower_grouped_sum(CPrinter *c, const Node *node) {
    const Type *x = lower_operand_type(node, 0), *result = &node->results[0].type;
    c_pointers(c, node, (const char *const[]){"out", "x", "offsets"});
    c_constants(c, (const CConstant[]){
                       {"n_groups", result->dims[0].extent}, {"width", type_span(result, 1, result->rank)}, {NULL, 0}});
    c_parallel(c, (double)type_n_elements(x), "collapse(2) schedule(dynamic)");
    c_text(c, "for (int64_t group = 0; group < n_groups; group++) {\n"
              "    for (int64_t first = 0; first < width; first += 64) {\n"
              "        int64_t end = first + 64 < width ? first + 64 : width;\n"
              "        double sum[64] = {0};\n"
              "        for (int64_t row = offsets[group]; row < offsets[group + 1]; row++) {\n"
              "            #pragma omp simd\n"
              "            for (int64_t i = first; i < end; i++)\n"
              "                sum[i - first] += x[row * width + i];\n"
              "        }\n"
              "        for (int64_t i = first; i < end; i++)\n"
              "            out[group * width + i] = (float)sum[i - first];\n"
              "    }\n"
              "}\n");
}
