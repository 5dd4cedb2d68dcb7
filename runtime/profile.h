/* --profile: how long each launch took, in the newest steps of a run. From it come a trace that chrome://tracing and
   Perfetto open, and a table of the kernels beside what the machine could do at best. */
#ifndef MOEC_RUNTIME_PROFILE_H
#define MOEC_RUNTIME_PROFILE_H

#include "runtime/disk.h"
#include "runtime/log.h"
#include "runtime/plan.h"
#include "runtime/status.h"

typedef struct {
    const MoecLaunch *launch;
    double start, seconds; /* start: of meter_clock */
} ProfileEvent;

typedef struct {
    int64_t n_launches;
    double seconds;
} ProfileTotal;

typedef struct {
    int64_t step; /* counted from 1 */
    double start, seconds;
    double packing; /* seconds: copies of weights that stay packed (runtime/packed.h) */
    size_t n_events;
    ProfileEvent *events; /* [capacity]: the step's first launches */
    ProfileTotal *totals; /* [plan->n_kernels], of all its launches */
} ProfileStep;

/* Steps take turns in a ring that has room for one more than are kept: the step under way. */
typedef struct {
    const MoecPlan *plan;
    double ceiling, bandwidth; /* FLOP/s, bytes/s: what meter.h measured; 0: not */
    size_t n_kept, capacity;
    size_t n_finished; /* steps so far */
    ProfileStep *ring; /* [n_kept + 1] */
} Profile;

/* What the trace shows at most; of longer steps it has the beginning. The table counts all. */
enum { PROFILE_EVENTS = 1 << 18 };

/* Takes all memory that it needs: for the newest `n_kept` steps of `n_launches` launches. profile_close after success
   and failure alike. */
bool profile_open(Profile *profile, const MoecPlan *plan, size_t n_kept, size_t n_launches, Status *status);
void profile_close(Profile *profile);

/* A step that is begun and not finished is not kept. */
void profile_begin(Profile *profile, int64_t step);
void profile_launch(Profile *profile, const MoecLaunch *launch, double start, double seconds);
void profile_packing(Profile *profile, double seconds);
void profile_finish(Profile *profile);

/* How many steps are kept now, and the i-th of them, the oldest first. */
size_t profile_steps(const Profile *profile);
const ProfileStep *profile_step(const Profile *profile, size_t i);

/* The least seconds that a launch can take on this machine: for its FLOPs or for its bytes, whichever are longer. */
double profile_roofline(const Profile *profile, const MoecKernel *kernel);

/* The table, on lines of the log. */
void profile_say(const Profile *profile, Log *log);

/* The trace: JSON in the Trace Event Format, whole or not at all, in place of a file that stood there. */
bool profile_write(const Profile *profile, Disk *disk, const char *path, Status *status);

#endif
