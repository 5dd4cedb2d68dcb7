/* Code of kernels: what NVRTC makes of a text, and what its functions do. fake_code.c keeps the text, and knows some
   functions by their names; tests/sim_cuda/sim_code.c compiles it for the CPU and runs it. */
#ifndef MOEC_TESTS_FAKE_CODE_H
#define MOEC_TESTS_FAKE_CODE_H

#include <stdbool.h>

#include "runtime/cuda_api.h"
#include "tests/fake_cuda/fake_cuda.h"

/* What a module was loaded from. */
typedef struct FakeCode FakeCode;

struct CUfunc_st {
    char name[64];
    int n_parameters; /* all are addresses in the device's memory */
    int max_threads;  /* of a block */
    int declared_shared_bytes;
    unsigned asked_shared_bytes; /* that a launch may ask for */
    const FakeCode *code;
    const void *entry; /* the code's own */
    CUfunction next;
};

typedef struct {
    CUfunction function;
    unsigned n_blocks, n_threads, n_shared_bytes;
    void *const *arguments;
} FakeLaunch;

/* What the machine is, where it depends on the code. */
void fake_code_set_up(FakeCuda *fake);

/* The code of a text, NULL if it does not compile; `name`: of the text. What the compiler says goes to *log. Both are
   to be freed. Several threads call it at once. */
void *fake_code_compile(const char *text, const char *name, size_t *n_bytes, char **log);

/* NULL: it is no code. The image need not stay. */
FakeCode *fake_code_open(const void *image);
void fake_code_close(FakeCode *code);

/* Fills in all of the function but `code` and `next`, if there is one of that name. */
bool fake_code_find(const FakeCode *code, const char *name, CUfunction function);

/* FAKE_FAULT: the device does not survive it. */
CudaResult fake_code_run(const FakeLaunch *launch);

#endif
