/* The step loop. */
#ifndef MOEC_RUNTIME_TRAIN_H
#define MOEC_RUNTIME_TRAIN_H

#include "runtime/session.h"

/* From session->step to --steps: micro-batches, update, validation, checkpoints, and at the end the export. A run that
   a signal ends early has saved, and has not failed. */
bool train_run(Session *session, Status *status);

#endif
