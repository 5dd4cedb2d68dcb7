/* How calls of NVIDIA's libraries fail. */
#ifndef MOEC_RUNTIME_CUDA_ERROR_H
#define MOEC_RUNTIME_CUDA_ERROR_H

#include "runtime/status.h"

/* What a call is for, as errors say it: "cuLaunchKernel, to run kernel up_proj (%h.12, model.moe:14:7): ..". */
typedef struct {
    const char *action; /* "to run", "to read the loss" */
    const char *kernel; /* the rest: NULL where there is none */
    const char *value;  /* of the IR: "%h.12" */
    const char *source; /* "model.moe:14:7" */
} CudaPurpose;

#define CUDA_TO(text) (&(const CudaPurpose){.action = "to " text})

/* The failure of `call`: `name` and `text` as the library gives them; NULL where it has none for the number. */
bool cuda_fail(Status *status, const char *call, const CudaPurpose *purpose, unsigned number, const char *name,
               const char *text);

#endif
