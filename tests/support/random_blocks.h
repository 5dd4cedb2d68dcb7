/* Random kernel blocks on a module of any stage: whether they can be lowered is not asked. For what holds of blocks in
   general: text, order, memory. */
#ifndef MOEC_TESTS_SUPPORT_RANDOM_BLOCKS_H
#define MOEC_TESTS_SUPPORT_RANDOM_BLOCKS_H

#include "ir/ir.h"

/* Puts nodes of each graph into blocks, gathered; returns how many blocks there are. The module is verified. */
int random_blocks(Module *module, uint64_t seed);

#endif
