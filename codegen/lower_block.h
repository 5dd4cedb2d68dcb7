/* From the space of a kernel block to the kernel form.

   In: nodes that ir/space.h accepts. Out: a form, and where its arguments stand. Never here: addresses, text. */
#ifndef MOEC_CODEGEN_LOWER_BLOCK_H
#define MOEC_CODEGEN_LOWER_BLOCK_H

#include "codegen/form.h"
#include "ir/space.h"

/* Element `offset` of the owner's storage. */
typedef struct {
    Value *owner;
    int64_t offset;
} LoweredArgument;

typedef struct {
    Form *form;
    LoweredArgument *arguments; /* one an argument of the form */
} LoweredBlock;

/* The form of the block; what is stored, value_has_storage says of `escapes` (ir/block.h). With is_named, arguments
   have the names of the values that they hold; else equal computations have equal forms. On the arena. */
LoweredBlock lower_block(Arena *arena, const Space *space, const bool *escapes, const char *name, bool is_named);

#endif
