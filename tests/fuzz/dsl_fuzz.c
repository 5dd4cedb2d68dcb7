// REQUIRES: fuzz
// RUN: %fuzz
/* Any bytes as a model: a module or diagnostics, never a crash, a leak or a hang. What compiles prints as text that
   reads back. */
#include <stdlib.h>
#include <string.h>

#include "frontend/frontend.h"

/* The module's text, read again: gives the same text. */
static void check_text(Arena *arena, const Module *module) {
    char *texts[2] = {0};
    for (int i = 0; i < 2; i++) {
        size_t n_bytes;
        FILE *out = open_memstream(&texts[i], &n_bytes);
        module_print(out, module);
        fclose(out);
        const char *error;
        if (i == 0 && (module = module_read(arena, "printed.ir", texts[0], n_bytes, &error)) == NULL) {
            fprintf(stderr, "the printed module does not read back: %s\n", error);
            abort();
        }
    }
    if (strcmp(texts[0], texts[1]) != 0)
        abort();
    free(texts[0]);
    free(texts[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
    Arena *arena = arena_new();
    FILE *out = fopen("/dev/null", "w");
    if (out == NULL)
        abort();
    Diagnostics *diagnostics = diagnostics_new(arena, out, DIAGNOSTICS_COLOR_NEVER);
    const LowerOptions options = {.generate_window = n_bytes % 2 == 0 ? 3 : 0};
    const Module *module =
        frontend_compile_text(arena, "/nowhere/model.moe", (const char *)data, n_bytes, &options, diagnostics);
    if ((module == NULL) != (diagnostics_errors(diagnostics) > 0))
        abort();
    diagnostics_flush(diagnostics);
    if (module != NULL)
        check_text(arena, module);
    fclose(out);
    arena_free(arena);
    return 0;
}
