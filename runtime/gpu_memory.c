#include "runtime/gpu_internal.h"

#include <assert.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static uint64_t scratch_bytes(const Gpu *gpu) {
    uint64_t most = 0;
    for (uint32_t i = 0; i < gpu->plan->n_kernels; i++) {
        if (gpu->variants[i] && gpu->variants[i]->scratch_bytes > most)
            most = gpu->variants[i]->scratch_bytes;
    }
    return most;
}

/* Addresses in arrays, of all launches. */
static size_t count_tables(const MoecPlan *plan) {
    size_t n = 0;
    for (uint32_t i = 0; i < plan->n_programs; i++) {
        for (uint32_t j = 0; j < plan->programs[i].n_launches; j++) {
            const MoecCudaKernel *kernel = &plan->cuda_kernels[plan->programs[i].launches[j].kernel];
            for (uint32_t k = 0; k < kernel->n_parameters; k++)
                n += kernel->pieces[k];
        }
    }
    return n;
}

/* Tensor maps, of all launches. */
static size_t count_maps(const Gpu *gpu) {
    size_t n = 0;
    for (uint32_t i = 0; i < gpu->plan->n_programs; i++) {
        for (uint32_t j = 0; j < gpu->plan->programs[i].n_launches; j++) {
            const MoecCudaVariant *variant = gpu->variants[gpu->plan->programs[i].launches[j].kernel];
            n += variant ? variant->n_maps : 0;
        }
    }
    return n;
}

uint64_t gpu_made_bytes(const MoecPlan *plan, const MoecLaunch *launch) {
    bool is_of_host = plan->cuda_kernels[launch->kernel].n_variants == 0;
    uint64_t n_bytes = is_of_host ? (uint64_t)plan->kernels[launch->kernel].bytes : 0;
    return (n_bytes + MADE_ALIGNMENT - 1) / MADE_ALIGNMENT * MADE_ALIGNMENT;
}

static uint64_t all_made_bytes(const MoecPlan *plan) {
    uint64_t n = 0;
    for (uint32_t i = 0; i < plan->n_programs; i++) {
        for (uint32_t j = 0; j < plan->programs[i].n_launches; j++)
            n += gpu_made_bytes(plan, &plan->programs[i].launches[j]);
    }
    return n;
}

static bool clear(Gpu *gpu, MoecSpace space, uint64_t n_bytes, Status *status) {
    return n_bytes == 0 || CUDA_CALL(&gpu->driver, CUDA_TO("clear memory"), status, cuMemsetD8Async,
                                     gpu->memory.parts[space], 0, n_bytes, gpu->device.work);
}

bool gpu_memory_open(Gpu *gpu, const uint64_t n_bytes[MOEC_SPACE_COUNT], Status *status) {
    gpu->n_tables = count_tables(gpu->plan);
    gpu->n_maps = count_maps(gpu);
    CudaPart parts[N_PARTS] = {{"weights", n_bytes[MOEC_SPACE_WEIGHT]},
                               {"gradients", n_bytes[MOEC_SPACE_GRAD]},
                               {"first moments", n_bytes[MOEC_SPACE_MOMENT1]},
                               {"second moments", n_bytes[MOEC_SPACE_MOMENT2]},
                               {"activations", n_bytes[MOEC_SPACE_ARENA]},
                               {"scratch", scratch_bytes(gpu)},
                               {"tables", all_made_bytes(gpu->plan)},
                               {"addresses", gpu->n_tables * sizeof *gpu->tables},
                               {"tensor maps", gpu->n_maps * sizeof *gpu->maps},
                               {"workspace", gpu->products.n_workspace_bytes}};
    if (!cuda_memory_open(&gpu->memory, &gpu->device, parts, N_PARTS, status) ||
        !cuda_transfer_open(&gpu->transfer, &gpu->device, BUFFER_BYTES, status))
        return false;
    for (int space = 0; space < MOEC_SPACE_COUNT; space++) {
        if (!clear(gpu, (MoecSpace)space, n_bytes[space], status))
            return false;
    }
    return cuda_device_wait(&gpu->device, gpu->device.work, CUDA_TO("clear memory"), status);
}

/* Bytes of the host. */
typedef struct {
    CudaReader reader; /* first, so that a pointer to it is one to the whole */
    const char *bytes;
} HostReader;

typedef struct {
    CudaWriter writer;
    char *bytes;
} HostWriter;

static bool read_host(CudaReader *reader, void *bytes, uint64_t offset, size_t n, Status *status) {
    (void)status;
    memcpy(bytes, ((const HostReader *)reader)->bytes + offset, n);
    return true;
}

static bool write_host(CudaWriter *writer, const void *bytes, uint64_t offset, size_t n, Status *status) {
    (void)status;
    memcpy(((HostWriter *)writer)->bytes + offset, bytes, n);
    return true;
}

bool gpu_copy_to_device(Gpu *gpu, CUdeviceptr to, const void *from, uint64_t n_bytes, const char *name,
                        Status *status) {
    HostReader reader = {{read_host}, from};
    return n_bytes == 0 || (cuda_transfer_upload(&gpu->transfer, to, n_bytes, &reader.reader, name, status) &&
                            cuda_transfer_finish(&gpu->transfer, status));
}

bool gpu_copy_to_host(Gpu *gpu, void *to, CUdeviceptr from, uint64_t n_bytes, const char *name, Status *status) {
    HostWriter writer = {{write_host}, to};
    return n_bytes == 0 || cuda_transfer_download(&gpu->transfer, from, n_bytes, &writer.writer, name, status);
}

/* ---- Weights pass through ---------------------------------------------------------------------------------------- */

/* The twin of a place in the host's memory. */
static CUdeviceptr twin(const GpuPassage *self, const void *at) {
    int space = 0;
    uintptr_t place = (uintptr_t)at;
    for (; space < MOEC_SPACE_COUNT; space++) {
        uintptr_t base = (uintptr_t)self->memory->spaces[space];
        if (place >= base && place - base < self->memory->n_bytes[space])
            break;
    }
    assert(space < MOEC_SPACE_COUNT);
    return self->gpu->memory.parts[space] + (place - (uintptr_t)self->memory->spaces[space]);
}

/* A neighbour may have a part of the first page, and of the last. */
static void drop(Passage *passage, void *at, uint64_t n_bytes) {
    (void)passage;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), first = ((uintptr_t)at + page - 1) / page * page;
    uintptr_t end = ((uintptr_t)at + n_bytes) / page * page;
    if (end > first)
        madvise((void *)first, end - first, MADV_DONTNEED);
}

static bool put(Passage *passage, void *at, uint64_t n_bytes, const char *name, Status *status) {
    GpuPassage *self = (GpuPassage *)(void *)passage;
    bool is_put = gpu_copy_to_device(self->gpu, twin(self, at), at, n_bytes, name, status);
    drop(passage, at, n_bytes);
    return is_put;
}

static bool get(Passage *passage, void *at, uint64_t n_bytes, const char *name, Status *status) {
    GpuPassage *self = (GpuPassage *)(void *)passage;
    return gpu_copy_to_host(self->gpu, at, twin(self, at), n_bytes, name, status);
}

GpuPassage gpu_passage(Gpu *gpu, const Memory *memory) {
    return (GpuPassage){{put, get, drop}, gpu, memory};
}

CUdeviceptr gpu_at(const Gpu *gpu, MoecAddress address) {
    return gpu->memory.parts[address.space] + address.offset;
}
