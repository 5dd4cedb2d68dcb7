// RUN: %unit %s
/* A step through all modules, from a reader to a writer: on the fake driver, and on a GPU where there is one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/cuda_compile.h"
#include "runtime/cuda_graph.h"
#include "runtime/cuda_kernels.h"
#include "runtime/cuda_mailbox.h"
#include "runtime/cuda_memory.h"
#include "runtime/cuda_product.h"
#include "runtime/cuda_transfer.h"
#include "tests/support_runtime/cuda_fixture.h"
#include "tests/support_runtime/folder.h"

enum { ROWS = 24, COLS = 40, SUMS = 16, STEPS = 5, BUFFER_BYTES = 256 };

/* The fake knows both by their names. */
static const MoecCudaFunction functions[] = {{"accumulate", 1, 1, 0, 0}, {"twice", 1, 1, 0, 0}};
static const CudaKernelSource source = {
    .text = {.name = "change",
             .text = "extern \"C\" __global__ void accumulate(float *y, const float *x) { *y += *x; }\n"
                     "extern \"C\" __global__ void twice(float *y, const float *x) { *y *= 2; }\n"},
    .functions = functions,
    .n_functions = 2,
    .n_args = 2};

/* Where things are in the memory of the run. */
enum { PART_LHS, PART_RHS, PART_OUT, PART_RATE, PART_WORKSPACE, N_PARTS };
static const CudaPart parts[N_PARTS] = {
    {"lhs", ROWS *SUMS * sizeof(float)},         {"rhs", COLS *SUMS * sizeof(float)},
    {"out", ROWS *COLS * sizeof(float)},         {"rate", sizeof(float)},
    {"workspace", CUDA_PRODUCT_WORKSPACE_BYTES},
};

/* All that is open, in the order in which it was. */
typedef struct {
    CudaDriver driver;
    Nvrtc nvrtc;
    CudaDevice device;
    Cublas cublas;
    CudaMemory memory;
    CudaTransfer transfer;
    NvrtcOutput output;
    CudaKernels kernels;
    CudaProducts products;
    CudaProduct product;
    CudaMailbox rates, results;
    CudaGraph graph;
} Run;

static void run_close(Run *run, Status *status) {
    if (run->graph.device)
        cuda_graph_close(&run->graph, status);
    cuda_mailbox_close(&run->results, status);
    cuda_mailbox_close(&run->rates, status);
    if (run->products.cublas)
        cuda_product_close(&run->product, &run->products, status);
    if (run->kernels.device)
        cuda_kernels_close(&run->kernels, status);
    cuda_transfer_close(&run->transfer, status);
    if (run->device.context)
        cuda_memory_close(&run->memory, &run->device, status);
    cublas_close(&run->cublas, status);
    if (run->device.driver)
        cuda_device_close(&run->device, status);
    nvrtc_output_free(&run->output);
    nvrtc_close(&run->nvrtc);
    cuda_driver_close(&run->driver);
}

static bool compile(Run *run, const CudaCache *cache, Status *status) {
    static const char *const options[] = {"--std=c++17"};
    char architecture[NVRTC_ARCHITECTURE_BYTES];
    Log log = {0};
    if (!nvrtc_architecture(&run->nvrtc, run->device.major, run->device.minor, architecture, status))
        return false;
    const CudaCompiler compiler = {.nvrtc = &run->nvrtc,
                                   .architecture = architecture,
                                   .options = options,
                                   .n_options = 1,
                                   .cache = cache,
                                   .n_threads = 1};
    return cuda_compile(&compiler, &source.text, 1, &run->output, &log, status) &&
           cuda_kernels_open(&run->kernels, &run->device, &source, &run->output, 1, status);
}

static bool open_product(Run *run, const CudaCache *cache, Status *status) {
    const CudaProductShape shape = {.n_rows = ROWS,
                                    .n_cols = COLS,
                                    .k = SUMS,
                                    .lhs = {SUMS, 1},
                                    .rhs = {1, COLS},
                                    .out_stride = COLS,
                                    .operand_dtype = MOEC_DTYPE_F32,
                                    .result_dtype = MOEC_DTYPE_F32,
                                    .alignment = 256};
    const CUdeviceptr *at = run->memory.parts;
    const CudaProductArgs scratch = {at[PART_LHS], at[PART_RHS], at[PART_OUT], 0};
    run->products = (CudaProducts){.cublas = &run->cublas,
                                   .device = &run->device,
                                   .cache = cache,
                                   .workspace = at[PART_WORKSPACE],
                                   .n_workspace_bytes = CUDA_PRODUCT_WORKSPACE_BYTES};
    return cuda_product_open(&run->product, &run->products, &shape, &scratch, status);
}

static bool run_open(Run *run, const CudaPlaces *places, const CudaCache *cache, Status *status) {
    *run = (Run){0};
    const CUdeviceptr *at = run->memory.parts;
    if (!cuda_driver_open(&run->driver, places, status) ||
        !nvrtc_open(&run->nvrtc, places, run->driver.version, status) ||
        !cuda_device_open(&run->device, &run->driver, 0, status) ||
        !cublas_open(&run->cublas, places, run->driver.version, status) ||
        !cuda_memory_open(&run->memory, &run->device, parts, N_PARTS, status) ||
        !cuda_transfer_open(&run->transfer, &run->device, BUFFER_BYTES, status) || !compile(run, cache, status) ||
        !open_product(run, cache, status) ||
        !cuda_mailbox_open(&run->rates, &run->device, at[PART_RATE], sizeof(float), status) ||
        !cuda_mailbox_open(&run->results, &run->device, at[PART_OUT], sizeof(float), status))
        run_close(run, status);
    return !status->failed;
}

/* ---- Its numbers ------------------------------------------------------------------------------------------------- */

static float lhs_at(int i, int k) {
    return (float)((i + 2 * k) % 5 - 2);
}

static float rhs_at(int j, int k) {
    return (float)((3 * j + k) % 7 - 3);
}

static float product_at(int i, int j) {
    float sum = 0;
    for (int k = 0; k < SUMS; k++)
        sum += lhs_at(i, k) * rhs_at(j, k);
    return sum;
}

/* Reads and writes an array. */
typedef struct {
    CudaReader reader;
    CudaWriter writer;
    float values[ROWS * COLS];
} Array;

static bool read_array(CudaReader *self, void *bytes, uint64_t offset, size_t n, Status *status) {
    (void)status;
    const Array *array = (const Array *)(const void *)((const char *)self - offsetof(Array, reader));
    memcpy(bytes, (const char *)array->values + offset, n);
    return true;
}

static bool write_array(CudaWriter *self, const void *bytes, uint64_t offset, size_t n, Status *status) {
    (void)status;
    Array *array = (Array *)(void *)((char *)self - offsetof(Array, writer));
    memcpy((char *)array->values + offset, bytes, n);
    return true;
}

static bool upload(Run *run, Status *status) {
    Array lhs = {.reader = {read_array}}, rhs = {.reader = {read_array}};
    for (int k = 0; k < SUMS; k++) {
        for (int i = 0; i < ROWS; i++)
            lhs.values[i * SUMS + k] = lhs_at(i, k);
        for (int j = 0; j < COLS; j++)
            rhs.values[k * COLS + j] = rhs_at(j, k);
    }
    return cuda_transfer_upload(&run->transfer, run->memory.parts[PART_LHS], parts[PART_LHS].n_bytes, &lhs.reader,
                                "lhs", status) &&
           cuda_transfer_upload(&run->transfer, run->memory.parts[PART_RHS], parts[PART_RHS].n_bytes, &rhs.reader,
                                "rhs", status) &&
           cuda_transfer_finish(&run->transfer, status);
}

/* out = lhs rhs^T; then its first element becomes 2 (it + rate). */
static bool do_step(Run *run, Status *status) {
    const CUdeviceptr *at = run->memory.parts;
    const CUdeviceptr args[] = {at[PART_OUT], at[PART_RATE]};
    const CudaProductArgs operands = {at[PART_LHS], at[PART_RHS], at[PART_OUT], 0};
    const CudaLaunch launch = {&run->kernels.kernels[0], args, "%out.2", "test.moe:1:1"};
    return cuda_product_launch(&run->product, &run->products, &operands, CUDA_TO("multiply"), status) &&
           cuda_kernels_launch(&run->kernels, &launch, 1, false, status);
}

static bool record(Run *run, Status *status) {
    if (!do_step(run, status) || !cuda_graph_begin(&run->device, status))
        return false;
    do_step(run, status);
    return cuda_graph_end(&run->graph, &run->device, status);
}

/* The results of all steps, each read while the next is under way. */
static bool run_steps(Run *run, float results[STEPS], Status *status) {
    for (int i = 0; i < STEPS; i++) {
        float rate = (float)(i + 1);
        if (!cuda_mailbox_send(&run->rates, &rate, status) || !cuda_graph_launch(&run->graph, "train", status) ||
            !cuda_mailbox_fetch(&run->results, status) ||
            (i > 0 && !cuda_mailbox_take(&run->results, &results[i - 1], status)))
            return false;
    }
    return cuda_mailbox_take(&run->results, &results[STEPS - 1], status);
}

static void expect_run(const CudaPlaces *places, const CudaCache *cache) {
    Run run;
    Array out = {.writer = {write_array}};
    float results[STEPS] = {0};
    Status status = STATUS_INIT;
    if (run_open(&run, places, cache, &status)) {
        if (upload(&run, &status) && record(&run, &status) && run_steps(&run, results, &status))
            cuda_transfer_download(&run.transfer, run.memory.parts[PART_OUT], sizeof out.values, &out.writer, "out",
                                   &status);
        run_close(&run, &status);
    }
    expect_success(&status);
    for (int i = 0; i < STEPS; i++)
        assert_true(results[i] == 2 * (product_at(0, 0) + (float)(i + 1)));
    for (int i = 0; i < ROWS * COLS; i++)
        assert_true(out.values[i] == (i == 0 ? results[STEPS - 1] : product_at(i / COLS, i % COLS)));
}

/* Twice: the second time, code and choice are in the cache. */
static void expect_runs(const CudaPlaces *places) {
    CudaCache cache;
    Folder folder = folder_make();
    Status status = STATUS_INIT;
    cuda_cache_open(&cache, disk_system(), folder.path, CUDA_CACHE_BYTES, &status);
    expect_success(&status);
    expect_run(places, &cache);
    assert_int_equal(folder_count(&folder, "."), 2);
    expect_run(places, &cache);
    assert_int_equal(folder_count(&folder, "."), 2);
    cuda_cache_close(&cache);
    folder_remove(&folder);
}

static void steps_run_on_the_fake(void **state) {
    (void)state;
    CudaFixture fixture;
    cuda_fixture_open(&fixture);
    expect_runs(&fixture.places);
    assert_int_equal(fixture.fake->n_compiled, 1);
    cuda_fixture_close(&fixture);
}

static void fail_run(CudaFixture *fixture, void *state, Status *status) {
    (void)state;
    Run run;
    float results[STEPS];
    if (!run_open(&run, &fixture->places, NULL, status))
        return;
    if (upload(&run, status) && record(&run, status))
        run_steps(&run, results, status);
    run_close(&run, status);
}

static void every_failure_on_the_way_is_told(void **state) {
    (void)state;
    CudaFixture fixture;
    cuda_fixture_open(&fixture);
    cuda_fixture_fail_each(&fixture, fail_run, NULL);
    cuda_fixture_close(&fixture);
}

/* AddressSanitizer takes addresses that the real driver wants. */
static void steps_run_on_a_gpu(void **state) {
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    skip();
#endif
    CudaPlaces places;
    Status status = STATUS_INIT;
    if (access("/dev/nvidiactl", R_OK) != 0)
        skip();
    cuda_places_open(&places, &status);
    expect_success(&status);
    expect_runs(&places);
    cuda_places_close(&places);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_run_on_the_fake),
        cmocka_unit_test(every_failure_on_the_way_is_told),
        cmocka_unit_test(steps_run_on_a_gpu),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
