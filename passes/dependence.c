#include "passes/dependence.h"

#include <assert.h>

#include "ir/block.h"
#include "ir/in_place.h"
#include "ir/names.h"
#include "ir/view.h"
#include "passes/liveness.h"
#include "passes/passes.h"

/* What stands behind a value, by its number. */
typedef struct {
    uint32_t storage; /* where its elements are, in the arena; or NO_INDEX */
    uint32_t state;   /* the same, outside of it */
    uint32_t unit;    /* which must have run before it can be read, or NO_INDEX */
} Origin;

/* The units that have read or written a state so far. */
typedef struct {
    bool is_updated; /* somewhere in the graph */
    uint32_t last_writer;
    uint32_t *readers; /* since then */
    size_t n_readers, capacity;
} StateUse;

/* `to` belongs to `from`. */
typedef struct {
    uint32_t from, to;
} Pair;

typedef struct {
    Pair *items;
    size_t n, capacity;
} Pairs;

typedef struct {
    Arena *arena;
    Dependence *out;
    const bool *escapes;     /* block_escapes */
    bool has_gradients;      /* in the arena */
    bool *is_arena_gradient; /* by the number of a value: it shows one that another graph has left there */
    Names state_indices;
    StateUse *states;
    Origin *origins;
    size_t storages_capacity;
    Pairs order, reads, fills;
    uint32_t *last_reader; /* by storage: the last unit that was noted to read it */
    uint32_t *block_units; /* by the block's number */
    uint32_t open_unit;    /* of the block of which nodes stand before and behind the current one; or NO_INDEX */
} Finder;

static void add_pair(Finder *at, Pairs *pairs, uint32_t from, uint32_t to) {
    Pair pair = {from, to};
    arena_push(at->arena, pairs->items, pairs->n, pairs->capacity, pair);
}

static void add_order(Finder *at, uint32_t before, uint32_t unit) {
    if (before != NO_INDEX && before != unit)
        add_pair(at, &at->order, before, unit);
}

/* The pairs as lists, by `from` or, reversed, by `to`; pairs keep their order. */
static IndexLists lists_of(Arena *arena, const Pairs *pairs, size_t n_owners, bool is_reversed) {
    IndexLists lists = {.starts = arena_array_of(arena, uint32_t, n_owners + 2),
                        .items = arena_array_of(arena, uint32_t, pairs->n)};
    for (size_t i = 0; i < pairs->n; i++)
        lists.starts[(is_reversed ? pairs->items[i].to : pairs->items[i].from) + 2]++;
    for (size_t i = 2; i < n_owners + 2; i++)
        lists.starts[i] += lists.starts[i - 1];
    for (size_t i = 0; i < pairs->n; i++) { /* starts[owner + 1] moves from its list's begin to its end */
        const Pair *pair = &pairs->items[i];
        uint32_t *next = &lists.starts[(is_reversed ? pair->to : pair->from) + 1];
        lists.items[(*next)++] = is_reversed ? pair->from : pair->to;
    }
    return lists;
}

/* ---- States ---------------------------------------------------------------------------------------------------- */

/* The index of a state by name: two nodes may read one state. */
static uint32_t state_index(Finder *at, const Node *node) {
    const char *name = attrs_string(&node->attrs, "name", "");
    size_t index = at->state_indices.n;
    if (!names_find(&at->state_indices, name, &index))
        names_add(&at->state_indices, name, index);
    return (uint32_t)index;
}

static void find_gradients(Finder *at, const Graph *graph) {
    at->has_gradients = gradients_are_in_arena(graph->module);
    for (const Node *node = graph->first; node && at->has_gradients; node = node->next) {
        at->is_arena_gradient[node->results[0].number] = liveness_is_gradient(graph, node);
        if (liveness_starts_gradient(node))
            at->is_arena_gradient[node->operands[0]->number] = false;
    }
}

static void find_states(Finder *at, const Graph *graph) {
    at->states = arena_array_of(at->arena, StateUse, graph->n_nodes);
    for (size_t i = 0; i < graph->n_nodes; i++)
        at->states[i].last_writer = NO_INDEX;
    for (const Node *node = graph->first; node; node = node->next) {
        if (op_info(node->op)->class != OP_CLASS_UPDATE)
            continue;
        for (int i = 0; i < node->n_results; i++)
            at->states[state_index(at, view_owner(node->operands[i])->def)].is_updated = true;
    }
}

static void note_state_read(Finder *at, StateUse *state, uint32_t unit) {
    add_order(at, state->last_writer, unit);
    if (state->is_updated)
        arena_push(at->arena, state->readers, state->n_readers, state->capacity, unit);
}

static void note_state_write(Finder *at, StateUse *state, uint32_t unit) {
    add_order(at, state->last_writer, unit);
    for (size_t i = 0; i < state->n_readers; i++)
        add_order(at, state->readers[i], unit);
    state->n_readers = 0;
    state->last_writer = unit;
}

/* ---- Nodes ----------------------------------------------------------------------------------------------------- */

static uint32_t add_storage(Finder *at, const Value *value, uint32_t producer) {
    Dependence *out = at->out;
    Storage storage = {.n_bytes = arena_bytes_of(&value->type), .producer = producer};
    arena_push(at->arena, out->storages, out->n_storages, at->storages_capacity, storage);
    uint32_t index = (uint32_t)out->n_storages - 1;
    if (producer != NO_INDEX)
        add_pair(at, &at->fills, producer, index);
    at->last_reader[index] = NO_INDEX;
    out->storage_of[value->number] = index;
    return index;
}

/* Leaves, and views that are free to stand anywhere: nothing depends on their place. False: `node` is a unit. */
static bool find_free_node(Finder *at, const Node *node) {
    OpClass class = op_info(node->op)->class;
    Origin *origin = &at->origins[node->results[0].number];
    if (class == OP_CLASS_LEAF) {
        *origin = (Origin){NO_INDEX, NO_INDEX, NO_INDEX};
        if (node->op == OP_input)
            origin->storage = add_storage(at, &node->results[0], NO_INDEX);
        if (node->op == OP_state)
            origin->state = state_index(at, node);
        if (at->is_arena_gradient[node->results[0].number])
            origin->storage = add_storage(at, &node->results[0], NO_INDEX);
        return true;
    }
    if (class != OP_CLASS_VIEW)
        return false;
    *origin = at->origins[node->operands[0]->number];
    return origin->state == NO_INDEX || !at->states[origin->state].is_updated;
}

/* The unit of a node that is not free: that of its block, or a new one. A view of a state that stands within a block
   which has written the state shows what it wrote there: it is part of it. */
static uint32_t find_unit(Finder *at, const Node *node) {
    uint32_t *unit = node->block ? &at->block_units[node->block->number] : NULL;
    if (unit && *unit != NO_INDEX)
        return *unit;
    const Origin *origin = node_computes(node) ? NULL : &at->origins[node->results[0].number];
    if (origin && at->open_unit != NO_INDEX && at->states[origin->state].last_writer == at->open_unit)
        return at->open_unit;
    uint32_t added = (uint32_t)at->out->n_units++;
    if (unit)
        *unit = added;
    return added;
}

static void note_reads(Finder *at, const Node *node, uint32_t unit) {
    bool is_view = !node_computes(node);
    for (int i = 0; i < node->n_operands; i++) {
        const Origin *origin = &at->origins[node->operands[i]->number];
        add_order(at, origin->unit, unit);
        if (origin->state != NO_INDEX)
            note_state_read(at, &at->states[origin->state], unit);
        if (origin->storage == NO_INDEX || is_view || origin->unit == unit || at->last_reader[origin->storage] == unit)
            continue;
        at->last_reader[origin->storage] = unit;
        add_pair(at, &at->reads, unit, origin->storage);
    }
}

static void note_results(Finder *at, Node *node, uint32_t unit) {
    OpClass class = op_info(node->op)->class;
    for (int i = 0; i < node->n_results; i++) {
        Value *source = view_source(&node->results[i]);
        Origin origin = {NO_INDEX, NO_INDEX, unit};
        if (source)
            origin.state = at->origins[source->number].state;
        else if (value_has_storage(&node->results[i], at->escapes))
            origin.storage = add_storage(at, &node->results[i], unit);
        if (at->has_gradients && liveness_starts_gradient(node)) { /* for another graph */
            uint32_t gradient = add_storage(at, node->operands[0], unit);
            at->out->storages[gradient].is_output = true;
        }
        if (class == OP_CLASS_UPDATE)
            note_state_write(at, &at->states[origin.state], unit);
        at->origins[node->results[i].number] = origin;
    }
}

static void find_node(Finder *at, Node *node) {
    uint32_t *unit = &at->out->unit_of[node->results[0].number];
    *unit = NO_INDEX;
    if (find_free_node(at, node))
        return;
    *unit = find_unit(at, node);
    note_reads(at, node, *unit);
    note_results(at, node, *unit);
    if (node_computes(node))
        at->open_unit = node->block && !block_ends_at(node) ? *unit : NO_INDEX;
}

static void find_replaced(Finder *at, const Graph *graph) {
    Dependence *out = at->out;
    InPlacePairs found = graph_in_place_pairs(at->arena, graph, at->escapes);
    Pairs pairs = {0};
    for (size_t i = 0; i < found.n; i++)
        add_pair(at, &pairs, out->storage_of[found.items[i].result->number],
                 out->storage_of[found.items[i].replaced->number]);
    out->replaced = lists_of(at->arena, &pairs, out->n_storages, false);
}

Dependence dependence_of(Arena *arena, const Graph *graph) {
    Dependence out = {0};
    uint32_t n_values = graph_number(graph);
    Finder at = {.arena = arena,
                 .out = &out,
                 .state_indices = {.arena = arena},
                 .escapes = block_escapes(arena, graph),
                 .is_arena_gradient = arena_array_of(arena, bool, n_values),
                 .origins = arena_array_of(arena, Origin, n_values),
                 .last_reader = arena_array_of(arena, uint32_t, n_values),
                 .block_units = arena_array_of(arena, uint32_t, graph->n_nodes),
                 .open_unit = NO_INDEX};
    out.unit_of = arena_array_of(arena, uint32_t, n_values);
    out.storage_of = arena_array_of(arena, uint32_t, n_values);
    for (uint32_t i = 0; i < n_values; i++)
        out.storage_of[i] = NO_INDEX;
    for (size_t i = 0; i < graph->n_nodes; i++)
        at.block_units[i] = NO_INDEX;
    find_gradients(&at, graph);
    find_states(&at, graph);
    for (Node *node = graph->first; node; node = node->next)
        find_node(&at, node);
    for (size_t i = 0; i < graph->n_outputs; i++) {
        uint32_t storage = at.origins[graph->outputs[i].value->number].storage;
        assert(storage == NO_INDEX || storage < out.n_storages);
        if (storage != NO_INDEX)
            out.storages[storage].is_output = true;
    }
    find_replaced(&at, graph);
    out.reads = lists_of(arena, &at.reads, out.n_units, false);
    out.readers = lists_of(arena, &at.reads, out.n_storages, true);
    out.fills = lists_of(arena, &at.fills, out.n_units, false);
    out.successors = lists_of(arena, &at.order, out.n_units, false);
    out.predecessors = lists_of(arena, &at.order, out.n_units, true);
    return out;
}
