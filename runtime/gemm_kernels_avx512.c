/* Processors with AVX-512: tiles of 14 x 32. */
#include "runtime/gemm_kernels.h"

#if defined __x86_64__
#define KERNEL_TARGET __attribute__((target("avx512f,avx512bw")))
#include "runtime/gemm_vectors_avx512.h"

VECTOR_INLINE Vector v_add_products(Vector sum, Vector x, Vector y) {
    return _mm512_fmadd_ps(x, y, sum);
}

VECTOR_INLINE Vector v_round(Vector x) {
    __m512i bits = _mm512_castps_si512(x), odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    __mmask16 is_nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    rounded = _mm512_mask_or_epi32(rounded, is_nan, bits, _mm512_set1_epi32(0x00400000));
    return _mm512_castsi512_ps(_mm512_and_si512(rounded, _mm512_set1_epi32((int)0xffff0000)));
}

#include "runtime/gemm_kernels_template.h"
#include "runtime/gemm_pack_template.h"

const GemmKernels gemm_kernels_avx512[GEMM_N_PRECISIONS] = {PACKED(F32), PACKED(BF16), PACKED(ROUNDED)};
#endif
