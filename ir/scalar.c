#include "ir/scalar.h"

#include <math.h>
#include <string.h>

/* Written so that neither end overflows. */
static double sigmoid(double x) {
    double e = exp(-fabs(x));
    return x >= 0 ? 1 / (1 + e) : e / (1 + e);
}

static double silu_grad(double x, double dy) {
    double s = sigmoid(x);
    return dy * s * (1 + x * (1 - s));
}

/* The distribution function of the standard normal, and its density. */
static double normal_cdf(double x) {
    return 0.5 * erfc(-x / sqrt(2));
}

static double normal_density(double x) {
    return exp(-0.5 * x * x) / sqrt(2 * M_PI);
}

static const double GELU_CUBIC = 0.044715;

static double gelu_tanh_of(double x) {
    return tanh(sqrt(2 / M_PI) * (x + GELU_CUBIC * x * x * x));
}

static double gelu_tanh_grad(double x, double dy) {
    double t = gelu_tanh_of(x);
    double inner = sqrt(2 / M_PI) * (1 + 3 * GELU_CUBIC * x * x);
    return dy * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * inner);
}

/* op, result; a *_grad has dy in y. gelu: Hendrycks and Gimpel 2016, x times the normal distribution function;
   gelu_tanh is their approximation of it. The derivative of relu at 0 is taken as 0. */
#define SCALARS(X)                                                                                                     \
    X(copy, x)                                                                                                         \
    X(neg, -x)                                                                                                         \
    X(exp, exp(x))                                                                                                     \
    X(log, log(x))                                                                                                     \
    X(sqrt, sqrt(x))                                                                                                   \
    X(rsqrt, 1 / sqrt(x))                                                                                              \
    X(tanh, tanh(x))                                                                                                   \
    X(sigmoid, sigmoid(x))                                                                                             \
    X(relu, x < 0 ? 0 : x)                                                                                             \
    X(silu, (x * sigmoid(x)))                                                                                          \
    X(gelu, (x * normal_cdf(x)))                                                                                       \
    X(gelu_tanh, 0.5 * x * (1 + gelu_tanh_of(x)))                                                                      \
    X(add, x + y)                                                                                                      \
    X(sub, x - y)                                                                                                      \
    X(mul, (x * y))                                                                                                    \
    X(div, x / y)                                                                                                      \
    X(relu_grad, x > 0 ? y : isnan(x) ? x : 0)                                                                         \
    X(silu_grad, silu_grad(x, y))                                                                                      \
    X(gelu_grad, (y * (normal_cdf(x) + x * normal_density(x))))                                                        \
    X(gelu_tanh_grad, gelu_tanh_grad(x, y))                                                                            \
    X(to_bf16, scalar_round_bf16(x))                                                                                   \
    X(to_f32, x)

#define X(op, result)                                                                                                  \
    static double scalar_##op(double x, double y) {                                                                    \
        (void)y;                                                                                                       \
        return result;                                                                                                 \
    }
SCALARS(X)
#undef X

ScalarFunction *scalar_function(OpKind op) {
    static ScalarFunction *const functions[OP_COUNT] = {
#define X(op, result) [OP_##op] = scalar_##op,
        SCALARS(X)
#undef X
    };
    return functions[op];
}

double scalar_round_bf16(double x) {
    float single = (float)x;
    uint32_t bits;
    if (isnan(x))
        return x;
    memcpy(&bits, &single, sizeof bits);
    bits = (bits + 0x7fffu + (bits >> 16 & 1u)) & 0xffff0000u;
    memcpy(&single, &bits, sizeof single);
    return single;
}
