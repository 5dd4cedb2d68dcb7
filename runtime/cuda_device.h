/* A GPU: chosen, asked what it is, its context current in the thread that opened it. One stream has all work in order,
   another one copies beside it. */
#ifndef MOEC_RUNTIME_CUDA_DEVICE_H
#define MOEC_RUNTIME_CUDA_DEVICE_H

#include "runtime/cuda_driver.h"

typedef struct {
    const CudaDriver *driver;
    int ordinal; /* of --device cuda:N */
    char name[128];
    int major, minor; /* compute capability: 9, 0 */
    int n_multiprocessors;
    int max_shared_bytes; /* that a block may ask for */
    uint64_t n_bytes;     /* of memory */
    CUdevice handle;
    CUcontext context;
    CUstream work, copies;
} CudaDevice;

/* The driver must stay open as long. On failure nothing is open. */
bool cuda_device_open(CudaDevice *device, const CudaDriver *driver, int ordinal, Status *status);

/* Waits for what is under way. Like all that end things of CUDA, it tells a failure, which may be one of work that was
   given before, unless `status` has failed already. */
void cuda_device_close(CudaDevice *device, Status *status);

/* Bytes of memory that are free now. */
bool cuda_device_free_bytes(const CudaDevice *device, uint64_t *n_bytes, Status *status);

/* Waits until a stream has done all that it was given. */
bool cuda_device_wait(const CudaDevice *device, CUstream stream, const CudaPurpose *purpose, Status *status);

#endif
