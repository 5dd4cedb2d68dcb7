/* The memory plan: an offset in the arena for every value with storage.

   In: a graph in its final order. Out: the attributes that passes/passes.h describes. Each value is placed at the
   lowest offset where it fits between those placed before it that live at the same time (first fit); how near that
   comes to the lower bound hangs on the order in which values are placed, so several orders are tried until one meets
   the bound, and the best is kept. Quadratic in the values with storage, with a small constant: 8,000 take some 50 ms
   an order. */
#include <stdlib.h>

#include "passes/liveness.h"
#include "passes/passes.h"

/* A lifetime and where it was placed. */
typedef struct {
    uint32_t first, last;
    int64_t n_bytes, offset;
    uint32_t number; /* of the value; sets the order of equals */
} Block;

static int compare(int64_t a, int64_t b) {
    return (a > b) - (a < b);
}

/* What is large is hardest to place. */
static int larger_first(const void *left, const void *right) {
    const Block *a = left, *b = right;
    int order = compare(b->n_bytes, a->n_bytes);
    return order ? order : compare(a->number, b->number);
}

/* What lives long goes to the bottom, like a stack: the activations that the backward half reads. */
static int longer_first(const void *left, const void *right) {
    const Block *a = left, *b = right;
    int order = compare((int64_t)b->last - b->first, (int64_t)a->last - a->first);
    return order ? order : larger_first(left, right);
}

/* The order in which a run needs them. */
static int earlier_first(const void *left, const void *right) {
    const Block *a = left, *b = right;
    int order = compare(a->first, b->first);
    return order ? order : longer_first(left, right);
}

typedef int BlockOrder(const void *left, const void *right);

static BlockOrder *const orders[] = {larger_first, longer_first, earlier_first};
enum { N_ORDERS = sizeof orders / sizeof *orders };

/* ---- First fit ------------------------------------------------------------------------------------------------- */

/* The lowest offset where `block` fits among the `n` blocks placed before, which stand in the order of their offsets.
 */
static int64_t lowest_gap(const Block *placed, size_t n, const Block *block) {
    int64_t end = 0; /* of what lives at the same time and begins below */
    for (size_t i = 0; i < n; i++) {
        const Block *other = &placed[i];
        if (other->first > block->last || other->last < block->first)
            continue;
        if (other->offset - end >= block->n_bytes)
            break;
        if (other->offset + other->n_bytes > end)
            end = other->offset + other->n_bytes;
    }
    return end;
}

/* Keeps the order of offsets. */
static void insert(Block *placed, size_t n, const Block *block) {
    size_t i = n;
    for (; i > 0 && placed[i - 1].offset > block->offset; i--)
        placed[i] = placed[i - 1];
    placed[i] = *block;
}

/* Places the blocks in the order in which they stand. The bytes that they need. `placed` has room for copies of all:
   lowest_gap runs through them once for each block, so they stand side by side. */
static int64_t place(Block *blocks, size_t n, Block *placed) {
    int64_t n_bytes = 0;
    for (size_t i = 0; i < n; i++) {
        Block *block = &blocks[i];
        block->offset = lowest_gap(placed, i, block);
        insert(placed, i, block);
        if (block->offset + block->n_bytes > n_bytes)
            n_bytes = block->offset + block->n_bytes;
    }
    return n_bytes;
}

/* ---- The pass -------------------------------------------------------------------------------------------------- */

static Block *blocks_of(Arena *arena, const Liveness *liveness) {
    Block *blocks = arena_array_of(arena, Block, liveness->n);
    for (size_t i = 0; i < liveness->n; i++) {
        const Lifetime *lifetime = &liveness->items[i];
        blocks[i] = (Block){.first = lifetime->first,
                            .last = lifetime->last,
                            .n_bytes = lifetime->n_bytes,
                            .number = lifetime->value->number};
    }
    return blocks;
}

/* The offsets by value number of the best order; *n_bytes is what they need. */
static int64_t *find_offsets(Arena *arena, const Liveness *liveness, uint32_t n_values, int64_t *n_bytes) {
    Block *blocks = blocks_of(arena, liveness);
    Block *placed = arena_array_of(arena, Block, liveness->n);
    int64_t *offsets = arena_array_of(arena, int64_t, n_values);
    for (uint32_t i = 0; i < n_values; i++)
        offsets[i] = -1;
    *n_bytes = INT64_MAX;
    for (int i = 0; *n_bytes > liveness->lower_bound && i < N_ORDERS; i++) {
        if (liveness->n > 0)
            qsort(blocks, liveness->n, sizeof *blocks, orders[i]);
        int64_t n_needed = place(blocks, liveness->n, placed);
        if (n_needed >= *n_bytes)
            continue;
        *n_bytes = n_needed;
        for (size_t j = 0; j < liveness->n; j++)
            offsets[blocks[j].number] = blocks[j].offset;
    }
    return offsets;
}

void graph_forget_plan(Graph *graph) {
    attrs_remove(&graph->attrs, "offsets");
    attrs_remove(&graph->attrs, "arena_bytes");
    attrs_remove(&graph->attrs, "lower_bound");
}

static bool plan_graph(Graph *graph, Reporter *reporter) {
    Arena *arena = arena_new();
    Liveness liveness;
    bool succeeded = liveness_of(arena, graph, &liveness);
    if (succeeded) {
        uint32_t n_values = graph_number(graph);
        int64_t n_bytes;
        const int64_t *offsets = find_offsets(arena, &liveness, n_values, &n_bytes);
        Arena *attrs_arena = graph->module->arena;
        graph_forget_plan(graph);
        attrs_set_ints(attrs_arena, &graph->attrs, "offsets", offsets, (int)n_values);
        attrs_set_int(attrs_arena, &graph->attrs, "arena_bytes", n_bytes);
        attrs_set_int(attrs_arena, &graph->attrs, "lower_bound", liveness.lower_bound);
    } else {
        report_error(reporter, graph->module, (Loc){0},
                     "the values of graph \"%s\" have more bytes than can be counted: make the micro-batch, the "
                     "sequence or the model smaller",
                     graph->name);
    }
    arena_free(arena);
    return succeeded;
}

bool memory_run(Module *module, Reporter *reporter) {
    bool succeeded = true;
    for (size_t i = 0; i < module->n_graphs; i++)
        succeeded = plan_graph(module->graphs[i], reporter) && succeeded;
    return succeeded;
}
