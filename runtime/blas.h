/* OpenBLAS, in its OpenMP flavour: it shares the threads of generated kernels, and inside a parallel region each of its
   calls stays on the calling thread. */
#ifndef MOEC_RUNTIME_BLAS_H
#define MOEC_RUNTIME_BLAS_H

#include <stdbool.h>
#include <stdint.h>

/* c[m, n] = alpha * op(a) op(b) + beta * c, row-major f32; op transposes where its flag is set: a is [m, k] (or [k,
   m]), b is [k, n] (or [n, k]); ld*: elements between rows as stored. */
void blas_matmul(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                 int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc);

#endif
