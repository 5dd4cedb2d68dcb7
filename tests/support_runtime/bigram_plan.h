/* A plan that trains, its kernels written by hand: a bigram model, logits of a token being a row of one table. It has a
   layer of two "experts" in that loads are counted: even tokens go to the first, odd ones to the second.

   Some tokens make things happen, so that a test can say when. */
#ifndef MOEC_TESTS_SUPPORT_RUNTIME_BIGRAM_PLAN_H
#define MOEC_TESTS_SUPPORT_RUNTIME_BIGRAM_PLAN_H

#include "runtime/plan.h"

enum {
    BIGRAM_BATCH = 2,
    BIGRAM_T = 4,
    BIGRAM_VOCAB = 128,
    BIGRAM_WINDOW = 3, /* of "generate" */
    BIGRAM_ELEMENTS = BIGRAM_VOCAB * BIGRAM_VOCAB
};

/* Tokens that make the loss NaN, the gradient infinite, the process get SIGTERM once, and twice, as they are met in
   training. */
enum { BIGRAM_NAN = 127, BIGRAM_INFINITE = 126, BIGRAM_STOP = 125, BIGRAM_KILL = 124 };

/* 100 steps of 2 sequences at a constant rate of 0.1, zeros at the start. */
extern const MoecPlan bigram_plan;

#endif
