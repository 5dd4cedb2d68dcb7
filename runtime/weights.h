/* The weight map: from a checkpoint's tensors to the plan's weights.

   A dense checkpoint is upcycled while it is read (spec/ir.md, "States"; spec/checkpoints.md): each dense tensor is
   read once, in pieces, and written to all of its replicas in MOEC_SPACE_WEIGHT. All that can be wrong with names and
   shapes is found before the first byte of data is read. */
#ifndef MOEC_RUNTIME_WEIGHTS_H
#define MOEC_RUNTIME_WEIGHTS_H

#include "runtime/model_dir.h"
#include "runtime/passage.h"
#include "runtime/plan.h"

/* Told of bytes read, from time to time, by the thread that called. */
typedef struct Progress Progress;
struct Progress {
    void (*report)(Progress *self, uint64_t done, uint64_t total);
};

typedef enum {
    WEIGHTS_DENSE,   /* names of the dense checkpoint; upcycled where the plan is an MoE */
    WEIGHTS_EXPORTED /* names of an export: taken as they are */
} WeightsLayout;

typedef struct {
    WeightsLayout layout;
    bool is_fused;       /* experts stood in fused tensors, as transformers 5 holds them in memory */
    const char *renamed; /* "'model.' added to names", or "" */
    uint64_t n_bytes;    /* read */
    size_t n_unused;     /* tensors of the checkpoint that nothing reads, known harmless ones not counted */
    char warning[1024];  /* one about unused tensors, or "" */
} WeightsReport;

/* Fills the weights in `space`, the base of MOEC_SPACE_WEIGHT. The names of an export are tried first, then those of
   the dense checkpoint. `seed` decides routers, noise and dropped columns. `passage` and `progress` may be
   NULL. */
bool weights_load(const MoecPlan *plan, const ModelDir *dir, uint64_t seed, void *space, Passage *passage,
                  Progress *progress, WeightsReport *report, Status *status);

/* The same from an export of this plan and nothing else, f32 bit for bit: resuming. */
bool weights_reload(const MoecPlan *plan, const ModelDir *dir, void *space, Passage *passage, Progress *progress,
                    Status *status);

/* Without a checkpoint: every weight by its `init`. */
bool weights_initialise(const MoecPlan *plan, uint64_t seed, void *space, Passage *passage, Status *status);

#endif
