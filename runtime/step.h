/* One optimizer step: forward and backward passes of all its micro-batches, then the update. */
#ifndef MOEC_RUNTIME_STEP_H
#define MOEC_RUNTIME_STEP_H

#include "runtime/dump.h"
#include "runtime/program.h"
#include "runtime/schedule.h"
#include "runtime/session.h"

/* Means over a step's micro-batches. balance and z_loss are means over MoE layers, NAN where the model has none. */
typedef struct {
    double loss, nll, balance, z_loss;
    double grad_norm, lr;
} StepResult;

typedef struct {
    Session *session;
    Program train, update;
    Schedule schedule;
    int64_t n_micro_batches; /* of a step */
    int64_t n_experts;
    double *rows;        /* [n_moe_layers, n_experts]: slots that chose each expert, in this step */
    double *load;        /* [n_moe_layers]: most rows over mean rows */
    double last_seconds; /* of the step before; 0: none yet */
    Profile *profile;    /* NULL: none */
} Stepper;

/* `profile` may be NULL, and outlives the stepper. */
bool stepper_open(Stepper *stepper, Session *session, Profile *profile, Status *status);
void stepper_close(Stepper *stepper);

/* Runs step session->step, and counts it. A signal ends it after a micro-batch: *is_stopped; nothing has been updated
   then. `dump` may be NULL. */
bool step_run(Stepper *stepper, Dump *dump, StepResult *result, bool *is_stopped, Status *status);

#endif
