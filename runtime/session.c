#include "runtime/session.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/checkpoint.h"
#include "runtime/cpu.h"
#include "runtime/gemm.h"
#include "runtime/gemm_blas.h"
#include "runtime/gradients.h"
#include "runtime/meter.h"
#include "runtime/output.h"
#include "runtime/program.h"
#include "runtime/weights.h"

/* Short texts for one line of the log. */
enum { TEXT_BYTES = 64 };

static bool is_training(const Session *session) {
    return !session->options->is_eval && !session->options->generate;
}

/* ---- What must hold before anything is loaded ------------------------------------------------------------------- */

/* Whether a path is that directory or in it, by their real names. */
static bool stands_in(const char *path, const char *directory) {
    char *inner = realpath(path, NULL), *outer = realpath(directory, NULL);
    size_t n = outer ? strlen(outer) : 0;
    bool stands = inner && outer && strncmp(inner, outer, n) == 0 && (inner[n] == '\0' || inner[n] == '/');
    free(inner);
    free(outer);
    return stands;
}

/* Checkpoints of two runs in one directory would replace each other. */
static bool check_out(const Options *options, Status *status) {
    Status none = STATUS_INIT;
    char *newest = options->out ? checkpoint_find(options->out, &none) : NULL;
    if (newest && !options->is_given[OPTION_RESUME])
        status_fail(status, STATUS_USAGE,
                    "--out %s: holds checkpoints of an earlier run (%s); give --resume to go on from there, or another "
                    "directory",
                    options->out, newest);
    else if (newest && options->resume && !stands_in(options->resume, options->out))
        status_fail(status, STATUS_USAGE,
                    "--out %s: holds checkpoints of another run (%s) than --resume %s; give another directory",
                    options->out, newest, options->resume);
    free(newest);
    return !status->failed;
}

/* What is fastest on one device need not be on another. */
static void check_tuning(Session *session) {
    const char *device = session->plan->cuda_tuned_for;
    if (session->gpu && device && strcmp(device, gpu_name(session->gpu)) != 0)
        log_warning(&session->log, "this build's kernels were tuned for %s, and this is %s: `moec tune` tunes for it",
                    device, gpu_name(session->gpu));
}

static bool is_on_blas(const Options *options) {
    return strcmp(options->matmul, "blas") == 0;
}

/* What can be refused before anything is read. */
static bool check_options(const Options *options, Status *status) {
    if (options->export && access(options->export, F_OK) == 0)
        return status_fail(status, STATUS_USAGE, "--export %s: exists already; name a new directory", options->export);
    if (!check_out(options, status) || (options->out && !output_check(options->out, status)))
        return false;
    if (options->profile && !output_check_file("--profile", options->profile, status))
        return false;
    if (options->tune && !output_check_file("--tune", options->tune, status))
        return false;
    return !options->export || output_check(options->export, status);
}

/* ---- Data ------------------------------------------------------------------------------------------------------- */

static bool open_stream(Session *session, DataStream *stream, const char *option, const TextList *list,
                        Status *status) {
    DataRequest request = {.option = option,
                           .inputs = list->items,
                           .n_inputs = list->n,
                           .sequence = session->plan->sequence,
                           .vocab = session->plan->vocab,
                           .seed = (uint64_t)session->seed};
    token_dtype_find(session->options->token_dtype, &request.headerless);
    return list->n == 0 || data_stream_open(stream, &request, status);
}

static void say_stream(Session *session, const char *label, const DataStream *stream) {
    char tokens[TEXT_BYTES], windows[TEXT_BYTES];
    if (stream->n_sources == 0)
        return;
    log_line(&session->log, label, "%s%s: %s tokens, %s sequences of %" PRId64, stream->sources[0].file.path,
             stream->n_sources > 1 ? " and others" : "", meter_count(tokens, sizeof tokens, (double)stream->n_tokens),
             meter_count(windows, sizeof windows, (double)stream->n_windows), stream->sequence);
    for (size_t i = 0; stream->n_sources > 1 && i < stream->n_sources; i++) {
        const DataSource *source = &stream->sources[i];
        log_line(&session->log, "", "%5.1f%%  %s: %s tokens", 100.0 * source->share, source->file.path,
                 meter_count(tokens, sizeof tokens, (double)source->file.n_tokens));
    }
}

static bool open_data(Session *session, Status *status) {
    if (!open_stream(session, &session->data, "--data", &session->options->data, status) ||
        !open_stream(session, &session->val, "--val", &session->options->val, status))
        return false;
    say_stream(session, "data", &session->data);
    say_stream(session, "val", &session->val);
    return true;
}

/* ---- Memory ----------------------------------------------------------------------------------------------------- */

static void say_model(Session *session) {
    const MoecPlan *plan = session->plan;
    char total[TEXT_BYTES], active[TEXT_BYTES];
    meter_count(total, sizeof total, plan->total_parameters);
    meter_count(active, sizeof active, plan->active_parameters);
    if (plan->is_moe)
        log_line(&session->log, "model",
                 "%s: %" PRId64 " layers with %" PRId64 " experts, top %" PRId64 "; %s parameters, %s active",
                 plan->model, plan->n_moe_layers, plan->n_experts, plan->top_k, total, active);
    else
        log_line(&session->log, "model", "%s: dense; %s parameters", plan->model, total);
}

/* Training needs all spaces, with an arena for the largest program; other modes the weights and one program's arena. */
static void count_memory(const Session *session, uint64_t n_bytes[MOEC_SPACE_COUNT]) {
    const MoecPlan *plan = session->plan;
    memset(n_bytes, 0, MOEC_SPACE_COUNT * sizeof *n_bytes);
    if (is_training(session)) {
        memcpy(n_bytes, plan->space_bytes, MOEC_SPACE_COUNT * sizeof *n_bytes);
        n_bytes[MOEC_SPACE_GRAD] = gradients_bytes(plan, session->options->global_batch / plan->micro_batch);
        return;
    }
    n_bytes[MOEC_SPACE_WEIGHT] = plan->space_bytes[MOEC_SPACE_WEIGHT];
    n_bytes[MOEC_SPACE_ARENA] = program_arena_bytes(plan, session->options->generate ? "generate" : "eval");
}

static PackedUse packed_use(const Session *session) {
    return session->gpu                 ? PACKED_FOR_NOTHING
           : is_training(session)       ? PACKED_FOR_TRAINING
           : session->options->generate ? PACKED_FOR_GENERATION
                                        : PACKED_FOR_EVALUATION;
}

static bool open_packed(Session *session, Status *status) {
    int64_t n_micro_batches = session->options->global_batch / session->plan->micro_batch;
    if (!packed_open(&session->packed, session->plan, packed_use(session), n_micro_batches, status))
        return false;
    session->memory.packed = session->packed.copies;
    return true;
}

static bool open_memory(Session *session, Status *status) {
    uint64_t n_bytes[MOEC_SPACE_COUNT], available = memory_available();
    const char *folder = getenv("MOEC_KERNEL_DIR");
    count_memory(session, n_bytes);
    const GpuOptions options = {.dump = session->options->dump_kernels,
                                .edited = folder && *folder != '\0' ? folder : NULL,
                                .matmul = session->options->matmul,
                                .waits = strcmp(session->options->check, "sync") == 0};
    if ((session->gpu && !gpu_start(session->gpu, n_bytes, &options, &session->log, status)) ||
        !memory_open(&session->memory, n_bytes, session->gpu, status) || !open_packed(session, status))
        return false;
    session->passage = gpu_passage(session->gpu, &session->memory);
    session->memory.fills_ends = strcmp(session->options->check, "memory") == 0;
    const struct {
        const char *name;
        uint64_t n_bytes;
    } parts[] = {{"weights", n_bytes[MOEC_SPACE_WEIGHT]},
                 {"gradients", n_bytes[MOEC_SPACE_GRAD]},
                 {"moments", n_bytes[MOEC_SPACE_MOMENT1] + n_bytes[MOEC_SPACE_MOMENT2]},
                 {"packed weights", session->packed.n_bytes},
                 {"activations", n_bytes[MOEC_SPACE_ARENA]}};
    char line[4 * TEXT_BYTES] = "", text[TEXT_BYTES];
    size_t length = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (parts[i].n_bytes > 0)
            length += (size_t)snprintf(line + length, sizeof line - length, "%s%s %s", length ? ", " : "",
                                       parts[i].name, meter_bytes(text, sizeof text, (double)parts[i].n_bytes));
    }
    if (available != UINT64_MAX && !session->gpu)
        snprintf(line + length, sizeof line - length, "; %s available",
                 meter_bytes(text, sizeof text, (double)available));
    double n_all = (double)(memory_bytes(&session->memory) + session->packed.n_bytes);
    log_line(&session->log, "memory", "%s: %s", meter_bytes(text, sizeof text, n_all), line);
    return true;
}

/* ---- Weights ---------------------------------------------------------------------------------------------------- */

typedef struct {
    Progress progress; /* first, so that a pointer to it is one to the whole */
    Log *log;
} LoadProgress;

static void show_progress(Progress *progress, uint64_t done, uint64_t total) {
    LoadProgress *self = (LoadProgress *)progress;
    char read[TEXT_BYTES], all[TEXT_BYTES];
    log_live(self->log, "%-9s %s of %s", "weights", meter_bytes(read, sizeof read, (double)done),
             meter_bytes(all, sizeof all, (double)total));
}

static void say_weights(Session *session, const char *path, const WeightsReport *report, double seconds) {
    char bytes[TEXT_BYTES], upcycled[TEXT_BYTES] = "";
    if (session->plan->is_moe && report->layout == WEIGHTS_DENSE)
        snprintf(upcycled, sizeof upcycled, ", upcycled to %" PRId64 " experts", session->plan->n_experts);
    log_line(&session->log, "weights", "%s: %s read in %.1f s%s%s%s", path,
             meter_bytes(bytes, sizeof bytes, (double)report->n_bytes), seconds, upcycled,
             report->renamed[0] ? "; " : "", report->renamed);
    if (report->warning[0])
        log_warning(&session->log, "%s", report->warning);
}

static bool load_weights(Session *session, const char *path, Status *status) {
    LoadProgress progress = {{show_progress}, &session->log};
    WeightsReport report;
    ModelDir dir;
    double start = meter_clock();
    if (!model_dir_open(&dir, path, status))
        return false;
    if (weights_load(session->plan, &dir, (uint64_t)session->seed, session->memory.spaces[MOEC_SPACE_WEIGHT],
                     session_passage(session), &progress.progress, &report, status)) {
        session->extras = model_dir_take_extras(&dir);
        say_weights(session, path, &report, meter_clock() - start);
    }
    model_dir_close(&dir);
    return !status->failed;
}

static bool load_checkpoint(Session *session, Status *status) {
    LoadProgress progress = {{show_progress}, &session->log};
    TrainState state;
    if (!checkpoint_load(session->plan, session->checkpoint, session->memory.spaces, &state, &session->extras,
                         session_passage(session), &progress.progress, status))
        return false;
    if (session->options->is_given[OPTION_SEED] && state.seed != session->seed)
        log_warning(&session->log, "--seed %" PRId64 ": the run being resumed has seed %" PRId64 ", and keeps it",
                    session->seed, state.seed);
    session->step = state.step;
    session->seed = state.seed;
    session->data.seed = (uint64_t)state.seed;
    log_line(&session->log, "weights", "%s: after step %" PRId64, session->checkpoint, state.step);
    if (session->data.n_sources > 0)
        data_stream_restore(&session->data, state.data, status);
    train_state_free(&state);
    return !status->failed;
}

static bool open_weights(Session *session, Status *status) {
    const Options *options = session->options;
    if (options->is_given[OPTION_RESUME]) {
        session->checkpoint = checkpoint_find(options->resume ? options->resume : options->out, status);
        if (!session->checkpoint)
            return false;
        return is_training(session) ? load_checkpoint(session, status)
                                    : load_weights(session, session->checkpoint, status);
    }
    if (options->weights)
        return load_weights(session, options->weights, status);
    if (!weights_initialise(session->plan, (uint64_t)session->seed, session->memory.spaces[MOEC_SPACE_WEIGHT],
                            session_passage(session), status))
        return false;
    log_line(&session->log, "weights", "random (seed %" PRId64 "); --weights DIR starts from a checkpoint",
             session->seed);
    return true;
}

/* ---- The GPU ---------------------------------------------------------------------------------------------------- */

/* What a CPU does not do. */
static bool check_cpu(const Session *session, Status *status) {
    const Options *options = session->options;
    if (options->tune)
        return status_fail(status, STATUS_USAGE, "--tune: times kernels on a GPU; add --device cuda");
    if (options->dump_kernels)
        return status_fail(status, STATUS_USAGE, "--dump-kernels %s: writes a GPU's kernels; add --device cuda",
                           options->dump_kernels);
    if (strcmp(options->check, "sync") == 0)
        return status_fail(status, STATUS_USAGE, "--check sync: waits for a GPU's kernels; add --device cuda");
    if (is_on_blas(options) && strcmp(session->plan->precision, "f32") != 0)
        return status_fail(status, STATUS_USAGE,
                           "--matmul blas: matrix products of this executable are of %s, and OpenBLAS "
                           "multiplies f32; build the model with --precision f32, or take --matmul own",
                           session->plan->precision);
    return true;
}

/* What is done on the host's memory alone, and what a GPU has no choice of. */
static bool check_gpu(const Session *session, Status *status) {
    const Options *options = session->options;
    if (!session->gpu)
        return check_cpu(session, status);
    if (options->tune && gpu_most_choices(session->gpu) < 2)
        return status_fail(status, STATUS_USAGE,
                           "--tune: no kernel of this executable has choices on %s: `moec tune` makes executables that "
                           "have them; products of f32 have none",
                           gpu_name(session->gpu));
    if (options->profile)
        return status_fail(status, STATUS_USAGE, "--profile: launches are timed on the CPU only; add --device cpu");
    if (strcmp(options->check, "memory") == 0)
        return status_fail(status, STATUS_USAGE, "--check %s: memory is checked on the CPU only; add --device cpu",
                           options->check);
    if (is_training(session) && gradients_are_added(session->plan, options->global_batch / session->plan->micro_batch))
        return status_fail(
            status, STATUS_USAGE,
            "--global-batch %" PRId64 ": this build keeps gradients of one micro-batch of %" PRId64
            " sequences on the GPU; build with that global_batch in the train clause, or add --device cpu",
            options->global_batch, session->plan->micro_batch);
    return true;
}

Passage *session_passage(const Session *session) {
    return session->gpu ? (Passage *)(uintptr_t)&session->passage.passage : NULL;
}

/* ---- The whole -------------------------------------------------------------------------------------------------- */

static bool open_log(Session *session, Status *status) {
    const Options *options = session->options;
    bool is_quiet = options->is_quiet || options->generate;
    return log_open(&session->log, is_quiet, options->log, options->is_given[OPTION_RESUME], status);
}

static void find_peak(Session *session) {
    char text[TEXT_BYTES];
    double given = 1e12 * session->options->peak_tflops;
    session->ceiling = given > 0.0 ? given : gpu_peak(session->gpu, session->plan->precision);
    if (session->ceiling > 0.0)
        log_line(&session->log, "peak", "%sFLOP/s in %s matrix products, by %s",
                 meter_count(text, sizeof text, session->ceiling), session->plan->precision,
                 given > 0.0 ? "--peak-tflops" : "the device's data sheet");
    else
        log_line(&session->log, "peak",
                 "not known of this device: with --peak-tflops, steps say what share they reach");
}

static void measure(Session *session, int n_threads) {
    char text[TEXT_BYTES];
    double given = 1e12 * session->options->peak_tflops;
    bool is_bf16 = strcmp(session->plan->precision, "bf16") == 0;
    session->ceiling = given > 0.0 ? given : is_bf16 ? meter_ceiling_bf16() : meter_ceiling();
    log_line(&session->log, "cpu", "%d thread%s, %sFLOP/s in %s matrix products%s", n_threads,
             n_threads == 1 ? "" : "s", meter_count(text, sizeof text, session->ceiling), session->plan->precision,
             given > 0.0 ? ", by --peak-tflops" : "");
    if (session->options->profile)
        session->bandwidth = meter_bandwidth();
}

static void find_ceiling(Session *session, int n_threads) {
    if (!is_training(session) || (!session->log.out && !session->log.json && !session->options->profile))
        return;
    if (session->gpu)
        find_peak(session);
    else
        measure(session, n_threads);
}

static bool open_all(Session *session, Status *status) {
    if (!cpu_check(session->plan->cpu_features, status) || !check_options(session->options, status) ||
        !open_log(session, status))
        return false;
    int n_threads = cpu_set_threads(session->options->n_threads);
    say_model(session);
    if (!open_data(session, status) ||
        !gpu_open(&session->gpu, session->plan, session->options->device, &session->log, status) ||
        !check_gpu(session, status))
        return false;
    check_tuning(session);
    find_ceiling(session, n_threads);
    gemm_choose_blas(!session->gpu && is_on_blas(session->options));
    if (!open_memory(session, status) || !open_weights(session, status))
        return false;
    packed_make(&session->packed, &session->memory);
    return true;
}

bool session_open(Session *session, const MoecPlan *plan, const Options *options, Status *status) {
    *session = (Session){.plan = plan, .options = options, .seed = options->seed};
    if (!open_all(session, status))
        session_close(session);
    return !status->failed;
}

void session_close(Session *session) {
    data_stream_close(&session->data);
    data_stream_close(&session->val);
    model_extras_free(&session->extras);
    packed_close(&session->packed);
    memory_close(&session->memory);
    gpu_close(session->gpu);
    free(session->checkpoint);
    log_close(&session->log);
    moec_gemm_release();
    *session = (Session){0};
}
