// RUN: env MOEC_ROOT=%root %unit %s
/* Forms on the software GPU of tests/sim_cuda, through the runtime's modules, against the interpreter; and what it says
   of kernels that no GPU would run. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/cuda_graph.h"
#include "runtime/cuda_memory.h"
#include "tests/gpu/device_kernels.h"
#include "tests/support/random_form.h"

enum { MAX_ARGS = 32, TIMES = 2 };

typedef struct {
    DeviceKernels at;
    CudaMemory memory; /* a part for each argument */
} Gpu;

/* The libraries stand beside the folder of the tests' programs. */
static void find_libraries(char folder[600]) {
    char path[512];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    assert_true(length > 0);
    path[length] = '\0';
    *strrchr(path, '/') = '\0';
    snprintf(folder, 600, "%s/../../sim_cuda/lib64", path);
}

static void gpu_close(Gpu *gpu, Status *status) {
    if (gpu->at.device.context)
        cuda_memory_close(&gpu->memory, &gpu->at.device, status);
    device_kernels_close(&gpu->at, status);
}

static bool gpu_open(Gpu *gpu, const CudaKernelSource *source, const CudaPart *parts, size_t n_parts, Status *status) {
    char folder[600];
    *gpu = (Gpu){0};
    find_libraries(folder);
    return device_kernels_open(&gpu->at, folder, status) &&
           cuda_memory_open(&gpu->memory, &gpu->at.device, parts, n_parts, status) &&
           device_kernels_load(&gpu->at, source, 1, status);
}

static void expect_success(const Status *status) {
    if (status->failed)
        fail_msg("%s", status->message);
}

static bool copy_in(Gpu *gpu, size_t part, const void *bytes, size_t n_bytes, Status *status) {
    return CUDA_CALL(&gpu->at.driver, CUDA_TO("copy"), status, cuMemcpyHtoDAsync, gpu->memory.parts[part], bytes,
                     n_bytes, gpu->at.device.work);
}

static bool copy_out(Gpu *gpu, size_t part, void *bytes, size_t n_bytes, Status *status) {
    return CUDA_CALL(&gpu->at.driver, CUDA_TO("copy"), status, cuMemcpyDtoHAsync, bytes, gpu->memory.parts[part],
                     n_bytes, gpu->at.device.work) &&
           cuda_device_wait(&gpu->at.device, gpu->at.device.work, CUDA_TO("copy"), status);
}

/* ---- Forms ------------------------------------------------------------------------------------------------------- */

static size_t form_arg_bytes(const FormArg *arg) {
    return (size_t)arg->n_elements * dtype_size(arg->dtype);
}

/* What form_cuda gives, as the runtime takes it. */
static CudaKernelSource source_of(Arena *arena, const RandomForm *random, CudaPart parts[MAX_ARGS]) {
    const Form *form = random->form;
    const char *error;
    const FormCuda *cuda = form_cuda(arena, form, CUDA_SM_80, NULL, &error);
    if (!cuda)
        fail_msg("%s", error);
    size_t n = form->n_args + (cuda->scratch_bytes > 0);
    assert_true(n <= CUDA_MAX_PARTS);
    for (size_t i = 0; i < form->n_args; i++)
        parts[i] = (CudaPart){form->args[i].name, form_arg_bytes(&form->args[i])};
    if (cuda->scratch_bytes > 0)
        parts[form->n_args] = (CudaPart){"scratch", (uint64_t)cuda->scratch_bytes};
    return device_kernel_source(arena, form, cuda);
}

static void *elements_of(Arena *arena, const FormArg *arg, const double *values) {
    float *elements = arena_array_of(arena, float, (size_t)arg->n_elements);
    for (int64_t i = 0; i < arg->n_elements; i++)
        random_form_write(arg, elements, i, values[i]);
    return elements;
}

static bool copy_args(Gpu *gpu, const Form *form, void *const *elements, Status *status) {
    for (size_t i = 0; i < form->n_args; i++) {
        if (!copy_in(gpu, i, elements[i], form_arg_bytes(&form->args[i]), status))
            return false;
    }
    return cuda_device_wait(&gpu->at.device, gpu->at.device.work, CUDA_TO("copy"), status);
}

/* Launched by itself and, on the same arguments again, from a graph. */
static bool run_twice(Gpu *gpu, const Form *form, void *const *elements, void **results, Status *status) {
    CudaGraph graph = {0};
    const CudaLaunch launch = {&gpu->at.kernels.kernels[0], gpu->memory.parts, "%y.1", "test.moe:1:1"};
    if (cuda_graph_begin(&gpu->at.device, status)) {
        cuda_kernels_launch(&gpu->at.kernels, &launch, 1, false, status);
        cuda_graph_end(&graph, &gpu->at.device, status);
    }
    for (int time = 0; time < TIMES && !status->failed; time++) {
        copy_args(gpu, form, elements, status);
        if (time == 0)
            cuda_kernels_launch(&gpu->at.kernels, &launch, 1, true, status);
        else
            cuda_graph_launch(&graph, "test", status);
        for (size_t i = 0; i < form->n_args && !status->failed; i++)
            copy_out(gpu, i, results[(size_t)time * form->n_args + i], form_arg_bytes(&form->args[i]), status);
    }
    if (graph.device)
        cuda_graph_close(&graph, status);
    return !status->failed;
}

static void compare(const RandomForm *random, const FormArg *arg, const void *actual, const double *expected) {
    for (int64_t i = 0; i < arg->n_elements; i++) {
        double a = random_form_read(arg, actual, i);
        if (!(fabs(a - expected[i]) <= random_form_margin(random, arg, expected[i])))
            fail_msg("%s of %s, element %lld: %.9g, expected %.9g", arg->name, random->form->name, (long long)i, a,
                     expected[i]);
    }
}

static void expect_form(RandomForm random) {
    Arena *arena = arena_new();
    const Form *form = random.form;
    Gpu gpu;
    CudaPart parts[MAX_ARGS];
    Status status = STATUS_INIT;
    CudaKernelSource source = source_of(arena, &random, parts);
    double **values = random_form_values(arena, &random, 100);
    void **elements = arena_array_of(arena, void *, form->n_args);
    void **results = arena_array_of(arena, void *, TIMES * form->n_args);
    for (size_t i = 0; i < form->n_args; i++)
        elements[i] = elements_of(arena, &form->args[i], values[i]);
    for (size_t i = 0; i < TIMES * form->n_args; i++)
        results[i] = arena_array_of(arena, float, (size_t)form->args[i % form->n_args].n_elements);
    if (gpu_open(&gpu, &source, parts, source.n_args, &status))
        run_twice(&gpu, form, elements, results, &status);
    gpu_close(&gpu, &status);
    expect_success(&status);
    const char *error = form_interpret(arena, form, values);
    if (error)
        fail_msg("%s", error);
    for (size_t i = 0; i < TIMES * form->n_args; i++) {
        if (form->args[i % form->n_args].access != FORM_IN)
            compare(&random, &form->args[i % form->n_args], results[i], values[i % form->n_args]);
    }
    arena_free(arena);
}

typedef RandomForm RandomMaker(Arena *arena, const char *name, uint64_t seed);

static void expect_forms(RandomMaker *make, const char *name, int n) {
    Arena *arena = arena_new();
    for (int i = 0; i < n; i++)
        expect_form(make(arena, arena_printf(arena, "%s_%d", name, i), (uint64_t)i));
    arena_free(arena);
}

static void rows_run(void **state) {
    (void)state;
    expect_forms(random_form_rows, "rows", 4);
}

static void scatters_run(void **state) {
    (void)state;
    expect_forms(random_form_scatter, "scatter", 2);
}

static void products_run(void **state) {
    (void)state;
    expect_forms(random_form_product, "product", 6);
}

static void attention_runs(void **state) {
    (void)state;
    expect_forms(random_form_attention, "attention", 2);
}

/* ---- What goes wrong --------------------------------------------------------------------------------------------- */

/* What becomes of a kernel of 64 threads that gets 64 floats; where it is launched, with its result. */
static Status run_body(const char *body, float result[64]) {
    static const CudaPart part = {"numbers", 64 * sizeof(float)};
    Arena *arena = arena_new();
    Status status = STATUS_INIT;
    Gpu gpu;
    Form form = {.name = "planted", .n_args = 1};
    FormCudaLaunch launched = {.kernel = "planted", .n_blocks = 1, .n_threads = 64};
    const FormCuda planted = {
        .text = arena_printf(arena, "MOEC_KERNEL(64) void planted(float *__restrict__ y) {\n%s\n}\n", body),
        .n_launches = 1,
        .launches = &launched};
    const CudaKernelSource source = device_kernel_source(arena, &form, &planted);
    if (gpu_open(&gpu, &source, &part, 1, &status)) {
        const CudaLaunch launch = {&gpu.at.kernels.kernels[0], gpu.memory.parts, "%y.1", "test.moe:1:1"};
        if (cuda_kernels_launch(&gpu.at.kernels, &launch, 1, true, &status))
            copy_out(&gpu, 0, result, 64 * sizeof(float), &status);
    }
    gpu_close(&gpu, &status);
    arena_free(arena);
    return status;
}

static void expect_message(const Status *status, const char *part) {
    if (!status->failed || !strstr(status->message, part))
        fail_msg("expected \"%s\" in: %s", part, status->failed ? status->message : "(success)");
}

static void kernels_run_without_a_fault(void **state) {
    (void)state;
    float result[64];
    Status status = run_body("y[threadIdx.x] = (float)threadIdx.x;", result);
    expect_success(&status);
    for (int i = 0; i < 64; i++)
        assert_true(result[i] == (float)i);
}

static void text_that_does_not_compile_is_told(void **state) {
    (void)state;
    float result[64];
    Status status = run_body("y[0] = x;", result);
    expect_message(&status, "kernel planted");
    expect_message(&status, "'x' undeclared");
}

static void faults_are_the_device_s(void **state) {
    (void)state;
    float result[64];
    Status status = run_body("if (threadIdx.x < 32)\n    __syncthreads();", result);
    expect_message(&status, "kernel planted");
    expect_message(&status, "CUDA_ERROR_ILLEGAL_ADDRESS");
}

/* One element too far; unchecked, that is nobody's memory, but within the page that the part takes. */
static void accesses_are_checked_if_wanted(void **state) {
    (void)state;
    float result[64];
    static const char body[] = "y[threadIdx.x] = 1.0f;\nif (threadIdx.x == 0)\n    y[63] = 2.0f;";
    setenv("MOEC_SIM_CHECK", "1", 1);
    Status status = run_body(body, result);
    expect_message(&status, "CUDA_ERROR_ILLEGAL_ADDRESS");
    status = run_body("y[threadIdx.x] = 1.0f;", result);
    expect_success(&status);
    status = run_body("y[(int)threadIdx.x - 64] = 1.0f;", result);
    expect_message(&status, "CUDA_ERROR_ILLEGAL_ADDRESS");
    unsetenv("MOEC_SIM_CHECK");
    status = run_body(body, result);
    expect_success(&status);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_run),
        cmocka_unit_test(scatters_run),
        cmocka_unit_test(products_run),
        cmocka_unit_test(attention_runs),
        cmocka_unit_test(kernels_run_without_a_fault),
        cmocka_unit_test(text_that_does_not_compile_is_told),
        cmocka_unit_test(faults_are_the_device_s),
        cmocka_unit_test(accesses_are_checked_if_wanted),
    };
    unsetenv("MOEC_SIM_CHECK");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
