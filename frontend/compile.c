/* From a file to a checked module. */
#include <errno.h>
#include <string.h>

#include "frontend/clauses.h"
#include "frontend/lower.h"

/* Loc.file means the same in the module as in the diagnostics. */
static void add_files(Module *module, const Sources *sources) {
    for (size_t i = 0; i < sources->n; i++)
        module_add_file(module, sources->items[i].path);
}

static Module *compile(Arena *arena, uint32_t file, const LowerOptions *options, Diagnostics *diagnostics) {
    Program program = {.arena = arena, .diagnostics = diagnostics, .options = options};
    if (!program_load(&program, file))
        return NULL;
    Module *module = module_new(arena, program.model);
    add_files(module, diagnostics_sources(diagnostics));
    bool is_good = lower_program(&program, module);
    is_good = clauses_lower(&program, module) && is_good;
    const char *broken = is_good ? module_verify(module) : NULL;
    if (broken != NULL)
        diagnostics_error(diagnostics, (Range){0},
                          "internal error after lowering: %s; please report this with the model", broken);
    return is_good && broken == NULL ? module : NULL;
}

Module *frontend_compile_text(Arena *arena, const char *path, const char *text, size_t n_bytes,
                              const LowerOptions *options, Diagnostics *diagnostics) {
    uint32_t file = sources_add(arena, diagnostics_sources(diagnostics), path, text, n_bytes);
    return compile(arena, file, options, diagnostics);
}

Module *frontend_compile(Arena *arena, const char *path, const LowerOptions *options, Diagnostics *diagnostics) {
    char *text;
    size_t n_bytes;
    if (!sources_read(arena, path, &text, &n_bytes)) {
        diagnostics_error(diagnostics, (Range){0}, "cannot read %s: %s", path, strerror(errno));
        return NULL;
    }
    return frontend_compile_text(arena, path, text, n_bytes, options, diagnostics);
}
