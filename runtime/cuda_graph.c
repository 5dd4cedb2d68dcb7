#include "runtime/cuda_graph.h"

bool cuda_graph_begin(const CudaDevice *device, Status *status) {
    return CUDA_CALL(device->driver, CUDA_TO("record a graph"), status, cuStreamBeginCapture, device->work,
                     CUDA_CAPTURE_OF_THREAD);
}

bool cuda_graph_end(CudaGraph *graph, const CudaDevice *device, Status *status) {
    CUgraph recorded = NULL;
    *graph = (CudaGraph){.device = device};
    /* After a failure the driver may have nothing to give; the failure is told, not this. */
    CUDA_CALL(device->driver, CUDA_TO("end the recording of a graph"), status, cuStreamEndCapture, device->work,
              &recorded);
    if (!status->failed && CUDA_CALL(device->driver, CUDA_TO("count a graph's nodes"), status, cuGraphGetNodes,
                                     recorded, NULL, &graph->n_nodes))
        CUDA_CALL(device->driver, CUDA_TO("make a graph ready"), status, cuGraphInstantiate, &graph->instance, recorded,
                  0);
    if (recorded)
        CUDA_CALL(device->driver, CUDA_TO("end a recorded graph"), status, cuGraphDestroy, recorded);
    if (status->failed)
        cuda_graph_close(graph, status);
    return !status->failed;
}

void cuda_graph_close(CudaGraph *graph, Status *status) {
    if (graph->instance) {
        cuda_device_wait(graph->device, graph->device->work, CUDA_TO("finish before a graph ends"), status);
        CUDA_CALL(graph->device->driver, CUDA_TO("end a graph"), status, cuGraphExecDestroy, graph->instance);
    }
    *graph = (CudaGraph){0};
}

bool cuda_graph_launch(const CudaGraph *graph, const char *name, Status *status) {
    const CudaPurpose purpose = {.action = "to run program", .value = name};
    return CUDA_CALL(graph->device->driver, &purpose, status, cuGraphLaunch, graph->instance, graph->device->work);
}
