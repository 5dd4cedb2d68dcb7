#include "tests/gpu/device_kernels.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/cuda_compile.h"
#include "runtime/cuda_maps.h"
#include "tests/simt/simt_tensor_map.h"

enum { MOST_THREADS = 16, MOST_BUFFERS = 512, MOST_MAPS = 16 };

/* ---- The device -------------------------------------------------------------------------------------------------- */

bool device_kernels_open(DeviceKernels *at, const char *folder, Status *status) {
    *at = (DeviceKernels){0};
    return (folder ? cuda_places_add(&at->places, folder, status) : cuda_places_open(&at->places, status)) &&
           cuda_driver_open(&at->driver, &at->places, status) &&
           nvrtc_open(&at->nvrtc, &at->places, at->driver.version, status) &&
           cuda_device_open(&at->device, &at->driver, 0, status) &&
           nvrtc_architecture(&at->nvrtc, at->device.major, at->device.minor, at->architecture, status);
}

void device_kernels_unload(DeviceKernels *at, Status *status) {
    size_t n = at->kernels.n;
    if (at->kernels.device)
        cuda_kernels_close(&at->kernels, status);
    if (at->outputs)
        cuda_compile_free(at->outputs, n);
    free(at->outputs);
    at->outputs = NULL;
}

void device_kernels_close(DeviceKernels *at, Status *status) {
    device_kernels_unload(at, status);
    if (at->device.driver)
        cuda_device_close(&at->device, status);
    nvrtc_close(&at->nvrtc);
    cuda_driver_close(&at->driver);
    cuda_places_close(&at->places);
}

/* ---- Kernels ----------------------------------------------------------------------------------------------------- */

CudaKernelSource device_kernel_source(Arena *arena, const Form *form, const FormCuda *cuda) {
    MoecCudaFunction *functions = arena_array_of(arena, MoecCudaFunction, (size_t)cuda->n_launches);
    for (int i = 0; i < cuda->n_launches; i++)
        functions[i] = (MoecCudaFunction){
            cuda->launches[i].kernel, (uint32_t)cuda->launches[i].n_blocks, (uint32_t)cuda->launches[i].n_threads,
            (uint32_t)cuda->launches[i].shared_bytes, (uint32_t)cuda->launches[i].n_resident};
    char *text = NULL;
    size_t n_bytes;
    FILE *out = open_memstream(&text, &n_bytes);
    form_cuda_print_prelude(out);
    fprintf(out, "\n%s", cuda->text);
    fclose(out);
    const char *copy = arena_printf(arena, "%s", text);
    free(text);
    return (CudaKernelSource){.text = {.name = form->name, .text = copy},
                              .functions = functions,
                              .n_functions = (uint32_t)cuda->n_launches,
                              .n_args = (uint32_t)form_cuda_n_parameters(form, cuda)};
}

static int count_threads(void) {
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n > MOST_THREADS ? MOST_THREADS : (int)n;
}

static bool compile(DeviceKernels *at, const CudaText *texts, size_t n, Status *status) {
    static const char *const options[] = {"--std=c++17"};
    CudaCache cache;
    char *folder = cuda_cache_folder();
    bool has_cache = folder && cuda_cache_open(&cache, disk_system(), folder, CUDA_CACHE_BYTES, status);
    const CudaCompiler compiler = {.nvrtc = &at->nvrtc,
                                   .architecture = at->architecture,
                                   .options = options,
                                   .n_options = sizeof options / sizeof *options,
                                   .cache = has_cache ? &cache : NULL,
                                   .n_threads = count_threads()};
    Log log = {0};
    if (!status->failed)
        cuda_compile(&compiler, texts, n, at->outputs, &log, status);
    if (has_cache)
        cuda_cache_close(&cache);
    free(folder);
    return !status->failed;
}

bool device_kernels_load(DeviceKernels *at, const CudaKernelSource *sources, size_t n, Status *status) {
    CudaText *texts = calloc(n + 1, sizeof *texts);
    at->outputs = calloc(n + 1, sizeof *at->outputs);
    if (!texts || !at->outputs)
        status_fail_errno(status, "kernels");
    for (size_t i = 0; i < n && texts; i++)
        texts[i] = sources[i].text;
    if (!status->failed && compile(at, texts, n, status) &&
        !cuda_kernels_open(&at->kernels, &at->device, sources, at->outputs, n, status))
        cuda_compile_free(at->outputs, n);
    free(texts);
    return !status->failed;
}

/* ---- Running ----------------------------------------------------------------------------------------------------- */

typedef struct {
    const DeviceKernels *at;
    const SimtBuffer *buffers;
    size_t n;
    CUdeviceptr places[MOST_BUFFERS]; /* 0: not taken */
} Twins;

static bool is_table(const SimtBuffer *buffer) {
    return strcmp(buffer->name, DEVICE_TABLE) == 0;
}

static bool is_maps(const SimtBuffer *buffer) {
    return strcmp(buffer->name, DEVICE_MAPS) == 0;
}

/* Where on the device the host's address, which is in a buffer, has its twin. */
static CUdeviceptr twin_of(const Twins *twins, const void *address) {
    for (size_t i = 0;; i++) {
        assert(i < twins->n);
        const char *data = twins->buffers[i].data;
        if ((const char *)address >= data && (const char *)address < data + twins->buffers[i].n_bytes)
            return twins->places[i] + (CUdeviceptr)((const char *)address - data);
    }
}

static bool upload(const Twins *twins, size_t i, const void *bytes, Status *status) {
    const CudaDevice *device = &twins->at->device;
    return CUDA_CALL(device->driver, CUDA_TO("copy"), status, cuMemcpyHtoDAsync, twins->places[i], bytes,
                     twins->buffers[i].n_bytes, device->work) &&
           cuda_device_wait(device, device->work, CUDA_TO("copy"), status);
}

static bool upload_table(const Twins *twins, size_t i, Status *status) {
    void *const *pieces = twins->buffers[i].data;
    size_t n = twins->buffers[i].n_bytes / sizeof *pieces;
    CUdeviceptr table[MOST_BUFFERS];
    assert(n <= MOST_BUFFERS);
    for (size_t j = 0; j < n; j++)
        table[j] = twin_of(twins, pieces[j]);
    return upload(twins, i, table, status);
}

/* The same maps of the twins, as the device's driver encodes them. */
static bool upload_maps(const Twins *twins, size_t i, Status *status) {
    size_t n = twins->buffers[i].n_bytes / SIMT_MAP_BYTES;
    CudaTensorMap maps[MOST_MAPS];
    assert(n <= MOST_MAPS);
    for (size_t j = 0; j < n; j++) {
        SimtTensorMap from;
        memcpy(&from, (const char *)twins->buffers[i].data + j * SIMT_MAP_BYTES, sizeof from);
        MoecCudaMap map = {.dtype = from.element_bytes == 2 ? MOEC_DTYPE_BF16 : MOEC_DTYPE_F32,
                           .rank = from.rank,
                           .swizzle = from.swizzle_bytes};
        for (uint32_t k = 0; k < map.rank; k++) {
            map.extents[k] = from.extents[k];
            map.strides[k] = k > 0 ? from.strides[k - 1] : from.element_bytes;
            map.box[k] = from.box[k];
        }
        if (!cuda_map_encode(twins->at->device.driver, &map, twin_of(twins, (const void *)(uintptr_t)from.address),
                             "a test", &maps[j], status))
            return false;
    }
    return upload(twins, i, maps, status);
}

static bool upload_twin(const Twins *twins, size_t i, Status *status) {
    const SimtBuffer *buffer = &twins->buffers[i];
    if (is_table(buffer))
        return upload_table(twins, i, status);
    return is_maps(buffer) ? upload_maps(twins, i, status) : upload(twins, i, buffer->data, status);
}

static bool take(Twins *twins, Status *status) {
    const CudaDriver *driver = twins->at->device.driver;
    for (size_t i = 0; i < twins->n; i++) {
        if (!CUDA_CALL(driver, CUDA_TO("take a buffer"), status, cuMemAlloc, &twins->places[i],
                       twins->buffers[i].n_bytes))
            return false;
    }
    for (size_t i = 0; i < twins->n; i++) {
        if (!upload_twin(twins, i, status))
            return false;
    }
    return true;
}

static bool fetch(const Twins *twins, Status *status) {
    const CudaDevice *device = &twins->at->device;
    for (size_t i = 0; i < twins->n; i++) {
        if (!is_table(&twins->buffers[i]) && !is_maps(&twins->buffers[i]) &&
            !CUDA_CALL(device->driver, CUDA_TO("copy"), status, cuMemcpyDtoHAsync, twins->buffers[i].data,
                       twins->places[i], twins->buffers[i].n_bytes, device->work))
            return false;
    }
    return cuda_device_wait(device, device->work, CUDA_TO("copy"), status);
}

bool device_kernels_run(const DeviceKernels *at, size_t kernel, void *const *args, const SimtBuffer *buffers,
                        size_t n_buffers, Status *status) {
    Twins twins = {.at = at, .buffers = buffers, .n = n_buffers};
    CUdeviceptr parameters[CUDA_MAX_ARGS];
    const CudaKernel *launched = &at->kernels.kernels[kernel];
    assert(n_buffers <= MOST_BUFFERS);
    if (take(&twins, status)) {
        for (uint32_t i = 0; i < launched->source->n_args; i++)
            parameters[i] = twin_of(&twins, args[i]);
        const CudaLaunch launch = {launched, parameters, launched->source->text.name, "a test"};
        if (cuda_kernels_launch(&at->kernels, &launch, 1, true, status))
            fetch(&twins, status);
    }
    for (size_t i = 0; i < n_buffers; i++) {
        if (twins.places[i])
            CUDA_CALL(at->device.driver, CUDA_TO("give a buffer back"), status, cuMemFree, twins.places[i]);
    }
    return !status->failed;
}
