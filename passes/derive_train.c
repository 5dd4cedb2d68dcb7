/* Derivatives of the loss and of routing. The choice of experts (top_k's indices, route) is not differentiated, the
   values that were chosen are: spec/numerics.md, "Routing". */
#include "passes/derive.h"

/* ---- Loss ---------------------------------------------------------------------------------------------------- */

/* (logits, targets) -> nll, logsumexp */
void derive_cross_entropy(Derivation *at) {
    Value *logits = derive_operand(at, 0), *logsumexp = derive_result(at, 1), *d_logits = NULL;
    if (at->d_results[0]) {
        Value *operands[] = {logits, derive_operand(at, 1), logsumexp, at->d_results[0]};
        d_logits = build(at->builder, OP_cross_entropy_grad, 4, operands, NULL);
    }
    if (at->d_results[1]) {
        Value *through = derive_through_logsumexp(at, logits, logsumexp, at->d_results[1]);
        d_logits = d_logits ? build_binary(at->builder, OP_add, d_logits, through) : through;
    }
    at->d_operands[0] = d_logits;
}

/* ---- Routing ------------------------------------------------------------------------------------------------- */

/* x -> values, indices: the chosen elements get the gradients, the others zero. */
void derive_top_k(Derivation *at) {
    const Type *type = &derive_operand(at, 0)->type;
    Attrs attrs = {0};
    attrs_set_int(at->builder->graph->module->arena, &attrs, "extent", type_extent(type, -1));
    Value *operands[] = {at->d_results[0], derive_result(at, 1)};
    at->d_operands[0] = build(at->builder, OP_scatter_last, 2, operands, &attrs);
}

/* dispatch and combine: each is the other's adjoint under the same slots and rows. Rows without a slot hold nothing
   that combine reads. */
static void derive_by_adjoint(Derivation *at, OpKind adjoint) {
    Value *operands[] = {at->d_results[0], derive_operand(at, 1), derive_operand(at, 2)};
    at->d_operands[0] = build(at->builder, adjoint, 3, operands, &at->node->attrs);
}

void derive_dispatch(Derivation *at) {
    derive_by_adjoint(at, OP_combine);
}

void derive_combine(Derivation *at) {
    derive_by_adjoint(at, OP_dispatch);
}
