/* The loss, and updates of training state, as forms. */
#include <assert.h>
#include <math.h>

#include "codegen/lower_block_internal.h"

/* ---- Loss ------------------------------------------------------------------------------------------------------ */

/* What of a row's columns is that of the target: x there, 0 elsewhere. */
static uint32_t add_at_target(BodyLowering *at, uint32_t target, uint32_t x) {
    FormInstr index = {.op = FORM_INDEX, .map = {.arg = FORM_NONE, .gather = FORM_NONE}};
    int64_t stride = 1;
    for (int i = at->space->n_row_indices + at->space->n_col_indices - 1; i >= at->space->n_row_indices; i--) {
        index.map.strides[i] = stride;
        stride *= at->space->extents[i];
    }
    return body_add_select(at, body_add_binary(at, FORM_EQUAL, body_add(at, index), target), x,
                           body_add_constant(at, 0));
}

/* `x`, or NaN where the target is past the classes. */
static uint32_t add_where_class(BodyLowering *at, uint32_t target, uint32_t x) {
    uint32_t n_classes = body_add_constant(at, (double)at->space->n_cols);
    return body_add_select(at, body_add_binary(at, FORM_LESS, target, n_classes), x,
                           body_add_constant(at, (double)NAN));
}

/* `x`, or 0 where there is no target. */
static uint32_t add_where_target(BodyLowering *at, uint32_t target, uint32_t x) {
    uint32_t zero = body_add_constant(at, 0);
    return body_add_select(at, body_add_binary(at, FORM_LESS, target, zero), zero, x);
}

void body_lower_cross_entropy(BodyLowering *at, size_t i) {
    const Node *node = at->space->nodes[i];
    uint32_t x = body_element(at, node->operands[0], ROLE_FULL), target = body_element(at, node->operands[1], ROLE_ROW);
    uint32_t logsumexp = body_add_reduction(at, FORM_LOGSUMEXP_COLS, x);
    uint32_t chosen = body_add_reduction(at, FORM_SUM_COLS, add_at_target(at, target, x));
    uint32_t loss = add_where_class(at, target, body_add_map(at, OP_sub, logsumexp, chosen));
    at->instrs[i][0] = add_where_target(at, target, loss);
    at->instrs[i][1] = logsumexp;
}

/* factor (exp(x - logsumexp) - onehot(target)) */
uint32_t body_lower_cross_entropy_grad(BodyLowering *at, const Node *node) {
    uint32_t x = body_element(at, node->operands[0], ROLE_FULL), target = body_element(at, node->operands[1], ROLE_ROW);
    uint32_t logsumexp = body_element(at, node->operands[2], ROLE_ROW);
    uint32_t factor = add_where_class(at, target, body_element(at, node->operands[3], ROLE_ROW));
    uint32_t p = body_add_map(at, OP_exp, body_add_map(at, OP_sub, x, logsumexp), FORM_NONE);
    uint32_t pushed = body_add_map(at, OP_sub, body_add_map(at, OP_mul, factor, p), add_at_target(at, target, factor));
    return add_where_target(at, target, pushed);
}

/* ---- Updates --------------------------------------------------------------------------------------------------- */

/* Element `number` of an operand that is the same for all rows and columns. */
static uint32_t add_scalar(BodyLowering *at, Value *value, int64_t number) {
    View view;
    bool has_map = view_of(value, &view); /* dense: passes/layout.c */
    assert(has_map);
    (void)has_map;
    FormAccessMap map = {.offset = number, .gather = FORM_NONE};
    map.arg = lowering_argument(at->lowering, &view, FORM_IN, type_n_elements(&value->type));
    return body_add(at, (FormInstr){.op = FORM_LOAD, .map = map});
}

/* factor old + (1 - factor) new */
static uint32_t add_moving_mean(BodyLowering *at, uint32_t factor, uint32_t old, uint32_t new) {
    uint32_t rest = body_add_map(at, OP_sub, body_add_constant(at, 1), factor);
    return body_add_map(at, OP_add, body_add_map(at, OP_mul, factor, old), body_add_map(at, OP_mul, rest, new));
}

/* spec/numerics.md, "Optimizer". */
void body_lower_adamw(BodyLowering *at, size_t i) {
    enum { W, G, M, V, N_STATES };
    enum { LR, BETA1, BETA2, EPSILON, DECAY, CORRECTION1, CORRECTION2, N_HYPER };
    const Node *node = at->space->nodes[i];
    FormInstr loads[N_STATES];
    uint32_t old[N_STATES], hyper[N_HYPER];
    for (int j = 0; j < N_STATES; j++) {
        loads[j] = (FormInstr){.op = FORM_LOAD, .map = body_state_access(at, i, j)};
        old[j] = body_add(at, loads[j]);
    }
    for (int j = 0; j < N_HYPER; j++)
        hyper[j] = add_scalar(at, node->operands[4], j);
    uint32_t gradient = body_add_map(at, OP_mul, old[G], add_scalar(at, node->operands[5], 0));
    uint32_t mean = add_moving_mean(at, hyper[BETA1], old[M], gradient);
    uint32_t square = add_moving_mean(at, hyper[BETA2], old[V], body_add_map(at, OP_mul, gradient, gradient));
    uint32_t one = body_add_constant(at, 1);
    uint32_t first = body_add_map(at, OP_mul, mean, body_add_map(at, OP_div, one, hyper[CORRECTION1]));
    uint32_t second = body_add_map(at, OP_mul, square, body_add_map(at, OP_div, one, hyper[CORRECTION2]));
    uint32_t root = body_add_map(at, OP_add, body_add_map(at, OP_sqrt, second, FORM_NONE), hyper[EPSILON]);
    uint32_t direction = body_add_map(at, OP_div, first, root);
    if (attrs_bool(&node->attrs, "decay", false))
        direction = body_add_map(at, OP_add, direction, body_add_map(at, OP_mul, hyper[DECAY], old[W]));
    uint32_t weight = body_add_map(at, OP_sub, old[W], body_add_map(at, OP_mul, hyper[LR], direction));
    const uint32_t new[N_STATES] = {weight, body_add_constant(at, 0), mean, square};
    for (int j = 0; j < N_STATES; j++) {
        if (j != G || !attrs_bool(&node->attrs, "keeps", false))
            body_add(at, (FormInstr){.op = FORM_STORE, .a = new[j], .map = loads[j].map});
    }
}
