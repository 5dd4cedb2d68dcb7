#include "frontend/tune.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "frontend/build.h"
#include "frontend/command.h"
#include "frontend/source.h"

const Tuning *tune_read_file(Arena *arena, const char *path) {
    size_t n_bytes;
    char *text;
    const char *error;
    if (!sources_read(arena, path, &text, &n_bytes)) {
        fprintf(stderr, "moec: cannot read %s: %s\n", path, strerror(errno));
        return NULL;
    }
    const Tuning *tuning = tuning_read(arena, path, text, n_bytes, &error);
    if (tuning == NULL)
        fprintf(stderr, "%s\n", error);
    return tuning;
}

/* Asked before minutes of work. The executable replaces what stands there, so that must be a file. */
static bool can_write(Arena *arena, const char *output) {
    struct stat about;
    const char *slash = strrchr(output, '/');
    const char *folder = slash != NULL ? arena_printf(arena, "%.*s", (int)(slash - output) + 1, output) : ".";
    if (access(folder, W_OK | X_OK) != 0) {
        fprintf(stderr, "moec: cannot write %s: %s\n", output, strerror(errno));
        return false;
    }
    if (lstat(output, &about) == 0 && !S_ISREG(about.st_mode)) {
        fprintf(stderr, "moec: cannot write %s: it exists, and is not a file that can be replaced\n", output);
        return false;
    }
    return true;
}

/* Of an executable that ran to its end, it has said itself what is wrong. */
static void say_failure(const char *executable, int code) {
    if (code == COMMAND_MISSING)
        fprintf(stderr,
                "moec: cannot run %s, which was just built: set TMPDIR to a folder where programs may run (not one "
                "mounted noexec)\n",
                executable);
    else if (code == COMMAND_KILLED)
        fprintf(stderr,
                "moec: %s was ended by a signal: if the system ran out of memory, fewer layers or a smaller "
                "micro-batch take less (-D)\n",
                executable);
}

static int run(Arena *arena, const char *executable, const char *output, bool is_quiet) {
    CommandLine command = {.arena = arena};
    command_add(&command, executable);
    command_add_words(&command, "--device cuda --tune");
    command_add(&command, output);
    if (is_quiet)
        command_add(&command, "--quiet");
    command_end(&command);
    int code = command_run(&command);
    say_failure(executable, code);
    return code == 0 ? EXIT_OK : EXIT_BAD_INPUT;
}

int tune_model(Arena *arena, const Module *module, const Options *options, Reporter *reporter) {
    const char *output = options->output != NULL ? options->output : arena_printf(arena, "%s.tuning", module->name);
    if (!can_write(arena, output))
        return EXIT_BAD_INPUT;
    const char *temporary = getenv("TMPDIR");
    char *folder = arena_printf(arena, "%s/moec-tune-XXXXXX", temporary != NULL ? temporary : "/tmp");
    const CodegenOptions codegen = {.plan_symbol = "moec_plan", .has_choices = true};
    if (mkdtemp(folder) == NULL) {
        fprintf(stderr, "moec: cannot make a temporary folder %s: %s\n", folder, strerror(errno));
        return EXIT_BAD_INPUT;
    }
    Options build = *options;
    build.output = arena_printf(arena, "%s/tune", folder);
    int exit_code = build_executable(arena, module, &build, &codegen, reporter);
    if (exit_code == EXIT_OK)
        exit_code = run(arena, build.output, output, options->quiet);
    unlink(build.output);
    rmdir(folder);
    return exit_code;
}
