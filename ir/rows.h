/* Rows: how a node behaves where its operands come in parts.

   A value has n_rows rows where some number of its leading dims multiply to n_rows: [B, T, d] and [B, T, heads,
   head_dim] both have B * T rows. Row r is the r-th of n_rows equal runs of its elements in row-major order, so a
   reshape that keeps such a number keeps the rows. A part of a value holds some rows that follow each other, as one
   dim: [n_part, d].

   In: a node. Out: whether it can run on parts, and the same node on a part. Never here: whether that pays, what is
   done with the parts (passes/chunk.c). Ragged values have no rows: theirs belong to experts. */
#ifndef MOEC_IR_ROWS_H
#define MOEC_IR_ROWS_H

#include "ir/ir.h"

typedef enum {
    ROWS_NONE, /* it needs its operands whole */
    ROWS_EACH, /* row r of its results depends on row r of the operands that come in rows: parts give parts */
    ROWS_SUM,  /* its results are sums over the rows: what parts give is to be added up */
} RowsKind;

typedef struct {
    RowsKind kind;
    uint32_t whole; /* bit i: operand i comes whole; the others come in rows */
} Rows;

/* How the node behaves where its operands come in parts of n_rows rows, n_rows > 1. */
Rows node_rows(const Node *node, int64_t n_rows);

static inline bool rows_split_operand(Rows rows, int operand) {
    return operand >= 32 || !(rows.whole >> operand & 1);
}

/* The least number of leading dims that multiply to n_rows; 0 where the value has no n_rows rows, or fewer than 2. */
int type_row_dims(const Type *type, int64_t n_rows);

/* The type of n_part of its rows: their dims become one without a name. */
Type type_rows_part(const Type *type, int64_t n_rows, int64_t n_part);

/* The node on n_part of its n_rows rows. `operands`: parts of those that come in rows, the others whole. */
Node *build_rows_part(Builder *builder, const Node *node, int64_t n_rows, int64_t n_part, Value *const *operands);

#endif
