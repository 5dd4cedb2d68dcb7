/* From the space of a kernel block to the kernel form.

   In: nodes that ir/space.h accepts. Out: a form, and where its arguments stand. Never here: addresses, text. */
#ifndef MOEC_CODEGEN_LOWER_BLOCK_H
#define MOEC_CODEGEN_LOWER_BLOCK_H

#include "codegen/form.h"
#include "ir/space.h"

/* How a product of f32 reads a weight that may be kept packed: element (i, k) of group g, i a column of the product, is
   g * group_stride + i * stride + k * k_stride behind the first. */
typedef struct {
    int64_t n_groups, n_cols, k;
    int64_t stride, k_stride, group_stride;
} LoweredPacked;

/* Packing an element takes as long as multiplying it with so many rows. */
enum { LOWERED_PACKING_ROWS = 32 };

/* Element `offset` of the owner's storage. */
typedef struct {
    Value *owner;
    int64_t offset;
    const Value *replaced;       /* what the block reads there before it writes the owner; or NULL */
    const LoweredPacked *packed; /* NULL, or: not that element, but the packed copy of what begins there */
} LoweredArgument;

typedef struct {
    Form *form;
    LoweredArgument *arguments; /* one an entry of the kernel's argument list: form_arg_entry; behind
                                  them one for each operand that is packed, in order */
    size_t n_arguments;
} LoweredBlock;

/* Where a graph's values are. */
typedef struct {
    const bool *escapes;     /* block_escapes: what is stored (ir/block.h) */
    const int64_t *offsets;  /* of the memory plan, by value number, or NULL: what has the offset of a value that its
                                kernel reads is written in its place (ir/in_place.h) */
    const bool *is_packable; /* by value number: states of which packed copies can be kept; or NULL: there are none */
} LoweredStorage;

/* The form of the block. With is_named, arguments have the names of the values that they hold; else equal computations
   have equal forms. On the arena. */
LoweredBlock lower_block(Arena *arena, const Space *space, const LoweredStorage *storage, const char *name,
                         bool is_named);

#endif
