// REQUIRES: nvrtc
// RUN: %nvrtc %unit %s
/* The real NVRTC, where one is installed; it needs no GPU. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/cuda_compile.h"
#include "tests/support_runtime/folder.h"

/* Open for as long as the process runs: NVRTC that is unloaded leaves memory of its own behind. */
static Nvrtc nvrtc;

static int open_nvrtc(void **state) {
    (void)state;
    CudaPlaces places;
    Status status = STATUS_INIT;
    cuda_places_open(&places, &status);
    nvrtc_open(&nvrtc, &places, 0, &status);
    cuda_places_close(&places);
    expect_success(&status);
    return nvrtc.major >= 12 ? 0 : -1;
}

static const CudaText add = {.name = "add",
                             .text = "extern \"C\" __global__ void add(float *y, const float *x) {\n"
                                     "    y[threadIdx.x] += x[threadIdx.x];\n"
                                     "}\n"};

static const char *const options[] = {"--std=c++17"};

static void a_kernel_becomes_a_cubin(void **state) {
    (void)state;
    static const char *const architectures[] = {"sm_80", "sm_90a"};
    for (size_t i = 0; i < 2; i++) {
        NvrtcOutput output, again;
        Status status = STATUS_INIT;
        nvrtc_compile(&nvrtc, &add, architectures[i], options, 1, &output, &status);
        nvrtc_compile(&nvrtc, &add, architectures[i], options, 1, &again, &status);
        expect_success(&status);
        assert_true(output.n_cubin > 500);
        assert_memory_equal(output.cubin, "\177ELF", 4);
        assert_non_null(strstr(output.ptx, ".visible .entry add"));
        /* What a cache of files named by their source needs. */
        assert_int_equal(output.n_cubin, again.n_cubin);
        assert_memory_equal(output.cubin, again.cubin, output.n_cubin);
        nvrtc_output_free(&output);
        nvrtc_output_free(&again);
    }
}

static void a_fault_is_shown_where_it_is(void **state) {
    (void)state;
    const CudaText wrong = {.name = "wrong",
                            .text = "extern \"C\" __global__ void wrong(float *y) {\n"
                                    "    // fills y\n"
                                    "    y[0] = undefined_thing;\n"
                                    "}\n",
                            .source = "model.moe:3:1"};
    NvrtcOutput output;
    Status status = STATUS_INIT, unknown = STATUS_INIT;
    assert_false(nvrtc_compile(&nvrtc, &wrong, "sm_90a", options, 1, &output, &status));
    expect_failure(&status, STATUS_INTERNAL, "kernel wrong (model.moe:3:1) does not compile (NVRTC ", ", sm_90a):\n",
                   "wrong.cu(3): error", "undefined_thing", "     2 |     // fills y\n",
                   ">    3 |     y[0] = undefined_thing;");
    assert_false(nvrtc_compile(&nvrtc, &add, "sm_12345", options, 1, &output, &unknown));
    expect_failure(&unknown, STATUS_SYSTEM, "nvrtcCompileProgram, to compile kernel add: NVRTC_ERROR_INVALID_OPTION");
}

static void an_h100_gets_its_own_code(void **state) {
    (void)state;
    char architecture[NVRTC_ARCHITECTURE_BYTES];
    Status status = STATUS_INIT;
    nvrtc_architecture(&nvrtc, 9, 0, architecture, &status);
    expect_success(&status);
    assert_string_equal(architecture, "sm_90a");
    assert_false(nvrtc_architecture(&nvrtc, 3, 5, architecture, &status));
}

static void threads_compile_at_once_and_the_cache_keeps_it(void **state) {
    (void)state;
    enum { N = 4 };
    CudaCache cache;
    Folder folder = folder_make();
    Log log = {0};
    NvrtcOutput first[N], second[N];
    CudaText texts[N];
    Status status = STATUS_INIT;
    cuda_cache_open(&cache, disk_system(), folder.path, CUDA_CACHE_BYTES, &status);
    const CudaCompiler compiler = {
        .nvrtc = &nvrtc, .architecture = "sm_90a", .options = options, .n_options = 1, .cache = &cache, .n_threads = N};
    static const char *const names[N] = {"a", "b", "c", "d"};
    for (int i = 0; i < N; i++)
        texts[i] = (CudaText){.name = names[i], .text = add.text};
    cuda_compile(&compiler, texts, N, first, &log, &status);
    cuda_compile(&compiler, texts, N, second, &log, &status);
    expect_success(&status);
    for (int i = 0; i < N; i++) {
        assert_int_equal(first[i].n_cubin, second[i].n_cubin);
        assert_memory_equal(first[i].cubin, second[i].cubin, first[i].n_cubin);
        assert_non_null(first[i].ptx);
        assert_null(second[i].ptx);
    }
    assert_int_equal(folder_count(&folder, "."), N);
    cuda_compile_free(first, N);
    cuda_compile_free(second, N);
    cuda_cache_close(&cache);
    folder_remove(&folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_kernel_becomes_a_cubin),
        cmocka_unit_test(a_fault_is_shown_where_it_is),
        cmocka_unit_test(an_h100_gets_its_own_code),
        cmocka_unit_test(threads_compile_at_once_and_the_cache_keeps_it),
    };
    return cmocka_run_group_tests(tests, open_nvrtc, NULL);
}
