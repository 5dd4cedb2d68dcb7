/* From nodes of attention and of its gradient to the kernel form.

   In: a node whose operands are laid out. Out: a form, whose arguments are the node's results, then its operands. Never
   here: addresses, text. */
#ifndef MOEC_CODEGEN_LOWER_ATTENTION_H
#define MOEC_CODEGEN_LOWER_ATTENTION_H

#include "codegen/form.h"

/* On the arena. Equal computations have equal forms but for their names. */
Form *lower_attention(Arena *arena, const Node *node, const char *name);

#endif
