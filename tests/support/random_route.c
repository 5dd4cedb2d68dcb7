/* The routed step of random programs: a mixture of experts, with every op that works on ragged rows. */
#include <string.h>

#include "tests/support/random_steps.h"

/* One routing and the rows that it makes. */
typedef struct {
    int64_t n_experts, k, width; /* width: of the rows inside the experts */
    Value *logits, *weights;     /* f32[B, T, E], f32[B, T, k] */
    Value *indices;              /* i32[B, T, k] */
    Value *offsets, *slot_of_row, *row_of_slot;
} Routing;

/* Mixtral's order, ST-MoE's order, or ST-MoE's with the weights fetched by gather_last. */
static void choose_experts(Generator *at, Routing *routing) {
    RandomAttr k[] = {{"k", routing->k}, {NULL, 0}};
    Builder *builder = &at->builder;
    int64_t order = random_below(at, 3);
    Value *scores = order == 0 ? routing->logits : build_unary(builder, OP_softmax, routing->logits);
    Value *values = random_node(at, OP_top_k, 1, &scores, k);
    routing->indices = &values->def->results[1];
    if (order == 0)
        routing->weights = build_unary(builder, OP_softmax, values);
    else if (order == 1)
        routing->weights = values;
    else
        routing->weights = build(builder, OP_gather_last, 2, (Value *[]){scores, routing->indices}, NULL);
}

static Routing build_routing(Generator *at, Value *x) {
    Routing routing = {.n_experts = 2 + random_below(at, 3), .width = 2 + random_below(at, 3)};
    routing.k = 1 + random_below(at, routing.n_experts < 3 ? 2 : 3);
    routing.logits = random_spread(at, random_linear(at, x, routing.n_experts));
    choose_experts(at, &routing);
    int64_t capacity = random_below(at, 2) * (1 + random_below(at, at->B * at->T));
    RandomAttr attrs[] = {{"experts", routing.n_experts}, {"capacity", capacity}, {NULL, 0}};
    Node *route = random_node(at, OP_route, 1, &routing.indices, attrs)->def;
    routing.offsets = &route->results[0];
    routing.slot_of_row = &route->results[1];
    routing.row_of_slot = &route->results[2];
    return routing;
}

static Value *build_move(Generator *at, const Routing *routing, OpKind op, Value *x, bool per_slot) {
    Attrs attrs = {0};
    if (per_slot)
        attrs_set_bool(at->arena, &attrs, "per_slot", true);
    Value *operands[] = {x, routing->slot_of_row, routing->row_of_slot};
    return build(&at->builder, op, 3, operands, &attrs);
}

/* rows[~R, K] times a weight per expert: [~R, n]. */
static Value *build_expert_linear(Generator *at, const Routing *routing, Value *rows, int64_t n) {
    int64_t k = rows->type.dims[1].extent;
    bool is_nt = random_below(at, 2) == 0;
    int64_t extents[] = {routing->n_experts, is_nt ? n : k, is_nt ? k : n};
    Value *w = random_weight(at, random_type(3, extents));
    return build_grouped_matmul(&at->builder, is_nt ? "nt" : "nn", rows, w, routing->offsets);
}

/* rows plus a vector per expert. */
static Value *build_expert_bias(Generator *at, const Routing *routing, Value *rows) {
    Value *bias = random_weight(at, random_type(2, (int64_t[]){routing->n_experts, rows->type.dims[1].extent}));
    RandomAttr attrs[] = {{"rows", rows->type.dims[0].extent}, {NULL, 0}};
    Value *repeated = random_node(at, OP_grouped_broadcast, 2, (Value *[]){bias, routing->offsets}, attrs);
    return build_binary(&at->builder, OP_add, rows, repeated);
}

/* What happens to hidden rows: an activation, or something along the last dim. */
static Value *build_expert_activation(Generator *at, Value *rows) {
    static const OpKind activations[] = {OP_silu, OP_gelu, OP_gelu_tanh, OP_relu, OP_tanh, OP_softmax, OP_sigmoid};
    Builder *builder = &at->builder;
    int64_t width = rows->type.dims[1].extent;
    switch (random_below(at, 4)) {
    case 0:
        return build_binary(builder, OP_sub, rows,
                            random_repeat_last(at, build_unary(builder, OP_logsumexp, rows), &rows->type));
    case 1: {
        Value *halves[] = {build_slice(builder, rows, 1, width / 2, width - width / 2),
                           build_slice(builder, rows, 1, 0, width / 2)};
        return random_node(at, OP_concat, 2, halves, (RandomAttr[]){{"dim", 1}, {NULL, 0}});
    }
    case 2: {
        Value *mean = build_scale(builder, build_reduce_sum(builder, rows, (int64_t[]){1}, 1), 1 / (double)width);
        return build_binary(builder, OP_mul, rows, random_repeat_last(at, mean, &rows->type));
    }
    default:
        return build_unary(builder, activations[random_below(at, 7)], rows);
    }
}

/* The experts' outputs times their weights, summed for each token: weighted as rows, or after the way back. */
static Value *build_combined(Generator *at, const Routing *routing, Value *rows) {
    Builder *builder = &at->builder;
    if (random_below(at, 2)) {
        Value *weights = build_move(at, routing, OP_dispatch, routing->weights, true);
        Value *weighted = build_binary(builder, OP_mul, rows, random_repeat_last(at, weights, &rows->type));
        return build_move(at, routing, OP_combine, weighted, false);
    }
    Value *slots = build_move(at, routing, OP_combine, rows, true);
    Value *weighted = build_binary(builder, OP_mul, slots, random_repeat_last(at, routing->weights, &slots->type));
    return build_reduce_sum(builder, weighted, (int64_t[]){2}, 1);
}

/* Switch Transformer's loss (Fedus et al. 2022) and ST-MoE's z-loss, as spec/numerics.md has them. */
static void build_routing_losses(Generator *at, const Routing *routing) {
    Builder *builder = &at->builder;
    RandomAttr bins[] = {{"bins", routing->n_experts}, {NULL, 0}};
    double n_slots = (double)type_n_elements(&routing->indices->type), n_tokens = (double)(at->B * at->T);
    Value *counts = random_node(at, OP_histogram, 1, &routing->indices, bins);
    Value *share = build_scale(builder, counts, 1 / n_slots);
    Value *probabilities = build_unary(builder, OP_softmax, routing->logits);
    Value *mean = build_scale(builder, build_reduce_sum(builder, probabilities, (int64_t[]){0, 1}, 2), 1 / n_tokens);
    Value *products = build_binary(builder, OP_mul, share, mean);
    at->balance =
        build_scale(builder, build_reduce_sum(builder, products, (int64_t[]){0}, 1), (double)routing->n_experts);
    Value *logsumexp = build_unary(builder, OP_logsumexp, routing->logits);
    at->z_loss = random_mean(at, build_binary(builder, OP_mul, logsumexp, logsumexp));
    Type load = random_type(2, (int64_t[]){1, routing->n_experts});
    at->expert_load = build_reshape(builder, counts, &load);
}

void random_step_route(Generator *generator) {
    Generator *at = generator;
    PoolItem *x = random_pick(at, random_is_hidden);
    Routing routing = build_routing(at, x->value);
    Value *rows = build_move(at, &routing, OP_dispatch, x->value, false);
    Value *hidden = build_expert_bias(at, &routing, build_expert_linear(at, &routing, rows, routing.width));
    Value *out = build_expert_linear(at, &routing, build_expert_activation(at, hidden), at->d);
    if (random_below(at, 2))
        out = build_expert_bias(at, &routing, out);
    random_push(at, build_combined(at, &routing, out), 8);
    build_routing_losses(at, &routing);
    if (random_below(at, 2))
        random_push(at, build(&at->builder, OP_grouped_sum, 2, (Value *[]){hidden, routing.offsets}, NULL), 8);
    if (random_below(at, 2))
        random_push(at, build_grouped_matmul(&at->builder, "tn", rows, hidden, routing.offsets), 8);
}
