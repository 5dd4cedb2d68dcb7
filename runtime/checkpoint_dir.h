/* The directory that checkpoints stand in: names, which ones there are, which go. */
#ifndef MOEC_RUNTIME_CHECKPOINT_DIR_H
#define MOEC_RUNTIME_CHECKPOINT_DIR_H

#include <stdint.h>

#include "runtime/disk.h"
#include "runtime/status.h"

/* In a checkpoint: what shows that it is one. */
#define CHECKPOINT_STATE_FILE "training/state.json"
#define CHECKPOINT_LATEST "latest"

enum { CHECKPOINT_NAME_BYTES = 40 };

/* "step-00000120" */
void checkpoint_name(int64_t step, char name[CHECKPOINT_NAME_BYTES]);

/* DIRECTORY/NAME, or DIRECTORY/.NAME.tmp, where a checkpoint is written; NULL after a failure. */
char *checkpoint_path(const char *directory, const char *name, Status *status);
char *checkpoint_temporary_path(const char *directory, const char *name, Status *status);

/* Removes what runs that were killed left half-written. A directory that is not there has none. */
bool checkpoint_remove_leftovers(Disk *disk, const char *directory, Status *status);

/* Removes all but the newest `keep` of the checkpoints up to `step`. */
bool checkpoint_remove_old(Disk *disk, const char *directory, int64_t step, int keep, Status *status);

#endif
