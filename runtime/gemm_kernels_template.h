/* The kernels and packing functions of one family (gemm_kernels.h), for the file that includes this. No include guard.

   Before it: KERNEL_TARGET (an attribute), LANES, MAX_ROWS, EACH_ROWS(ROW) being ROW(1) ... ROW(MAX_ROWS), a type
   Vector of floats, and v_zero, v_fill (all lanes the same), v_load and v_store (any address), v_load_first and
   v_store_first (n lanes of LANES at most; nothing past them is touched, they load as zeros), v_multiply_add (x * y
   + z), v_add_products (sum + x * y, of floats or of pairs of bf16). After it:
   tiles. */

#define KERNEL static KERNEL_TARGET
#define KERNEL_INLINE static inline __attribute__((always_inline)) KERNEL_TARGET

enum { PREFETCH_UNITS = 16 }; /* of rhs, ahead of their use: it streams from the second-level cache */

/* out = sums + beta * out, one vector of it. */
KERNEL_INLINE void store_sums(Vector sums, float *out, float beta, int n) {
    if (n >= LANES) {
        if (beta != 0.0f)
            sums = v_multiply_add(v_load(out), v_fill(beta), sums);
        v_store(out, sums);
    } else {
        if (beta != 0.0f)
            sums = v_multiply_add(v_load_first(out, n), v_fill(beta), sums);
        v_store_first(out, n, sums);
    }
}

/* Rows and vectors are constants wherever this is inlined, so that the sums stay in registers. */
KERNEL_INLINE void tile(int n_rows, int n_vectors, int64_t n_units, const float *lhs, const float *rhs, float *out,
                        int64_t ld, float beta, int n_cols) {
    Vector sums[MAX_ROWS][2];
#pragma GCC unroll 16
    for (int i = 0; i < n_rows; i++) {
        sums[i][0] = sums[i][1] = v_zero();
        __builtin_prefetch(out + i * ld, 1);
        __builtin_prefetch(out + i * ld + n_cols - 1, 1);
    }
    for (int64_t k = 0; k < n_units; k++) {
        Vector y0 = v_load(rhs), y1 = n_vectors == 2 ? v_load(rhs + LANES) : y0;
        __builtin_prefetch(rhs + PREFETCH_UNITS * n_vectors * LANES);
        if (n_vectors * LANES > 16)
            __builtin_prefetch(rhs + PREFETCH_UNITS * n_vectors * LANES + 16);
#pragma GCC unroll 16
        for (int i = 0; i < n_rows; i++) {
            Vector x = v_fill(lhs[i]);
            sums[i][0] = v_add_products(sums[i][0], x, y0);
            if (n_vectors == 2)
                sums[i][1] = v_add_products(sums[i][1], x, y1);
        }
        lhs += n_rows;
        rhs += n_vectors * LANES;
    }
    /* Addresses of the rows are computed anew: kept from the prefetches on, they would take registers from the sums. */
    __asm__("" : "+r"(out), "+r"(ld));
    bool is_whole = n_cols == n_vectors * LANES;
#pragma GCC unroll 16
    for (int i = 0; i < n_rows; i++) {
        if (n_vectors == 2)
            store_sums(sums[i][0], out + i * ld, beta, LANES);
        store_sums(sums[i][n_vectors - 1], out + i * ld + (n_vectors - 1) * LANES, beta,
                   is_whole ? LANES : n_cols - (n_vectors - 1) * LANES);
    }
}

#define TILE(rows)                                                                                                     \
    KERNEL void tile_##rows##_1(int64_t n_units, const float *lhs, const float *rhs, float *out, int64_t ld,           \
                                float beta, int n_cols) {                                                              \
        tile(rows, 1, n_units, lhs, rhs, out, ld, beta, n_cols);                                                       \
    }                                                                                                                  \
    KERNEL void tile_##rows##_2(int64_t n_units, const float *lhs, const float *rhs, float *out, int64_t ld,           \
                                float beta, int n_cols) {                                                              \
        tile(rows, 2, n_units, lhs, rhs, out, ld, beta, n_cols);                                                       \
    }
EACH_ROWS(TILE)

#define TILE_1(rows) tile_##rows##_1,
#define TILE_2(rows) tile_##rows##_2,
static GemmTile *const tiles_1[] = {EACH_ROWS(TILE_1)};
static GemmTile *const tiles_2[] = {EACH_ROWS(TILE_2)};
