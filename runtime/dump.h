/* --dump: what a run computed, as safetensors, for comparison with another implementation (tests/vectors): "logits" of
   the first tokens of the data under the weights it began with, "nll" and "grad:NAME" of the first step before
   clipping, and "loss.0", "loss.1", .. of all steps. F32. */
#ifndef MOEC_RUNTIME_DUMP_H
#define MOEC_RUNTIME_DUMP_H

#include "runtime/session.h"

typedef struct {
    const MoecPlan *plan;
    float *logits; /* [1, generate_sequence, vocab] */
    int64_t n_logits;
    char *gradients; /* each at the offset of its weight */
    float *losses;   /* [n_losses] */
    int64_t n_losses;
    float nll;
} Dump;

/* Computes the logits. dump_close after success and failure alike. */
bool dump_open(Dump *dump, Session *session, Status *status);
void dump_close(Dump *dump);

/* Called after each step's backward passes, before the update. */
bool dump_step(Dump *dump, const Session *session, double loss, double nll, Status *status);

/* Replaces the file at `path`. */
bool dump_write(const Dump *dump, const char *path, Status *status);

#endif
