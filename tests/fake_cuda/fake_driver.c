/* libcuda. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cuda_api.h"
#include "tests/fake_cuda/fake_code.h"
#include "tests/fake_cuda/fake_stream.h"
#include "tests/simt/simt_tensor_map.h"

#define PROTOTYPE(name, symbol, result, parameters) result symbol parameters;
CUDA_DRIVER_FUNCTIONS(PROTOTYPE)

enum { INVALID = 1, NOT_INITIALIZED = 3, INJECTED = 999 };

static FakeCuda fake;
static bool is_started;
static CUcontext context_alive; /* the primary one, counted */
static _Thread_local CUcontext current;

FakeCuda *fake_cuda(void) {
    return &fake;
}

__attribute__((constructor)) void fake_reset(void) {
    memset(&fake, 0, sizeof fake);
    fake.driver_version = 13000;
    fake.nvrtc_major = 13;
    fake.n_devices = 2;
    fake.major = 9;
    static const int known[FAKE_ARCHITECTURES] = {80, 90, 100};
    memcpy(fake.architectures, known, sizeof known);
    fake.fail_at = -1;
    fake_code_set_up(&fake);
    is_started = false;
    current = NULL;
    fake_streams_reset();
}

bool fake_fails(const char *call) {
    if (atomic_fetch_add(&fake.n_calls, 1) != fake.fail_at)
        return false;
    fake.failed = call;
    return true;
}

void fake_misuse(const char *what) {
    if (!*fake.misuse)
        snprintf(fake.misuse, sizeof fake.misuse, "%s", what);
}

/* Begins a call that needs a context. */
#define BEGIN()                                                                                                        \
    do {                                                                                                               \
        if (!current)                                                                                                  \
            fake_misuse(__func__);                                                                                     \
        if (fake_fails(__func__))                                                                                      \
            return INJECTED;                                                                                           \
    } while (0)

/* ---- Errors ------------------------------------------------------------------------------------------------------ */

typedef struct {
    CudaResult result;
    const char *name, *text;
} FakeError;

static const FakeError errors[] = {
    {INVALID, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {CUDA_RESULT_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {CUDA_RESULT_NO_DEVICE, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {CUDA_RESULT_NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {FAKE_FAULT, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {INJECTED, "CUDA_ERROR_UNKNOWN", "unknown error"},
};

static const FakeError *find_error(CudaResult result) {
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        if (errors[i].result == result)
            return &errors[i];
    }
    return NULL;
}

CudaResult cuGetErrorName(CudaResult result, const char **name) {
    const FakeError *error = find_error(result);
    *name = error ? error->name : NULL;
    return error ? CUDA_RESULT_SUCCESS : INVALID;
}

CudaResult cuGetErrorString(CudaResult result, const char **text) {
    const FakeError *error = find_error(result);
    *text = error ? error->text : NULL;
    return error ? CUDA_RESULT_SUCCESS : INVALID;
}

/* ---- Devices ----------------------------------------------------------------------------------------------------- */

CudaResult cuInit(unsigned flags) {
    if (fake_fails(__func__))
        return INJECTED;
    if (fake.n_devices == 0)
        return CUDA_RESULT_NO_DEVICE;
    is_started = flags == 0;
    return CUDA_RESULT_SUCCESS;
}

CudaResult cuDriverGetVersion(int *version) {
    if (fake_fails(__func__))
        return INJECTED;
    *version = fake.driver_version;
    return CUDA_RESULT_SUCCESS;
}

CudaResult cuDeviceGetCount(int *n) {
    if (fake_fails(__func__))
        return INJECTED;
    *n = fake.n_devices;
    return is_started ? CUDA_RESULT_SUCCESS : NOT_INITIALIZED;
}

CudaResult cuDeviceGet(CUdevice *device, int ordinal) {
    if (fake_fails(__func__))
        return INJECTED;
    if (!is_started)
        return NOT_INITIALIZED;
    *device = 70 + ordinal;
    return ordinal < fake.n_devices ? CUDA_RESULT_SUCCESS : INVALID;
}

CudaResult cuDeviceGetName(char *name, int size, CUdevice device) {
    if (fake_fails(__func__))
        return INJECTED;
    snprintf(name, (size_t)size, "%s %d", fake.device, device - 70);
    return CUDA_RESULT_SUCCESS;
}

CudaResult cuDeviceGetAttribute(int *value, CudaEnum attribute, CUdevice device) {
    (void)device;
    if (fake_fails(__func__))
        return INJECTED;
    switch (attribute) {
    case CUDA_DEVICE_MULTIPROCESSORS:
        *value = 132;
        return CUDA_RESULT_SUCCESS;
    case CUDA_DEVICE_MAJOR:
        *value = fake.major;
        return CUDA_RESULT_SUCCESS;
    case CUDA_DEVICE_MINOR:
        *value = fake.minor;
        return CUDA_RESULT_SUCCESS;
    case CUDA_DEVICE_SHARED_BYTES:
        *value = 232448;
        return CUDA_RESULT_SUCCESS;
    default:
        return INVALID;
    }
}

CudaResult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device) {
    static char place;
    (void)device;
    if (fake_fails(__func__))
        return INJECTED;
    *context = context_alive = (CUcontext)(void *)&place;
    fake.alive[FAKE_CONTEXT]++;
    return CUDA_RESULT_SUCCESS;
}

CudaResult cuDevicePrimaryCtxRelease_v2(CUdevice device) {
    (void)device;
    for (int kind = FAKE_CONTEXT + 1; kind <= FAKE_INSTANCE; kind++) {
        if (fake.alive[kind] != 0)
            fake_misuse("the context is released before what is in it");
    }
    fake.alive[FAKE_CONTEXT]--;
    return fake_fails(__func__) ? INJECTED : CUDA_RESULT_SUCCESS;
}

CudaResult cuCtxSetCurrent(CUcontext context) {
    if (fake_fails(__func__))
        return INJECTED;
    current = context;
    return !context || context == context_alive ? CUDA_RESULT_SUCCESS : INVALID;
}

/* ---- Memory ------------------------------------------------------------------------------------------------------ */

/* Those of the device, in memory, know each other. */
struct FakeBlock {
    size_t n_bytes;
    FakeBlock *next;
    char padding[256 - 2 * sizeof(size_t)];
};

static FakeBlock *blocks;

const FakeBlock *fake_block_next(const FakeBlock *block) {
    return block ? block->next : blocks;
}

void *fake_block_bytes(const FakeBlock *block, size_t *n_bytes) {
    *n_bytes = block->n_bytes;
    return (void *)(uintptr_t)(block + 1);
}

CudaResult cuMemGetInfo_v2(size_t *n_free, size_t *n_all) {
    BEGIN();
    *n_free = fake.free_bytes;
    *n_all = fake.total_bytes;
    return CUDA_RESULT_SUCCESS;
}

CudaResult cuMemAlloc_v2(CUdeviceptr *at, size_t n_bytes) {
    BEGIN();
    if (n_bytes == 0)
        return INVALID;
    if (n_bytes > fake.free_bytes)
        return CUDA_RESULT_OUT_OF_MEMORY;
    FakeBlock *block = NULL; /* as the driver has it, at a multiple of 256 bytes */
    if (posix_memalign((void **)&block, sizeof *block, sizeof *block + n_bytes) != 0)
        return CUDA_RESULT_OUT_OF_MEMORY;
    block->n_bytes = n_bytes;
    block->next = blocks;
    blocks = block;
    memset(block + 1, 0xcd, n_bytes);
    fake.free_bytes -= n_bytes;
    fake.alive[FAKE_MEMORY]++;
    *at = (CUdeviceptr)(uintptr_t)(block + 1);
    return CUDA_RESULT_SUCCESS;
}

CudaResult cuMemFree_v2(CUdeviceptr at) {
    FakeBlock *block = (FakeBlock *)(uintptr_t)at - 1;
    if (fake_streams_touch(block + 1, block->n_bytes))
        fake_misuse("memory of the device is freed while a stream needs it");
    FakeBlock **link = &blocks;
    while (*link != block)
        link = &(*link)->next;
    *link = block->next;
    fake.free_bytes += block->n_bytes;
    fake.alive[FAKE_MEMORY]--;
    free(block);
    return fake_fails(__func__) ? INJECTED : CUDA_RESULT_SUCCESS;
}

CudaResult cuMemHostAlloc(void **bytes, size_t n_bytes, unsigned flags) {
    BEGIN();
    if (flags != 0)
        return INVALID;
    FakeBlock *block = malloc(sizeof *block + n_bytes);
    block->n_bytes = n_bytes;
    *bytes = block + 1;
    fake.alive[FAKE_PINNED]++;
    return CUDA_RESULT_SUCCESS;
}

CudaResult cuMemFreeHost(void *bytes) {
    FakeBlock *block = (FakeBlock *)bytes - 1;
    if (fake_streams_touch(bytes, block->n_bytes))
        fake_misuse("pinned memory is freed while a stream needs it");
    free(block);
    fake.alive[FAKE_PINNED]--;
    return fake_fails(__func__) ? INJECTED : CUDA_RESULT_SUCCESS;
}

CudaResult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t n_bytes, CUstream stream) {
    BEGIN();
    return fake_stream_copy(stream, (void *)(uintptr_t)to, from, n_bytes);
}

CudaResult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t n_bytes, CUstream stream) {
    BEGIN();
    return fake_stream_copy(stream, to, (const void *)(uintptr_t)from, n_bytes);
}

CudaResult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t n_bytes, CUstream stream) {
    BEGIN();
    return fake_stream_copy(stream, (void *)(uintptr_t)to, (const void *)(uintptr_t)from, n_bytes);
}

CudaResult cuMemsetD8Async(CUdeviceptr at, unsigned char byte, size_t n_bytes, CUstream stream) {
    BEGIN();
    return fake_stream_fill(stream, (void *)(uintptr_t)at, byte, n_bytes);
}

/* ---- Streams, events, graphs ------------------------------------------------------------------------------------- */

CudaResult cuStreamCreate(CUstream *stream, unsigned flags) {
    BEGIN();
    if (flags != CUDA_STREAM_ASIDE)
        return INVALID;
    *stream = fake_stream_new();
    fake.alive[FAKE_STREAM]++;
    return CUDA_RESULT_SUCCESS;
}

CudaResult cuStreamDestroy_v2(CUstream stream) {
    fake_stream_free(stream);
    fake.alive[FAKE_STREAM]--;
    return fake_fails(__func__) ? INJECTED : CUDA_RESULT_SUCCESS;
}

/* One that fails has waited even so: its caller can do no more. */
CudaResult cuStreamSynchronize(CUstream stream) {
    CudaResult result = fake_stream_drain(stream);
    BEGIN();
    return result;
}

CudaResult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned flags) {
    BEGIN();
    return flags == 0 ? fake_stream_wait(stream, event) : INVALID;
}

CudaResult cuEventCreate(CUevent *event, unsigned flags) {
    BEGIN();
    if (flags != CUDA_EVENT_WITHOUT_TIME)
        return INVALID;
    *event = calloc(1, sizeof **event);
    fake.alive[FAKE_EVENT]++;
    return CUDA_RESULT_SUCCESS;
}

CudaResult cuEventDestroy_v2(CUevent event) {
    if (fake_streams_touch(event, 1))
        fake_misuse("an event is ended while a stream needs it");
    free(event);
    fake.alive[FAKE_EVENT]--;
    return fake_fails(__func__) ? INJECTED : CUDA_RESULT_SUCCESS;
}

CudaResult cuEventRecord(CUevent event, CUstream stream) {
    BEGIN();
    return fake_stream_record(stream, event);
}

CudaResult cuEventSynchronize(CUevent event) {
    CudaResult result = fake_event_wait(event);
    BEGIN();
    return result;
}

CudaResult cuStreamBeginCapture_v2(CUstream stream, CudaEnum mode) {
    BEGIN();
    return mode == CUDA_CAPTURE_OF_THREAD ? fake_stream_begin_capture(stream) : INVALID;
}

CudaResult cuStreamEndCapture(CUstream stream, CUgraph *graph) {
    *graph = fake_stream_end_capture(stream);
    if (*graph)
        fake.alive[FAKE_GRAPH]++;
    if (!fake_fails(__func__))
        return *graph ? CUDA_RESULT_SUCCESS : INVALID;
    if (*graph)
        cuGraphDestroy(*graph);
    *graph = NULL;
    return INJECTED;
}

CudaResult cuGraphGetNodes(CUgraph graph, CUgraphNode *nodes, size_t *n) {
    BEGIN();
    *n = fake_graph_length(graph);
    return nodes ? INVALID : CUDA_RESULT_SUCCESS;
}

CudaResult cuGraphInstantiateWithFlags(CUgraphExec *instance, CUgraph graph, unsigned long long flags) {
    BEGIN();
    if (flags != 0)
        return INVALID;
    *instance = fake_graph_instantiate(graph);
    fake.alive[FAKE_INSTANCE]++;
    return CUDA_RESULT_SUCCESS;
}

CudaResult cuGraphDestroy(CUgraph graph) {
    fake_graph_free(graph);
    fake.alive[FAKE_GRAPH]--;
    return fake_fails(__func__) ? INJECTED : CUDA_RESULT_SUCCESS;
}

CudaResult cuGraphExecDestroy(CUgraphExec instance) {
    if (fake_streams_touch(instance, 1))
        fake_misuse("a graph is ended while a stream needs it");
    fake_instance_free(instance);
    fake.alive[FAKE_INSTANCE]--;
    return fake_fails(__func__) ? INJECTED : CUDA_RESULT_SUCCESS;
}

CudaResult cuGraphLaunch(CUgraphExec instance, CUstream stream) {
    BEGIN();
    return fake_stream_replay(stream, instance);
}

/* ---- Tensors ----------------------------------------------------------------------------------------------------- */

CudaResult cuTensorMapEncodeTiled(CudaTensorMap *map, CudaEnum type, unsigned rank, void *address,
                                  const uint64_t *extents, const uint64_t *strides, const unsigned *box,
                                  const unsigned *element_strides, CudaEnum interleave, CudaEnum swizzle,
                                  CudaEnum promotion, CudaEnum fill) {
    BEGIN();
    const SimtTensor tensor = {.type = type,
                               .rank = rank,
                               .address = address,
                               .extents = extents,
                               .strides = strides,
                               .box = box,
                               .element_strides = element_strides,
                               .interleave = interleave,
                               .swizzle = swizzle,
                               .promotion = promotion,
                               .fill = fill};
    return simt_tensor_map_encode(map, &tensor) ? INVALID : CUDA_RESULT_SUCCESS;
}

/* ---- Modules and launches ---------------------------------------------------------------------------------------- */

struct CUmod_st {
    FakeCode *code;
    CUfunction functions;
};

CudaResult cuModuleLoadData(CUmodule *module, const void *image) {
    BEGIN();
    FakeCode *code = fake_code_open(image);
    if (!code)
        return INVALID;
    *module = calloc(1, sizeof **module);
    (*module)->code = code;
    fake.alive[FAKE_MODULE]++;
    return CUDA_RESULT_SUCCESS;
}

CudaResult cuModuleUnload(CUmodule module) {
    for (CUfunction function = module->functions, next; function; function = next) {
        if (fake_streams_touch(function, 1))
            fake_misuse("a module is unloaded while a stream needs it");
        next = function->next;
        free(function);
    }
    fake_code_close(module->code);
    free(module);
    fake.alive[FAKE_MODULE]--;
    return fake_fails(__func__) ? INJECTED : CUDA_RESULT_SUCCESS;
}

CudaResult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name) {
    BEGIN();
    struct CUfunc_st found = {.code = module->code, .next = module->functions};
    if (!fake_code_find(module->code, name, &found))
        return CUDA_RESULT_NOT_FOUND;
    *function = module->functions = malloc(sizeof found);
    **function = found;
    return CUDA_RESULT_SUCCESS;
}

CudaResult cuFuncGetAttribute(int *value, CudaEnum attribute, CUfunction function) {
    BEGIN();
    *value = attribute == CUDA_FUNCTION_MAX_THREADS    ? function->max_threads
             : attribute == CUDA_FUNCTION_REGISTERS    ? 40
             : attribute == CUDA_FUNCTION_SHARED_BYTES ? function->declared_shared_bytes
                                                       : 0;
    return CUDA_RESULT_SUCCESS;
}

CudaResult cuFuncSetAttribute(CUfunction function, CudaEnum attribute, int value) {
    BEGIN();
    if (attribute != CUDA_FUNCTION_DYNAMIC_SHARED_BYTES || value > 232448 - function->declared_shared_bytes)
        return INVALID;
    function->asked_shared_bytes = (unsigned)value;
    return CUDA_RESULT_SUCCESS;
}

CudaResult cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                          unsigned block_y, unsigned block_z, unsigned n_shared_bytes, CUstream stream,
                          void **arguments, void **extra) {
    BEGIN();
    unsigned n_allowed = function->asked_shared_bytes > 48 * 1024 ? function->asked_shared_bytes : 48 * 1024;
    uint64_t n_threads = (uint64_t)block_x * block_y * block_z;
    if (extra || n_shared_bytes > n_allowed || n_threads == 0 || n_threads > (uint64_t)function->max_threads ||
        (uint64_t)grid_x * grid_y * grid_z == 0)
        return INVALID;
    snprintf(fake.launched, sizeof fake.launched, "%s grid %u %u %u block %u %u %u shared %u", function->name, grid_x,
             grid_y, grid_z, block_x, block_y, block_z, n_shared_bytes);
    const FakeLaunch launch = {function, grid_x * grid_y * grid_z, (unsigned)n_threads, n_shared_bytes, arguments};
    return fake_stream_launch(stream, &launch);
}
