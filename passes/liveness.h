/* Which values of a graph need storage in the arena, and from which node to which.

   In: a graph in its final order. Out: lifetimes, and the bound that follows from them. Never here: offsets. */
#ifndef MOEC_PASSES_LIVENESS_H
#define MOEC_PASSES_LIVENESS_H

#include "ir/ir.h"

/* Every tensor of the arena begins at a multiple of it, in bytes. */
enum { ARENA_ALIGNMENT = 64 };

/* One value that owns storage: an input, the result of a kernel, or a gradient in the arena (passes/gradients.c). Views
   of it live in it. Time counts nodes from 1 in list order; 0 is before the first. The nodes of a block run at once:
   what they read lives to the last of them, and what they store is there from the first on. */
typedef struct {
    const Value *value;
    int64_t n_bytes;      /* rounded up to ARENA_ALIGNMENT */
    uint32_t first, last; /* both included: the node that fills it (inputs: 0), the last that reads it (outputs: the
                             graph's last) */
    size_t replaced, replacement; /* the lifetime in whose storage it is written (ir/in_place.h), and the one that is
                                     written in its own: they meet in one kernel. NO_LIFETIME: none */
} Lifetime;

#define NO_LIFETIME SIZE_MAX

typedef struct {
    Lifetime *items; /* in the order of the values' numbers */
    size_t n;
    int64_t lower_bound; /* the largest sum of live bytes at any time, storage that is taken over counted once */
    uint32_t peak;       /* the first time when so much is live */
} Liveness;

/* The bytes that a value of this type takes in the arena. */
int64_t arena_bytes_of(const Type *type);

/* Whether the node shows a gradient that is in the arena, and whether a node writes one first. */
bool liveness_is_gradient(const Graph *graph, const Node *node);
bool liveness_starts_gradient(const Node *node);

/* Numbers the graph's values; the result is on `arena`. False if all values together have more bytes than an int64_t
   can count. */
bool liveness_of(Arena *arena, const Graph *graph, Liveness *out);

#endif
