/* The table of derivatives, and the rules for what has none. */
#include "passes/derive.h"

DeriveRule *derive_rule(OpKind op) {
    static DeriveRule *const rules[OP_COUNT] = {
#define OP(name, operands, results, class, attributes, infer, flops, interpret, rows, derive, lower)                   \
    [OP_##name] = derive_##derive,
#include "ir/ops.def"
#undef OP
    };
    return rules[op];
}

/* Leaves, and ops on integers: nothing to hand on. */
void derive_none(Derivation *at) {
    (void)at;
}

/* What only derivatives and updates are made of: second derivatives aren't part of training. */
void derive_never(Derivation *at) {
    at->error = "it has no derivative";
}

Value *derive_repeat_last(Derivation *at, Value *rows, const Type *type) {
    int64_t map[MAX_RANK];
    for (int i = 0; i < rows->type.rank; i++)
        map[i] = i;
    return build_broadcast(at->builder, rows, type, map);
}

Value *derive_through_logsumexp(Derivation *at, Value *x, Value *y, Value *dy) {
    Value *shifted = build_binary(at->builder, OP_sub, x, derive_repeat_last(at, y, &x->type));
    Value *softmax = build_unary(at->builder, OP_exp, shifted);
    return build_binary(at->builder, OP_mul, derive_repeat_last(at, dy, &x->type), softmax);
}
