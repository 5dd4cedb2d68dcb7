#include "runtime/gpu.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/cuda_compile.h"
#include "runtime/cuda_graph.h"
#include "runtime/cuda_kernel_files.h"
#include "runtime/cuda_memory.h"
#include "runtime/cuda_transfer.h"
#include "runtime/meter.h"
#include "runtime/program.h"

/* Parts of the device's memory: the plan's spaces, then these. MADE: what kernels of the host make, of all launches;
   TABLES: arrays of addresses. */
enum { PART_SCRATCH = MOEC_SPACE_COUNT, PART_MADE, PART_TABLES, N_PARTS, MADE_ALIGNMENT = 256 };
enum { BUFFER_BYTES = 16 << 20, MOST_COMPILER_THREADS = 16 };

/* A program with its addresses those of the device. */
typedef struct {
    CudaLaunch *launches; /* [n_launches]. Of a kernel of the host, kernel is NULL, and args where its result is kept */
    CUdeviceptr *args;    /* of all launches */
    CudaGraph graph;      /* all launches in one; not there before the second run */
    bool has_run;
} GpuProgram;

struct Gpu {
    const MoecPlan *plan;
    CudaPlaces places;
    CudaDriver driver;
    CudaDevice device;
    CudaMemory memory;
    CudaTransfer transfer;
    CudaKernelSource *sources; /* of the kernels that have CUDA C */
    char **texts;
    size_t n_sources;
    size_t *numbers;       /* of each kernel of the plan among these */
    CudaKernelFiles files; /* the same, or what a folder has in their place */
    CudaKernels kernels;
    GpuProgram *programs; /* [plan->n_programs] */
    uint64_t *tables;     /* as they are in the device's memory */
    size_t n_tables, next_table;
    uint64_t next_made; /* bytes */
};

/* ---- Which device ------------------------------------------------------------------------------------------------ */

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

/* ---- Memory ------------------------------------------------------------------------------------------------------ */

static uint64_t scratch_bytes(const MoecPlan *plan) {
    uint64_t most = 0;
    for (uint32_t i = 0; i < plan->n_kernels; i++)
        most = plan->cuda_kernels[i].scratch_bytes > most ? plan->cuda_kernels[i].scratch_bytes : most;
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

/* A kernel of the host has no operands, and one result: its bytes are that one's. */
static uint64_t made_bytes(const MoecPlan *plan, const MoecLaunch *launch) {
    bool is_of_host = !plan->cuda_kernels[launch->kernel].text;
    uint64_t n_bytes = is_of_host ? (uint64_t)plan->kernels[launch->kernel].bytes : 0;
    return (n_bytes + MADE_ALIGNMENT - 1) / MADE_ALIGNMENT * MADE_ALIGNMENT;
}

static uint64_t all_made_bytes(const MoecPlan *plan) {
    uint64_t n = 0;
    for (uint32_t i = 0; i < plan->n_programs; i++) {
        for (uint32_t j = 0; j < plan->programs[i].n_launches; j++)
            n += made_bytes(plan, &plan->programs[i].launches[j]);
    }
    return n;
}

static bool clear(Gpu *gpu, MoecSpace space, uint64_t n_bytes, Status *status) {
    return n_bytes == 0 || CUDA_CALL(&gpu->driver, CUDA_TO("clear memory"), status, cuMemsetD8Async,
                                     gpu->memory.parts[space], 0, n_bytes, gpu->device.work);
}

static bool take_memory(Gpu *gpu, const uint64_t n_bytes[MOEC_SPACE_COUNT], Status *status) {
    gpu->n_tables = count_tables(gpu->plan);
    CudaPart parts[N_PARTS] = {
        {"weights", n_bytes[MOEC_SPACE_WEIGHT]},        {"gradients", n_bytes[MOEC_SPACE_GRAD]},
        {"first moments", n_bytes[MOEC_SPACE_MOMENT1]}, {"second moments", n_bytes[MOEC_SPACE_MOMENT2]},
        {"activations", n_bytes[MOEC_SPACE_ARENA]},     {"scratch", scratch_bytes(gpu->plan)},
        {"tables", all_made_bytes(gpu->plan)},          {"addresses", gpu->n_tables * sizeof *gpu->tables}};
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

static bool copy_to_device(Gpu *gpu, CUdeviceptr to, const void *from, uint64_t n_bytes, const char *name,
                           Status *status) {
    HostReader reader = {{read_host}, from};
    return n_bytes == 0 || (cuda_transfer_upload(&gpu->transfer, to, n_bytes, &reader.reader, name, status) &&
                            cuda_transfer_finish(&gpu->transfer, status));
}

static bool copy_to_host(Gpu *gpu, void *to, CUdeviceptr from, uint64_t n_bytes, const char *name, Status *status) {
    HostWriter writer = {{write_host}, to};
    return n_bytes == 0 || cuda_transfer_download(&gpu->transfer, from, n_bytes, &writer.writer, name, status);
}

static const char *const space_names[MOEC_SPACE_COUNT] = {"weights", "gradients", "first moments", "second moments",
                                                          "activations"};

bool gpu_upload(Gpu *gpu, const Memory *memory, MoecSpace space, Status *status) {
    return copy_to_device(gpu, gpu->memory.parts[space], memory->spaces[space], memory->n_bytes[space],
                          space_names[space], status);
}

bool gpu_download(Gpu *gpu, const Memory *memory, MoecSpace space, Status *status) {
    return copy_to_host(gpu, memory->spaces[space], gpu->memory.parts[space], memory->n_bytes[space],
                        space_names[space], status);
}

static CUdeviceptr device_at(const Gpu *gpu, MoecAddress address) {
    return gpu->memory.parts[address.space] + address.offset;
}

/* ---- Kernels ----------------------------------------------------------------------------------------------------- */

static char *joined(const char *first, const char *second) {
    char *text = malloc(strlen(first) + strlen(second) + 1);
    if (text)
        stpcpy(stpcpy(text, first), second);
    return text;
}

static bool add_source(Gpu *gpu, uint32_t number, Status *status) {
    const MoecCudaKernel *kernel = &gpu->plan->cuda_kernels[number];
    char *text = joined(gpu->plan->cuda_prelude, kernel->text);
    gpu->texts[gpu->n_sources] = text;
    gpu->numbers[number] = gpu->n_sources;
    gpu->sources[gpu->n_sources++] = (CudaKernelSource){.text = {.name = gpu->plan->kernels[number].name, .text = text},
                                                        .functions = kernel->functions,
                                                        .n_functions = kernel->n_functions,
                                                        .n_args = kernel->n_parameters + (kernel->scratch_bytes > 0)};
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
        if (gpu->plan->cuda_kernels[i].text && !add_source(gpu, i, status))
            return false;
    }
    return true;
}

static int count_threads(void) {
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n > MOST_COMPILER_THREADS ? MOST_COMPILER_THREADS : (int)n;
}

static bool compile(Gpu *gpu, const Nvrtc *nvrtc, const CudaCache *cache, const GpuFolders *folders,
                    NvrtcOutput *outputs, Log *log, Status *status) {
    static const char *const options[] = {"--std=c++17"};
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
                                       .options = options,
                                       .n_options = sizeof options / sizeof *options,
                                       .cache = cache,
                                       .keeps_ptx = folders->dump,
                                       .n_threads = count_threads()};
        if (cuda_compile(&compiler, texts, n, outputs, log, status)) {
            if (cuda_kernels_open(&gpu->kernels, &gpu->device, gpu->files.sources, outputs, n, status) && folders->dump)
                cuda_kernel_files_write(disk_system(), folders->dump, &gpu->kernels, outputs, status);
            cuda_compile_free(outputs, n);
        }
    }
    free(texts);
    return !status->failed;
}

static bool load_kernels(Gpu *gpu, const GpuFolders *folders, Log *log, Status *status) {
    Nvrtc nvrtc;
    CudaCache cache;
    if (!add_sources(gpu, status) ||
        !cuda_kernel_files_open(&gpu->files, gpu->sources, gpu->n_sources, folders->edited, log, status) ||
        !nvrtc_open(&nvrtc, &gpu->places, gpu->driver.version, status))
        return false;
    char *folder = cuda_cache_folder();
    bool has_cache = folder && cuda_cache_open(&cache, disk_system(), folder, CUDA_CACHE_BYTES, status);
    NvrtcOutput *outputs = calloc(gpu->n_sources + 1, sizeof *outputs);
    if (!outputs)
        status_fail_errno(status, "kernels");
    if (!status->failed)
        compile(gpu, &nvrtc, has_cache ? &cache : NULL, folders, outputs, log, status);
    free(outputs);
    if (has_cache)
        cuda_cache_close(&cache);
    free(folder);
    nvrtc_close(&nvrtc);
    return !status->failed;
}

/* ---- Programs ---------------------------------------------------------------------------------------------------- */

/* The parameter of a launch that is made of the kernel's arguments from `from` on. */
static CUdeviceptr parameter(Gpu *gpu, const MoecAddress *from, uint32_t n_pieces) {
    if (n_pieces == 0)
        return device_at(gpu, *from);
    CUdeviceptr table = gpu->memory.parts[PART_TABLES] + gpu->next_table * sizeof *gpu->tables;
    for (uint32_t i = 0; i < n_pieces; i++)
        gpu->tables[gpu->next_table++] = device_at(gpu, from[i]);
    return table;
}

/* Runs a kernel of the host, once and for all, and keeps on the device what it made. */
static bool make(Gpu *gpu, const MoecLaunch *launch, CUdeviceptr *at, Status *status) {
    const MoecKernel *kernel = &gpu->plan->kernels[launch->kernel];
    void *result = calloc(1, (size_t)kernel->bytes + 1);
    if (!result)
        return status_fail_errno(status, "%s", kernel->name);
    *at = gpu->memory.parts[PART_MADE] + gpu->next_made;
    gpu->next_made += made_bytes(gpu->plan, launch);
    kernel->function((void *const[]){result});
    copy_to_device(gpu, *at, result, (uint64_t)kernel->bytes, kernel->name, status);
    free(result);
    return !status->failed;
}

static bool set_launch(Gpu *gpu, const MoecProgram *program, const MoecLaunch *launch, CudaLaunch *out,
                       CUdeviceptr *args, Status *status) {
    const MoecCudaKernel *kernel = &gpu->plan->cuda_kernels[launch->kernel];
    const MoecAddress *from = program->args + launch->first_arg;
    *out = (CudaLaunch){.args = args, .value = launch->value, .source = launch->source};
    if (!kernel->text)
        return make(gpu, launch, args, status);
    out->kernel = &gpu->kernels.kernels[gpu->numbers[launch->kernel]];
    for (uint32_t i = 0; i < kernel->n_parameters; i++) {
        *args++ = parameter(gpu, from, kernel->pieces[i]);
        from += kernel->pieces[i] > 0 ? kernel->pieces[i] : 1;
    }
    if (kernel->scratch_bytes > 0)
        *args = gpu->memory.parts[PART_SCRATCH];
    return true;
}

static bool set_program(Gpu *gpu, const MoecProgram *program, GpuProgram *out, Status *status) {
    size_t n = 0;
    for (uint32_t i = 0; i < program->n_launches; i++)
        n += gpu->plan->cuda_kernels[program->launches[i].kernel].n_parameters + 1;
    out->launches = calloc((size_t)program->n_launches + 1, sizeof *out->launches);
    out->args = calloc(n + 1, sizeof *out->args);
    if (!out->launches || !out->args)
        return status_fail_errno(status, "program \"%s\"", program->name);
    CUdeviceptr *args = out->args;
    for (uint32_t i = 0; i < program->n_launches; i++) {
        if (!set_launch(gpu, program, &program->launches[i], &out->launches[i], args, status))
            return false;
        args += gpu->plan->cuda_kernels[program->launches[i].kernel].n_parameters + 1;
    }
    return true;
}

static bool set_programs(Gpu *gpu, Status *status) {
    gpu->programs = calloc((size_t)gpu->plan->n_programs + 1, sizeof *gpu->programs);
    gpu->tables = calloc(gpu->n_tables + 1, sizeof *gpu->tables);
    if (!gpu->programs || !gpu->tables)
        return status_fail_errno(status, "programs");
    for (uint32_t i = 0; i < gpu->plan->n_programs; i++) {
        if (!set_program(gpu, &gpu->plan->programs[i], &gpu->programs[i], status))
            return false;
    }
    return copy_to_device(gpu, gpu->memory.parts[PART_TABLES], gpu->tables, gpu->n_tables * sizeof *gpu->tables,
                          "addresses", status);
}

bool gpu_start(Gpu *gpu, const uint64_t n_bytes[MOEC_SPACE_COUNT], const GpuFolders *folders, Log *log,
               Status *status) {
    return take_memory(gpu, n_bytes, status) && load_kernels(gpu, folders, log, status) && set_programs(gpu, status);
}

void gpu_close(Gpu *gpu) {
    Status ignored = STATUS_INIT; /* the run is over, and what went wrong was told */
    if (!gpu)
        return;
    for (uint32_t i = 0; i < gpu->plan->n_programs && gpu->programs; i++) {
        if (gpu->programs[i].graph.device)
            cuda_graph_close(&gpu->programs[i].graph, &ignored);
        free(gpu->programs[i].launches);
        free(gpu->programs[i].args);
    }
    free(gpu->programs);
    free(gpu->tables);
    if (gpu->kernels.device)
        cuda_kernels_close(&gpu->kernels, &ignored);
    cuda_kernel_files_close(&gpu->files);
    for (size_t i = 0; i < gpu->n_sources; i++)
        free(gpu->texts[i]);
    free(gpu->sources);
    free(gpu->texts);
    free(gpu->numbers);
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

/* ---- Running ----------------------------------------------------------------------------------------------------- */

static uint64_t tensor_bytes(const MoecTensor *tensor) {
    enum { BYTES = 4 }; /* of an f32 and of an i32, which all inputs and outputs are */
    return (uint64_t)tensor_elements(tensor) * BYTES;
}

/* Puts what a kernel of the host made where the launch leaves it. */
static bool place(Gpu *gpu, const MoecProgram *program, const MoecLaunch *launch, CUdeviceptr made, Status *status) {
    const MoecKernel *kernel = &gpu->plan->kernels[launch->kernel];
    return CUDA_CALL(&gpu->driver, CUDA_TO("place a table"), status, cuMemcpyDtoDAsync,
                     device_at(gpu, program->args[launch->first_arg]), made, (size_t)kernel->bytes, gpu->device.work);
}

static bool run_launches(Gpu *gpu, const MoecProgram *program, const GpuProgram *on_device, Status *status) {
    uint32_t first = 0;
    for (uint32_t i = 0; i <= program->n_launches; i++) {
        bool is_end = i == program->n_launches;
        if (!is_end && on_device->launches[i].kernel)
            continue;
        if (!cuda_kernels_launch(&gpu->kernels, on_device->launches + first, i - first, false, status) ||
            (!is_end && !place(gpu, program, &program->launches[i], *on_device->launches[i].args, status)))
            return false;
        first = i + 1;
    }
    return true;
}

/* The first time launch by launch; then they are recorded, and given to the device as one. */
static bool run_program(Gpu *gpu, const MoecProgram *program, GpuProgram *on_device, Status *status) {
    if (!on_device->has_run) {
        on_device->has_run = true;
        return run_launches(gpu, program, on_device, status);
    }
    if (!on_device->graph.device) {
        if (!cuda_graph_begin(&gpu->device, status))
            return false;
        run_launches(gpu, program, on_device, status);
        if (!cuda_graph_end(&on_device->graph, &gpu->device, status))
            return false;
    }
    return cuda_graph_launch(&on_device->graph, program->name, status);
}

bool gpu_run(Gpu *gpu, const MoecProgram *program, const Memory *memory, Status *status) {
    for (uint32_t i = 0; i < program->n_inputs; i++) {
        const MoecTensor *input = &program->inputs[i];
        if (!copy_to_device(gpu, device_at(gpu, input->at), memory_at(memory, input->at), tensor_bytes(input),
                            input->name, status))
            return false;
    }
    if (!run_program(gpu, program, &gpu->programs[program - gpu->plan->programs], status))
        return false;
    for (uint32_t i = 0; i < program->n_outputs; i++) {
        const MoecTensor *output = &program->outputs[i];
        if (!copy_to_host(gpu, memory_at(memory, output->at), device_at(gpu, output->at), tensor_bytes(output),
                          output->name, status))
            return false;
    }
    return true;
}
