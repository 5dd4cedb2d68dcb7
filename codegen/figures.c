/* Parameters, and the FLOPs that a token costs a model: spec/numerics.md, "FLOPs". */
#include <string.h>

#include "codegen/plan.h"
#include "ir/view.h"

static double n_elements(const Type *type) {
    return (double)type_n_elements(type);
}

static const Node *find_node(const Graph *graph, OpKind op) {
    const Node *node = graph ? graph->first : NULL;
    while (node && node->op != op)
        node = node->next;
    return node;
}

/* ---- FLOPs ----------------------------------------------------------------------------------------------------- */

/* Rows that a grouped product works on: the slots that tokens have, whatever capacity experts have. */
static double n_slots(const Node *grouped) {
    const Type *rows = &grouped->operands[0]->type;
    const Node *route = view_owner(grouped->operands[2])->def;
    return route->op == OP_route ? n_elements(&route->operands[0]->type) : (double)rows->dims[0].extent;
}

/* Two products over D. A window of W positions cuts the causal half of a square of T, T / 2 positions a token, down to
   W - W W / 2T. In full, nothing is cut. */
static double attention_flops(const Node *node, bool is_full) {
    const Type *q = &node->operands[0]->type;
    double length = (double)q->dims[1].extent, window = (double)attrs_int(&node->attrs, "window", 0);
    if (is_full)
        return 4 * n_elements(q) * length;
    if (window == 0 || window > length)
        window = length;
    return 4 * n_elements(q) * (window - window * window / (2 * length));
}

static double product_flops(const Node *node, bool is_full) {
    switch (node->op) {
    case OP_matmul:
        return node_flops(node);
    case OP_grouped_matmul:
        return 2 * n_slots(node) * (double)type_extent(&node->operands[0]->type, -1) *
               (double)type_extent(&node->results[0].type, -1);
    case OP_attention:
        return attention_flops(node, is_full);
    default:
        return 0;
    }
}

/* Of one run of a graph without a backward part. A product of two values that both depend on the tokens has no
   parameters in it: only attention's count. */
static double forward_flops(const Graph *graph, bool is_full) {
    Arena *arena = arena_new();
    bool *is_data = arena_array_of(arena, bool, graph_number(graph));
    double flops = 0;
    for (const Node *node = graph->first; node; node = node->next) {
        int n_data = 0;
        for (int i = 0; i < node->n_operands; i++)
            n_data += is_data[node->operands[i]->number];
        for (int i = 0; i < node->n_results; i++)
            is_data[node->results[i].number] = node->op == OP_input || n_data > 0;
        bool has_parameters = node->op != OP_matmul || n_data == 1;
        if (has_parameters)
            flops += product_flops(node, is_full);
    }
    arena_free(arena);
    return flops;
}

/* ---- The rest -------------------------------------------------------------------------------------------------- */

/* The type of input "tokens", or NULL. */
static const Type *tokens_type(const Graph *graph) {
    const Value *tokens = graph ? graph_find_input(graph, "tokens") : NULL;
    return tokens ? &tokens->type : NULL;
}

/* Of the experts of a layer a token meets k. */
static void count_parameters(PlanFigures *figures, const Module *module) {
    for (size_t i = 0; i < module->n_states; i++) {
        const State *state = module->states[i];
        if (strcmp(state->kind, "weight") != 0)
            continue;
        int64_t n_experts = attrs_int(&state->attrs, "experts", 0);
        double share = n_experts > 0 && figures->top_k > 0 ? (double)figures->top_k / (double)n_experts : 1;
        figures->total_parameters += n_elements(&state->type);
        figures->active_parameters += share * n_elements(&state->type);
    }
}

static void count_routing(PlanFigures *figures, const Graph *graph) {
    const Node *first = find_node(graph, OP_route);
    if (!first)
        return;
    figures->n_experts = attrs_int(&first->attrs, "experts", 0);
    figures->top_k = type_extent(&first->operands[0]->type, -1);
    for (const Node *node = first; node; node = node->next)
        figures->n_moe_layers += node->op == OP_route;
}

PlanFigures plan_figures(const Module *module) {
    const Graph *eval = module_find_graph(module, "eval");
    const Type *tokens = tokens_type(module_find_graph(module, "train"));
    const Type *window = tokens_type(module_find_graph(module, "generate"));
    const Type *eval_tokens = tokens_type(eval);
    const Node *loss = find_node(eval, OP_cross_entropy);
    PlanFigures figures = {0};
    if (tokens && tokens->rank == 2) {
        figures.micro_batch = tokens->dims[0].extent;
        figures.sequence = tokens->dims[1].extent;
    }
    if (window && window->rank == 2)
        figures.generate_sequence = window->dims[1].extent;
    if (loss)
        figures.vocab = type_extent(&loss->operands[0]->type, -1);
    count_routing(&figures, eval);
    count_parameters(&figures, module);
    const Directive *precision = module_find_directive(module, "precision");
    figures.precision = precision ? precision->name : "f32";
    if (eval_tokens) {
        figures.flops_per_token = 3 * forward_flops(eval, false) / n_elements(eval_tokens);
        figures.full_flops_per_token = 3 * forward_flops(eval, true) / n_elements(eval_tokens);
    }
    return figures;
}
