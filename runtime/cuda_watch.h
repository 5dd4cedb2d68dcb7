/* Finds the launch that made the first NaN on a GPU: what a launch left is looked through before the next one runs. */
#ifndef MOEC_RUNTIME_CUDA_WATCH_H
#define MOEC_RUNTIME_CUDA_WATCH_H

#include "runtime/cuda_compile.h"
#include "runtime/cuda_kernels.h"
#include "runtime/cuda_mailbox.h"
#include "runtime/plan.h"

enum { CUDA_WATCH_KERNELS = 2, CUDA_WATCH_BYTES = 16 /* of the device's memory that it needs */ };

/* For f32 and bf16. */
extern const CudaKernelSource cuda_watch_sources[CUDA_WATCH_KERNELS];

typedef struct {
    NvrtcOutput outputs[CUDA_WATCH_KERNELS];
    CudaKernels kernels;
    CUdeviceptr job;
    CudaMailbox jobs, answers;
} CudaWatch;

/* `job`: CUDA_WATCH_BYTES, 8-byte aligned, for the watch alone. On failure nothing is open. */
bool cuda_watch_open(CudaWatch *watch, const CudaDevice *device, const CudaCompiler *compiler, CUdeviceptr job,
                     Log *log, Status *status);
void cuda_watch_close(CudaWatch *watch, Status *status);

/* A result of a launch: elements in a row. */
typedef struct {
    CUdeviceptr at;
    uint64_t n_elements;
    MoecDtype dtype; /* of i32, nothing is NaN */
} CudaWatched;

/* Waits for the device's work so far; fails, with STATUS_DIVERGED, where there is a NaN in what `launch` left.
   Infinities are no fault: masks are made of them. */
bool cuda_watch_check(CudaWatch *watch, const CudaLaunch *launch, const CudaWatched *watched, Status *status);

#endif
