/* Packing of floats into units of one float (gemm_kernels.h), rounded to bf16 or as they are; the same conventions as
   gemm_kernels_template.h, after it. Defines pack_across, pack_along and the same with _rounded. */

/* A cache line of elements of a line to come. Sixteen lines at once are more than processors foresee by themselves. */
KERNEL_INLINE void prefetch_line(const float *line, int64_t element) {
    __builtin_prefetch((const void *)((uintptr_t)line + (uintptr_t)element * sizeof(float)), 0, 2);
}

KERNEL_INLINE void across(const float *const *lines, int64_t n_lines, int64_t first, int64_t n, float *out,
                          int64_t width, bool rounds) {
    for (int64_t strip = 0; strip < n_lines; strip += LANES) {
        for (int64_t k = 0; k < n; k += LANES) {
            Vector rows[LANES];
            int count = n - k < LANES ? (int)(n - k) : LANES;
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++) {
                const float *line = lines[strip + i];
                prefetch_line(line, first + k + GEMM_AHEAD);
                rows[i] = line ? v_load_first(line + first + k, count) : v_zero();
                if (rounds)
                    rows[i] = v_round(rows[i]);
            }
            v_transpose(rows);
            float *target = out + k * width + strip;
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++) {
                if (i < count)
                    v_store(target + i * width, rows[i]);
            }
        }
    }
}

KERNEL_INLINE void along(const float *const *lines, int64_t n_lines, int64_t first, int64_t n, float *out,
                         int64_t width, bool rounds) {
    for (int64_t i = 0; i < n; i += LANES) {
        int count = n - i < LANES ? (int)(n - i) : LANES;
        uintptr_t offset = (uintptr_t)(first + i) * sizeof(float);
        for (int64_t k = 0; k < n_lines; k++) {
            __builtin_prefetch((const void *)((uintptr_t)lines[k + GEMM_AHEAD] + offset), 0, 2);
            Vector row = lines[k] ? v_load_first(lines[k] + first + i, count) : v_zero();
            v_store(out + k * width + i, rounds ? v_round(row) : row);
        }
    }
}

#define PACK(name, body, rounds)                                                                                       \
    KERNEL void name(const float *const *lines, int64_t n_lines, int64_t first, int64_t n, float *out,                 \
                     int64_t width) {                                                                                  \
        body(lines, n_lines, first, n, out, width, rounds);                                                            \
    }
PACK(pack_across, across, false)
PACK(pack_along, along, false)
PACK(pack_across_rounded, across, true)
PACK(pack_along_rounded, along, true)
