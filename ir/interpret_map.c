/* Elementwise ops: ir/scalar.h on every element. */
#include "ir/interpret_internal.h"
#include "ir/ops_internal.h"
#include "ir/scalar.h"

void interpret_map(Interpreter *interpreter, const Node *node) {
    ScalarFunction *function = scalar_function(node->op);
    const double *x = interpreter_operand(interpreter, node, 0)->data;
    const double *y = node->n_operands > 1 ? interpreter_operand(interpreter, node, 1)->data : x;
    Tensor *result = interpreter_result(interpreter, node, 0);
    int64_t n_elements = type_n_elements(&result->type);
    for (int64_t i = 0; i < n_elements; i++)
        result->data[i] = function(x[i], y[i]);
}
