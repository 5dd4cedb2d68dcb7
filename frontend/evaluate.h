/* `moec interpret`: a graph on seeded random numbers in the reference interpreter. */
#ifndef MOEC_FRONTEND_EVALUATE_H
#define MOEC_FRONTEND_EVALUATE_H

#include "ir/ir.h"

/* Runs graph `name` (NULL: the module's first) and prints each output's name, type, sum, mean square and first
   elements. Weights are normal(0, 0.02), or what their `init` says; experts are made from one dense tensor as their
   attributes say, but for noise and drop; integer inputs are ids that every table they index can hold; other inputs are
   1. The numbers depend on the seed and the names in the dense checkpoint alone, so one model at two stages is
   comparable, upcycled or not. False after a message to stderr. */
bool evaluate_graph(FILE *out, Arena *arena, Module *module, const char *name, uint64_t seed);

#endif
