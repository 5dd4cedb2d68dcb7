/* Precision: which matrix products round their operands to bf16. The rule stands in spec/numerics.md, "Precision".

   In: a module, with a directive `precision "bf16"` or without. Out: with it, the attribute inputs = "bf16" on every
   matmul and grouped_matmul but those that choose experts and those too small to gain. After the passes that derive
   products from products and move what is around them, which change nothing but rounding as long as nothing is rounded.
 */
#include <string.h>

#include "passes/passes.h"

/* Below it in either direction of its matrix, a product takes less time than what is around it. */
enum { MIN_EXTENT = 32 };

static bool is_product(const Node *node) {
    return node->op == OP_matmul || node->op == OP_grouped_matmul;
}

/* The two extents of the matrix: of operand b, and in mode tn of the result. */
static bool is_small(const Node *node) {
    return type_extent(&node->operands[0]->type, -1) < MIN_EXTENT ||
           type_extent(&node->results[0].type, -1) < MIN_EXTENT;
}

/* Node.scratch: not NULL once a top_k reads the node's result, through other ops but through no product. */
static void mark_choices(const Graph *graph) {
    for (Node *node = graph->first; node; node = node->next)
        node->scratch = NULL;
    for (Node *node = graph->last; node; node = node->prev) {
        bool is_read = node->op == OP_top_k || (node->scratch && !is_product(node));
        for (int i = 0; is_read && i < node->n_operands; i++)
            node->operands[i]->def->scratch = node;
    }
}

static void round_inputs(Graph *graph) {
    mark_choices(graph);
    for (Node *node = graph->first; node; node = node->next) {
        if (is_product(node) && !node->scratch && !is_small(node) && node->operands[0]->type.dtype == DTYPE_F32)
            attrs_set_string(graph->module->arena, &node->attrs, "inputs", "bf16");
    }
}

bool precision_run(Module *module, Reporter *reporter) {
    const Directive *directive = module_find_directive(module, "precision");
    if (!directive || strcmp(directive->name, "f32") == 0)
        return true;
    if (strcmp(directive->name, "bf16") != 0) {
        report_error(reporter, module, directive->loc, "precision is \"%s\"; it must be \"f32\" or \"bf16\"",
                     directive->name);
        return false;
    }
    for (size_t i = 0; i < module->n_graphs; i++)
        round_inputs(module->graphs[i]);
    return true;
}
