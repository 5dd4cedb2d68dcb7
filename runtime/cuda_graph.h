/* The work of a step, recorded once and given to the GPU with one call. Arguments are recorded with it: what changes
   from step to step is in the device's memory (cuda_mailbox.h). */
#ifndef MOEC_RUNTIME_CUDA_GRAPH_H
#define MOEC_RUNTIME_CUDA_GRAPH_H

#include "runtime/cuda_device.h"

typedef struct {
    const CudaDevice *device;
    CUgraphExec instance;
    size_t n_nodes; /* launches, copies, fills */
} CudaGraph;

/* What is given to device->work between begin and end is recorded, not done; nothing may wait for it meanwhile. It
   should have run once before: libraries load their kernels when they are first used, which a recording may not allow.
   cuda_graph_end must follow a begin that succeeded, also when what was to be recorded failed: then it ends the
   recording, and makes no graph. */
bool cuda_graph_begin(const CudaDevice *device, Status *status);
bool cuda_graph_end(CudaGraph *graph, const CudaDevice *device, Status *status);
void cuda_graph_close(CudaGraph *graph, Status *status);

/* Gives all of it to the stream of work. `name`: of the program, for errors. */
bool cuda_graph_launch(const CudaGraph *graph, const char *name, Status *status);

#endif
