/* Reductions: whole dims of the operand fold into one element, in row-major order. */
#include "ir/interpret_internal.h"

#include <math.h>

#include "ir/ops_internal.h"

/* x[..] with the dims of `dims` summed out. */
void interpret_reduce_sum(Interpreter *interpreter, const Node *node) {
    const Tensor *x = interpreter_operand(interpreter, node, 0);
    Tensor *result = interpreter_result(interpreter, node, 0);
    int n_dims;
    const int64_t *dims = attrs_ints(&node->attrs, "dims", &n_dims);
    bool is_reduced[MAX_RANK] = {false};
    for (int i = 0; i < n_dims; i++)
        is_reduced[dims[i]] = true;

    int64_t result_strides[MAX_RANK] = {0}, strides[MAX_RANK]; /* of the result, by its own dims and by x's */
    type_strides(&result->type, result_strides);
    int kept = 0;
    for (int i = 0; i < x->type.rank; i++)
        strides[i] = is_reduced[i] ? 0 : result_strides[kept++];

    int64_t n_elements = type_n_elements(&x->type);
    for (int64_t i = 0; i < n_elements; i++)
        result->data[strided_offset(&x->type, i, strides)] += x->data[i];
}

static double row_maximum(const double *row, int64_t n) {
    double maximum = row[0];
    for (int64_t i = 1; i < n; i++)
        maximum = fmax(maximum, row[i]);
    return maximum;
}

/* Sum of exp(row - shift). */
static double row_sum_exp(const double *row, int64_t n, double shift) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += exp(row[i] - shift);
    return sum;
}

double interpreter_logsumexp(const double *row, int64_t n) {
    double maximum = row_maximum(row, n);
    return maximum + log(row_sum_exp(row, n, maximum));
}

/* Along the last dim: exp(x) / sum(exp(x)), both shifted by the row's maximum so that no term overflows. */
void interpret_softmax(Interpreter *interpreter, const Node *node) {
    const Tensor *x = interpreter_operand(interpreter, node, 0);
    Tensor *result = interpreter_result(interpreter, node, 0);
    int64_t n = type_extent(&x->type, -1), n_elements = type_n_elements(&x->type);
    for (int64_t row = 0; row < n_elements; row += n) {
        double maximum = row_maximum(x->data + row, n);
        double sum = row_sum_exp(x->data + row, n, maximum);
        for (int64_t i = row; i < row + n; i++)
            result->data[i] = exp(x->data[i] - maximum) / sum;
    }
}

/* Along the last dim, which it drops. */
void interpret_logsumexp(Interpreter *interpreter, const Node *node) {
    const Tensor *x = interpreter_operand(interpreter, node, 0);
    Tensor *result = interpreter_result(interpreter, node, 0);
    int64_t n = type_extent(&x->type, -1), n_rows = type_n_elements(&result->type);
    for (int64_t row = 0; row < n_rows; row++)
        result->data[row] = interpreter_logsumexp(x->data + row * n, n);
}

/* f32[]: the sum of the squares of all elements of all operands. */
void interpret_sum_squares(Interpreter *interpreter, const Node *node) {
    Tensor *result = interpreter_result(interpreter, node, 0);
    for (int operand = 0; operand < node->n_operands; operand++) {
        const Tensor *x = interpreter_operand(interpreter, node, operand);
        int64_t n_elements = type_n_elements(&x->type);
        for (int64_t i = 0; i < n_elements; i++)
            result->data[0] += x->data[i] * x->data[i];
    }
}
