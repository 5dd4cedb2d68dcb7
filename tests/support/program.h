/* A module written as IR text in a test: read, bound, run, compared. Every failure ends the test with a message. */
#ifndef MOEC_TESTS_SUPPORT_PROGRAM_H
#define MOEC_TESTS_SUPPORT_PROGRAM_H

#include "ir/interpret.h"

typedef struct {
    Arena *arena;
    Module *module;
    Interpreter *interpreter;
} Program;

/* `text` stands after the line "module test". The caller ends it with program_free. */
Program program_read(const char *text);
void program_free(Program *program);

/* The storage of an input or a state; an input has the type that the first graph with that input gives it. */
Tensor *program_tensor(Program *program, const char *name);
/* Sets all elements; `n` must be how many there are. */
void program_set(Program *program, const char *name, int64_t n, const double *values);
/* Separated values (tests/support/random.h), or for i32 whole numbers in [low, high). */
void program_set_random(Program *program, const char *name, uint64_t seed, double low, double high);

void program_run(Program *program, const char *graph);
/* The reason why a run fails; one that succeeds ends the test. */
const char *program_run_failing(Program *program, const char *graph);
/* An output of the last run. */
const double *program_output(Program *program, const char *name);

/* `actual` is within `tolerance` of `expected`, relative to the larger of |expected| and 1; NaN is only near NaN. */
void expect_near(const char *what, int64_t n, const double *actual, const double *expected, double tolerance);
/* The output `name` of the last run has `n` elements, near `expected` at 1e-12. */
void program_expect(Program *program, const char *name, int64_t n, const double *expected);
/* gradcheck with its defaults: loss "loss" of graph "forward", gradients of graph "train". */
void program_expect_gradients(Program *program);

/* A literal list as the two arguments that the functions above take: VALUES(1, 2, 3). */
#define VALUES(...)                                                                                                    \
    (int64_t)(sizeof((double[]){__VA_ARGS__}) / sizeof(double)), (double[]) {                                          \
        __VA_ARGS__                                                                                                    \
    }

#endif
