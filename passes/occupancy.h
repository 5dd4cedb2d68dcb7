/* Which bytes of the arena are taken, and from when to when: what the memory pass asks for the lowest place that is
   free. Time is counted as in passes/liveness.h. Never here: values, or the order in which they are placed. */
#ifndef MOEC_PASSES_OCCUPANCY_H
#define MOEC_PASSES_OCCUPANCY_H

#include <stddef.h>
#include <stdint.h>

#include "ir/arena.h"

/* A place in the arena: n_bytes from `offset` on, at the times [first, last]. */
typedef struct {
    uint32_t first, last;
    int64_t n_bytes, offset;
} Place;

typedef struct Span Span;

typedef struct {
    Arena *arena;
    Span *spans; /* a heap: the halves of span i are 2 i and 2 i + 1, span 1 is all of time */
    size_t n_times;
    size_t n_steps; /* runs of bytes looked at or moved so far: the work done, for tests of how it grows */
} Occupancy;

/* Nothing is taken at any of the times [0, n_times). What it learns is kept on `arena`. */
Occupancy occupancy_new(Arena *arena, size_t n_times);

/* The lowest offset at which place->n_bytes are free at all of the place's times. */
int64_t occupancy_lowest_offset(Occupancy *occupancy, const Place *place);

/* Takes the place. */
void occupancy_take(Occupancy *occupancy, const Place *place);

#endif
