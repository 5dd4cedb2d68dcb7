/* The stages of a compilation, in order, each followed by the verifier. */
#ifndef MOEC_FRONTEND_PIPELINE_H
#define MOEC_FRONTEND_PIPELINE_H

#include "frontend/options.h"
#include "ir/report.h"

/* Runs the passes that come after `lower` up to and including `last` (NULL: all of them). False after an error was
   reported. A module that the verifier refuses is a bug in moec: it is printed and the process's exit code is EXIT_BUG,
   which *exit_code carries; else *exit_code is EXIT_BAD_INPUT on failure. */
bool pipeline_run_until(Module *module, const char *last, const Options *options, Reporter *reporter, int *exit_code);

/* Runs one pass by name, verified, printed and timed as the options ask. */
bool pipeline_run_pass(Module *module, const char *name, const Options *options, Reporter *reporter, int *exit_code);

/* For the stage that made the module: prints it if --print-after asks for it, and its time since `start_seconds`. */
void pipeline_report_stage(const Module *module, const char *name, const Options *options, double start_seconds);

/* Seconds on the monotonic clock. */
double pipeline_clock(void);

#endif
