// RUN: %unit %s
/* Kernels loaded, launched, written to files and read back from them, with the fake driver. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/cuda_kernel_files.h"
#include "tests/support_runtime/cuda_session.h"
#include "tests/support_runtime/failing_disk.h"
#include "tests/support_runtime/folder.h"

/* What the fake does: accumulate(y, x): y += x; twice(y, x): y *= 2. */
static const MoecCudaFunction sum_functions[] = {{"accumulate", 3, 256, 0, 0}, {"twice", 1, 32, 64 * 1024, 0}};
static const MoecCudaFunction fault_functions[] = {{"fault", 1, 1, 0, 2}};
static const CudaKernelSource sources[] = {
    {.text = {.name = "sum", .text = "void accumulate() {}\nvoid twice() {}\n", .value = "%s.1", .source = "a.moe:2:3"},
     .functions = sum_functions,
     .n_functions = 2,
     .n_args = 2},
    {.text = {.name = "broken", .text = "void fault() {}\n"}, .functions = fault_functions, .n_functions = 1},
};

static void put(CudaSession *session, size_t i, float value) {
    ((float *)(uintptr_t)session->memory.parts[0])[i] = value;
}

static float get(const CudaSession *session, size_t i) {
    return ((const float *)(uintptr_t)session->memory.parts[0])[i];
}

static CUdeviceptr at(const CudaSession *session, size_t i) {
    return session->memory.parts[0] + i * sizeof(float);
}

/* A kernel on its own. */
static void open_one(CudaFixture *fixture, CudaSession *session, const CudaKernelSource *source, Status *status) {
    cuda_fixture_open(fixture);
    cuda_session_open(session, fixture, source, 1, status);
}

static void functions_of_a_kernel_run_in_order(void **state) {
    (void)state;
    CudaFixture fixture;
    CudaSession session;
    Status status = STATUS_INIT;
    cuda_fixture_open(&fixture);
    cuda_session_open(&session, &fixture, sources, 2, &status);
    expect_success(&status);
    put(&session, 0, 1);
    put(&session, 1, 10);
    const CUdeviceptr args[] = {at(&session, 0), at(&session, 1)};
    const CudaLaunch launches[] = {{&session.kernels.kernels[0], args, "%s.1", "a.moe:2:3"},
                                   {&session.kernels.kernels[0], args, "%s.2", "a.moe:2:3"}};
    cuda_kernels_launch(&session.kernels, launches, 2, false, &status);
    assert_true(get(&session, 0) == 1);
    cuda_device_wait(&session.device, session.device.work, CUDA_TO("see"), &status);
    expect_success(&status);
    assert_true(get(&session, 0) == ((1 + 10) * 2 + 10) * 2);
    assert_string_equal(fixture.fake->launched, "twice grid 1 1 1 block 32 1 1 shared 65536");
    cuda_session_close(&session, &status);
    expect_success(&status);
    cuda_fixture_close(&fixture);
}

static void what_a_kernel_needs_is_known(void **state) {
    (void)state;
    CudaFixture fixture;
    CudaSession session;
    Status status = STATUS_INIT;
    open_one(&fixture, &session, &sources[0], &status);
    expect_success(&status);
    const CudaFunction *function = &session.kernels.kernels[0].functions[1];
    assert_int_equal(function->n_registers, 40);
    assert_int_equal(function->n_local_bytes, 0);
    assert_int_equal(function->n_shared_bytes, 1024);
    assert_int_equal(function->max_threads, 512);
    cuda_session_close(&session, &status);
    cuda_fixture_close(&fixture);
}

static void expect_refusal(MoecCudaFunction function, const char *part, const char *part2) {
    CudaFixture fixture;
    CudaSession session;
    Status status = STATUS_INIT;
    const CudaKernelSource source = {
        .text = {.name = "sum", .text = "void accumulate() {}"}, .functions = &function, .n_functions = 1, .n_args = 2};
    open_one(&fixture, &session, &source, &status);
    assert_true(status.failed);
    assert_non_null(strstr(status.message, part));
    assert_non_null(strstr(status.message, part2));
    cuda_fixture_close(&fixture);
}

static void what_a_device_cannot_launch_is_refused_when_loaded(void **state) {
    (void)state;
    expect_refusal((MoecCudaFunction){"accumulate", 1, 513, 0, 0}, "kernel accumulate has 513 threads in a block",
                   "its 40 registers a thread allow 512");
    expect_refusal((MoecCudaFunction){"accumulate", 1, 32, 232448 - 1023, 0},
                   "kernel accumulate needs 232449 bytes of shared memory in a block", "Fake GPU 0 has 232448");
    expect_refusal((MoecCudaFunction){"other", 1, 32, 0, 0}, "cuModuleGetFunction, to load kernel other",
                   "CUDA_ERROR_NOT_FOUND");
}

static void launch_fault(CudaSession *session, bool waits, Status *status) {
    const CUdeviceptr args[] = {at(session, 0), at(session, 1)};
    const CudaLaunch launches[] = {{&session->kernels.kernels[0], args, "%s.1", "a.moe:2:3"},
                                   {&session->kernels.kernels[1], NULL, "%f.2", "a.moe:4:5"},
                                   {&session->kernels.kernels[0], args, "%s.3", "a.moe:6:7"}};
    cuda_kernels_launch(&session->kernels, launches, 3, waits, status);
}

/* Without waiting, it shows only where something waits. */
static void a_fault_names_the_kernel_in_flight(void **state) {
    (void)state;
    for (int waits = 0; waits <= 1; waits++) {
        CudaFixture fixture;
        CudaSession session;
        Status status = STATUS_INIT;
        cuda_fixture_open(&fixture);
        cuda_session_open(&session, &fixture, sources, 2, &status);
        expect_success(&status);
        put(&session, 0, 0);
        put(&session, 1, 0);
        launch_fault(&session, waits, &status);
        if (waits)
            expect_failure(&status, STATUS_SYSTEM,
                           "cuStreamSynchronize, to run kernel fault (%f.2, a.moe:4:5): CUDA_ERROR_ILLEGAL_ADDRESS (an "
                           "illegal memory access was encountered)");
        else
            expect_success(&status);
        cuda_session_close(&session, &status);
        expect_failure(&status, STATUS_SYSTEM, "CUDA_ERROR_ILLEGAL_ADDRESS");
        cuda_fixture_close(&fixture);
    }
}

static void launch_all(CudaFixture *fixture, void *state, Status *status) {
    (void)state;
    CudaSession session;
    if (!cuda_session_open(&session, fixture, sources, 1, status))
        return;
    const CUdeviceptr args[] = {at(&session, 0), at(&session, 1)};
    const CudaLaunch launch = {&session.kernels.kernels[0], args, NULL, NULL};
    cuda_kernels_launch(&session.kernels, &launch, 1, true, status);
    cuda_session_close(&session, status);
}

static void every_failure_is_told(void **state) {
    (void)state;
    CudaFixture fixture;
    cuda_fixture_open(&fixture);
    cuda_fixture_fail_each(&fixture, launch_all, NULL);
    cuda_fixture_close(&fixture);
}

/* ---- Files ------------------------------------------------------------------------------------------------------- */

static void write_all(CudaFixture *fixture, Folder *folder, Status *status) {
    CudaSession session;
    if (!cuda_session_open(&session, fixture, sources, 2, status))
        return;
    cuda_kernel_files_write(disk_system(), folder_path(folder, "k"), &session.kernels, session.outputs, status);
    cuda_session_close(&session, status);
}

static void expect_file(Folder *folder, const char *name, const char *expected) {
    char *content = folder_read(folder, name, NULL);
    assert_string_equal(content, expected);
    free(content);
}

static void kernels_are_written(void **state) {
    (void)state;
    CudaFixture fixture;
    Folder folder = folder_make();
    Status status = STATUS_INIT;
    cuda_fixture_open(&fixture);
    write_all(&fixture, &folder, &status);
    write_all(&fixture, &folder, &status);
    expect_success(&status);
    assert_int_equal(folder_count(&folder, "k"), 7);
    expect_file(&folder, "k/sum.cu",
                "// launch: accumulate blocks 3 threads 256 shared 0\n"
                "// launch: twice blocks 1 threads 32 shared 65536\n"
                "void accumulate() {}\nvoid twice() {}\n");
    expect_file(&folder, "k/broken.cu", "// launch: fault blocks 1 threads 1 shared 0 resident 2\nvoid fault() {}\n");
    expect_file(&folder, "k/sum.ptx", "// ptx\nvoid accumulate() {}\nvoid twice() {}\n");
    expect_file(&folder, "k/broken.cubin", "\177FAKEvoid fault() {}\n");
    expect_file(&folder, "k/resources.txt",
                "function                         registers local bytes shared bytes   threads   allowed     blocks\n"
                "accumulate                              40           0         1024       256       512          3\n"
                "twice                                   40           0        66560        32       512          1\n"
                "fault                                   40           0         1024         1       512          1\n");
    cuda_fixture_close(&fixture);
    folder_remove(&folder);
}

static void a_full_disk_is_told(void **state) {
    (void)state;
    CudaFixture fixture;
    CudaSession session;
    Status opened = STATUS_INIT;
    bool has_failed = true;
    cuda_fixture_open(&fixture);
    cuda_session_open(&session, &fixture, sources, 1, &opened);
    expect_success(&opened);
    for (long call = 0; has_failed; call++) {
        Folder folder = folder_make();
        FailingDisk disk = failing_disk(call, ENOSPC, true);
        Status status = STATUS_INIT;
        cuda_kernel_files_write(&disk.disk, folder_path(&folder, "k"), &session.kernels, session.outputs, &status);
        has_failed = disk.failed;
        if (has_failed)
            expect_failure(&status, STATUS_SYSTEM, "/k", "No space left on device");
        else
            expect_success(&status);
        folder_remove(&folder);
    }
    cuda_session_close(&session, &opened);
    cuda_fixture_close(&fixture);
}

static void open_files(CudaKernelFiles *files, Folder *folder, const char *name, Status *status) {
    Log log = {0};
    cuda_kernel_files_open(files, sources, 2, 0, name ? folder_path(folder, name) : NULL, &log, status);
}

static void what_was_written_reads_as_not_edited(void **state) {
    (void)state;
    CudaFixture fixture;
    CudaKernelFiles files;
    Folder folder = folder_make();
    Status status = STATUS_INIT;
    cuda_fixture_open(&fixture);
    write_all(&fixture, &folder, &status);
    for (int i = 0; i < 2; i++) {
        open_files(&files, &folder, i == 0 ? "k" : NULL, &status);
        expect_success(&status);
        assert_ptr_equal(files.sources[0].text.text, sources[0].text.text);
        assert_ptr_equal(files.sources[0].functions, sum_functions);
        assert_null(files.files[0].content);
        assert_ptr_equal(files.sources[1].functions, fault_functions);
        cuda_kernel_files_close(&files);
    }
    cuda_fixture_close(&fixture);
    folder_remove(&folder);
}

/* A text, a launch, or both; the rest stays the executable's. */
static void edited_files_take_the_place_of_kernels(void **state) {
    (void)state;
    CudaKernelFiles files;
    Folder folder = folder_make();
    Status status = STATUS_INIT;
    folder_write_text(&folder, "sum.cu",
                      "// launch: accumulate blocks 6 threads 128 shared 16\n"
                      "// launch: twice blocks 1 threads 32 shared 65536\n"
                      "void accumulate() {}\nvoid twice() {}\n");
    folder_write_text(&folder, "broken.cu",
                      "// launch: fault blocks 7 threads 1 shared 0 resident 3\nvoid fault() { /* less */ }\n");
    folder_write_text(&folder, "broken.txt", "not a kernel\n");
    open_files(&files, &folder, ".", &status);
    expect_success(&status);
    assert_string_equal(files.sources[0].text.text, sources[0].text.text);
    assert_int_equal(files.sources[0].functions[0].n_blocks, 6);
    assert_int_equal(files.sources[0].functions[0].n_threads, 128);
    assert_int_equal(files.sources[0].functions[0].n_shared_bytes, 16);
    assert_int_equal(files.sources[0].functions[1].n_shared_bytes, 65536);
    assert_string_equal(files.sources[0].text.source, "a.moe:2:3");
    assert_string_equal(files.sources[1].text.text, "void fault() { /* less */ }\n");
    assert_int_equal(files.sources[1].functions[0].n_blocks, 7);
    assert_int_equal(files.sources[1].functions[0].n_resident, 3);
    cuda_kernel_files_close(&files);
    folder_remove(&folder);
}

static void expect_wrong_launch(const char *text, const char *part) {
    CudaKernelFiles files;
    Folder folder = folder_make();
    Status status = STATUS_INIT;
    folder_write_text(&folder, "sum.cu", text);
    open_files(&files, &folder, ".", &status);
    expect_failure(&status, STATUS_INPUT, "/sum.cu: ", part);
    folder_remove(&folder);
}

static void lines_about_launches_are_checked(void **state) {
    (void)state;
    static const char line1[] = "line 1 should be \"// launch: accumulate blocks N threads N shared BYTES\"";
    static const char line2[] = "line 2 should be \"// launch: twice blocks N threads N shared BYTES\"";
    expect_wrong_launch("// launch: accumulate blocks 6\n", line1);
    expect_wrong_launch("// launch: accumulate blocks 0 threads 1 shared 1\n", line1);
    expect_wrong_launch("// launch: accumulate blocks 1 threads 1 shared 1 more\n", line1);
    expect_wrong_launch("// launch: twice blocks 1 threads 1 shared 1\n", line1);
    expect_wrong_launch("// launch: accumulate blocks 1 threads 1 shared 1\nvoid f() {}\n", line2);
    expect_wrong_launch("// launch: accumulate blocks 1 threads 1 shared 1\n", line2);
    expect_wrong_launch("", "is empty");
}

static void a_folder_that_is_not_there_is_told(void **state) {
    (void)state;
    CudaKernelFiles files;
    Folder folder = folder_make();
    Status status = STATUS_INIT;
    open_files(&files, &folder, "nowhere", &status);
    expect_failure(&status, STATUS_INPUT, "kernels in ", "/nowhere: cannot read the folder: No such file");
    folder_remove(&folder);
}

/* What is said on standard error, to be freed, if the second kernel's product is done by the library. */
static char *open_beside_library(Folder *folder, Status *status) {
    CudaKernelFiles files;
    Log log = {0};
    FILE *saved = stderr, *captured = fopen(folder_path(folder, "stderr"), "w");
    stderr = captured;
    cuda_kernel_files_open(&files, sources, 1, 1, folder_path(folder, "."), &log, status);
    stderr = saved;
    fclose(captured);
    cuda_kernel_files_close(&files);
    return folder_read(folder, "stderr", NULL);
}

static void edited_files_of_the_library_s_products_are_warned_about(void **state) {
    (void)state;
    Folder folder = folder_make();
    Status status = STATUS_INIT;
    folder_write_text(&folder, "broken.cu", sources[1].text.text);
    char *said = open_beside_library(&folder, &status);
    expect_success(&status);
    assert_string_equal(said, "");
    free(said);
    folder_write_text(&folder, "broken.cu", "void fault() { /* less */ }\n");
    said = open_beside_library(&folder, &status);
    expect_success(&status);
    assert_non_null(strstr(said, "/broken.cu: cuBLASLt does this product; with --matmul own the file is used\n"));
    assert_null(strstr(said, "no such kernel"));
    free(said);
    folder_remove(&folder);
}

/* A file of a kernel that is not there is said on standard error; the run goes on. */
static void other_files_are_warned_about(void **state) {
    (void)state;
    CudaKernelFiles files;
    Folder folder = folder_make();
    Status status = STATUS_INIT;
    folder_write_text(&folder, "summ.cu", "void accumulate() {}\n");
    folder_write_text(&folder, ".cu", "void accumulate() {}\n");
    FILE *saved = stderr, *captured = fopen(folder_path(&folder, "stderr"), "w");
    stderr = captured;
    open_files(&files, &folder, ".", &status);
    stderr = saved;
    fclose(captured);
    expect_success(&status);
    char *said = folder_read(&folder, "stderr", NULL);
    assert_non_null(strstr(said, "/summ.cu: this executable has no such kernel; the file is not used\n"));
    assert_null(strstr(said, "/.cu:"));
    free(said);
    cuda_kernel_files_close(&files);
    folder_remove(&folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(functions_of_a_kernel_run_in_order),
        cmocka_unit_test(what_a_kernel_needs_is_known),
        cmocka_unit_test(what_a_device_cannot_launch_is_refused_when_loaded),
        cmocka_unit_test(a_fault_names_the_kernel_in_flight),
        cmocka_unit_test(every_failure_is_told),
        cmocka_unit_test(kernels_are_written),
        cmocka_unit_test(a_full_disk_is_told),
        cmocka_unit_test(what_was_written_reads_as_not_edited),
        cmocka_unit_test(edited_files_take_the_place_of_kernels),
        cmocka_unit_test(lines_about_launches_are_checked),
        cmocka_unit_test(edited_files_of_the_library_s_products_are_warned_about),
        cmocka_unit_test(a_folder_that_is_not_there_is_told),
        cmocka_unit_test(other_files_are_warned_about),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
