/* Optimizer steps: forward and backward passes of all micro-batches, then the update. Where programs run on a GPU, a
   step is given to it while the one before is under way, and what it tells comes back meanwhile: the host never waits
   for the step that it has just given, unless it is to settle. */
#ifndef MOEC_RUNTIME_STEP_H
#define MOEC_RUNTIME_STEP_H

#include "runtime/dump.h"
#include "runtime/program.h"
#include "runtime/schedule.h"
#include "runtime/session.h"

/* Means over a step's micro-batches. balance and z_loss are means over MoE layers, NAN where the model has none. */
typedef struct {
    int64_t step;         /* its number, from 1 */
    uint64_t n_sequences; /* of all steps so far */
    double loss, nll, balance, z_loss;
    double grad_norm, lr;
    double seconds;     /* since it was begun, or since the one before was done, if that was later */
    const double *load; /* [n_moe_layers]: rows of the expert that got most, over the mean */
} StepResult;

/* A step that was begun and not told of. */
typedef struct {
    StepResult result;
    int64_t n_taken; /* micro-batches whose outputs are in the result */
    double start;
    double *rows; /* [n_moe_layers, n_experts]: slots that chose each expert */
    double *load; /* [n_moe_layers] */
} StepRecord;

enum { STEP_RECORDS = 2 };

typedef struct {
    Session *session;
    Program train, update;
    Schedule schedule;
    int64_t n_micro_batches; /* of a step */
    int64_t n_experts;
    int n_trains, n_updates;          /* runs that were given and not taken */
    bool is_broken;                   /* a run failed on its way: the weights may be those before it, or behind it */
    int64_t n_begun, n_done, n_told;  /* steps, in this order */
    StepRecord records[STEP_RECORDS]; /* of step n_told, n_told + 1: they take turns */
    double last_end;                  /* when the newest step was done */
    double last_seconds;              /* of that; 0: none yet */
    Profile *profile;                 /* NULL: none */
} Stepper;

/* `profile` may be NULL, and outlives the stepper. */
bool stepper_open(Stepper *stepper, Session *session, Profile *profile, Status *status);
void stepper_close(Stepper *stepper);

/* Gives step session->step, counted from 0, and counts it; it is done when this returns, or when the next one does. All
   that was done must have been told. A signal ends it after a micro-batch: *is_stopped; nothing of it has been updated
   then. `dump` may be NULL. */
bool step_run(Stepper *stepper, Dump *dump, bool *is_stopped, Status *status);

/* Waits until all that was given is done. */
bool step_settle(Stepper *stepper, Status *status);

/* What the oldest step that is done and was not told of comes to; false: there is none. Valid until the next step_run.
 */
bool step_tell(Stepper *stepper, StepResult *result);

#endif
