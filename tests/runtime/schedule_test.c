// RUN: %unit %s
/* Learning rates by the formulas of spec/numerics.md. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "runtime/schedule.h"

static void expect_rate(const Schedule *schedule, int64_t step, double expected) {
    double rate = schedule_rate(schedule, step);
    if (fabs(rate - expected) > 1e-15)
        fail_msg("step %d: rate %.17g, expected %.17g", (int)step, rate, expected);
}

static void warm_up_rises_to_the_peak(void **state) {
    (void)state;
    for (ScheduleKind kind = 0; kind < SCHEDULE_COUNT; kind++) {
        Schedule schedule = {.kind = kind, .lr = 0.5, .min_lr = 0.1, .warmup = 4, .steps = 100, .decay_steps = 10};
        for (int64_t step = 0; step < 4; step++)
            expect_rate(&schedule, step, 0.5 * (double)(step + 1) / 4);
        expect_rate(&schedule, 4, 0.5);
    }
}

static void constant_stays(void **state) {
    (void)state;
    Schedule schedule = {.kind = SCHEDULE_CONSTANT, .lr = 0.5, .min_lr = 0.1, .steps = 10};
    expect_rate(&schedule, 0, 0.5);
    expect_rate(&schedule, 9, 0.5);
    expect_rate(&schedule, 1000, 0.5);
}

static void cosine_falls_to_the_minimum(void **state) {
    (void)state;
    Schedule schedule = {.kind = SCHEDULE_COSINE, .lr = 2.0, .min_lr = 0.25, .warmup = 10, .steps = 110};
    for (int64_t step = 10; step < 110; step++)
        expect_rate(&schedule, step, 2.0 * (0.25 + 0.75 * (1 + cos(M_PI * (double)(step - 10) / 100)) / 2));
    expect_rate(&schedule, 60, 2.0 * 0.625);
    expect_rate(&schedule, 110, 0.5);
    expect_rate(&schedule, 10000, 0.5);
}

static void wsd_falls_at_the_end_only(void **state) {
    (void)state;
    Schedule schedule = {.kind = SCHEDULE_WSD, .lr = 2.0, .min_lr = 0.5, .warmup = 5, .steps = 100, .decay_steps = 20};
    expect_rate(&schedule, 5, 2.0);
    expect_rate(&schedule, 80, 2.0);
    expect_rate(&schedule, 90, 1.5);
    expect_rate(&schedule, 99, 2.0 * (0.5 + 0.5 / 20));
    expect_rate(&schedule, 100, 1.0);
}

/* The last leg longer than the run: it begins after the warm-up. */
static void wsd_does_not_fall_into_the_warm_up(void **state) {
    (void)state;
    Schedule schedule = {
        .kind = SCHEDULE_WSD, .lr = 1.0, .min_lr = 0.0, .warmup = 20, .steps = 100, .decay_steps = 500};
    expect_rate(&schedule, 19, 1.0);
    expect_rate(&schedule, 20, 1.0);
    expect_rate(&schedule, 60, 0.5);
}

static void all_of_the_run_may_be_warm_up(void **state) {
    (void)state;
    for (ScheduleKind kind = 0; kind < SCHEDULE_COUNT; kind++) {
        Schedule schedule = {.kind = kind, .lr = 1.0, .min_lr = 0.0, .warmup = 10, .steps = 10};
        expect_rate(&schedule, 9, 1.0);
        assert_true(isfinite(schedule_rate(&schedule, 10)));
    }
}

static void kinds_have_names(void **state) {
    (void)state;
    ScheduleKind kind = SCHEDULE_WSD;
    assert_true(schedule_find("cosine", &kind));
    assert_int_equal(kind, SCHEDULE_COSINE);
    assert_false(schedule_find("Cosine", &kind));
    assert_int_equal(kind, SCHEDULE_COSINE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(warm_up_rises_to_the_peak),
        cmocka_unit_test(constant_stays),
        cmocka_unit_test(cosine_falls_to_the_minimum),
        cmocka_unit_test(wsd_falls_at_the_end_only),
        cmocka_unit_test(wsd_does_not_fall_into_the_warm_up),
        cmocka_unit_test(all_of_the_run_may_be_warm_up),
        cmocka_unit_test(kinds_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
