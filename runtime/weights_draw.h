/* Values of weights that are drawn: initial values, noise on replicas, dropped columns. Each value depends on the seed,
   the weight's name and its place in the weight alone (spec/checkpoints.md, "The weight map"). */
#ifndef MOEC_RUNTIME_WEIGHTS_DRAW_H
#define MOEC_RUNTIME_WEIGHTS_DRAW_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/plan.h"
#include "runtime/status.h"

/* Elements of the whole weight; of the part that one expert has, or of the whole one. */
uint64_t weight_elements(const MoecWeight *weight);
uint64_t weight_slice_elements(const MoecWeight *weight);

/* Count, mean and sum of squared deviations of some values. */
typedef struct {
    double n, mean, squares;
} Moments;

Moments moments_of(const float *values, uint64_t n);
/* Chan, Golub and LeVeque: "Updating formulae and a pairwise algorithm for computing sample variances", 1979. */
Moments moments_join(Moments a, Moments b);

/* The whole weight, [dims], by its `init`. */
void weight_draw_initial(const MoecWeight *weight, uint64_t seed, float *values);

/* Adds normal(0, noise) to elements first .. first+n-1 of the weight. */
void weight_add_noise(const MoecWeight *weight, uint64_t seed, uint64_t first, uint64_t n, float *values);

/* Draws the dropped columns of one expert's slice again, from normal(mean, deviation) of `dense`, times the weight's
   scale. */
bool weight_redraw_dropped(const MoecWeight *weight, uint64_t seed, int64_t expert, const Moments *dense, float *slice,
                           Status *status);

#endif
