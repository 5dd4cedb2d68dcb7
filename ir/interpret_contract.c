/* Matrix products, dense and grouped by expert, and the per-expert vectors of ragged rows.

   The ragged ops take offsets i32[E+1]: rows [offsets[e], offsets[e+1]) belong to expert e. Rows past offsets[E] are
   never read; results there are NaN, so that an op that lets them reach a used value is seen. */
#include "ir/interpret_internal.h"

#include <math.h>
#include <string.h>

#include "ir/ops_internal.h"

/* A matrix in storage: element (i, j) stands at data[i * row_stride + j * column_stride]. */
typedef struct {
    double *data;
    int64_t row_stride, column_stride;
} Matrix;

static Matrix matrix_of(double *data, int64_t n_columns) {
    return (Matrix){data, n_columns, 1};
}

static Matrix matrix_transposed(double *data, int64_t n_columns) {
    return (Matrix){data, 1, n_columns};
}

/* c[m, n] = a[m, k] b[k, n], c dense. */
static void matrix_multiply(double *c, Matrix a, Matrix b, int64_t m, int64_t n, int64_t k) {
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int64_t l = 0; l < k; l++)
                sum += a.data[i * a.row_stride + l * a.column_stride] * b.data[l * b.row_stride + j * b.column_stride];
            c[i * n + j] = sum;
        }
    }
}

/* nt: a[.., K] b[N, K] -> [.., N]; nn: a[.., K] b[K, N] -> [.., N]; tn: a[.., M] b[.., N] -> [M, N]. */
void interpret_matmul(Interpreter *interpreter, const Node *node) {
    const Type *a_type = &interpreter_operand(interpreter, node, 0)->type;
    const Type *b_type = &interpreter_operand(interpreter, node, 1)->type;
    double *result = interpreter_result(interpreter, node, 0)->data;
    const char *mode = attrs_string(&node->attrs, "mode", "");
    int64_t a_columns = type_extent(a_type, -1), b_columns = type_extent(b_type, -1);
    int64_t a_rows = type_n_elements(a_type) / a_columns, b_rows = type_n_elements(b_type) / b_columns;
    double *a = interpreter_operand(interpreter, node, 0)->data, *b = interpreter_operand(interpreter, node, 1)->data;
    if (strcmp(mode, "nt") == 0)
        matrix_multiply(result, matrix_of(a, a_columns), matrix_transposed(b, b_columns), a_rows, b_rows, a_columns);
    else if (strcmp(mode, "nn") == 0)
        matrix_multiply(result, matrix_of(a, a_columns), matrix_of(b, b_columns), a_rows, b_columns, a_columns);
    else
        matrix_multiply(result, matrix_transposed(a, a_columns), matrix_of(b, b_columns), a_columns, b_columns, a_rows);
}

/* ---- Ragged rows --------------------------------------------------------------------------------------------- */

/* False, after failing, unless offsets start at 0, never fall, and stay within the rows there are. */
static bool check_offsets(Interpreter *interpreter, const Node *node, const Tensor *offsets, int64_t n_rows) {
    int64_t n_groups = type_extent(&offsets->type, 0) - 1;
    bool holds = offsets->data[0] == 0 && offsets->data[n_groups] <= (double)n_rows;
    for (int64_t e = 0; e < n_groups; e++)
        holds = holds && offsets->data[e] <= offsets->data[e + 1];
    if (!holds)
        interpreter_fail(interpreter, node, "offsets must rise from 0 to at most the %lld rows there are",
                         (long long)n_rows);
    return holds;
}

/* Rows of `result` that no group has, from row `n_used` on. */
static void fill_unused_rows(Tensor *result, int64_t n_used) {
    int64_t width = type_span(&result->type, 1, result->type.rank), n_elements = type_n_elements(&result->type);
    for (int64_t i = n_used * width; i < n_elements; i++)
        result->data[i] = NAN;
}

/* nt: a[~R, K] b[E, N, K] -> [~R, N]; nn: a[~R, K] b[E, K, N] -> [~R, N]; tn: a[~R, M] b[~R, N] -> [E, M, N], zero for
   an expert without rows. */
void interpret_grouped_matmul(Interpreter *interpreter, const Node *node) {
    const Tensor *a = interpreter_operand(interpreter, node, 0);
    const Tensor *b = interpreter_operand(interpreter, node, 1);
    const Tensor *offsets = interpreter_operand(interpreter, node, 2);
    if (!check_offsets(interpreter, node, offsets, type_extent(&a->type, 0)))
        return;
    Tensor *result = interpreter_result(interpreter, node, 0);
    const char *mode = attrs_string(&node->attrs, "mode", "");
    bool is_tn = strcmp(mode, "tn") == 0, is_nt = strcmp(mode, "nt") == 0;
    int64_t a_columns = type_extent(&a->type, -1), b_columns = type_extent(&b->type, -1);
    int64_t b_rows = type_extent(&b->type, -2), n = type_extent(&result->type, -1);
    int64_t n_groups = type_extent(&offsets->type, 0) - 1;
    for (int64_t e = 0; e < n_groups; e++) {
        int64_t first = (int64_t)offsets->data[e], n_rows = (int64_t)offsets->data[e + 1] - first;
        double *a_group = a->data + first * a_columns;
        double *b_group = b->data + (is_tn ? first : e * b_rows) * b_columns;
        if (is_tn)
            matrix_multiply(result->data + e * a_columns * n, matrix_transposed(a_group, a_columns),
                            matrix_of(b_group, b_columns), a_columns, n, n_rows);
        else
            matrix_multiply(result->data + first * n, matrix_of(a_group, a_columns),
                            is_nt ? matrix_transposed(b_group, b_columns) : matrix_of(b_group, b_columns), n_rows, n,
                            a_columns);
    }
    if (!is_tn)
        fill_unused_rows(result, (int64_t)offsets->data[n_groups]);
}

/* w[E, ..], offsets -> [~R, ..]: every row of expert e is w[e]. */
void interpret_grouped_broadcast(Interpreter *interpreter, const Node *node) {
    const Tensor *w = interpreter_operand(interpreter, node, 0);
    const Tensor *offsets = interpreter_operand(interpreter, node, 1);
    Tensor *result = interpreter_result(interpreter, node, 0);
    if (!check_offsets(interpreter, node, offsets, type_extent(&result->type, 0)))
        return;
    int64_t n_groups = type_extent(&w->type, 0), width = type_span(&w->type, 1, w->type.rank);
    for (int64_t e = 0; e < n_groups; e++) {
        for (int64_t row = (int64_t)offsets->data[e]; row < (int64_t)offsets->data[e + 1]; row++)
            memcpy(result->data + row * width, w->data + e * width, sizeof(double) * (size_t)width);
    }
    fill_unused_rows(result, (int64_t)offsets->data[n_groups]);
}

/* Adjoint of grouped_broadcast: x[~R, ..], offsets -> [E, ..], the sum of each expert's rows. */
void interpret_grouped_sum(Interpreter *interpreter, const Node *node) {
    const Tensor *x = interpreter_operand(interpreter, node, 0);
    const Tensor *offsets = interpreter_operand(interpreter, node, 1);
    Tensor *result = interpreter_result(interpreter, node, 0);
    if (!check_offsets(interpreter, node, offsets, type_extent(&x->type, 0)))
        return;
    int64_t n_groups = type_extent(&result->type, 0), width = type_span(&result->type, 1, result->type.rank);
    for (int64_t e = 0; e < n_groups; e++) {
        for (int64_t row = (int64_t)offsets->data[e]; row < (int64_t)offsets->data[e + 1]; row++) {
            for (int64_t j = 0; j < width; j++)
                result->data[e * width + j] += x->data[row * width + j];
        }
    }
}
