/* Movement along a dim or an index. An index that is out of range reads NaN (-1 in i32) and writes nowhere: it comes
   from data, and a loss that is NaN is seen. */
#include <assert.h>

#include "codegen/lower.h"

/* ---- Elements of any view ------------------------------------------------------------------------------------- */

LowerElement lower_element(CPrinter *c, Nest *nest, const Node *node, int operand, const char *name) {
    View view;
    bool is_affine = view_of(node->operands[operand], &view);
    assert(is_affine);
    (void)is_affine;
    const Node *owner = view.owner->def;
    if (owner->op == OP_constant)
        return (LowerElement){c_literal(c, view.owner->type.dtype, attrs_float(&owner->attrs, "value", 0)), -1};
    return (LowerElement){NULL, nest_add(nest, name, 0, view.strides)};
}

const char *lower_element_text(CPrinter *c, const Nest *nest, LowerElement element) {
    return element.literal != NULL ? element.literal : nest_element(c, nest, element.tensor);
}

/* Of integers, which forms don't hold exactly. */
void lower_copy(CPrinter *c, const Node *node) {
    c_pointers(c, node, (const char *const[]){"out", "x"});
    const Type *type = &node->results[0].type;
    Nest nest = nest_new(type);
    int64_t dense[MAX_RANK];
    type_strides(type, dense);
    int out = nest_add(&nest, "out", 0, dense);
    LowerElement x = lower_element(c, &nest, node, 0, "x");
    nest_merge(&nest, c->arena);
    nest_print_map(c, &nest, (double)type_n_elements(type),
                   arena_printf(c->arena, "%s = %s;", nest_element(c, &nest, out), lower_element_text(c, &nest, x)));
}

/* ---- Along a dim ---------------------------------------------------------------------------------------------- */

/* A nest over `type` whose tensor 0 is "out": the part of `whole` that starts at `start` along `dim`. */
static Nest part_nest(const Type *type, const Type *whole, int dim, int64_t start) {
    Nest nest = nest_new(type);
    int64_t strides[MAX_RANK];
    type_strides(whole, strides);
    nest_add(&nest, "out", start * strides[dim], strides);
    return nest;
}

/* Writes x, of `type`, there; zeros where `x` is NULL. */
static void print_part(CPrinter *c, const Type *type, const Type *whole, int dim, int64_t start, const char *x) {
    if (type->dims[dim].extent == 0)
        return;
    Nest nest = part_nest(type, whole, dim, start);
    int64_t strides[MAX_RANK];
    type_strides(type, strides);
    int from = x != NULL ? nest_add(&nest, x, 0, strides) : -1;
    nest_merge(&nest, c->arena);
    const char *value = x != NULL ? nest_element(c, &nest, from) : c_literal(c, type->dtype, 0);
    nest_print_map(c, &nest, (double)type_n_elements(type),
                   arena_printf(c->arena, "%s = %s;", nest_element(c, &nest, 0), value));
}

void lower_concat(CPrinter *c, const Node *node) {
    const Type *whole = &node->results[0].type;
    const char **names = arena_array_of(c->arena, const char *, node->n_operands + 1);
    names[0] = "out";
    for (int i = 0; i < node->n_operands; i++)
        names[i + 1] = arena_printf(c->arena, "x%d", i);
    c_pointers(c, node, names);
    int dim = (int)attrs_int(&node->attrs, "dim", 0);
    int64_t start = 0;
    for (int i = 0; i < node->n_operands; i++) {
        const Type *type = lower_operand_type(node, i);
        print_part(c, type, whole, dim, start, names[i + 1]);
        start += type->dims[dim].extent;
    }
}

void lower_pad(CPrinter *c, const Node *node) {
    c_pointers(c, node, (const char *const[]){"out", "x"});
    const Type *type = lower_operand_type(node, 0), *whole = &node->results[0].type;
    int dim = (int)attrs_int(&node->attrs, "dim", 0);
    Type before = *type, after = *type;
    before.dims[dim] = (Dim){.extent = attrs_int(&node->attrs, "before", 0)};
    after.dims[dim] = (Dim){.extent = attrs_int(&node->attrs, "after", 0)};
    int64_t end = before.dims[dim].extent + type->dims[dim].extent;
    print_part(c, &before, whole, dim, 0, NULL);
    print_part(c, type, whole, dim, before.dims[dim].extent, "x");
    print_part(c, &after, whole, dim, end, NULL);
}

/* ---- Along an index ------------------------------------------------------------------------------------------- */

/* What an index out of range reads. */
static const char *missing(DType dtype) {
    return dtype == DTYPE_I32 ? "-1" : "NAN";
}

void lower_gather(CPrinter *c, const Node *node) {
    const Type *table = lower_operand_type(node, 0), *indices = lower_operand_type(node, 1);
    int64_t n_indices = type_n_elements(indices);
    c_pointers(c, node, (const char *const[]){"out", "table", "indices"});
    c_constants(c, (const CConstant[]){{"n_indices", n_indices},
                                       {"n_rows", table->dims[0].extent},
                                       {"width", type_span(table, 1, table->rank)},
                                       {NULL, 0}});
    c_parallel(c, (double)n_indices * (double)type_span(table, 1, table->rank), "");
    c_open(c, "for (int64_t i = 0; i < n_indices; i++)");
    c_line(c, "int64_t row = indices[i];");
    c_line(c, "int is_missing = row < 0 || row >= n_rows;");
    c_line(c, "const %s *from = table + (is_missing ? 0 : row) * width;", c_type(table->dtype));
    c_line(c, "#pragma omp simd");
    c_line(c, "for (int64_t j = 0; j < width; j++)");
    c_line(c, "    out[i * width + j] = is_missing ? %s : from[j];", missing(table->dtype));
    c_close(c);
}

/* A block of columns belongs to one thread, which goes through all indices in order: the sums have one order. */
void lower_scatter_add(CPrinter *c, const Node *node) {
    const Type *rows = &node->results[0].type;
    int64_t n_rows = rows->dims[0].extent, n_indices = type_n_elements(lower_operand_type(node, 1));
    int64_t width = type_span(rows, 1, rows->rank);
    c_pointers(c, node, (const char *const[]){"out", "x", "indices"});
    c_constants(c, (const CConstant[]){{"n_indices", n_indices},
                                       {"n_rows", n_rows},
                                       {"width", width},
                                       {"COLUMNS", width < 64 ? width : 64},
                                       {"n_chunks", n_rows < 64 ? n_rows : 64},
                                       {NULL, 0}});
    c_parallel(c, (double)n_rows * (double)width, "");
    c_text(c, "for (int64_t chunk = 0; chunk < n_chunks; chunk++) {\n"
              "    int64_t start = chunk * n_rows / n_chunks, end = (chunk + 1) * n_rows / n_chunks;\n"
              "    memset(out + start * width, 0, sizeof(float) * (size_t)((end - start) * width));\n"
              "}\n");
    if (width > 64)
        c_parallel(c, (double)n_indices * (double)width, "schedule(dynamic)");
    c_text(c, "for (int64_t first = 0; first < width; first += COLUMNS) {\n"
              "    int64_t end = first + COLUMNS < width ? first + COLUMNS : width;\n"
              "    for (int64_t i = 0; i < n_indices; i++) {\n"
              "        int64_t row = indices[i];\n"
              "        if (row < 0 || row >= n_rows)\n"
              "            continue;\n"
              "        #pragma omp simd\n"
              "        for (int64_t j = first; j < end; j++)\n"
              "            out[row * width + j] += x[i * width + j];\n"
              "    }\n"
              "}\n");
}

void lower_gather_last(CPrinter *c, const Node *node) {
    const Type *x = lower_operand_type(node, 0), *indices = lower_operand_type(node, 1);
    int64_t n_choices = type_extent(indices, -1), n_indices = type_n_elements(indices);
    c_pointers(c, node, (const char *const[]){"out", "x", "indices"});
    c_constants(
        c, (const CConstant[]){
               {"n_rows", n_indices / n_choices}, {"n_choices", n_choices}, {"width", type_extent(x, -1)}, {NULL, 0}});
    c_parallel(c, (double)n_indices, "");
    c_open(c, "for (int64_t row = 0; row < n_rows; row++)");
    c_open(c, "for (int64_t i = row * n_choices; i < (row + 1) * n_choices; i++)");
    c_line(c, "int64_t column = indices[i];");
    c_line(c, "out[i] = column < 0 || column >= width ? %s : x[row * width + column];", missing(x->dtype));
    c_close(c);
    c_close(c);
}

void lower_scatter_last(CPrinter *c, const Node *node) {
    const Type *result = &node->results[0].type;
    int64_t n_choices = type_extent(lower_operand_type(node, 1), -1), width = type_extent(result, -1);
    int64_t n_elements = type_n_elements(result);
    c_pointers(c, node, (const char *const[]){"out", "x", "indices"});
    c_constants(
        c, (const CConstant[]){{"n_rows", n_elements / width}, {"n_choices", n_choices}, {"width", width}, {NULL, 0}});
    c_parallel(c, (double)n_elements, "");
    c_text(c, "for (int64_t row = 0; row < n_rows; row++) {\n"
              "    memset(out + row * width, 0, sizeof(float) * width);\n"
              "    for (int64_t i = row * n_choices; i < (row + 1) * n_choices; i++) {\n"
              "        int64_t column = indices[i];\n"
              "        if (column >= 0 && column < width)\n"
              "            out[row * width + column] += x[i];\n"
              "    }\n"
              "}\n");
}
