/* --generate: continues a text, one token at a time. */
#ifndef MOEC_RUNTIME_GENERATE_H
#define MOEC_RUNTIME_GENERATE_H

#include "runtime/session.h"

/* Prints the text and what follows it to standard output. */
bool generate_run(Session *session, Status *status);

/* An id drawn from softmax(logits / temperature), the likeliest at temperature 0; `uniform` is in [0, 1). -1 where a
   logit is NaN. */
int32_t generate_choose(const float *logits, int64_t vocab, double temperature, double uniform);

#endif
