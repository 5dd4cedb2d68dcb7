/* Routing and its losses. spec/numerics.md, "Routing" and "Losses". */
#include "passes/upcycle.h"

/* Result 0 of a node with at most two integer attributes; a NULL key ends them. */
static Value *build_with(Builder *builder, OpKind op, int n_operands, Value *const *operands, const char *key,
                         int64_t value, const char *other_key, int64_t other_value) {
    Arena *arena = builder->graph->module->arena;
    Attrs attrs = {0};
    attrs_set_int(arena, &attrs, key, value);
    if (other_key)
        attrs_set_int(arena, &attrs, other_key, other_value);
    return build(builder, op, n_operands, operands, &attrs);
}

static Value *hinted(Value *value, const char *hint) {
    value->hint = hint;
    return value;
}

Routing upcycle_route(const Upcycle *at, Builder *builder, Value *x, const State *router, int64_t capacity) {
    const UpcycleSettings *settings = &at->settings;
    Routing routing = {0};
    routing.logits = hinted(build_matmul(builder, "nt", x, build_state(builder, router)), "router_logits");
    Value *scores = routing.logits;
    if (settings->is_softmax_first)
        scores = routing.probabilities = build_unary(builder, OP_softmax, scores);
    Node *top_k = build_with(builder, OP_top_k, 1, &scores, "k", settings->top_k, NULL, 0)->def;
    routing.indices = hinted(&top_k->results[1], "experts");
    routing.weights = &top_k->results[0];
    if (!settings->is_softmax_first)
        routing.weights = build_unary(builder, OP_softmax, routing.weights);
    hinted(routing.weights, "routing_weights");
    Node *route =
        build_with(builder, OP_route, 1, &routing.indices, "experts", settings->n_experts, "capacity", capacity)->def;
    routing.offsets = hinted(&route->results[0], "offsets");
    routing.slot_of_row = hinted(&route->results[1], "slot_of_row");
    routing.row_of_slot = hinted(&route->results[2], "row_of_slot");
    return routing;
}

static Value *build_move(Builder *builder, const Routing *routing, OpKind op, Value *x, bool is_per_slot) {
    Attrs attrs = {0};
    if (is_per_slot)
        attrs_set_bool(builder->graph->module->arena, &attrs, "per_slot", true);
    Value *operands[] = {x, routing->slot_of_row, routing->row_of_slot};
    return build(builder, op, 3, operands, &attrs);
}

Value *upcycle_dispatch(Builder *builder, const Routing *routing, Value *x) {
    return hinted(build_move(builder, routing, OP_dispatch, x, false), "rows");
}

Value *upcycle_combine(Builder *builder, const Routing *routing, Value *rows) {
    Value *weights = build_move(builder, routing, OP_dispatch, routing->weights, true);
    if (rows->type.rank > 1)
        weights = build_broadcast(builder, weights, &rows->type, (int64_t[]){0});
    return build_move(builder, routing, OP_combine, build_binary(builder, OP_mul, rows, weights), false);
}

/* ---- Losses --------------------------------------------------------------------------------------------------- */

static Value *build_sum_of_all(Builder *builder, Value *x) {
    int64_t dims[MAX_RANK];
    for (int i = 0; i < x->type.rank; i++)
        dims[i] = i;
    return build_reduce_sum(builder, x, dims, x->type.rank);
}

/* experts * sum over e of (share of slots that chose e) * (mean probability of e): Fedus et al. 2022. */
static Value *build_balance(const Upcycle *at, Builder *builder, const Routing *routing, Value *counts) {
    int64_t dims[MAX_RANK];
    int token_rank = routing->logits->type.rank - 1;
    double n_slots = (double)type_n_elements(&routing->indices->type);
    double n_tokens = n_slots / (double)at->settings.top_k;
    for (int i = 0; i < token_rank; i++)
        dims[i] = i;
    Value *probabilities = routing->probabilities;
    if (!probabilities)
        probabilities = build_unary(builder, OP_softmax, routing->logits);
    Value *share = build_scale(builder, counts, 1 / n_slots);
    Value *mean = build_scale(builder, build_reduce_sum(builder, probabilities, dims, token_rank), 1 / n_tokens);
    Value *sum = build_sum_of_all(builder, build_binary(builder, OP_mul, share, mean));
    return build_scale(builder, sum, (double)at->settings.n_experts);
}

/* The mean over tokens of logsumexp(logits)^2: Zoph et al. 2022. */
static Value *build_z_loss(Builder *builder, const Routing *routing) {
    Value *logsumexp = build_unary(builder, OP_logsumexp, routing->logits);
    Value *squares = build_binary(builder, OP_mul, logsumexp, logsumexp);
    return build_scale(builder, build_sum_of_all(builder, squares), 1 / (double)type_n_elements(&squares->type));
}

static Value *add_to(Builder *builder, Value *sum, Value *term) {
    return sum ? build_binary(builder, OP_add, sum, term) : term;
}

void upcycle_add_losses(const Upcycle *at, Builder *builder, const Routing *routing, RoutingLosses *losses) {
    Value *indices = routing->indices;
    Value *counts = build_with(builder, OP_histogram, 1, &indices, "bins", at->settings.n_experts, NULL, 0);
    Type row = {.dtype = DTYPE_F32, .rank = 2, .dims = {{.extent = 1}, counts->type.dims[0]}};
    losses->balance = add_to(builder, losses->balance, build_balance(at, builder, routing, counts));
    losses->z_loss = add_to(builder, losses->z_loss, build_z_loss(builder, routing));
    arena_push(at->arena, losses->loads, losses->n_loads, losses->loads_capacity, build_reshape(builder, counts, &row));
}

/* nll plus what the coefficients ask for. */
static Value *build_loss(const Upcycle *at, Builder *builder, const RoutingLosses *losses, Value *nll) {
    const struct {
        double coefficient;
        Value *value;
    } terms[] = {{at->settings.balance, losses->balance}, {at->settings.z_loss, losses->z_loss}};
    Value *loss = nll;
    for (size_t i = 0; i < sizeof terms / sizeof *terms; i++) {
        if (terms[i].coefficient > 0)
            loss = build_binary(builder, OP_add, loss, build_scale(builder, terms[i].value, terms[i].coefficient));
    }
    return loss;
}

void upcycle_add_outputs(const Upcycle *at, Builder *builder, const RoutingLosses *losses, Value *nll) {
    Graph *graph = builder->graph;
    Value *load = losses->loads[0];
    if (losses->n_loads > 1)
        load = build_with(builder, OP_concat, (int)losses->n_loads, losses->loads, "dim", 0, NULL, 0);
    graph_add_output(graph, "loss", build_loss(at, builder, losses, nll));
    graph_add_output(graph, "balance", losses->balance);
    graph_add_output(graph, "z_loss", losses->z_loss);
    graph_add_output(graph, "expert_load", load);
}
