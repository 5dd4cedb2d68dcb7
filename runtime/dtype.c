#include "runtime/dtype.h"

#include <assert.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "safetensors data is little-endian, and is copied as it is");

typedef struct {
    const char *name;
    uint64_t bits;
} DtypeRow;

static const DtypeRow dtype_rows[DTYPE_COUNT] = {
#define DTYPE_ROW(name, bits) {#name, bits},
    MOEC_DTYPES(DTYPE_ROW)
#undef DTYPE_ROW
};

const char *dtype_name(Dtype dtype) {
    return dtype_rows[dtype].name;
}

uint64_t dtype_bits(Dtype dtype) {
    return dtype_rows[dtype].bits;
}

bool dtype_find(const char *name, Dtype *dtype) {
    for (int i = 0; i < DTYPE_COUNT; i++) {
        if (strcmp(name, dtype_rows[i].name) == 0) {
            *dtype = (Dtype)i;
            return true;
        }
    }
    return false;
}

bool dtype_is_readable(Dtype dtype) {
    return dtype == DTYPE_F32 || dtype == DTYPE_F16 || dtype == DTYPE_BF16;
}

/* The f32 of a half, as bits: subnormals become normal numbers, infinities and NaN payloads stay. A subnormal is
   converted from its mantissa as an integer, so that the result does not depend on the mode for denormals. */
static uint32_t bits_of_half(uint32_t half) {
    uint32_t sign = (half & 0x8000u) << 16;
    uint32_t magnitude = half & 0x7FFFu;
    if (magnitude >= 0x7C00u)
        return sign | 0x7F800000u | (magnitude & 0x3FFu) << 13;
    if (magnitude >= 0x0400u)
        return sign | ((magnitude << 13) + ((127u - 15u) << 23));
    float value = (float)magnitude * 0x1p-24f;
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return sign | bits;
}

enum { WIDEN_BLOCK = 256 };

/* Front to back: the f32 of element i ends before element i + 1 of the n 16-bit ones begins, so each block is read
   before it is overwritten. Whole blocks go by way of the stack so that the loops are free of aliasing. */
void dtype_widen(Dtype dtype, float *values, size_t n) {
    assert(dtype_is_readable(dtype));
    if (dtype == DTYPE_F32)
        return;
    const char *source = (const char *)values + n * (sizeof(float) - sizeof(uint16_t));
    uint16_t narrow[WIDEN_BLOCK];
    uint32_t wide[WIDEN_BLOCK];
    for (size_t first = 0; first < n; first += WIDEN_BLOCK) {
        size_t count = n - first < WIDEN_BLOCK ? n - first : WIDEN_BLOCK;
        memcpy(narrow, source + first * sizeof *narrow, count * sizeof *narrow);
        if (dtype == DTYPE_BF16) {
            for (size_t i = 0; i < count; i++)
                wide[i] = (uint32_t)narrow[i] << 16;
        } else {
            for (size_t i = 0; i < count; i++)
                wide[i] = bits_of_half(narrow[i]);
        }
        memcpy(values + first, wide, count * sizeof *wide);
    }
}

static uint16_t bf16_of_bits(uint32_t bits) {
    uint32_t rounded = (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16;
    bool is_nan = (bits & 0x7FFFFFFFu) > 0x7F800000u;
    return (uint16_t)(is_nan ? bits >> 16 | 0x40u : rounded); /* 0x40: quiet, so that it can't turn into infinity */
}

uint16_t dtype_bf16_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bf16_of_bits(bits);
}

void dtype_narrow(const float *values, size_t n, uint16_t *bf16) {
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        bf16[i] = bf16_of_bits(bits);
    }
}
