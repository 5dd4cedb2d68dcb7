/* Gradients of a step with several micro-batches, where program "train" leaves those of one in the arena: there the
   next run makes its own, so they are added up in MOEC_SPACE_GRAD, and back in the arena after the last. */
#ifndef MOEC_RUNTIME_GRADIENTS_H
#define MOEC_RUNTIME_GRADIENTS_H

#include "runtime/memory.h"
#include "runtime/passage.h"

/* Bytes of MOEC_SPACE_GRAD that a step needs. */
uint64_t gradients_bytes(const MoecPlan *plan, int64_t n_micro_batches);

/* Whether gradients_add does anything. */
bool gradients_are_added(const MoecPlan *plan, int64_t n_micro_batches);

/* After "train" has run for micro-batch `i`. */
void gradients_add(const MoecPlan *plan, const Memory *memory, int64_t i, int64_t n_micro_batches);

/* Copies those of a step to `to`, each at the offset of its weight. `passage`: where they come from, or NULL. */
bool gradients_copy(const MoecPlan *plan, const Memory *memory, Passage *passage, char *to, Status *status);

#endif
