/* A random program at any stage of compilation, and whether two stages compute the same. Every failure ends the test
   with a message. */
#ifndef MOEC_TESTS_SUPPORT_STAGES_H
#define MOEC_TESTS_SUPPORT_STAGES_H

#include "ir/interpret.h"

/* The random program for `seed` (tests/support/random_program.h) after the passes from autodiff up to and including
   `last`, verified after each. "lower": no pass. */
Module *random_stage(Arena *arena, uint64_t seed, int n_steps, const char *last, uint64_t *data_seed);

/* Runs one pass, verified. */
void run_pass(Module *module, const char *name);

/* Runs all graphs of both modules in their order, on the same data: outputs and states are near at `tolerance`. */
void expect_same_values(const Module *expected, const Module *actual, uint64_t data_seed, double tolerance);

/* The module's text, on the arena. */
char *module_text(Arena *arena, const Module *module, size_t *n_bytes);

/* What two texts have in common is left out: the first line that differs, for a message. */
void expect_same_text(const char *what, const char *expected, const char *actual);

#endif
