/* What the interpreter's op functions share: how results get storage, and plain index arithmetic on row-major types.

   In: the node being evaluated, its operands' tensors. Out: its results' tensors. An op function reads operands with
   interpreter_operand, fills interpreter_result, and reports what its operands' values make impossible with
   interpreter_fail (after which it returns at once; the run ends there). Shapes hold already: ops.def's infer column
   has seen them. */
#ifndef MOEC_IR_INTERPRET_INTERNAL_H
#define MOEC_IR_INTERPRET_INTERNAL_H

#include "ir/interpret.h"

/* Makes a result of `node` share the storage of `storage`: states, and what updates write in place. */
void interpreter_alias_result(Interpreter *interpreter, const Node *node, int result, const Tensor *storage);

/* False, after failing with a message, unless `index` lies in [0, extent). `what` names the index: "token". */
bool interpreter_check_index(Interpreter *interpreter, const Node *node, const char *what, double index,
                             int64_t extent);

/* log(sum(exp(row))) of n numbers, without overflow. */
double interpreter_logsumexp(const double *row, int64_t n);

/* Element number `flat` of `type` in row-major order lies at this offset of storage with the given strides. */
static inline int64_t strided_offset(const Type *type, int64_t flat, const int64_t *strides) {
    int64_t offset = 0;
    for (int i = type->rank; i-- > 0;) {
        offset += flat % type->dims[i].extent * strides[i];
        flat /= type->dims[i].extent;
    }
    return offset;
}

#endif
