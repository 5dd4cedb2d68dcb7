/* Vectors of 16 floats, as gemm_kernels_template.h wants them; whoever includes this sets KERNEL_TARGET before. */
#ifndef MOEC_RUNTIME_GEMM_VECTORS_AVX512_H
#define MOEC_RUNTIME_GEMM_VECTORS_AVX512_H

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>

#define VECTOR_INLINE static inline __attribute__((always_inline)) KERNEL_TARGET

enum { LANES = 16, MAX_ROWS = 14 }; /* 28 sums, two vectors of rhs, one of lhs: 31 of the 32 registers */
#define EACH_ROWS(ROW)                                                                                                 \
    ROW(1) ROW(2) ROW(3) ROW(4) ROW(5) ROW(6) ROW(7) ROW(8) ROW(9) ROW(10) ROW(11) ROW(12) ROW(13) ROW(14)

typedef __m512 Vector;

VECTOR_INLINE __mmask16 first_lanes(int n) {
    return (__mmask16)((1u << n) - 1u);
}

VECTOR_INLINE Vector v_zero(void) {
    return _mm512_setzero_ps();
}

VECTOR_INLINE Vector v_fill(float x) {
    return _mm512_set1_ps(x);
}

VECTOR_INLINE Vector v_load(const float *p) {
    return _mm512_loadu_ps(p);
}

VECTOR_INLINE Vector v_load_first(const float *p, int n) {
    return _mm512_maskz_loadu_ps(first_lanes(n), p);
}

VECTOR_INLINE void v_store(float *p, Vector x) {
    _mm512_storeu_ps(p, x);
}

VECTOR_INLINE void v_store_first(float *p, int n, Vector x) {
    _mm512_mask_storeu_ps(p, first_lanes(n), x);
}

VECTOR_INLINE Vector v_multiply_add(Vector x, Vector y, Vector z) {
    return _mm512_fmadd_ps(x, y, z);
}

VECTOR_INLINE Vector v_widen_first(const uint16_t *p, int n) {
    __m512i elements = _mm512_maskz_loadu_epi16((1u << n) - 1u, p);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm512_castsi512_si256(elements)), 16));
}

/* x[i][j] and x[j][i] change places. */
VECTOR_INLINE void v_transpose(Vector x[16]) {
    Vector y[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; i += 2) { /* pairs of rows */
        y[i] = _mm512_unpacklo_ps(x[i], x[i + 1]);
        y[i + 1] = _mm512_unpackhi_ps(x[i], x[i + 1]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < 16; i += 4) { /* x[i + c] holds column c of each quarter, of rows i to i + 3 */
        __m512d a = _mm512_castps_pd(y[i]), b = _mm512_castps_pd(y[i + 1]);
        __m512d c = _mm512_castps_pd(y[i + 2]), d = _mm512_castps_pd(y[i + 3]);
        x[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
        x[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
        x[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
        x[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
    }
#pragma GCC unroll 16
    for (int c = 0; c < 4; c++) { /* quarters of four vectors, to columns c, c + 4, c + 8, c + 12 */
        Vector a = _mm512_shuffle_f32x4(x[c], x[c + 4], 0x88), b = _mm512_shuffle_f32x4(x[c + 8], x[c + 12], 0x88);
        Vector d = _mm512_shuffle_f32x4(x[c], x[c + 4], 0xdd), e = _mm512_shuffle_f32x4(x[c + 8], x[c + 12], 0xdd);
        x[c] = _mm512_shuffle_f32x4(a, b, 0x88);
        x[c + 8] = _mm512_shuffle_f32x4(a, b, 0xdd);
        x[c + 4] = _mm512_shuffle_f32x4(d, e, 0x88);
        x[c + 12] = _mm512_shuffle_f32x4(d, e, 0xdd);
    }
}

#endif
