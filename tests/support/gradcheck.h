/* Gradients of a graph against central differences of another, in the interpreter.

   With the interpreter's states and inputs bound, `gradient` is run once on zeroed gradients. The gradient of a state
   or input NAME is then what the state "grad:NAME" or the output "grad:NAME" holds, and each of its elements is
   compared with (loss(x + h) - loss(x - h)) / 2h, where loss is an output f32[] of the graph `forward`, which may be
   the same graph. Every weight must have a gradient; of the inputs those are checked that have one. */
#ifndef MOEC_TESTS_SUPPORT_GRADCHECK_H
#define MOEC_TESTS_SUPPORT_GRADCHECK_H

#include "ir/interpret.h"

typedef struct {
    const char *forward;  /* graph, default "forward" */
    const char *loss;     /* output of `forward`, default "loss" */
    const char *gradient; /* graph, default "train" */
    double tolerance;     /* of the relative error, default 1e-6 */
    double step;          /* h, default 1e-5 */
    int64_t max_elements; /* per tensor, evenly spread; default all */
} Gradcheck;

/* NULL if every element agrees. Else, on the arena, the worst: name, index, both values, relative error; or why there
   is nothing to compare: a graph that fails, a weight without gradient, a step that changed an integer value of the
   forward graph (a choice of expert, say), where no derivative exists. The relative error is taken against the larger
   of the two values, and at least 1e-3 of the tensor's largest or of the loss, below which differences are noise.
   Leaves states and inputs as they were, gradients aside. */
const char *gradcheck(Arena *arena, const Module *module, Interpreter *interpreter, const Gradcheck *options);

#endif
