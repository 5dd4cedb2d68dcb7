/* A region in chunks: its nodes on the rows of each chunk in turn, in place of the region.

   The chunks stand where the last node of the region stood: all they read is there, and what must come after them
   follows. Views and constants that the region reads in rows are made again on a chunk's rows, so that what has no rows
   behind it, such as one number for all rows, is shared by chunks of one size. */
#include <assert.h>

#include "passes/chunk.h"

/* The chunk being built: rows [start, start + extent). */
typedef struct {
    Chunker *at;
    Builder builder;
    int64_t start, extent;
    size_t index;
    size_t n_chunks;
} Chunk;

static ChunkValue *value_of(const Chunk *chunk, const Value *value) {
    ChunkValue *note = chunk_value(value);
    uint32_t id = chunk->at->region.id;
    if (note->region != id) {
        note->region = id;
        note->flat = note->part = note->sum = NULL;
        note->parts = NULL;
        note->part_extent = 0;
    }
    return note;
}

static void place_at(Chunk *chunk, const Node *node) {
    chunk->builder.loc = node->loc;
    chunk->builder.scope = node->scope;
}

static Value *build_concat(Builder *builder, Value *const *parts, size_t n_parts, const Type *type) {
    Attrs attrs = {0};
    attrs_set_int(builder->graph->module->arena, &attrs, "dim", 0);
    const char *error;
    Node *node = build_typed(builder, OP_concat, (int)n_parts, parts, &attrs, type, &error);
    assert(node && "parts of one value make up the whole");
    return &node->results[0];
}

/* ---- Operands --------------------------------------------------------------------------------------------------- */

/* Whether a node outside of the region is made again on the rows of each chunk. */
static bool is_made_again(const Chunk *chunk, const Node *node) {
    bool is_cheap = node->op == OP_constant || op_info(node->op)->class == OP_CLASS_VIEW;
    return is_cheap && node_rows(node, chunk->at->region.n_rows).kind == ROWS_EACH;
}

static bool is_current(const Chunk *chunk, const Value *value) {
    const ChunkValue *note = value_of(chunk, value);
    return note->part_extent == chunk->extent && note->part_start == chunk->start;
}

static void set_part(const Chunk *chunk, const Value *value, Value *part) {
    ChunkValue *note = value_of(chunk, value);
    note->part = part;
    note->part_start = chunk->start;
    note->part_extent = chunk->extent;
}

/* The rows of a value that is whole before the region. */
static Value *slice_of(Chunk *chunk, Value *value) {
    ChunkValue *note = value_of(chunk, value);
    int64_t n_rows = chunk->at->region.n_rows;
    Type flat = type_rows_part(&value->type, n_rows, n_rows);
    if (!note->flat)
        note->flat = type_equal(&flat, &value->type) ? value : build_reshape(&chunk->builder, value, &flat);
    return build_slice(&chunk->builder, note->flat, 0, chunk->start, chunk->extent);
}

static void build_part(Chunk *chunk, const Node *node);

/* The chunk's rows of a value. */
static Value *part_of(Chunk *chunk, Value *value) {
    if (!is_current(chunk, value)) {
        if (is_made_again(chunk, value->def))
            build_part(chunk, value->def);
        else
            set_part(chunk, value, slice_of(chunk, value));
    }
    return value_of(chunk, value)->part;
}

/* ---- Nodes ------------------------------------------------------------------------------------------------------ */

static void add_to_sum(Chunk *chunk, const Node *node, int result) {
    ChunkValue *note = value_of(chunk, &node->results[result]);
    note->sum = note->sum ? build_binary(&chunk->builder, OP_add, note->sum, note->part) : note->part;
}

/* Where chunks of one size have the same operands, because no row stands behind them, they share the node. */
static bool is_as_before(const Chunk *chunk, const Node *node, Value *const *operands) {
    const ChunkValue *note = value_of(chunk, &node->results[0]);
    bool is_same = note->part_extent == chunk->extent;
    assert(!is_same || note->part);
    for (int i = 0; i < node->n_operands && is_same; i++)
        is_same = note->part->def->operands[i] == operands[i];
    return is_same;
}

static void build_part(Chunk *chunk, const Node *node) {
    const ChunkRegion *region = &chunk->at->region;
    Rows rows = node_rows(node, region->n_rows);
    Value **operands = arena_array_of(chunk->at->arena, Value *, node->n_operands);
    for (int i = 0; i < node->n_operands; i++)
        operands[i] = rows_split_operand(rows, i) ? part_of(chunk, node->operands[i]) : node->operands[i];
    place_at(chunk, node);
    Value *before = is_as_before(chunk, node, operands) ? value_of(chunk, &node->results[0])->part : NULL;
    Node *part = before ? before->def : build_rows_part(&chunk->builder, node, region->n_rows, chunk->extent, operands);
    for (int i = 0; i < node->n_results; i++)
        set_part(chunk, &node->results[i], &part->results[i]);
}

/* The first chunk adds to what was there, the others to what the one before them left. */
static void build_accumulate(Chunk *chunk, const Node *node) {
    ChunkValue *note = value_of(chunk, &node->results[0]);
    place_at(chunk, node);
    Value *before = note->sum ? note->sum : node->operands[0];
    note->sum = build_binary(&chunk->builder, OP_accumulate, before, value_of(chunk, node->operands[1])->part);
    note->sum->hint = node->results[0].hint;
}

/* Keeps what is read outside of the region: parts in rows, or sums. */
static void keep_results(Chunk *chunk, const Node *node) {
    const ChunkRegion *region = &chunk->at->region;
    bool has_rows = node_rows(node, region->n_rows).kind == ROWS_EACH;
    for (int i = 0; i < node->n_results; i++) {
        const Value *result = &node->results[i];
        ChunkValue *note = value_of(chunk, result);
        if (!chunk_is_read_outside(region, result))
            continue;
        if (!has_rows) {
            add_to_sum(chunk, node, i);
            continue;
        }
        if (!note->parts)
            note->parts = arena_array_of(chunk->at->arena, Value *, chunk->n_chunks);
        note->parts[chunk->index] = note->part;
    }
}

static void build_chunk(Chunk *chunk) {
    const ChunkRegion *region = &chunk->at->region;
    for (size_t i = 0; i < region->n_nodes; i++) {
        const Node *node = region->nodes[i];
        if (op_info(node->op)->class == OP_CLASS_UPDATE) {
            build_accumulate(chunk, node);
            continue;
        }
        build_part(chunk, node);
        keep_results(chunk, node);
    }
}

/* ---- The whole -------------------------------------------------------------------------------------------------- */

static Value *put_together(Chunk *chunk, const Value *value) {
    const ChunkValue *note = value_of(chunk, value);
    int64_t n_rows = chunk->at->region.n_rows;
    if (note->sum)
        return note->sum;
    place_at(chunk, value->def);
    Type flat = type_rows_part(&value->type, n_rows, n_rows);
    bool is_flat = type_equal(&flat, &value->type);
    Value *whole = build_concat(&chunk->builder, note->parts, chunk->n_chunks, is_flat ? &value->type : &flat);
    whole->hint = value->hint;
    return is_flat ? whole : build_reshape(&chunk->builder, whole, &value->type);
}

/* All that read the region's results read what the chunks make instead. */
static void replace_results(Chunk *chunk) {
    const ChunkRegion *region = &chunk->at->region;
    Replacement *replacements = NULL;
    size_t n = 0, capacity = 0;
    for (size_t i = 0; i < region->n_nodes; i++) {
        Node *node = region->nodes[i];
        for (int j = 0; j < node->n_results; j++) {
            if (!chunk_is_read_outside(region, &node->results[j]))
                continue;
            Replacement replacement = {&node->results[j], put_together(chunk, &node->results[j])};
            arena_push(chunk->at->arena, replacements, n, capacity, replacement);
        }
    }
    graph_replace_uses(chunk->at->graph, replacements, n);
}

/* Moves what must come after the region behind it, in its order. */
static void move_late(const Chunk *chunk) {
    const ChunkRegion *region = &chunk->at->region;
    const Node *last = region->nodes[region->n_nodes - 1];
    for (Node *node = region->nodes[0], *next; node != last; node = next) {
        next = node->next;
        if (chunk_node(node)->late == region->id)
            graph_move(chunk->at->graph, node, chunk->builder.before);
    }
}

void chunk_build_region(Chunker *at) {
    const ChunkRegion *region = &at->region;
    Chunk chunk = {.at = at, .builder = {.graph = at->graph, .before = region->nodes[region->n_nodes - 1]->next}};
    chunk.n_chunks = (size_t)((region->n_rows + region->n_chunk_rows - 1) / region->n_chunk_rows);
    for (chunk.index = 0; chunk.index < chunk.n_chunks; chunk.index++) {
        int64_t n_left = region->n_rows - chunk.start;
        chunk.extent = n_left < region->n_chunk_rows ? n_left : region->n_chunk_rows;
        build_chunk(&chunk);
        chunk.start += chunk.extent;
    }
    replace_results(&chunk);
    move_late(&chunk);
    for (size_t i = region->n_nodes; i-- > 0;) {
        chunk_node(region->nodes[i])->is_done = true;
        graph_remove(at->graph, region->nodes[i]);
    }
    chunk_note_nodes(at);
}
