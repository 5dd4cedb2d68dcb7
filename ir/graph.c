/* Graphs: the doubly linked list of nodes, outputs, and the edits that passes make. */
#include "ir/ir.h"

#include <assert.h>
#include <string.h>

#include "ir/block.h"
#include "ir/ops_internal.h"

void graph_insert(Graph *graph, Node *node, Node *before) {
    node->next = before;
    node->prev = before != NULL ? before->prev : graph->last;
    if (node->prev != NULL)
        node->prev->next = node;
    else
        graph->first = node;
    if (before != NULL)
        before->prev = node;
    else
        graph->last = node;
    graph->n_nodes++;
}

void graph_remove(Graph *graph, Node *node) {
    if (node->prev != NULL)
        node->prev->next = node->next;
    else
        graph->first = node->next;
    if (node->next != NULL)
        node->next->prev = node->prev;
    else
        graph->last = node->prev;
    node->prev = node->next = NULL;
    graph->n_nodes--;
}

void graph_move(Graph *graph, Node *node, Node *before) {
    assert(node != before);
    graph_remove(graph, node);
    graph_insert(graph, node, before);
}

void graph_add_output(Graph *graph, const char *name, Value *value) {
    Output output = {.name = arena_strdup(graph->module->arena, name), .value = value};
    arena_push(graph->module->arena, graph->outputs, graph->n_outputs, graph->outputs_capacity, output);
}

Value *graph_find_input(const Graph *graph, const char *name) {
    for (Node *node = graph->first; node != NULL; node = node->next) {
        if (node->op == OP_input && strcmp(attrs_string(&node->attrs, "name", ""), name) == 0)
            return &node->results[0];
    }
    return NULL;
}

Value *graph_find_output(const Graph *graph, const char *name) {
    for (size_t i = 0; i < graph->n_outputs; i++) {
        if (strcmp(graph->outputs[i].name, name) == 0)
            return graph->outputs[i].value;
    }
    return NULL;
}

uint32_t graph_number(const Graph *graph) {
    uint32_t number = 0, n_blocks = 0;
    const Block *open = NULL;
    for (const Node *node = graph->first; node != NULL; node = node->next) {
        for (int i = 0; i < node->n_results; i++)
            node->results[i].number = number++;
        if (!node_computes(node))
            continue;
        if (node->block != NULL && node->block != open)
            node->block->number = n_blocks++;
        open = node->block;
    }
    return number;
}

void graph_replace_uses(Graph *graph, const Replacement *replacements, size_t n) {
    Arena *arena = arena_new();
    Value **values = arena_array_of(arena, Value *, graph_number(graph)); /* by the number of what they replace */
    for (size_t i = 0; i < n; i++)
        values[replacements[i].from->number] = replacements[i].to;
    for (Node *node = graph->first; node != NULL; node = node->next) {
        for (int i = 0; i < node->n_operands; i++) {
            Value *value = values[node->operands[i]->number];
            node->operands[i] = value ? value : node->operands[i];
        }
    }
    for (size_t i = 0; i < graph->n_outputs; i++) {
        Value *value = values[graph->outputs[i].value->number];
        graph->outputs[i].value = value ? value : graph->outputs[i].value;
    }
    arena_free(arena);
}

/* A copy of `node` whose operands are looked up by the number of the originals. */
static Node *clone_node(Arena *arena, const Node *node, Value **copies) {
    Node *copy = arena_new_of(arena, Node);
    *copy = *node;
    copy->prev = copy->next = NULL;
    copy->scratch = NULL;
    copy->operands = arena_array_of(arena, Value *, node->n_operands);
    for (int i = 0; i < node->n_operands; i++)
        copy->operands[i] = copies[node->operands[i]->number];
    copy->results = arena_array_of(arena, Value, node->n_results);
    for (int i = 0; i < node->n_results; i++) {
        copy->results[i] = node->results[i];
        copy->results[i].def = copy;
        copies[node->results[i].number] = &copy->results[i];
    }
    copy->attrs = attrs_clone(arena, &node->attrs);
    return copy;
}

Graph *graph_clone(const Graph *source, const char *name) {
    Arena *arena = source->module->arena;
    Graph *graph = module_add_graph(source->module, name);
    Value **copies = arena_array_of(arena, Value *, graph_number(source));
    const Block *block = NULL; /* the last seen, and its copy */
    Block *block_copy = NULL;
    for (const Node *node = source->first; node != NULL; node = node->next) {
        Node *copy = clone_node(arena, node, copies);
        if (node->block != NULL && node->block != block) {
            block = node->block;
            block_copy = block_new(graph);
            block_copy->attrs = attrs_clone(arena, &block->attrs);
        }
        copy->block = node->block != NULL ? block_copy : NULL;
        graph_insert(graph, copy, NULL);
    }
    for (size_t i = 0; i < source->n_outputs; i++)
        graph_add_output(graph, source->outputs[i].name, copies[source->outputs[i].value->number]);
    graph->attrs = attrs_clone(arena, &source->attrs);
    return graph;
}
