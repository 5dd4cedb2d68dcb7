/* Forms as CUDA C.

   In: a form that passes form_verify. Out: kernels as text, and how they are launched. Never here: addresses, streams,
   compiling (the runtime's).

   The text is the C that CUDA C++ and C11 share: no templates, no assembly in kernels, and each thing that only a GPU
   has is called by a name that the prelude gives it. NVRTC compiles it behind form_cuda_print_prelude; tests compile
   the same text for the CPU behind tests/simt/simt.h. */
#ifndef MOEC_CODEGEN_FORM_CUDA_H
#define MOEC_CODEGEN_FORM_CUDA_H

#include "codegen/form.h"

/* One launch of a one-dimensional grid. */
typedef struct {
    const char *kernel; /* the function */
    int64_t n_blocks;
    int n_threads;        /* of a block */
    int64_t shared_bytes; /* of a block, to be given at the launch: besides what the text declares */
} FormCudaLaunch;

/* All kernels of a form take the same parameters: a pointer for each argument of the form, of one that is in pieces a
   pointer to an array of as many pointers in device memory; then, if there are scratch bytes, one to these. Arguments,
   and pieces of them, start at multiples of 16 bytes. What scratch memory holds matters only from one launch to the
   next. */
typedef struct {
    const char *text; /* the kernels */
    int n_launches;   /* one after the other */
    FormCudaLaunch *launches;
    int64_t scratch_bytes;
} FormCuda;

/* On the arena. The heading stands above the first kernel as a comment (NULL: none). NULL with *error on the arena
   where there is no way to do this form. */
const FormCuda *form_cuda(Arena *arena, const Form *form, const char *heading, const char **error);

/* What stands once before the kernels of a text: the functions that they call. */
void form_cuda_print_prelude(FILE *out);

#endif
