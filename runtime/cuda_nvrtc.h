/* NVRTC, the compiler of CUDA C in a library: opened, asked what it knows, and given one text. */
#ifndef MOEC_RUNTIME_CUDA_NVRTC_H
#define MOEC_RUNTIME_CUDA_NVRTC_H

#include "runtime/cuda_api.h"
#include "runtime/cuda_error.h"
#include "runtime/cuda_library.h"

typedef struct {
    CudaLibrary library;
    NvrtcFunctions api;
    int major, minor;
} Nvrtc;

/* One whose code a driver of that version (12040: CUDA 12.4; 0: whatever there is) can load. On failure nothing is
   open. */
bool nvrtc_open(Nvrtc *nvrtc, const CudaPlaces *places, int driver_version, Status *status);
void nvrtc_close(Nvrtc *nvrtc);

enum { NVRTC_ARCHITECTURE_BYTES = 16 };

/* What to compile for on a device of compute capability major.minor: "sm_90a", "sm_89"; the newest of the same major
   that this NVRTC knows. */
bool nvrtc_architecture(const Nvrtc *nvrtc, int major, int minor, char architecture[NVRTC_ARCHITECTURE_BYTES],
                        Status *status);

/* A kernel's text, and where it comes from. */
typedef struct {
    const char *name; /* of the kernel; its functions are extern "C" */
    const char *text;
    const char *value, *source; /* as in CudaPurpose */
} CudaText;

/* What became of it, in memory that nvrtc_output_free frees. */
typedef struct {
    char *cubin, *ptx, *log; /* ptx and log end in a NUL; the log may be empty */
    size_t n_cubin;
} NvrtcOutput;

/* Can be called by several threads at once. `architecture` first, then `options`. On failure the output is empty. */
bool nvrtc_compile(const Nvrtc *nvrtc, const CudaText *text, const char *architecture, const char *const *options,
                   size_t n_options, NvrtcOutput *output, Status *status);
void nvrtc_output_free(NvrtcOutput *output);

#endif
