/* Processors with AVX-512: tiles of 14 x 32. */
#include "runtime/gemm_kernels.h"

#if defined __x86_64__
#define KERNEL_TARGET __attribute__((target("avx512f,avx512bw")))
#include "runtime/gemm_vectors_avx512.h"

VECTOR_INLINE Vector v_add_products(Vector sum, Vector x, Vector y) {
    return _mm512_fmadd_ps(x, y, sum);
}

#include "runtime/gemm_kernels_template.h"
#include "runtime/gemm_pack_template.h"

const GemmKernels gemm_kernels_avx512[GEMM_N_PRECISIONS] = {PACKED(F32), PACKED(BF16)};
#endif
