#include "frontend/driver.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/codegen.h"
#include "frontend/build.h"
#include "frontend/evaluate.h"
#include "frontend/pipeline.h"
#include "frontend/tune.h"

static Module *read_ir(Arena *arena, const char *path) {
    size_t n_bytes;
    char *text;
    if (!sources_read(arena, path, &text, &n_bytes)) {
        fprintf(stderr, "moec: cannot read %s: %s\n", path, strerror(errno));
        return NULL;
    }
    const char *error;
    Module *module = module_read(arena, path, text, n_bytes, &error);
    if (module == NULL)
        fprintf(stderr, "%s:%s\n", path, error);
    return module;
}

static bool has_suffix(const char *text, const char *suffix) {
    size_t n = strlen(text), n_suffix = strlen(suffix);
    return n >= n_suffix && strcmp(text + n - n_suffix, suffix) == 0;
}

/* What a clause of the source can't say, since it is about the machine. */
static void add_memory_directive(Module *module, int64_t budget) {
    Directive *memory = module_add_directive(module, "memory", "", (Loc){0});
    attrs_set_int(module->arena, &memory->attrs, "budget", budget);
}

/* Only to find out what fusion is worth. */
static void add_fuse_directive(Module *module, const char *kinds) {
    Directive *fuse = module_add_directive(module, "fuse", "", (Loc){0});
    attrs_set_string(module->arena, &fuse->attrs, "only", kinds);
}

static void add_chunk_directive(Module *module, const Options *options) {
    Directive *chunk = module_add_directive(module, "chunk", "", (Loc){0});
    if (options->chunk_bytes > 0)
        attrs_set_int(module->arena, &chunk->attrs, "bytes", options->chunk_bytes);
    if (options->chunk_rows > 0)
        attrs_set_int(module->arena, &chunk->attrs, "rows", options->chunk_rows);
}

static Module *compile_source(Arena *arena, const Options *options, Diagnostics *diagnostics) {
    LowerOptions lower = {.overrides = options->overrides,
                          .n_overrides = options->n_overrides,
                          .generate_window = options->generate_window,
                          .dense = options->dense};
    double start = pipeline_clock();
    Module *module = frontend_compile(arena, options->files[0], &lower, diagnostics);
    if (module == NULL)
        return NULL;
    if (options->memory_budget > 0)
        add_memory_directive(module, options->memory_budget);
    if (options->no_fuse || options->fuse != NULL)
        add_fuse_directive(module, options->no_fuse ? "" : options->fuse);
    if (options->chunk_bytes > 0 || options->chunk_rows > 0)
        add_chunk_directive(module, options);
    if (options->precision != NULL)
        module_add_directive(module, "precision", options->precision, (Loc){0});
    pipeline_report_stage(module, "lower", options, start);
    return module;
}

/* Source through the passes up to --after (or all of them). NULL with *exit_code after a failure. */
static Module *compile_until(Arena *arena, const Options *options, Diagnostics *diagnostics, int *exit_code) {
    *exit_code = EXIT_BAD_INPUT;
    Module *module = compile_source(arena, options, diagnostics);
    if (module == NULL || (options->after != NULL && strcmp(options->after, "lower") == 0))
        return module;
    Reporter *reporter = diagnostics_reporter(diagnostics);
    return pipeline_run_until(module, options->after, options, reporter, exit_code) ? module : NULL;
}

static int run_check(Arena *arena, const Options *options, Diagnostics *diagnostics) {
    Options whole = *options;
    whole.after = "optimizer"; /* the last pass that can find fault with a model */
    int exit_code;
    return compile_until(arena, &whole, diagnostics, &exit_code) != NULL ? EXIT_OK : exit_code;
}

static int run_fmt(const Options *options, Diagnostics *diagnostics) {
    int exit_code = EXIT_OK;
    for (int i = 0; i < options->n_files; i++) {
        bool done = options->write ? frontend_format_in_place(options->files[i], diagnostics)
                                   : frontend_format(stdout, options->files[i], diagnostics);
        if (!done)
            exit_code = EXIT_BAD_INPUT;
    }
    return exit_code;
}

/* That of --tuning, or none; false after a message. */
static bool read_tuning(Arena *arena, const Options *options, const Tuning **tuning) {
    *tuning = options->tuning != NULL ? tune_read_file(arena, options->tuning) : NULL;
    return options->tuning == NULL || *tuning != NULL;
}

static int run_emit(Arena *arena, const Options *options, Diagnostics *diagnostics) {
    int exit_code;
    const Tuning *tuning;
    if (!read_tuning(arena, options, &tuning))
        return EXIT_BAD_INPUT;
    Module *module = compile_until(arena, options, diagnostics, &exit_code);
    if (module == NULL)
        return exit_code;
    if (options->after != NULL && strcmp(options->after, "c") == 0) {
        CodegenOptions codegen = {.plan_symbol = "moec_plan", .tuning = tuning};
        return codegen_emit_c(stdout, module, &codegen, diagnostics_reporter(diagnostics)) ? EXIT_OK : EXIT_BAD_INPUT;
    }
    if (options->after != NULL && strcmp(options->after, "plan") == 0)
        return codegen_print_summary(stdout, module, diagnostics_reporter(diagnostics)) ? EXIT_OK : EXIT_BAD_INPUT;
    if (options->format != NULL && strcmp(options->format, "dot") == 0)
        module_print_dot(stdout, module);
    else if (options->format != NULL && strcmp(options->format, "json") == 0)
        module_print_json(stdout, module);
    else
        module_print(stdout, module);
    return EXIT_OK;
}

static int run_build(Arena *arena, const Options *options, Diagnostics *diagnostics) {
    int exit_code;
    CodegenOptions codegen = {.plan_symbol = "moec_plan"};
    if (!read_tuning(arena, options, &codegen.tuning))
        return EXIT_BAD_INPUT;
    Module *module = compile_until(arena, options, diagnostics, &exit_code);
    if (module == NULL)
        return exit_code;
    Reporter *reporter = diagnostics_reporter(diagnostics);
    exit_code = build_executable(arena, module, options, &codegen, reporter);
    bool is_shown = exit_code == EXIT_OK && !options->quiet && !options->dry_run;
    return !is_shown || codegen_print_summary(stdout, module, reporter) ? exit_code : EXIT_BAD_INPUT;
}

static int run_tune(Arena *arena, const Options *options, Diagnostics *diagnostics) {
    int exit_code;
    Module *module = compile_until(arena, options, diagnostics, &exit_code);
    return module != NULL ? tune_model(arena, module, options, diagnostics_reporter(diagnostics)) : exit_code;
}

static int run_opt(Arena *arena, const Options *options) {
    Module *module = read_ir(arena, options->files[0]);
    if (module == NULL)
        return EXIT_BAD_INPUT;
    PlainReporter reporter;
    plain_reporter_init(&reporter, stderr);
    for (size_t i = 0; i < options->n_passes; i++) {
        int exit_code;
        if (!pipeline_run_pass(module, options->passes[i], options, &reporter.base, &exit_code))
            return exit_code;
    }
    module_print(stdout, module);
    return EXIT_OK;
}

static int run_interpret(Arena *arena, const Options *options, Diagnostics *diagnostics) {
    int exit_code = EXIT_BAD_INPUT;
    Module *module;
    if (has_suffix(options->files[0], ".ir")) {
        module = read_ir(arena, options->files[0]);
    } else {
        Options staged = *options;
        staged.after = options->after != NULL ? options->after : "lower";
        module = compile_until(arena, &staged, diagnostics, &exit_code);
    }
    if (module == NULL)
        return exit_code;
    return evaluate_graph(stdout, arena, module, options->graph, options->seed) ? EXIT_OK : EXIT_BAD_INPUT;
}

static DiagnosticsColor color_of(const char *name) {
    if (name == NULL || strcmp(name, "auto") == 0)
        return DIAGNOSTICS_COLOR_AUTO;
    return strcmp(name, "always") == 0 ? DIAGNOSTICS_COLOR_ALWAYS : DIAGNOSTICS_COLOR_NEVER;
}

int driver_run(Arena *arena, const Options *options) {
    Diagnostics *diagnostics = diagnostics_new(arena, stderr, color_of(options->color));
    int exit_code = EXIT_OK;
    switch (options->command) {
    case COMMAND_CHECK:
        exit_code = run_check(arena, options, diagnostics);
        break;
    case COMMAND_FMT:
        exit_code = run_fmt(options, diagnostics);
        break;
    case COMMAND_EMIT:
        exit_code = run_emit(arena, options, diagnostics);
        break;
    case COMMAND_BUILD:
        exit_code = run_build(arena, options, diagnostics);
        break;
    case COMMAND_TUNE:
        exit_code = run_tune(arena, options, diagnostics);
        break;
    case COMMAND_OPT:
        exit_code = run_opt(arena, options);
        break;
    case COMMAND_INTERPRET:
        exit_code = run_interpret(arena, options, diagnostics);
        break;
    case COMMAND_MAN:
        options_print_man(stdout);
        break;
    case COMMAND_COUNT:
        break;
    }
    diagnostics_flush(diagnostics);
    return exit_code;
}
