// RUN: %unit %s
/* Finding NVIDIA's libraries, and what a failed call says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/cuda_driver.h"
#include "tests/support_runtime/cuda_fixture.h"
#include "tests/support_runtime/folder.h"

static void the_driver_opens(void **state) {
    (void)state;
    CudaFixture fixture;
    CudaDriver driver;
    Status status = STATUS_INIT;
    cuda_fixture_open(&fixture);
    cuda_driver_open(&driver, &fixture.places, &status);
    expect_success(&status);
    assert_int_equal(driver.version, 13000);
    const CudaDriver *opened = &driver;
    assert_non_null(strstr(opened->library.path, "fake_cuda/libcuda.so.1"));
    cuda_driver_close(&driver);
    cuda_fixture_close(&fixture);
}

static void open_driver(CudaFixture *fixture, void *state, Status *status) {
    (void)state;
    CudaDriver driver;
    if (cuda_driver_open(&driver, &fixture->places, status))
        cuda_driver_close(&driver);
}

static void every_failure_is_told(void **state) {
    (void)state;
    CudaFixture fixture;
    cuda_fixture_open(&fixture);
    cuda_fixture_fail_each(&fixture, open_driver, NULL);
    cuda_fixture_close(&fixture);
}

static void an_old_driver_is_refused(void **state) {
    (void)state;
    CudaFixture fixture;
    CudaDriver driver;
    Status status = STATUS_INIT;
    cuda_fixture_open(&fixture);
    fixture.fake->driver_version = 11080;
    assert_false(cuda_driver_open(&driver, &fixture.places, &status));
    expect_failure(&status, STATUS_SYSTEM, "a driver for CUDA 11.8", "12.0 or newer is needed: update it");
    cuda_fixture_close(&fixture);
}

static void no_device_is_told(void **state) {
    (void)state;
    CudaFixture fixture;
    CudaDriver driver;
    Status status = STATUS_INIT;
    cuda_fixture_open(&fixture);
    fixture.fake->n_devices = 0;
    assert_false(cuda_driver_open(&driver, &fixture.places, &status));
    expect_failure(&status, STATUS_SYSTEM,
                   "cuInit, to start CUDA: CUDA_ERROR_NO_DEVICE (no CUDA-capable device is detected)");
    cuda_fixture_close(&fixture);
}

static void failures_name_what_they_are_about(void **state) {
    (void)state;
    CudaFixture fixture;
    CudaDriver driver;
    Status status = STATUS_INIT, bare = STATUS_INIT, unknown = STATUS_INIT;
    cuda_fixture_open(&fixture);
    cuda_driver_open(&driver, &fixture.places, &status);
    expect_success(&status);
    const CudaPurpose purpose = {.action = "to run", .kernel = "up", .value = "%h.12", .source = "a.moe:14:7"};
    assert_false(cuda_check(&driver, CUDA_RESULT_NOT_FOUND, "cuLaunchKernel", &purpose, &status));
    expect_failure(
        &status, STATUS_SYSTEM,
        "cuLaunchKernel, to run kernel up (%h.12, a.moe:14:7): CUDA_ERROR_NOT_FOUND (named symbol not found)");
    cuda_check(&driver, CUDA_RESULT_OUT_OF_MEMORY, "cuMemFree", CUDA_TO("give memory back"), &bare);
    expect_failure(&bare, STATUS_SYSTEM, "cuMemFree, to give memory back: CUDA_ERROR_OUT_OF_MEMORY (out of memory)");
    cuda_check(&driver, 12345, "cuMemFree", CUDA_TO("give memory back"), &unknown);
    expect_failure(&unknown, STATUS_SYSTEM, "error 12345, which has no name");
    cuda_driver_close(&driver);
    cuda_fixture_close(&fixture);
}

/* A library that is nowhere, one that is no library, one that lacks a symbol. */
static void missing_libraries_say_where_they_were_looked_for(void **state) {
    (void)state;
    Folder folder = folder_make();
    CudaDriver driver;
    CudaPlaces places = {0};
    Status status = STATUS_INIT, broken = STATUS_INIT;
    cuda_places_add(&places, folder.path, &status);
    assert_false(cuda_driver_open(&driver, &places, &status));
    expect_failure(&status, STATUS_SYSTEM, "cannot open the CUDA driver: no usable libcuda.so.1 in", folder.path,
                   "comes with NVIDIA's display driver");
    folder_write_text(&folder, "libcuda.so.1", "no library");
    assert_false(cuda_driver_open(&driver, &places, &broken));
    expect_failure(&broken, STATUS_SYSTEM, "cannot open the CUDA driver", "libcuda.so.1: file too short");
    cuda_places_close(&places);
    folder_remove(&folder);
}

static void a_library_without_a_symbol_is_passed_over(void **state) {
    (void)state;
    CudaFixture fixture;
    cuda_fixture_open(&fixture);
    static const char *const names[] = {"libcuda.so.1", NULL};
    static const CudaSymbol symbols[] = {{"cuInit", 0}, {"cuInit_v9", sizeof(void *)}};
    const CudaLibraryKind kind = {.title = "it", .names = names, .symbols = symbols, .n_symbols = 2, .advice = "wait"};
    void *functions[2];
    CudaLibrary library;
    Status status = STATUS_INIT;
    assert_false(cuda_library_open(&library, &kind, &fixture.places, functions, &status));
    expect_failure(&status, STATUS_SYSTEM, "libcuda.so.1: has no cuInit_v9; wait");
    cuda_fixture_close(&fixture);
}

static bool has_place(const CudaPlaces *places, const char *folder) {
    for (size_t i = 0; i < places->n; i++) {
        if (strcmp(places->folders[i], folder) == 0)
            return true;
    }
    return false;
}

/* The environment's own libraries come before the system's. */
static void the_environment_names_places(void **state) {
    (void)state;
    Folder folder = folder_make();
    CudaPlaces places;
    Status status = STATUS_INIT;
    folder_write_text(&folder, "lib/python3.11/site-packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.12", "");
    folder_write_text(&folder, "lib/python3.11/site-packages/nvidia/cu13/lib/libnvrtc.so.13", "");
    unsetenv("CONDA_PREFIX");
    setenv("CUDA_HOME", "/opt/cuda", 1);
    setenv("VIRTUAL_ENV", folder.path, 1);
    cuda_places_open(&places, &status);
    expect_success(&status);
    assert_int_equal(places.n, 5);
    assert_string_equal(places.folders[0], "/opt/cuda/lib64");
    assert_true(has_place(&places, folder_path(&folder, "lib/python3.11/site-packages/nvidia/cuda_nvrtc/lib")));
    assert_true(has_place(&places, folder_path(&folder, "lib/python3.11/site-packages/nvidia/cu13/lib")));
    assert_string_equal(places.folders[3], "");
    assert_string_equal(places.folders[4], "/usr/local/cuda/lib64");
    cuda_places_close(&places);
    setenv("CUDA_HOME", "/usr/local/cuda", 1);
    unsetenv("VIRTUAL_ENV");
    cuda_places_open(&places, &status);
    assert_int_equal(places.n, 2);
    cuda_places_close(&places);
    setenv("CUDA_HOME", "", 1);
    cuda_places_open(&places, &status);
    expect_success(&status);
    assert_int_equal(places.n, 2);
    cuda_places_close(&places);
    folder_remove(&folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_driver_opens),
        cmocka_unit_test(every_failure_is_told),
        cmocka_unit_test(an_old_driver_is_refused),
        cmocka_unit_test(no_device_is_told),
        cmocka_unit_test(failures_name_what_they_are_about),
        cmocka_unit_test(missing_libraries_say_where_they_were_looked_for),
        cmocka_unit_test(a_library_without_a_symbol_is_passed_over),
        cmocka_unit_test(the_environment_names_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
