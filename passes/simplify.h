/* Simplification of one graph: rewrite rules, common subexpressions, dead nodes.

   In: any graph. Out: the same graph with the same outputs and the same writes to states in the same order, equal over
   the reals (constants are folded in double precision, factors are gathered, sums are not reordered). Never here: what
   changes the value that a user would see beyond rounding, and what depends on a machine: that is layout, schedule.

   To add a rule is to add a function and a row to the table of its file. */
#ifndef MOEC_PASSES_SIMPLIFY_H
#define MOEC_PASSES_SIMPLIFY_H

#include "ir/ir.h"

/* Removes every node that neither an output nor an update depends on. Keeps the order of the rest. The last
   step of every pass that changes nodes: a memory plan that the graph has goes. */
void graph_remove_dead(Graph *graph);

/* A value that equals result 0 of `node` and has its type, made of the node's operands, of what these are made of, and
   of nodes added by `builder`; NULL where the rule does not apply. The operands are in simple form already, a constant
   operand of add and mul stands second. What a rule adds is simplified after it, so a rule makes one step. A sequence
   of rules must come to an end: each leaves fewer nodes, smaller tensors, or a form that no rule turns back. */
typedef Value *SimplifyRewrite(Builder *builder, const Node *node);

typedef struct {
    OpKind op;
    SimplifyRewrite *rewrite;
} SimplifyRule;

/* Rules for all ops of a class. */
typedef struct {
    OpClass class;
    SimplifyRewrite *rewrite;
} SimplifyClassRule;

/* Ended by a NULL rewrite. The first that applies wins. */
extern const SimplifyClassRule simplify_class_rules[]; /* simplify.c, tried before the others */
extern const SimplifyRule simplify_arithmetic_rules[]; /* simplify_arithmetic.c */
extern const SimplifyRule simplify_shape_rules[];      /* simplify_shape.c */

/* Class rules. */
SimplifyRewrite simplify_fold_map, simplify_map_of_broadcasts; /* simplify_arithmetic.c */
SimplifyRewrite simplify_view_of_splat, simplify_view_of_all;  /* simplify_shape.c */

/* ---- For the rules ------------------------------------------------------------------------------------------- */

/* The node that defines `value` if it is an `op`, else NULL. */
static inline const Node *simplify_match(const Value *value, OpKind op) {
    return value->def->op == op ? value->def : NULL;
}

/* Whether every element of `value` is the same float, known now. */
bool simplify_constant(const Value *value, double *constant);

/* The constant, or NULL where f32 can't hold it with full precision: then the nodes stay as they are. */
Value *simplify_build_constant(Builder *builder, double constant, const Type *type);

#endif
