#include "runtime/options.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef enum { TYPE_TEXT, TYPE_OPTIONAL, TYPE_LIST, TYPE_CHOICE, TYPE_INT, TYPE_REAL, TYPE_FLAG } OptionType;

typedef enum {
#define GROUP(id, heading) GROUP_##id,
#include "runtime/options.def"
    GROUP_COUNT
} OptionGroup;

static const char *const group_headings[GROUP_COUNT] = {
#define GROUP(id, heading) heading,
#include "runtime/options.def"
};

typedef struct {
    const char *name, *argument;
    OptionGroup group;
    OptionType type;
    size_t offset; /* of the field in Options */
    double least, most;
    const char *help;
} OptionRow;

static const OptionRow option_rows[OPTION_COUNT] = {
#define OPTION(id, name, argument, group, type, field, least, most, help)                                              \
    {name, argument, GROUP_##group, TYPE_##type, offsetof(Options, field), least, most, help},
#include "runtime/options.def"
};

#define FIELD(type, options, row) ((type *)((char *)(options) + (row)->offset))
#define CONST_FIELD(type, options, row) ((type const *)((const char *)(options) + (row)->offset))

/* A plan without a train clause has zeros where a value is needed. */
static Options default_options(const MoecPlan *plan) {
    const MoecTrainConfig *train = &plan->train;
    return (Options){
        .token_dtype = "u16",
        .schedule = train->schedule ? train->schedule : "constant",
        .export_dtype = "f32",
        .device = "cpu",
        .matmul = "auto",
        .check = "none",
        .n_tokens = 64,
        .temperature = 0.0,
        .steps = train->steps,
        .micro_batch = plan->micro_batch,
        .global_batch = train->global_batch ? train->global_batch : plan->micro_batch,
        .lr = train->lr,
        .min_lr = train->min_lr,
        .warmup = train->warmup,
        .decay_steps = train->decay_steps,
        .clip = train->clip,
        .weight_decay = train->weight_decay,
        .beta1 = train->beta1,
        .beta2 = train->beta2,
        .epsilon = train->epsilon,
        .seed = train->seed,
        .eval_every = train->eval_every,
        .eval_batches = 16,
        .save_every = train->save_every,
        .keep_last = 2,
        .n_profile_steps = 5,
    };
}

/* ---- Values as text --------------------------------------------------------------------------------------------- */

/* The shortest text that reads back to the same value. */
static void print_real(char *text, size_t n, double value) {
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, n, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            return;
    }
}

/* The value of a numeric or choice option; "" for others. */
static void print_value(char *text, size_t n, const Options *options, const OptionRow *row) {
    text[0] = '\0';
    if (row->type == TYPE_INT)
        snprintf(text, n, "%" PRId64, *CONST_FIELD(int64_t, options, row));
    else if (row->type == TYPE_REAL)
        print_real(text, n, *CONST_FIELD(double, options, row));
    else if (row->type == TYPE_CHOICE)
        snprintf(text, n, "%s", *CONST_FIELD(const char *, options, row));
}

static json_t *json_value(const Options *options, const OptionRow *row) {
    if (row->type == TYPE_INT)
        return json_integer(*CONST_FIELD(int64_t, options, row));
    if (row->type == TYPE_REAL)
        return json_real(*CONST_FIELD(double, options, row));
    if (row->type == TYPE_FLAG)
        return json_boolean(*CONST_FIELD(bool, options, row));
    if (row->type == TYPE_LIST) {
        const TextList *list = CONST_FIELD(TextList, options, row);
        json_t *array = json_array();
        for (size_t i = 0; i < list->n; i++)
            json_array_append_new(array, json_string(list->items[i]));
        return array;
    }
    const char *text = *CONST_FIELD(const char *, options, row);
    return text ? json_string(text) : json_null();
}

json_t *options_json(const Options *options) {
    json_t *object = json_object();
    for (int i = 0; i < OPTION_COUNT; i++) {
        const OptionRow *row = &option_rows[i];
        if (row->group != GROUP_MODE)
            json_object_set_new(object, row->name, json_value(options, row));
    }
    return object;
}

/* ---- Help ------------------------------------------------------------------------------------------------------- */

enum { HELP_COLUMN = 34, HELP_WIDTH = 100 };

/* Words from HELP_COLUMN on, in as many lines as they take. */
static void print_wrapped(FILE *out, const char *text) {
    int column = HELP_COLUMN;
    for (const char *word = text; *word; word += strspn(word, " ")) {
        int length = (int)strcspn(word, " ");
        bool is_first = word == text, wraps = !is_first && column + 1 + length > HELP_WIDTH;
        if (wraps)
            fprintf(out, "\n%*s", HELP_COLUMN, "");
        fprintf(out, "%s%.*s", is_first || wraps ? "" : " ", length, word);
        column = (wraps ? HELP_COLUMN : column + !is_first) + length;
        word += length;
    }
    putc('\n', out);
}

static void print_option(FILE *out, const Options *defaults, const OptionRow *row) {
    char left[64], value[64], text[256];
    snprintf(left, sizeof left, "--%s%s%s", row->name, row->argument ? " " : "", row->argument ? row->argument : "");
    print_value(value, sizeof value, defaults, row);
    snprintf(text, sizeof text, "%s%s%s%s", row->help, value[0] ? " (default: " : "", value, value[0] ? ")" : "");
    fprintf(out, "  %-*s ", HELP_COLUMN - 3, left);
    print_wrapped(out, text);
}

void options_print_help(FILE *out, const MoecPlan *plan, const char *program) {
    Options defaults = default_options(plan);
    fprintf(out,
            "%s: trains %s%s\n\n"
            "usage: %s --weights DIR --data PATH [OPTION...]\n",
            program, plan->model, plan->is_moe ? ", upcycling a dense checkpoint while it is loaded" : "", program);
    for (int group = 0; group < GROUP_COUNT; group++) {
        fprintf(out, "\n%s:\n", group_headings[group]);
        for (int i = 0; i < OPTION_COUNT; i++) {
            if (option_rows[i].group == (OptionGroup)group)
                print_option(out, &defaults, &option_rows[i]);
        }
    }
    fprintf(out, "\nA first interrupt (Ctrl-C, SIGTERM, SIGHUP) ends the run after saving; a second one at once.\n"
                 "Exit status: 0 success, 1 bad input, 2 bad command line, 3 the system refused, 4 diverged.\n");
}

/* ---- Reading values --------------------------------------------------------------------------------------------- */

/* Whether `value` is one of the words of "a|b|c". */
static bool is_choice(const char *choices, const char *value) {
    size_t length = strlen(value);
    for (const char *word = choices; word; word = strchr(word, '|') ? strchr(word, '|') + 1 : NULL) {
        if (length > 0 && strcspn(word, "|") == length && strncmp(word, value, length) == 0)
            return true;
    }
    return false;
}

static bool fail_number(const OptionRow *row, const char *kind, const char *text, Status *status) {
    char least[32], most[32];
    print_real(least, sizeof least, row->least);
    print_real(most, sizeof most, row->most);
    return status_fail(status, STATUS_USAGE, "--%s: found '%s', expected %s from %s to %s", row->name, text, kind,
                       least, most);
}

static bool read_int(const OptionRow *row, const char *text, int64_t *value, Status *status) {
    char *end;
    errno = 0;
    *value = strtoll(text, &end, 10);
    if (errno == 0 && end != text && !*end && (double)*value >= row->least && (double)*value <= row->most)
        return true;
    return fail_number(row, "an integer", text, status);
}

static bool read_real(const OptionRow *row, const char *text, double *value, Status *status) {
    char *end;
    *value = strtod(text, &end);
    if (end != text && !*end && isfinite(*value) && *value >= row->least && *value <= row->most)
        return true;
    return fail_number(row, "a number", text, status);
}

static bool store_value(Options *options, const OptionRow *row, const char *text, Status *status) {
    TextList *list = FIELD(TextList, options, row);
    switch (row->type) {
    case TYPE_FLAG:
        *FIELD(bool, options, row) = true;
        return true;
    case TYPE_INT:
        return read_int(row, text, FIELD(int64_t, options, row), status);
    case TYPE_REAL:
        return read_real(row, text, FIELD(double, options, row), status);
    case TYPE_CHOICE:
        if (!is_choice(row->argument, text))
            return status_fail(status, STATUS_USAGE, "--%s: found '%s', expected %s", row->name, text, row->argument);
        *FIELD(const char *, options, row) = text;
        return true;
    case TYPE_LIST:
        list->items[list->n++] = text;
        return true;
    case TYPE_TEXT:
    case TYPE_OPTIONAL:
        *FIELD(const char *, options, row) = text;
        return true;
    }
    return false;
}

/* ---- Reading argv ----------------------------------------------------------------------------------------------- */

enum { LONGEST_NAME = 32 };

/* Levenshtein's distance between the option's name and the first `length` characters of `text`. */
static size_t name_distance(const char *name, const char *text, size_t length) {
    size_t row[LONGEST_NAME + 1];
    for (size_t i = 0; i <= length; i++)
        row[i] = i;
    for (size_t j = 0; name[j]; j++) {
        size_t diagonal = row[0];
        row[0] = j + 1;
        for (size_t i = 1; i <= length; i++) {
            size_t replaced = diagonal + (name[j] != text[i - 1]);
            size_t shifted = (row[i] < row[i - 1] ? row[i] : row[i - 1]) + 1;
            diagonal = row[i];
            row[i] = replaced < shifted ? replaced : shifted;
        }
    }
    return row[length];
}

static bool fail_unknown(const char *word, const char *name, size_t length, Status *status) {
    const OptionRow *nearest = NULL;
    size_t least = length / 3 + 1;
    for (int i = 0; i < OPTION_COUNT && length <= LONGEST_NAME; i++) {
        size_t distance = name_distance(option_rows[i].name, name, length);
        if (distance <= least && (!nearest || distance < least)) {
            nearest = &option_rows[i];
            least = distance;
        }
    }
    if (nearest)
        return status_fail(status, STATUS_USAGE, "there is no option %s; did you mean --%s? --help lists them", word,
                           nearest->name);
    return status_fail(status, STATUS_USAGE, "there is no option %s; --help lists them", word);
}

static const OptionRow *find_option(const char *name, size_t length) {
    for (int i = 0; i < OPTION_COUNT; i++) {
        if (strlen(option_rows[i].name) == length && strncmp(option_rows[i].name, name, length) == 0)
            return &option_rows[i];
    }
    return NULL;
}

/* One option at argv[*at], and its value where it takes one: --name VALUE or --name=VALUE. */
static bool read_option(Options *options, char **argv, int *at, Status *status) {
    const char *word = argv[*at];
    const char *name = strcmp(word, "-h") == 0 ? "--help" : word;
    if (strncmp(name, "--", 2) != 0 || !name[2])
        return status_fail(status, STATUS_USAGE, "found '%s', expected an option; --help lists them", word);
    name += 2;
    size_t length = strcspn(name, "=");
    const char *value = name[length] ? name + length + 1 : NULL;
    const OptionRow *row = find_option(name, length);
    if (!row)
        return fail_unknown(word, name, length, status);
    if (row->type == TYPE_FLAG && value)
        return status_fail(status, STATUS_USAGE, "--%s takes no value, found '%s'", row->name, value);
    const char *next = argv[*at + 1];
    bool takes_next =
        !value && row->type != TYPE_FLAG && next && (row->type != TYPE_OPTIONAL || strncmp(next, "--", 2) != 0);
    if (takes_next)
        value = argv[++*at];
    if (!value && row->type != TYPE_FLAG && row->type != TYPE_OPTIONAL)
        return status_fail(status, STATUS_USAGE, "--%s needs a value: --%s %s", row->name, row->name, row->argument);
    options->is_given[row - option_rows] = true;
    return store_value(options, row, value, status);
}

/* ---- What must go together -------------------------------------------------------------------------------------- */

static bool check_batch(const MoecPlan *plan, const Options *options, Status *status) {
    if (options->micro_batch != plan->micro_batch)
        return status_fail(status, STATUS_USAGE,
                           "--micro-batch %" PRId64 ": this executable is compiled for %" PRId64
                           " sequences at a time; to change that, build it again with `moec build -D B=%" PRId64
                           "`, B being the first size of the tokens in the .moe",
                           options->micro_batch, plan->micro_batch, options->micro_batch);
    if (options->global_batch % options->micro_batch != 0)
        return status_fail(status, STATUS_USAGE,
                           "--global-batch %" PRId64 ": expected a multiple of %" PRId64
                           ", the sequences that this executable is compiled to take at a time",
                           options->global_batch, options->micro_batch);
    return true;
}

static bool check_resume(const Options *options, Status *status) {
    if (!options->is_given[OPTION_RESUME])
        return true;
    if (options->weights)
        return status_fail(status, STATUS_USAGE,
                           "--weights and --resume: a checkpoint has its own weights; leave --weights out");
    if (!options->resume && !options->out)
        return status_fail(status, STATUS_USAGE, "--resume: say from where, with --resume DIR or --out DIR");
    return true;
}

static bool check_options(const MoecPlan *plan, const Options *options, Status *status) {
    if (options->is_eval && options->generate)
        return status_fail(status, STATUS_USAGE, "--eval and --generate: expected one of them");
    if (options->tune && (options->is_eval || options->generate))
        return status_fail(status, STATUS_USAGE, "--tune, --eval and --generate: expected one of them");
    if (!check_resume(options, status))
        return false;
    if (options->generate || options->tune)
        return true;
    if (options->is_eval && options->data.n == 0 && options->val.n == 0)
        return status_fail(status, STATUS_USAGE, "--eval needs a token file: --val PATH");
    if (!options->is_eval && options->data.n == 0 && options->steps > 0)
        return status_fail(status, STATUS_USAGE, "training needs a token file: --data PATH; --help lists all options");
    return check_batch(plan, options, status);
}

bool options_parse(const MoecPlan *plan, int argc, char **argv, Options *options, Status *status) {
    *options = default_options(plan);
    options->data.items = calloc((size_t)argc, sizeof *options->data.items);
    options->val.items = calloc((size_t)argc, sizeof *options->val.items);
    if (!options->data.items || !options->val.items)
        return status_fail_errno(status, "command line");
    for (int at = 1; at < argc; at++) {
        if (!read_option(options, argv, &at, status))
            return false;
    }
    return options->is_help || options->is_print_config || check_options(plan, options, status);
}

void options_free(Options *options) {
    free(options->data.items);
    free(options->val.items);
    options->data = options->val = (TextList){0};
}
