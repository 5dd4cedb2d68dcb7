/* Elementwise ops: one element of the result from the same element of each operand. A NaN operand gives a NaN, so that
   unspecified ragged rows stay visible. */
#include "ir/interpret_internal.h"

#include <math.h>

#include "ir/ops_internal.h"

typedef double UnaryFunction(double x);
typedef double BinaryFunction(double a, double b);

static void map_unary(Interpreter *interpreter, const Node *node, UnaryFunction *function) {
    const double *x = interpreter_operand(interpreter, node, 0)->data;
    Tensor *result = interpreter_result(interpreter, node, 0);
    int64_t n_elements = type_n_elements(&result->type);
    for (int64_t i = 0; i < n_elements; i++)
        result->data[i] = function(x[i]);
}

static void map_binary(Interpreter *interpreter, const Node *node, BinaryFunction *function) {
    const double *a = interpreter_operand(interpreter, node, 0)->data;
    const double *b = interpreter_operand(interpreter, node, 1)->data;
    Tensor *result = interpreter_result(interpreter, node, 0);
    int64_t n_elements = type_n_elements(&result->type);
    for (int64_t i = 0; i < n_elements; i++)
        result->data[i] = function(a[i], b[i]);
}

/* ---- Scalar functions ---------------------------------------------------------------------------------------- */

static double scalar_copy(double x) {
    return x;
}

static double scalar_neg(double x) {
    return -x;
}

static double scalar_rsqrt(double x) {
    return 1 / sqrt(x);
}

/* Written so that neither end overflows. */
static double scalar_sigmoid(double x) {
    double e = exp(-fabs(x));
    return x >= 0 ? 1 / (1 + e) : e / (1 + e);
}

static double scalar_relu(double x) {
    return x < 0 ? 0 : x;
}

static double scalar_silu(double x) {
    return x * scalar_sigmoid(x);
}

/* The distribution function of the standard normal, and its density. */
static double normal_cdf(double x) {
    return 0.5 * erfc(-x / sqrt(2));
}

static double normal_density(double x) {
    return exp(-0.5 * x * x) / sqrt(2 * M_PI);
}

/* Hendrycks and Gimpel 2016: x times the normal distribution function; gelu_tanh is their approximation of it. */
static double scalar_gelu(double x) {
    return x * normal_cdf(x);
}

static const double GELU_CUBIC = 0.044715;

static double gelu_tanh_of(double x) {
    return tanh(sqrt(2 / M_PI) * (x + GELU_CUBIC * x * x * x));
}

static double scalar_gelu_tanh(double x) {
    return 0.5 * x * (1 + gelu_tanh_of(x));
}

static double scalar_add(double a, double b) {
    return a + b;
}

static double scalar_sub(double a, double b) {
    return a - b;
}

static double scalar_mul(double a, double b) {
    return a * b;
}

static double scalar_div(double a, double b) {
    return a / b;
}

/* The derivative at 0 is taken as 0. A NaN x stays one. */
static double scalar_relu_grad(double x, double dy) {
    return x > 0 ? dy : isnan(x) ? x : 0;
}

static double scalar_silu_grad(double x, double dy) {
    double s = scalar_sigmoid(x);
    return dy * s * (1 + x * (1 - s));
}

static double scalar_gelu_grad(double x, double dy) {
    return dy * (normal_cdf(x) + x * normal_density(x));
}

static double scalar_gelu_tanh_grad(double x, double dy) {
    double t = gelu_tanh_of(x);
    double inner = sqrt(2 / M_PI) * (1 + 3 * GELU_CUBIC * x * x);
    return dy * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * inner);
}

/* ---- The ops ------------------------------------------------------------------------------------------------- */

/* op, scalar function */
#define UNARY_MAPS(X)                                                                                                  \
    X(copy, scalar_copy)                                                                                               \
    X(neg, scalar_neg)                                                                                                 \
    X(exp, exp)                                                                                                        \
    X(log, log)                                                                                                        \
    X(sqrt, sqrt)                                                                                                      \
    X(rsqrt, scalar_rsqrt)                                                                                             \
    X(tanh, tanh)                                                                                                      \
    X(sigmoid, scalar_sigmoid)                                                                                         \
    X(relu, scalar_relu)                                                                                               \
    X(silu, scalar_silu)                                                                                               \
    X(gelu, scalar_gelu)                                                                                               \
    X(gelu_tanh, scalar_gelu_tanh)

#define BINARY_MAPS(X)                                                                                                 \
    X(add, scalar_add)                                                                                                 \
    X(sub, scalar_sub)                                                                                                 \
    X(mul, scalar_mul)                                                                                                 \
    X(div, scalar_div)                                                                                                 \
    X(relu_grad, scalar_relu_grad)                                                                                     \
    X(silu_grad, scalar_silu_grad)                                                                                     \
    X(gelu_grad, scalar_gelu_grad)                                                                                     \
    X(gelu_tanh_grad, scalar_gelu_tanh_grad)

#define X(op, function)                                                                                                \
    void interpret_##op(Interpreter *interpreter, const Node *node) {                                                  \
        map_unary(interpreter, node, function);                                                                        \
    }
UNARY_MAPS(X)
#undef X

#define X(op, function)                                                                                                \
    void interpret_##op(Interpreter *interpreter, const Node *node) {                                                  \
        map_binary(interpreter, node, function);                                                                       \
    }
BINARY_MAPS(X)
#undef X
