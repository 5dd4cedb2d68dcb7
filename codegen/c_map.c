#include "codegen/c_map.h"

#include <assert.h>
#include <string.h>

/* op, expression of the elements $x, $y of its operands, cost of computing it beside that of an addition. Calls are to
   codegen/prelude.c. */
#define MAPS(X)                                                                                                        \
    X(copy, "$x", 0)                                                                                                   \
    X(neg, "-$x", 1)                                                                                                   \
    X(exp, "moec_exp($x)", 12)                                                                                         \
    X(log, "logf($x)", 40)                                                                                             \
    X(sqrt, "sqrtf($x)", 6)                                                                                            \
    X(rsqrt, "1.0f / sqrtf($x)", 12)                                                                                   \
    X(tanh, "moec_tanh($x)", 24)                                                                                       \
    X(sigmoid, "moec_sigmoid($x)", 16)                                                                                 \
    X(relu, "$x < 0.0f ? 0.0f : $x", 1)                                                                                \
    X(silu, "$x * moec_sigmoid($x)", 16)                                                                               \
    X(gelu, "$x * moec_normal_cdf($x)", 24)                                                                            \
    X(gelu_tanh, "moec_gelu_tanh($x)", 20)                                                                             \
    X(add, "$x + $y", 1)                                                                                               \
    X(sub, "$x - $y", 1)                                                                                               \
    X(mul, "$x * $y", 1)                                                                                               \
    X(div, "$x / $y", 6)                                                                                               \
    X(relu_grad, "moec_relu_grad($x, $y)", 2)                                                                          \
    X(silu_grad, "moec_silu_grad($x, $y)", 20)                                                                         \
    X(gelu_grad, "moec_gelu_grad($x, $y)", 36)                                                                         \
    X(gelu_tanh_grad, "moec_gelu_tanh_grad($x, $y)", 24)                                                               \
    X(to_bf16, "moec_widen(moec_narrow($x))", 6)                                                                       \
    X(to_f32, "$x", 0)

typedef struct {
    const char *expression;
    int cost;
} MapRow;

static const MapRow rows[OP_COUNT] = {
#define X(op, expression, cost) [OP_##op] = {expression, cost},
    MAPS(X)
#undef X
};

const char *c_map(CPrinter *c, OpKind op, const char *x, const char *y) {
    const char *text = "", *expression = rows[op].expression;
    assert(expression != NULL);
    for (const char *next; (next = strchr(expression, '$')) != NULL; expression = next + 2)
        text = arena_printf(c->arena, "%s%.*s%s", text, (int)(next - expression), expression, next[1] == 'x' ? x : y);
    return arena_printf(c->arena, "%s%s", text, expression);
}

int c_map_cost(OpKind op) {
    return rows[op].cost;
}
