/* What `moec tune` measured: which choice of a kernel is the fastest on a device. spec/cuda.md, "Tuning".

   In: a file's text. Out: choices by kernel. Never here: a GPU. The executable writes the file (runtime/tune.c), in the
   words that tuning_key and tuning_choice_text give it. */
#ifndef MOEC_CODEGEN_TUNING_H
#define MOEC_CODEGEN_TUNING_H

#include "codegen/form_cuda.h"
#include "codegen/kernels.h"

typedef struct {
    const char *key;    /* tuning_key */
    const char *choice; /* tuning_choice_text */
    int line;
} TuningEntry;

typedef struct {
    const char *path, *device; /* device: its name, "NVIDIA H100 80GB HBM3" */
    TuningEntry *entries;
    size_t n, capacity;
} Tuning;

/* On the arena; NULL with *error = "path:line: what is wrong" on the arena. */
const Tuning *tuning_read(Arena *arena, const char *path, const char *text, size_t n_bytes, const char **error);

/* What a kernel is called there: the same for the same computation in any model. On the arena. */
const char *tuning_key(Arena *arena, const Kernel *kernel);
/* "sm_90a rows 128 columns 256 stages 4 band 8" */
const char *tuning_choice_text(Arena *arena, CudaTier tier, const CudaProductChoice *choice);

/* The entry of the kernel on a tier; NULL: there is none. */
const TuningEntry *tuning_find(const Tuning *tuning, const char *key, CudaTier tier);

#endif
