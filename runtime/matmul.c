#include "runtime/matmul.h"

#include "runtime/gemm.h"

/* A stored matrix as an operand whose rows are rows of the result, or its columns. */
static MoecGemmOperand operand(const float *data, bool k_is_inner, int64_t ld, int64_t group_stride) {
    return (MoecGemmOperand){
        .data = data, .stride = k_is_inner ? ld : 1, .k_stride = k_is_inner ? 1 : ld, .group_stride = group_stride};
}

void moec_matmul(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                 int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc) {
    MoecGemm gemm = {.n_groups = 1, .n_rows = m, .n_cols = n, .n_products = 1, .n_results = 1};
    gemm.products[0] =
        (MoecGemmProduct){.lhs = operand(a, !transpose_a, lda, 0), .rhs = operand(b, transpose_b, ldb, 0), .k = k};
    gemm.alpha = alpha;
    gemm.beta = beta;
    gemm.out = c;
    gemm.out_stride = ldc;
    moec_gemm(&gemm);
}

void moec_grouped_matmul_rows(bool transpose_b, int64_t n_groups, const int32_t *offsets, int64_t n, int64_t k,
                              const float *a, const float *b, float *c) {
    MoecGemm gemm = {.ragged = MOEC_GEMM_ROWS,
                     .n_groups = n_groups,
                     .offsets = offsets,
                     .n_rows = offsets[n_groups],
                     .n_cols = n,
                     .n_products = 1,
                     .n_results = 1};
    gemm.products[0] = (MoecGemmProduct){
        .lhs = operand(a, true, k, 0), .rhs = operand(b, transpose_b, transpose_b ? k : n, n * k), .k = k};
    gemm.alpha = 1.0f;
    gemm.out = c;
    gemm.out_stride = n;
    moec_gemm(&gemm);
}

void moec_grouped_matmul_weights(int64_t n_groups, const int32_t *offsets, int64_t m, int64_t n, const float *a,
                                 const float *b, float *c) {
    MoecGemm gemm = {.ragged = MOEC_GEMM_K,
                     .n_groups = n_groups,
                     .offsets = offsets,
                     .n_rows = m,
                     .n_cols = n,
                     .n_products = 1,
                     .n_results = 1};
    gemm.products[0] =
        (MoecGemmProduct){.lhs = operand(a, false, m, 0), .rhs = operand(b, false, n, 0), .k = offsets[n_groups]};
    gemm.alpha = 1.0f;
    gemm.out = c;
    gemm.out_stride = n;
    gemm.out_group_stride = m * n;
    moec_gemm(&gemm);
}
