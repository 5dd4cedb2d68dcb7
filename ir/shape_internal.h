/* What the shape rules share. A rule reads the operands' types and the attributes, fills `results`, and returns NULL,
   or the reason why there is no result: the rest of a sentence that starts with the op's name. */
#ifndef MOEC_IR_SHAPE_INTERNAL_H
#define MOEC_IR_SHAPE_INTERNAL_H

#include "ir/ir.h"

static inline const Type *operand_type(const Node *node, int operand) {
    return &node->operands[operand]->type;
}

/* "[B=2, d=64]" of the dims [first, end). */
const char *shape_text(Arena *arena, const Type *type, int first, int end);

/* Whether the dims [first, first + n) of `a` are those of `b` from `b_first` on. */
bool shape_spans_equal(const Type *a, int first, const Type *b, int b_first, int n);

/* NULL if the operand has this dtype (this rank), else the reason. */
const char *require_dtype(Arena *arena, const Node *node, int operand, DType dtype);
const char *require_float(Arena *arena, const Node *node, int operand);
const char *require_rank(Arena *arena, const Node *node, int operand, int rank);
const char *require_min_rank(Arena *arena, const Node *node, int operand, int rank);
/* NULL if no dim of the operand is ragged. */
const char *require_dense(Arena *arena, const Node *node, int operand);
/* NULL if both operands have the same type. */
const char *require_same(Arena *arena, const Node *node, int operand, int other);
/* NULL if `dim` counts a dim of the operand. */
const char *require_dim(Arena *arena, const Node *node, int operand, int64_t dim);

/* Appends a dim to a type under construction; false where MAX_RANK is reached. */
bool type_append(Type *type, Dim dim);
/* Appends dims [first, end) of `from`. */
bool type_append_span(Type *type, const Type *from, int first, int end);

#endif
