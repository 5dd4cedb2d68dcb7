/* Random well-typed programs: for gradient checks, for "a pass changes no value", for "what prints reads back", and for
   generated code against the interpreter.

   A program has one graph, "forward": inputs tokens and targets (i32[B, T], below RANDOM_PROGRAM_VOCAB, a target also
   -1) and float inputs; weights; a token embedding; `n_steps` random steps, each an op or a small pattern of ops on
   values made before; at times a mixture of experts with all that belongs to it (top_k, route, dispatch, grouped
   products, combine, ragged maps); a loss to which every differentiable value adds its share. Outputs: loss and nll
   (f32[]), logits, and where tokens are routed balance, z_loss and expert_load. So all passes can run on it. Over many
   seeds every op occurs that may stand in a forward graph; what autodiff and optimizer add brings in the rest.

   Values stay near 1 in size, and arguments of log, sqrt, rsqrt and div away from 0, by construction. */
#ifndef MOEC_TESTS_SUPPORT_RANDOM_PROGRAM_H
#define MOEC_TESTS_SUPPORT_RANDOM_PROGRAM_H

#include "ir/interpret.h"

enum { RANDOM_PROGRAM_VOCAB = 11 };

typedef struct {
    Module *module;
    /* Data under which the forward graph is smooth: no argument of relu within RANDOM_PROGRAM_MARGIN of 0, no two
       values that top_k compares within it of each other. */
    uint64_t data_seed;
} RandomProgram;

#define RANDOM_PROGRAM_MARGIN 2e-4

/* The program for `seed`, on `arena`: the same module and data everywhere. It has passed module_verify. Aborts the test
   if it finds no smooth data, which is a bug of the generator. */
RandomProgram random_program(Arena *arena, uint64_t seed, int n_steps);

/* Sets one tensor's values, which depend on nothing but its name, its type and the seed: weights and float inputs from
   [-1, 1); "tokens", "targets"; "loss_scale", "hyper" and "max_norm" to sensible values; "grad:" and
   "moment1:" states like weights, "moment2:" states positive. */
void random_program_fill(Tensor *tensor, const char *name, uint64_t data_seed);

/* Fills every input of every graph and every weight of `module`, which is the program's at any stage of compilation, so
   that modules before and after a pass see the same data. Gradients and moments are set to zero. */
void random_program_bind(Interpreter *interpreter, const Module *module, uint64_t data_seed);

#endif
