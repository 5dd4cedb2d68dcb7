/* Chains copied to where the backward half reads them. */
#include <assert.h>
#include <stdlib.h>

#include "ir/view.h"
#include "passes/recompute.h"
#include "passes/simplify.h"

/* A clone serves readers that are at most so many nodes apart; for one further away it is made again, so that it does
   not live long. The backward half of a layer has about half as many. */
enum { NEAR = 200 };

static void mark_redone(Recompute *at) {
    for (size_t i = 0; i < at->n_items; i++) {
        RecomputeItem *item = &at->items[i];
        item->is_redone =
            item->is_view ? recompute_item(item->node->operands[0]->def)->is_redone : !recompute_is_kept(item);
    }
}

/* Whether the reader at `place` needs a clone of the item that is not there yet. One that is there is kept for it. */
static bool is_missing(RecomputeItem *item, uint32_t place) {
    if (!item->is_redone)
        return false;
    bool is_near = item->clone && place - item->clone_place <= NEAR;
    item->clone_place = place;
    item->clone = is_near ? item->clone : NULL;
    return !is_near;
}

static void push_missing(Recompute *at, const Node *reader, uint32_t place) {
    for (int i = 0; i < reader->n_operands; i++) {
        RecomputeItem *item = recompute_item(reader->operands[i]->def);
        if (item->visit == at->n_visits || !is_missing(item, place))
            continue;
        item->visit = at->n_visits;
        arena_push(at->arena, at->stack, at->n_stack, at->stack_capacity, item);
    }
}

/* All clones that the reader needs, in list order: [0, n_stack) of the stack. */
static int by_place(const void *left, const void *right) {
    const RecomputeItem *const *a = left, *const *b = right;
    return ((*a)->place > (*b)->place) - ((*a)->place < (*b)->place);
}

static void find_missing(Recompute *at, const RecomputeItem *reader) {
    at->n_visits++;
    at->n_stack = 0;
    push_missing(at, reader->node, reader->place);
    for (size_t i = 0; i < at->n_stack; i++)
        push_missing(at, at->stack[i]->node, reader->place);
    if (at->n_stack > 0)
        qsort(at->stack, at->n_stack, sizeof(RecomputeItem *), by_place);
}

static Value *redone_value(Value *value) {
    const RecomputeItem *item = recompute_item(value->def);
    assert(!item->is_redone || item->clone);
    return item->is_redone ? &item->clone->results[value->result] : value;
}

static Node *clone_before(Recompute *at, const Node *node, Node *reader) {
    Builder builder = {.graph = at->graph, .before = reader, .loc = node->loc, .scope = node->scope};
    Value **operands = arena_array_of(at->arena, Value *, node->n_operands);
    Type *types = arena_array_of(at->arena, Type, node->n_results);
    for (int i = 0; i < node->n_operands; i++)
        operands[i] = redone_value(node->operands[i]);
    for (int i = 0; i < node->n_results; i++)
        types[i] = node->results[i].type;
    const char *error;
    Node *clone = build_typed(&builder, node->op, node->n_operands, operands, &node->attrs, types, &error);
    for (int i = 0; i < node->n_results; i++)
        clone->results[i].hint = node->results[i].hint;
    return clone;
}

static void serve(Recompute *at, const RecomputeItem *reader, RecomputeResult *result) {
    Node *node = reader->node;
    find_missing(at, reader);
    for (size_t i = 0; i < at->n_stack; i++) {
        at->stack[i]->clone = clone_before(at, at->stack[i]->node, node);
        result->flops += node_flops(at->stack[i]->node);
    }
    for (int i = 0; i < node->n_operands; i++)
        node->operands[i] = redone_value(node->operands[i]);
}

static void count_dropped(const Recompute *at, RecomputeResult *result) {
    for (size_t i = 0; i < at->n_items; i++) {
        const RecomputeItem *item = &at->items[i];
        if (!item->is_dropped)
            continue;
        result->n_values++;
        result->n_bytes += item->n_saved_bytes;
    }
}

/* Views are cloned with what they show, for the kernels behind them. */
RecomputeResult recompute_clone(Recompute *at) {
    RecomputeResult result = {0};
    count_dropped(at, &result);
    mark_redone(at);
    for (size_t i = at->backward_begin; i < at->n_items; i++) {
        if (!at->items[i].is_view && at->items[i].is_backward)
            serve(at, &at->items[i], &result);
    }
    graph_remove_dead(at->graph);
    return result;
}
