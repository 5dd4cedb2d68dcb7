/* Matrix products with what surrounds them in a training step: rows gathered while an operand is packed, the ragged
   rows of all experts in one call, several products on one packed operand or summed into one result, and an epilogue on
   each tile of the result while it is in cache.

   In: a MoecGemm, which generated kernels fill in, and the kernel's arguments. Out: what the epilogue stores. Every
   element is one sum over k in one fixed order whatever the number of threads. Called outside of a parallel region it
   uses all threads; inside one, the calling thread only. */
#ifndef MOEC_RUNTIME_GEMM_H
#define MOEC_RUNTIME_GEMM_H

#include <stdbool.h>
#include <stdint.h>

/* Of the operands in memory; sums are f32. */
typedef enum { MOEC_GEMM_F32, MOEC_GEMM_BF16 } MoecGemmPrecision;

/* What the offsets, i32[n_groups + 1], cut into groups. */
typedef enum {
    MOEC_GEMM_DENSE, /* nothing: one group, offsets is NULL */
    MOEC_GEMM_ROWS,  /* rows of the result: rows [offsets[g], offsets[g+1]) of lhs meet rhs number g. Rows past the last
                        offset are left alone */
    MOEC_GEMM_K      /* the sum: result g sums over k in [offsets[g], offsets[g+1]); zero for an empty group */
} MoecGemmRagged;

/* Computes elements of an operand instead of reading them: out[i * ld + j] = element (major + i, minor + j) of group g.
   Minor is the side whose stride is 1 (lhs: rows or k, rhs: cols or k), major the other; where both strides are 1, k is
   major with MOEC_GEMM_K and minor else. */
typedef void MoecGemmLoad(void *const *args, int64_t group, int64_t major, int64_t n_major, int64_t minor,
                          int64_t n_minor, float *out, int64_t ld);

/* lhs: [rows, k], rhs: [cols, k], of f32 or bf16; element (i, k) is number group * group_stride + i * stride + k *
   k_stride of the data.
   Ragged sides count across all groups: with MOEC_GEMM_ROWS the row index of lhs, with MOEC_GEMM_K the k of both. */
typedef struct {
    const void *data;         /* float, or uint16_t of bf16 */
    int64_t stride, k_stride; /* one of them is 1 */
    int64_t group_stride;     /* 0 where groups share the matrix, or the ragged side tells them apart */
    /* NULL, or: index i of the side whose stride is not 1 (lhs rows, or k) reads i' = gather[i] / gather_divisor in its
       place, zeros where gather[i] is negative. Where both strides are 1, that is k with MOEC_GEMM_K, else the other.
     */
    const int32_t *gather;
    int64_t gather_divisor; /* 0 is taken as 1 */
    MoecGemmLoad *load;     /* NULL, or what is called instead of reading data, not bf16; only the strides count then */
    const void *packed;     /* of rhs, not with MOEC_GEMM_K: NULL, or what moec_gemm_pack has made of it */
} MoecGemmOperand;

enum { MOEC_GEMM_MAX_PRODUCTS = 4, MOEC_GEMM_MAX_RESULTS = 3 };

/* results[result] += lhs rhs^T, summed over k. Equal lhs operands are packed once. */
typedef struct {
    MoecGemmOperand lhs, rhs;
    int64_t k; /* MOEC_GEMM_K: the most there can be in all groups together */
    int result;
} MoecGemmProduct;

/* Where a result goes: out[group * group_stride + row * stride + col] = sum + beta * (what is there; not read with beta
   0). */
typedef struct {
    float *out;
    int64_t stride, group_stride;
    float beta;
} MoecGemmResult;

/* Part of the results: element (row + i, col + j) of result r is sums[r][i * ld + j]. Rows count as in lhs. */
typedef struct {
    int64_t group, row, col, n_rows, n_cols, ld;
    float *sums[MOEC_GEMM_MAX_RESULTS]; /* the epilogue may overwrite them */
} MoecGemmTile;

/* Called once for each tile, from any thread; tiles do not overlap and cover the results. */
typedef void MoecGemmEpilogue(void *const *args, const MoecGemmTile *tile);

typedef struct {
    MoecGemmPrecision precision;
    MoecGemmRagged ragged;
    int64_t n_groups;
    const int32_t *offsets;
    int64_t n_rows, n_cols; /* of each result; MOEC_GEMM_ROWS: n_rows is the most there can be in all groups */
    int n_products, n_results;
    MoecGemmProduct products[MOEC_GEMM_MAX_PRODUCTS];
    MoecGemmEpilogue *epilogue;                    /* NULL: results are written */
    MoecGemmResult results[MOEC_GEMM_MAX_RESULTS]; /* without an epilogue */
    void *const *args;                             /* handed to load and epilogue */
} MoecGemm;

void moec_gemm(const MoecGemm *gemm);

/* Memory of the calling thread for at least n floats, which kernels may use while they run; what was in it is lost when
   a later call asks for more. */
float *moec_gemm_scratch(int64_t n);

/* A rhs that is packed once, for many products that read it: the matrices of all groups, [n_cols, k] each. */
typedef struct {
    MoecGemmPrecision precision;
    int64_t n_groups, n_cols, k;
    const void *data;
    int64_t stride, k_stride, group_stride;
} MoecGemmPacked;

/* Bytes of the packed copy on this machine: its processor decides how panels look. */
uint64_t moec_gemm_packed_bytes(const MoecGemmPacked *packed);

/* Packs it into `out`, aligned to 64 bytes, with all threads. Products that are given it compute the same bits. */
void moec_gemm_pack(const MoecGemmPacked *packed, void *out);

/* Bytes of the memory that products have packed into so far, of all threads: no more than these have touched. */
uint64_t moec_gemm_bytes(void);

/* Frees what products packed into; threads keep it from the first product on. Not while products run. */
void moec_gemm_release(void);

#endif
