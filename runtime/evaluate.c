#include "runtime/evaluate.h"

#include <inttypes.h>
#include <math.h>

#include "runtime/meter.h"
#include "runtime/stop.h"

/* Windows first .. first+n-1 into the program's inputs. */
static bool read_batch(const Program *eval, const DataStream *stream, uint64_t first, int64_t n, Status *status) {
    int32_t *tokens = program_input(eval, "tokens"), *targets = program_input(eval, "targets");
    for (int64_t i = 0; i < n; i++) {
        int64_t at = i * stream->sequence;
        if (!data_stream_window(stream, first + (uint64_t)i, tokens + at, targets + at, status))
            return false;
    }
    return true;
}

/* 0 after a failure. */
static int64_t count_batches(const Session *session, const DataStream *stream, Status *status) {
    int64_t batch = session->plan->micro_batch;
    uint64_t n_whole = stream->n_windows / (uint64_t)batch;
    if (n_whole == 0)
        return status_fail(status, STATUS_INPUT,
                           "%s: has %" PRIu64 " sequences of %" PRId64 " tokens; validation needs at least %" PRId64
                           ", which are computed at a time",
                           stream->sources[0].file.path, stream->n_windows, stream->sequence, batch);
    uint64_t wanted = (uint64_t)session->options->eval_batches;
    return (int64_t)(n_whole < wanted ? n_whole : wanted);
}

bool evaluate(Session *session, const Program *eval, const DataStream *stream, Evaluation *evaluation, bool *is_stopped,
              Status *status) {
    double start = meter_clock(), sum = 0.0;
    int64_t batch = session->plan->micro_batch, n_batches = count_batches(session, stream, status);
    const float *nll = program_output(eval, "nll");
    *evaluation = (Evaluation){0};
    if (n_batches == 0)
        return false;
    for (int64_t i = 0; i < n_batches; i++) {
        if (is_stopped && (*is_stopped = stop_signal() != NULL))
            return true;
        log_live(&session->log, "%-9s %" PRId64 "/%" PRId64, "validate", i, n_batches);
        if (!read_batch(eval, stream, (uint64_t)(i * batch), batch, status))
            return false;
        if (!program_run(eval, status))
            return false;
        sum += (double)*nll;
    }
    *evaluation = (Evaluation){.nll = sum / (double)n_batches,
                               .n_batches = n_batches,
                               .n_tokens = n_batches * batch * stream->sequence,
                               .seconds = meter_clock() - start};
    return true;
}

static void say_evaluation(Session *session, const Evaluation *evaluation) {
    double perplexity = exp(evaluation->nll);
    printf("%-9s loss %.6f  perplexity %.4f  (%" PRId64 " tokens, %.1f s)\n", "eval", evaluation->nll, perplexity,
           evaluation->n_tokens, evaluation->seconds);
    log_json(&session->log, json_pack("{s:s, s:f, s:o, s:I}", "event", "eval", "loss", evaluation->nll, "perplexity",
                                      isfinite(perplexity) ? json_real(perplexity) : json_null(), "tokens",
                                      (json_int_t)evaluation->n_tokens));
}

bool evaluate_run(Session *session, Status *status) {
    const DataStream *stream = session->val.n_sources > 0 ? &session->val : &session->data;
    Evaluation evaluation;
    Program eval;
    if (!program_open(&eval, session->plan, "eval", &session->memory, status))
        return false;
    if (evaluate(session, &eval, stream, &evaluation, NULL, status)) {
        log_clear(&session->log);
        if (isfinite(evaluation.nll))
            say_evaluation(session, &evaluation);
        else
            status_fail(status, STATUS_DIVERGED, "--eval: the loss is %s: some weights are NaN or too large",
                        isnan(evaluation.nll) ? "nan" : "infinite");
    }
    program_close(&eval);
    return !status->failed;
}
