/* Which nodes around a large value can run chunk by chunk.

   A region grows from a value: who makes it, who reads it, and so on from every value of about its size, until the
   border consists of smaller values, which are cheap to slice and to put together, and of what has its storage anyway
   (inputs, states). It fails where such a node needs an operand whole. Then it is checked that nothing outside stands
   between two nodes of it, since all of a chunk runs before the next, and that it saves memory. */
#include <assert.h>
#include <stdlib.h>

#include "ir/view.h"
#include "passes/chunk.h"

/* Launches and kernel arguments cost too. Rows of a chunk are a multiple of ROW_MULTIPLE where there are that many:
   kernels work on blocks of rows. */
enum { MOST_CHUNKS = 64, ROW_MULTIPLE = 64 };

/* ---- Growth ----------------------------------------------------------------------------------------------------- */

/* Values of more than half of the size of the first must not exist whole. */
static bool is_large(const ChunkRegion *region, const Value *value) {
    return type_n_bytes(&value->type) > region->n_bytes / 2;
}

static bool add_node(Chunker *at, Node *node) {
    ChunkRegion *region = &at->region;
    if (chunk_has(region, node))
        return true;
    if (chunk_node(node)->is_done || node_rows(node, region->n_rows).kind == ROWS_NONE)
        return false;
    chunk_node(node)->region = region->id;
    chunk_node(node)->late = 0;
    arena_push(at->arena, region->nodes, region->n_nodes, region->capacity, node);
    return true;
}

/* Takes in all that make or read the value. */
static bool add_large(Chunker *at, Value *value) {
    const ChunkRegion *region = &at->region;
    const ChunkValue *note = chunk_value(value);
    bool is_known_to_fail = type_n_bytes(&value->type) == region->n_bytes &&
                            (note->failed >> type_row_dims(&value->type, region->n_rows) & 1);
    if (note->is_output || is_known_to_fail || !add_node(at, value->def) || !chunk_makes_rows(region, value))
        return false;
    for (size_t i = 0; i < note->n_users; i++) {
        if (!add_node(at, note->users[i]))
            return false;
    }
    return true;
}

static bool is_of_leaf(Value *value) {
    return op_info(view_owner(value)->def->op)->class == OP_CLASS_LEAF;
}

static bool grow_from(Chunker *at, const Node *node) {
    Rows rows = node_rows(node, at->region.n_rows);
    for (int i = 0; i < node->n_operands; i++) {
        Value *operand = node->operands[i];
        bool is_taken = rows_split_operand(rows, i) && is_large(&at->region, operand) && !is_of_leaf(operand);
        if (is_taken && !add_large(at, operand))
            return false;
    }
    for (int i = 0; i < node->n_results && rows.kind == ROWS_EACH; i++) {
        if (is_large(&at->region, &node->results[i]) && !add_large(at, &node->results[i]))
            return false;
    }
    return true;
}

static int by_place(const void *left, const void *right) {
    size_t a = chunk_node(*(Node *const *)left)->place, b = chunk_node(*(Node *const *)right)->place;
    return (a > b) - (a < b);
}

static void sort_nodes(ChunkRegion *region) {
    qsort(region->nodes, region->n_nodes, sizeof *region->nodes, by_place);
}

/* From the nodes that came in since there were n_grown. */
static bool grow(Chunker *at, size_t n_grown) {
    for (size_t i = n_grown; i < at->region.n_nodes; i++) {
        if (!grow_from(at, at->region.nodes[i]))
            return false;
    }
    sort_nodes(&at->region);
    return true;
}

/* Nodes that read what the region makes and make what it reads, of whatever size. */
static bool add_between(Chunker *at) {
    const ChunkRegion *region = &at->region;
    Node *first = region->nodes[0], *last = region->nodes[region->n_nodes - 1];
    for (Node *node = first; node != last; node = node->next) {
        for (int i = 0; i < node->n_operands && !chunk_has(region, node); i++) {
            const Node *def = node->operands[i]->def;
            if (chunk_has(region, def) || chunk_node(def)->late == region->id)
                chunk_node(node)->late = region->id;
        }
    }
    for (Node *node = last; node != first; node = node->prev) {
        for (int i = 0; i < node->n_operands && chunk_has(region, node); i++) {
            Node *def = node->operands[i]->def;
            if (chunk_node(def)->late == region->id && !add_node(at, def))
                return false;
        }
    }
    return true;
}

/* All that must run chunk by chunk if the value does. */
static bool grow_around(Chunker *at, Value *value) {
    size_t n_grown = 0;
    if (!add_large(at, value))
        return false;
    while (n_grown < at->region.n_nodes) {
        if (!grow(at, n_grown))
            return false;
        n_grown = at->region.n_nodes;
        if (!add_between(at))
            return false;
    }
    return true;
}

/* ---- Accumulates ------------------------------------------------------------------------------------------------ */

/* What a sum over rows is added to, if that is all that reads it and the state is there before the region. */
static Node *accumulate_of(const ChunkRegion *region, const Value *sum) {
    const ChunkValue *note = chunk_value(sum);
    Node *user = note->n_users == 1 && !note->is_output ? note->users[0] : NULL;
    if (!user || user->op != OP_accumulate || user->operands[1] != sum || chunk_node(user)->is_done)
        return NULL;
    const Node *before = user->operands[0]->def;
    bool is_there = before->op == OP_state || chunk_node(before)->place < chunk_node(region->nodes[0])->place;
    return is_there ? user : NULL;
}

/* Each chunk adds its part of the sum. */
static void add_accumulates(Chunker *at) {
    ChunkRegion *region = &at->region;
    size_t n_nodes = region->n_nodes;
    for (size_t i = 0; i < n_nodes; i++) {
        Node *node = region->nodes[i];
        if (node_rows(node, region->n_rows).kind != ROWS_SUM)
            continue;
        Node *accumulate = accumulate_of(region, &node->results[0]);
        if (!accumulate)
            continue;
        chunk_node(accumulate)->region = region->id;
        arena_push(at->arena, region->nodes, region->n_nodes, region->capacity, accumulate);
    }
    sort_nodes(region);
}

/* ---- What it saves ---------------------------------------------------------------------------------------------- */

bool chunk_is_read_outside(const ChunkRegion *region, const Value *value) {
    const ChunkValue *note = chunk_value(value);
    bool is_read = note->is_output;
    for (size_t i = 0; i < note->n_users && !is_read; i++)
        is_read = !chunk_has(region, note->users[i]);
    return is_read;
}

/* Rows of a chunk whose values have at most most_bytes, the largest row having n_row_bytes; all rows: no chunks. */
static int64_t count_chunk_rows(const Chunker *at, int64_t n_row_bytes) {
    assert(n_row_bytes > 0);
    int64_t n_rows = at->region.n_rows, n = at->most_bytes / n_row_bytes;
    int64_t least = (n_rows + MOST_CHUNKS - 1) / MOST_CHUNKS;
    least = least < at->least_rows ? at->least_rows : least;
    n = n < least ? least : n;
    if (n >= n_rows)
        return n_rows;
    int64_t multiple = n >= ROW_MULTIPLE ? ROW_MULTIPLE : 1;
    n = n / multiple * multiple;
    n = n < least ? (least + multiple - 1) / multiple * multiple : n;
    int64_t n_chunks = (n_rows + n - 1) / n, n_equal = (n_rows + n_chunks - 1) / n_chunks;
    n_equal = (n_equal + multiple - 1) / multiple * multiple;
    return n_equal < least ? n : n_equal;
}

/* Decides how many rows a chunk has. False: whole values would be hardly larger. */
static bool decide_rows(Chunker *at) {
    ChunkRegion *region = &at->region;
    int64_t n_largest = 0, n_put_together = 0;
    for (size_t i = 0; i < region->n_nodes; i++) {
        const Node *node = region->nodes[i];
        for (int j = 0; j < node->n_results && node_rows(node, region->n_rows).kind == ROWS_EACH; j++) {
            int64_t n_bytes = type_n_bytes(&node->results[j].type);
            n_largest = n_bytes > n_largest ? n_bytes : n_largest;
            n_put_together += chunk_is_read_outside(region, &node->results[j]) ? n_bytes : 0;
        }
    }
    int64_t n_row_bytes = n_largest / region->n_rows;
    region->n_chunk_rows = count_chunk_rows(at, n_row_bytes);
    return region->n_chunk_rows < region->n_rows &&
           region->n_chunk_rows * n_row_bytes + n_put_together < region->n_bytes;
}

/* ---- Dependence ------------------------------------------------------------------------------------------------- */

/* The updated state that an operand shows, or NULL. */
static ChunkState *state_of(Chunker *at, Value *operand) {
    const Node *owner = view_owner(operand)->def;
    if (owner->op != OP_state)
        return NULL;
    ChunkState *state = &at->states[chunk_node(owner)->state];
    if (state->region != at->region.id)
        *state = (ChunkState){.is_updated = state->is_updated, .region = at->region.id};
    return state->is_updated ? state : NULL;
}

/* A node of the region. All chunks read a value from outside, so that must be there before; one made inside, in rows by
   the same chunk. A state that the region writes is nothing that another node of it may see. */
static bool check_inside(Chunker *at, const Node *node) {
    bool is_update = op_info(node->op)->class == OP_CLASS_UPDATE;
    Rows rows = node_rows(node, at->region.n_rows);
    for (int i = 0; i < node->n_operands; i++) {
        const Node *def = node->operands[i]->def;
        bool fits = is_update || (rows_split_operand(rows, i) && chunk_makes_rows(&at->region, node->operands[i]));
        if (chunk_node(def)->late == at->region.id || (chunk_has(&at->region, def) && !fits))
            return false;
        ChunkState *state = state_of(at, node->operands[i]);
        if (!state)
            continue;
        state->is_written = state->is_written || is_update;
        if (state->is_late || (++state->n_touched > 1 && state->is_written))
            return false;
    }
    return true;
}

/* A node between two nodes of the region comes after it if it reads what the region makes, or a state that the region
   or another such node reads or writes. */
static void check_outside(Chunker *at, Node *node) {
    bool is_late = false;
    for (int i = 0; i < node->n_operands; i++) {
        const Node *def = node->operands[i]->def;
        const ChunkState *state = state_of(at, node->operands[i]);
        is_late = is_late || chunk_has(&at->region, def) || chunk_node(def)->late == at->region.id ||
                  (state && (state->n_touched > 0 || state->is_late));
    }
    if (!is_late)
        return;
    chunk_node(node)->late = at->region.id;
    for (int i = 0; i < node->n_operands; i++) {
        ChunkState *state = state_of(at, node->operands[i]);
        if (state)
            state->is_late = true;
    }
}

/* Whether the region can run as one, between the nodes that stand between its own. */
static bool check_dependence(Chunker *at) {
    const ChunkRegion *region = &at->region;
    const Node *end = region->nodes[region->n_nodes - 1]->next;
    for (Node *node = region->nodes[0]; node != end; node = node->next) {
        if (!chunk_has(region, node))
            check_outside(at, node);
        else if (!check_inside(at, node))
            return false;
    }
    return true;
}

/* ---- The search ------------------------------------------------------------------------------------------------- */

/* Values of the size that the region was built around would have grown the same one. */
static void note_failure(const ChunkRegion *region, Value *value, int n_row_dims) {
    chunk_value(value)->failed |= 1u << n_row_dims;
    for (size_t i = 0; i < region->n_nodes; i++) {
        for (int j = 0; j < region->nodes[i]->n_results; j++) {
            Value *other = &region->nodes[i]->results[j];
            if (type_n_bytes(&other->type) == region->n_bytes && chunk_makes_rows(region, other))
                chunk_value(other)->failed |= 1u << type_row_dims(&other->type, region->n_rows);
        }
    }
}

bool chunk_find_region(Chunker *at, Value *value, int n_row_dims) {
    int64_t n_rows = type_span(&value->type, 0, n_row_dims);
    if (type_row_dims(&value->type, n_rows) != n_row_dims || (chunk_value(value)->failed >> n_row_dims & 1))
        return false;
    ChunkRegion *region = &at->region;
    *region = (ChunkRegion){.id = ++at->n_regions,
                            .n_rows = n_rows,
                            .n_bytes = type_n_bytes(&value->type),
                            .nodes = region->nodes,
                            .capacity = region->capacity};
    bool is_found = grow_around(at, value);
    if (is_found) {
        add_accumulates(at);
        is_found = decide_rows(at) && check_dependence(at);
    }
    if (!is_found)
        note_failure(region, value, n_row_dims);
    return is_found;
}
