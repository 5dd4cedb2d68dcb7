/* Packing of floats into units of one float (gemm_kernels.h), rounded to bf16 or as they are; the same conventions as
   gemm_kernels_template.h, after it. Defines pack_across, pack_along and the same with _rounded. */

/* A cache line of elements of a line to come. Sixteen lines at once are more than processors foresee by themselves. */
KERNEL_INLINE void prefetch_line(const float *line, int64_t element) {
    __builtin_prefetch((const void *)((uintptr_t)line + (uintptr_t)element * sizeof(float)), 0, 2);
}

KERNEL_INLINE void across(const float *const *lines, int64_t first, int64_t n, const GemmPanel *panel, bool rounds) {
    for (int64_t strip = 0; strip < panel->n_rows; strip += LANES) {
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
            float *target = panel->out + k * panel->width + strip;
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++) {
                if (i < count)
                    v_store(target + i * panel->width, rows[i]);
            }
        }
    }
}

KERNEL_INLINE void along(const float *const *lines, int64_t n_lines, const GemmPanel *panels, int n_panels,
                         bool rounds) {
    for (const GemmPanel *panel = panels; panel < panels + n_panels; panel++) {
        for (int64_t i = 0; i < panel->n_rows; i += LANES) {
            int count = panel->n_rows - i < LANES ? (int)(panel->n_rows - i) : LANES;
            for (int64_t k = 0; k < n_lines; k++) {
                prefetch_line(lines[k + GEMM_LINES_AHEAD], panel->row + i);
                Vector row = lines[k] ? v_load_first(lines[k] + panel->row + i, count) : v_zero();
                v_store(panel->out + k * panel->width + i, rounds ? v_round(row) : row);
            }
        }
    }
}

#define PACK(rounding, rounds)                                                                                         \
    KERNEL void pack_across##rounding(const float *const *lines, int64_t first, int64_t n, const GemmPanel *panel) {   \
        across(lines, first, n, panel, rounds);                                                                        \
    }                                                                                                                  \
    KERNEL void pack_along##rounding(const float *const *lines, int64_t n_lines, const GemmPanel *panels,              \
                                     int n_panels) {                                                                   \
        along(lines, n_lines, panels, n_panels, rounds);                                                               \
    }
PACK(, false)
PACK(_rounded, true)
