/* What the table of ops is made of, and what only the IR's own files call. */
#ifndef MOEC_IR_OPS_INTERNAL_H
#define MOEC_IR_OPS_INTERNAL_H

#include "ir/ir.h"
#include "ir/rows.h"

#define OP(name, operands, results, class, attributes, infer, flops, interpret, rows, derive, lower)                   \
    const char *infer_##infer(Arena *arena, const Node *node, Type *results_out);                                      \
    double flops_##flops(const Node *node);                                                                            \
    void interpret_##interpret(struct Interpreter *interpreter, const Node *node);                                     \
    Rows rows_##rows(const Node *node, int64_t n_rows);
#include "ir/ops.def"
#undef OP

/* NULL, or why `rows` (the form of OpInfo.attrs) does not allow the attributes: a key that is missing or unknown, a
   value of another kind. Starts with `what`. */
const char *attrs_check(Arena *arena, const char *what, const char *rows, const Attrs *attrs);

/* NULL, or why the module can't have such a state, whatever else it has: its kind, its type, its attributes. Starts
   with the state's name. */
const char *state_check(Arena *arena, const State *state);

/* NULL, or why the row of the node's op does not allow its operands, results or attributes: their number, a key that is
   missing or unknown, a value of another kind. Starts with the op's name. */
const char *node_check_form(Arena *arena, const Node *node);

/* Infers the types of the node's results and compares: `types` hold the given types on entry (for ops whose results are
   not determined by operands and attributes) and the inferred ones on return. NULL or the reason, starting with the
   op's name. */
const char *node_infer(Arena *arena, const Node *node, Type *types);

/* Links a complete node into the graph's list before `before`, or last where that is NULL. */
void graph_insert(Graph *graph, Node *node, Node *before);

#endif
