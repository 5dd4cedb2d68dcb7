/* Kernel blocks: which nodes run as one kernel. The text form is `kernel {attributes} { nodes }` within a graph;
   spec/ir.md, "Kernel blocks".

   In: a graph whose nodes have blocks. Out: what that means for storage. Never here: which nodes to put together
   (passes/fuse.c), their order (passes/order.h), whether they can be lowered (ir/space.h). */
#ifndef MOEC_IR_BLOCK_H
#define MOEC_IR_BLOCK_H

#include "ir/ir.h"

/* A new block on the module's arena; nodes join by Node.block. */
Block *block_new(Graph *graph);

/* Whether the node runs, by itself or in a block: it is neither leaf nor view. */
bool node_computes(const Node *node);

/* Whether `node`, which is in a block, is the last of it. */
bool block_ends_at(const Node *node);

/* The nodes of the block that `first` begins, in list order, on the arena. */
Node **block_nodes(Arena *arena, Node *first, size_t *n);

/* Takes all blocks away: for passes that change the nodes of a graph. */
void graph_forget_blocks(Graph *graph);

/* Whether `value` of a node in a block is read outside of the block or is an output, by value number, on the arena; for
   values of nodes in no block: true where they have users or are outputs. Reads through views count as the view's
   reader's. Numbers the graph's values. */
bool *block_escapes(Arena *arena, const Graph *graph);

/* Whether the value owns storage in the arena: an input, or the result of a kernel that is no update and not inside of
   a block only. `escapes` as above. */
bool value_has_storage(const Value *value, const bool *escapes);

/* NULL, or why the attributes of a block are wrong, on the arena. */
const char *block_check(Arena *arena, const Block *block);

#endif
