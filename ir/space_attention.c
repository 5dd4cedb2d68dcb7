/* The space of attention and what surrounds it. */
#include <string.h>

#include "ir/space_internal.h"

bool space_is_attention(const Node *node) {
    return node->op == OP_attention || node->op == OP_attention_grad;
}

/* The nodes of a block with attention: which operands each of them feeds, and which results it comes after, by number.
 */
typedef struct {
    SpaceFinder *at;
    Space *space;
    Space all; /* nodes only: for space_find */
    uint32_t feeds[SPACE_MAX_NODES], follows[SPACE_MAX_NODES];
} AttentionFinder;

/* The node that the operand comes from, by its number among all; -1: from outside of the block. */
static int source_of(const AttentionFinder *find, Value *value) {
    return space_find(&find->all, view_owner(value)->def);
}

static bool find_attention_node(AttentionFinder *find) {
    for (size_t i = 0; i < find->all.n_nodes; i++) {
        Node *node = find->all.nodes[i];
        if (!space_is_attention(node))
            continue;
        if (find->space->attention)
            return space_refuse(find->at, node, "has a kernel of its own");
        find->space->attention = node;
    }
    return true;
}

/* Forward: what reads results. */
static void find_followers(AttentionFinder *find) {
    for (size_t i = 0; i < find->all.n_nodes; i++) {
        const Node *node = find->all.nodes[i];
        for (int j = 0; j < node->n_operands; j++) {
            const Value *owner = view_owner(node->operands[j]);
            int source = source_of(find, node->operands[j]);
            if (source >= 0)
                find->follows[i] |= owner->def == find->space->attention ? 1U << owner->result : find->follows[source];
        }
    }
}

/* Backward: what operands are made from. */
static void find_feeders(AttentionFinder *find) {
    for (size_t i = find->all.n_nodes; i-- > 0;) {
        const Node *node = find->all.nodes[i];
        for (int j = 0; j < node->n_operands; j++) {
            int source = source_of(find, node->operands[j]);
            if (source >= 0)
                find->feeds[source] |= node == find->space->attention ? 1U << j : find->feeds[i];
        }
    }
}

static bool check_node(AttentionFinder *find, size_t i) {
    const Node *node = find->all.nodes[i];
    uint32_t follows = find->follows[i];
    if (space_part_of(node) != PART_MAP && space_part_of(node) != PART_PAIRS)
        return space_refuse(find->at, node, "can't be done on parts of attention's result or operand");
    if (!find->feeds[i] && !follows)
        return space_refuse(find->at, node, "has nothing to do with the attention beside it");
    if ((follows & (follows - 1)) != 0)
        return space_refuse(find->at, node, "reads two results of attention, which are not whole at once");
    for (int j = 0; j < node->n_operands; j++) {
        int source = source_of(find, node->operands[j]);
        if (source >= 0 && find->feeds[source] && !find->feeds[i])
            return space_refuse(find->at, node, "reads what an operand of attention is made from");
    }
    return true;
}

/* The space of those of the nodes that `marks` has the bit for, over the rows and columns of a tensor of attention. */
static Space *find_slot(AttentionFinder *find, const uint32_t *marks, int bit, Value *tensor, bool is_given) {
    const Node *attention = find->space->attention;
    Space *slot = arena_new_of(find->at->arena, Space);
    slot->kind = SPACE_ROWS;
    slot->given = is_given ? tensor : NULL;
    slot->n_cols = type_extent(&attention->operands[0]->type, -1);
    slot->n_rows = type_n_elements(&tensor->type) / slot->n_cols;
    for (size_t i = 0; i < find->all.n_nodes; i++) {
        Node *node = find->all.nodes[i];
        if (!(marks[i] >> bit & 1))
            continue;
        slot->nodes[slot->n_nodes++] = node;
        slot->has_pairs = slot->has_pairs || node->op == OP_rope;
    }
    if (slot->n_nodes == 0)
        return NULL;
    if (tensor->type.rank != 4) {
        space_refuse(find->at, slot->nodes[0], "is done with no vectors of attention");
        return NULL;
    }
    if (!space_find_rows(find->at, slot))
        return NULL;
    if (slot->has_pairs && (slot->n_col_indices != 2 || slot->extents[slot->n_row_indices] != 2))
        space_refuse(find->at, attention, "has columns that others cut otherwise than in two halves");
    return slot;
}

static void find_parts(AttentionFinder *find) {
    Space *space = find->space;
    space->n_operands = space->attention->n_operands;
    for (int i = 0; i < space->n_operands && !find->at->reason; i++) {
        Value *value = space->attention->operands[i];
        space->operands[i].value = value;
        if (source_of(find, value) < 0)
            continue;
        if (value->type.dtype != DTYPE_F32) { /* for tensor cores, which copies feed */
            space_refuse(find->at, space->attention, "reads %s from memory", dtype_name(value->type.dtype));
            return;
        }
        Space *part = find_slot(find, find->feeds, i, value, false);
        space->operands[i].part = part;
        if (part && !find->at->reason)
            space_check_read(find->at, part, space->attention, value, ROLE_FULL);
    }
}

static void find_bodies(AttentionFinder *find) {
    Space *space = find->space;
    for (int i = 0; i < space->attention->n_results && !find->at->reason; i++) {
        Space *body = find_slot(find, find->follows, i, &space->attention->results[i], true);
        space->bodies[i] = body;
        for (size_t j = 0; body && j < body->n_nodes && !find->at->reason; j++) {
            if (body->roles[j] != ROLE_FULL)
                space_refuse(find->at, body->nodes[j], "has no element for each one of attention's result");
        }
    }
}

bool space_find_attention(SpaceFinder *at, Space *space, Node *const *nodes, size_t n) {
    AttentionFinder find = {.at = at, .space = space, .all = {.n_nodes = n}};
    memcpy(find.all.nodes, nodes, sizeof *nodes * n);
    if (!find_attention_node(&find))
        return false;
    find_followers(&find);
    find_feeders(&find);
    for (size_t i = 0; i < n; i++) {
        if (nodes[i] != space->attention && !check_node(&find, i))
            return false;
    }
    space->nodes[0] = space->attention;
    space->n_nodes = 1;
    space->n_cols = type_extent(&space->attention->operands[0]->type, -1);
    space->n_rows = type_n_elements(&space->attention->operands[0]->type) / space->n_cols;
    find_parts(&find);
    find_bodies(&find);
    return !at->reason;
}
