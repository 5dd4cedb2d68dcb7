/* The one call behind which all matrix products of generated kernels go. */
#ifndef MOEC_RUNTIME_MATMUL_H
#define MOEC_RUNTIME_MATMUL_H

#include <stdbool.h>
#include <stdint.h>

/* c[m, n] = alpha * op(a) op(b) + beta * c, row-major f32; op transposes where its flag is set: a is [m, k] (or [k,
   m]), b is [k, n] (or [n, k]); ld*: elements between rows as stored. With beta 0, c may hold anything. Called outside
   of a parallel region it uses all threads; inside one, the calling thread only. Same inputs, same thread count: same
   bits. */
void moec_matmul(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                 int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc);

/* Grouped products; rows [offsets[e], offsets[e+1]) belong to group e, offsets is i32[n_groups + 1].
   rows: c[r, n] = a[r, k] op(b[e]); op(b[e]) is b[e] as [k, n], or transposed as [n, k]. Rows past the last offset of c
   are left alone. weights: c[e] = a[rows of e, m]^T b[rows of e, n], zero for a group without rows. All threads. */
void moec_grouped_matmul_rows(bool transpose_b, int64_t n_groups, const int32_t *offsets, int64_t n, int64_t k,
                              const float *a, const float *b, float *c);
void moec_grouped_matmul_weights(int64_t n_groups, const int32_t *offsets, int64_t m, int64_t n, const float *a,
                                 const float *b, float *c);

#endif
