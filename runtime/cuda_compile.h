/* All kernels of an executable, compiled by several threads at once, or taken from the cache. */
#ifndef MOEC_RUNTIME_CUDA_COMPILE_H
#define MOEC_RUNTIME_CUDA_COMPILE_H

#include "runtime/cuda_cache.h"
#include "runtime/cuda_nvrtc.h"
#include "runtime/log.h"

typedef struct {
    const Nvrtc *nvrtc;
    const char *architecture; /* "sm_90a" */
    const char *const *options;
    size_t n_options;
    const CudaCache *cache; /* NULL: none */
    bool keeps_ptx;         /* PTX and the compiler's log are wanted: they are not in the cache, which is not asked */
    int n_threads;
} CudaCompiler;

/* Fills outputs[n]; in those from the cache, ptx and log are NULL. Says on the log how far it is and what it took. Of
   several texts that don't compile, the first in order is told. A cache that cannot be written is warned about. On
   failure the outputs are empty. */
bool cuda_compile(const CudaCompiler *compiler, const CudaText *texts, size_t n, NvrtcOutput *outputs, Log *log,
                  Status *status);
void cuda_compile_free(NvrtcOutput *outputs, size_t n);

#endif
