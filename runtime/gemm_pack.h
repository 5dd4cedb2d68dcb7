/* From operands to panels: strides, gathers, load callbacks and groups end here. */
#ifndef MOEC_RUNTIME_GEMM_PACK_H
#define MOEC_RUNTIME_GEMM_PACK_H

#include "runtime/gemm_kernels.h"

/* Which operand, of what. */
typedef struct {
    const MoecGemm *gemm;
    const GemmKernels *kernels;
    const MoecGemmOperand *operand;
    bool is_lhs;
} GemmSource;

/* Part of an operand; rows and k count from the start of the operand, groups before this one included where they are
   ragged. */
typedef struct {
    int64_t group, row, n_rows, k, n_k;
} GemmRange;

/* A whole number of units but for the last of the group. */
static inline int64_t gemm_units(const GemmKernels *kernels, int64_t n_k) {
    return (n_k + kernels->unit - 1) / kernels->unit;
}

/* Packs at most 2 * n_lanes rows into the panel of `width`, from `out` on; range.k is at the start of a unit. */
void gemm_pack(const GemmSource *source, GemmRange range, float *out, int64_t width);

#endif
