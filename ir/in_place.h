/* Which results of a kernel may be written where something lies that it reads.

   In: a graph in its final order, with its blocks. Out: pairs of values. A kernel runs through the elements of both in
   the same order, and has read an element of the one when it writes that of the other: so the result may take the
   other's storage, if nobody reads that later. Never here: what is read later (passes/liveness.c), offsets. */
#ifndef MOEC_IR_IN_PLACE_H
#define MOEC_IR_IN_PLACE_H

#include "ir/space.h"

typedef struct {
    const Value *result, *replaced; /* both own storage, of as many bytes */
} InPlacePair;

typedef struct {
    InPlacePair *items;
    size_t n, capacity;
} InPlacePairs;

/* Whether the kernel of that space may write the result over `replaced`, which owns storage. */
bool space_can_replace(const Space *space, Value *result, const Value *replaced);

/* All such pairs, kernel by kernel in list order, on the arena. Any result of a kernel that is in one of its pairs may
   replace any value that is in one, but each only one, and no value twice. Inputs are not replaced. `escapes` is
   block_escapes. */
InPlacePairs graph_in_place_pairs(Arena *arena, const Graph *graph, const bool *escapes);

#endif
