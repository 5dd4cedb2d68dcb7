#include "ir/block.h"

#include "ir/ops_internal.h"
#include "ir/view.h"

Block *block_new(Graph *graph) {
    return arena_new_of(graph->module->arena, Block);
}

bool node_computes(const Node *node) {
    OpClass class = op_info(node->op)->class;
    return class != OP_CLASS_LEAF && class != OP_CLASS_VIEW;
}

bool block_ends_at(const Node *node) {
    const Node *next = node->next;
    while (next != NULL && !node_computes(next))
        next = next->next;
    return next == NULL || next->block != node->block;
}

Node **block_nodes(Arena *arena, Node *first, size_t *n) {
    Node **nodes = NULL;
    size_t capacity = 0;
    *n = 0;
    for (Node *node = first; node != NULL && (node->block == first->block || !node_computes(node)); node = node->next) {
        if (node->block == first->block)
            arena_push(arena, nodes, *n, capacity, node);
    }
    return nodes;
}

void graph_forget_blocks(Graph *graph) {
    for (Node *node = graph->first; node != NULL; node = node->next)
        node->block = NULL;
}

/* `value` is read by a node in `reader`, or by none that is in a block: what it shows through views is, too. */
static void note_read(bool *escapes, const Value *value, const Block *reader) {
    for (; op_info(value->def->op)->class == OP_CLASS_VIEW; value = value->def->operands[0])
        escapes[value->number] = true;
    if (value->def->block == NULL || value->def->block != reader)
        escapes[value->number] = true;
}

bool *block_escapes(Arena *arena, const Graph *graph) {
    bool *escapes = arena_array_of(arena, bool, graph_number(graph));
    for (const Node *node = graph->first; node != NULL; node = node->next) {
        for (int i = 0; i < node->n_operands && node_computes(node); i++)
            note_read(escapes, node->operands[i], node->block);
    }
    for (size_t i = 0; i < graph->n_outputs; i++)
        note_read(escapes, graph->outputs[i].value, NULL);
    return escapes;
}

bool value_has_storage(const Value *value, const bool *escapes) {
    const Node *node = value->def;
    if (!node_computes(node))
        return node->op == OP_input;
    enum { ROW_OF_SLOT = 2 }; /* of a route, which keeps experts there until it knows their rows */
    enum { LOGSUMEXP = 1 };   /* of attention, which writes it in any case */
    bool is_kept = (node->op == OP_route && value->result == ROW_OF_SLOT) ||
                   (node->op == OP_attention && value->result == LOGSUMEXP);
    return view_source(value) == NULL && (node->block == NULL || escapes[value->number] || is_kept);
}

const char *block_check(Arena *arena, const Block *block) {
    return attrs_check(arena, "kernel", "form:s? bytes_in:i? bytes_out:i? flops:f? intensity:f? apart:s?",
                       &block->attrs);
}
