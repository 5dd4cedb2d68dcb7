/* What to drop: by the time that a byte takes, in bytes that could be moved meanwhile (node_time). */
#include "passes/recompute.h"

/* What costs no more than so many passes over its bytes is cheap: a norm, an activation with its gate, moved rows. Part
   of it melts into the kernels that read it. */
enum { CHEAP_PRICE = 8 };

/* No chain is longer, in nodes; one that is not cheap takes at most half of the forward half's time. */
enum { LONGEST_CHAIN = 4096, LONGEST_CHAIN_SHARE = 2 };

/* ---- Chains ---------------------------------------------------------------------------------------------------- */

/* Puts what `node` is made of on the stack, each node once a walk. */
static void push_operands(Recompute *at, const Node *node) {
    for (int i = 0; i < node->n_operands; i++) {
        RecomputeItem *operand = recompute_item(node->operands[i]->def);
        if (operand->visit == at->n_visits || (!operand->is_view && recompute_is_kept(operand)))
            continue;
        operand->visit = at->n_visits;
        arena_push(at->arena, at->stack, at->n_stack, at->stack_capacity, operand);
    }
}

/* The time of the item's chain if it were dropped; negative where that is above `limit` or it has no chain that can be
   redone: with `is_cheap_only` none of matrix products. */
static double chain_time(Recompute *at, const RecomputeItem *item, double limit, bool is_cheap_only) {
    double time = item->time;
    bool is_possible = !is_cheap_only || !item->is_costly;
    size_t n_nodes = 0;
    at->n_visits++;
    at->n_stack = 0;
    push_operands(at, item->node);
    while (is_possible && at->n_stack > 0) {
        const RecomputeItem *link = at->stack[--at->n_stack];
        time += link->time;
        is_possible = time <= limit && ++n_nodes < LONGEST_CHAIN && !(is_cheap_only && link->is_costly);
        push_operands(at, link->node);
    }
    return is_possible && time <= limit ? time : -1;
}

/* ---- Choices --------------------------------------------------------------------------------------------------- */

/* Drops, in list order, what is saved and takes at most `price` for a byte; adds it to the list. */
static void drop_below(Recompute *at, double price, bool is_cheap_only, RecomputeList *dropped) {
    double longest = is_cheap_only ? at->forward_time : at->forward_time / LONGEST_CHAIN_SHARE;
    for (uint32_t place = 0; place < at->backward_begin; place++) {
        RecomputeItem *item = &at->items[place];
        if (item->is_view || item->is_fixed || !item->is_saved || item->is_dropped)
            continue;
        double limit = price * (double)item->n_saved_bytes;
        RecomputeDrop drop = {.place = place, .n_bytes = item->n_saved_bytes};
        drop.time = chain_time(at, item, limit < longest ? limit : longest, is_cheap_only);
        item->is_dropped = drop.time >= 0;
        if (item->is_dropped && dropped)
            arena_push(at->arena, dropped->items, dropped->n, dropped->capacity, drop);
    }
}

void recompute_drop_cheap(Recompute *at) {
    drop_below(at, CHEAP_PRICE, true, NULL);
}

/* The price rises by steps. Each value dropped makes the chains of others longer, so that of a run of layers every
   second residual stream goes first, then every fourth, and so on. */
RecomputeList recompute_drop_rest(Recompute *at) {
    RecomputeList dropped = {0};
    enum { N_STEPS = 62 }; /* up to a million */
    double price = 1;
    for (int i = 0; i < N_STEPS; i++, price *= 1.25)
        drop_below(at, price, false, &dropped);
    return dropped;
}
