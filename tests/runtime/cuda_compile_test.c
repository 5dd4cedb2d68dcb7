// RUN: %unit %s
/* Kernels compiled by the fake NVRTC, and the cache in between. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/cuda_compile.h"
#include "tests/support_runtime/cuda_fixture.h"
#include "tests/support_runtime/failing_disk.h"
#include "tests/support_runtime/folder.h"

enum { N_TEXTS = 12 };

static const char *const options[] = {"--std=c++17", "-lineinfo"};

/* A machine with a cache in a folder. */
typedef struct {
    CudaFixture fixture;
    Nvrtc nvrtc;
    Folder folder;
    CudaCache cache;
    Log log;
    CudaText texts[N_TEXTS];
    char names[N_TEXTS][16], bodies[N_TEXTS][64];
} Machine;

static void machine_open(Machine *machine, Disk *disk) {
    Status status = STATUS_INIT;
    *machine = (Machine){.folder = folder_make()};
    cuda_fixture_open(&machine->fixture);
    nvrtc_open(&machine->nvrtc, &machine->fixture.places, 0, &status);
    cuda_cache_open(&machine->cache, disk, machine->folder.path, CUDA_CACHE_BYTES, &status);
    expect_success(&status);
    for (int i = 0; i < N_TEXTS; i++) {
        snprintf(machine->names[i], sizeof machine->names[i], "kernel%d", i);
        snprintf(machine->bodies[i], sizeof machine->bodies[i], "first\nvoid kernel%d() {\n}\n", i);
        machine->texts[i] = (CudaText){.name = machine->names[i], .text = machine->bodies[i], .source = "a.moe:1:2"};
    }
}

static void machine_close(Machine *machine) {
    nvrtc_close(&machine->nvrtc);
    cuda_cache_close(&machine->cache);
    folder_remove(&machine->folder);
    cuda_fixture_close(&machine->fixture);
}

static CudaCompiler compiler_of(Machine *machine, int n_threads) {
    return (CudaCompiler){.nvrtc = &machine->nvrtc,
                          .architecture = "sm_90a",
                          .options = options,
                          .n_options = 2,
                          .cache = &machine->cache,
                          .n_threads = n_threads};
}

/* Compiles all, checks what came out; how many NVRTC compiled. */
static long compile_all(Machine *machine, const CudaCompiler *compiler) {
    NvrtcOutput outputs[N_TEXTS];
    Status status = STATUS_INIT;
    long before = machine->fixture.fake->n_compiled;
    cuda_compile(compiler, machine->texts, N_TEXTS, outputs, &machine->log, &status);
    expect_success(&status);
    for (int i = 0; i < N_TEXTS; i++) {
        assert_string_equal(outputs[i].cubin + strlen("\177FAKE"), machine->texts[i].text);
        assert_int_equal(outputs[i].n_cubin, strlen(outputs[i].cubin) + 1);
    }
    cuda_compile_free(outputs, N_TEXTS);
    return machine->fixture.fake->n_compiled - before;
}

static void the_second_time_all_is_in_the_cache(void **state) {
    (void)state;
    Machine machine;
    machine_open(&machine, disk_system());
    CudaCompiler compiler = compiler_of(&machine, 4);
    assert_int_equal(compile_all(&machine, &compiler), N_TEXTS);
    assert_int_equal(compile_all(&machine, &compiler), 0);
    assert_int_equal(folder_count(&machine.folder, "."), N_TEXTS);
    compiler.cache = NULL;
    assert_int_equal(compile_all(&machine, &compiler), N_TEXTS);
    machine_close(&machine);
}

/* One line, with how many came from where. */
static void what_was_compiled_is_said(void **state) {
    (void)state;
    Machine machine;
    char *said = NULL;
    size_t n_said;
    machine_open(&machine, disk_system());
    machine.log.out = open_memstream(&said, &n_said);
    CudaCompiler compiler = compiler_of(&machine, 2);
    compile_all(&machine, &compiler);
    machine.texts[3].text = "void kernel3(int) {}";
    compile_all(&machine, &compiler);
    fclose(machine.log.out);
    assert_ptr_equal(strstr(said, "kernels   12 for sm_90a: 0 from the cache, 12 compiled by NVRTC 13.0 in "), said);
    assert_non_null(strstr(said, "\nkernels   12 for sm_90a: 11 from the cache, 1 compiled by NVRTC 13.0 in "));
    free(said);
    machine_close(&machine);
}

/* PTX is in no cache. */
static void ptx_is_compiled_each_time(void **state) {
    (void)state;
    Machine machine;
    NvrtcOutput outputs[N_TEXTS];
    Status status = STATUS_INIT;
    machine_open(&machine, disk_system());
    CudaCompiler compiler = compiler_of(&machine, 2);
    compile_all(&machine, &compiler);
    compiler.keeps_ptx = true;
    cuda_compile(&compiler, machine.texts, N_TEXTS, outputs, &machine.log, &status);
    expect_success(&status);
    assert_string_equal(outputs[0].ptx, "// ptx\nfirst\nvoid kernel0() {\n}\n");
    assert_string_equal(outputs[0].log, "");
    cuda_compile_free(outputs, N_TEXTS);
    machine_close(&machine);
}

static void all_that_matters_is_in_the_key(void **state) {
    (void)state;
    Machine machine;
    machine_open(&machine, disk_system());
    CudaCompiler compiler = compiler_of(&machine, 2);
    compile_all(&machine, &compiler);
    compiler.architecture = "sm_80";
    assert_int_equal(compile_all(&machine, &compiler), N_TEXTS);
    compiler.n_options = 1;
    assert_int_equal(compile_all(&machine, &compiler), N_TEXTS);
    machine.nvrtc.minor++;
    assert_int_equal(compile_all(&machine, &compiler), N_TEXTS);
    machine.texts[3].text = "void kernel3(int) {}";
    assert_int_equal(compile_all(&machine, &compiler), 1);
    assert_int_equal(compile_all(&machine, &compiler), 0);
    machine_close(&machine);
}

static void a_damaged_file_is_compiled_again(void **state) {
    (void)state;
    Machine machine;
    machine_open(&machine, disk_system());
    CudaCompiler compiler = compiler_of(&machine, 2);
    compile_all(&machine, &compiler);
    const char *const parts[] = {"13.0", "sm_90a", "kernel5", machine.texts[5].text, options[0], options[1]};
    CudaCacheKey key = cuda_cache_key(parts, 6);
    char name[128];
    snprintf(name, sizeof name, "%s.bin", key.text);
    assert_true(folder_has(&machine.folder, name));
    folder_write_text(&machine.folder, name, "\177FAKEother code");
    assert_int_equal(compile_all(&machine, &compiler), 1);
    assert_int_equal(compile_all(&machine, &compiler), 0);
    machine_close(&machine);
}

/* A cache on a full disk costs time, and no run. */
static void a_cache_that_cannot_be_written_is_no_error(void **state) {
    (void)state;
    Machine machine;
    FailingDisk disk = failing_disk(0, ENOSPC, true);
    machine_open(&machine, &disk.disk);
    CudaCompiler compiler = compiler_of(&machine, 2);
    assert_int_equal(compile_all(&machine, &compiler), N_TEXTS);
    assert_non_null(disk.failed);
    assert_int_equal(compile_all(&machine, &compiler), N_TEXTS);
    assert_int_equal(folder_count(&machine.folder, "."), 0);
    machine_close(&machine);
}

/* Of several, the first in order, however the threads run. */
static void a_text_that_does_not_compile_is_shown(void **state) {
    (void)state;
    for (int n_threads = 1; n_threads <= 4; n_threads++) {
        Machine machine;
        NvrtcOutput outputs[N_TEXTS];
        Status status = STATUS_INIT;
        machine_open(&machine, disk_system());
        CudaCompiler compiler = compiler_of(&machine, n_threads);
        machine.texts[4].text = "one\ntwo\nthree\n  #error here\nfive\nsix\nseven\n";
        machine.texts[7].text = "#error";
        assert_false(cuda_compile(&compiler, machine.texts, N_TEXTS, outputs, &machine.log, &status));
        expect_failure(&status, STATUS_INTERNAL,
                       "kernel kernel4 (a.moe:1:2) does not compile (NVRTC 13.0, sm_90a):\n"
                       "kernel4.cu(4): error: #error\n"
                       "     2 | two\n"
                       "     3 | three\n"
                       ">    4 |   #error here\n"
                       "     5 | five\n"
                       "     6 | six");
        assert_null(strstr(status.message, "seven"));
        assert_null(outputs[0].cubin);
        machine_close(&machine);
    }
}

static void compile_scenario(CudaFixture *fixture, void *state, Status *status) {
    static const CudaText texts[] = {{"a", "void a() {}", "%q.1", NULL}, {"b", "void b() {}", NULL, NULL}};
    int n_threads = *(int *)state;
    Nvrtc nvrtc;
    Log log = {0};
    NvrtcOutput outputs[2];
    char architecture[NVRTC_ARCHITECTURE_BYTES];
    if (!nvrtc_open(&nvrtc, &fixture->places, 13000, status))
        return;
    if (nvrtc_architecture(&nvrtc, 9, 0, architecture, status)) {
        const CudaCompiler compiler = {.nvrtc = &nvrtc, .architecture = architecture, .n_threads = n_threads};
        if (cuda_compile(&compiler, texts, 2, outputs, &log, status))
            cuda_compile_free(outputs, 2);
    }
    nvrtc_close(&nvrtc);
}

static void every_failure_is_told(void **state) {
    (void)state;
    for (int n_threads = 1; n_threads <= 2; n_threads++) {
        CudaFixture fixture;
        cuda_fixture_open(&fixture);
        cuda_fixture_fail_each(&fixture, compile_scenario, &n_threads);
        assert_int_equal(fixture.fake->n_calls, 3 + 2 * 9);
        cuda_fixture_close(&fixture);
    }
}

/* What a device of that capability is compiled for; "": nothing will do. */
static void expect_architecture(const Nvrtc *nvrtc, int major, int minor, const char *expected) {
    char architecture[NVRTC_ARCHITECTURE_BYTES] = "";
    Status status = STATUS_INIT;
    nvrtc_architecture(nvrtc, major, minor, architecture, &status);
    assert_string_equal(architecture, expected);
    if (!*expected)
        expect_failure(&status, STATUS_SYSTEM, "NVRTC 13.0", "cannot compile for compute capability",
                       "install a newer one");
}

static void the_architecture_is_the_newest_that_runs(void **state) {
    (void)state;
    Machine machine;
    machine_open(&machine, disk_system());
    expect_architecture(&machine.nvrtc, 9, 0, "sm_90a");
    expect_architecture(&machine.nvrtc, 8, 0, "sm_80");
    expect_architecture(&machine.nvrtc, 8, 9, "sm_80");
    expect_architecture(&machine.nvrtc, 10, 0, "sm_100a");
    expect_architecture(&machine.nvrtc, 10, 3, "sm_100");
    expect_architecture(&machine.nvrtc, 12, 0, "");
    machine_close(&machine);
}

/* The fake is version 13. */
static void nvrtc_is_not_newer_than_the_driver(void **state) {
    (void)state;
    CudaFixture fixture;
    Nvrtc nvrtc;
    Status status = STATUS_INIT;
    cuda_fixture_open(&fixture);
    assert_false(nvrtc_open(&nvrtc, &fixture.places, 12080, &status));
    expect_failure(&status, STATUS_SYSTEM, "no usable libnvrtc.so.12 in", "pip install nvidia-cuda-nvrtc-cu12");
    cuda_fixture_close(&fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_second_time_all_is_in_the_cache),
        cmocka_unit_test(what_was_compiled_is_said),
        cmocka_unit_test(ptx_is_compiled_each_time),
        cmocka_unit_test(all_that_matters_is_in_the_key),
        cmocka_unit_test(a_damaged_file_is_compiled_again),
        cmocka_unit_test(a_cache_that_cannot_be_written_is_no_error),
        cmocka_unit_test(a_text_that_does_not_compile_is_shown),
        cmocka_unit_test(every_failure_is_told),
        cmocka_unit_test(the_architecture_is_the_newest_that_runs),
        cmocka_unit_test(nvrtc_is_not_newer_than_the_driver),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
