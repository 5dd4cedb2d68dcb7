// RUN: %unit %s
/* What is kept of a run that is profiled, and how its trace is written. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/profile.h"
#include "tests/support_runtime/failing_disk.h"
#include "tests/support_runtime/folder.h"

static void no_kernel(void *const *args) {
    (void)args;
}

static const MoecKernel kernels[] = {{no_kernel, "matmul", 100.0, 1.0}, {no_kernel, "copy", 0.0, 50.0}};
/* A value that is no UTF-8, and one that must be escaped. */
static const MoecLaunch launches[] = {{0, 0, 0, "%0", "a\"b.moe:1:1", 0, 0}, {1, 0, 0, "%1", "\xff.moe:1:1", 0, 0}};
static const MoecProgram programs[] = {{.name = "train", .launches = launches, .n_launches = 2}};
static const MoecPlan plan = {
    .model = "small", .hash = "00", .kernels = kernels, .n_kernels = 2, .programs = programs, .n_programs = 1};

static Profile open_profile(size_t n_kept, size_t n_launches) {
    Status status = STATUS_INIT;
    Profile profile;
    profile_open(&profile, &plan, n_kept, n_launches, &status);
    expect_success(&status);
    return profile;
}

/* Steps that launch the second kernel as often as their number says. */
static void run_steps(Profile *profile, int64_t first, int64_t last) {
    for (int64_t step = first; step <= last; step++) {
        profile_begin(profile, step);
        for (int64_t i = 0; i < step; i++)
            profile_launch(profile, &launches[1], (double)i, 0.5);
        profile_finish(profile);
    }
}

static void the_newest_steps_are_kept(void **state) {
    (void)state;
    Profile profile = open_profile(3, 10);
    assert_int_equal(profile_steps(&profile), 0);
    run_steps(&profile, 1, 2);
    assert_int_equal(profile_steps(&profile), 2);
    assert_int_equal(profile_step(&profile, 0)->step, 1);
    run_steps(&profile, 3, 9);
    profile_begin(&profile, 10); /* cut short by a signal */
    profile_launch(&profile, &launches[0], 0.0, 1.0);
    assert_int_equal(profile_steps(&profile), 3);
    for (size_t i = 0; i < 3; i++) {
        const ProfileStep *step = profile_step(&profile, i);
        assert_int_equal(step->step, 7 + (int64_t)i);
        assert_int_equal(step->n_events, step->step);
        assert_int_equal(step->totals[0].n_launches, 0);
        assert_int_equal(step->totals[1].n_launches, step->step);
        assert_true(step->totals[1].seconds == 0.5 * (double)step->step && step->seconds >= 0.0);
    }
    profile_close(&profile);
}

static void a_long_step_is_counted_whole_and_shown_in_part(void **state) {
    (void)state;
    Profile profile = open_profile(2, SIZE_MAX);
    const ProfileStep *step = &profile.ring[0];
    assert_int_equal(profile.capacity, PROFILE_EVENTS / 2);
    profile_begin(&profile, 1);
    for (int i = 0; i < PROFILE_EVENTS; i++)
        profile_launch(&profile, &launches[0], i, 1.0);
    profile_finish(&profile);
    assert_int_equal(step->n_events, PROFILE_EVENTS / 2);
    assert_int_equal((int)step->events[step->n_events - 1].start, PROFILE_EVENTS / 2 - 1);
    assert_int_equal(step->totals[0].n_launches, PROFILE_EVENTS);
    profile_close(&profile);
}

static void the_roofline_is_what_bounds_longer(void **state) {
    (void)state;
    Profile profile = open_profile(1, 1);
    assert_true(profile_roofline(&profile, &kernels[0]) == 0.0); /* nothing was measured */
    profile.ceiling = 50.0, profile.bandwidth = 10.0;
    assert_true(profile_roofline(&profile, &kernels[0]) == 2.0);
    assert_true(profile_roofline(&profile, &kernels[1]) == 5.0);
    profile.bandwidth = 0.1;
    assert_true(profile_roofline(&profile, &kernels[0]) == 10.0);
    profile_close(&profile);
}

/* Two steps of both kernels. */
static Profile recorded_profile(void) {
    Profile profile = open_profile(5, 2);
    profile.ceiling = 50.0, profile.bandwidth = 10.0;
    for (int step = 1; step <= 2; step++) {
        profile_begin(&profile, step);
        profile_launch(&profile, &launches[0], profile_step(&profile, 0)->start + 0.5, 4.0);
        profile_launch(&profile, &launches[1], profile_step(&profile, 0)->start + 4.5, 0.0);
        profile_finish(&profile);
    }
    return profile;
}

static double number(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

static void the_trace_is_json_with_an_event_for_each_launch(void **state) {
    (void)state;
    Folder folder = folder_make();
    Status status = STATUS_INIT;
    Profile profile = recorded_profile();
    assert_true(profile_write(&profile, disk_system(), folder_path(&folder, "trace.json"), &status));
    size_t n;
    char *text = folder_read(&folder, "trace.json", &n);
    json_t *trace = json_parse(text, n, "trace", &status);
    expect_success(&status);
    const json_t *events = json_object_get(trace, "traceEvents");
    assert_int_equal(json_array_size(events), 3 + 2 * 3); /* names; the step and its launches */
    const json_t *step = json_array_get(events, 3), *matmul = json_array_get(events, 4);
    const json_t *copy_args = json_object_get(json_array_get(events, 5), "args");
    assert_string_equal(json_string_value(json_object_get(step, "name")), "step 1");
    assert_true(number(step, "ts") == 0.0);
    assert_string_equal(json_string_value(json_object_get(matmul, "name")), "matmul");
    assert_string_equal(json_string_value(json_object_get(matmul, "cat")), "train");
    assert_true(number(matmul, "ts") == 5e5 && number(matmul, "dur") == 4e6);
    const json_t *args = json_object_get(matmul, "args");
    assert_string_equal(json_string_value(json_object_get(args, "source")), "a\"b.moe:1:1");
    assert_string_equal(json_string_value(json_object_get(copy_args, "source")), "?");
    assert_true(number(args, "flops") == 100.0 && number(args, "GFLOP/s") == 25e-9);
    assert_true(number(args, "share_of_roofline") == 0.5);
    assert_true(isfinite(number(copy_args, "GB/s"))); /* faster than the clock can tell */
    json_decref(trace);
    free(text);
    profile_close(&profile);
    folder_remove(&folder);
}

/* Whatever call fails, the file that stood there stays, and nothing else is left. */
static void a_trace_is_written_whole_or_not_at_all(void **state) {
    (void)state;
    Folder folder = folder_make();
    Profile profile = recorded_profile();
    long at = 0;
    for (bool is_written = false; !is_written; at++) {
        Status status = STATUS_INIT;
        FailingDisk disk = failing_disk(at, ENOSPC, false);
        folder_write_text(&folder, "trace.json", "old");
        is_written = profile_write(&profile, &disk.disk, folder_path(&folder, "trace.json"), &status);
        assert_true(is_written == !disk.failed);
        assert_int_equal(folder_count(&folder, "."), 1);
        size_t n;
        char *text = folder_read(&folder, "trace.json", &n);
        assert_true(is_written ? n > 100 : strcmp(text, "old") == 0);
        free(text);
    }
    assert_true(at > 4);
    profile_close(&profile);
    folder_remove(&folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_newest_steps_are_kept),
        cmocka_unit_test(a_long_step_is_counted_whole_and_shown_in_part),
        cmocka_unit_test(the_roofline_is_what_bounds_longer),
        cmocka_unit_test(the_trace_is_json_with_an_event_for_each_launch),
        cmocka_unit_test(a_trace_is_written_whole_or_not_at_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
