#include "runtime/train.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/checkpoint.h"
#include "runtime/checkpoint_dir.h"
#include "runtime/evaluate.h"
#include "runtime/export.h"
#include "runtime/gemm.h"
#include "runtime/meter.h"
#include "runtime/step.h"
#include "runtime/stop.h"

typedef struct {
    Session *session;
    Stepper stepper;
    Program eval;    /* opened with --val */
    Dump dump;       /* opened with --dump */
    Profile profile; /* opened with --profile */
    bool is_stopped;
    int64_t first_step; /* what was done when this run began */
    int64_t saved_step; /* of the newest checkpoint; -1: none */
    double seconds;     /* of a step: a mean in which older ones fade */
} Trainer;

static bool is_due(int64_t step, int64_t every) {
    return every > 0 && step % every == 0;
}

/* ---- What is said ----------------------------------------------------------------------------------------------- */

static int64_t tokens_per_step(const Session *session) {
    return session->options->global_batch * session->plan->sequence;
}

static void say_start(Session *session) {
    const Options *options = session->options;
    char per_step[32], all[32];
    log_line(&session->log, "train",
             "%" PRId64 " steps of %" PRId64 " sequences (%s tokens), %s tokens in all; lr %g %s, warm-up %" PRId64,
             options->steps, options->global_batch,
             meter_count(per_step, sizeof per_step, (double)tokens_per_step(session)),
             meter_count(all, sizeof all, (double)tokens_per_step(session) * (double)options->steps), options->lr,
             options->schedule, options->warmup);
    if (session->checkpoint && session->step >= options->steps)
        log_line(&session->log, "done", "step %" PRId64 " of %" PRId64 " was reached before: nothing is left to train",
                 session->step, options->steps);
    if (options->out)
        log_line(&session->log, "out", "%s", options->out);
    else
        log_line(&session->log, "out", "no checkpoints: --out DIR saves them");
    if (session->log.json)
        log_json(&session->log,
                 json_pack("{s:s, s:s, s:s, s:s, s:I, s:f, s:f, s:f, s:f, s:f, s:o}", "event", "start", "model",
                           session->plan->model, "plan", session->plan->hash, "precision", session->plan->precision,
                           "step", (json_int_t)session->step, "parameters", session->plan->total_parameters,
                           "active_parameters", session->plan->active_parameters, "flops_per_token",
                           session->plan->model_flops_per_token, "full_flops_per_token",
                           session->plan->full_flops_per_token, "ceiling_flops_per_s", session->ceiling, "config",
                           options_json(options)));
}

enum { FADING_STEPS = 10 };

static void say_step(Trainer *trainer, const StepResult *result) {
    Session *session = trainer->session;
    double seconds = result->seconds;
    trainer->seconds += (seconds - trainer->seconds) / (trainer->seconds == 0.0 ? 1.0 : FADING_STEPS);
    double tokens = (double)tokens_per_step(session);
    StepReport report = {.step = result->step,
                         .n_steps = session->options->steps,
                         .n_tokens = (int64_t)result->n_sequences * session->plan->sequence,
                         .loss = result->loss,
                         .nll = result->nll,
                         .balance = result->balance,
                         .z_loss = result->z_loss,
                         .grad_norm = result->grad_norm,
                         .lr = result->lr,
                         .seconds = seconds,
                         .tokens_per_second = tokens / seconds,
                         .flops_per_second = tokens / seconds * session->plan->model_flops_per_token,
                         .full_flops_per_second = tokens / seconds * session->plan->full_flops_per_token,
                         .has_peak = session->gpu,
                         .ceiling = session->ceiling,
                         .remaining_seconds = trainer->seconds * (double)(session->options->steps - result->step),
                         .memory_bytes = memory_bytes(&session->memory) + session->packed.n_bytes + moec_gemm_bytes(),
                         .load = result->load,
                         .n_layers = trainer->stepper.n_experts > 0 ? session->plan->n_moe_layers : 0};
    log_step(&session->log, &report);
}

static void say_steps(Trainer *trainer) {
    StepResult result;
    while (step_tell(&trainer->stepper, &result))
        say_step(trainer, &result);
}

/* Waits for the steps that are under way. */
static bool settle(Trainer *trainer, Status *status) {
    bool is_settled = step_settle(&trainer->stepper, status);
    say_steps(trainer);
    return is_settled;
}

/* ---- Between steps ---------------------------------------------------------------------------------------------- */

static bool validate(Trainer *trainer, Status *status) {
    Session *session = trainer->session;
    Evaluation evaluation;
    bool is_stopped = false;
    if (!evaluate(session, &trainer->eval, &session->val, &evaluation, &is_stopped, status) || is_stopped)
        return !status->failed;
    log_line(&session->log, "validate",
             "loss %.4f  perplexity %.3f  (after step %" PRId64 "; %" PRId64 " tokens, %.1f s)", evaluation.nll,
             exp(evaluation.nll), session->step, evaluation.n_tokens, evaluation.seconds);
    if (session->log.json)
        log_json(&session->log,
                 json_pack("{s:s, s:I, s:o, s:I, s:f}", "event", "validate", "step", (json_int_t)session->step, "loss",
                           isfinite(evaluation.nll) ? json_real(evaluation.nll) : json_null(), "tokens",
                           (json_int_t)evaluation.n_tokens, "seconds", evaluation.seconds));
    return true;
}

static bool save(Trainer *trainer, Status *status) {
    Session *session = trainer->session;
    CheckpointTarget target = {.plan = session->plan,
                               .spaces = session->memory.spaces,
                               .extras = &session->extras,
                               .directory = session->options->out,
                               .keep = (int)session->options->keep_last,
                               .passage = session_passage(session)};
    TrainState state = {.step = session->step, .seed = session->seed, .data = data_stream_position(&session->data)};
    double start = meter_clock();
    log_live(&session->log, "%-9s %s", "save", session->options->out);
    if (!state.data)
        status_fail(status, STATUS_SYSTEM, "%s: no memory to save", session->options->out);
    else if (checkpoint_save(&target, &state, status)) {
        char name[CHECKPOINT_NAME_BYTES];
        checkpoint_name(session->step, name);
        trainer->saved_step = session->step;
        log_line(&session->log, "save", "%s/%s  (%.1f s)", session->options->out, name, meter_clock() - start);
        if (session->log.json)
            log_json(&session->log, json_pack("{s:s, s:I, s:f}", "event", "save", "step", (json_int_t)session->step,
                                              "seconds", meter_clock() - start));
    }
    free(state.data);
    return !status->failed;
}

/* What may be due after a step. A checkpoint that could not be written is no reason to lose the run: the last one is,
   at the end. */
static bool after_step(Trainer *trainer, Status *status) {
    Session *session = trainer->session;
    const Options *options = session->options;
    bool is_last = session->step == options->steps;
    bool validates = session->val.n_sources > 0 && (is_last || is_due(session->step, options->eval_every));
    bool saves = options->out && !is_last && is_due(session->step, options->save_every);
    if ((validates || saves) && !settle(trainer, status))
        return false;
    if (validates && !validate(trainer, status))
        return false;
    Status save_status = STATUS_INIT;
    if (saves && !save(trainer, &save_status))
        log_warning(&session->log, "%s; training goes on", save_status.message);
    return true;
}

/* ---- The loop --------------------------------------------------------------------------------------------------- */

static bool run_steps(Trainer *trainer, Status *status) {
    Session *session = trainer->session;
    Dump *dump = session->options->dump ? &trainer->dump : NULL;
    if (session->val.n_sources > 0 && !session->checkpoint && !validate(trainer, status))
        return false;
    while (session->step < session->options->steps && !trainer->is_stopped) {
        if (!step_run(&trainer->stepper, dump, &trainer->is_stopped, status))
            return false;
        say_steps(trainer);
        if (!trainer->is_stopped && !after_step(trainer, status))
            return false;
    }
    return settle(trainer, status);
}

static bool write_export(Session *session, Log *log, Status *status) {
    const Options *options = session->options;
    ExportOptions how = {.dtype = strcmp(options->export_dtype, "bf16") == 0 ? DTYPE_BF16 : DTYPE_F32,
                         .passage = session_passage(session)};
    if (!export_model(session->plan, session->memory.spaces[MOEC_SPACE_WEIGHT], &session->extras, &how, options->export,
                      status))
        return false;
    log_line(log, "export", "%s (%s)", options->export, options->export_dtype);
    return true;
}

static bool write_profile(Trainer *trainer, Status *status) {
    Session *session = trainer->session;
    if (!profile_write(&trainer->profile, disk_system(), session->options->profile, status))
        return false;
    profile_say(&trainer->profile, &session->log);
    log_line(&session->log, "trace", "%s", session->options->profile);
    return true;
}

static bool write_results(Trainer *trainer, Status *status) {
    Session *session = trainer->session;
    const Options *options = session->options;
    if (trainer->is_stopped) {
        log_line(&session->log, "stopped", "by %s after step %" PRId64 " of %" PRId64 "; %s", stop_signal(),
                 session->step, options->steps,
                 options->out ? "saved, --resume goes on" : "nothing is saved: there is no --out");
        return true;
    }
    if (options->dump && !dump_write(&trainer->dump, options->dump, status))
        return false;
    return !options->export || write_export(session, &session->log, status);
}

static bool finish(Trainer *trainer, Status *status) {
    const Session *session = trainer->session;
    const Options *options = session->options;
    if (options->out && trainer->saved_step != session->step && !save(trainer, status))
        return false;
    return write_results(trainer, status) && (!options->profile || write_profile(trainer, status));
}

/* A token file that turns out to be damaged is no reason to lose the steps before. */
static void keep_steps(Trainer *trainer, const Status *status) {
    const Session *session = trainer->session;
    bool has_news = session->step > trainer->first_step && session->step != trainer->saved_step;
    Status save_status = STATUS_INIT;
    if (status->code == STATUS_DIVERGED || trainer->stepper.is_broken || !session->options->out || !has_news)
        return;
    if (!settle(trainer, &save_status) || !save(trainer, &save_status))
        log_warning(&trainer->session->log, "%s", save_status.message);
}

static bool open_profile(Trainer *trainer, Status *status) {
    const Session *session = trainer->session;
    size_t n_micro_batches = (size_t)(session->options->global_batch / session->plan->micro_batch);
    size_t n_launches =
        n_micro_batches * program_launches(session->plan, "train") + program_launches(session->plan, "update");
    if (!profile_open(&trainer->profile, session->plan, (size_t)session->options->n_profile_steps, n_launches, status))
        return false;
    trainer->profile.ceiling = session->ceiling;
    trainer->profile.bandwidth = session->bandwidth;
    return true;
}

static bool open_trainer(Trainer *trainer, Session *session, Status *status) {
    const Options *options = session->options;
    *trainer = (Trainer){.session = session, .first_step = session->step, .saved_step = -1};
    if (session->checkpoint && options->out && session->step >= options->steps)
        trainer->saved_step = session->step;
    if (options->profile && !open_profile(trainer, status))
        return false;
    if (!stepper_open(&trainer->stepper, session, options->profile ? &trainer->profile : NULL, status))
        return false;
    if (session->val.n_sources > 0 && !program_open(&trainer->eval, session->plan, "eval", &session->memory, status))
        return false;
    return !options->dump || dump_open(&trainer->dump, session, status);
}

bool train_run(Session *session, Status *status) {
    Trainer trainer;
    stop_listen();
    if (open_trainer(&trainer, session, status)) {
        say_start(session);
        if (run_steps(&trainer, status))
            finish(&trainer, status);
        else
            keep_steps(&trainer, status);
    }
    profile_close(&trainer.profile);
    dump_close(&trainer.dump);
    program_close(&trainer.eval);
    stepper_close(&trainer.stepper);
    return !status->failed;
}
