/* Large values in chunks of rows: the logits of a large vocabulary, which exist only between a product, a loss and two
   more products, never exist whole. spec/ir.md, "Chunks".

   In: any graph. Out: the same outputs and states up to the order in which sums over rows are added; where all that is
   between a large value's inputs and outputs works row by row or sums over rows, these nodes once per chunk of rows.

   The largest values are tried first. Each node is in one region at most, so that the pass comes to an end; what a
   region failed for fails for all values of its size in it, so that they aren't tried again. */
#include <assert.h>
#include <stdlib.h>

#include "ir/view.h"
#include "passes/chunk.h"
#include "passes/passes.h"
#include "passes/simplify.h"

/* Products of fewer rows are slow; a chunk of logits of 32 MiB stays in a cache on its way from one to the next. */
enum { DEFAULT_BYTES = 32 << 20, DEFAULT_ROWS = 256 };

/* ---- Notes ------------------------------------------------------------------------------------------------------ */

static size_t index_of_state(Chunker *at, const Node *node) {
    const char *name = attrs_string(&node->attrs, "name", "");
    size_t index = at->n_states;
    if (names_find(&at->state_indices, name, &index))
        return index;
    names_add(&at->state_indices, name, index);
    arena_push(at->arena, at->states, at->n_states, at->states_capacity, (ChunkState){0});
    return index;
}

static ChunkNode *note_node(Chunker *at, Node *node) {
    ChunkNode *note = arena_new_of(at->arena, ChunkNode);
    note->values = arena_array_of(at->arena, ChunkValue, node->n_results);
    if (node->op == OP_state)
        note->state = index_of_state(at, node);
    node->scratch = note;
    return note;
}

void chunk_note_nodes(Chunker *at) {
    size_t place = 0;
    for (Node *node = at->graph->first; node; node = node->next) {
        if (!node->scratch)
            note_node(at, node)->is_done = true;
        chunk_node(node)->place = place++;
    }
}

static void note_uses(Chunker *at, Node *node) {
    for (int i = 0; i < node->n_operands; i++) {
        ChunkValue *value = chunk_value(node->operands[i]);
        arena_push(at->arena, value->users, value->n_users, value->users_capacity, node);
    }
    for (int i = 0; i < node->n_results && op_info(node->op)->class == OP_CLASS_UPDATE; i++) {
        const Node *owner = view_owner(node->operands[i])->def;
        assert(at->states && "note_node has seen the state");
        at->states[chunk_node(owner)->state].is_updated = true;
    }
}

static void note_graph(Chunker *at) {
    for (Node *node = at->graph->first; node; node = node->next)
        note_node(at, node);
    for (Node *node = at->graph->first; node; node = node->next)
        note_uses(at, node);
    for (size_t i = 0; i < at->graph->n_outputs; i++)
        chunk_value(at->graph->outputs[i].value)->is_output = true;
    chunk_note_nodes(at);
}

/* ---- The values to split ---------------------------------------------------------------------------------------- */

static int larger_first(const void *left, const void *right) {
    const Value *a = *(Value *const *)left, *b = *(Value *const *)right;
    int64_t n_a = type_n_bytes(&a->type), n_b = type_n_bytes(&b->type);
    if (n_a != n_b)
        return n_a > n_b ? -1 : 1;
    return (a->number > b->number) - (a->number < b->number);
}

/* What kernels make and is too large for a chunk, the largest first. */
static Value **find_large(const Chunker *at, size_t *n) {
    Value **large = NULL;
    size_t capacity = 0;
    *n = 0;
    graph_number(at->graph);
    for (Node *node = at->graph->first; node; node = node->next) {
        OpClass class = op_info(node->op)->class;
        bool is_kernel = class != OP_CLASS_LEAF && class != OP_CLASS_VIEW && class != OP_CLASS_UPDATE;
        for (int i = 0; i < node->n_results && is_kernel; i++) {
            if (type_n_bytes(&node->results[i].type) > at->most_bytes)
                arena_push(at->arena, large, *n, capacity, &node->results[i]);
        }
    }
    if (*n > 0)
        qsort(large, *n, sizeof *large, larger_first);
    return large;
}

/* As many rows as possible: what works on single elements only needs no whole vectors. */
static void split_around(Chunker *at, Value *value) {
    for (int n_dims = value->type.rank; n_dims > 0; n_dims--) {
        if (chunk_node(value->def)->is_done)
            return;
        if (chunk_find_region(at, value, n_dims))
            chunk_build_region(at);
    }
}

static void chunk_graph(Graph *graph, int64_t most_bytes, int64_t least_rows) {
    Chunker at = {.graph = graph, .arena = arena_new(), .most_bytes = most_bytes, .least_rows = least_rows};
    at.state_indices.arena = at.arena;
    size_t n_large;
    Value **large = find_large(&at, &n_large);
    if (n_large > 0) {
        note_graph(&at);
        for (size_t i = 0; i < n_large; i++)
            split_around(&at, large[i]);
        graph_remove_dead(graph);
    }
    arena_free(at.arena);
}

/* ---- The pass --------------------------------------------------------------------------------------------------- */

/* A setting of the module's chunk directive. False after an error. */
static bool read_setting(const Module *module, Reporter *reporter, const char *key, int64_t *setting) {
    const Directive *directive = module_find_directive(module, "chunk");
    const Attr *attr = directive ? attrs_find(&directive->attrs, key) : NULL;
    if (!attr)
        return true;
    if (attr->kind != ATTR_INT || attr->as.i < 1) {
        report_error(reporter, module, directive->loc, "chunk: %s must be an integer from 1 on", key);
        return false;
    }
    *setting = attr->as.i;
    return true;
}

bool chunk_run(Module *module, Reporter *reporter) {
    int64_t most_bytes = DEFAULT_BYTES, least_rows = DEFAULT_ROWS;
    if (!read_setting(module, reporter, "bytes", &most_bytes) || !read_setting(module, reporter, "rows", &least_rows))
        return false;
    for (size_t i = 0; i < module->n_graphs; i++)
        chunk_graph(module->graphs[i], most_bytes, least_rows);
    return true;
}
