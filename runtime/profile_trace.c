#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/output.h"
#include "runtime/profile.h"

/* Digits of numbers: nanoseconds of a quarter of an hour. */
enum { PRECISION = 12 };

/* Rows that the viewer shows below each other. */
typedef enum { TRACK_STEPS = 1, TRACK_KERNELS } Track;

/* A trace being written. */
typedef struct {
    const Profile *profile;
    OutputFile *file;
    double origin; /* of its clock */
    size_t n_objects;
} Trace;

static bool add_text(Trace *trace, const char *text, Status *status) {
    return output_file_write(trace->file, text, strlen(text), status);
}

/* Takes over `object`. */
static bool add_object(Trace *trace, json_t *object, Status *status) {
    char *text = object ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(PRECISION)) : NULL;
    json_decref(object);
    if (!text)
        return status_fail(status, STATUS_SYSTEM, "--profile: out of memory");
    add_text(trace, trace->n_objects++ > 0 ? ",\n" : "\n", status);
    add_text(trace, text, status);
    free(text);
    return !status->failed;
}

/* Paths in the .moe's place may be no UTF-8. */
static json_t *text_json(const char *text) {
    json_t *value = json_string(text);
    return value ? value : json_string("?");
}

/* Seconds as microseconds, to the nanosecond. */
static double microseconds(double seconds) {
    return round(1e9 * seconds) / 1e3;
}

/* Names of the process and the tracks. */
static bool add_name(Trace *trace, const char *what, int track, const char *name, Status *status) {
    return add_object(trace,
                      json_pack("{s:s, s:s, s:i, s:i, s:{s:o}}", "ph", "M", "name", what, "pid", 1, "tid", track,
                                "args", "name", text_json(name)),
                      status);
}

static bool add_step(Trace *trace, const ProfileStep *step, Status *status) {
    char name[32];
    snprintf(name, sizeof name, "step %lld", (long long)step->step);
    return add_object(trace,
                      json_pack("{s:s, s:s, s:s, s:i, s:i, s:f, s:f}", "ph", "X", "name", name, "cat", "step", "pid", 1,
                                "tid", TRACK_STEPS, "ts", microseconds(step->start - trace->origin), "dur",
                                microseconds(step->seconds)),
                      status);
}

/* The program that a launch stands in. */
static const char *program_name(const MoecPlan *plan, const MoecLaunch *launch) {
    for (uint32_t i = 0; i < plan->n_programs; i++) {
        const MoecProgram *program = &plan->programs[i];
        if (launch >= program->launches && launch < program->launches + program->n_launches)
            return program->name;
    }
    return "";
}

static json_t *event_args(const Profile *profile, const ProfileEvent *event) {
    const MoecKernel *kernel = &profile->plan->kernels[event->launch->kernel];
    double seconds = event->seconds > 1e-9 ? event->seconds : 1e-9; /* the clock's resolution */
    return json_pack("{s:o, s:o, s:f, s:f, s:f, s:f, s:f}", "value", text_json(event->launch->value), "source",
                     text_json(event->launch->source), "flops", kernel->flops, "bytes", kernel->bytes, "GFLOP/s",
                     1e-9 * kernel->flops / seconds, "GB/s", 1e-9 * kernel->bytes / seconds, "share_of_roofline",
                     profile_roofline(profile, kernel) / seconds);
}

static bool add_event(Trace *trace, const ProfileEvent *event, Status *status) {
    const MoecPlan *plan = trace->profile->plan;
    return add_object(trace,
                      json_pack("{s:s, s:s, s:s, s:i, s:i, s:f, s:f, s:o}", "ph", "X", "name",
                                plan->kernels[event->launch->kernel].name, "cat", program_name(plan, event->launch),
                                "pid", 1, "tid", TRACK_KERNELS, "ts", microseconds(event->start - trace->origin), "dur",
                                microseconds(event->seconds), "args", event_args(trace->profile, event)),
                      status);
}

static bool add_events(Trace *trace, Status *status) {
    for (size_t i = 0; i < profile_steps(trace->profile); i++) {
        const ProfileStep *step = profile_step(trace->profile, i);
        if (!add_step(trace, step, status))
            return false;
        for (size_t j = 0; j < step->n_events; j++) {
            if (!add_event(trace, &step->events[j], status))
                return false;
        }
    }
    return true;
}

/* The object's rest, after its events. */
static bool add_about(Trace *trace, Status *status) {
    const Profile *profile = trace->profile;
    json_t *about =
        json_pack("{s:o, s:s, s:f, s:f}", "model", text_json(profile->plan->model), "plan", profile->plan->hash,
                  "ceiling_flops_per_s", profile->ceiling, "bandwidth_bytes_per_s", profile->bandwidth);
    add_text(trace, "\n],\n\"displayTimeUnit\": \"ms\",\n\"otherData\":", status);
    trace->n_objects = 0;
    add_object(trace, about, status);
    return add_text(trace, "}\n", status);
}

bool profile_write(const Profile *profile, Disk *disk, const char *path, Status *status) {
    Trace trace = {.profile = profile, .file = output_file_begin(disk, path, status)};
    if (!trace.file)
        return false;
    if (profile_steps(profile) > 0)
        trace.origin = profile_step(profile, 0)->start;
    add_text(&trace, "{\"traceEvents\":[", status);
    add_name(&trace, "process_name", TRACK_STEPS, profile->plan->model, status);
    add_name(&trace, "thread_name", TRACK_STEPS, "steps", status);
    add_name(&trace, "thread_name", TRACK_KERNELS, "kernels", status);
    if (!status->failed && add_events(&trace, status))
        add_about(&trace, status);
    return output_file_publish(trace.file, path, status);
}
