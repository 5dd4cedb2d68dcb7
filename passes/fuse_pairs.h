/* What has been found out about pairs of groups, by their ids: a pair is looked at once.

   In: pairs. Out: their records. Nothing is iterated, so the order of hashes shows nowhere. */
#ifndef MOEC_PASSES_FUSE_PAIRS_H
#define MOEC_PASSES_FUSE_PAIRS_H

#include "passes/fuse.h"

/* A value that need not be stored saves its bytes twice and never stands in the way of something better. What saves a
   read only goes to loops before it goes to products, which can't sum along rows: so loops that need the same value
   meet first, and if they have become one, the value may be the product's to keep after all. Who reads what a group
   makes comes before who reads the same: that may be far away in time. Operands are made while they are packed only
   where nothing else takes what makes them: it may be done more than once. */
typedef enum {
    FUSE_STAGE_NOTHING_STORED,
    FUSE_STAGE_LOOPS,
    FUSE_STAGE_LOOP_SIBLINGS,
    FUSE_STAGE_PRODUCTS,
    FUSE_STAGE_PRODUCT_SIBLINGS,
    FUSE_STAGE_PROLOGUES,
    FUSE_STAGE_COUNT
} FuseStage;

typedef struct {
    uint32_t a_id, b_id;
    FuseGroup *a, *b; /* a makes what b reads, or begins before it; NULL in a new record */
    FuseKind kind;
    FuseStage stage;    /* in which the pair has its turn */
    double saved;       /* bytes that are not moved if they become one */
    const char *reason; /* NULL, or why they do not */
} FusePair;

typedef struct {
    Arena *arena;
    FusePair **slots;
    size_t n, n_slots; /* n_slots: a power of two, or 0 */
} FusePairs;

/* The record of the pair; a new one, with a NULL `a`, where there is none. */
FusePair *fuse_pairs_get(FusePairs *pairs, uint32_t a, uint32_t b);

/* The record, or NULL. */
const FusePair *fuse_pairs_find(const FusePairs *pairs, uint32_t a, uint32_t b);

#endif
