/* What the backward half of graph "train" computes again rather than keeps.

   The backward half begins at the first kernel that depends on input "loss_scale", the seed of all gradients. From
   there on, what no output depends on is of that half. A value that a kernel before makes and one of the half reads is
   *saved*: it lives across the loss, where memory is at its peak. To *drop* a node is to leave its saved results out
   and to compute them again, next to who reads them, from what is kept; that takes the node and what lies between it
   and what is kept, its *chain*.

   recompute_survey.c says what is saved, recompute_choose.c what to drop, recompute_clone.c does it; recompute.c is the
   pass, which tries how much to drop. */
#ifndef MOEC_PASSES_RECOMPUTE_H
#define MOEC_PASSES_RECOMPUTE_H

#include "ir/ir.h"

/* What is known of a node: Node.scratch while the pass works on a graph. */
typedef struct {
    Node *node;
    uint32_t place;   /* in list order, from 0 */
    bool is_seeded;   /* depends on "loss_scale" */
    bool is_backward; /* of the backward half */
    bool is_view;
    bool is_fixed;  /* never computed again: leaves, what the backward half makes, what is too small to matter or in use
                       anyway, what could differ later. Of views nothing is said: their owner decides. */
    bool is_costly; /* a matrix product or attention: not dropped without need */
    bool is_saved;
    bool is_dropped;
    bool is_redone;        /* readers of the backward half need a clone */
    int64_t n_saved_bytes; /* of results that the backward half reads */
    double time;           /* node_time */
    uint32_t last_forward; /* places of readers; views are none */
    uint32_t first_backward, last_backward;
    uint32_t visit; /* the last walk that met it */
    Node *clone;
    uint32_t clone_place; /* of the last reader of `clone` */
} RecomputeItem;

typedef struct {
    Graph *graph;
    Arena *arena;
    RecomputeItem *items; /* in list order */
    size_t n_items;
    uint32_t backward_begin; /* a place; n_items where nothing is derived */
    uint32_t n_visits;
    double forward_time;   /* of all nodes before backward_begin */
    double time;           /* of all nodes */
    RecomputeItem **stack; /* of walks */
    size_t n_stack, stack_capacity;
} Recompute;

static inline RecomputeItem *recompute_item(const Node *node) {
    return node->scratch;
}

/* Nothing is dropped yet. On `arena`. */
Recompute recompute_survey(Arena *arena, Graph *graph);

/* Whether the values that `item` is made of must themselves be computed again to compute `item` again. */
static inline bool recompute_is_kept(const RecomputeItem *item) {
    return item->is_fixed || (item->is_saved && !item->is_dropped);
}

/* A node to drop: how long its chain takes, and the bytes that are then not saved. */
typedef struct {
    uint32_t place;
    double time;
    int64_t n_bytes;
} RecomputeDrop;

typedef struct {
    RecomputeDrop *items;
    size_t n, capacity;
} RecomputeList;

/* Drops what is cheap. */
void recompute_drop_cheap(Recompute *at);

/* What is left, in the order in which to drop it: that which takes the least time for a byte first, given what was
   dropped before. Drops all of it. */
RecomputeList recompute_drop_rest(Recompute *at);

/* What came of it. */
typedef struct {
    int64_t n_values, n_bytes; /* saved values that are dropped */
    double flops;              /* of clones */
} RecomputeResult;

/* Clones the chains of what is dropped for readers of the backward half, and removes what nobody reads now. The survey
   is of no use afterwards. */
RecomputeResult recompute_clone(Recompute *at);

#endif
