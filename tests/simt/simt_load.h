/* From CUDA C text to kernels that simt_launch runs.

   In: text as form_cuda gives it. Out: a shared object, loaded. */
#ifndef MOEC_TESTS_SIMT_SIMT_LOAD_H
#define MOEC_TESTS_SIMT_SIMT_LOAD_H

#include "tests/simt/simt.h"
#include "tests/simt/simt_source.h"

/* A text under way, which begins with the prelude. */
typedef struct {
    SimtSource source;
    FILE *out; /* the source's */
    int n_kernels;
} SimtText;

typedef struct {
    void *object;
    SimtKernel *const *kernels; /* in the order in which they were added */
    const SimtModule *module;
} SimtObject;

/* NULL, or what failed. */
const char *simt_text_open(SimtText *text);
/* Prints a function that calls the kernel, which takes `n_parameters`; returns its number. */
int simt_text_add_kernel(SimtText *text, const char *name, size_t n_parameters);
/* Compiles and loads it. */
const char *simt_text_close(SimtText *text, SimtObject *object);
void simt_unload(SimtObject *object);

#endif
