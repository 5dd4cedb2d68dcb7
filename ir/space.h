/* The iteration space of a kernel block: whether a set of nodes can run as one kernel, and what part each value plays.

   In: nodes in list order. Out: the space and the role of each result, or the reason why there is none. Both the fuse
   pass, which asks whether nodes fit together, and codegen, which lowers what fits, stand on this answer. Never here:
   whether fusing pays (passes/fuse.c), loops or text (codegen/form.h).

   There are four kinds of space.

   ROWS: n_rows rows of n_cols columns. A value is FULL (an element for each row and column), ROW (one for each row) or
   COL (one for each column: a sum over all rows, which nothing in the block reads but an accumulate). A dim of a value
   is a product of neighbouring indices of the space: [B, T, d] and [B, T, heads, head_dim] are both FULL in rows
   (B, T) and columns (heads, head_dim).

   PRODUCT: matrix products whose results have the same rows and columns, FULL in them; maps on these (the epilogue, in
   ROWS terms); and what makes their operands while they are packed (prologues), each a ROWS space of its own over the
   operand's own rows and columns.

   ATTENTION: one attention or attention_grad; what makes its operands where they are read, and what follows its
   results, each a ROWS space of its own whose rows are the tensor's sequences, positions and heads, and whose columns
   are those of a vector. There, rope turns halves of the columns.

   ROUTE: a choice of experts (top_k), their counts (histogram) and the sorting of slots by expert (route), all of one
   choice, or of experts that are given; and what makes the scores, in ROWS terms: rows are tokens and columns experts.
   Where experts are given, rows are slots. */
#ifndef MOEC_IR_SPACE_H
#define MOEC_IR_SPACE_H

#include "ir/view.h"

typedef enum { SPACE_ROWS, SPACE_PRODUCT, SPACE_ATTENTION, SPACE_ROUTE } SpaceKind;

typedef enum { ROLE_FULL, ROLE_ROW, ROLE_COL } Role;

enum {
    SPACE_MAX_INDICES = 8,
    SPACE_MAX_NODES = 64,
    SPACE_MAX_RESULTS = 4,            /* of a node */
    SPACE_MAX_COMPUTED_SCORES = 4096, /* of a row */
    SPACE_MAX_PRODUCTS = 3,
    SPACE_MAX_OPERANDS = 2 * SPACE_MAX_PRODUCTS
};

typedef struct Space Space;

/* An operand of products of the block, or of its attention. */
typedef struct {
    Value *value; /* the nodes' operand */
    Space *part;  /* what makes it within the block; NULL: it is read from memory, dense */
} SpaceOperand;

typedef struct {
    Node *node; /* a matmul or grouped_matmul */
    int lhs, rhs;
} SpaceProduct;

struct Space {
    SpaceKind kind;
    /* The indices that make up the row, then those that make up the column, outermost first; each extent is > 1, or the
       side has no index. */
    int n_row_indices, n_col_indices;
    int64_t extents[SPACE_MAX_INDICES];
    int64_t n_rows, n_cols;
    /* The nodes that this space is of: all that were given; of a product's space without those of parts, of a route's
       without the three below, of attention's that one. */
    Node *nodes[SPACE_MAX_NODES];
    size_t n_nodes;
    Role roles[SPACE_MAX_NODES]; /* of each node's results */
    /* Not 0: there is one row, and its columns are the elements of so many tensors, the pieces, one after the other.
       The space is that of `sum`, which adds up its operands, the pieces, and of what has one element; or of one update
       of many states: then `updates` has a node for each piece, and the first is the one node of the space. */
    int n_pieces;
    const Node *sum;
    Node *const *updates;
    Node *top_k, *histogram, *route; /* of a ROUTE; NULL where there is none */
    int n_operands, n_products;
    SpaceOperand operands[SPACE_MAX_OPERANDS];
    SpaceProduct products[SPACE_MAX_PRODUCTS];
    /* Of an ATTENTION: that node, the operands of which are `operands`, and what follows each of its results, or NULL.
       Of the latter: the result, which is FULL and no node's of the space. */
    Node *attention;
    Space *bodies[SPACE_MAX_RESULTS];
    Value *given;
    bool has_pairs; /* the columns are two indices, of halves and in a half: rope is among the nodes, and may be */
};

/* The space of the nodes, which are neither leaves nor views (views between them are looked through), in list order of
   a graph whose values are numbered; on the arena. NULL, and the reason why they cannot be one kernel: a sentence about
   the one that does not fit. Whether running them together keeps the order of dependences is the caller's to check, and
   that what is read outside of the block can be stored. */
Space *space_of(Arena *arena, Node *const *nodes, size_t n, const char **reason);

/* Whether what the node, one of the block's, makes can be stored: not of a part, and not of ROW role behind a product
   or attention, as no one place of the kernel has all of it once. */
bool space_can_store(const Space *space, const Node *node);

/* The tensor that is operand `operand` of the update of the piece; of a sum, with operand 0, the piece. */
Value *space_piece(const Space *space, int operand, int piece);

/* Where the value's elements are: element offset + sum(x[i] * strides[i]) of view->owner at space indices x, one stride
   an index. False: the value does not have this role, or no affine map. */
bool space_map(const Space *space, Value *value, Role role, View *view, int64_t *strides);

/* Whether the node reads of the operand only the element at the row and column of its own. */
bool space_reads_in_order(const Node *node, int operand);

/* The position of the node in space->nodes, or -1. */
int space_find(const Space *space, const Node *node);

#endif
