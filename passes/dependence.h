/* What must come before what in a graph, and which storage each node fills and reads: the problem that the scheduler
   solves.

   In: a graph in any valid order; nodes of a block need not be neighbours. Out: units, what runs as one and whose order
   matters: blocks, other kernels, and views of states that the graph updates; with their dependences. Data, and for
   each state the order of its reads and writes (views of it and updates in place included). Never here: choosing an
   order.
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
    size_t n_units;    /* they count from 0 in the order of their first nodes */
    uint32_t *unit_of; /* by the number of a node's first result: the unit that it is part of, or NO_INDEX */
    Storage *storages;
    size_t n_storages;
    uint32_t *storage_of; /* by the number of a value: the storage that it owns, or NO_INDEX */
    /* By unit, each without repeats (but for blocks whose nodes are not neighbours): */
    IndexLists reads;        /* storages that it reads, other than those that it fills */
    IndexLists fills;        /* storages of its results */
    IndexLists predecessors; /* other units; may repeat */
    IndexLists successors;   /* other units; may repeat */
    IndexLists readers;      /* by storage: units that read it */
    IndexLists replaced;     /* by storage: others that its unit may write it over, if nobody reads them later
                                (ir/in_place.h) */
} Dependence;

/* On `arena`. Numbers the graph's values. */
Dependence dependence_of(Arena *arena, const Graph *graph);

#endif
