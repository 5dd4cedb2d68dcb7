/* Streams of the fake driver: queues of what is still to happen. */
#ifndef MOEC_TESTS_FAKE_STREAM_H
#define MOEC_TESTS_FAKE_STREAM_H

#include <stdbool.h>

#include "tests/fake_cuda/fake_code.h"

enum { FAKE_TASK_BYTES = 192 };

struct CUevent_st {
    CUstream stream;
    long recorded, reached; /* numbers of records, 0: none */
};

/* All are as the driver's calls of like names. */
CUstream fake_stream_new(void);
void fake_stream_free(CUstream stream);
CudaResult fake_stream_copy(CUstream stream, void *to, const void *from, size_t n_bytes);
CudaResult fake_stream_fill(CUstream stream, void *at, unsigned char byte, size_t n_bytes);
/* As in cuLaunchKernel, `arguments` has the addresses of arguments. */
CudaResult fake_stream_launch(CUstream stream, const FakeLaunch *launch);
CudaResult fake_stream_record(CUstream stream, CUevent event);
CudaResult fake_stream_wait(CUstream stream, CUevent event);
CudaResult fake_stream_replay(CUstream stream, CUgraphExec instance);

/* Calls `run` on a copy of `data`, at most FAKE_TASK_BYTES. */
typedef void FakeTask(const void *data);
CudaResult fake_stream_task(CUstream stream, FakeTask *run, const void *data, size_t n_bytes);

/* Makes all of it happen; a fault stays for good. */
CudaResult fake_stream_drain(CUstream stream);
CudaResult fake_event_wait(CUevent event);

/* Whether something that is left in a stream is about a place: memory, an event, a function, a graph. */
bool fake_streams_touch(const void *place, size_t n_bytes);
/* No fault. */
void fake_streams_reset(void);

CudaResult fake_stream_begin_capture(CUstream stream);
/* NULL: nothing was begun. */
CUgraph fake_stream_end_capture(CUstream stream);
size_t fake_graph_length(CUgraph graph);
CUgraphExec fake_graph_instantiate(CUgraph graph);
void fake_graph_free(CUgraph graph);
void fake_instance_free(CUgraphExec instance);

#endif
