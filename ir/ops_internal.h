/* The functions that the rows of ops.def name and that only the table of ops refers to. */
#ifndef MOEC_IR_OPS_INTERNAL_H
#define MOEC_IR_OPS_INTERNAL_H

#include "ir/ir.h"

#define OP(name, operands, results, class, attributes, infer, flops, interpret, derive, lower)                         \
    void interpret_##interpret(struct Interpreter *interpreter, const Node *node);
#include "ir/ops.def"
#undef OP

#endif
