/* --tune: of kernels that can be cut in several ways, each is timed on the GPU, and the fastest is written to a file
   that `moec build --tuning` reads. spec/cuda.md, "Tuning". */
#ifndef MOEC_RUNTIME_TUNE_H
#define MOEC_RUNTIME_TUNE_H

#include "runtime/session.h"

/* The session is on a GPU on which some kernel has a choice, as session_open makes sure. */
bool tune_run(Session *session, Status *status);

#endif
