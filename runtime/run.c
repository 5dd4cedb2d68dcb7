#include "runtime/run.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/evaluate.h"
#include "runtime/generate.h"
#include "runtime/train.h"
#include "runtime/tune.h"

static bool run_session(const MoecPlan *plan, const Options *options, Status *status) {
    Session session;
    if (!session_open(&session, plan, options, status))
        return false;
    if (options->generate)
        generate_run(&session, status);
    else if (options->is_eval)
        evaluate_run(&session, status);
    else if (options->tune)
        tune_run(&session, status);
    else
        train_run(&session, status);
    session_close(&session);
    return !status->failed;
}

static bool print_config(const MoecPlan *plan, const Options *options, Status *status) {
    json_t *config =
        json_pack("{s:s, s:s, s:o}", "model", plan->model, "plan", plan->hash, "settings", options_json(options));
    char *text = config ? json_print(config) : NULL;
    json_decref(config);
    if (!text)
        return status_fail(status, STATUS_SYSTEM, "--print-config: no memory");
    fputs(text, stdout);
    free(text);
    return true;
}

static bool run_options(const MoecPlan *plan, const Options *options, const char *program, Status *status) {
    if (options->is_print_config)
        return print_config(plan, options, status);
    if (!options->is_help)
        return run_session(plan, options, status);
    options_print_help(stdout, plan, program);
    return true;
}

int run_executable(const MoecPlan *plan, int argc, char **argv) {
    Status status = STATUS_INIT;
    Options options = {0};
    signal(SIGXFSZ, SIG_IGN); /* a file over the limit of its size is an error of the write, as a full disk is */
    const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
    const char *program = slash ? slash + 1 : argc > 0 ? argv[0] : plan->model;
    if (plan->version != MOEC_PLAN_VERSION)
        status_fail(&status, STATUS_INTERNAL, "the plan has version %d, the runtime %d; build the executable again",
                    plan->version, MOEC_PLAN_VERSION);
    else if (options_parse(plan, argc, argv, &options, &status))
        run_options(plan, &options, program, &status);
    options_free(&options);
    if (fflush(stdout) != 0 || ferror(stdout))
        status_fail_errno(&status, "standard output");
    if (status.failed) {
        bool has_color = isatty(STDERR_FILENO) && !getenv("NO_COLOR");
        fprintf(stderr, has_color ? "%s: \033[31merror:\033[0m %s\n" : "%s: error: %s\n", program, status.message);
    }
    return status.failed ? (int)status.code : 0;
}
