/* Weights as a Hugging Face directory that transformers and moec load. */
#ifndef MOEC_RUNTIME_EXPORT_H
#define MOEC_RUNTIME_EXPORT_H

#include "runtime/model_dir.h"
#include "runtime/output.h"
#include "runtime/passage.h"
#include "runtime/plan.h"

#define EXPORT_SHARD_BYTES 5000000000u

typedef struct {
    Dtype dtype;          /* DTYPE_F32, or DTYPE_BF16: rounded to nearest even */
    uint64_t shard_bytes; /* tensors go to several files where they are more than this; 0: EXPORT_SHARD_BYTES */
    Disk *disk;           /* NULL: disk_system() */
    Passage *passage;     /* where weights come from; NULL: they are there */
} ExportOptions;

/* Writes config.json, weights and side files into a directory in the making. `space`: base of MOEC_SPACE_WEIGHT. */
bool export_write(const MoecPlan *plan, const void *space, const ModelExtras *extras, const ExportOptions *options,
                  const OutputDir *dir, Status *status);

/* A directory of its own: written as PATH.tmp-PID, then renamed. An existing PATH is refused. */
bool export_model(const MoecPlan *plan, const void *space, const ModelExtras *extras, const ExportOptions *options,
                  const char *path, Status *status);

#endif
