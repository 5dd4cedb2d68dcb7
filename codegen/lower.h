/* The body of each op's kernel: ops.def's column `lower`, one function a name. It prints what stands between the braces
   of `static void NAME(void *const *args)`. */
#ifndef MOEC_CODEGEN_LOWER_H
#define MOEC_CODEGEN_LOWER_H

#include "codegen/c_print.h"

typedef void LowerFunction(CPrinter *c, const Node *node);

/* Every function that a row of ops.def names; lower_none prints nothing. */
#define OP(name, operands, results, class, attributes, infer, flops, interpret, rows, derive, lower)                   \
    void lower_##lower(CPrinter *c, const Node *node);
#include "ir/ops.def"
#undef OP

/* ---- For the lower functions ---------------------------------------------------------------------------------- */

static inline const Type *lower_operand_type(const Node *node, int i) {
    return &node->operands[i]->type;
}

/* The text of each element of an operand in the nest: the tensor's element, added to the nest under `name`, or the
   literal of a constant. The operand has the nest's shape. Call before nest_merge, and
   lower_element_text after it. */
typedef struct {
    const char *literal; /* NULL: the nest's tensor */
    int tensor;
} LowerElement;
LowerElement lower_element(CPrinter *c, Nest *nest, const Node *node, int operand, const char *name);
const char *lower_element_text(CPrinter *c, const Nest *nest, LowerElement element);

#endif
