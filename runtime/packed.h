/* Copies of weights that stay packed from one matrix product to the next (spec/kernels.md, "Packed weights").

   In: the plan's list, how often a run reads each, and the weights whenever they have changed. Out: pointers that
   kernels are handed beside the weights; NULL for copies that are not made. Results are the same with and without. */
#ifndef MOEC_RUNTIME_PACKED_H
#define MOEC_RUNTIME_PACKED_H

#include "runtime/memory.h"

typedef enum {
    PACKED_FOR_NOTHING, /* no copy is made */
    PACKED_FOR_TRAINING,
    PACKED_FOR_EVALUATION,
    PACKED_FOR_GENERATION
} PackedUse;

typedef struct {
    const MoecPlan *plan;
    void **copies; /* [plan->n_packed] */
    char *block;   /* that they stand in */
    uint64_t n_bytes;
} Packed;

/* Bytes of the copies that pay: in training those that spare enough packing in a step of n_micro_batches. Within
   the plan's limit, less what gradients take that the plan has not counted. */
uint64_t packed_count_bytes(const MoecPlan *plan, PackedUse use, int64_t n_micro_batches);

/* Whether so much may be taken of the available memory: a part of that stays free. */
bool packed_has_room(uint64_t n_bytes, uint64_t available);

/* Takes memory for them, and nothing where there is none to take: a run goes on without. packed_close after success and
   failure alike. */
bool packed_open(Packed *packed, const MoecPlan *plan, PackedUse use, int64_t n_micro_batches, Status *status);
void packed_close(Packed *packed);

/* Makes the copies of the weights as they are now. */
void packed_make(const Packed *packed, const Memory *memory);

#endif
