#include "tests/fake_cuda/fake_stream.h"

#include <stdlib.h>
#include <string.h>

#include "tests/fake_cuda/fake_cuda.h"

typedef enum { OP_COPY, OP_FILL, OP_LAUNCH, OP_RECORD, OP_WAIT, OP_REPLAY, OP_TASK } OpKind;

typedef struct {
    OpKind kind;
    void *to;
    const void *from;
    size_t n_bytes;
    unsigned char byte;
    FakeLaunch launch; /* its arguments are the op's own, addresses in the device's memory */
    CUevent event;
    long record;
    CUgraphExec instance;
    FakeTask *task;
    _Alignas(8) unsigned char data[FAKE_TASK_BYTES];
} Op;

typedef struct {
    Op *ops;
    size_t n;
} Ops;

struct CUstream_st {
    Ops pending, captured;
    size_t n_done; /* of `pending` */
    bool is_capturing;
    CUstream next;
};

struct CUgraph_st {
    Ops ops;
};

struct CUgraphExec_st {
    Ops ops;
};

static CUstream streams;
static CudaResult fault;
static long n_records;

void fake_streams_reset(void) {
    fault = CUDA_RESULT_SUCCESS;
}

/* ---- Queues ------------------------------------------------------------------------------------------------------ */

static void append(Ops *ops, const Op *op) {
    ops->ops = realloc(ops->ops, (ops->n + 1) * sizeof *ops->ops);
    ops->ops[ops->n++] = *op;
}

static void op_end(const Op *op) {
    if (op->kind == OP_LAUNCH)
        free((void *)(uintptr_t)op->launch.arguments);
}

static void ops_free(Ops *ops, size_t first) {
    for (size_t i = first; i < ops->n; i++)
        op_end(&ops->ops[i]);
    free(ops->ops);
}

static CudaResult push(CUstream stream, const Op *op) {
    if (fault) {
        op_end(op);
        return fault;
    }
    if (stream->n_done == stream->pending.n)
        stream->n_done = stream->pending.n = 0;
    append(stream->is_capturing ? &stream->captured : &stream->pending, op);
    return CUDA_RESULT_SUCCESS;
}

CUstream fake_stream_new(void) {
    CUstream stream = calloc(1, sizeof *stream);
    stream->next = streams;
    streams = stream;
    return stream;
}

void fake_stream_free(CUstream stream) {
    if (stream->n_done < stream->pending.n || stream->is_capturing)
        fake_misuse("a stream is ended while it is busy");
    CUstream *link = &streams;
    while (*link != stream)
        link = &(*link)->next;
    *link = stream->next;
    ops_free(&stream->pending, stream->n_done);
    ops_free(&stream->captured, 0);
    free(stream);
}

static bool is_in(const void *pointer, const void *place, size_t n_bytes) {
    return (uintptr_t)pointer >= (uintptr_t)place && (uintptr_t)pointer - (uintptr_t)place < n_bytes;
}

static bool launch_touches(const FakeLaunch *launch, const void *place, size_t n_bytes) {
    if (launch->function == place)
        return true;
    for (int i = 0; i < launch->function->n_parameters; i++) {
        if (is_in(launch->arguments[i], place, n_bytes))
            return true;
    }
    return false;
}

static bool ops_touch(const Ops *ops, size_t first, const void *place, size_t n_bytes) {
    for (size_t i = first; i < ops->n; i++) {
        const Op *op = &ops->ops[i];
        if (op->kind == OP_TASK || is_in(op->to, place, n_bytes) || is_in(op->from, place, n_bytes) ||
            op->event == place || op->instance == place ||
            (op->kind == OP_LAUNCH && launch_touches(&op->launch, place, n_bytes)) ||
            (op->kind == OP_REPLAY && ops_touch(&op->instance->ops, 0, place, n_bytes)))
            return true;
    }
    return false;
}

bool fake_streams_touch(const void *place, size_t n_bytes) {
    for (CUstream stream = streams; stream; stream = stream->next) {
        if (ops_touch(&stream->pending, stream->n_done, place, n_bytes))
            return true;
    }
    return false;
}

CudaResult fake_stream_copy(CUstream stream, void *to, const void *from, size_t n_bytes) {
    return push(stream, &(Op){.kind = OP_COPY, .to = to, .from = from, .n_bytes = n_bytes});
}

CudaResult fake_stream_fill(CUstream stream, void *at, unsigned char byte, size_t n_bytes) {
    return push(stream, &(Op){.kind = OP_FILL, .to = at, .byte = byte, .n_bytes = n_bytes});
}

static void **arguments_new(const FakeLaunch *launch) {
    return calloc((size_t)launch->function->n_parameters + 1, sizeof(void *));
}

CudaResult fake_stream_launch(CUstream stream, const FakeLaunch *launch) {
    Op op = {.kind = OP_LAUNCH, .launch = *launch};
    void **arguments = arguments_new(launch);
    for (int i = 0; i < launch->function->n_parameters; i++)
        arguments[i] = (void *)(uintptr_t) * (const CUdeviceptr *)launch->arguments[i];
    op.launch.arguments = arguments;
    return push(stream, &op);
}

CudaResult fake_stream_record(CUstream stream, CUevent event) {
    event->stream = stream;
    event->recorded = ++n_records;
    return push(stream, &(Op){.kind = OP_RECORD, .event = event, .record = event->recorded});
}

CudaResult fake_stream_wait(CUstream stream, CUevent event) {
    return push(stream, &(Op){.kind = OP_WAIT, .event = event, .record = event->recorded});
}

CudaResult fake_stream_replay(CUstream stream, CUgraphExec instance) {
    return push(stream, &(Op){.kind = OP_REPLAY, .instance = instance});
}

CudaResult fake_stream_task(CUstream stream, FakeTask *run, const void *data, size_t n_bytes) {
    Op op = {.kind = OP_TASK, .task = run};
    memcpy(op.data, data, n_bytes);
    return push(stream, &op);
}

/* ---- Making it happen ---------------------------------------------------------------------------------------------
 */

static void run_launch(const FakeLaunch *launch) {
    fake_cuda()->n_launches++;
    fault = fake_code_run(launch);
}

static void run_until(CUstream stream, CUevent event, long record);

static void run(const Op *op) {
    switch (op->kind) {
    case OP_COPY:
        memcpy(op->to, op->from, op->n_bytes);
        break;
    case OP_FILL:
        memset(op->to, op->byte, op->n_bytes);
        break;
    case OP_LAUNCH:
        run_launch(&op->launch);
        break;
    case OP_RECORD:
        op->event->reached = op->record;
        break;
    case OP_WAIT:
        run_until(op->event->stream, op->event, op->record);
        break;
    case OP_REPLAY:
        fake_cuda()->n_replays++;
        for (size_t i = 0; i < op->instance->ops.n && !fault; i++)
            run(&op->instance->ops.ops[i]);
        break;
    case OP_TASK:
        op->task(op->data);
        break;
    }
}

/* The stream's next op; after a fault it is dropped. */
static void step(CUstream stream) {
    Op op = stream->pending.ops[stream->n_done++];
    if (!fault || op.kind == OP_RECORD)
        run(&op);
    op_end(&op);
}

static void run_until(CUstream stream, CUevent event, long record) {
    while (event->reached < record && stream->n_done < stream->pending.n)
        step(stream);
}

CudaResult fake_stream_drain(CUstream stream) {
    if (stream->is_capturing)
        fake_misuse("a stream is waited for while it records a graph");
    while (stream->n_done < stream->pending.n)
        step(stream);
    return fault;
}

CudaResult fake_event_wait(CUevent event) {
    if (event->stream)
        run_until(event->stream, event, event->recorded);
    return fault;
}

/* ---- Graphs ------------------------------------------------------------------------------------------------------ */

CudaResult fake_stream_begin_capture(CUstream stream) {
    stream->is_capturing = true;
    return fault;
}

CUgraph fake_stream_end_capture(CUstream stream) {
    if (!stream->is_capturing)
        return NULL;
    CUgraph graph = calloc(1, sizeof *graph);
    graph->ops = stream->captured;
    stream->captured = (Ops){0};
    stream->is_capturing = false;
    return graph;
}

size_t fake_graph_length(CUgraph graph) {
    return graph->ops.n;
}

CUgraphExec fake_graph_instantiate(CUgraph graph) {
    CUgraphExec instance = calloc(1, sizeof *instance);
    for (size_t i = 0; i < graph->ops.n; i++) {
        Op op = graph->ops.ops[i];
        if (op.kind == OP_LAUNCH) {
            void **arguments = arguments_new(&op.launch);
            memcpy(arguments, op.launch.arguments, (size_t)op.launch.function->n_parameters * sizeof *arguments);
            op.launch.arguments = arguments;
        }
        append(&instance->ops, &op);
    }
    return instance;
}

void fake_graph_free(CUgraph graph) {
    ops_free(&graph->ops, 0);
    free(graph);
}

void fake_instance_free(CUgraphExec instance) {
    ops_free(&instance->ops, 0);
    free(instance);
}
