/* The memory of a run on a GPU: one block for all parts, taken before anything is loaded. */
#ifndef MOEC_RUNTIME_CUDA_MEMORY_H
#define MOEC_RUNTIME_CUDA_MEMORY_H

#include "runtime/cuda_device.h"

/* What the memory is for. */
typedef struct {
    const char *name; /* as errors give it: "weights" */
    uint64_t n_bytes;
} CudaPart;

enum { CUDA_MAX_PARTS = 12 };

typedef struct {
    CUdeviceptr block; /* 0: nothing was needed */
    CUdeviceptr parts[CUDA_MAX_PARTS];
    uint64_t n_bytes; /* of the block */
} CudaMemory;

/* Each part begins at a multiple of 2 MiB, a page of the device. Fails before it takes anything where less is free. On
   failure nothing is held. */
bool cuda_memory_open(CudaMemory *memory, const CudaDevice *device, const CudaPart *parts, size_t n_parts,
                      Status *status);
void cuda_memory_close(CudaMemory *memory, const CudaDevice *device, Status *status);

#endif
