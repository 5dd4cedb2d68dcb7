/* Derivatives of the elementwise ops. y is the result, dy its gradient; each rule writes dx with as few nodes as it
   can, in y rather than x where that is shorter. */
#include "passes/derive.h"

static Value *gradient(const Derivation *at) {
    return at->d_results[0];
}

static Value *unary(Derivation *at, OpKind op, Value *x) {
    return build_unary(at->builder, op, x);
}

static Value *binary(Derivation *at, OpKind op, Value *a, Value *b) {
    return build_binary(at->builder, op, a, b);
}

/* ---- One operand: always wanted, or the rule would not run ---------------------------------------------------- */

void derive_copy(Derivation *at) {
    at->d_operands[0] = gradient(at);
}

void derive_neg(Derivation *at) {
    at->d_operands[0] = unary(at, OP_neg, gradient(at));
}

/* dx = dy y */
void derive_exp(Derivation *at) {
    at->d_operands[0] = binary(at, OP_mul, gradient(at), derive_result(at, 0));
}

/* dx = dy / x */
void derive_log(Derivation *at) {
    at->d_operands[0] = binary(at, OP_div, gradient(at), derive_operand(at, 0));
}

/* dx = dy / 2 y */
void derive_sqrt(Derivation *at) {
    at->d_operands[0] = binary(at, OP_div, build_scale(at->builder, gradient(at), 0.5), derive_result(at, 0));
}

/* dx = -1/2 dy y^3 */
void derive_rsqrt(Derivation *at) {
    Value *y = derive_result(at, 0);
    Value *cube = binary(at, OP_mul, binary(at, OP_mul, y, y), y);
    at->d_operands[0] = binary(at, OP_mul, build_scale(at->builder, gradient(at), -0.5), cube);
}

/* dx = dy (1 - y^2) */
void derive_tanh(Derivation *at) {
    Value *y = derive_result(at, 0);
    Value *part = binary(at, OP_mul, binary(at, OP_mul, gradient(at), y), y);
    at->d_operands[0] = binary(at, OP_sub, gradient(at), part);
}

/* dx = dy y (1 - y) */
void derive_sigmoid(Derivation *at) {
    Value *y = derive_result(at, 0);
    Value *part = binary(at, OP_mul, gradient(at), y);
    at->d_operands[0] = binary(at, OP_sub, part, binary(at, OP_mul, part, y));
}

/* Those with an op of their own for it: (x, dy) -> dx. */
#define DERIVE_BY_GRAD_OP(name)                                                                                        \
    void derive_##name(Derivation *at) {                                                                               \
        at->d_operands[0] = binary(at, OP_##name##_grad, derive_operand(at, 0), gradient(at));                         \
    }
DERIVE_BY_GRAD_OP(relu)
DERIVE_BY_GRAD_OP(silu)
DERIVE_BY_GRAD_OP(gelu)
DERIVE_BY_GRAD_OP(gelu_tanh)
#undef DERIVE_BY_GRAD_OP

/* ---- Two operands --------------------------------------------------------------------------------------------- */

void derive_add(Derivation *at) {
    for (int i = 0; i < 2; i++) {
        if (at->is_wanted[i])
            at->d_operands[i] = gradient(at);
    }
}

void derive_sub(Derivation *at) {
    if (at->is_wanted[0])
        at->d_operands[0] = gradient(at);
    if (at->is_wanted[1])
        at->d_operands[1] = unary(at, OP_neg, gradient(at));
}

void derive_mul(Derivation *at) {
    for (int i = 0; i < 2; i++) {
        if (at->is_wanted[i])
            at->d_operands[i] = binary(at, OP_mul, gradient(at), derive_operand(at, 1 - i));
    }
}

/* y = a / b: da = dy / b, db = -dy y / b */
void derive_div(Derivation *at) {
    Value *part = binary(at, OP_div, gradient(at), derive_operand(at, 1));
    if (at->is_wanted[0])
        at->d_operands[0] = part;
    if (at->is_wanted[1])
        at->d_operands[1] = unary(at, OP_neg, binary(at, OP_mul, part, derive_result(at, 0)));
}
