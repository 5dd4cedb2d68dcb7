/* Matrix products, which call runtime/matmul.h, and the per-expert vectors of ragged rows. */
#include <string.h>

#include "codegen/lower.h"

static bool has_mode(const Node *node, const char *mode) {
    return strcmp(attrs_string(&node->attrs, "mode", ""), mode) == 0;
}

/* The flattened shapes: tn contracts all leading dims, nt and nn keep them as rows. */
void lower_matmul(CPrinter *c, const Node *node) {
    const Type *a = lower_operand_type(node, 0), *b = lower_operand_type(node, 1);
    int64_t a_columns = type_extent(a, -1), b_columns = type_extent(b, -1);
    int64_t a_rows = type_n_elements(a) / a_columns, b_rows = type_n_elements(b) / b_columns;
    bool is_tn = has_mode(node, "tn"), is_nt = has_mode(node, "nt");
    int64_t n = is_nt ? b_rows : b_columns;
    c_pointers(c, node, (const char *const[]){"out", "a", "b"});
    c_constants(c, (const CConstant[]){
                       {"m", is_tn ? a_columns : a_rows}, {"n", n}, {"k", is_tn ? a_rows : a_columns}, {NULL, 0}});
    c_line(c, "moec_matmul(%s, %s, m, n, k, 1.0f, a, %s, b, %s, 0.0f, out, n);", is_tn ? "true" : "false",
           is_nt ? "true" : "false", is_tn ? "m" : "k", is_nt ? "k" : "n");
}

void lower_grouped_matmul(CPrinter *c, const Node *node) {
    const Type *a = lower_operand_type(node, 0), *result = &node->results[0].type;
    int64_t n_groups = type_extent(lower_operand_type(node, 2), 0) - 1, n = type_extent(result, -1);
    c_pointers(c, node, (const char *const[]){"out", "a", "b", "offsets"});
    if (has_mode(node, "tn")) {
        c_constants(c, (const CConstant[]){{"n_groups", n_groups}, {"m", type_extent(a, 1)}, {"n", n}, {NULL, 0}});
        c_line(c, "moec_grouped_matmul_weights(n_groups, offsets, m, n, a, b, out);");
        return;
    }
    c_constants(c, (const CConstant[]){{"n_groups", n_groups}, {"n", n}, {"k", type_extent(a, 1)}, {NULL, 0}});
    c_line(c, "moec_grouped_matmul_rows(%s, n_groups, offsets, n, k, a, b, out);",
           has_mode(node, "nt") ? "true" : "false");
}

/* ---- Vectors of experts --------------------------------------------------------------------------------------- */

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
