/* Numbers that are known while compiling. */
#ifndef MOEC_FRONTEND_EXPRESSION_H
#define MOEC_FRONTEND_EXPRESSION_H

#include "frontend/program.h"

/* The value of an expression over sizes and constants; false after an error. */
bool expression_scalar(Program *program, const Expr *expr, Scalar *out);

/* The shortest text that reads back to the same double: "0.02", "1e-05". */
const char *expression_number_text(Arena *arena, double number);

#endif
