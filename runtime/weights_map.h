/* The weight map as lists of copies: what to read where, for each layout that a checkpoint can have. */
#ifndef MOEC_RUNTIME_WEIGHTS_MAP_H
#define MOEC_RUNTIME_WEIGHTS_MAP_H

#include "runtime/weights_read.h"

typedef enum {
    MAP_EXPORTED,       /* one tensor for each expert, as moec and transformers 4 write it */
    MAP_EXPORTED_FUSED, /* experts stacked, gate and up joined, as transformers 5 holds them in memory */
    MAP_DENSE,
    MAP_COUNT
} MapLayout;

/* Appends the copies that fill all weights in `space` which the layout has tensors for. */
bool weights_map(const MoecPlan *plan, MapLayout layout, void *space, CopyList *list, Status *status);

/* Name of the tensor that has the weight, or its expert `expert`, in an export; allocated, NULL when out of memory. */
char *weight_export_name(const MoecWeight *weight, int64_t expert);

/* Whether each expert is a tensor of its own in an export. */
bool weight_is_split(const MoecWeight *weight);

/* The weight's values in `space`. */
float *weight_values(const MoecWeight *weight, void *space);

#endif
