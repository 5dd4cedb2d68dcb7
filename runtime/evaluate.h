/* Loss on data that is not trained on: the same windows each time, from the start of the files, so that runs, models
   and the dense and the upcycled program can be compared. */
#ifndef MOEC_RUNTIME_EVALUATE_H
#define MOEC_RUNTIME_EVALUATE_H

#include "runtime/program.h"
#include "runtime/session.h"

typedef struct {
    double nll; /* mean over all tokens */
    int64_t n_batches, n_tokens;
    double seconds;
} Evaluation;

/* Runs `eval`, the program of that name, over --eval-batches micro-batches, or as many as the stream has. Stops early
   when a signal asks the run to end: *is_stopped, which may be NULL. */
bool evaluate(Session *session, const Program *eval, const DataStream *stream, Evaluation *evaluation, bool *is_stopped,
              Status *status);

/* --eval: prints loss and perplexity on --val, or on --data. */
bool evaluate_run(Session *session, Status *status);

#endif
