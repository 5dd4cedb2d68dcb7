/* The order of nodes, for low peak memory.

   In: any graph. Out: the same nodes in an order that keeps all dependences (passes/dependence.h) and whose largest sum
   of live bytes is at most that of the order found. Never here: offsets.

   A list scheduler takes, of the units that are ready, the one that adds the fewest live bytes (equals: in the order
   found). It runs from the front, where it frees operands early, and from the back, where it makes results late; of
   these orders and the one found, the best is taken. O(n log n). */
#include <assert.h>

#include "passes/liveness.h"
#include "passes/order.h"
#include "passes/passes.h"

typedef struct {
    int64_t n_bytes; /* that running it now would add to what is live */
    uint32_t unit;
} Candidate;

/* Scheduling from one end. */
typedef struct {
    const Dependence *graph;
    bool is_backward;
    int64_t *n_added;    /* by unit: Candidate.n_bytes as of now */
    uint32_t *n_waiting; /* by unit: dependences that are not scheduled yet */
    bool *is_scheduled;  /* by unit */
    /* By storage. Forward: readers to come, and the sum of their indices, which is the last one's in the end.
       Backward: whether something later reads it. */
    uint32_t *n_readers;
    uint64_t *sum_readers;
    bool *is_live;
    Candidate *heap; /* ready units; of one that became cheaper later, outdated entries too */
    size_t n_heap, heap_capacity;
    Arena *arena;
} Scheduler;

/* ---- The heap of ready units ----------------------------------------------------------------------------------- */

static bool is_before(const Scheduler *at, Candidate a, Candidate b) {
    if (a.n_bytes != b.n_bytes)
        return a.n_bytes < b.n_bytes;
    return at->is_backward ? a.unit > b.unit : a.unit < b.unit;
}

static void push(Scheduler *at, uint32_t unit) {
    Candidate candidate = {at->n_added[unit], unit};
    arena_push(at->arena, at->heap, at->n_heap, at->heap_capacity, candidate);
    size_t i = at->n_heap - 1;
    for (; i > 0 && is_before(at, candidate, at->heap[(i - 1) / 2]); i = (i - 1) / 2)
        at->heap[i] = at->heap[(i - 1) / 2];
    at->heap[i] = candidate;
}

static Candidate pop(Scheduler *at) {
    assert(at->n_heap > 0);
    Candidate top = at->heap[0], last = at->heap[--at->n_heap];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < at->n_heap; i = child) {
        if (child + 1 < at->n_heap && is_before(at, at->heap[child + 1], at->heap[child]))
            child++;
        if (!is_before(at, at->heap[child], last))
            break;
        at->heap[i] = at->heap[child];
    }
    at->heap[i] = last;
    return top;
}

/* Running the unit adds fewer bytes than before. */
static void make_cheaper(Scheduler *at, uint32_t unit, int64_t n_bytes) {
    at->n_added[unit] -= n_bytes;
    if (!at->is_scheduled[unit] && at->n_waiting[unit] == 0)
        push(at, unit);
}

/* ---- From the front: a unit adds its results and takes the operands away that nobody else will read -------------- */

static void drop_if_last(Scheduler *at, uint32_t storage) {
    if (at->n_readers[storage] == 1 && !at->graph->storages[storage].is_output)
        make_cheaper(at, (uint32_t)at->sum_readers[storage], at->graph->storages[storage].n_bytes);
}

static void start_forward(Scheduler *at) {
    const Dependence *graph = at->graph;
    for (uint32_t storage = 0; storage < graph->n_storages; storage++) {
        const Storage *item = &graph->storages[storage];
        IndexList readers = index_list(&graph->readers, storage);
        at->n_readers[storage] = readers.n;
        for (uint32_t i = 0; i < readers.n; i++)
            at->sum_readers[storage] += readers.items[i];
        if (item->producer != NO_INDEX && (at->n_readers[storage] > 0 || item->is_output))
            at->n_added[item->producer] += item->n_bytes;
    }
    for (uint32_t storage = 0; storage < graph->n_storages; storage++)
        drop_if_last(at, storage);
}

static void run_forward(Scheduler *at, uint32_t unit) {
    IndexList reads = index_list(&at->graph->reads, unit);
    for (uint32_t i = 0; i < reads.n; i++) {
        at->n_readers[reads.items[i]]--;
        at->sum_readers[reads.items[i]] -= unit;
        drop_if_last(at, reads.items[i]);
    }
}

/* ---- From the back: a unit adds the operands that nothing later reads and takes its results away ----------------- */

static void revive(Scheduler *at, uint32_t storage) {
    const Storage *item = &at->graph->storages[storage];
    if (at->is_live[storage])
        return;
    at->is_live[storage] = true;
    IndexList readers = index_list(&at->graph->readers, storage);
    for (uint32_t i = 0; i < readers.n; i++)
        make_cheaper(at, readers.items[i], item->n_bytes);
    if (item->producer != NO_INDEX)
        make_cheaper(at, item->producer, item->n_bytes);
}

static void start_backward(Scheduler *at) {
    const Dependence *graph = at->graph;
    for (uint32_t unit = 0; unit < graph->n_units; unit++) {
        IndexList reads = index_list(&graph->reads, unit);
        for (uint32_t i = 0; i < reads.n; i++)
            at->n_added[unit] += graph->storages[reads.items[i]].n_bytes;
    }
    for (uint32_t storage = 0; storage < graph->n_storages; storage++) {
        if (graph->storages[storage].is_output)
            revive(at, storage);
    }
}

static void run_backward(Scheduler *at, uint32_t unit) {
    IndexList reads = index_list(&at->graph->reads, unit);
    for (uint32_t i = 0; i < reads.n; i++)
        revive(at, reads.items[i]);
}

/* ---- Orders ---------------------------------------------------------------------------------------------------- */

static void release(Scheduler *at, uint32_t unit) {
    IndexList others = index_list(at->is_backward ? &at->graph->predecessors : &at->graph->successors, unit);
    for (uint32_t i = 0; i < others.n; i++) {
        if (--at->n_waiting[others.items[i]] == 0)
            push(at, others.items[i]);
    }
}

/* The units in the order of the list scheduler that starts at one end. */
static uint32_t *list_order(Arena *arena, const Dependence *graph, bool is_backward) {
    size_t n = graph->n_units, n_storages = graph->n_storages;
    Scheduler at = {.graph = graph,
                    .is_backward = is_backward,
                    .n_added = arena_array_of(arena, int64_t, n),
                    .n_waiting = arena_array_of(arena, uint32_t, n),
                    .is_scheduled = arena_array_of(arena, bool, n),
                    .n_readers = arena_array_of(arena, uint32_t, n_storages),
                    .sum_readers = arena_array_of(arena, uint64_t, n_storages),
                    .is_live = arena_array_of(arena, bool, n_storages),
                    .arena = arena};
    uint32_t *order = arena_array_of(arena, uint32_t, n);
    const IndexLists *waits = is_backward ? &graph->successors : &graph->predecessors;
    for (uint32_t unit = 0; unit < n; unit++) /* one more than there are, so that none is ready during the start */
        at.n_waiting[unit] = 1 + index_list(waits, unit).n;
    (is_backward ? start_backward : start_forward)(&at);
    for (uint32_t unit = 0; unit < n; unit++) {
        if (--at.n_waiting[unit] == 0)
            push(&at, unit);
    }
    for (size_t n_scheduled = 0; n_scheduled < n;) {
        Candidate next = pop(&at);
        if (at.is_scheduled[next.unit] || next.n_bytes != at.n_added[next.unit])
            continue;
        at.is_scheduled[next.unit] = true;
        order[is_backward ? n - 1 - n_scheduled : n_scheduled] = next.unit;
        n_scheduled++;
        (is_backward ? run_backward : run_forward)(&at, next.unit);
        release(&at, next.unit);
    }
    return order;
}

/* The largest sum of live bytes, step by step. */
typedef struct {
    const Dependence *graph;
    uint32_t *n_readers; /* by storage: readers to come, an output's end of the graph too */
    bool *is_replaced;   /* by storage: another one has taken over its bytes */
    int64_t n_live, n_peak;
} Meter;

static void meter_fill(Meter *at, uint32_t storage) {
    at->n_live += at->graph->storages[storage].n_bytes;
    at->n_peak = at->n_live > at->n_peak ? at->n_live : at->n_peak;
}

/* The storage that the unit writes this one over is its own from now on: of those that nobody else will read the first.
 */
static bool meter_replace(Meter *at, uint32_t storage) {
    IndexList replaced = index_list(&at->graph->replaced, storage);
    uint32_t i = 0;
    while (i < replaced.n && (at->n_readers[replaced.items[i]] != 1 || at->is_replaced[replaced.items[i]]))
        i++;
    if (i < replaced.n)
        at->is_replaced[replaced.items[i]] = true;
    return i < replaced.n;
}

static void meter_drop_unread(Meter *at, uint32_t storage) {
    if (at->n_readers[storage] == 0 && !at->is_replaced[storage])
        at->n_live -= at->graph->storages[storage].n_bytes;
}

static void meter_start(Meter *at, Arena *arena) {
    const Dependence *graph = at->graph;
    at->n_readers = arena_array_of(arena, uint32_t, graph->n_storages);
    at->is_replaced = arena_array_of(arena, bool, graph->n_storages);
    for (uint32_t i = 0; i < graph->n_storages; i++) {
        at->n_readers[i] = index_list(&graph->readers, i).n + graph->storages[i].is_output;
        if (graph->storages[i].producer == NO_INDEX)
            meter_fill(at, i);
    }
    for (uint32_t i = 0; i < graph->n_storages; i++) {
        if (graph->storages[i].producer == NO_INDEX)
            meter_drop_unread(at, i);
    }
}

static void meter_run(Meter *at, uint32_t unit) {
    IndexList fills = index_list(&at->graph->fills, unit), reads = index_list(&at->graph->reads, unit);
    for (uint32_t i = 0; i < fills.n; i++) {
        if (!meter_replace(at, fills.items[i]))
            meter_fill(at, fills.items[i]);
    }
    for (uint32_t i = 0; i < fills.n; i++)
        meter_drop_unread(at, fills.items[i]);
    for (uint32_t i = 0; i < reads.n; i++) {
        at->n_readers[reads.items[i]]--;
        meter_drop_unread(at, reads.items[i]);
    }
}

/* What liveness_of finds as lower_bound if the units stand in this order. */
static int64_t peak_of(Arena *arena, const Dependence *graph, const uint32_t *order) {
    Meter meter = {.graph = graph};
    meter_start(&meter, arena);
    for (size_t i = 0; i < graph->n_units; i++)
        meter_run(&meter, order[i]);
    return meter.n_peak;
}

static const uint32_t *best_order(Arena *arena, const Dependence *graph) {
    uint32_t *found = arena_array_of(arena, uint32_t, graph->n_units);
    for (uint32_t unit = 0; unit < graph->n_units; unit++)
        found[unit] = unit;
    const uint32_t *orders[] = {found, list_order(arena, graph, false), list_order(arena, graph, true)};
    const uint32_t *best = found;
    int64_t best_peak = INT64_MAX;
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        int64_t peak = peak_of(arena, graph, orders[i]);
        if (peak >= best_peak)
            continue;
        best_peak = peak;
        best = orders[i];
    }
    return best;
}

static void schedule_graph(Graph *graph) {
    Arena *arena = arena_new();
    Liveness liveness;
    graph_forget_plan(graph);
    if (liveness_of(arena, graph, &liveness)) { /* else sums of bytes have no meaning; the memory pass says so */
        Dependence units = dependence_of(arena, graph);
        graph_order_units(arena, graph, &units, best_order(arena, &units));
    }
    arena_free(arena);
}

bool schedule_run(Module *module, Reporter *reporter) {
    (void)reporter; /* any graph can be scheduled */
    for (size_t i = 0; i < module->n_graphs; i++)
        schedule_graph(module->graphs[i]);
    return true;
}
