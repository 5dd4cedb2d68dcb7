/* Copies from a checkpoint's tensors to places in memory: listed, checked against the files, then carried out, each
   tensor being read once. */
#ifndef MOEC_RUNTIME_WEIGHTS_READ_H
#define MOEC_RUNTIME_WEIGHTS_READ_H

#include "runtime/model_dir.h"
#include "runtime/plan.h"
#include "runtime/weights.h"

/* One more than a weight has: the fused experts of a checkpoint. */
enum { COPY_MAX_RANK = MOEC_MAX_RANK + 1 };

typedef struct {
    char *name; /* of the tensor, as the program knows it. Owned */
    int rank;
    int64_t dims[COPY_MAX_RANK]; /* that the tensor must have */
    const MoecWeight *weight;    /* what it becomes */

    /* The tensor is [outer, n_blocks, run]; `to` gets block number `block` of each outer: [outer, run]. */
    uint64_t n_blocks, block, run;
    float *to;

    /* A replica of a dense tensor is scaled and gets its expert's noise or drawn columns; all else is copied bit for
       bit. */
    bool is_replica;
    int64_t expert;

    TensorRef from; /* set by copies_find */
} WeightCopy;

typedef struct {
    WeightCopy *items; /* copies of one tensor are neighbours */
    size_t n, capacity;
} CopyList;

/* Takes over copy->name (NULL: out of memory), also on failure. */
bool copies_add(CopyList *list, const WeightCopy *copy, Status *status);
void copies_free(CopyList *list);

/* How a checkpoint's names may differ from the program's as a whole. */
typedef struct {
    const char *prefix;
    bool is_added; /* else removed */
    const char *text;
} Renaming;

/* All of them, none first; ended by a NULL prefix. */
extern const Renaming renamings[];

/* Sets `from` of all copies; the number of tensors that are missing, or misshapen, or of a dtype that can't be read. */
size_t copies_find(CopyList *list, const ModelDir *dir, const Renaming *renaming);

/* Says which tensors those are; always false. `path`: of the checkpoint. */
bool copies_report(const CopyList *list, const char *path, size_t n_problems, Status *status);

/* Whether all tensors that were found are F32, as resuming needs; says so where one isn't. */
bool copies_all_f32(const CopyList *list, const char *path, Status *status);

/* Reads everything, and hands on what each tensor becomes; the bytes read go to `n_bytes`. */
bool copies_read(const CopyList *list, uint64_t seed, Passage *passage, Progress *progress, uint64_t *n_bytes,
                 Status *status);

#endif
