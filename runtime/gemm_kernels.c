#include "runtime/gemm_kernels.h"

#include <stddef.h>
#include <string.h>

#include "runtime/cpu.h"

typedef struct {
    const char *name, *features; /* blank-separated */
    const GemmKernels *f32, *bf16;
} KernelChoice;

/* Fastest first; the last one needs nothing. */
static const KernelChoice choices[] = {
#if defined __x86_64__
    {"avx512bf16", "avx512f avx512bw avx512bf16", &gemm_kernels_avx512[MOEC_GEMM_F32], &gemm_kernels_avx512bf16},
    {"avx512", "avx512f avx512bw", &gemm_kernels_avx512[MOEC_GEMM_F32], &gemm_kernels_avx512[MOEC_GEMM_BF16]},
    {"avx2", "avx2 fma", &gemm_kernels_avx2[MOEC_GEMM_F32], &gemm_kernels_avx2[MOEC_GEMM_BF16]},
#endif
    {"portable", "", &gemm_kernels_portable[MOEC_GEMM_F32], &gemm_kernels_portable[MOEC_GEMM_BF16]},
};
enum { N_CHOICES = sizeof choices / sizeof *choices };

/* NULL: not made yet. Threads that come first at once all make the same choice. */
static const KernelChoice *chosen;

static const KernelChoice *choose(void) {
    const KernelChoice *choice = choices;
    while (!cpu_has(choice->features))
        choice++;
    __atomic_store_n(&chosen, choice, __ATOMIC_RELEASE);
    return choice;
}

const GemmKernels *gemm_kernels(MoecGemmPrecision precision) {
    const KernelChoice *choice = __atomic_load_n(&chosen, __ATOMIC_ACQUIRE);
    if (!choice)
        choice = choose();
    return precision == MOEC_GEMM_BF16 ? choice->bf16 : choice->f32;
}

bool gemm_kernels_force(const char *name) {
    if (!name) {
        choose();
        return true;
    }
    for (int i = 0; i < N_CHOICES; i++) {
        if (strcmp(choices[i].name, name) == 0 && cpu_has(choices[i].features)) {
            __atomic_store_n(&chosen, &choices[i], __ATOMIC_RELEASE);
            return true;
        }
    }
    return false;
}
