#include "runtime/blas.h"

#include <assert.h>
#include <cblas.h>
#include <limits.h>
#include <string.h>

/* OpenBLAS as Debian builds it counts in 32 bits. */
static blasint blas_int(int64_t n) {
    assert(n >= 0 && n <= INT_MAX);
    return (blasint)n;
}

/* c = beta * c. */
static void scale_rows(int64_t m, int64_t n, float beta, float *c, int64_t ldc) {
    for (int64_t row = 0; row < m; row++) {
        if (beta == 0.0f) {
            memset(c + row * ldc, 0, (size_t)n * sizeof *c);
            continue;
        }
        for (int64_t column = 0; column < n; column++)
            c[row * ldc + column] *= beta;
    }
}

void blas_matmul(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                 int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc) {
    if (m == 0 || n == 0)
        return;
    if (k == 0) { /* BLAS would refuse leading dimensions of 0, and c is to be scaled all the same */
        scale_rows(m, n, beta, c, ldc);
        return;
    }
    cblas_sgemm(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans, transpose_b ? CblasTrans : CblasNoTrans,
                blas_int(m), blas_int(n), blas_int(k), alpha, a, blas_int(lda), b, blas_int(ldb), beta, c,
                blas_int(ldc));
}
