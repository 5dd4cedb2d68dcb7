#include "runtime/gpu_internal.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/meter.h"

static bool open_device(Gpu *gpu, int ordinal, Status *status) {
    return cuda_places_open(&gpu->places, status) && cuda_driver_open(&gpu->driver, &gpu->places, status) &&
           cuda_device_open(&gpu->device, &gpu->driver, ordinal, status);
}

/* "cuda", "cuda:1" */
static bool read_ordinal(const char *device, int *ordinal, Status *status) {
    const char *number = device + strlen("cuda");
    char *end = NULL;
    *ordinal = 0;
    if (strncmp(device, "cuda", strlen("cuda")) != 0 || (*number != '\0' && *number != ':'))
        return status_fail(status, STATUS_USAGE, "--device %s: expected auto, cpu, cuda or cuda:N", device);
    if (*number == '\0')
        return true;
    long value = strtol(number + 1, &end, 10);
    if (number[1] < '0' || number[1] > '9' || *end != '\0' || value > 1023)
        return status_fail(status, STATUS_USAGE, "--device %s: N of cuda:N is the number of a device, 0 the first",
                           device);
    *ordinal = (int)value;
    return true;
}

bool gpu_open(Gpu **gpu, const MoecPlan *plan, const char *device, Log *log, Status *status) {
    bool is_auto = strcmp(device, "auto") == 0;
    int ordinal = 0;
    *gpu = NULL;
    if (strcmp(device, "cpu") == 0 || (is_auto && !plan->cuda_kernels))
        return true;
    if (!is_auto && !read_ordinal(device, &ordinal, status))
        return false;
    if (!plan->cuda_kernels)
        return status_fail(status, STATUS_USAGE, "--device %s: this build has no CUDA C: %s; --device cpu runs it",
                           device, plan->cuda_missing);
    Gpu *opened = calloc(1, sizeof *opened);
    Status tried = STATUS_INIT;
    if (!opened)
        return status_fail_errno(status, "--device");
    opened->plan = plan;
    if (!open_device(opened, ordinal, &tried)) {
        gpu_close(opened);
        if (is_auto)
            log_line(log, "device", "the CPU: %s", tried.message);
        return is_auto || status_fail(status, tried.code, "%s", tried.message);
    }
    char bytes[32];
    log_line(log, "device", "%s (cuda:%d), compute capability %d.%d, %d multiprocessors, %s", opened->device.name,
             ordinal, opened->device.major, opened->device.minor, opened->device.n_multiprocessors,
             meter_bytes(bytes, sizeof bytes, (double)opened->device.n_bytes));
    *gpu = opened;
    return true;
}

const char *gpu_name(const Gpu *gpu) {
    return gpu->device.name;
}

/* There may be no place for one. */
static bool open_cache(Gpu *gpu, Status *status) {
    char *folder = cuda_cache_folder();
    gpu->has_cache = folder && cuda_cache_open(&gpu->cache, disk_system(), folder, CUDA_CACHE_BYTES, status);
    free(folder);
    return !status->failed;
}

const CudaCache *gpu_cache(const Gpu *gpu) {
    return gpu->has_cache ? &gpu->cache : NULL;
}

bool gpu_start(Gpu *gpu, const uint64_t n_bytes[MOEC_SPACE_COUNT], const GpuOptions *options, Log *log,
               Status *status) {
    gpu->waits = options->waits;
    return open_cache(gpu, status) && gpu_variants_open(gpu, options->choice, status) &&
           gpu_library_open(gpu, options, log, status) && gpu_memory_open(gpu, n_bytes, status) &&
           gpu_kernels_open(gpu, options, log, status) && gpu_programs_open(gpu, status);
}

void gpu_close(Gpu *gpu) {
    Status ignored = STATUS_INIT; /* the run is over, and what went wrong was told */
    if (!gpu)
        return;
    gpu_programs_close(gpu, &ignored);
    gpu_kernels_close(gpu, &ignored);
    gpu_library_close(gpu, &ignored);
    if (gpu->has_cache)
        cuda_cache_close(&gpu->cache);
    if (gpu->transfer.device)
        cuda_transfer_close(&gpu->transfer, &ignored);
    if (gpu->device.context) {
        cuda_memory_close(&gpu->memory, &gpu->device, &ignored);
        cuda_device_close(&gpu->device, &ignored);
    }
    cuda_driver_close(&gpu->driver);
    cuda_places_close(&gpu->places);
    free(gpu);
}
