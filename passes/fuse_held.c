#include "passes/fuse_held.h"

#include "ir/block.h"
#include "ir/view.h"
#include "passes/liveness.h"

Held held_of(Arena *arena, const Graph *graph) {
    Held held = {.graph = graph, .readers = arena_array_of(arena, HeldReaders, graph_number(graph))};
    for (Node *node = graph->first; node; node = node->next) {
        for (int i = 0; i < node->n_operands && node_computes(node); i++) {
            HeldReaders *readers = &held.readers[view_owner(node->operands[i])->number];
            readers->last = node;
            readers->n++;
        }
    }
    for (size_t i = 0; i < graph->n_outputs; i++)
        held.readers[view_owner(graph->outputs[i].value)->number].is_output = true;
    return held;
}

/* How many operands of the kernel read the value. */
static int count_reads(HeldKernel kernel, const Value *owner) {
    int n = 0;
    for (size_t i = 0; i < kernel.n; i++) {
        for (int j = 0; j < kernel.nodes[i]->n_operands; j++)
            n += view_owner(kernel.nodes[i]->operands[j]) == owner;
    }
    return n;
}

static bool holds(HeldKernel kernel, const Node *node) {
    bool found = false;
    for (size_t i = 0; i < kernel.n && !found; i++)
        found = kernel.nodes[i] == node;
    return found;
}

static bool starts_in_arena(const Held *held, const Node *node) {
    return liveness_starts_gradient(node) && liveness_is_gradient(held->graph, node->operands[0]->def);
}

/* Of a result: what is only added to a state is never stored apart from it. */
static bool takes_storage(const Held *held, HeldKernel kernel, const Node *node, const Value *result) {
    const HeldReaders *readers = &held->readers[result->number];
    if (op_info(node->op)->class == OP_CLASS_UPDATE)
        return starts_in_arena(held, node);
    if (readers->n == count_reads(kernel, result) && !readers->is_output)
        return false;
    return readers->n != 1 || readers->is_output || readers->last->op != OP_accumulate ||
           starts_in_arena(held, readers->last);
}

static int64_t filled_bytes(const Held *held, HeldKernel kernel) {
    int64_t n_bytes = 0;
    for (size_t i = 0; i < kernel.n; i++) {
        const Node *node = kernel.nodes[i];
        for (int j = 0; j < node->n_results; j++) {
            if (takes_storage(held, kernel, node, &node->results[j]))
                n_bytes += arena_bytes_of(&node->results[j].type);
        }
    }
    return n_bytes;
}

/* Whether the operand is the first of the kernel that reads its value. */
static bool is_first_read(HeldKernel kernel, size_t node, int operand) {
    const Value *owner = view_owner(kernel.nodes[node]->operands[operand]);
    for (int i = 0; i < operand; i++) {
        if (view_owner(kernel.nodes[node]->operands[i]) == owner)
            return false;
    }
    return count_reads((HeldKernel){kernel.nodes, node}, owner) == 0;
}

/* Bytes that are free when the kernel has run, and `other` is still to come. */
static int64_t freed_bytes(const Held *held, HeldKernel kernel, HeldKernel other) {
    int64_t n_bytes = 0;
    for (size_t i = 0; i < kernel.n; i++) {
        for (int j = 0; j < kernel.nodes[i]->n_operands; j++) {
            const Value *owner = view_owner(kernel.nodes[i]->operands[j]);
            const HeldReaders *readers = &held->readers[owner->number];
            bool is_freed = node_computes(owner->def) && !holds(kernel, owner->def) && !readers->is_output &&
                            holds(kernel, readers->last) && count_reads(other, owner) == 0;
            if (is_freed && is_first_read(kernel, i, j))
                n_bytes += arena_bytes_of(&owner->type);
        }
    }
    return n_bytes;
}

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

int64_t held_bytes(const Held *held, HeldKernel a, HeldKernel b) {
    int64_t ab = least(freed_bytes(held, a, b), filled_bytes(held, b));
    int64_t ba = least(freed_bytes(held, b, a), filled_bytes(held, a));
    return ab > ba ? ab : ba;
}
