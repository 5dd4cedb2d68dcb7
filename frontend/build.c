#include "frontend/build.h"

#include <errno.h>
#include <glob.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "codegen/codegen.h"
#include "frontend/command.h"

/* Where everything that a build needs stands. */
typedef struct {
    const char *archive;  /* libmoecrt.a, in the folder of moec's own executable */
    const char *includes; /* runtime/plan.h and what kernels call below it */
    const char *openblas; /* libopenblas.a */
} Installation;

/* $OPENBLAS, what make found when moec was built, or what Debian's package has installed since. */
static bool find_openblas(Arena *arena, const char **out) {
    const char *chosen = getenv("OPENBLAS");
    if (chosen == NULL || chosen[0] == '\0')
        chosen = MOEC_OPENBLAS;
    glob_t found = {0};
    if (chosen[0] == '\0' && glob("/usr/lib/*/openblas-openmp/libopenblas.a", 0, NULL, &found) == 0)
        chosen = arena_strdup(arena, found.gl_pathv[0]);
    globfree(&found);
    *out = chosen;
    if (access(chosen, R_OK) == 0)
        return true;
    fprintf(stderr,
            "moec: OpenBLAS's archive %s is missing: install libopenblas-openmp-dev, or set OPENBLAS to the path of a "
            "libopenblas.a that was built for OpenMP\n",
            chosen[0] != '\0' ? chosen : "/usr/lib/*/openblas-openmp/libopenblas.a");
    return false;
}

static bool find_installation(Arena *arena, Installation *out) {
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0) {
        fprintf(stderr, "moec: cannot find moec's own folder through /proc/self/exe: %s\n", strerror(errno));
        return false;
    }
    self[n] = '\0';
    *strrchr(self, '/') = '\0';
    out->archive = arena_printf(arena, "%s/libmoecrt.a", self);
    out->includes = arena_printf(arena, "%s/include", self);
    if (access(out->archive, R_OK) != 0) {
        fprintf(stderr, "moec: the runtime %s is missing: run `make` in moec's source folder\n", out->archive);
        return false;
    }
    return find_openblas(arena, &out->openblas);
}

static CommandLine compiler_command(Arena *arena, const Installation *installation, const Options *options,
                                    const char *source, const char *result) {
    CommandLine command = {.arena = arena};
    const char *compiler = getenv("CC");
    command_add_words(&command, compiler != NULL && compiler[0] != '\0' ? compiler : "cc");
    command_add_words(&command, CODEGEN_C_FLAGS);
    command_add_words(&command, MOEC_SANITIZE_FLAGS);
    command_add(&command, arena_printf(arena, "-march=%s", options->march != NULL ? options->march : "native"));
    command_add(&command, arena_printf(arena, "-I%s", installation->includes));
    command_add(&command, "-o");
    command_add(&command, result);
    command_add(&command, source);
    command_add(&command, installation->archive);
    command_add(&command, installation->openblas);
    command_add_words(&command, MOEC_RUNTIME_LIBRARIES);
    command_end(&command);
    return command;
}

/* True if the compiler did its work; else a message went to stderr. */
static bool compile(const CommandLine *command) {
    int code = command_run(command);
    if (code == COMMAND_MISSING)
        fprintf(stderr, "moec: cannot run the C compiler '%s': install gcc, or set CC\n", command->words[0]);
    else if (code > 0)
        fprintf(stderr, "moec: the C compiler failed; the generated source can be kept with --keep DIR\n");
    return code == 0;
}

static bool write_source(const char *path, const Module *module, const CodegenOptions *codegen, Reporter *reporter) {
    FILE *file = fopen(path, "w");
    if (file == NULL) {
        fprintf(stderr, "moec: cannot write %s: %s\n", path, strerror(errno));
        return false;
    }
    bool emitted = codegen_emit_c(file, module, codegen, reporter);
    bool written = ferror(file) == 0;
    written = fclose(file) == 0 && written;
    if (emitted && !written)
        fprintf(stderr, "moec: cannot write %s: %s\n", path, strerror(errno));
    return emitted && written;
}

/* The folder for the generated source: --keep's, made if need be, or a temporary one. NULL after a message. */
static const char *source_folder(Arena *arena, const Options *options) {
    if (options->keep != NULL) {
        if (mkdir(options->keep, 0777) != 0 && errno != EEXIST) {
            fprintf(stderr, "moec: cannot make the folder %s: %s\n", options->keep, strerror(errno));
            return NULL;
        }
        return options->keep;
    }
    const char *temporary = getenv("TMPDIR");
    char *folder = arena_printf(arena, "%s/moec-XXXXXX", temporary != NULL ? temporary : "/tmp");
    if (mkdtemp(folder) == NULL) {
        fprintf(stderr, "moec: cannot make a temporary folder %s: %s\n", folder, strerror(errno));
        return NULL;
    }
    return folder;
}

/* Leaves an empty file there, so that a wrong folder is found before the compiler has worked for nothing. */
static bool can_create(const char *partial, const char *output) {
    struct stat status;
    bool is_folder = stat(output, &status) == 0 && S_ISDIR(status.st_mode);
    FILE *file = is_folder ? NULL : fopen(partial, "w");
    if (file == NULL) {
        errno = is_folder ? EISDIR : errno;
        fprintf(stderr, "moec: cannot write %s: %s\n", output, strerror(errno));
        return false;
    }
    fclose(file);
    return true;
}

static int compile_and_publish(Arena *arena, const Options *options, const char *source, const char *output) {
    Installation installation;
    if (!find_installation(arena, &installation))
        return EXIT_BAD_INPUT;
    const char *partial = arena_printf(arena, "%s.tmp-%ld", output, (long)getpid());
    CommandLine command = compiler_command(arena, &installation, options, source, partial);
    if (options->dry_run) {
        command_print(&command);
        return EXIT_OK;
    }
    if (!can_create(partial, output))
        return EXIT_BAD_INPUT;
    if (!compile(&command)) {
        unlink(partial);
        return EXIT_BAD_INPUT;
    }
    if (rename(partial, output) != 0) {
        fprintf(stderr, "moec: cannot write %s: %s\n", output, strerror(errno));
        unlink(partial);
        return EXIT_BAD_INPUT;
    }
    return EXIT_OK;
}

/* Meshes of more than one rank are part of the language, but nothing shards yet. */
static bool is_one_rank(const Module *module, Reporter *reporter) {
    const Directive *mesh = module_find_directive(module, "mesh");
    for (size_t i = 0; mesh != NULL && i < mesh->attrs.n; i++) {
        const Attr *axis = &mesh->attrs.items[i];
        if (axis->kind == ATTR_INT && axis->as.i > 1) {
            report_error(reporter, module, axis->loc.line > 0 ? axis->loc : mesh->loc,
                         "the mesh has %lld ranks along '%s'; `moec build` makes executables of one rank only: set the "
                         "axis to 1, or leave the mesh clause out",
                         (long long)axis->as.i, axis->key);
            return false;
        }
    }
    return true;
}

int build_executable(Arena *arena, const Module *module, const Options *options, const CodegenOptions *codegen,
                     Reporter *reporter) {
    if (!is_one_rank(module, reporter))
        return EXIT_BAD_INPUT;
    const char *output = options->output != NULL ? options->output : module->name;
    const char *folder = source_folder(arena, options);
    if (folder == NULL)
        return EXIT_BAD_INPUT;
    const char *source = arena_printf(arena, "%s/%s.c", folder, module->name);
    int exit_code = write_source(source, module, codegen, reporter)
                        ? compile_and_publish(arena, options, source, output)
                        : EXIT_BAD_INPUT;
    if (options->keep == NULL) {
        unlink(source);
        rmdir(folder);
    }
    return exit_code;
}
