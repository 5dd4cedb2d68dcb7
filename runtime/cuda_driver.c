#include "runtime/cuda_driver.h"

/* CUDA 12.0: the oldest whose libraries are looked for (cuda_nvrtc.c). */
enum { OLDEST_VERSION = 12000 };

#define SYMBOL(name, symbol, result, parameters) {#symbol, offsetof(CudaDriverFunctions, name)},
static const CudaSymbol symbols[] = {CUDA_DRIVER_FUNCTIONS(SYMBOL)};
#undef SYMBOL

static const char *const names[] = {"libcuda.so.1", NULL};

static const CudaLibraryKind kind = {
    .title = "the CUDA driver",
    .names = names,
    .symbols = symbols,
    .n_symbols = sizeof symbols / sizeof *symbols,
    .advice = "it comes with NVIDIA's display driver (nvidia-smi shows whether one is installed), in a container with "
              "--gpus all",
};

bool cuda_check(const CudaDriver *driver, CudaResult result, const char *call, const CudaPurpose *purpose,
                Status *status) {
    if (result == CUDA_RESULT_SUCCESS)
        return true;
    const char *name = NULL, *text = NULL;
    driver->api.cuGetErrorName(result, &name);
    driver->api.cuGetErrorString(result, &text);
    return cuda_fail(status, call, purpose, result, name, text);
}

static bool check_version(CudaDriver *driver, Status *status) {
    if (!CUDA_CALL(driver, CUDA_TO("learn the driver's version"), status, cuDriverGetVersion, &driver->version))
        return false;
    if (driver->version >= OLDEST_VERSION)
        return true;
    return status_fail(status, STATUS_SYSTEM, "%s is a driver for CUDA %d.%d, 12.0 or newer is needed: update it",
                       driver->library.path, driver->version / 1000, driver->version % 1000 / 10);
}

bool cuda_driver_open(CudaDriver *driver, const CudaPlaces *places, Status *status) {
    *driver = (CudaDriver){.version = 0};
    if (cuda_library_open(&driver->library, &kind, places, &driver->api, status) &&
        CUDA_CALL(driver, CUDA_TO("start CUDA"), status, cuInit, 0) && check_version(driver, status))
        return true;
    cuda_driver_close(driver);
    return false;
}

void cuda_driver_close(CudaDriver *driver) {
    cuda_library_close(&driver->library);
    *driver = (CudaDriver){.version = 0};
}
