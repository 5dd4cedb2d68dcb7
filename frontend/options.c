#include "frontend/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "passes/passes.h"

typedef enum {
#define OPTION(id, name, letter, argument, commands, help) OPTION_##id,
#include "frontend/options.def"
    OPTION_COUNT
} OptionId;

typedef struct {
    const char *name, *operands, *summary;
} CommandRow;

typedef struct {
    const char *name;
    char letter;
    const char *argument;
    unsigned commands;
    const char *help;
} OptionRow;

static const CommandRow command_rows[] = {
#define COMMAND(id, name, operands, summary) {name, operands, summary},
#include "frontend/options.def"
};

static const OptionRow option_rows[] = {
#define OPTION(id, name, letter, argument, commands, help) {name, letter, argument, commands, help},
#include "frontend/options.def"
};

static bool option_applies(OptionId option, Command command) {
    return command == COMMAND_COUNT || (option_rows[option].commands & (1U << command)) != 0;
}

/* ---- Help and the manual page ------------------------------------------------------------------------------- */

static void print_options_help(FILE *out, Command command) {
    for (OptionId i = 0; i < OPTION_COUNT; i++) {
        const OptionRow *row = &option_rows[i];
        if (!option_applies(i, command))
            continue;
        char left[64];
        char letter[8] = "    ";
        if (row->letter != 0)
            snprintf(letter, sizeof letter, "-%c, ", row->letter);
        snprintf(left, sizeof left, "%s--%s%s%s", letter, row->name, row->argument != NULL ? " " : "",
                 row->argument != NULL ? row->argument : "");
        fprintf(out, "  %-30s %s\n", left, row->help);
    }
}

/* What --after can name: `lower`, the passes, and of emit what follows them. Elsewhere the passes alone matter. */
static void print_stages(FILE *out, const char *indent, Command command) {
    if (option_applies(OPTION_AFTER, command))
        fprintf(out, "%slower (the dense graph)\n", indent);
    for (const Pass *pass = passes; pass->name != NULL; pass++)
        fprintf(out, "%s%s (%s)\n", indent, pass->name, pass->summary);
    if (option_applies(OPTION_FORMAT, command))
        fprintf(out, "%splan (what a build prints: bytes, parameters, FLOPs)\n%sc (the generated source)\n", indent,
                indent);
}

/* Help for all commands (COMMAND_COUNT) or one. */
static void print_help(FILE *out, Command command) {
    if (command == COMMAND_COUNT) {
        fprintf(out, "moec: turns a dense language model into a Mixture of Experts and trains it\n\n"
                     "usage: moec COMMAND [OPTION...] FILE...\n\ncommands:\n");
        for (Command i = 0; i < COMMAND_COUNT; i++)
            fprintf(out, "  %-10s %-18s %s\n", command_rows[i].name, command_rows[i].operands, command_rows[i].summary);
        fprintf(out, "\n`moec COMMAND --help` lists a command's options. `moec --version` prints the version.\n");
        return;
    }
    const CommandRow *row = &command_rows[command];
    fprintf(out, "moec %s: %s\n\nusage: moec %s [OPTION...] %s\n\noptions:\n", row->name, row->summary, row->name,
            row->operands);
    print_options_help(out, command);
    if (option_applies(OPTION_PRINT_AFTER, command)) {
        fprintf(out, "\n%s:\n", option_applies(OPTION_AFTER, command) ? "stages" : "passes");
        print_stages(out, "  ", command);
    }
}

/* Text for roff: a hyphen is a minus. */
static void print_roff(FILE *out, const char *text) {
    for (; *text != '\0'; text++) {
        if (*text == '-' || *text == '\\')
            fputc('\\', out);
        fputc(*text, out);
    }
}

static void print_man_options(FILE *out) {
    for (OptionId i = 0; i < OPTION_COUNT; i++) {
        const OptionRow *row = &option_rows[i];
        fprintf(out, ".TP\n.B ");
        if (row->letter != 0)
            fprintf(out, "\\-%c, ", row->letter);
        fprintf(out, "\\-\\-");
        print_roff(out, row->name);
        if (row->argument != NULL) {
            fputc(' ', out);
            print_roff(out, row->argument);
        }
        fputc('\n', out);
        print_roff(out, row->help);
        fprintf(out, " (");
        const char *separator = "";
        for (Command command = 0; command < COMMAND_COUNT; command++) {
            if (option_applies(i, command)) {
                fprintf(out, "%s%s", separator, command_rows[command].name);
                separator = ", ";
            }
        }
        fprintf(out, ")\n");
    }
}

void options_print_man(FILE *out) {
    fprintf(out, ".TH MOEC 1\n.SH NAME\nmoec \\- turns a dense language model into a Mixture of Experts and trains it\n"
                 ".SH SYNOPSIS\n.B moec\n.I COMMAND\n[\\fIOPTION\\fR...]\n.I FILE\n.SH COMMANDS\n");
    for (Command i = 0; i < COMMAND_COUNT; i++) {
        fprintf(out, ".TP\n.B %s %s\n", command_rows[i].name, command_rows[i].operands);
        print_roff(out, command_rows[i].summary);
        fputc('\n', out);
    }
    fprintf(out, ".SH OPTIONS\n");
    print_man_options(out);
    fprintf(out, ".SH STAGES\n.nf\n");
    print_stages(out, "", COMMAND_COUNT);
    fprintf(out, ".fi\n.SH ENVIRONMENT\n.TP\n.B CC\nthe C compiler that build runs (default: cc)\n.TP\n.B OPENBLAS\n"
                 "the libopenblas.a that executables link\n.TP\n.B TMPDIR\nwhere build works (default: /tmp)\n.TP\n"
                 ".B NO_COLOR\nset: no colour unless \\-\\-color asks for it\n.SH EXIT STATUS\n.TP\n.B "
                 "0\nsuccess\n.TP\n.B 1\nan error in the input; nothing was "
                 "written\n.TP\n.B 2\na wrong command line\n.TP\n.B 70\na bug in moec\n");
}

/* ---- Parsing ------------------------------------------------------------------------------------------------- */

static bool usage_error(Command command, int *exit_code, const char *format, ...) __attribute__((format(printf, 3, 4)));

static bool usage_error(Command command, int *exit_code, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("moec: ", stderr);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, "; try `moec %s%s--help`\n", command == COMMAND_COUNT ? "" : command_rows[command].name,
            command == COMMAND_COUNT ? "" : " ");
    *exit_code = EXIT_BAD_USAGE;
    return false;
}

static bool parse_int(const char *text, int64_t minimum, int64_t *out) {
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    *out = value;
    return errno == 0 && end != text && *end == '\0' && value >= minimum;
}

/* "512", "64K", "1536M", "24G": units of 1024. */
static bool parse_bytes(const char *text, int64_t *out) {
    static const char units[] = "KMG";
    size_t n = strlen(text);
    const char *unit = n > 0 ? strchr(units, text[n - 1]) : NULL;
    char number[24];
    int shift = unit != NULL ? 10 * (int)(unit - units + 1) : 0;
    n -= unit != NULL;
    if (n >= sizeof number)
        return false;
    memcpy(number, text, n);
    number[n] = '\0';
    bool is_number = parse_int(number, 1, out) && *out <= INT64_MAX >> shift;
    *out = is_number ? *out << shift : 0;
    return is_number;
}

static bool one_of(const char *value, const char *const *choices) {
    for (; *choices != NULL; choices++) {
        if (strcmp(value, *choices) == 0)
            return true;
    }
    return false;
}

/* "NAME=VALUE" with a positive integer. */
static bool add_override(Arena *arena, Options *options, const char *text, int *exit_code) {
    const char *equals = strchr(text, '=');
    SizeOverride override = {0};
    if (equals == NULL || equals == text || !parse_int(equals + 1, 1, &override.value))
        return usage_error(options->command, exit_code, "-D takes NAME=VALUE with a positive integer, found '%s'",
                           text);
    override.name = arena_strndup(arena, text, (size_t)(equals - text));
    arena_push(arena, options->overrides, options->n_overrides, options->overrides_capacity, override);
    return true;
}

static bool is_pass(const char *name) {
    return pass_find(name) != NULL;
}

static bool is_stage(Command command, const char *name) {
    static const char *const last[] = {"plan", "c", NULL};
    return strcmp(name, "lower") == 0 || is_pass(name) ||
           (option_applies(OPTION_FORMAT, command) && one_of(name, last));
}

/* What an option without an argument sets, or NULL. */
static bool *flag_of(Options *options, OptionId option) {
    switch (option) {
    case OPTION_DENSE:
        return &options->dense;
    case OPTION_NO_FUSE:
        return &options->no_fuse;
    case OPTION_DRY_RUN:
        return &options->dry_run;
    case OPTION_WRITE:
        return &options->write;
    case OPTION_TIME_PASSES:
        return &options->time_passes;
    case OPTION_QUIET:
        return &options->quiet;
    default:
        return NULL;
    }
}

/* Where an argument is kept as it stands, or NULL. */
static const char **text_of(Options *options, OptionId option) {
    switch (option) {
    case OPTION_FUSE:
        return &options->fuse;
    case OPTION_OUTPUT:
        return &options->output;
    case OPTION_KEEP:
        return &options->keep;
    case OPTION_MARCH:
        return &options->march;
    case OPTION_AFTER:
        return &options->after;
    case OPTION_FORMAT:
        return &options->format;
    case OPTION_GRAPH:
        return &options->graph;
    case OPTION_PRINT_AFTER:
        return &options->print_after;
    case OPTION_COLOR:
        return &options->color;
    case OPTION_PRECISION:
        return &options->precision;
    case OPTION_TUNING:
        return &options->tuning;
    default:
        return NULL;
    }
}

/* Whether the argument is one of the words that the option takes; any other option takes any. */
static bool check_word(Command command, OptionId option, const char *argument, int *exit_code) {
    static const char *const formats[] = {"text", "dot", "json", NULL};
    static const char *const colors[] = {"auto", "always", "never", NULL};
    static const char *const precisions[] = {"f32", "bf16", NULL};
    static const char *const more_than_passes[] = {"all", "lower", NULL};
    switch (option) {
    case OPTION_AFTER:
        return is_stage(command, argument) || usage_error(command, exit_code, "there is no stage '%s'", argument);
    case OPTION_FORMAT:
        return one_of(argument, formats) ||
               usage_error(command, exit_code, "--format takes text, dot or json, found '%s'", argument);
    case OPTION_PASS:
        return is_pass(argument) || usage_error(command, exit_code, "there is no pass '%s'", argument);
    case OPTION_PRINT_AFTER:
        return one_of(argument, more_than_passes) || is_pass(argument) ||
               usage_error(command, exit_code, "there is no pass '%s'", argument);
    case OPTION_PRECISION:
        return one_of(argument, precisions) ||
               usage_error(command, exit_code, "--precision takes f32 or bf16, found '%s'", argument);
    case OPTION_FUSE:
        return pass_takes_fuse_list(argument) ||
               usage_error(command, exit_code,
                           "--fuse takes a list such as rows,epilogue of rows, epilogue, prologue, siblings, "
                           "accumulate and updates, found '%s'",
                           argument);
    case OPTION_COLOR:
        return one_of(argument, colors) ||
               usage_error(command, exit_code, "--color takes auto, always or never, found '%s'", argument);
    default:
        return true;
    }
}

static bool store_bytes(const Options *options, OptionId option, const char *argument, int64_t *out, int *exit_code) {
    return parse_bytes(argument, out) ||
           usage_error(options->command, exit_code,
                       "--%s takes a positive number of bytes, or one with K, M or G behind it, found '%s'",
                       option_rows[option].name, argument);
}

/* Stores one parsed option; `argument` is NULL where the table says it takes none. */
static bool apply_option(Arena *arena, Options *options, OptionId option, const char *argument, int *exit_code) {
    Command command = options->command;
    bool *flag = flag_of(options, option);
    const char **text = text_of(options, option);
    int64_t number = 0;
    if (flag != NULL)
        *flag = true;
    if (text != NULL)
        *text = argument;
    switch (option) {
    case OPTION_DEFINE:
        return add_override(arena, options, argument, exit_code);
    case OPTION_GENERATE_WINDOW:
        return parse_int(argument, 1, &options->generate_window) ||
               usage_error(command, exit_code, "--generate-window takes a positive integer, found '%s'", argument);
    case OPTION_MEMORY_BUDGET:
        return store_bytes(options, option, argument, &options->memory_budget, exit_code);
    case OPTION_CHUNK_BYTES:
        return store_bytes(options, option, argument, &options->chunk_bytes, exit_code);
    case OPTION_CHUNK_ROWS:
        return parse_int(argument, 1, &options->chunk_rows) ||
               usage_error(command, exit_code, "--chunk-rows takes a positive integer, found '%s'", argument);
    case OPTION_SEED:
        if (!parse_int(argument, 0, &number))
            return usage_error(command, exit_code, "--seed takes an integer of at least 0, found '%s'", argument);
        options->seed = (uint64_t)number;
        return true;
    case OPTION_PASS:
        arena_push(arena, options->passes, options->n_passes, options->passes_capacity, argument);
        return check_word(command, option, argument, exit_code);
    case OPTION_HELP:
        print_help(stdout, command);
        *exit_code = EXIT_OK;
        return false;
    default:
        return check_word(command, option, argument, exit_code);
    }
}

/* getopt's tables for the options of one command; long options return 256 + OptionId. */
static void make_getopt_tables(Command command, char *letters, struct option *longs) {
    *letters++ = ':'; /* missing arguments are told apart from unknown options */
    for (OptionId i = 0; i < OPTION_COUNT; i++) {
        const OptionRow *row = &option_rows[i];
        if (!option_applies(i, command))
            continue;
        *longs++ =
            (struct option){row->name, row->argument != NULL ? required_argument : no_argument, NULL, 256 + (int)i};
        if (row->letter != 0) {
            *letters++ = row->letter;
            if (row->argument != NULL)
                *letters++ = ':';
        }
    }
    *letters = '\0';
    *longs = (struct option){0};
}

static OptionId option_of(int code) {
    if (code >= 256)
        return (OptionId)(code - 256);
    OptionId i = 0;
    while (option_rows[i].letter != code)
        i++;
    return i;
}

static bool parse_command(const char *name, Command *out) {
    for (Command i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(command_rows[i].name, name) == 0) {
            *out = i;
            return true;
        }
    }
    return false;
}

/* What getopt could not make sense of: '?' an option that there is not or that takes no argument, ':' one without its
   argument. A letter may stand in the middle of a word. */
static bool wrong_option(Command command, int code, char *const *argv, int *exit_code) {
    bool is_letter = optopt > 0 && optopt < 256;
    const char *word = is_letter ? (char[]){'-', (char)optopt, '\0'} : argv[optind - 1];
    if (code == '?' && optopt >= 256)
        return usage_error(command, exit_code, "--%s takes no argument", option_rows[option_of(optopt)].name);
    return usage_error(command, exit_code, "%s '%s'", code == '?' ? "unknown option" : "missing argument of", word);
}

static bool check_fuse(const Options *options, int *exit_code) {
    return !options->no_fuse || options->fuse == NULL ||
           usage_error(options->command, exit_code, "--no-fuse and --fuse exclude each other");
}

/* Only the IR has several formats. */
static bool check_format(const Options *options, int *exit_code) {
    if (options->format == NULL || strcmp(options->format, "text") == 0 || options->after == NULL)
        return true;
    return strcmp(options->after, "lower") == 0 || is_pass(options->after) ||
           usage_error(options->command, exit_code, "the stage %s is printed as text only, not as %s", options->after,
                       options->format);
}

static bool check_operands(const Options *options, int *exit_code) {
    int wanted = options->command == COMMAND_MAN ? 0 : 1;
    bool many = options->command == COMMAND_FMT;
    if (options->n_files < wanted)
        return usage_error(options->command, exit_code, "%s takes %s", command_rows[options->command].name,
                           command_rows[options->command].operands);
    if (options->n_files > wanted && !many)
        return usage_error(options->command, exit_code, "unexpected operand '%s'", options->files[wanted]);
    return true;
}

bool options_parse(Arena *arena, int argc, char **argv, Options *options, int *exit_code) {
    *options = (Options){0};
    *exit_code = EXIT_OK;
    if (argc < 2) {
        print_help(stderr, COMMAND_COUNT);
        *exit_code = EXIT_BAD_USAGE;
        return false;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        print_help(stdout, COMMAND_COUNT);
        return false;
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("moec " MOEC_VERSION);
        return false;
    }
    if (!parse_command(argv[1], &options->command))
        return usage_error(COMMAND_COUNT, exit_code, "there is no command '%s'", argv[1]);
    char letters[2 * OPTION_COUNT + 2];
    struct option longs[OPTION_COUNT + 1];
    make_getopt_tables(options->command, letters, longs);
    opterr = 0;
    optind = 2;
    for (;;) {
        int code = getopt_long(argc, argv, letters, longs, NULL);
        if (code == -1)
            break;
        if (code == '?' || code == ':')
            return wrong_option(options->command, code, argv, exit_code);
        if (!apply_option(arena, options, option_of(code), optarg, exit_code))
            return false;
    }
    options->files = argv + optind;
    options->n_files = argc - optind;
    return check_fuse(options, exit_code) && check_format(options, exit_code) && check_operands(options, exit_code);
}
