/* What each map of ir/ops.def is in C. */
#ifndef MOEC_CODEGEN_C_MAP_H
#define MOEC_CODEGEN_C_MAP_H

#include "codegen/c_print.h"

/* The expression with the texts of its operands put in: names, elements, or literals in brackets where negative. */
const char *c_map(CPrinter *c, OpKind op, const char *x, const char *y);
int c_map_cost(OpKind op);

#endif
