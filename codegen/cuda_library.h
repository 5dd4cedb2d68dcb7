/* Forms that are one matrix product of a library: those whose operands are arrays of one dtype, read as they are, and
   whose body only stores the sum, or adds it to an array.

   In: a form that passes form_verify. Out: what the library must be told. Never here: which library, whether it is
   there (the runtime's). */
#ifndef MOEC_CODEGEN_CUDA_LIBRARY_H
#define MOEC_CODEGEN_CUDA_LIBRARY_H

#include "codegen/form.h"

/* Element (i, j) of an argument is at offset + i * stride + j * k_stride, elements; one of the strides is 1. */
typedef struct {
    uint32_t arg;
    int64_t offset, stride, k_stride;
} CudaLibraryMatrix;

/* out[rows, cols] = lhs[rows, k] rhs[cols, k]^T, + added[rows, cols] if `adds`. Elements of a row of out follow each
   other, as in `added`, which has out's strides and may be out. */
typedef struct {
    int64_t n_rows, n_cols, k;
    CudaLibraryMatrix lhs, rhs, out, added;
    bool adds;
} CudaLibraryProduct;

/* Whether the form is such a product, and which. */
bool cuda_library_product(const Form *form, CudaLibraryProduct *product);

#endif
