// RUN: %unit %s
/* The watch for NaN, with the fake driver. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/cuda_watch.h"
#include "tests/support_runtime/cuda_session.h"
#include "tests/support_runtime/folder.h"

enum { N = 100 };

static const MoecCudaFunction functions[] = {{"accumulate", 1, 1, 0, 0}};
static const CudaKernelSource source = {
    .text = {.name = "silu", .text = "void accumulate() {}"}, .functions = functions, .n_functions = 1, .n_args = 2};

/* A session whose memory has the job, then numbers. */
typedef struct {
    CudaSession session;
    CudaWatch watch;
    CudaLaunch launch;
    CudaWatched watched; /* the numbers, of f32 */
} Watcher;

static bool watcher_open(Watcher *watcher, const CudaFixture *fixture, Status *status) {
    CudaSession *session = &watcher->session;
    Log log = {0};
    *watcher = (Watcher){0};
    if (!cuda_session_open(session, fixture, &source, 1, status))
        return false;
    const CudaCompiler compiler = {.nvrtc = &session->nvrtc, .architecture = "sm_90a", .n_threads = 1};
    CUdeviceptr at = session->memory.parts[0];
    watcher->launch = (CudaLaunch){.kernel = &session->kernels.kernels[0], .value = "%h.12", .source = "a.moe:14:7"};
    watcher->watched = (CudaWatched){at + CUDA_WATCH_BYTES, N, MOEC_DTYPE_F32};
    memset((void *)(uintptr_t)watcher->watched.at, 0, N * sizeof(float));
    if (!cuda_watch_open(&watcher->watch, &session->device, &compiler, at, &log, status))
        cuda_session_close(session, status);
    return !status->failed;
}

static void watcher_close(Watcher *watcher, Status *status) {
    cuda_watch_close(&watcher->watch, status);
    cuda_session_close(&watcher->session, status);
}

static bool check(Watcher *watcher, Status *status) {
    return cuda_watch_check(&watcher->watch, &watcher->launch, &watcher->watched, status);
}

static void with_watcher(void (*run)(Watcher *watcher)) {
    CudaFixture fixture;
    Watcher watcher;
    Status status = STATUS_INIT;
    cuda_fixture_open(&fixture);
    watcher_open(&watcher, &fixture, &status);
    expect_success(&status);
    run(&watcher);
    watcher_close(&watcher, &status);
    expect_success(&status);
    cuda_fixture_close(&fixture);
}

static void watch_f32(Watcher *watcher) {
    Status status = STATUS_INIT;
    float *numbers = (float *)(uintptr_t)watcher->watched.at;
    numbers[3] = INFINITY;
    numbers[4] = -INFINITY;
    assert_true(check(watcher, &status));
    numbers[98] = NAN;
    numbers[57] = -NAN;
    for (int i = 0; i < 3; i++) {
        Status nan = STATUS_INIT;
        assert_false(check(watcher, &nan));
        expect_failure(&nan, STATUS_DIVERGED,
                       "the first NaN was made by kernel silu in %h.12 (a.moe:14:7): element 57 of 100");
    }
    watcher->watched.n_elements = 57;
    assert_true(check(watcher, &status));
    watcher->watched.n_elements = 0;
    assert_true(check(watcher, &status));
    expect_success(&status);
}

static void the_first_nan_is_told(void **state) {
    (void)state;
    with_watcher(watch_f32);
}

static void watch_others(Watcher *watcher) {
    Status status = STATUS_INIT;
    uint16_t *numbers = (uint16_t *)(uintptr_t)watcher->watched.at;
    watcher->watched.dtype = MOEC_DTYPE_BF16;
    numbers[7] = 0x7f80; /* infinity */
    assert_true(check(watcher, &status));
    expect_success(&status);
    numbers[8] = 0xffc0;
    assert_false(check(watcher, &status));
    expect_failure(&status, STATUS_DIVERGED, "element 8 of 100");
    Status none = STATUS_INIT;
    watcher->watched.dtype = MOEC_DTYPE_I32;
    assert_true(check(watcher, &none));
    expect_success(&none);
}

static void bf16_has_nans_and_integers_have_none(void **state) {
    (void)state;
    with_watcher(watch_others);
}

static void check_twice(CudaFixture *fixture, void *state, Status *status) {
    (void)state;
    Watcher watcher;
    if (!watcher_open(&watcher, fixture, status))
        return;
    if (check(&watcher, status))
        check(&watcher, status);
    watcher_close(&watcher, status);
}

static void every_failure_is_told(void **state) {
    (void)state;
    CudaFixture fixture;
    cuda_fixture_open(&fixture);
    cuda_fixture_fail_each(&fixture, check_twice, NULL);
    cuda_fixture_close(&fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_nan_is_told),
        cmocka_unit_test(bf16_has_nans_and_integers_have_none),
        cmocka_unit_test(every_failure_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
