#include "runtime/step.h"

#include <assert.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/checkpoint.h"
#include "runtime/gradients.h"
#include "runtime/meter.h"
#include "runtime/stop.h"

static Schedule schedule_of(const Options *options) {
    Schedule schedule = {.lr = options->lr,
                         .min_lr = options->min_lr,
                         .warmup = options->warmup,
                         .steps = options->steps,
                         .decay_steps = options->decay_steps};
    schedule_find(options->schedule, &schedule.kind);
    return schedule;
}

bool stepper_open(Stepper *stepper, Session *session, Profile *profile, Status *status) {
    const MoecPlan *plan = session->plan;
    *stepper = (Stepper){.session = session,
                         .schedule = schedule_of(session->options),
                         .n_micro_batches = session->options->global_batch / plan->micro_batch,
                         .profile = profile};
    if (!program_open(&stepper->train, plan, "train", &session->memory, status) ||
        !program_open(&stepper->update, plan, "update", &session->memory, status))
        return false;
    stepper->train.profile = stepper->update.profile = profile;
    const MoecTensor *load = program_output_tensor(&stepper->train, "expert_load");
    stepper->n_experts = load ? load->dims[load->rank - 1] : 0;
    for (int i = 0; i < STEP_RECORDS; i++) {
        StepRecord *record = &stepper->records[i];
        record->rows = calloc(load ? (size_t)tensor_elements(load) : 1, sizeof *record->rows);
        record->load = calloc((size_t)plan->n_moe_layers + 1, sizeof *record->load);
        if (!record->rows || !record->load)
            return status_fail_errno(status, "step");
    }
    return true;
}

void stepper_close(Stepper *stepper) {
    program_close(&stepper->train);
    program_close(&stepper->update);
    for (int i = 0; i < STEP_RECORDS; i++) {
        free(stepper->records[i].rows);
        free(stepper->records[i].load);
    }
    *stepper = (Stepper){0};
}

static StepRecord *record_of(Stepper *stepper, int64_t number) {
    return &stepper->records[number % STEP_RECORDS];
}

/* ---- What steps come to ----------------------------------------------------------------------------------------- */

/* Adds a scalar output's share of the step's mean; NAN where the program has no such output. */
static void add_output(const Stepper *stepper, const char *name, double divisor, double *sum) {
    const float *value = program_output(&stepper->train, name);
    *sum = value ? *sum + (double)*value / ((double)stepper->n_micro_batches * divisor) : NAN;
}

static void add_outputs(const Stepper *stepper, StepRecord *record) {
    double n_layers = fmax(1.0, (double)stepper->session->plan->n_moe_layers);
    add_output(stepper, "loss", 1.0, &record->result.loss);
    add_output(stepper, "nll", 1.0, &record->result.nll);
    add_output(stepper, "balance", n_layers, &record->result.balance);
    add_output(stepper, "z_loss", n_layers, &record->result.z_loss);
    const MoecTensor *load = program_output_tensor(&stepper->train, "expert_load");
    const float *rows = program_output(&stepper->train, "expert_load");
    for (int64_t i = 0; load && i < tensor_elements(load); i++)
        record->rows[i] += (double)rows[i];
}

static const char *what_is_saved(const Session *session) {
    if (!session->options->out)
        return "Nothing is saved: there is no --out";
    Status none = STATUS_INIT;
    char *newest = checkpoint_find(session->options->out, &none);
    free(newest);
    return newest ? "The newest checkpoint in --out is from before this step" : "Nothing has been saved yet";
}

static bool fail_diverged(const Stepper *stepper, int64_t step, const char *what, double value, Status *status) {
    bool is_first = step == 1; /* no update can be to blame */
    return status_fail(status, STATUS_DIVERGED, "step %" PRId64 ": the %s is %s, so training stops. %s. %s", step, what,
                       isnan(value) ? "nan" : "infinite", what_is_saved(stepper->session),
                       is_first ? "The weights that it began with hold NaN or are too large"
                                : "A lower --lr, a longer --warmup or a lower --clip may help");
}

static bool take(Stepper *stepper, const Program *program, Status *status) {
    stepper->is_broken = !program_take(program, status);
    return !stepper->is_broken;
}

static bool take_train(Stepper *stepper, StepRecord *record, Status *status) {
    stepper->n_trains--;
    if (!take(stepper, &stepper->train, status))
        return false;
    record->n_taken++;
    add_outputs(stepper, record);
    const StepResult *result = &record->result;
    return isfinite(result->loss) || fail_diverged(stepper, result->step, "loss", result->loss, status);
}

/* Of each layer, how many times the mean the busiest expert got. */
static void find_load(const Stepper *stepper, StepRecord *record) {
    for (int64_t layer = 0; stepper->n_experts > 0 && layer < stepper->session->plan->n_moe_layers; layer++) {
        const double *rows = record->rows + layer * stepper->n_experts;
        double sum = 0.0, most = 0.0;
        for (int64_t expert = 0; expert < stepper->n_experts; expert++) {
            sum += rows[expert];
            most = fmax(most, rows[expert]);
        }
        record->load[layer] = sum > 0.0 ? most * (double)stepper->n_experts / sum : 0.0;
    }
}

static bool take_update(Stepper *stepper, StepRecord *record, Status *status) {
    StepResult *result = &record->result;
    stepper->n_updates--;
    if (!take(stepper, &stepper->update, status))
        return false;
    result->grad_norm = (double)*program_output(&stepper->update, "grad_norm");
    if (!isfinite(result->grad_norm))
        return fail_diverged(stepper, result->step, "norm of the gradient", result->grad_norm, status);
    if (stepper->profile)
        profile_finish(stepper->profile);
    find_load(stepper, record);
    double now = meter_clock();
    result->seconds = stepper->last_seconds = now - fmax(record->start, stepper->last_end);
    stepper->last_end = now;
    stepper->n_done++;
    return true;
}

/* Waits for the oldest run that was given: of a step's micro-batches one after the other, then of its update. */
static bool take_next(Stepper *stepper, Status *status) {
    StepRecord *record = record_of(stepper, stepper->n_done);
    bool is_update = record->n_taken == stepper->n_micro_batches;
    return is_update ? take_update(stepper, record, status) : take_train(stepper, record, status);
}

/* ---- Micro-batches ---------------------------------------------------------------------------------------------- */

static bool set_inputs(Stepper *stepper, Status *status) {
    DataStream *data = &stepper->session->data;
    int32_t *tokens = program_input(&stepper->train, "tokens"), *targets = program_input(&stepper->train, "targets");
    float *loss_scale = program_input(&stepper->train, "loss_scale");
    for (int64_t i = 0; i < stepper->session->plan->micro_batch; i++) {
        if (!data_stream_next(data, tokens + i * data->sequence, targets + i * data->sequence, status))
            return false;
    }
    *loss_scale = 1.0f / (float)stepper->n_micro_batches;
    return true;
}

/* Takes time enough that somebody may wonder whether it still runs. */
static const double SLOW_STEP_SECONDS = 2.0;

static void show_micro_batch(const Stepper *stepper, int64_t i) {
    Session *session = stepper->session;
    if (stepper->last_seconds == 0.0 || stepper->last_seconds > SLOW_STEP_SECONDS)
        log_live(&session->log, "%-9s %" PRId64 "/%" PRId64 "  micro-batch %" PRId64 "/%" PRId64, "step",
                 session->step + 1, session->options->steps, i + 1, stepper->n_micro_batches);
}

static bool give(Stepper *stepper, const Program *program, Status *status) {
    stepper->is_broken = !program_give(program, status);
    return !stepper->is_broken;
}

static bool run_micro_batches(Stepper *stepper, bool *is_stopped, Status *status) {
    for (int64_t i = 0; i < stepper->n_micro_batches; i++) {
        if ((*is_stopped = stop_signal() != NULL))
            return true;
        show_micro_batch(stepper, i);
        if (!set_inputs(stepper, status) || !give(stepper, &stepper->train, status))
            return false;
        stepper->n_trains++;
        gradients_add(stepper->session->plan, &stepper->session->memory, i, stepper->n_micro_batches);
        while (stepper->n_trains >= program_most_given(&stepper->train)) {
            if (!take_next(stepper, status))
                return false;
        }
    }
    return true;
}

/* ---- The update ------------------------------------------------------------------------------------------------- */

/* spec/numerics.md, "Optimizer". The update's bound on the norm is exact however large it is: FLT_MAX is none. The
   corrections are those of the betas that the update has, in floats: else the first step would be off by as much as
   1 - beta2 is. */
static void set_update_inputs(Stepper *stepper, StepResult *result) {
    const Options *options = stepper->session->options;
    double n_updates = (double)stepper->session->step + 1.0;
    double beta1 = (double)(float)options->beta1, beta2 = (double)(float)options->beta2;
    float *max_norm = program_input(&stepper->update, "max_norm");
    float *hyper = program_input(&stepper->update, "hyper");
    result->lr = schedule_rate(&stepper->schedule, stepper->session->step);
    const double values[] = {result->lr,
                             beta1,
                             beta2,
                             options->epsilon,
                             options->weight_decay,
                             1.0 - pow(beta1, n_updates),
                             1.0 - pow(beta2, n_updates)};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        hyper[i] = (float)values[i];
    *max_norm = options->clip > 0.0 ? (float)options->clip : FLT_MAX;
}

static void pack(const Stepper *stepper) {
    double start = meter_clock();
    packed_make(&stepper->session->packed, &stepper->session->memory);
    if (stepper->profile && stepper->session->packed.block)
        profile_packing(stepper->profile, meter_clock() - start);
}

/* Counts the step when its update is on its way. */
static bool run_update(Stepper *stepper, StepRecord *record, Status *status) {
    set_update_inputs(stepper, &record->result);
    if (!give(stepper, &stepper->update, status))
        return false;
    pack(stepper);
    stepper->n_updates++;
    stepper->session->step++;
    data_stream_mark(&stepper->session->data);
    record->result.n_sequences = stepper->session->data.n_marked;
    while (stepper->n_updates >= program_most_given(&stepper->update)) {
        if (!take_next(stepper, status))
            return false;
    }
    return true;
}

/* ---- The whole -------------------------------------------------------------------------------------------------- */

static StepRecord *begin(Stepper *stepper) {
    StepRecord *record = record_of(stepper, stepper->n_begun++);
    assert(stepper->n_begun - stepper->n_told <= STEP_RECORDS);
    size_t n_rows = (size_t)(stepper->session->plan->n_moe_layers * stepper->n_experts);
    memset(record->rows, 0, n_rows * sizeof *record->rows);
    record->result = (StepResult){.step = stepper->session->step + 1};
    record->n_taken = 0;
    record->start = meter_clock();
    if (stepper->profile)
        profile_begin(stepper->profile, record->result.step);
    return record;
}

/* Before the update takes the gradients. */
static bool dump_gradients(Stepper *stepper, Dump *dump, const StepRecord *record, Status *status) {
    return step_settle(stepper, status) &&
           dump_step(dump, stepper->session, record->result.loss, record->result.nll, status);
}

bool step_run(Stepper *stepper, Dump *dump, bool *is_stopped, Status *status) {
    StepRecord *record = begin(stepper);
    if (!run_micro_batches(stepper, is_stopped, status))
        return false;
    if (*is_stopped) {
        bool is_settled = step_settle(stepper, status);
        stepper->n_begun--;
        return is_settled;
    }
    return (!dump || dump_gradients(stepper, dump, record, status)) && run_update(stepper, record, status);
}

bool step_settle(Stepper *stepper, Status *status) {
    while (stepper->n_trains + stepper->n_updates > 0) {
        if (!take_next(stepper, status))
            return false;
    }
    return true;
}

bool step_tell(Stepper *stepper, StepResult *result) {
    if (stepper->n_told == stepper->n_done)
        return false;
    const StepRecord *record = record_of(stepper, stepper->n_told++);
    *result = record->result;
    result->load = record->load;
    return true;
}
