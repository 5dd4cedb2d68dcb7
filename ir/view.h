/* Where the elements of a value stand: views composed down to the value that owns storage.

   In: a value. Out: its owner, and the affine map from the value's index to the owner's elements. Views (reshape,
   broadcast, transpose, slice) own nothing; results of updates live in the state they update. Never here: whether a
   kernel can read through the map (passes/layout.c decides), addresses. */
#ifndef MOEC_IR_VIEW_H
#define MOEC_IR_VIEW_H

#include "ir/ir.h"

/* How kernels of the op read operands: through any affine map; or such whose last dim's elements follow each other; or
   dense. spec/ir.md, "Layout". */
bool op_reads_affine(OpKind op);
bool op_reads_vectors(OpKind op);

/* Element [i0, i1, ..] of the value is element offset + sum(i_d * strides[d]) of `owner`, in row-major order. */
typedef struct {
    Value *owner; /* neither a view nor the result of an update: an input, a state, a constant, a kernel's result */
    int64_t offset;
    int64_t strides[MAX_RANK]; /* one a dim of the value; 0 where the dim repeats */
} View;

/* False where no such map exists: a reshape that merges dims which are not adjacent in the owner. */
bool view_of(Value *value, View *out);

/* The same as if `base`, which `value` is or shares storage with through views and updates, owned dense storage. */
bool view_on(Value *value, Value *base, View *out);

/* The operand that `value` shares storage with: a view's, or the one that an update writes. NULL: it owns its own. */
Value *view_source(const Value *value);

/* Whether elements along the last dim follow each other. */
bool view_has_vectors(const View *view, const Type *type);

/* Whether the value's elements follow each other in row-major order from `offset` on. */
bool view_is_dense(const View *view, const Type *type);

/* The value that owns the storage of `value`, whether or not an affine map exists. For the result of an update: the
   state that it updates. */
Value *view_owner(Value *value);

#endif
