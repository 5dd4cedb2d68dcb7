#include "runtime/profile.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/meter.h"

static bool open_step(ProfileStep *step, size_t capacity, size_t n_kernels) {
    step->events = calloc(capacity + 1, sizeof *step->events);
    step->totals = calloc(n_kernels + 1, sizeof *step->totals);
    return step->events && step->totals;
}

bool profile_open(Profile *profile, const MoecPlan *plan, size_t n_kept, size_t n_launches, Status *status) {
    size_t most = PROFILE_EVENTS / n_kept;
    *profile = (Profile){.plan = plan, .n_kept = n_kept, .capacity = n_launches < most ? n_launches : most};
    profile->ring = calloc(n_kept + 1, sizeof *profile->ring);
    bool is_open = profile->ring;
    for (size_t i = 0; is_open && i < n_kept + 1; i++)
        is_open = open_step(&profile->ring[i], profile->capacity, plan->n_kernels);
    return is_open || status_fail_errno(status, "--profile");
}

void profile_close(Profile *profile) {
    for (size_t i = 0; profile->ring && i < profile->n_kept + 1; i++) {
        free(profile->ring[i].events);
        free(profile->ring[i].totals);
    }
    free(profile->ring);
    *profile = (Profile){0};
}

/* ---- Recording -------------------------------------------------------------------------------------------------- */

static ProfileStep *step_under_way(const Profile *profile) {
    return &profile->ring[profile->n_finished % (profile->n_kept + 1)];
}

void profile_begin(Profile *profile, int64_t step) {
    ProfileStep *now = step_under_way(profile);
    memset(now->totals, 0, profile->plan->n_kernels * sizeof *now->totals);
    now->n_events = 0;
    now->packing = 0.0;
    now->step = step;
    now->start = meter_clock();
}

void profile_launch(Profile *profile, const MoecLaunch *launch, double start, double seconds) {
    ProfileStep *now = step_under_way(profile);
    ProfileTotal *total = &now->totals[launch->kernel];
    total->n_launches++;
    total->seconds += seconds;
    if (now->n_events < profile->capacity)
        now->events[now->n_events++] = (ProfileEvent){launch, start, seconds};
}

void profile_packing(Profile *profile, double seconds) {
    step_under_way(profile)->packing += seconds;
}

void profile_finish(Profile *profile) {
    ProfileStep *now = step_under_way(profile);
    now->seconds = meter_clock() - now->start;
    profile->n_finished++;
}

/* ---- What was recorded ------------------------------------------------------------------------------------------ */

size_t profile_steps(const Profile *profile) {
    return profile->n_finished < profile->n_kept ? profile->n_finished : profile->n_kept;
}

const ProfileStep *profile_step(const Profile *profile, size_t i) {
    size_t oldest = profile->n_finished - profile_steps(profile);
    return &profile->ring[(oldest + i) % (profile->n_kept + 1)];
}

double profile_roofline(const Profile *profile, const MoecKernel *kernel) {
    double flops = profile->ceiling > 0.0 ? kernel->flops / profile->ceiling : 0.0;
    double bytes = profile->bandwidth > 0.0 ? kernel->bytes / profile->bandwidth : 0.0;
    return fmax(flops, bytes);
}
