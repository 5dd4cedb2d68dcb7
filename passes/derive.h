/* The derivative of each op: from the gradients of a node's results to the gradients of its operands, as IR.
   spec/autodiff.md has the rules as formulas.

   In: one node of a graph and the gradients of its results (a vector-Jacobian product, Griewank and Walther 2008). Out:
   nodes added by the builder, and the gradients of the operands. Never here: which nodes need a derivative, how
   gradients of a value with several uses add up, states; that is passes/autodiff.c. */
#ifndef MOEC_PASSES_DERIVE_H
#define MOEC_PASSES_DERIVE_H

#include "ir/ir.h"

/* One node under differentiation. */
typedef struct {
    Builder *builder; /* adds behind everything that the rule may read */
    const Node *node;
    Value *const *d_results; /* one a result: its gradient, of its type; NULL is zero. At least one is not NULL */
    const bool *is_wanted;   /* one an operand: whether its gradient leads to a weight */
    Value **d_operands; /* one an operand, NULL at first: what the rule fills, of the operand's type; NULL is zero */
    const char *error;  /* NULL at first: why there is no derivative, on the module's arena, without the op's name */
} Derivation;

/* A rule fills d_operands where is_wanted says so, and builds nothing for the others. */
typedef void DeriveRule(Derivation *at);

/* The rule of the op's row. */
DeriveRule *derive_rule(OpKind op);

/* Every rule that a row of ops.def names. */
#define OP(name, operands, results, class, attributes, infer, flops, interpret, rows, derive, lower)                   \
    void derive_##derive(Derivation *at);
#include "ir/ops.def"
#undef OP

/* ---- For the rules ------------------------------------------------------------------------------------------- */

/* What the rules read most. */
static inline Value *derive_operand(const Derivation *at, int i) {
    return at->node->operands[i];
}

static inline Value *derive_result(const Derivation *at, int i) {
    return &at->node->results[i];
}

static inline int64_t derive_int_attribute(const Derivation *at, const char *key) {
    return attrs_int(&at->node->attrs, key, 0);
}

/* Along the last dim, which `rows` lacks: rows[..] -> `type`[.., n], every element of a row the same. */
Value *derive_repeat_last(Derivation *at, Value *rows, const Type *type);

/* The derivative of y = logsumexp(x) along the last dim: dy[..] softmax(x)[.., n], with softmax(x) = exp(x - y). */
Value *derive_through_logsumexp(Derivation *at, Value *x, Value *y, Value *dy);

#endif
