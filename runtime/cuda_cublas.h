/* cuBLASLt, NVIDIA's matrix products: opened, and called so that every failure says what it was about. */
#ifndef MOEC_RUNTIME_CUDA_CUBLAS_H
#define MOEC_RUNTIME_CUDA_CUBLAS_H

#include "runtime/cuda_api.h"
#include "runtime/cuda_error.h"
#include "runtime/cuda_library.h"

typedef struct {
    CudaLibrary library;
    CublasFunctions api;
    cublasLtHandle_t handle;
    size_t version; /* 130100: 13.1.0 */
} Cublas;

/* One that a driver of that version can run (12040: CUDA 12.4; 0: whatever there is), for the context that is current.
   On failure nothing is open. */
bool cublas_open(Cublas *cublas, const CudaPlaces *places, int driver_version, Status *status);
void cublas_close(Cublas *cublas, Status *status);

bool cublas_check(const Cublas *cublas, CublasResult result, const char *call, const CudaPurpose *purpose,
                  Status *status);

/* CUBLAS_CALL(cublas, purpose, status, cublasLtCreate, &handle): calls, and checks. */
#define CUBLAS_CALL(cublas, purpose, status, name, ...)                                                                \
    cublas_check(cublas, (cublas)->api.name(__VA_ARGS__), #name, purpose, status)

#endif
