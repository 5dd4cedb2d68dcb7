/* The memory plan: an offset in the arena for every value with storage.

   In: a graph in its final order. Out: the attributes that passes/passes.h describes. A result may take over the
   storage of a value that its kernel is the last to read (ir/in_place.h); the two count as one. Each value is placed at
   the lowest offset where it fits between those placed before it that live at the same time (first fit); how near that
   comes to the lower bound hangs on the order in which values are placed, so several orders are tried until one meets
   the bound. If none does, what reached highest is placed before all others, again and again; the best of all is kept.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "passes/liveness.h"
#include "passes/occupancy.h"
#include "passes/passes.h"

/* A lifetime and where it was placed. */
typedef struct {
    Place place;
    uint32_t number; /* of the value; sets the order of equals */
    bool is_given;   /* where another graph has left it */
} Allocation;

/* Where "train" leaves gradients that "update" reads: offsets by the index of the state, or -1. */
typedef struct {
    const Module *module;
    int64_t *offsets;
} Gradients;

static int64_t *gradient_place(const Gradients *gradients, const Value *value) {
    size_t state = 0;
    bool is_state = value->def->op == OP_state &&
                    names_find(&gradients->module->state_indices, attrs_string(&value->def->attrs, "name", ""), &state);
    return is_state ? &gradients->offsets[state] : NULL;
}

static int compare(int64_t a, int64_t b) {
    return (a > b) - (a < b);
}

/* What is large is hardest to place. */
static int larger_first(const void *left, const void *right) {
    const Allocation *a = left, *b = right;
    int order = compare(b->place.n_bytes, a->place.n_bytes);
    return order ? order : compare(a->number, b->number);
}

/* What lives long goes to the bottom, like a stack: the activations that the backward half reads. */
static int longer_first(const void *left, const void *right) {
    const Allocation *a = left, *b = right;
    int order = compare((int64_t)b->place.last - b->place.first, (int64_t)a->place.last - a->place.first);
    return order ? order : larger_first(left, right);
}

/* The order in which a run needs them. */
static int earlier_first(const void *left, const void *right) {
    const Allocation *a = left, *b = right;
    int order = compare(a->place.first, b->place.first);
    return order ? order : longer_first(left, right);
}

/* The order in which a run is done with them, from the back: what other graphs read stands at the bottom. */
static int later_first(const void *left, const void *right) {
    const Allocation *a = left, *b = right;
    int order = compare(b->place.last, a->place.last);
    return order ? order : longer_first(left, right);
}

static double area_of(const Allocation *allocation) {
    return (double)allocation->place.n_bytes * (double)(allocation->place.last - allocation->place.first + 1);
}

/* What takes most of the plane of bytes and time. */
static int wider_first(const void *left, const void *right) {
    const Allocation *a = left, *b = right;
    double order = area_of(b) - area_of(a);
    return order > 0 ? 1 : order < 0 ? -1 : larger_first(left, right);
}

typedef int AllocationOrder(const void *left, const void *right);

static AllocationOrder *const orders[] = {larger_first, longer_first, earlier_first, later_first, wider_first};
enum { N_ORDERS = sizeof orders / sizeof *orders };

/* ---- The pass -------------------------------------------------------------------------------------------------- */

/* One for what lies in one place, each value taking over from the one before. */
static Allocation *allocations_of(Arena *arena, const Liveness *liveness, const Gradients *gradients, size_t *n) {
    Allocation *allocations = arena_array_of(arena, Allocation, liveness->n);
    *n = 0;
    for (size_t i = 0; i < liveness->n; i++) {
        const Lifetime *first = &liveness->items[i], *last = first;
        if (first->replaced != NO_LIFETIME)
            continue;
        while (last->replacement != NO_LIFETIME)
            last = &liveness->items[last->replacement];
        Allocation *allocation = &allocations[(*n)++];
        *allocation = (Allocation){.place = {.first = first->first, .last = last->last, .n_bytes = first->n_bytes},
                                   .number = first->value->number};
        const int64_t *offset = gradient_place(gradients, first->value);
        if (!offset || *offset < 0)
            continue;
        allocation->is_given = true;
        allocation->place.offset = *offset;
    }
    return allocations;
}

static void place_replacements(const Liveness *liveness, int64_t *offsets) {
    for (size_t i = 0; i < liveness->n; i++) { /* from the first value in a place to the last */
        const Lifetime *lifetime = &liveness->items[i];
        if (lifetime->replaced == NO_LIFETIME)
            continue;
        assert(lifetime->replaced < i);
        offsets[lifetime->value->number] = offsets[liveness->items[lifetime->replaced].value->number];
    }
}

/* The end of what has a place, in bytes. */
static int64_t given_bytes(const Allocation *allocations, size_t n) {
    int64_t n_bytes = 0;
    for (size_t i = 0; i < n; i++) {
        const Place *place = &allocations[i].place;
        if (allocations[i].is_given && place->offset + place->n_bytes > n_bytes)
            n_bytes = place->offset + place->n_bytes;
    }
    return n_bytes;
}

/* Places the allocations in the order in which they stand, around what has a place. The bytes that they need. */
static int64_t place_in_order(Allocation *allocations, size_t n, size_t n_times) {
    Arena *arena = arena_new();
    Occupancy occupancy = occupancy_new(arena, n_times);
    int64_t n_bytes = given_bytes(allocations, n);
    for (size_t i = 0; i < n; i++) {
        if (allocations[i].is_given)
            occupancy_take(&occupancy, &allocations[i].place);
    }
    for (size_t i = 0; i < n; i++) {
        Place *place = &allocations[i].place;
        if (allocations[i].is_given)
            continue;
        place->offset = occupancy_lowest_offset(&occupancy, place);
        occupancy_take(&occupancy, place);
        if (place->offset + place->n_bytes > n_bytes)
            n_bytes = place->offset + place->n_bytes;
    }
    arena_free(arena);
    return n_bytes;
}

/* The best places found so far. */
typedef struct {
    int64_t *offsets; /* by value number; -1: no storage */
    int64_t n_bytes;
} Layout;

/* Places the allocations in their order, and keeps that if it is the best. */
static void try_order(Allocation *allocations, size_t n, size_t n_times, Layout *best) {
    int64_t n_bytes = place_in_order(allocations, n, n_times);
    if (n_bytes >= best->n_bytes)
        return;
    best->n_bytes = n_bytes;
    for (size_t i = 0; i < n; i++)
        best->offsets[allocations[i].number] = allocations[i].place.offset;
}

/* Of several that reach highest, the one that was placed last. */
static void move_highest_to_front(Allocation *allocations, size_t n) {
    size_t highest = 0;
    for (size_t i = 1; i < n; i++) {
        const Place *place = &allocations[i].place, *so_far = &allocations[highest].place;
        if (place->offset + place->n_bytes >= so_far->offset + so_far->n_bytes)
            highest = i;
    }
    Allocation moved = allocations[highest];
    memmove(allocations + 1, allocations, highest * sizeof *allocations);
    allocations[0] = moved;
}

enum { MAX_REPAIRS = 40 };

/* Raises the lower bound to what given places make needed. */
static Layout find_layout(Arena *arena, const Graph *graph, Liveness *liveness, const Gradients *gradients,
                          uint32_t n_values) {
    size_t n, n_times = graph->n_nodes + 1;
    Allocation *allocations = allocations_of(arena, liveness, gradients, &n);
    int64_t n_given = given_bytes(allocations, n);
    liveness->lower_bound = liveness->lower_bound > n_given ? liveness->lower_bound : n_given;
    Layout best = {.offsets = arena_array_of(arena, int64_t, n_values), .n_bytes = INT64_MAX};
    for (uint32_t i = 0; i < n_values; i++)
        best.offsets[i] = -1;
    if (n == 0)
        best.n_bytes = 0;
    for (int repairs = 0; repairs <= MAX_REPAIRS;
         repairs += MAX_REPAIRS) { /* the orders alone first: mostly one does */
        for (int i = 0; best.n_bytes > liveness->lower_bound && i < N_ORDERS; i++) {
            qsort(allocations, n, sizeof *allocations, orders[i]);
            try_order(allocations, n, n_times, &best);
            for (int j = 0; best.n_bytes > liveness->lower_bound && j < repairs; j++) {
                move_highest_to_front(allocations, n);
                try_order(allocations, n, n_times, &best);
            }
        }
    }
    place_replacements(liveness, best.offsets);
    return best;
}

void graph_forget_plan(Graph *graph) {
    attrs_remove(&graph->attrs, "offsets");
    attrs_remove(&graph->attrs, "arena_bytes");
    attrs_remove(&graph->attrs, "lower_bound");
}

static void keep_gradients(const Liveness *liveness, const int64_t *offsets, Gradients *gradients) {
    for (size_t i = 0; i < liveness->n; i++) {
        int64_t *place = gradient_place(gradients, liveness->items[i].value);
        if (place)
            *place = offsets[liveness->items[i].value->number];
    }
}

static bool plan_graph(Graph *graph, Gradients *gradients, Reporter *reporter) {
    Arena *arena = arena_new();
    Liveness liveness;
    bool succeeded = liveness_of(arena, graph, &liveness);
    if (succeeded) {
        uint32_t n_values = graph_number(graph);
        Layout layout = find_layout(arena, graph, &liveness, gradients, n_values);
        keep_gradients(&liveness, layout.offsets, gradients);
        Arena *attrs_arena = graph->module->arena;
        graph_forget_plan(graph);
        attrs_set_ints(attrs_arena, &graph->attrs, "offsets", layout.offsets, (int)n_values);
        attrs_set_int(attrs_arena, &graph->attrs, "arena_bytes", layout.n_bytes);
        attrs_set_int(attrs_arena, &graph->attrs, "lower_bound", liveness.lower_bound);
    } else {
        report_error(reporter, graph->module, (Loc){0},
                     "the values of graph \"%s\" have more bytes than can be counted: make the micro-batch, the "
                     "sequence or the model smaller",
                     graph->name);
    }
    arena_free(arena);
    return succeeded;
}

/* "train" comes first: it leaves gradients where they suit it. */
bool memory_run(Module *module, Reporter *reporter) {
    Arena *arena = arena_new();
    Gradients gradients = {module, arena_array_of(arena, int64_t, module->n_states)};
    for (size_t i = 0; i < module->n_states; i++)
        gradients.offsets[i] = -1;
    Graph *train = module_find_graph(module, "train");
    bool succeeded = !train || plan_graph(train, &gradients, reporter);
    for (size_t i = 0; i < module->n_graphs; i++)
        succeeded = (module->graphs[i] == train || plan_graph(module->graphs[i], &gradients, reporter)) && succeeded;
    arena_free(arena);
    return succeeded;
}
