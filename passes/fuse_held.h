/* What it costs in memory to run two kernels that read the same as one: of two, one after the other, the second fills
   its results when what only the first reads is gone.

   In: a graph whose values are numbered. Out: bytes. Never here: whether they can be one kernel. */
#ifndef MOEC_PASSES_FUSE_HELD_H
#define MOEC_PASSES_FUSE_HELD_H

#include "ir/ir.h"

/* Who reads a value, itself or views of it. */
typedef struct {
    Node *last; /* in list order; NULL: nobody */
    int n;      /* operands that read it */
    bool is_output;
} HeldReaders;

typedef struct {
    const Graph *graph;
    HeldReaders *readers; /* by number of the value that owns the storage */
} Held;

/* The nodes of one kernel. */
typedef struct {
    Node *const *nodes;
    size_t n;
} HeldKernel;

/* As the graph stands; on `arena`. */
Held held_of(Arena *arena, const Graph *graph);

/* How many bytes more the arena holds at a time if `a` and `b`, neither of which reads what the other makes, are one
   kernel. */
int64_t held_bytes(const Held *held, HeldKernel a, HeldKernel b);

#endif
