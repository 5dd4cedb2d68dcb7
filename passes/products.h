/* Algebra over matrix products: factors of rows and sums of rows pass through them, where that leaves less to keep. The
   rules stand in spec/ir.md, "Products".

   In: any graph. Out: the same outputs and the same writes to states, equal over the reals, in simple form
   (passes/simplify.h). Never here: what is done together in one kernel, and in what precision.

   Each rule is a function here; products.c walks the graph, knows who uses what, and puts in what the rules make. */
#ifndef MOEC_PASSES_PRODUCTS_H
#define MOEC_PASSES_PRODUCTS_H

#include "ir/ir.h"

/* One operand of `user` is the value. */
typedef struct ProductsUse {
    Node *user;
    struct ProductsUse *next;
} ProductsUse;

/* What the walk knows of a node that it found in the graph (Node.scratch; NULL for nodes that the rules add). */
typedef struct {
    size_t position;    /* in the list */
    ProductsUse **uses; /* one list a result, outputs of the graph left out */
    bool *is_output;    /* one a result */
    bool is_updated;    /* of a state: the graph writes it */
    bool has_twin;      /* of a product: that of its rows without their factors is there as well */
} ProductsRecord;

static inline ProductsRecord *products_record(const Node *node) {
    return node->scratch;
}

/* A product that works row by row, rows[.., K] times a matrix (of the row's expert): mode nt or nn. None of rounded
   inputs: what is rounded can't be moved. */
typedef struct {
    const Node *node;
    Value *rows, *weights;
    Value *offsets; /* NULL: the same matrix for all rows */
    bool is_nt;
} RowProduct;

bool products_match_rows(Node *node, RowProduct *out);
/* The same product of other rows; `is_nt` says how the matrix stands. */
Value *products_build_rows(Builder *builder, const RowProduct *like, Value *rows, bool is_nt);

/* rows[.., K] that are base[.., K], each times its factor: mul(base, broadcast(factors)) along all of the last dim. */
typedef struct {
    Value *base;
    const Node *broadcast; /* of the factors */
} ScaledRows;

bool products_match_scaled(const Value *value, ScaledRows *out);
/* Each row of `rows` times its factor. */
Value *products_build_scaled(Builder *builder, Value *rows, const ScaledRows *like);
/* Whether base and factors can be read later than where they were multiplied. */
bool products_can_defer(const ScaledRows *scaled);

/* Whether reading the storage of `value` later than now reads the same. */
bool products_is_stable(Value *value);

/* A value that equals result 0 of `node`, made of nodes added by `builder`; NULL where the rule does not apply. */
typedef Value *ProductsRewrite(Builder *builder, Node *node);

ProductsRewrite products_sum_of_product;                    /* products_sums.c */
ProductsRewrite products_of_scaled, products_sum_of_scaled; /* products_scale.c */

#endif
