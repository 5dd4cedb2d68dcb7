// RUN: %unit %s
/* Steps: recorded once and replayed, with numbers that go there and come back, with the fake driver. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/cuda_graph.h"
#include "runtime/cuda_mailbox.h"
#include "tests/support_runtime/cuda_session.h"
#include "tests/support_runtime/folder.h"

/* sum += x; then sum *= 2. */
static const MoecCudaFunction functions[] = {{"accumulate", 1, 32, 0, 0}, {"twice", 1, 32, 0, 0}};
static const CudaKernelSource step_source = {.text = {.name = "step", .text = "void accumulate() {} void twice() {}"},
                                             .functions = functions,
                                             .n_functions = 2,
                                             .n_args = 2};

typedef struct {
    CudaSession session;
    CudaMailbox rates, losses;
    CudaGraph graph;
} Stepper;

static bool record(Stepper *stepper, Status *status) {
    const CudaSession *session = &stepper->session;
    const CUdeviceptr args[] = {session->memory.parts[0], session->memory.parts[0] + sizeof(float)};
    const CudaLaunch launch = {&session->kernels.kernels[0], args, "%loss.1", "a.moe:1:1"};
    if (!cuda_graph_begin(&session->device, status))
        return false;
    cuda_kernels_launch(&session->kernels, &launch, 1, false, status);
    return cuda_graph_end(&stepper->graph, &session->device, status);
}

static void stepper_close(Stepper *stepper, Status *status) {
    if (stepper->graph.device)
        cuda_graph_close(&stepper->graph, status);
    cuda_mailbox_close(&stepper->rates, status);
    cuda_mailbox_close(&stepper->losses, status);
    cuda_session_close(&stepper->session, status);
}

/* The sum is the first number of the memory, x the second. */
static bool stepper_open(Stepper *stepper, const CudaFixture *fixture, Status *status) {
    *stepper = (Stepper){0};
    CudaSession *session = &stepper->session;
    if (!cuda_session_open(session, fixture, &step_source, 1, status))
        return false;
    CUdeviceptr at = session->memory.parts[0];
    if (!CUDA_CALL(&session->driver, CUDA_TO("begin with nothing"), status, cuMemsetD8Async, at, 0, 2 * sizeof(float),
                   session->device.work) ||
        !cuda_mailbox_open(&stepper->rates, &session->device, at + sizeof(float), sizeof(float), status) ||
        !cuda_mailbox_open(&stepper->losses, &session->device, at, sizeof(float), status) || !record(stepper, status))
        stepper_close(stepper, status);
    return !status->failed;
}

/* A step, and the result of the one before it; the first one's is 0. */
static bool step(Stepper *stepper, int number, float rate, float *loss, Status *status) {
    *loss = 0;
    return cuda_mailbox_send(&stepper->rates, &rate, status) && cuda_graph_launch(&stepper->graph, "train", status) &&
           cuda_mailbox_fetch(&stepper->losses, status) &&
           (number == 0 || cuda_mailbox_take(&stepper->losses, loss, status));
}

static void a_graph_is_recorded_and_not_run(void **state) {
    (void)state;
    CudaFixture fixture;
    Stepper stepper;
    Status status = STATUS_INIT;
    cuda_fixture_open(&fixture);
    stepper_open(&stepper, &fixture, &status);
    expect_success(&status);
    cuda_device_wait(&stepper.session.device, stepper.session.device.work, CUDA_TO("see"), &status);
    assert_int_equal(stepper.graph.n_nodes, 2);
    assert_int_equal(fixture.fake->n_launches, 0);
    assert_int_equal(fixture.fake->alive[FAKE_GRAPH], 0);
    stepper_close(&stepper, &status);
    expect_success(&status);
    cuda_fixture_close(&fixture);
}

/* Each replay reads the number that was sent before it, though the device runs behind; each result is of its step. */
static void steps_read_new_numbers_and_tell_theirs_late(void **state) {
    (void)state;
    enum { STEPS = 7 };
    CudaFixture fixture;
    Stepper stepper;
    Status status = STATUS_INIT;
    float loss, expected = 0, before = 0;
    cuda_fixture_open(&fixture);
    stepper_open(&stepper, &fixture, &status);
    expect_success(&status);
    for (int i = 0; i < STEPS; i++) {
        step(&stepper, i, (float)(i + 1), &loss, &status);
        expect_success(&status);
        assert_true(loss == before);
        before = expected = 2 * (expected + (float)(i + 1));
    }
    /* The step before the last is known, so that is how far the device must have come. */
    assert_int_equal(fixture.fake->n_replays, STEPS - 1);
    cuda_mailbox_take(&stepper.losses, &loss, &status);
    expect_success(&status);
    assert_true(loss == expected);
    assert_int_equal(fixture.fake->n_launches, 2 * STEPS);
    stepper_close(&stepper, &status);
    expect_success(&status);
    cuda_fixture_close(&fixture);
}

/* Nothing waits for a step, so only the numbers' places hold the host back. */
static void numbers_wait_for_those_before(void **state) {
    (void)state;
    CudaFixture fixture;
    Stepper stepper;
    Status status = STATUS_INIT;
    float loss;
    cuda_fixture_open(&fixture);
    stepper_open(&stepper, &fixture, &status);
    for (int i = 0; i < 5; i++) {
        float rate = (float)(i + 1);
        cuda_mailbox_send(&stepper.rates, &rate, &status);
        cuda_graph_launch(&stepper.graph, "train", &status);
    }
    assert_int_equal(fixture.fake->n_replays, 2);
    cuda_mailbox_fetch(&stepper.losses, &status);
    cuda_mailbox_take(&stepper.losses, &loss, &status);
    expect_success(&status);
    assert_true(loss == 2 * (5 + 2 * (4 + 2 * (3 + 2 * (2 + 2 * 1)))));
    stepper_close(&stepper, &status);
    expect_success(&status);
    cuda_fixture_close(&fixture);
}

static void a_failed_launch_ends_the_recording(void **state) {
    (void)state;
    CudaFixture fixture;
    CudaSession session;
    CudaGraph graph;
    Status status = STATUS_INIT, after = STATUS_INIT;
    cuda_fixture_open(&fixture);
    cuda_session_open(&session, &fixture, &step_source, 1, &status);
    cuda_graph_begin(&session.device, &status);
    expect_success(&status);
    status_fail(&status, STATUS_INTERNAL, "what was recorded failed");
    assert_false(cuda_graph_end(&graph, &session.device, &status));
    expect_failure(&status, STATUS_INTERNAL, "what was recorded failed");
    cuda_device_wait(&session.device, session.device.work, CUDA_TO("see"), &after);
    expect_success(&after);
    cuda_session_close(&session, &after);
    expect_success(&after);
    cuda_fixture_close(&fixture);
}

static void three_steps(CudaFixture *fixture, void *state, Status *status) {
    (void)state;
    Stepper stepper;
    float loss;
    if (!stepper_open(&stepper, fixture, status))
        return;
    for (int i = 0; i < 3 && !status->failed; i++)
        step(&stepper, i, 1, &loss, status);
    stepper_close(&stepper, status);
}

static void every_failure_is_told(void **state) {
    (void)state;
    CudaFixture fixture;
    cuda_fixture_open(&fixture);
    cuda_fixture_fail_each(&fixture, three_steps, NULL);
    assert_true(fixture.fake->n_calls > 60);
    cuda_fixture_close(&fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_graph_is_recorded_and_not_run),
        cmocka_unit_test(steps_read_new_numbers_and_tell_theirs_late),
        cmocka_unit_test(numbers_wait_for_those_before),
        cmocka_unit_test(a_failed_launch_ends_the_recording),
        cmocka_unit_test(every_failure_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
