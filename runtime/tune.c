#include "runtime/tune.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "runtime/output.h"
#include "runtime/program.h"
#include "runtime/random.h"
#include "runtime/weights.h"

/* What was the fastest of a kernel so far. */
typedef struct {
    const char *choice; /* NULL: it was not timed */
    double seconds, first_seconds;
} Best;

/* ---- Timing ------------------------------------------------------------------------------------------------------ */

/* Tokens without a pattern: experts get about as many each. */
static void fill_inputs(const Session *session, const Program *train) {
    int32_t *tokens = program_input(train, "tokens"), *targets = program_input(train, "targets");
    RandomStream stream = random_stream_for((uint64_t)session->seed, "tune", "tokens");
    uint64_t n = (uint64_t)(session->plan->micro_batch * session->plan->sequence);
    for (uint64_t i = 0; i < n; i++) {
        tokens[i] = (int32_t)random_below(&stream, 2 * i, (uint64_t)session->plan->vocab);
        targets[i] = (int32_t)random_below(&stream, 2 * i + 1, (uint64_t)session->plan->vocab);
    }
    *(float *)program_input(train, "loss_scale") = 1.0f;
}

/* The GPU anew, with another choice of each kernel; weights are random, and the same each time. */
static bool open_choice(Session *session, uint32_t choice, Status *status) {
    Log quiet = {0};
    const GpuOptions options = {.matmul = "own", .choice = choice};
    gpu_close(session->gpu);
    session->memory.gpu = NULL;
    if (!gpu_open(&session->gpu, session->plan, session->options->device, &quiet, status))
        return false;
    session->memory.gpu = session->gpu;
    session->passage = gpu_passage(session->gpu, &session->memory);
    return gpu_start(session->gpu, session->memory.n_bytes, &options, &quiet, status) &&
           weights_initialise(session->plan, (uint64_t)session->seed, session->memory.spaces[MOEC_SPACE_WEIGHT],
                              session_passage(session), status);
}

static void keep_best(const Session *session, uint32_t kernel, double seconds, Best *best) {
    const char *choice = gpu_choice(session->gpu, kernel);
    if (!best->choice)
        best->first_seconds = seconds;
    if (!best->choice || seconds < best->seconds) {
        best->choice = choice;
        best->seconds = seconds;
    }
}

static bool time_choice(Session *session, const Program *train, uint32_t choice, Best *best, Status *status) {
    uint32_t n = session->plan->n_kernels;
    double *seconds = calloc((size_t)n + 1, sizeof *seconds);
    if (!seconds)
        return status_fail_errno(status, "--tune");
    if (open_choice(session, choice, status) &&
        gpu_time(session->gpu, train->program, &session->memory, seconds, status)) {
        for (uint32_t i = 0; i < n; i++) {
            if (seconds[i] > 0.0)
                keep_best(session, i, seconds[i], &best[i]);
        }
    }
    free(seconds);
    return !status->failed;
}

/* ---- The file ---------------------------------------------------------------------------------------------------- */

static bool print(OutputFile *file, Status *status, const char *format, ...) __attribute__((format(printf, 3, 4)));

static bool print(OutputFile *file, Status *status, const char *format, ...) {
    char line[512];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    return output_file_write(file, line, n < (int)sizeof line ? (size_t)n : sizeof line - 1, status);
}

static bool write_file(const Session *session, const Best *best, Status *status) {
    const MoecPlan *plan = session->plan;
    const char *path = session->options->tune;
    OutputFile *file = output_file_begin(disk_system(), path, status);
    if (!file)
        return false;
    print(file, status, "moec tuning 1\ndevice %s\n", gpu_name(session->gpu));
    for (uint32_t i = 0; i < plan->n_kernels && !status->failed; i++) {
        if (best[i].choice)
            print(file, status, "# %s: %.4f ms, the first choice %.4f ms\nkernel %s %s\n", plan->kernels[i].name,
                  1e3 * best[i].seconds, 1e3 * best[i].first_seconds, plan->cuda_kernels[i].key, best[i].choice);
    }
    return output_file_publish(file, path, status);
}

static void say_best(Session *session, const Best *best) {
    for (uint32_t i = 0; i < session->plan->n_kernels; i++) {
        if (best[i].choice)
            log_line(&session->log, "kernel", "%-24s %9.4f ms, %4.2f times the first: %s",
                     session->plan->kernels[i].name, 1e3 * best[i].seconds, best[i].first_seconds / best[i].seconds,
                     best[i].choice);
    }
    log_line(&session->log, "tuning", "%s", session->options->tune);
}

/* ---- The whole --------------------------------------------------------------------------------------------------- */

static bool time_all(Session *session, const Program *train, Best *best, Status *status) {
    uint32_t n = gpu_most_choices(session->gpu);
    for (uint32_t i = 0; i < n; i++) {
        log_live(&session->log, "%-9s %" PRIu32 " of %" PRIu32, "choice", i + 1, n);
        if (!time_choice(session, train, i, best, status))
            return false;
    }
    return true;
}

bool tune_run(Session *session, Status *status) {
    Program train;
    Best *best = calloc((size_t)session->plan->n_kernels + 1, sizeof *best);
    if (!best)
        status_fail_errno(status, "--tune");
    else if (program_open(&train, session->plan, "train", &session->memory, status)) {
        fill_inputs(session, &train);
        if (time_all(session, &train, best, status) && write_file(session, best, status))
            say_best(session, best);
        program_close(&train);
    }
    free(best);
    return !status->failed;
}
