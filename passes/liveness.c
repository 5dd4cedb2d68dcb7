#include "passes/liveness.h"

#include <string.h>

#include "ir/block.h"
#include "ir/in_place.h"
#include "passes/passes.h"

int64_t arena_bytes_of(const Type *type) {
    return (type_n_bytes(type) + ARENA_ALIGNMENT - 1) / ARENA_ALIGNMENT * ARENA_ALIGNMENT;
}

/* When a node's kernel begins and ends, both included. */
typedef struct {
    uint32_t first, last;
} Span;

/* By the number of the node in list order. A block runs from its first node to its last; inputs are there before all
   nodes. */
static Span *find_spans(Arena *arena, const Graph *graph) {
    Span *spans = arena_array_of(arena, Span, graph->n_nodes),
         *block_spans = arena_array_of(arena, Span, graph->n_nodes);
    uint32_t time = 1;
    for (const Node *node = graph->first; node; node = node->next, time++) {
        Span *span = node->block ? &block_spans[node->block->number] : &spans[time - 1];
        if (span->first == 0 && node->op != OP_input)
            span->first = time;
        span->last = node->op != OP_input ? time : 0;
    }
    time = 1;
    for (const Node *node = graph->first; node; node = node->next, time++) {
        if (node->block)
            spans[time - 1] = block_spans[node->block->number];
    }
    return spans;
}

bool liveness_is_gradient(const Graph *graph, const Node *node) {
    if (node->op != OP_state || !gradients_are_in_arena(graph->module))
        return false;
    const State *state = module_find_state(graph->module, attrs_string(&node->attrs, "name", ""));
    return state && strcmp(state->kind, "grad") == 0;
}

/* One lifetime for each value with storage; `of_value` gets its index + 1 by the value's number. False: too many
   bytes. */
static bool add_lifetimes(Arena *arena, const Graph *graph, const bool *escapes, const Span *spans, Liveness *liveness,
                          size_t *of_value) {
    size_t capacity = 0;
    int64_t n_total = 0;
    for (const Node *node = graph->first; node; node = node->next, spans++) {
        for (int i = 0; i < node->n_results; i++) {
            const Value *value = &node->results[i];
            Lifetime lifetime = {.value = value,
                                 .n_bytes = arena_bytes_of(&value->type),
                                 .first = spans->first,
                                 .last = spans->last,
                                 .replaced = NO_LIFETIME,
                                 .replacement = NO_LIFETIME};
            bool is_gradient = liveness_is_gradient(graph, node);
            if (!is_gradient && !value_has_storage(value, escapes))
                continue;
            if (is_gradient)
                lifetime.first = lifetime.last = 0;
            if (lifetime.n_bytes > INT64_MAX - n_total)
                return false;
            n_total += lifetime.n_bytes;
            arena_push(arena, liveness->items, liveness->n, capacity, lifetime);
            of_value[value->number] = liveness->n;
        }
    }
    return true;
}

bool liveness_starts_gradient(const Node *node) {
    return node->op == OP_accumulate && attrs_bool(&node->attrs, "starts", false);
}

/* From what writes it first on to the end, as another graph reads it. That graph has it from the start. */
static void find_gradient_life(const Graph *graph, const Span *spans, Liveness *liveness, const size_t *of_value) {
    for (const Node *node = graph->first; node; node = node->next, spans++) {
        if (!liveness_starts_gradient(node) || of_value[node->operands[0]->number] == 0)
            continue;
        Lifetime *lifetime = &liveness->items[of_value[node->operands[0]->number] - 1];
        lifetime->first = spans->first;
        lifetime->last = (uint32_t)graph->n_nodes;
    }
}

static void extend(const Liveness *liveness, const size_t *of_value, Value *use, uint32_t time) {
    size_t index = of_value[view_owner(use)->number];
    if (index > 0 && liveness->items[index - 1].last < time)
        liveness->items[index - 1].last = time;
}

/* By index of the lifetime: when the kernel that fills it ends. */
static uint32_t *find_kernel_ends(Arena *arena, const Liveness *liveness) {
    uint32_t *ends = arena_array_of(arena, uint32_t, liveness->n);
    for (size_t i = 0; i < liveness->n; i++)
        ends[i] = liveness->items[i].last;
    return ends;
}

/* Of several results that could take over the same storage the first does. An output's is not taken. */
static void replace(Arena *arena, const Graph *graph, const bool *escapes, const uint32_t *kernel_ends,
                    Liveness *liveness, const size_t *of_value) {
    InPlacePairs pairs = graph_in_place_pairs(arena, graph, escapes);
    bool *is_output = arena_array_of(arena, bool, liveness->n + 1);
    for (size_t i = 0; i < graph->n_outputs; i++)
        is_output[of_value[view_owner(graph->outputs[i].value)->number]] = true;
    for (size_t i = 0; i < pairs.n; i++) {
        size_t result = of_value[pairs.items[i].result->number] - 1;
        size_t replaced = of_value[pairs.items[i].replaced->number] - 1;
        Lifetime *begins = &liveness->items[result], *ends = &liveness->items[replaced];
        if (begins->replaced != NO_LIFETIME || ends->replacement != NO_LIFETIME || is_output[replaced + 1] ||
            ends->last != kernel_ends[result])
            continue;
        begins->replaced = replaced;
        ends->replacement = result;
    }
}

static void find_peak(Arena *arena, Liveness *liveness, size_t n_nodes) {
    int64_t *changes = arena_array_of(arena, int64_t, n_nodes + 2), sum = 0;
    for (size_t i = 0; i < liveness->n; i++) {
        const Lifetime *lifetime = &liveness->items[i];
        bool is_taken_over = lifetime->replacement != NO_LIFETIME;
        changes[lifetime->first] += lifetime->n_bytes;
        changes[is_taken_over ? liveness->items[lifetime->replacement].first : lifetime->last + 1] -= lifetime->n_bytes;
    }
    for (uint32_t time = 0; time <= n_nodes; time++) {
        sum += changes[time];
        if (sum <= liveness->lower_bound)
            continue;
        liveness->lower_bound = sum;
        liveness->peak = time;
    }
}

bool liveness_of(Arena *arena, const Graph *graph, Liveness *out) {
    *out = (Liveness){0};
    const bool *escapes = block_escapes(arena, graph);
    size_t *of_value = arena_array_of(arena, size_t, graph_number(graph));
    const Span *spans = find_spans(arena, graph), *span = spans;
    if (!add_lifetimes(arena, graph, escapes, spans, out, of_value))
        return false;
    const uint32_t *kernel_ends = find_kernel_ends(arena, out);
    for (const Node *node = graph->first; node; node = node->next, span++) {
        for (int i = 0; i < node->n_operands && node_computes(node); i++)
            extend(out, of_value, node->operands[i], span->last);
    }
    find_gradient_life(graph, spans, out, of_value);
    replace(arena, graph, escapes, kernel_ends, out, of_value);
    for (size_t i = 0; i < graph->n_outputs; i++)
        extend(out, of_value, graph->outputs[i].value, (uint32_t)graph->n_nodes);
    find_peak(arena, out, graph->n_nodes);
    return true;
}
