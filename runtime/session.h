/* All that a run works with, opened in the order in which it can fail cheapest: the processor, the data, memory,
   weights. What was opened is said on the log. */
#ifndef MOEC_RUNTIME_SESSION_H
#define MOEC_RUNTIME_SESSION_H

#include "runtime/data_stream.h"
#include "runtime/gpu.h"
#include "runtime/log.h"
#include "runtime/memory.h"
#include "runtime/model_dir.h"
#include "runtime/options.h"
#include "runtime/packed.h"

typedef struct {
    const MoecPlan *plan;
    const Options *options;
    Log log;
    Memory memory;
    Packed packed;
    Gpu *gpu;           /* NULL: programs run on the CPU */
    GpuPassage passage; /* else */
    ModelExtras extras;
    DataStream data, val; /* no sources: not given */
    char *checkpoint;     /* that the run goes on from, or NULL */
    int64_t step;         /* optimizer steps done */
    int64_t seed;
    double ceiling;   /* FLOP/s: what a CPU was measured to reach, a GPU's peak, or --peak-tflops; 0: not known */
    double bandwidth; /* bytes/s, measured for --profile; 0: not */
} Session;

/* `plan` and `options` must outlive the session. On failure nothing is left open. */
bool session_open(Session *session, const MoecPlan *plan, const Options *options, Status *status);
void session_close(Session *session);

/* What weights, moments and gradients pass through: NULL on the CPU. */
Passage *session_passage(const Session *session);

#endif
