/* Matrix products on OpenBLAS in place of moec's own kernels, to compare with: `--matmul blas`. */
#ifndef MOEC_RUNTIME_GEMM_BLAS_H
#define MOEC_RUNTIME_GEMM_BLAS_H

#include "runtime/gemm.h"

/* From here on moec_gemm runs on OpenBLAS, or again on its own kernels. Not while products run. */
void gemm_choose_blas(bool is_chosen);
bool gemm_is_on_blas(void);

/* What moec_gemm does, in f32 whatever the precision. Outside of parallel regions only. */
void gemm_on_blas(const MoecGemm *gemm);

#endif
