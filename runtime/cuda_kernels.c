#include "runtime/cuda_kernels.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

/* What a launch may ask for without saying so first. */
enum { PLAIN_SHARED_BYTES = 48 * 1024 };

/* ---- Loading ----------------------------------------------------------------------------------------------------- */

static CudaPurpose purpose_of(const char *action, const CudaText *text, const char *function) {
    return (CudaPurpose){.action = action, .kernel = function, .value = text->value, .source = text->source};
}

static bool check_geometry(const CudaDevice *device, const MoecCudaFunction *source, const CudaFunction *function,
                           Status *status) {
    uint64_t n_shared = (uint64_t)source->n_shared_bytes + (uint64_t)function->n_shared_bytes;
    if (source->n_threads > (uint32_t)function->max_threads)
        return status_fail(status, STATUS_INTERNAL,
                           "kernel %s has %" PRIu32 " threads in a block, its %d registers a thread allow %d",
                           source->name, source->n_threads, function->n_registers, function->max_threads);
    if (n_shared > (uint64_t)device->max_shared_bytes)
        return status_fail(status, STATUS_INTERNAL,
                           "kernel %s needs %" PRIu64 " bytes of shared memory in a block, %s has %d", source->name,
                           n_shared, device->name, device->max_shared_bytes);
    return true;
}

static bool load_function(const CudaDevice *device, const CudaKernel *kernel, const MoecCudaFunction *source,
                          CudaFunction *function, Status *status) {
    static const CudaEnum attributes[] = {CUDA_FUNCTION_REGISTERS, CUDA_FUNCTION_LOCAL_BYTES,
                                          CUDA_FUNCTION_SHARED_BYTES, CUDA_FUNCTION_MAX_THREADS};
    int *const values[] = {&function->n_registers, &function->n_local_bytes, &function->n_shared_bytes,
                           &function->max_threads};
    const CudaPurpose purpose = purpose_of("to load", &kernel->source->text, source->name);
    if (!CUDA_CALL(device->driver, &purpose, status, cuModuleGetFunction, &function->handle, kernel->module,
                   source->name))
        return false;
    for (size_t i = 0; i < sizeof attributes / sizeof *attributes; i++) {
        if (!CUDA_CALL(device->driver, &purpose, status, cuFuncGetAttribute, values[i], attributes[i],
                       function->handle))
            return false;
    }
    if (!check_geometry(device, source, function, status))
        return false;
    return source->n_shared_bytes <= PLAIN_SHARED_BYTES ||
           CUDA_CALL(device->driver, &purpose, status, cuFuncSetAttribute, function->handle,
                     CUDA_FUNCTION_DYNAMIC_SHARED_BYTES, (int)source->n_shared_bytes);
}

static bool load(const CudaDevice *device, CudaKernel *kernel, const NvrtcOutput *output, Status *status) {
    const CudaKernelSource *source = kernel->source;
    const CudaPurpose purpose = purpose_of("to load", &source->text, source->text.name);
    assert(source->n_args <= CUDA_MAX_ARGS);
    kernel->functions = calloc((size_t)source->n_functions + 1, sizeof *kernel->functions);
    if (!kernel->functions)
        return status_fail_errno(status, "kernel %s", source->text.name);
    if (!CUDA_CALL(device->driver, &purpose, status, cuModuleLoadData, &kernel->module, output->cubin))
        return false;
    for (uint32_t i = 0; i < source->n_functions; i++) {
        if (!load_function(device, kernel, &source->functions[i], &kernel->functions[i], status))
            return false;
    }
    return true;
}

bool cuda_kernels_open(CudaKernels *kernels, const CudaDevice *device, const CudaKernelSource *sources,
                       const NvrtcOutput *outputs, size_t n, Status *status) {
    *kernels = (CudaKernels){.device = device, .kernels = calloc(n + 1, sizeof *kernels->kernels)};
    if (!kernels->kernels)
        return status_fail_errno(status, "%zu kernels", n);
    while (kernels->n < n && !status->failed) {
        CudaKernel *kernel = &kernels->kernels[kernels->n++];
        kernel->source = &sources[kernels->n - 1];
        load(device, kernel, &outputs[kernels->n - 1], status);
    }
    if (status->failed)
        cuda_kernels_close(kernels, status);
    return !status->failed;
}

void cuda_kernels_close(CudaKernels *kernels, Status *status) {
    if (kernels->n > 0)
        cuda_device_wait(kernels->device, kernels->device->work, CUDA_TO("finish before kernels are unloaded"), status);
    for (size_t i = 0; i < kernels->n; i++) {
        if (kernels->kernels[i].module)
            CUDA_CALL(kernels->device->driver, CUDA_TO("unload a kernel"), status, cuModuleUnload,
                      kernels->kernels[i].module);
        free(kernels->kernels[i].functions);
    }
    free(kernels->kernels);
    *kernels = (CudaKernels){0};
}

/* ---- Launching --------------------------------------------------------------------------------------------------- */

/* Fewer than the source's where they go on to further work. */
static uint32_t count_blocks(const CudaDevice *device, const MoecCudaFunction *source) {
    uint32_t n_resident = source->n_resident * (uint32_t)device->n_multiprocessors;
    return n_resident > 0 && n_resident < source->n_blocks ? n_resident : source->n_blocks;
}

static bool launch_function(const CudaDevice *device, const CudaLaunch *launch, uint32_t i, void **arguments,
                            bool waits, Status *status) {
    const MoecCudaFunction *source = &launch->kernel->source->functions[i];
    const CudaPurpose purpose = {
        .action = "to run", .kernel = source->name, .value = launch->value, .source = launch->source};
    return CUDA_CALL(device->driver, &purpose, status, cuLaunchKernel, launch->kernel->functions[i].handle,
                     count_blocks(device, source), 1, 1, source->n_threads, 1, 1, source->n_shared_bytes, device->work,
                     arguments, NULL) &&
           (!waits || cuda_device_wait(device, device->work, &purpose, status));
}

static bool launch_kernel(const CudaDevice *device, const CudaLaunch *launch, bool waits, Status *status) {
    const CudaKernelSource *source = launch->kernel->source;
    void *arguments[CUDA_MAX_ARGS]; /* where each is; the driver copies them before it returns */
    for (uint32_t i = 0; i < source->n_args; i++)
        arguments[i] = (void *)(uintptr_t)&launch->args[i];
    for (uint32_t i = 0; i < source->n_functions; i++) {
        if (!launch_function(device, launch, i, arguments, waits, status))
            return false;
    }
    return true;
}

bool cuda_kernels_launch(const CudaKernels *kernels, const CudaLaunch *launches, size_t n, bool waits, Status *status) {
    for (size_t i = 0; i < n; i++) {
        if (!launch_kernel(kernels->device, &launches[i], waits, status))
            return false;
    }
    return true;
}
