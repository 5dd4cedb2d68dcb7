#include "runtime/schedule.h"

#include <math.h>
#include <string.h>

static const char *const schedule_names[SCHEDULE_COUNT] = {
    [SCHEDULE_CONSTANT] = "constant",
    [SCHEDULE_COSINE] = "cosine",
    [SCHEDULE_WSD] = "wsd",
};

bool schedule_find(const char *name, ScheduleKind *kind) {
    for (int i = 0; i < SCHEDULE_COUNT; i++) {
        if (strcmp(name, schedule_names[i]) == 0) {
            *kind = (ScheduleKind)i;
            return true;
        }
    }
    return false;
}

/* How much of the way from lr to min_lr * lr is left at `step`: 1 at first, 0 when step = steps. */
static double constant_share(const Schedule *schedule, int64_t step) {
    (void)schedule, (void)step;
    return 1.0;
}

static double cosine_share(const Schedule *schedule, int64_t step) {
    double done = (double)(step - schedule->warmup) / (double)(schedule->steps - schedule->warmup);
    return (1.0 + cos(M_PI * done)) / 2.0;
}

static double wsd_share(const Schedule *schedule, int64_t step) {
    int64_t decay_start = schedule->steps - schedule->decay_steps;
    if (decay_start < schedule->warmup)
        decay_start = schedule->warmup;
    return step < decay_start ? 1.0 : (double)(schedule->steps - step) / (double)(schedule->steps - decay_start);
}

double schedule_rate(const Schedule *schedule, int64_t step) {
    static double (*const shares[SCHEDULE_COUNT])(const Schedule *, int64_t) = {
        [SCHEDULE_CONSTANT] = constant_share,
        [SCHEDULE_COSINE] = cosine_share,
        [SCHEDULE_WSD] = wsd_share,
    };
    if (step < schedule->warmup)
        return schedule->lr * (double)(step + 1) / (double)schedule->warmup;
    /* At or past the planned end the rate stays where the schedule leads. */
    double share = step < schedule->steps                ? shares[schedule->kind](schedule, step)
                   : schedule->kind == SCHEDULE_CONSTANT ? 1.0
                                                         : 0.0;
    return schedule->lr * (schedule->min_lr + (1.0 - schedule->min_lr) * share);
}
