/* A training executable as a function of its plan. */
#ifndef MOEC_RUNTIME_RUN_H
#define MOEC_RUNTIME_RUN_H

#include "runtime/plan.h"

/* Does what the command line says; prints what went wrong, once. The exit status: a StatusCode. */
int run_executable(const MoecPlan *plan, int argc, char **argv);

#endif
