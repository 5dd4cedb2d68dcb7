/* Training checkpoints: DIRECTORY/step-00000120/, each a model directory of its own plus training/, which holds the
   optimizer and the state of the run; and DIRECTORY/latest, a link to the newest. A checkpoint appears whole or not at
   all, and older ones go only once a newer one stands (spec/checkpoints.md, "Training checkpoints"). */
#ifndef MOEC_RUNTIME_CHECKPOINT_H
#define MOEC_RUNTIME_CHECKPOINT_H

#include "runtime/model_dir.h"
#include "runtime/output.h"
#include "runtime/passage.h"
#include "runtime/plan.h"
#include "runtime/weights.h"

/* What a run needs besides weights and moments to go on as if it had not stopped. */
typedef struct {
    int64_t step; /* optimizer steps done */
    int64_t seed;
    char *data; /* position in the data: one JSON value, of which only the data module knows the meaning. Owned */
} TrainState;

void train_state_free(TrainState *state);

typedef struct {
    const MoecPlan *plan;
    void *const *spaces; /* bases by MoecSpace; WEIGHT, MOMENT1 and MOMENT2 are used */
    const ModelExtras *extras;
    const char *directory;
    int keep;   /* newest checkpoints that stay, at least 1; 0: all. Those of later steps, from before a run was resumed
                   further back, stay as well */
    Disk *disk; /* NULL: disk_system() */
    Passage *passage; /* where these come from; NULL: they are there */
} CheckpointTarget;

/* After a failure the older checkpoints are as they were, and training may go on. */
bool checkpoint_save(const CheckpointTarget *target, const TrainState *state, Status *status);

/* The path of the newest checkpoint below `directory`, or `directory` itself where that is a checkpoint. NULL after a
   failure (there is none); the caller frees it. */
char *checkpoint_find(const char *directory, Status *status);

/* Weights and moments, bit for bit, into `spaces`; config.json and side files into `extras`. On failure `state` and
   `extras` hold nothing. `passage` and `progress` may be NULL. */
bool checkpoint_load(const MoecPlan *plan, const char *path, void *const *spaces, TrainState *state,
                     ModelExtras *extras, Passage *passage, Progress *progress, Status *status);

#endif
