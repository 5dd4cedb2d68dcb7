/* Kernel blocks: which nodes run as one kernel. The text form is `kernel {attributes} { nodes }` within a graph;
   spec/ir.md, "Kernel blocks".

   In: a graph whose nodes have blocks. Out: what that means for storage and order. Never here: which nodes to put
   together (passes/fuse.c), whether they can be lowered (ir/space.h). */
#ifndef MOEC_IR_BLOCK_H
#define MOEC_IR_BLOCK_H

#include "ir/ir.h"

/* A new block on the module's arena; nodes join by Node.block. */
Block *block_new(Graph *graph);

/* Whether `value` of a node in a block is read outside of the block or is an output, by value number, on the arena; for
   values of nodes in no block: true where they have users or are outputs. Reads through views count as the view's
   reader's. Numbers the graph's values. */
bool *block_escapes(Arena *arena, const Graph *graph);

/* Whether the value owns storage in the arena: an input, or the result of a kernel that is no update and not inside of
   a block only. `escapes` as above. */
bool value_has_storage(const Value *value, const bool *escapes);

/* Makes the nodes of each block neighbours, in an order that keeps all data dependences and the order of reads and
   writes of states: false, and nothing is changed, where blocks depend on each other in a circle. */
bool graph_gather_blocks(Graph *graph);

#endif
