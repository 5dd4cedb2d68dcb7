#include "runtime/cuda_cublas.h"

#define SYMBOL(name, symbol, result, parameters) {#symbol, offsetof(CublasFunctions, name)},
static const CudaSymbol symbols[] = {CUBLAS_FUNCTIONS(SYMBOL)};
#undef SYMBOL

/* A driver runs what was built for its own major version and older ones. */
static const char *const names[] = {"libcublasLt.so.13", "libcublasLt.so.12", NULL};
static const char *const names_of_12[] = {"libcublasLt.so.12", NULL};

bool cublas_check(const Cublas *cublas, CublasResult result, const char *call, const CudaPurpose *purpose,
                  Status *status) {
    return result == CUBLAS_RESULT_SUCCESS ||
           cuda_fail(status, call, purpose, result, cublas->api.cublasLtGetStatusName(result),
                     cublas->api.cublasLtGetStatusString(result));
}

bool cublas_open(Cublas *cublas, const CudaPlaces *places, int driver_version, Status *status) {
    bool is_12 = driver_version != 0 && driver_version < 13000;
    const CudaLibraryKind kind = {
        .title = "cuBLASLt, which multiplies matrices",
        .names = is_12 ? names_of_12 : names,
        .symbols = symbols,
        .n_symbols = sizeof symbols / sizeof *symbols,
        .advice = is_12 ? "install a CUDA 12 toolkit, or cuBLAS alone: pip install nvidia-cublas-cu12"
                        : "install a CUDA toolkit, or cuBLAS alone: pip install nvidia-cublas",
    };
    *cublas = (Cublas){.version = 0};
    if (!cuda_library_open(&cublas->library, &kind, places, &cublas->api, status))
        return false;
    cublas->version = cublas->api.cublasLtGetVersion();
    if (!CUBLAS_CALL(cublas, CUDA_TO("start cuBLASLt"), status, cublasLtCreate, &cublas->handle)) {
        cublas->handle = NULL;
        cublas_close(cublas, status);
    }
    return !status->failed;
}

void cublas_close(Cublas *cublas, Status *status) {
    if (cublas->handle)
        CUBLAS_CALL(cublas, CUDA_TO("end cuBLASLt"), status, cublasLtDestroy, cublas->handle);
    cuda_library_close(&cublas->library);
    *cublas = (Cublas){.version = 0};
}
