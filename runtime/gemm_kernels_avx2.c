/* Processors with AVX2 and FMA: tiles of 6 x 16. */
#include "runtime/gemm_kernels.h"

#if defined __x86_64__
#include <immintrin.h>
#include <string.h>

#define KERNEL_TARGET __attribute__((target("avx2,fma")))
#define VECTOR_INLINE static inline __attribute__((always_inline)) KERNEL_TARGET

enum { LANES = 8, MAX_ROWS = 6 }; /* 12 sums, two vectors of rhs, one of lhs: 15 of the 16 registers */
#define EACH_ROWS(ROW) ROW(1) ROW(2) ROW(3) ROW(4) ROW(5) ROW(6)

typedef __m256 Vector;

VECTOR_INLINE __m256i first_lanes(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

VECTOR_INLINE Vector v_zero(void) {
    return _mm256_setzero_ps();
}

VECTOR_INLINE Vector v_fill(float x) {
    return _mm256_set1_ps(x);
}

VECTOR_INLINE Vector v_load(const float *p) {
    return _mm256_loadu_ps(p);
}

VECTOR_INLINE Vector v_load_first(const float *p, int n) {
    return _mm256_maskload_ps(p, first_lanes(n));
}

VECTOR_INLINE void v_store(float *p, Vector x) {
    _mm256_storeu_ps(p, x);
}

VECTOR_INLINE void v_store_first(float *p, int n, Vector x) {
    _mm256_maskstore_ps(p, first_lanes(n), x);
}

VECTOR_INLINE Vector v_multiply_add(Vector x, Vector y, Vector z) {
    return _mm256_fmadd_ps(x, y, z);
}

VECTOR_INLINE Vector v_add_products(Vector sum, Vector x, Vector y) {
    return _mm256_fmadd_ps(x, y, sum);
}

VECTOR_INLINE Vector v_widen_first(const uint16_t *p, int n) {
    uint16_t elements[LANES] = {0};
    if (n == LANES)
        memcpy(elements, p, sizeof elements);
    else
        memcpy(elements, p, (size_t)n * sizeof *p);
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)elements));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}

/* x[i][j] and x[j][i] change places. */
VECTOR_INLINE void v_transpose(Vector x[8]) {
    Vector y[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i += 2) { /* pairs of rows */
        y[i] = _mm256_unpacklo_ps(x[i], x[i + 1]);
        y[i + 1] = _mm256_unpackhi_ps(x[i], x[i + 1]);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; i += 4) { /* x[i + c] holds column c of each half, of rows i to i + 3 */
        x[i] = _mm256_shuffle_ps(y[i], y[i + 2], 0x44);
        x[i + 1] = _mm256_shuffle_ps(y[i], y[i + 2], 0xee);
        x[i + 2] = _mm256_shuffle_ps(y[i + 1], y[i + 3], 0x44);
        x[i + 3] = _mm256_shuffle_ps(y[i + 1], y[i + 3], 0xee);
    }
#pragma GCC unroll 8
    for (int c = 0; c < 4; c++) {
        Vector low = x[c], high = x[c + 4];
        x[c] = _mm256_permute2f128_ps(low, high, 0x20);
        x[c + 4] = _mm256_permute2f128_ps(low, high, 0x31);
    }
}

#include "runtime/gemm_kernels_template.h"
#include "runtime/gemm_pack_template.h"

const GemmKernels gemm_kernels_avx2[GEMM_N_PRECISIONS] = {PACKED(F32), PACKED(BF16)};
#endif
