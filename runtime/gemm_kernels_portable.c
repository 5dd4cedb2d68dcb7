/* Any processor: tiles of 4 x 8 in vectors of four floats, which every x86-64 has, multiplication and addition apart.
 */
#include "runtime/gemm_kernels.h"

#include <string.h>

#define KERNEL_TARGET
#define VECTOR_INLINE static inline __attribute__((always_inline))

enum { LANES = 4, MAX_ROWS = 4 };
#define EACH_ROWS(ROW) ROW(1) ROW(2) ROW(3) ROW(4)

typedef float Vector __attribute__((vector_size(16)));

VECTOR_INLINE Vector v_fill(float x) {
    return (Vector){x, x, x, x};
}

VECTOR_INLINE Vector v_zero(void) {
    return v_fill(0.0f);
}

VECTOR_INLINE Vector v_load(const float *p) {
    Vector x;
    memcpy(&x, p, sizeof x);
    return x;
}

VECTOR_INLINE Vector v_load_first(const float *p, int n) {
    Vector x = v_zero();
    for (int i = 0; i < n; i++)
        x[i] = p[i];
    return x;
}

VECTOR_INLINE void v_store(float *p, Vector x) {
    memcpy(p, &x, sizeof x);
}

VECTOR_INLINE void v_store_first(float *p, int n, Vector x) {
    for (int i = 0; i < n; i++)
        p[i] = x[i];
}

VECTOR_INLINE Vector v_multiply_add(Vector x, Vector y, Vector z) {
    return x * y + z;
}

VECTOR_INLINE Vector v_add_products(Vector sum, Vector x, Vector y) {
    return sum + x * y;
}

VECTOR_INLINE Vector v_widen_first(const uint16_t *p, int n) {
    uint32_t bits[LANES] = {0};
    Vector x;
    for (int i = 0; i < n; i++)
        bits[i] = (uint32_t)p[i] << 16;
    memcpy(&x, bits, sizeof x);
    return x;
}

VECTOR_INLINE void v_transpose(Vector x[4]) {
    for (int i = 0; i < 4; i++) {
        for (int j = 0; j < i; j++) {
            float swapped = x[i][j];
            x[i][j] = x[j][i];
            x[j][i] = swapped;
        }
    }
}

#include "runtime/gemm_kernels_template.h"
#include "runtime/gemm_pack_template.h"

const GemmKernels gemm_kernels_portable[GEMM_N_PRECISIONS] = {PACKED(F32), PACKED(BF16)};
