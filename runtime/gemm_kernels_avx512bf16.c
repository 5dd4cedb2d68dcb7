/* Processors that multiply pairs of bf16 (AVX512-BF16): tiles of 14 x 32, two elements of k at a time. */
#include "runtime/gemm_kernels.h"

#if defined __x86_64__
#include <stddef.h>

#define KERNEL_TARGET __attribute__((target("avx512f,avx512bw,avx512bf16")))
#include "runtime/gemm_vectors_avx512.h"

VECTOR_INLINE Vector v_add_products(Vector sum, Vector x, Vector y) {
    return _mm512_dpbf16_ps(sum, (__m512bh)x, (__m512bh)y);
}

#include "runtime/gemm_kernels_template.h"

/* 32 elements of k of 16 lines at a time: as bf16 they fill the 16 vectors that 16 floats of each line do. */
KERNEL void pack_across(const float *const *lines, int64_t n_lines, int64_t first, int64_t n, float *out,
                        int64_t width) {
    for (int64_t strip = 0; strip < n_lines; strip += LANES) {
        for (int64_t k = 0; k < n; k += 2 * LANES) {
            Vector rows[LANES];
            int64_t left = n - k;
            int n_low = left < LANES ? (int)left : LANES;
            int n_high = left < LANES ? 0 : left < 2 * LANES ? (int)left - LANES : LANES;
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++) {
                const float *line = lines[strip + i];
                for (int j = 0; j < 2 * LANES; j += 16)
                    __builtin_prefetch((const void *)((uintptr_t)line + (uintptr_t)(first + k + GEMM_AHEAD + j) * 4), 0,
                                       2);
                Vector low = line ? v_load_first(line + first + k, n_low) : v_zero();
                Vector high = line ? v_load_first(line + first + k + LANES, n_high) : v_zero();
                rows[i] = (Vector)_mm512_cvtne2ps_pbh(high, low);
            }
            v_transpose(rows);
            float *target = out + k / 2 * width + strip;
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++) {
                if (2 * i < left)
                    v_store(target + i * width, rows[i]);
            }
        }
    }
}

/* Lanes of a unit: element i of an even line, then element i of the odd one. */
KERNEL void pack_along(const float *const *lines, int64_t n_lines, int64_t first, int64_t n, float *out,
                       int64_t width) {
    const __m512i lanes =
        _mm512_cvtepu16_epi32(_mm256_setr_epi16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    const __m512i interleaved =
        _mm512_or_si512(lanes, _mm512_slli_epi32(_mm512_add_epi32(lanes, _mm512_set1_epi32(16)), 16));
    for (int64_t i = 0; i < n; i += LANES) {
        int count = n - i < LANES ? (int)(n - i) : LANES;
        uintptr_t offset = (uintptr_t)(first + i) * sizeof(float);
        for (int64_t k = 0; k < n_lines; k += 2) {
            __builtin_prefetch((const void *)((uintptr_t)lines[k + GEMM_AHEAD] + offset), 0, 2);
            __builtin_prefetch((const void *)((uintptr_t)lines[k + GEMM_AHEAD + 1] + offset), 0, 2);
            const float *even = lines[k], *odd = k + 1 < n_lines ? lines[k + 1] : NULL;
            Vector x = even ? v_load_first(even + first + i, count) : v_zero();
            Vector y = odd ? v_load_first(odd + first + i, count) : v_zero();
            __m512i pair = (__m512i)_mm512_cvtne2ps_pbh(y, x);
            v_store(out + k / 2 * width + i, (Vector)_mm512_permutexvar_epi16(interleaved, pair));
        }
    }
}

const GemmKernels gemm_kernels_avx512bf16 = {LANES, MAX_ROWS, 2, {tiles_1, tiles_2}, pack_across, pack_along};
#endif
