/* Finding and opening NVIDIA's libraries, which no executable is linked with: the first of a few names in the first of
   a few places that has it. */
#ifndef MOEC_RUNTIME_CUDA_LIBRARY_H
#define MOEC_RUNTIME_CUDA_LIBRARY_H

#include <stdbool.h>
#include <stddef.h>

#include "runtime/status.h"

/* Folders in the order in which they are looked in; "": wherever the system's loader looks. */
typedef struct {
    char **folders;
    size_t n;
} CudaPlaces;

/* CUDA_HOME's, then those of the active environment's Python packages (VIRTUAL_ENV, CONDA_PREFIX), then the loader's,
   then /usr/local/cuda's. cuda_places_close after success and failure alike. */
bool cuda_places_open(CudaPlaces *places, Status *status);
/* At the end, unless it is there already. */
bool cuda_places_add(CudaPlaces *places, const char *folder, Status *status);
void cuda_places_close(CudaPlaces *places);

typedef struct {
    void *handle;
    char *path; /* what was opened: a file, or a name that the loader found */
} CudaLibrary;

/* A function that the library must have, and where its address goes: a byte offset in a table of functions. */
typedef struct {
    const char *symbol;
    size_t offset;
} CudaSymbol;

/* What to open. */
typedef struct {
    const char *title; /* "NVRTC" */
    const char *const
        *names; /* "libnvrtc.so.13", ..; NULL ends them. Every place is asked for a name before the next */
    const CudaSymbol *symbols;
    size_t n_symbols;
    const char *advice; /* what to do where it is not found */
} CudaLibraryKind;

/* Fills `functions`, a table with room at each symbol's offset. A library that lacks a symbol is passed over. On
   failure nothing is open. */
bool cuda_library_open(CudaLibrary *library, const CudaLibraryKind *kind, const CudaPlaces *places, void *functions,
                       Status *status);
void cuda_library_close(CudaLibrary *library);

#endif
