/* What the files of the chunk pass share: regions of a graph that can run on a few rows at a time.

   In: a graph. Out: for a large value, the nodes around it that can be split along rows together (chunk_region.c), and
   the same graph with these nodes once per chunk (chunk_build.c). Never here: how ops behave along rows (ir/rows.h). */
#ifndef MOEC_PASSES_CHUNK_H
#define MOEC_PASSES_CHUNK_H

#include "ir/names.h"
#include "ir/rows.h"

/* What is known of a value (ChunkNode.values). */
typedef struct {
    Node **users; /* one that reads it twice is there twice */
    size_t n_users, users_capacity;
    bool is_output;
    uint32_t failed; /* bit k: there is no region where its first k dims are the rows */
    /* In the region that is being built: */
    uint32_t region;     /* of which the rest is */
    Value *flat;         /* all rows, as one dim */
    Value *part;         /* of the chunk at hand, or of the one before it */
    int64_t part_start;  /* its rows */
    int64_t part_extent; /* its rows; 0: no part yet */
    Value *sum;          /* of the parts so far */
    Value **parts;       /* of all chunks, of a value that is read outside */
} ChunkValue;

/* What is known of a node (Node.scratch). */
typedef struct {
    size_t place;       /* grows along the list */
    bool is_done;       /* part of an earlier region, or made for one */
    uint32_t region;    /* the last region that it was tried in */
    uint32_t late;      /* the last region that it must come after */
    size_t state;       /* of a state: its index in Chunker.states */
    ChunkValue *values; /* one a result */
} ChunkNode;

/* What happens to a state around a region. */
typedef struct {
    bool is_updated; /* somewhere in the graph */
    uint32_t region; /* of which the rest is */
    int n_touched;   /* operands of the region's nodes that show it */
    bool is_written; /* by the region */
    bool is_late;    /* a node that must come after the region reads or writes it */
} ChunkState;

/* Nodes that run chunk by chunk, in list order: what works row by row or sums over rows, and accumulates that take such
   sums. Values that come in rows from outside are sliced, values that go in rows to the outside put together. */
typedef struct {
    uint32_t id; /* 0: none */
    int64_t n_rows, n_chunk_rows;
    int64_t n_bytes; /* of the value that it is built around */
    Node **nodes;
    size_t n_nodes, capacity;
} ChunkRegion;

typedef struct {
    Graph *graph;
    Arena *arena;        /* the pass's own */
    int64_t most_bytes;  /* of a value, in a chunk */
    int64_t least_rows;  /* of a chunk; goes before most_bytes */
    uint32_t n_regions;  /* tried so far */
    Names state_indices; /* name -> index in states */
    ChunkState *states;
    size_t n_states, states_capacity;
    ChunkRegion region; /* at hand */
} Chunker;

static inline ChunkNode *chunk_node(const Node *node) {
    return node->scratch;
}

static inline ChunkValue *chunk_value(const Value *value) {
    return &chunk_node(value->def)->values[value->result];
}

static inline bool chunk_has(const ChunkRegion *region, const Node *node) {
    return chunk_node(node)->region == region->id;
}

/* Whether the value is made row by row in the region. */
static inline bool chunk_makes_rows(const ChunkRegion *region, const Value *value) {
    return chunk_has(region, value->def) && node_rows(value->def, region->n_rows).kind == ROWS_EACH;
}

/* Whether something outside of the region reads the value of it. */
bool chunk_is_read_outside(const ChunkRegion *region, const Value *value);

/* Finds the region around a large value whose rows are its first n_row_dims dims, and marks the nodes that must come
   after it. False: there is none, or it does not pay. */
bool chunk_find_region(Chunker *at, Value *value, int n_row_dims);

/* Puts the chunks in the region's place. */
void chunk_build_region(Chunker *at);

/* Notes the nodes that are in the list and have no ChunkNode yet, all of them done, and numbers the places. */
void chunk_note_nodes(Chunker *at);

#endif
