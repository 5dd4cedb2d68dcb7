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
    CUfunction function;
    void *arguments[FAKE_PARAMETERS]; /* addresses in the device's memory */
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

/* ops_touch looks at two. */
_Static_assert(FAKE_PARAMETERS == 2, "arguments of a launch");

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

static CudaResult push(CUstream stream, const Op *op) {
    if (fault)
        return fault;
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
    free(stream->pending.ops);
    free(stream->captured.ops);
    free(stream);
}

static bool is_in(const void *pointer, const void *place, size_t n_bytes) {
    return (uintptr_t)pointer >= (uintptr_t)place && (uintptr_t)pointer - (uintptr_t)place < n_bytes;
}

static bool ops_touch(const Ops *ops, size_t first, const void *place, size_t n_bytes) {
    for (size_t i = first; i < ops->n; i++) {
        const Op *op = &ops->ops[i];
        if (op->kind == OP_TASK || is_in(op->to, place, n_bytes) || is_in(op->from, place, n_bytes) ||
            is_in(op->arguments[0], place, n_bytes) || is_in(op->arguments[1], place, n_bytes) ||
            op->function == place || op->event == place || op->instance == place ||
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

CudaResult fake_stream_launch(CUstream stream, CUfunction function, void **arguments) {
    Op op = {.kind = OP_LAUNCH, .function = function};
    for (int i = 0; i < function->n_parameters; i++)
        op.arguments[i] = (void *)(uintptr_t) * (CUdeviceptr *)arguments[i];
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

static void find_nan(const void *x, uint64_t *job, bool is_bf16) {
    for (uint64_t i = 0; i < job[0] && job[1] == UINT64_MAX; i++) {
        uint32_t bits = is_bf16 ? (uint32_t)((const uint16_t *)x)[i] << 16 : ((const uint32_t *)x)[i];
        if ((bits & 0x7fffffff) > 0x7f800000)
            job[1] = i;
    }
}

static void run_function(const Op *op) {
    const char *name = op->function->name;
    float *const y = op->arguments[0];
    fake_cuda()->n_launches++;
    if (strcmp(name, "accumulate") == 0)
        *y += *(const float *)op->arguments[1];
    else if (strcmp(name, "twice") == 0)
        *y *= 2;
    else if (strncmp(name, "find_nan_", 9) == 0)
        find_nan(y, op->arguments[1], strcmp(name, "find_nan_bf16") == 0);
    else if (strcmp(name, "fault") == 0)
        fault = FAKE_FAULT;
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
        run_function(op);
        break;
    case OP_RECORD:
        op->event->reached = op->record;
        break;
    case OP_WAIT:
        run_until(op->event->stream, op->event, op->record);
        break;
    case OP_REPLAY:
        fake_cuda()->n_replays++;
        for (size_t i = 0; i < op->instance->ops.n; i++)
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
    for (size_t i = 0; i < graph->ops.n; i++)
        append(&instance->ops, &graph->ops.ops[i]);
    return instance;
}

void fake_graph_free(CUgraph graph) {
    free(graph->ops.ops);
    free(graph);
}

void fake_instance_free(CUgraphExec instance) {
    free(instance->ops.ops);
    free(instance);
}
