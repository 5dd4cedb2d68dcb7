#include "runtime/cuda_device.h"

static bool find(CudaDevice *device, Status *status) {
    int n;
    if (!CUDA_CALL(device->driver, CUDA_TO("count devices"), status, cuDeviceGetCount, &n))
        return false;
    if (device->ordinal < 0 || device->ordinal >= n)
        return status_fail(
            status, STATUS_USAGE,
            "--device cuda:%d: there %s %d device%s, numbered from 0 (CUDA_VISIBLE_DEVICES may hide some)",
            device->ordinal, n == 1 ? "is" : "are", n, n == 1 ? "" : "s");
    return CUDA_CALL(device->driver, CUDA_TO("choose a device"), status, cuDeviceGet, &device->handle, device->ordinal);
}

static bool ask(const CudaDevice *device, CudaEnum attribute, int *value, Status *status) {
    return CUDA_CALL(device->driver, CUDA_TO("learn what the device is"), status, cuDeviceGetAttribute, value,
                     attribute, device->handle);
}

static bool describe(CudaDevice *device, Status *status) {
    return CUDA_CALL(device->driver, CUDA_TO("learn the device's name"), status, cuDeviceGetName, device->name,
                     sizeof device->name, device->handle) &&
           ask(device, CUDA_DEVICE_MAJOR, &device->major, status) &&
           ask(device, CUDA_DEVICE_MINOR, &device->minor, status) &&
           ask(device, CUDA_DEVICE_MULTIPROCESSORS, &device->n_multiprocessors, status) &&
           ask(device, CUDA_DEVICE_SHARED_BYTES, &device->max_shared_bytes, status);
}

/* The generated kernels copy to shared memory asynchronously and multiply in bf16. */
static bool check_capability(const CudaDevice *device, Status *status) {
    if (device->major >= 8)
        return true;
    return status_fail(status, STATUS_SYSTEM,
                       "--device cuda:%d: %s has compute capability %d.%d, 8.0 (A100) or newer is needed; train with "
                       "--device cpu",
                       device->ordinal, device->name, device->major, device->minor);
}

/* The primary context, which libraries that know of none use too. */
static bool enter(CudaDevice *device, Status *status) {
    size_t n_free, n_all;
    if (!CUDA_CALL(device->driver, CUDA_TO("open the device"), status, cuDevicePrimaryCtxRetain, &device->context,
                   device->handle))
        return false;
    if (!CUDA_CALL(device->driver, CUDA_TO("open the device"), status, cuCtxSetCurrent, device->context) ||
        !CUDA_CALL(device->driver, CUDA_TO("learn how much memory there is"), status, cuMemGetInfo, &n_free, &n_all))
        return false;
    device->n_bytes = n_all;
    return CUDA_CALL(device->driver, CUDA_TO("work"), status, cuStreamCreate, &device->work, CUDA_STREAM_ASIDE) &&
           CUDA_CALL(device->driver, CUDA_TO("copy"), status, cuStreamCreate, &device->copies, CUDA_STREAM_ASIDE);
}

bool cuda_device_open(CudaDevice *device, const CudaDriver *driver, int ordinal, Status *status) {
    *device = (CudaDevice){.driver = driver, .ordinal = ordinal};
    if (!find(device, status) || !describe(device, status) || !check_capability(device, status) ||
        !enter(device, status))
        cuda_device_close(device, status);
    return !status->failed;
}

static void close_stream(const CudaDevice *device, CUstream stream, Status *status) {
    if (!stream)
        return;
    cuda_device_wait(device, stream, CUDA_TO("finish"), status);
    CUDA_CALL(device->driver, CUDA_TO("end a stream"), status, cuStreamDestroy, stream);
}

void cuda_device_close(CudaDevice *device, Status *status) {
    if (device->context) {
        close_stream(device, device->copies, status);
        close_stream(device, device->work, status);
        CUDA_CALL(device->driver, CUDA_TO("leave the device"), status, cuCtxSetCurrent, NULL);
        CUDA_CALL(device->driver, CUDA_TO("leave the device"), status, cuDevicePrimaryCtxRelease, device->handle);
    }
    *device = (CudaDevice){0};
}

bool cuda_device_free_bytes(const CudaDevice *device, uint64_t *n_bytes, Status *status) {
    size_t n_free, n_all;
    if (!CUDA_CALL(device->driver, CUDA_TO("learn how much memory is free"), status, cuMemGetInfo, &n_free, &n_all))
        return false;
    *n_bytes = n_free;
    return true;
}

bool cuda_device_wait(const CudaDevice *device, CUstream stream, const CudaPurpose *purpose, Status *status) {
    return CUDA_CALL(device->driver, purpose, status, cuStreamSynchronize, stream);
}
