/* What must come before what in a graph, and which storage each node fills and reads: the problem that the scheduler
   solves.

   In: a graph in any valid order. Out: units, the nodes whose order matters, with their dependences. Data, and for each
   state the order of its reads and writes (views of it and updates in place included). Never here: choosing an order.
 */
#ifndef MOEC_PASSES_DEPENDENCE_H
#define MOEC_PASSES_DEPENDENCE_H

#include "ir/ir.h"

#define NO_INDEX UINT32_MAX

typedef struct {
    const uint32_t *items;
    uint32_t n;
} IndexList;

/* One list for each owner: that of owner i is items[starts[i]] .. items[starts[i + 1] - 1]. */
typedef struct {
    uint32_t *starts, *items;
} IndexLists;

static inline IndexList index_list(const IndexLists *lists, uint32_t owner) {
    uint32_t start = lists->starts[owner];
    return (IndexList){lists->items + start, lists->starts[owner + 1] - start};
}

/* One value that owns storage in the arena. */
typedef struct {
    int64_t n_bytes;
    uint32_t producer; /* unit, or NO_INDEX: an input */
    bool is_output;
} Storage;

typedef struct {
    Node **units; /* kernels, and views of states that the graph updates, in list order */
    size_t n_units;
    Storage *storages;
    size_t n_storages;
    /* By unit, each without repeats: */
    IndexLists reads;        /* storages that it reads */
    IndexLists fills;        /* storages of its results */
    IndexLists predecessors; /* units; may repeat */
    IndexLists successors;   /* units; may repeat */
    IndexLists readers;      /* by storage: units that read it */
} Dependence;

/* On `arena`. Numbers the graph's values. */
Dependence dependence_of(Arena *arena, const Graph *graph);

#endif
