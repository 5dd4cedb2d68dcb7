/* Kernels on a GPU: loaded, checked against what the device has, launched. */
#ifndef MOEC_RUNTIME_CUDA_KERNELS_H
#define MOEC_RUNTIME_CUDA_KERNELS_H

#include "runtime/cuda_device.h"
#include "runtime/cuda_nvrtc.h"
#include "runtime/plan.h"

/* A kernel as the compiler makes it: functions that run one after the other, all with the same arguments, which are
   addresses in the device's memory. */
typedef struct {
    CudaText text;
    const MoecCudaFunction *functions; /* [n_functions] */
    uint32_t n_functions, n_args;      /* n_args: at most CUDA_MAX_ARGS */
} CudaKernelSource;

enum { CUDA_MAX_ARGS = 512 /* 4 KiB of addresses, what every CUDA 12 takes */ };

typedef struct {
    CUfunction handle;
    int n_registers;    /* of a thread */
    int n_local_bytes;  /* of a thread: spilled registers, arrays on the stack */
    int n_shared_bytes; /* of a block, that the text declares */
    int max_threads;    /* of a block, with these registers and bounds */
} CudaFunction;

typedef struct {
    const CudaKernelSource *source;
    CUmodule module;
    CudaFunction *functions; /* [source->n_functions] */
} CudaKernel;

typedef struct {
    const CudaDevice *device;
    size_t n;
    CudaKernel *kernels;
} CudaKernels;

/* outputs[i]: the cubin of sources[i], which must live as long. On failure nothing is loaded. */
bool cuda_kernels_open(CudaKernels *kernels, const CudaDevice *device, const CudaKernelSource *sources,
                       const NvrtcOutput *outputs, size_t n, Status *status);
void cuda_kernels_close(CudaKernels *kernels, Status *status);

typedef struct {
    const CudaKernel *kernel;
    const CUdeviceptr *args;    /* [kernel->source->n_args] */
    const char *value, *source; /* what it computes: "%h.12", "model.moe:14:7" */
} CudaLaunch;

/* Gives the launches to the device's stream of work, in order. `waits`: for the end of each function before the next,
   so that a fault of the device is told with the one in flight; otherwise it shows later, in some call that waits. */
bool cuda_kernels_launch(const CudaKernels *kernels, const CudaLaunch *launches, size_t n, bool waits, Status *status);

#endif
