/* The kernels of a plan as CUDA C: for each its texts, one for a tier and a choice, and what a library can do in its
   place. */
#ifndef MOEC_CODEGEN_PLAN_CUDA_H
#define MOEC_CODEGEN_PLAN_CUDA_H

#include "codegen/codegen.h"
#include "codegen/cuda_library.h"
#include "codegen/form_cuda.h"
#include "codegen/plan.h"

/* Where arguments start, but for those that kernels are told of: they read 16 bytes at a time. */
enum { PLAN_CUDA_ALIGNMENT = 16 };

typedef struct {
    CudaTier tier;
    const char *choice; /* NULL: the one that there is */
    const FormCuda *cuda;
} CudaVariant;

/* A kernel's texts, the best tier's first; none: it has no form. */
typedef struct {
    const Form *form;
    bool *is_unaligned;          /* of the form's arguments, in some launch */
    const char *key;             /* tuning_key; NULL: it has no choices */
    CudaLibraryProduct *product; /* NULL: it is none */
    CudaVariant variants[CUDA_N_TIERS * CUDA_MOST_CHOICES];
    int n_variants;
} CudaKernel;

/* On the arena, one a kernel. *missing: why there is no CUDA C, or NULL. NULL after an error was reported: a tuning
   that does not fit. */
const CudaKernel *plan_cuda_kernels(Arena *arena, const Plan *plan, const CodegenOptions *options, Reporter *reporter,
                                    const char **missing);

#endif
