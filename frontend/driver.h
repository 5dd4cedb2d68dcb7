/* Runs the stages in order: source to module, passes with the verifier after each, code generation. */
#ifndef MOEC_FRONTEND_DRIVER_H
#define MOEC_FRONTEND_DRIVER_H

#include "frontend/options.h"

/* Carries out one command; the exit code. */
int driver_run(Arena *arena, const Options *options);

#endif
