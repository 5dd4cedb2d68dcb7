/* Packing of floats or bf16 into units of one float (gemm_kernels.h); the same conventions as gemm_kernels_template.h,
   after it. Besides it wants v_widen_first (n lanes of bf16, as v_load_first) and v_transpose (LANES vectors). Defines
   PACKED(precision), kernels of each. */

/* A cache line of elements of a line to come. Sixteen lines at once are more than processors foresee by themselves. */
KERNEL_INLINE void prefetch_line(const void *line, int64_t n_bytes) {
    __builtin_prefetch((const void *)((uintptr_t)line + (uintptr_t)n_bytes), 0, 2);
}

KERNEL_INLINE int element_bytes(MoecGemmPrecision precision) {
    return precision == MOEC_GEMM_BF16 ? (int)sizeof(uint16_t) : (int)sizeof(float);
}

/* Elements [first, first + n) of a line. */
KERNEL_INLINE Vector load_elements(const void *line, int64_t first, int n, MoecGemmPrecision precision) {
    if (!line)
        return v_zero();
    if (precision == MOEC_GEMM_BF16)
        return v_widen_first((const uint16_t *)line + first, n);
    return v_load_first((const float *)line + first, n);
}

KERNEL_INLINE void across(const void *const *lines, int64_t first, int64_t n, const GemmPanel *panel,
                          MoecGemmPrecision precision) {
    for (int64_t strip = 0; strip < panel->n_rows; strip += LANES) {
        for (int64_t k = 0; k < n; k += LANES) {
            Vector rows[LANES];
            int count = n - k < LANES ? (int)(n - k) : LANES;
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++) {
                const void *line = lines[strip + i];
                prefetch_line(line, (first + k + GEMM_AHEAD) * element_bytes(precision));
                rows[i] = load_elements(line, first + k, count, precision);
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

KERNEL_INLINE void along(const void *const *lines, int64_t n_lines, const GemmPanel *panels, int n_panels,
                         MoecGemmPrecision precision) {
    for (const GemmPanel *panel = panels; panel < panels + n_panels; panel++) {
        for (int64_t i = 0; i < panel->n_rows; i += LANES) {
            int count = panel->n_rows - i < LANES ? (int)(panel->n_rows - i) : LANES;
            for (int64_t k = 0; k < n_lines; k++) {
                prefetch_line(lines[k + GEMM_LINES_AHEAD], (panel->row + i) * element_bytes(precision));
                v_store(panel->out + k * panel->width + i, load_elements(lines[k], panel->row + i, count, precision));
            }
        }
    }
}

#define PACK(precision)                                                                                                \
    KERNEL void pack_across_##precision(const void *const *lines, int64_t first, int64_t n, const GemmPanel *panel) {  \
        across(lines, first, n, panel, MOEC_GEMM_##precision);                                                         \
    }                                                                                                                  \
    KERNEL void pack_along_##precision(const void *const *lines, int64_t n_lines, const GemmPanel *panels,             \
                                       int n_panels) {                                                                 \
        along(lines, n_lines, panels, n_panels, MOEC_GEMM_##precision);                                                \
    }
PACK(F32)
PACK(BF16)

#define PACKED(precision)                                                                                              \
    [MOEC_GEMM_##precision] = {LANES,                                                                                  \
                               MAX_ROWS,                                                                               \
                               1,                                                                                      \
                               {tiles_1, tiles_2},                                                                     \
                               MOEC_GEMM_##precision == MOEC_GEMM_BF16 ? sizeof(uint16_t) : sizeof(float),             \
                               pack_across_##precision,                                                                \
                               pack_along_##precision}
