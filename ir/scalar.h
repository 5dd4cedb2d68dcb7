/* What each elementwise op means on numbers: one element of the result, from the same element of each operand.

   The interpreter, the folding of constants and the numbers of the language all ask here. A NaN operand gives a NaN, so
   that unspecified ragged rows stay visible. */
#ifndef MOEC_IR_SCALAR_H
#define MOEC_IR_SCALAR_H

#include "ir/ir.h"

/* An op of one operand leaves y alone. */
typedef double ScalarFunction(double x, double y);

/* NULL: `op` is not elementwise. */
ScalarFunction *scalar_function(OpKind op);

/* The f32 nearest to x, then the bf16 nearest to that, of two the even one. What is too large becomes infinite. */
double scalar_round_bf16(double x);

#endif
