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

KERNEL_INLINE void prefetch_line(const void *line, int64_t n_bytes) {
    __builtin_prefetch((const void *)((uintptr_t)line + (uintptr_t)n_bytes), 0, 2);
}

/* 32 elements of k of 16 lines at a time: pairs of elements are units as they are. */
KERNEL void pack_across(const void *const *lines, int64_t first, int64_t n, const GemmPanel *panel) {
    for (int64_t strip = 0; strip < panel->n_rows; strip += LANES) {
        for (int64_t k = 0; k < n; k += 2 * LANES) {
            Vector rows[LANES];
            int64_t left = n - k;
            __mmask32 is_there = left < 2 * LANES ? (1u << left) - 1u : ~0u;
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++) {
                const uint16_t *line = lines[strip + i];
                prefetch_line(line, (first + k + GEMM_AHEAD) * (int64_t)sizeof *line);
                rows[i] = line ? (Vector)_mm512_maskz_loadu_epi16(is_there, line + first + k) : v_zero();
            }
            v_transpose(rows);
            float *target = panel->out + k / 2 * panel->width + strip;
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++) {
                if (2 * i < left)
                    v_store(target + i * panel->width, rows[i]);
            }
        }
    }
}

/* Elements in the upper half of each lane, the lower one 0. */
KERNEL_INLINE __m512i widened(const uint16_t *line, int64_t first, int n) {
    return line ? (__m512i)v_widen_first(line + first, n) : (__m512i)v_zero();
}

/* Lanes of a unit: element i of an even line, then element i of the odd one. */
KERNEL void pack_along(const void *const *lines, int64_t n_lines, const GemmPanel *panels, int n_panels) {
    for (const GemmPanel *panel = panels; panel < panels + n_panels; panel++) {
        for (int64_t i = 0; i < panel->n_rows; i += LANES) {
            int count = panel->n_rows - i < LANES ? (int)(panel->n_rows - i) : LANES;
            int64_t at = panel->row + i;
            for (int64_t k = 0; k < n_lines; k += 2) {
                prefetch_line(lines[k + GEMM_LINES_AHEAD], at * (int64_t)sizeof(uint16_t));
                prefetch_line(lines[k + GEMM_LINES_AHEAD + 1], at * (int64_t)sizeof(uint16_t));
                __m512i even = widened(lines[k], at, count);
                __m512i odd = widened(k + 1 < n_lines ? lines[k + 1] : NULL, at, count);
                __m512i pair = _mm512_or_si512(_mm512_srli_epi32(even, 16), odd);
                v_store(panel->out + k / 2 * panel->width + i, (Vector)pair);
            }
        }
    }
}

const GemmKernels gemm_kernels_avx512bf16 = {LANES,       MAX_ROWS,  2, {tiles_1, tiles_2}, sizeof(uint16_t),
                                             pack_across, pack_along};
#endif
