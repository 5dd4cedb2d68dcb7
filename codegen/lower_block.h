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
    const Value *replaced; /* what the block reads there before it writes the owner; or NULL */
} LoweredArgument;

typedef struct {
    Form *form;
    LoweredArgument *arguments; /* one an entry of the kernel's argument list: form_arg_entry */
    size_t n_arguments;
} LoweredBlock;

/* Where a graph's values are. */
typedef struct {
    const bool *escapes;    /* block_escapes: what is stored (ir/block.h) */
    const int64_t *offsets; /* of the memory plan, by value number, or NULL: what has the offset of a value that its
                               kernel reads is written in its place (ir/in_place.h) */
} LoweredStorage;

/* The form of the block. With is_named, arguments have the names of the values that they hold; else equal computations
   have equal forms. On the arena. */
LoweredBlock lower_block(Arena *arena, const Space *space, const LoweredStorage *storage, const char *name,
                         bool is_named);

#endif
