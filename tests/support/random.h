/* Random tensors for tests: the same seed gives the same values everywhere. */
#ifndef MOEC_TESTS_SUPPORT_RANDOM_H
#define MOEC_TESTS_SUPPORT_RANDOM_H

#include "ir/interpret.h"

/* The next value of a sequence, in [0, 1). `state` is any seed at first. */
double random_uniform(uint64_t *state);

/* Uniform in [low, high); whole numbers from low up to high - 1 for i32. */
void random_fill(Tensor *tensor, uint64_t seed, double low, double high);

/* A permutation of n evenly spaced values in (low, high): any two differ by (high - low) / n, so that a small step
   reorders nothing (top_k, relu at 0 where n is even and low = -high). */
void random_fill_separated(Tensor *tensor, uint64_t seed, double low, double high);

#endif
