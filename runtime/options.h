/* The command line of a training executable, parsed by the table in options.def. */
#ifndef MOEC_RUNTIME_OPTIONS_H
#define MOEC_RUNTIME_OPTIONS_H

#include <stdio.h>

#include "runtime/json.h"
#include "runtime/plan.h"
#include "runtime/status.h"

typedef enum {
#define OPTION(id, name, argument, group, type, field, least, most, help) OPTION_##id,
#include "runtime/options.def"
    OPTION_COUNT
} OptionId;

typedef struct {
    const char **items;
    size_t n;
} TextList;

/* Texts point into argv or the plan; NULL where not given. */
typedef struct {
    bool is_given[OPTION_COUNT];
    bool is_eval, is_help, is_print_config, is_quiet;
    const char *generate, *tune, *weights, *resume, *token_dtype, *schedule;
    const char *out, *export, *export_dtype, *log, *dump, *profile, *device, *dump_kernels, *matmul, *check;
    TextList data, val;
    int64_t n_tokens, steps, micro_batch, global_batch, warmup, decay_steps, seed, eval_every, eval_batches;
    int64_t save_every, keep_last, n_threads, n_profile_steps;
    double temperature, peak_tflops, lr, min_lr, clip, weight_decay, beta1, beta2, epsilon;
} Options;

/* The plan's defaults, then argv. --help and --print-config are only noted, and then nothing else need make sense.
   options_free after success and failure alike. */
bool options_parse(const MoecPlan *plan, int argc, char **argv, Options *options, Status *status);
void options_free(Options *options);

/* `program`: argv[0]. */
void options_print_help(FILE *out, const MoecPlan *plan, const char *program);

/* All settings but the modes, by name; NULL when out of memory, else the caller owns a reference. */
json_t *options_json(const Options *options);

#endif
