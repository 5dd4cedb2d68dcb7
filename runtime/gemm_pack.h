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

enum { GEMM_PACK_PANELS = 20 };

/* Whether lines of memory are rows of the operand, each over k, or the other way round. */
static inline bool gemm_lines_are_rows(const MoecGemm *gemm, const MoecGemmOperand *operand) {
    return operand->k_stride == 1 && (operand->stride != 1 || gemm->ragged != MOEC_GEMM_K);
}

static inline int64_t gemm_units(const GemmKernels *kernels, int64_t n_k) {
    return (n_k + kernels->unit - 1) / kernels->unit;
}

/* Packs elements [k, k + n_k), k at the start of a unit, of at most GEMM_PACK_PANELS panels, one beside the other;
   their rows count from the operand's start, ragged rows of groups before included. A panel may be written past its
   end, and its `out` is moved. */
void gemm_pack(const GemmSource *source, int64_t group, GemmPanel *panels, int n_panels, int64_t k, int64_t n_k);

#endif
