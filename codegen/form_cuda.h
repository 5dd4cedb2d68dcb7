/* Forms as CUDA C.

   In: a form that passes form_verify. Out: kernels as text, and how they are launched. Never here: addresses, streams,
   compiling (the runtime's).

   The text is the C that CUDA C++ and C11 share: no templates, no assembly in kernels, and each thing that only a GPU
   has is called by a name that the prelude gives it. NVRTC compiles it behind form_cuda_print_prelude; tests compile
   the same text for the CPU behind tests/simt/simt.h. */
#ifndef MOEC_CODEGEN_FORM_CUDA_H
#define MOEC_CODEGEN_FORM_CUDA_H

#include "codegen/form.h"

/* What GPUs a text is for: id, what it is compiled for, compute capability (10 major + minor), whether later ones have
   what it needs, too. Best last. */
#define CUDA_TIERS(X)                                                                                                  \
    X(SM_80, "sm_80", 80, true)                                                                                        \
    X(SM_90A, "sm_90a", 90, false)

typedef enum {
#define X(id, architecture, capability, is_of_later) CUDA_##id,
    CUDA_TIERS(X)
#undef X
        CUDA_N_TIERS
} CudaTier;

/* One launch of a one-dimensional grid. */
typedef struct {
    const char *kernel; /* the function */
    int64_t n_blocks;
    int n_resident;       /* 0, or blocks go on to further work: no more are launched than so many a multiprocessor */
    int n_threads;        /* of a block */
    int64_t shared_bytes; /* of a block, to be given at the launch: besides what the text declares */
} FormCudaLaunch;

enum { CUDA_MAP_RANK = 5 };

/* A tensor map: how the copy engine of sm_90a sees an argument. Dimensions are innermost first. */
typedef struct {
    uint32_t arg;   /* behind all of them: scratch memory, as elements of bf16 */
    int64_t offset; /* elements, from the argument's first */
    int rank;
    int64_t extents[CUDA_MAP_RANK];
    int64_t strides[CUDA_MAP_RANK]; /* elements; the first is 1 */
    int box[CUDA_MAP_RANK];         /* what one copy takes */
    int swizzle;                    /* bytes over which 16-byte units are swizzled in shared memory: 0, 32, 64, 128 */
} FormCudaMap;

/* All kernels of a form take the same parameters: a pointer for each argument of the form, of one that is in pieces a
   pointer to an array of as many pointers in device memory; then, if there are scratch bytes, one to these; then, if
   there are maps, one to these, encoded, in device memory. Arguments, and pieces of them, start at multiples of 16
   bytes, but for those that FormCudaOptions names. What scratch memory holds matters only from one launch to the
   next. */
typedef struct {
    const char *text; /* the kernels */
    int n_launches;   /* one after the other */
    FormCudaLaunch *launches;
    int64_t scratch_bytes;
    size_t n_maps;
    FormCudaMap *maps;
} FormCuda;

/* How a product of bf16 that are copied as they are is cut. */
typedef struct {
    int n_tile_rows, n_tile_cols; /* of a block's results at a time; of each result, where there are several */
    int n_stages;                 /* parts of k that are on their way or multiplied at a time */
    int n_band;                   /* tiles of rows that share columns while they are in the cache */
} CudaProductChoice;

typedef struct {
    const char *heading;             /* stands above the first kernel as a comment; NULL: none */
    const bool *is_unaligned;        /* arguments that may start at any multiple of their elements' size; NULL: none */
    const CudaProductChoice *choice; /* one of cuda_product_choices; NULL: the first */
} FormCudaOptions;

enum { CUDA_MOST_CHOICES = 16 };

/* The ways to cut the form that are worth a try, the best guess first; how many: none where the form leaves no choice
   on the tier. */
int cuda_product_choices(const Form *form, CudaTier tier, const FormCudaOptions *options,
                         CudaProductChoice choices[CUDA_MOST_CHOICES]);

/* Whether the form has a text of its own for the tier; all have one for CUDA_SM_80. */
bool form_cuda_has_tier(const Form *form, CudaTier tier, const FormCudaOptions *options);

/* On the arena; for a tier that the form has. options NULL: all 0. NULL with *error on the arena where there is no way
   to do this form. */
const FormCuda *form_cuda(Arena *arena, const Form *form, CudaTier tier, const FormCudaOptions *options,
                          const char **error);

/* How many parameters the kernels have. */
size_t form_cuda_n_parameters(const Form *form, const FormCuda *cuda);

/* What stands once before the kernels of a text: the functions that they call. */
void form_cuda_print_prelude(FILE *out);

#endif
