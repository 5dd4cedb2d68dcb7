/* The learning rate of each step: spec/numerics.md, "Optimizer". */
#ifndef MOEC_RUNTIME_SCHEDULE_H
#define MOEC_RUNTIME_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

typedef enum { SCHEDULE_CONSTANT, SCHEDULE_COSINE, SCHEDULE_WSD, SCHEDULE_COUNT } ScheduleKind;

/* As flags and the train clause spell them. */

typedef struct {
    ScheduleKind kind;
    double lr;           /* the peak */
    double min_lr;       /* at the end, as a fraction of lr */
    int64_t warmup;      /* steps of the linear rise */
    int64_t steps;       /* of the whole run */
    int64_t decay_steps; /* length of wsd's last leg */
} Schedule;

/* False, with *kind unchanged, if no schedule has this name. */
bool schedule_find(const char *name, ScheduleKind *kind);

/* The rate of step `step`, counted from 0. */
double schedule_rate(const Schedule *schedule, int64_t step);

#endif
