/* Views and movement: every element of the result is an element of an operand, or a sum of some (scatter_add). */
#include "ir/interpret_internal.h"

#include <string.h>

#include "ir/ops_internal.h"

/* result[i] = source[strided_offset(i)], i over the result in row-major order. */
static void copy_strided(Tensor *result, const double *source, const int64_t *strides) {
    int64_t n_elements = type_n_elements(&result->type);
    for (int64_t i = 0; i < n_elements; i++)
        result->data[i] = source[strided_offset(&result->type, i, strides)];
}

/* ---- Views --------------------------------------------------------------------------------------------------- */

/* The same elements in the same row-major order. */
void interpret_reshape(Interpreter *interpreter, const Node *node) {
    const Tensor *x = interpreter_operand(interpreter, node, 0);
    Tensor *result = interpreter_result(interpreter, node, 0);
    memcpy(result->data, x->data, sizeof(double) * (size_t)type_n_elements(&x->type));
}

/* Dim i of x is dim dims[i] of the result; along the result's other dims the elements repeat. */
void interpret_broadcast(Interpreter *interpreter, const Node *node) {
    const Tensor *x = interpreter_operand(interpreter, node, 0);
    int n_dims;
    const int64_t *dims = attrs_ints(&node->attrs, "dims", &n_dims);
    int64_t x_strides[MAX_RANK], strides[MAX_RANK] = {0};
    type_strides(&x->type, x_strides);
    for (int i = 0; i < n_dims; i++)
        strides[dims[i]] = x_strides[i];
    copy_strided(interpreter_result(interpreter, node, 0), x->data, strides);
}

/* Dim i of the result is dim perm[i] of x. */
void interpret_transpose(Interpreter *interpreter, const Node *node) {
    const Tensor *x = interpreter_operand(interpreter, node, 0);
    int n_dims;
    const int64_t *perm = attrs_ints(&node->attrs, "perm", &n_dims);
    int64_t x_strides[MAX_RANK], strides[MAX_RANK];
    type_strides(&x->type, x_strides);
    for (int i = 0; i < n_dims; i++)
        strides[i] = x_strides[perm[i]];
    copy_strided(interpreter_result(interpreter, node, 0), x->data, strides);
}

/* Elements [start, start + extent of the result) along `dim`. */
void interpret_slice(Interpreter *interpreter, const Node *node) {
    const Tensor *x = interpreter_operand(interpreter, node, 0);
    int64_t strides[MAX_RANK];
    type_strides(&x->type, strides);
    int64_t first = attrs_int(&node->attrs, "start", 0) * strides[attrs_int(&node->attrs, "dim", 0)];
    copy_strided(interpreter_result(interpreter, node, 0), x->data + first, strides);
}

/* ---- Along a dim --------------------------------------------------------------------------------------------- */

/* Copies `part` into `whole` so that its first element along `dim` lands at `start` there. */
static void place_along(Tensor *whole, const Tensor *part, int dim, int64_t start) {
    int64_t n_outer = type_span(&part->type, 0, dim);
    int64_t inner = type_span(&part->type, dim + 1, part->type.rank);
    int64_t part_block = part->type.dims[dim].extent * inner, whole_block = whole->type.dims[dim].extent * inner;
    for (int64_t outer = 0; outer < n_outer; outer++)
        memcpy(whole->data + outer * whole_block + start * inner, part->data + outer * part_block,
               sizeof(double) * (size_t)part_block);
}

/* The operands one after the other along `dim`. */
void interpret_concat(Interpreter *interpreter, const Node *node) {
    Tensor *result = interpreter_result(interpreter, node, 0);
    int dim = (int)attrs_int(&node->attrs, "dim", 0);
    int64_t start = 0;
    for (int i = 0; i < node->n_operands; i++) {
        const Tensor *part = interpreter_operand(interpreter, node, i);
        place_along(result, part, dim, start);
        start += part->type.dims[dim].extent;
    }
}

/* x with `before` and `after` zeros added along `dim`. */
void interpret_pad(Interpreter *interpreter, const Node *node) {
    const Tensor *x = interpreter_operand(interpreter, node, 0);
    place_along(interpreter_result(interpreter, node, 0), x, (int)attrs_int(&node->attrs, "dim", 0),
                attrs_int(&node->attrs, "before", 0));
}

/* ---- Along an index ------------------------------------------------------------------------------------------ */

/* table[V, rest..], indices[..] -> [.., rest..]: row indices[i] of the table. */
void interpret_gather(Interpreter *interpreter, const Node *node) {
    const Tensor *table = interpreter_operand(interpreter, node, 0);
    const Tensor *indices = interpreter_operand(interpreter, node, 1);
    Tensor *result = interpreter_result(interpreter, node, 0);
    int64_t n_rows = type_extent(&table->type, 0), width = type_span(&table->type, 1, table->type.rank);
    int64_t n_indices = type_n_elements(&indices->type);
    for (int64_t i = 0; i < n_indices; i++) {
        double row = indices->data[i];
        if (!interpreter_check_index(interpreter, node, "row index", row, n_rows))
            return;
        memcpy(result->data + i * width, table->data + (int64_t)row * width, sizeof(double) * (size_t)width);
    }
}

/* Adjoint of gather: x[.., rest..], indices[..] -> [rows, rest..], row r the sum of the x[i] with indices[i] = r. */
void interpret_scatter_add(Interpreter *interpreter, const Node *node) {
    const Tensor *x = interpreter_operand(interpreter, node, 0);
    const Tensor *indices = interpreter_operand(interpreter, node, 1);
    Tensor *result = interpreter_result(interpreter, node, 0);
    int64_t n_rows = type_extent(&result->type, 0), width = type_span(&result->type, 1, result->type.rank);
    int64_t n_indices = type_n_elements(&indices->type);
    for (int64_t i = 0; i < n_indices; i++) {
        double row = indices->data[i];
        if (!interpreter_check_index(interpreter, node, "row index", row, n_rows))
            return;
        for (int64_t j = 0; j < width; j++)
            result->data[(int64_t)row * width + j] += x->data[i * width + j];
    }
}

/* x[.., V], indices[.., k] -> [.., k]: x[.., indices[.., j]]. */
void interpret_gather_last(Interpreter *interpreter, const Node *node) {
    const Tensor *x = interpreter_operand(interpreter, node, 0);
    const Tensor *indices = interpreter_operand(interpreter, node, 1);
    Tensor *result = interpreter_result(interpreter, node, 0);
    int64_t extent = type_extent(&x->type, -1), n_indices = type_n_elements(&indices->type);
    int64_t n_choices = n_indices * extent / type_n_elements(&x->type);
    for (int64_t i = 0; i < n_indices; i++) {
        double index = indices->data[i];
        if (!interpreter_check_index(interpreter, node, "index", index, extent))
            return;
        result->data[i] = x->data[i / n_choices * extent + (int64_t)index];
    }
}

/* Adjoint of gather_last: x[.., k], indices[.., k] -> [.., extent], the sum of what points there, or zero. */
void interpret_scatter_last(Interpreter *interpreter, const Node *node) {
    const Tensor *x = interpreter_operand(interpreter, node, 0);
    const Tensor *indices = interpreter_operand(interpreter, node, 1);
    Tensor *result = interpreter_result(interpreter, node, 0);
    int64_t extent = type_extent(&result->type, -1), n_indices = type_n_elements(&indices->type);
    int64_t n_choices = n_indices * extent / type_n_elements(&result->type);
    for (int64_t i = 0; i < n_indices; i++) {
        double index = indices->data[i];
        if (!interpreter_check_index(interpreter, node, "index", index, extent))
            return;
        result->data[i / n_choices * extent + (int64_t)index] += x->data[i];
    }
}
