/* The CUDA driver, libcuda: opened, checked for its version, and called so that every failure says what it was about.
 */
#ifndef MOEC_RUNTIME_CUDA_DRIVER_H
#define MOEC_RUNTIME_CUDA_DRIVER_H

#include "runtime/cuda_api.h"
#include "runtime/cuda_error.h"
#include "runtime/cuda_library.h"

typedef struct {
    CudaLibrary library;
    CudaDriverFunctions api;
    int version; /* 12040: CUDA 12.4 */
} CudaDriver;

bool cuda_driver_open(CudaDriver *driver, const CudaPlaces *places, Status *status);
void cuda_driver_close(CudaDriver *driver);

/* Whether a call's result is success. */
bool cuda_check(const CudaDriver *driver, CudaResult result, const char *call, const CudaPurpose *purpose,
                Status *status);

/* CUDA_CALL(driver, purpose, status, cuMemFree, at): calls, and checks. */
#define CUDA_CALL(driver, purpose, status, name, ...)                                                                  \
    cuda_check(driver, (driver)->api.name(__VA_ARGS__), #name, purpose, status)

#endif
