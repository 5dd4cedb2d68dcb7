/* Modules as a picture: Graphviz's dot, one cluster a graph, one box a node with its result types on the edges. */
#include <string.h>

#include "ir/block.h"
#include "ir/text.h"

/* The text with what dot's quoted strings can't hold escaped. */
static void print_quoted(FILE *out, const char *text) {
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            putc('\\', out);
        putc(*text, out);
    }
}

static void print_node_name(FILE *out, size_t graph, const Value *value) {
    fprintf(out, "g%zu_%u", graph, value->def->results[0].number);
}

static void print_node(FILE *out, Arena *arena, size_t graph, const Node *node) {
    fputs("    ", out);
    if (node->block != NULL)
        fprintf(out, "subgraph cluster_%zu_%u { ", graph, node->block->number);
    print_node_name(out, graph, &node->results[0]);
    fputs(" [label=\"", out);
    print_quoted(out, op_info(node->op)->name);
    const char *name = attrs_find(&node->attrs, "name") != NULL ? attrs_string(&node->attrs, "name", "") : NULL;
    if (name != NULL || node->results[0].hint != NULL) {
        fputs("\\n", out);
        print_quoted(out, name != NULL ? name : node->results[0].hint);
    }
    fputs(node->block != NULL ? "\"]; }\n" : "\"];\n", out);
    for (int i = 0; i < node->n_operands; i++) {
        fputs("    ", out);
        print_node_name(out, graph, node->operands[i]);
        fputs(" -> ", out);
        print_node_name(out, graph, &node->results[0]);
        fputs(" [label=\"", out);
        print_quoted(out, type_format(arena, &node->operands[i]->type));
        fputs("\"];\n", out);
    }
}

void module_print_dot(FILE *out, const Module *module) {
    Arena *arena = arena_new();
    fprintf(out, "digraph \"%s\" {\n  node [shape=box, fontname=monospace];\n", module->name);
    for (size_t i = 0; i < module->n_graphs; i++) {
        const Graph *graph = module->graphs[i];
        graph_number(graph);
        fprintf(out, "  subgraph cluster_%zu {\n    label=\"%s\";\n", i, graph->name);
        for (const Node *node = graph->first; node != NULL; node = node->next)
            print_node(out, arena, i, node);
        for (size_t j = 0; j < graph->n_outputs; j++) {
            fprintf(out, "    g%zu_output%zu [shape=ellipse, label=\"", i, j);
            print_quoted(out, graph->outputs[j].name);
            fputs("\"];\n    ", out);
            print_node_name(out, i, graph->outputs[j].value);
            fprintf(out, " -> g%zu_output%zu;\n", i, j);
        }
        fputs("  }\n", out);
    }
    fputs("}\n", out);
    arena_free(arena);
}
