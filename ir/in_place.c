#include "ir/in_place.h"

#include <string.h>

#include "ir/block.h"

/* ---- One kernel ------------------------------------------------------------------------------------------------- */

static bool reads(const Space *space, const Value *owner) {
    for (size_t i = 0; i < space->n_nodes; i++) {
        const Node *node = space->nodes[i];
        for (int j = 0; j < node->n_operands; j++) {
            if (view_owner(node->operands[j]) == owner)
                return true;
        }
    }
    return false;
}

/* Whether what makes an operand of a product reads it: that may be long before or after the element is written. */
static bool parts_read(const Space *space, const Value *owner) {
    bool found = false;
    for (int i = 0; i < space->n_operands && !found; i++)
        found = space->operands[i].part && reads(space->operands[i].part, owner);
    return found;
}

static bool reads_through(const Space *space, Value *operand, const int64_t *strides) {
    View view;
    int64_t found[SPACE_MAX_INDICES];
    return space_map(space, operand, ROLE_FULL, &view, found) && view.offset == 0 &&
           memcmp(found, strides, sizeof found) == 0;
}

/* Of ROW and COL values, and of scores, there is little to gain, and a kernel may be done with them at another time. */
bool space_can_replace(const Space *space, Value *result, const Value *replaced) {
    View view;
    int64_t strides[SPACE_MAX_INDICES];
    int source = space_find(space, result->def);
    if (space->kind == SPACE_ROUTE || space->kind == SPACE_ATTENTION || source < 0 ||
        space->roles[source] != ROLE_FULL || space->n_cols == 1 ||
        !space_map(space, result, ROLE_FULL, &view, strides) || parts_read(space, replaced))
        return false;
    bool fits =
        result->type.dtype == replaced->type.dtype && type_n_bytes(&result->type) == type_n_bytes(&replaced->type);
    for (size_t i = 0; i < space->n_nodes && fits; i++) {
        const Node *node = space->nodes[i];
        for (int j = 0; j < node->n_operands && fits; j++) {
            if (view_owner(node->operands[j]) == replaced)
                fits = space_reads_in_order(node, j) && reads_through(space, node->operands[j], strides);
        }
    }
    return fits;
}

/* ---- All kernels ------------------------------------------------------------------------------------------------ */

typedef struct {
    Arena *arena;
    const bool *escapes;
    InPlacePairs out;
    /* Of the kernel that is being looked at: */
    Node *const *nodes;
    size_t n_nodes;
    Arena *space_arena; /* NULL: its space is not known yet */
    const Space *space; /* NULL: it has none */
} Finder;

static const Space *space_of_kernel(Finder *at) {
    const char *reason;
    if (!at->space_arena) {
        at->space_arena = arena_new();
        at->space = space_of(at->space_arena, at->nodes, at->n_nodes, &reason);
    }
    return at->space;
}

static bool is_found(const Finder *at, const Value *result, const Value *replaced) {
    for (size_t i = at->out.n; i-- > 0 && at->out.items[i].result == result;) {
        if (at->out.items[i].replaced == replaced)
            return true;
    }
    return false;
}

static void consider(Finder *at, Value *result, const Value *replaced) {
    if (!node_computes(replaced->def) || !value_has_storage(replaced, at->escapes) ||
        type_n_bytes(&result->type) != type_n_bytes(&replaced->type) || is_found(at, result, replaced))
        return;
    for (size_t i = 0; i < at->n_nodes; i++) {
        if (replaced->def == at->nodes[i])
            return;
    }
    const Space *space = space_of_kernel(at);
    InPlacePair replacement = {result, replaced};
    if (space && space_can_replace(space, result, replaced))
        arena_push(at->arena, at->out.items, at->out.n, at->out.capacity, replacement);
}

static void find_in_kernel(Finder *at, Node *const *nodes, size_t n) {
    at->nodes = nodes;
    at->n_nodes = n;
    at->space_arena = NULL;
    for (size_t i = 0; i < n; i++) {
        Value *result = &nodes[i]->results[0];
        if (nodes[i]->n_results != 1 || !value_has_storage(result, at->escapes))
            continue;
        for (size_t j = 0; j < n; j++) {
            for (int k = 0; k < nodes[j]->n_operands; k++)
                consider(at, result, view_owner(nodes[j]->operands[k]));
        }
    }
    if (at->space_arena)
        arena_free(at->space_arena);
}

InPlacePairs graph_in_place_pairs(Arena *arena, const Graph *graph, const bool *escapes) {
    Finder at = {.arena = arena, .escapes = escapes};
    for (Node *node = graph->first; node; node = node->next) {
        size_t n = 1;
        if (!node_computes(node))
            continue;
        Node **nodes = node->block ? block_nodes(arena, node, &n) : &node;
        find_in_kernel(&at, nodes, n);
        node = nodes[n - 1];
    }
    return at.out;
}
