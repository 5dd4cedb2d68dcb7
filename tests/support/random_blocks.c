#include "tests/support/random_blocks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "ir/block.h"
#include "passes/order.h"
#include "tests/support/random.h"

enum { MAX_GAP = 6 };

static size_t random_below(uint64_t *random, size_t n) {
    return (size_t)(random_uniform(random) * (double)n);
}

/* Some of the nodes from `first` on that are in no block become one, with small gaps; false if that is a circle. */
static bool add_block(Graph *graph, Node *first, size_t n_nodes, uint64_t *random) {
    Block *block = block_new(graph);
    attrs_set_string(graph->module->arena, &block->attrs, "form", "rows");
    size_t n_skipped = 0;
    for (Node *node = first; node && n_nodes > 0; node = node->next) {
        bool joins = node_computes(node) && !node->block && n_skipped == 0;
        n_skipped = joins ? random_below(random, MAX_GAP) : n_skipped - (n_skipped > 0);
        n_nodes -= joins;
        node->block = joins ? block : node->block;
    }
    if (graph_gather_blocks(graph))
        return true;
    for (Node *node = graph->first; node; node = node->next)
        node->block = node->block == block ? NULL : node->block;
    return false;
}

int random_blocks(Module *module, uint64_t seed) {
    uint64_t random = seed;
    int n_blocks = 0;
    for (size_t i = 0; i < module->n_graphs; i++) {
        Graph *graph = module->graphs[i];
        for (size_t tries = graph->n_nodes / 4; tries > 0; tries--) {
            Node *first = graph->first;
            for (size_t n = random_below(&random, graph->n_nodes); n > 0; n--)
                first = first->next;
            if (node_computes(first) && !first->block)
                n_blocks += add_block(graph, first, 1 + random_below(&random, 5), &random);
        }
    }
    const char *broken = module_verify(module);
    if (broken)
        fail_msg("%s with random blocks: %s", module->name, broken);
    return n_blocks;
}
