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

/* Product of the extents of dims [first, end). */
static inline int64_t type_span(const Type *type, int first, int end) {
    int64_t span = 1;
    for (int i = first; i < end; i++)
        span *= type->dims[i].extent;
    return span;
}

/* Extent of dim `i`, counted from the end where negative: -1 is the last. */
static inline int64_t type_extent(const Type *type, int i) {
    return type->dims[i < 0 ? type->rank + i : i].extent;
}

/* Row-major strides, in elements. */
static inline void type_strides(const Type *type, int64_t *strides) {
    int64_t stride = 1;
    for (int i = type->rank; i-- > 0;) {
        strides[i] = stride;
        stride *= type->dims[i].extent;
    }
}

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
