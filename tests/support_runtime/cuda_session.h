/* A GPU with kernels on it, as tests use the fake one: everything between opening the driver and launching. */
#ifndef MOEC_TESTS_SUPPORT_RUNTIME_CUDA_SESSION_H
#define MOEC_TESTS_SUPPORT_RUNTIME_CUDA_SESSION_H

#include "runtime/cuda_compile.h"
#include "runtime/cuda_kernels.h"
#include "runtime/cuda_memory.h"
#include "tests/support_runtime/cuda_fixture.h"

enum { CUDA_SESSION_KERNELS = 8, CUDA_SESSION_BYTES = 4096 };

typedef struct {
    CudaDriver driver;
    Nvrtc nvrtc;
    CudaDevice device;
    CudaMemory memory; /* one part of CUDA_SESSION_BYTES */
    size_t n_kernels;
    NvrtcOutput outputs[CUDA_SESSION_KERNELS];
    CudaKernels kernels;
} CudaSession;

/* False: it failed, and nothing is open. */
bool cuda_session_open(CudaSession *session, const CudaFixture *fixture, const CudaKernelSource *sources, size_t n,
                       Status *status);
void cuda_session_close(CudaSession *session, Status *status);

#endif
