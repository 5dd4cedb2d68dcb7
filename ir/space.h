/* The iteration space of a kernel block: whether a set of nodes can run as one kernel, and what part each value plays.

   In: nodes in list order. Out: the space and the role of each result, or the reason why there is none. Both the fuse
   pass, which asks whether nodes fit together, and codegen, which lowers what fits, stand on this answer. Never here:
   whether fusing pays (passes/fuse.c), loops or text (codegen/form.h).

   There are two kinds of space.

   ROWS: n_rows rows of n_cols columns. A value is FULL (an element for each row and column), ROW (one for each row) or
   COL (one for each column: a sum over all rows, which nothing in the block reads but an accumulate). A dim of a value
   is a product of neighbouring indices of the space: [B, T, d] and [B, T, heads, head_dim] are both FULL in rows
   (B, T) and columns (heads, head_dim).

   PRODUCT: matrix products whose results have the same rows and columns, FULL in them; maps on these (the epilogue);
   and what makes their operands while they are packed (the prologue), which has the role LHS or RHS and is indexed by
   the operand's own rows and columns. */
#ifndef MOEC_IR_SPACE_H
#define MOEC_IR_SPACE_H

#include "ir/view.h"

typedef enum { SPACE_ROWS, SPACE_PRODUCT } SpaceKind;

typedef enum { ROLE_FULL, ROLE_ROW, ROLE_COL, ROLE_LHS, ROLE_RHS } Role;

enum { SPACE_MAX_INDICES = 8, SPACE_MAX_NODES = 64, SPACE_MAX_PRODUCTS = 4, SPACE_MAX_RESULTS = 3 };

typedef struct {
    SpaceKind kind;
    /* The indices that make up the row, then those that make up the column, outermost first; each extent is > 1, or the
       side has no index. */
    int n_row_indices, n_col_indices;
    int64_t extents[SPACE_MAX_INDICES];
    int64_t n_rows, n_cols;
    Node *const *nodes; /* as given */
    size_t n_nodes;
    Role roles[SPACE_MAX_NODES]; /* of each node's results */
} Space;

/* NULL, and the space of the nodes (in list order, each of them neither leaf nor view; views between them are looked
   through); else the reason why they cannot be one kernel, on the arena: the end of a sentence that starts with the
   block. Whether running them together would change the order of dependences is the caller's to check. */
const char *space_of(Arena *arena, Node *const *nodes, size_t n, Space *space);

/* How the value's index maps to the space's: strides[i] for index i of the space, such that the element of `value` at
   space indices x is element offset + sum(x[i] * strides[i]) of the view's owner. The value must fit the role. False: a
   dim of it is not a product of neighbouring indices, or a reshape has no map. */
bool space_map(const Space *space, Value *value, Role role, View *owner, int64_t *strides);

#endif
