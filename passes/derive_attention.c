/* Derivatives of attention and rotary positions. */
#include "passes/derive.h"

/* Turning by the negated angle is the transpose of turning. */
void derive_rope(Derivation *at) {
    if (at->is_wanted[1]) {
        at->error = "its table has no derivative";
        return;
    }
    Attrs attrs = {0};
    if (!attrs_bool(&at->node->attrs, "inverse", false))
        attrs_set_bool(at->builder->graph->module->arena, &attrs, "inverse", true);
    Value *operands[] = {at->d_results[0], derive_operand(at, 1)};
    at->d_operands[0] = build(at->builder, OP_rope, 2, operands, &attrs);
}

/* ---- Attention ------------------------------------------------------------------------------------------------

   out[t] = sum over s of p[t, s] v[s], logsumexp[t] = log sum over s of exp(scale q[t] . k[s]), p the softmax of the
   scores. The gradient of out goes back by attention_grad (the backward pass of Dao et al. 2022: p is computed again
   from logsumexp). */

enum { Q, K, V, N_OPERANDS };

/* gradients[i] += contribution, where the operand is wanted. */
static void contribute(Derivation *at, int i, Value *contribution) {
    if (!at->is_wanted[i])
        return;
    Value *sum = at->d_operands[i];
    at->d_operands[i] = sum ? build_binary(at->builder, OP_add, sum, contribution) : contribution;
}

/* dq, dk and dv for a gradient of out. */
static Node *build_attention_grad(Derivation *at, Value *d_out) {
    Value *operands[] = {derive_operand(at, Q), derive_operand(at, K), derive_operand(at, V),
                         derive_result(at, 0),  derive_result(at, 1),  d_out};
    return build(at->builder, OP_attention_grad, 6, operands, &at->node->attrs)->def;
}

/* d[B, H, T] as factors of the query vectors, [B, T, H, D]. */
static Value *repeat_for_queries(Derivation *at, Value *d) {
    Attrs attrs = {0};
    attrs_set_ints(at->builder->graph->module->arena, &attrs, "perm", (int64_t[]){0, 2, 1}, 3);
    Value *by_position = build(at->builder, OP_transpose, 1, &d, &attrs);
    return derive_repeat_last(at, by_position, &derive_operand(at, Q)->type);
}

/* With d the gradient of logsumexp: dscore[t, s] = d[t] p[t, s], so
     dq[t] = scale d[t] sum over s of p[t, s] k[s], which is attention with k for values, and
     dk[s] = scale sum over t of p[t, s] d[t] q[t], which is dv for a gradient of out of scale d q. */
static void derive_logsumexp_of_scores(Derivation *at, Value *d_logsumexp) {
    double scale = attrs_float(&at->node->attrs, "scale", 1);
    Value *q = derive_operand(at, Q), *k = derive_operand(at, K);
    Value *d = build_scale(at->builder, repeat_for_queries(at, d_logsumexp), scale);
    if (at->is_wanted[Q]) {
        Value *mean_key = build(at->builder, OP_attention, N_OPERANDS, (Value *[]){q, k, k}, &at->node->attrs);
        contribute(at, Q, build_binary(at->builder, OP_mul, d, mean_key));
    }
    if (at->is_wanted[K])
        contribute(at, K, &build_attention_grad(at, build_binary(at->builder, OP_mul, d, q))->results[V]);
}

void derive_attention(Derivation *at) {
    if (at->d_results[0]) {
        Node *grad = build_attention_grad(at, at->d_results[0]);
        for (int i = 0; i < N_OPERANDS; i++)
            contribute(at, i, &grad->results[i]);
    }
    if (at->d_results[1])
        derive_logsumexp_of_scores(at, at->d_results[1]);
}
