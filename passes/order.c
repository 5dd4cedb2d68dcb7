#include "passes/order.h"

/* Where a node goes: unit number p of the order is at 2p + 2; what it needs stands just before it, inputs stand at 0,
   and what no unit needs at the end. */
typedef struct {
    uint32_t place;
    bool is_unit; /* the node is part of one */
} Placement;

static void place_before(Node *needed, uint32_t place) {
    Placement *placement = needed->scratch;
    if (!placement->is_unit && place < placement->place)
        placement->place = place;
}

/* A view of what a block makes, for the block itself, stands within it. */
static void place_behind_operands(Node *node) {
    Placement *placement = node->scratch;
    for (int i = 0; i < node->n_operands && !placement->is_unit; i++) {
        const Placement *operand = node->operands[i]->def->scratch;
        if (placement->place < operand->place)
            placement->place = operand->place;
    }
}

static void place_nodes(Arena *arena, const Graph *graph, const Dependence *units, const uint32_t *order) {
    uint32_t *places = arena_array_of(arena, uint32_t, units->n_units);
    for (uint32_t i = 0; i < units->n_units; i++)
        places[order[i]] = 2 * i + 2;
    for (Node *node = graph->first; node; node = node->next) {
        Placement *placement = arena_new_of(arena, Placement);
        uint32_t unit = units->unit_of[node->results[0].number];
        placement->is_unit = unit != NO_INDEX;
        placement->place = placement->is_unit ? places[unit] : 2 * (uint32_t)units->n_units + 1;
        if (node->op == OP_input)
            placement->place = 0;
        node->scratch = placement;
    }
    for (Node *node = graph->last; node; node = node->prev) {
        const Placement *placement = node->scratch;
        for (int i = 0; i < node->n_operands; i++)
            place_before(node->operands[i]->def, placement->place - placement->is_unit);
    }
    for (Node *node = graph->first; node; node = node->next)
        place_behind_operands(node);
}

/* Nodes of one place keep their order: views stay behind what they show. */
static void sort_nodes(Arena *arena, Graph *graph, size_t n_places) {
    Node **sorted = arena_array_of(arena, Node *, graph->n_nodes);
    uint32_t *starts = arena_array_of(arena, uint32_t, n_places + 1);
    for (const Node *node = graph->first; node; node = node->next)
        starts[((const Placement *)node->scratch)->place + 1]++;
    for (size_t i = 1; i <= n_places; i++)
        starts[i] += starts[i - 1];
    for (Node *node = graph->first; node; node = node->next)
        sorted[starts[((const Placement *)node->scratch)->place]++] = node;
    for (size_t i = 0, n = graph->n_nodes; i < n; i++)
        graph_move(graph, sorted[i], NULL);
}

void graph_order_units(Arena *arena, Graph *graph, const Dependence *units, const uint32_t *order) {
    place_nodes(arena, graph, units, order);
    sort_nodes(arena, graph, 2 * units->n_units + 2);
}

/* ---- Gathering ------------------------------------------------------------------------------------------------- */

/* The path from a unit to one that it needs and that has yet to be placed. */
typedef struct {
    uint32_t unit, n_seen; /* predecessors that have been looked at */
} Step;

typedef enum { UNIT_WAITS, UNIT_ON_PATH, UNIT_PLACED } UnitState;

typedef struct {
    const Dependence *units;
    UnitState *states; /* by unit */
    Step *path;
    size_t n_path;
    uint32_t *order;
    size_t n_placed;
} Gatherer;

static void enter(Gatherer *at, uint32_t unit) {
    at->states[unit] = UNIT_ON_PATH;
    at->path[at->n_path++] = (Step){unit, 0};
}

/* Places what `unit` needs, then itself. False: it needs itself. */
static bool place_unit(Gatherer *at, uint32_t unit) {
    enter(at, unit);
    while (at->n_path > 0) {
        Step *step = &at->path[at->n_path - 1];
        IndexList needed = index_list(&at->units->predecessors, step->unit);
        if (step->n_seen == needed.n) {
            at->states[step->unit] = UNIT_PLACED;
            at->order[at->n_placed++] = step->unit;
            at->n_path--;
            continue;
        }
        uint32_t next = needed.items[step->n_seen++];
        if (at->states[next] == UNIT_ON_PATH)
            return false;
        if (at->states[next] == UNIT_WAITS)
            enter(at, next);
    }
    return true;
}

bool graph_gather_blocks(Graph *graph) {
    Arena *arena = arena_new();
    Dependence units = dependence_of(arena, graph);
    size_t n = units.n_units;
    Gatherer at = {.units = &units,
                   .states = arena_array_of(arena, UnitState, n),
                   .path = arena_array_of(arena, Step, n),
                   .order = arena_array_of(arena, uint32_t, n)};
    bool succeeded = true;
    for (uint32_t unit = 0; unit < n && succeeded; unit++)
        succeeded = at.states[unit] != UNIT_WAITS || place_unit(&at, unit);
    if (succeeded)
        graph_order_units(arena, graph, &units, at.order);
    arena_free(arena);
    return succeeded;
}
