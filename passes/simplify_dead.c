/* Dead nodes: one walk from the end of the list, in which users come before what they use. */
#include "ir/block.h"
#include "passes/passes.h"
#include "passes/simplify.h"

/* Node.scratch during the walk: not NULL once something that is kept needs the node. */
static void mark_needed(Node *node) {
    node->scratch = node;
}

void graph_remove_dead(Graph *graph) {
    graph_forget_plan(graph);
    graph_forget_blocks(graph);
    for (Node *node = graph->first; node; node = node->next)
        node->scratch = NULL;
    for (size_t i = 0; i < graph->n_outputs; i++)
        mark_needed(graph->outputs[i].value->def);
    for (Node *node = graph->last, *previous; node; node = previous) {
        previous = node->prev;
        if (!node->scratch && op_info(node->op)->class != OP_CLASS_UPDATE) {
            graph_remove(graph, node);
            continue;
        }
        for (int i = 0; i < node->n_operands; i++)
            mark_needed(node->operands[i]->def);
    }
}
