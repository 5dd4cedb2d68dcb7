/* cuda_kernel_bench [--quick] [--below N] [FILE.ir..]: how long generated kernels take on a CUDA device, beside their
   FLOPs and bytes, as lines of JSON: first the device and what a large copy on it reaches, then a line for each kernel
   with how often its graph launches it. A module without kernel blocks goes through the passes that make them. Kernels
   run in their order, on each other's results. Float inputs are random in [-1, 1), states in [-0.035, 0.035), which has
   the deviation of weights; an i32 input has whole numbers below N. What they read is pushed out of the device's cache
   before each run. Exit code 2: no device. */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "ir/block.h"
#include "passes/passes.h"
#include "runtime/cuda_maps.h"
#include "runtime/meter.h"
#include "tests/gpu/device_kernels.h"
#include "tests/support/module_kernels.h"
#include "tests/support/random.h"

enum { MAX_CALLS = 512, MAX_RUNS = 200, LEAST_RUNS = 7, WARM_UP = 3, NO_DEVICE = 2, BLOCK_BYTES = 1 << 24 };

typedef struct {
    DeviceKernels device;
    CudaResult (*elapsed)(float *ms, CUevent start, CUevent end); /* NULL: there are no times; the host's clock then */
    CUevent start, end;
    CUdeviceptr flushed; /* of n_flushed bytes, which fill the device's cache */
    size_t n_flushed, n_copied;
    double seconds; /* that runs of a kernel take together, at most */
    int least_runs;
    int32_t below;
} Bench;

typedef struct {
    KernelCall call;
    const Graph *graph;
    const char *ops;   /* "rms_norm+mul" */
    size_t n_launches; /* of its kernel in its graph; 0: an earlier call has them */
} Call;

typedef struct {
    Arena *arena;
    Kernels *kernels;
    Call calls[MAX_CALLS];
    size_t n_calls;
    const FormCuda **cuda;     /* of each kernel; NULL: it has no CUDA C */
    size_t *numbers;           /* of each kernel among the sources */
    CudaKernelSource *sources; /* of those that have */
    size_t n_sources;
    CUdeviceptr *values; /* of the graph under way, by number; 0: not there */
    size_t *last_uses;   /* calls, by number of the value */
} Work;

static _Noreturn void fail(const char *message, const char *what) {
    fprintf(stderr, "cuda_kernel_bench: %s %s\n", message, what);
    exit(1);
}

static void check(const Status *status) {
    if (status->failed)
        fail("failed:", status->message);
}

/* ---- The device -------------------------------------------------------------------------------------------------- */

#define CALL(bench, name, ...)                                                                                         \
    do {                                                                                                               \
        Status status_ = STATUS_INIT;                                                                                  \
        CUDA_CALL(&(bench)->device.driver, CUDA_TO("measure"), &status_, name, __VA_ARGS__);                           \
        check(&status_);                                                                                               \
    } while (0)

static CUdeviceptr take(const Bench *bench, size_t n_bytes) {
    CUdeviceptr at = 0;
    CALL(bench, cuMemAlloc, &at, n_bytes > 0 ? n_bytes : 1);
    return at;
}

static void wait(const Bench *bench) {
    CALL(bench, cuStreamSynchronize, bench->device.device.work);
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef struct {
    double middle, least, greatest; /* seconds */
    int n;
} Times;

typedef void Action(const Bench *bench, void *context);

static double time_once(const Bench *bench, Action *action, void *context) {
    CUstream work = bench->device.device.work;
    float ms = 0;
    double start = meter_clock();
    if (bench->elapsed)
        CALL(bench, cuEventRecord, bench->start, work);
    action(bench, context);
    if (bench->elapsed)
        CALL(bench, cuEventRecord, bench->end, work);
    wait(bench);
    if (bench->elapsed && bench->elapsed(&ms, bench->start, bench->end) != CUDA_RESULT_SUCCESS)
        fail("no time of", "a run");
    return bench->elapsed ? 1e-3 * (double)ms : meter_clock() - start;
}

static void flush(const Bench *bench) {
    if (bench->n_flushed == 0)
        return;
    CALL(bench, cuMemsetD8Async, bench->flushed, 1, bench->n_flushed, bench->device.device.work);
    wait(bench);
}

static Times time_all(const Bench *bench, Action *action, void *context) {
    double seconds[MAX_RUNS], total = 0;
    Times times = {.n = 0};
    for (int i = 0; i < (bench->least_runs > 1 ? WARM_UP : 1); i++)
        action(bench, context);
    wait(bench);
    while (times.n < bench->least_runs || (times.n < MAX_RUNS && total < bench->seconds)) {
        flush(bench);
        total += seconds[times.n++] = time_once(bench, action, context);
    }
    qsort(seconds, (size_t)times.n, sizeof *seconds, compare_doubles);
    times.middle = seconds[times.n / 2], times.least = seconds[0], times.greatest = seconds[times.n - 1];
    return times;
}

static void copy_half(const Bench *bench, void *context) {
    const CUdeviceptr *at = context;
    CALL(bench, cuMemcpyDtoDAsync, *at, *at + bench->n_copied, bench->n_copied, bench->device.device.work);
}

static void print_times(const Times *times) {
    printf("\"ms\": {\"median\": %.6g, \"least\": %.6g, \"greatest\": %.6g, \"runs\": %d}", 1e3 * times->middle,
           1e3 * times->least, 1e3 * times->greatest, times->n);
}

static void print_device(const Bench *bench) {
    const CudaDevice *device = &bench->device.device;
    CUdeviceptr at = take(bench, 2 * bench->n_copied);
    Times times = time_all(bench, copy_half, &at);
    printf("{\"device\": \"%s\", \"compute_capability\": \"%d.%d\", \"multiprocessors\": %d, \"bytes\": %llu, "
           "\"driver\": %d, \"nvrtc\": \"%d.%d\", \"architecture\": \"%s\", \"clock\": \"%s\", "
           "\"copy_bytes_per_s\": %.4g, ",
           device->name, device->major, device->minor, device->n_multiprocessors, (unsigned long long)device->n_bytes,
           bench->device.driver.version, bench->device.nvrtc.major, bench->device.nvrtc.minor,
           bench->device.architecture, bench->elapsed ? "events" : "host", 2 * (double)bench->n_copied / times.middle);
    print_times(&times);
    printf("}\n");
    CALL(bench, cuMemFree, at);
}

/* ---- Kernels of a module ----------------------------------------------------------------------------------------- */

static bool has_blocks(const Module *module) {
    for (size_t i = 0; i < module->n_graphs; i++) {
        for (const Node *node = module->graphs[i]->first; node != NULL; node = node->next) {
            if (node->block != NULL)
                return true;
        }
    }
    return false;
}

static void run_passes(Module *module) {
    PlainReporter reporter;
    plain_reporter_init(&reporter, stderr);
    if (has_blocks(module))
        return;
    for (const Pass *pass = pass_find("precision"); strcmp(pass->name, "memory") != 0; pass++) {
        if (!pass->run(module, &reporter.base))
            fail("a pass failed:", pass->name);
    }
}

static const char *join_ops(Arena *arena, Node *const *nodes, size_t n) {
    const char *ops = op_info(nodes[0]->op)->name;
    for (size_t i = 1; i < n; i++)
        ops = arena_printf(arena, "%s+%s", ops, op_info(nodes[i]->op)->name);
    return ops;
}

static void add_calls(Work *work, Graph *graph) {
    PlainReporter reporter;
    plain_reporter_init(&reporter, stderr);
    LoweredStorage storage = {.escapes = block_escapes(work->arena, graph)};
    const Block *block = NULL; /* of the kernel before */
    for (Node *node = graph->first; node != NULL; node = node->next) {
        if (!node_computes(node) || (node->block != NULL && node->block == block))
            continue;
        size_t n = 1;
        Node **nodes = node->block != NULL ? block_nodes(work->arena, node, &n) : &node;
        Call *call = &work->calls[work->n_calls++];
        if (work->n_calls == MAX_CALLS)
            fail("too many kernels in", graph->name);
        *call = (Call){.graph = graph, .ops = join_ops(work->arena, nodes, n)};
        if (!kernels_add(work->kernels, nodes, n, &storage, &reporter.base, &call->call))
            fail("no kernel for", call->ops);
        block = node->block;
    }
}

static void count_launches(Work *work) {
    for (size_t i = 0; i < work->n_calls; i++) {
        size_t first = 0;
        while (work->calls[first].graph != work->calls[i].graph ||
               work->calls[first].call.kernel != work->calls[i].call.kernel)
            first++;
        work->calls[first].n_launches++;
    }
}

/* The best that the device can run, as executables take it. */
static CudaTier tier_for(const Bench *bench, const Form *form, const FormCudaOptions *options) {
    const CudaDevice *device = &bench->device.device;
    bool is_hopper = device->major == 9 && device->minor == 0;
    return is_hopper && form_cuda_has_tier(form, CUDA_SM_90A, options) ? CUDA_SM_90A : CUDA_SM_80;
}

static void add_sources(const Bench *bench, Work *work) {
    size_t n = kernels_count(work->kernels);
    work->cuda = arena_array_of(work->arena, const FormCuda *, n);
    work->numbers = arena_array_of(work->arena, size_t, n);
    work->sources = arena_array_of(work->arena, CudaKernelSource, n);
    for (size_t i = 0; i < n; i++) {
        const Kernel *kernel = kernels_get(work->kernels, i);
        const FormCudaOptions options = {.heading = kernel->heading};
        const char *error = "it has no form";
        work->cuda[i] = kernel->form ? form_cuda(work->arena, kernel->form, tier_for(bench, kernel->form, &options),
                                                 &options, &error)
                                     : NULL;
        if (!work->cuda[i]) {
            fprintf(stderr, "cuda_kernel_bench: left out: %s: %s\n", kernel->name, error);
            continue;
        }
        work->numbers[i] = work->n_sources;
        work->sources[work->n_sources++] = device_kernel_source(work->arena, kernel->form, work->cuda[i]);
    }
}

/* ---- Data -------------------------------------------------------------------------------------------------------- */

/* bf16 is the upper half of f32. */
static void fill_floats(DType dtype, float bound, void *bytes, size_t n) {
    uint64_t seed = 1;
    for (size_t i = 0; i < n; i++) {
        float x = bound * (float)(2 * random_uniform(&seed) - 1);
        uint32_t bits;
        memcpy(&bits, &x, sizeof bits);
        if (dtype == DTYPE_F32)
            ((float *)bytes)[i] = x;
        else
            ((uint16_t *)bytes)[i] = (uint16_t)(bits >> 16);
    }
}

static void fill_numbers(int32_t below, int32_t *numbers, size_t n) {
    uint64_t seed = 2;
    for (size_t i = 0; i < n; i++)
        numbers[i] = (int32_t)(random_uniform(&seed) * below);
}

static void upload(const Bench *bench, CUdeviceptr to, const void *from, size_t n_bytes) {
    CALL(bench, cuMemcpyHtoDAsync, to, from, n_bytes, bench->device.device.work);
    wait(bench);
}

/* Large inputs repeat a block of random numbers. */
static void fill_input(const Bench *bench, const Value *value, CUdeviceptr at, size_t n_bytes) {
    bool is_i32 = value->type.dtype == DTYPE_I32;
    size_t n_block = is_i32 || n_bytes < BLOCK_BYTES ? n_bytes : BLOCK_BYTES;
    void *block = malloc(n_block + sizeof(float));
    if (!block)
        fail("out of memory:", attrs_string(&value->def->attrs, "name", "an input"));
    if (is_i32)
        fill_numbers(bench->below, block, n_block / sizeof(int32_t));
    else
        fill_floats(value->type.dtype, value->def->op == OP_state ? 0.035f : 1, block,
                    n_block / dtype_size(value->type.dtype));
    for (size_t done = 0; done < n_bytes; done += n_block)
        upload(bench, at + done, block, n_bytes - done < n_block ? n_bytes - done : n_block);
    free(block);
}

/* What only the host makes, tables of rotary positions, may be any numbers between -1 and 1. */
static CUdeviceptr value_at(const Bench *bench, Work *work, const Value *value) {
    CUdeviceptr *at = &work->values[value->number];
    size_t n_bytes = (size_t)type_n_bytes(&value->type);
    if (*at)
        return *at;
    *at = take(bench, n_bytes);
    if (value->def->op == OP_input || value->def->op == OP_state || value->def->op == OP_rope_table)
        fill_input(bench, value, *at, n_bytes);
    else
        CALL(bench, cuMemsetD8Async, *at, 0, n_bytes, bench->device.device.work);
    return *at;
}

/* ---- Running ----------------------------------------------------------------------------------------------------- */

typedef struct {
    CudaLaunch launch;
    CUdeviceptr parameters[CUDA_MAX_ARGS];
    CUdeviceptr tables[CUDA_MAX_ARGS]; /* to be given back */
    size_t n_tables;
} Prepared;

static CUdeviceptr argument_at(const Bench *bench, Work *work, const Call *call, size_t entry) {
    const LoweredArgument *argument = &call->call.args[entry];
    size_t n_bytes = dtype_size(argument->owner->type.dtype);
    return value_at(bench, work, argument->owner) + (CUdeviceptr)argument->offset * n_bytes;
}

static CUdeviceptr table_of(const Bench *bench, Work *work, const Call *call, size_t entry, size_t n_pieces) {
    CUdeviceptr pieces[CUDA_MAX_ARGS];
    for (size_t i = 0; i < n_pieces; i++)
        pieces[i] = argument_at(bench, work, call, entry + i);
    CUdeviceptr at = take(bench, n_pieces * sizeof *pieces);
    upload(bench, at, pieces, n_pieces * sizeof *pieces);
    return at;
}

/* Tensor maps, encoded; to be given back. */
static CUdeviceptr maps_of(const Bench *bench, const Form *form, const FormCuda *cuda, const CUdeviceptr *parameters) {
    CudaTensorMap maps[CUDA_MAX_ARGS];
    Status status = STATUS_INIT;
    for (size_t i = 0; i < cuda->n_maps; i++) {
        const FormCudaMap *from = &cuda->maps[i];
        const FormArg *arg = &form->args[from->arg];
        uint64_t size = dtype_size(arg->dtype);
        MoecCudaMap map = {.offset = (uint64_t)from->offset * size,
                           .dtype = arg->dtype == DTYPE_BF16 ? MOEC_DTYPE_BF16 : MOEC_DTYPE_F32,
                           .rank = (uint32_t)from->rank,
                           .swizzle = (uint32_t)from->swizzle};
        for (int j = 0; j < from->rank; j++) {
            map.extents[j] = (uint64_t)from->extents[j];
            map.strides[j] = (uint64_t)from->strides[j] * size;
            map.box[j] = (uint32_t)from->box[j];
        }
        cuda_map_encode(&bench->device.driver, &map, parameters[from->arg], form->name, &maps[i], &status);
    }
    check(&status);
    CUdeviceptr at = take(bench, cuda->n_maps * sizeof *maps);
    upload(bench, at, maps, cuda->n_maps * sizeof *maps);
    return at;
}

static void prepare(const Bench *bench, Work *work, const Call *call, Prepared *out) {
    const Form *form = kernels_get(work->kernels, call->call.kernel)->form;
    const FormCuda *cuda = work->cuda[call->call.kernel];
    *out = (Prepared){.launch = {.kernel = &bench->device.kernels.kernels[work->numbers[call->call.kernel]],
                                 .value = call->ops,
                                 .source = call->graph->name}};
    size_t n = form->n_args;
    for (size_t i = 0; i < form->n_args; i++) {
        size_t entry = form_arg_entry(form, i);
        if (form->args[i].is_in_pieces)
            out->tables[out->n_tables++] = out->parameters[i] = table_of(bench, work, call, entry, form->n_pieces);
        else
            out->parameters[i] = argument_at(bench, work, call, entry);
    }
    if (cuda->scratch_bytes > 0)
        out->tables[out->n_tables++] = out->parameters[n++] = take(bench, (size_t)cuda->scratch_bytes);
    if (cuda->n_maps > 0)
        out->tables[out->n_tables++] = out->parameters[n] = maps_of(bench, form, cuda, out->parameters);
    out->launch.args = out->parameters;
}

static void launch(const Bench *bench, void *context) {
    Status status = STATUS_INIT;
    const Prepared *prepared = context;
    cuda_kernels_launch(&bench->device.kernels, &prepared->launch, 1, false, &status);
    check(&status);
}

static void print_call(const Work *work, const Call *call, const CudaKernel *loaded, const Times *times) {
    const Kernel *kernel = kernels_get(work->kernels, call->call.kernel);
    printf(
        "{\"graph\": \"%s\", \"kernel\": \"%s\", \"ops\": \"%s\", \"launches\": %zu, \"flops\": %.6g, \"bytes\": %.6g, "
        "\"registers\": %d, ",
        call->graph->name, kernel->name, call->ops, call->n_launches, kernel->flops, kernel->bytes,
        loaded->functions[0].n_registers);
    print_times(times);
    printf("}\n");
    fflush(stdout);
}

/* Of a kernel that was timed before, only its results are wanted. */
static void run_call(const Bench *bench, Work *work, const Call *call) {
    Prepared prepared;
    if (!work->cuda[call->call.kernel])
        return;
    prepare(bench, work, call, &prepared);
    if (call->n_launches > 0) {
        Times times = time_all(bench, launch, &prepared);
        print_call(work, call, prepared.launch.kernel, &times);
    } else {
        launch(bench, &prepared);
    }
    wait(bench);
    for (size_t i = 0; i < prepared.n_tables; i++)
        CALL(bench, cuMemFree, prepared.tables[i]);
}

static uint32_t count_values(const Graph *graph) {
    uint32_t n = 0;
    for (const Node *node = graph->first; node != NULL; node = node->next)
        n += (uint32_t)node->n_results;
    return n;
}

static void find_last_uses(Work *work, const Graph *graph) {
    for (size_t i = 0; i < work->n_calls; i++) {
        for (size_t j = 0; j < work->calls[i].call.n_args && work->calls[i].graph == graph; j++)
            work->last_uses[work->calls[i].call.args[j].owner->number] = i;
    }
}

/* A value takes memory from its first use to its last. */
static void run_graph(const Bench *bench, Work *work, const Graph *graph) {
    uint32_t n = count_values(graph);
    work->values = arena_array_of(work->arena, CUdeviceptr, n);
    work->last_uses = arena_array_of(work->arena, size_t, n);
    find_last_uses(work, graph);
    for (size_t i = 0; i < work->n_calls; i++) {
        if (work->calls[i].graph != graph)
            continue;
        run_call(bench, work, &work->calls[i]);
        for (uint32_t j = 0; j < n; j++) {
            if (work->values[j] && work->last_uses[j] == i) {
                CALL(bench, cuMemFree, work->values[j]);
                work->values[j] = 0;
            }
        }
    }
}

/* Of a model's graphs those of a training step. */
static bool is_timed(const Graph *graph) {
    return strcmp(graph->name, "eval") != 0 && strcmp(graph->name, "generate") != 0;
}

static void run_file(Bench *bench, const char *path) {
    Status status = STATUS_INIT;
    Arena *arena = arena_new();
    Work *work = arena_new_of(arena, Work);
    Module *module = module_read_file(arena, path);
    if (!module)
        fail("cannot read", path);
    run_passes(module);
    *work = (Work){.arena = arena, .kernels = kernels_new(arena, module)};
    for (size_t i = 0; i < module->n_graphs; i++) {
        if (is_timed(module->graphs[i]))
            add_calls(work, module->graphs[i]);
    }
    count_launches(work);
    add_sources(bench, work);
    device_kernels_load(&bench->device, work->sources, work->n_sources, &status);
    check(&status);
    for (size_t i = 0; i < module->n_graphs; i++)
        run_graph(bench, work, module->graphs[i]);
    device_kernels_unload(&bench->device, &status);
    check(&status);
    arena_free(arena);
}

/* ---- The command ------------------------------------------------------------------------------------------------- */

static void open_bench(Bench *bench, bool is_quick) {
    Status status = STATUS_INIT;
    *bench = (Bench){.n_flushed = is_quick ? 0 : (size_t)128 << 20,
                     .n_copied = (size_t)1 << (is_quick ? 16 : 30),
                     .seconds = is_quick ? 0 : 0.2,
                     .least_runs = is_quick ? 1 : LEAST_RUNS};
    if (!device_kernels_open(&bench->device, NULL, &status)) {
        fprintf(stderr, "not measured: no CUDA device: %s\n", status.message);
        device_kernels_close(&bench->device, &status);
        exit(NO_DEVICE);
    }
    const CudaDriver *driver = &bench->device.driver;
    *(void **)&bench->elapsed = dlsym(driver->library.handle, "cuEventElapsedTime");
    if (bench->elapsed) {
        CALL(bench, cuEventCreate, &bench->start, 0);
        CALL(bench, cuEventCreate, &bench->end, 0);
    }
    if (bench->n_flushed > 0)
        bench->flushed = take(bench, bench->n_flushed);
}

static void close_bench(Bench *bench) {
    Status status = STATUS_INIT;
    if (bench->elapsed) {
        CALL(bench, cuEventDestroy, bench->start);
        CALL(bench, cuEventDestroy, bench->end);
    }
    if (bench->n_flushed > 0)
        CALL(bench, cuMemFree, bench->flushed);
    device_kernels_close(&bench->device, &status);
    check(&status);
}

int main(int n_arguments, char **arguments) {
    bool is_quick = false;
    int32_t below = 1;
    int at = 1;
    for (; at < n_arguments && strncmp(arguments[at], "--", 2) == 0; at++) {
        if (strcmp(arguments[at], "--quick") == 0)
            is_quick = true;
        else if (strcmp(arguments[at], "--below") == 0 && at + 1 < n_arguments)
            below = (int32_t)strtol(arguments[++at], NULL, 10);
        else
            fail("unknown option", arguments[at]);
    }
    Bench bench;
    open_bench(&bench, is_quick);
    bench.below = below;
    print_device(&bench);
    for (; at < n_arguments; at++)
        run_file(&bench, arguments[at]);
    close_bench(&bench);
    return 0;
}
