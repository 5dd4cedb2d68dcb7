/* The tensor cores' instructions of codegen/prelude_cuda_products.c for the simulator, which lane holds what is as the
   PTX ISA says of ldmatrix and of mma.m16n8k16. */
#ifndef MOEC_TESTS_SIMT_SIMT_PRODUCTS_H
#define MOEC_TESTS_SIMT_SIMT_PRODUCTS_H

#include "tests/simt/simt.h"

/* To the nearest, even ones of two. */
MOEC_DEVICE uint32_t simt_bf16(float value) {
    union {
        float number;
        uint32_t bits;
    } word = {value};
    return value != value ? 0x7fffu : (word.bits + 0x7fffu + (word.bits >> 16 & 1)) >> 16;
}

MOEC_DEVICE uint32_t moec_bf16x2(float low, float high) {
    return simt_bf16(low) | simt_bf16(high) << 16;
}

/* Of matrix m, lane l gets columns l % 4 * 2 and the next of row l / 4, the start of which lane 8 m + l / 4 knows. */
MOEC_DEVICE void moec_ldmatrix(uint32_t *to, const uint16_t *shared, int from) {
    int lane = (int)threadIdx.x % 32;
    for (int m = 0; m < 4; m++) {
        int start = (int)__shfl_sync(0xffffffffu, (uint32_t)from, 8 * m + lane / 4);
        to[m] = *(const uint32_t *)(shared + start + lane % 4 * 2);
    }
}

/* The same of the matrix's transpose. */
MOEC_DEVICE void moec_ldmatrix_transposed(uint32_t *to, const uint16_t *shared, int from) {
    int lane = (int)threadIdx.x % 32;
    for (int m = 0; m < 4; m++) {
        int first = (int)__shfl_sync(0xffffffffu, (uint32_t)from, 8 * m + lane % 4 * 2);
        int second = (int)__shfl_sync(0xffffffffu, (uint32_t)from, 8 * m + lane % 4 * 2 + 1);
        to[m] = shared[first + lane / 4] | (uint32_t)shared[second + lane / 4] << 16;
    }
}

MOEC_DEVICE uint64_t moec_anew(uint64_t x) {
    return x;
}

MOEC_DEVICE float moec_exp2(float x) {
    return exp2f(x);
}

MOEC_DEVICE void moec_mma(float *sums, const uint32_t *a, const uint32_t *b) {
    simt_product(sums, a, b, __LINE__);
}

#endif
