/* Element types of safetensors files, and the conversions that the runtime knows. */
#ifndef MOEC_RUNTIME_DTYPE_H
#define MOEC_RUNTIME_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Rows of the format's table of types: name in files, bits of an element. F4 and F6 pack several into one byte. */
#define MOEC_DTYPES(ROW)                                                                                               \
    ROW(BOOL, 8)                                                                                                       \
    ROW(F4, 4)                                                                                                         \
    ROW(F6_E2M3, 6)                                                                                                    \
    ROW(F6_E3M2, 6)                                                                                                    \
    ROW(U8, 8)                                                                                                         \
    ROW(I8, 8)                                                                                                         \
    ROW(F8_E5M2, 8)                                                                                                    \
    ROW(F8_E4M3, 8)                                                                                                    \
    ROW(F8_E8M0, 8)                                                                                                    \
    ROW(F8_E4M3FNUZ, 8)                                                                                                \
    ROW(F8_E5M2FNUZ, 8)                                                                                                \
    ROW(I16, 16)                                                                                                       \
    ROW(U16, 16)                                                                                                       \
    ROW(F16, 16)                                                                                                       \
    ROW(BF16, 16)                                                                                                      \
    ROW(I32, 32)                                                                                                       \
    ROW(U32, 32)                                                                                                       \
    ROW(F32, 32)                                                                                                       \
    ROW(C64, 64)                                                                                                       \
    ROW(F64, 64)                                                                                                       \
    ROW(I64, 64)                                                                                                       \
    ROW(U64, 64)

typedef enum {
#define DTYPE_ENUM(name, bits) DTYPE_##name,
    MOEC_DTYPES(DTYPE_ENUM)
#undef DTYPE_ENUM
        DTYPE_COUNT
} Dtype;

const char *dtype_name(Dtype dtype);
uint64_t dtype_bits(Dtype dtype);
bool dtype_find(const char *name, Dtype *dtype);

/* F32, F16 and BF16: those that dtype_widen takes. */
bool dtype_is_readable(Dtype dtype);

/* Turns n elements of `dtype`, stored in the last n elements' worth of bytes of `values`, into f32 in place. */
void dtype_widen(Dtype dtype, float *values, size_t n);

/* Rounds to nearest even; NaN stays NaN, too large a number becomes infinity. */
uint16_t dtype_bf16_of(float value);

/* The same for n values. */
void dtype_narrow(const float *values, size_t n, uint16_t *bf16);

#endif
