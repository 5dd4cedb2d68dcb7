#include "runtime/gpu_internal.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/cuda_compile.h"

/* How many differ in speed alone: the first that the device can run, and those behind it for the same devices. */
static uint32_t find_choices(const CudaDevice *device, const MoecCudaKernel *kernel, const MoecCudaVariant **first) {
    uint32_t capability = (uint32_t)(10 * device->major + device->minor), n = 0;
    *first = NULL;
    for (uint32_t i = 0; i < kernel->n_variants; i++) {
        const MoecCudaVariant *variant = &kernel->variants[i];
        bool can_run = variant->capability == capability || (variant->capability < capability && variant->is_for_later);
        if (!can_run || (*first && variant->capability != (*first)->capability))
            continue;
        *first = *first ? *first : variant;
        n++;
    }
    return n;
}

/* There is one for all devices that are let in, if there is any. */
static const MoecCudaVariant *variant_for(const CudaDevice *device, const MoecCudaKernel *kernel, uint32_t choice) {
    const MoecCudaVariant *first;
    uint32_t n = find_choices(device, kernel, &first);
    return n > 0 ? first + choice % n : NULL;
}

uint32_t gpu_most_choices(const Gpu *gpu) {
    const MoecCudaVariant *first;
    uint32_t most = 1;
    for (uint32_t i = 0; i < gpu->plan->n_kernels; i++) {
        uint32_t n = find_choices(&gpu->device, &gpu->plan->cuda_kernels[i], &first);
        most = n > most ? n : most;
    }
    return most;
}

const char *gpu_choice(const Gpu *gpu, uint32_t kernel) {
    return gpu->variants[kernel] ? gpu->variants[kernel]->choice : NULL;
}

bool gpu_variants_open(Gpu *gpu, uint32_t choice, Status *status) {
    gpu->variants = calloc((size_t)gpu->plan->n_kernels + 1, sizeof(const MoecCudaVariant *));
    if (!gpu->variants)
        return status_fail_errno(status, "kernels");
    for (uint32_t i = 0; i < gpu->plan->n_kernels; i++)
        gpu->variants[i] = variant_for(&gpu->device, &gpu->plan->cuda_kernels[i], choice);
    return true;
}

static char *joined(const char *first, const char *second) {
    char *text = malloc(strlen(first) + strlen(second) + 1);
    if (text)
        stpcpy(stpcpy(text, first), second);
    return text;
}

/* Behind those that there are. */
static bool add_source(Gpu *gpu, uint32_t number, Status *status) {
    const MoecCudaVariant *variant = gpu->variants[number];
    uint32_t n_parameters = gpu->plan->cuda_kernels[number].n_parameters;
    char *text = joined(gpu->plan->cuda_prelude, variant->text);
    size_t at = gpu->n_sources + gpu->n_of_library;
    gpu->texts[at] = text;
    gpu->sources[at] =
        (CudaKernelSource){.text = {.name = gpu->plan->kernels[number].name, .text = text},
                           .functions = variant->functions,
                           .n_functions = variant->n_functions,
                           .n_args = n_parameters + (variant->scratch_bytes > 0) + (variant->n_maps > 0)};
    return text || status_fail_errno(status, "kernels");
}

static bool add_sources(Gpu *gpu, Status *status) {
    uint32_t n = gpu->plan->n_kernels;
    gpu->sources = calloc((size_t)n + 1, sizeof *gpu->sources);
    gpu->texts = calloc((size_t)n + 1, sizeof *gpu->texts);
    gpu->numbers = calloc((size_t)n + 1, sizeof *gpu->numbers);
    if (!gpu->sources || !gpu->texts || !gpu->numbers)
        return status_fail_errno(status, "kernels");
    for (uint32_t i = 0; i < n; i++) {
        if (!gpu->variants[i] || gpu_uses_library(gpu, i))
            continue;
        if (!add_source(gpu, i, status))
            return false;
        gpu->numbers[i] = gpu->n_sources++;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (!gpu->variants[i] || !gpu_uses_library(gpu, i))
            continue;
        if (!add_source(gpu, i, status))
            return false;
        gpu->n_of_library++;
    }
    return true;
}

static int count_threads(void) {
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n > MOST_COMPILER_THREADS ? MOST_COMPILER_THREADS : (int)n;
}

static bool compile(Gpu *gpu, const Nvrtc *nvrtc, const CudaCache *cache, const GpuOptions *options,
                    NvrtcOutput *outputs, Log *log, Status *status) {
    static const char *const flags[] = {"--std=c++17"};
    char architecture[NVRTC_ARCHITECTURE_BYTES];
    size_t n = gpu->n_sources;
    CudaText *texts = calloc(n + 1, sizeof *texts);
    if (!texts)
        return status_fail_errno(status, "kernels");
    for (size_t i = 0; i < n; i++)
        texts[i] = gpu->files.sources[i].text;
    if (nvrtc_architecture(nvrtc, gpu->device.major, gpu->device.minor, architecture, status)) {
        const CudaCompiler compiler = {.nvrtc = nvrtc,
                                       .architecture = architecture,
                                       .options = flags,
                                       .n_options = sizeof flags / sizeof *flags,
                                       .cache = cache,
                                       .keeps_ptx = options->dump,
                                       .n_threads = count_threads()};
        if (cuda_compile(&compiler, texts, n, outputs, log, status)) {
            if (cuda_kernels_open(&gpu->kernels, &gpu->device, gpu->files.sources, outputs, n, status) && options->dump)
                cuda_kernel_files_write(disk_system(), options->dump, &gpu->kernels, outputs, status);
            cuda_compile_free(outputs, n);
        }
    }
    free(texts);
    return !status->failed;
}

bool gpu_kernels_open(Gpu *gpu, const GpuOptions *options, Log *log, Status *status) {
    Nvrtc nvrtc;
    if (!add_sources(gpu, status) ||
        !cuda_kernel_files_open(&gpu->files, gpu->sources, gpu->n_sources, gpu->n_of_library, options->edited, log,
                                status) ||
        !nvrtc_open(&nvrtc, &gpu->places, gpu->driver.version, status))
        return false;
    NvrtcOutput *outputs = calloc(gpu->n_sources + 1, sizeof *outputs);
    if (!outputs)
        status_fail_errno(status, "kernels");
    if (!status->failed)
        compile(gpu, &nvrtc, gpu_cache(gpu), options, outputs, log, status);
    free(outputs);
    nvrtc_close(&nvrtc);
    return !status->failed;
}

void gpu_kernels_close(Gpu *gpu, Status *status) {
    if (gpu->kernels.device)
        cuda_kernels_close(&gpu->kernels, status);
    cuda_kernel_files_close(&gpu->files);
    for (size_t i = 0; i < gpu->n_sources + gpu->n_of_library; i++)
        free(gpu->texts[i]);
    free(gpu->sources);
    free(gpu->texts);
    free(gpu->numbers);
    free(gpu->variants);
}
