// REQUIRES: fuzz
// RUN: %fuzz
/* Any bytes as a module's text: a module or an error, never a crash, a leak or a hang. What is read prints as text that
   reads back and prints the same; as JSON and dot; and goes through the passes that any graph goes through. */
#include <stdlib.h>
#include <string.h>

#include "passes/passes.h"

static void fail(const char *what, const char *why) {
    fprintf(stderr, "%s: %s\n", what, why);
    abort();
}

typedef void Print(FILE *out, const Module *module);

/* The caller frees it. */
static char *printed(Print *print, const Module *module, size_t *n_bytes) {
    char *text;
    FILE *out = open_memstream(&text, n_bytes);
    if (out == NULL)
        abort();
    print(out, module);
    fclose(out);
    return text;
}

static void check_text(Arena *arena, const Module *module) {
    size_t n_bytes;
    char *text = printed(module_print, module, &n_bytes);
    const char *error;
    const Module *again = module_read(arena, "printed.ir", text, n_bytes, &error);
    if (again == NULL)
        fail("the printed module does not read back", error);
    char *text_again = printed(module_print, again, &n_bytes);
    if (strcmp(text, text_again) != 0)
        fail("what is read back prints differently", text_again);
    free(text);
    free(text_again);
}

static void check_other_forms(const Module *module) {
    size_t n_bytes;
    free(printed(module_print_json, module, &n_bytes));
    free(printed(module_print_dot, module, &n_bytes));
}

static void ignore(Reporter *self, ReportKind kind, const Module *module, Loc loc, const char *message) {
    (void)self, (void)kind, (void)module, (void)loc, (void)message;
}

/* Blocks, which simplify takes away, are scheduled first. Some passes can refuse: bounds of chunks, a precision or
   kinds of fusion that there are not, budgets that can't be kept to, sizes that can't be counted. */
static void check_passes(Module *module) {
    static const struct {
        const char *name;
        bool (*run)(Module *, Reporter *);
        bool can_refuse;
    } steps[] = {
        {"schedule", schedule_run, false}, {"simplify", simplify_run, false},  {"products", products_run, false},
        {"chunk", chunk_run, true},        {"recompute", recompute_run, true}, {"precision", precision_run, true},
        {"layout", layout_run, false},     {"fuse", fuse_run, true},           {"schedule", schedule_run, false},
        {"memory", memory_run, true},
    };
    Reporter reporter = {.emit = ignore};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        bool done = steps[i].run(module, &reporter);
        if (!done && steps[i].can_refuse)
            return;
        const char *broken = done ? module_verify(module) : "it fails";
        if (broken != NULL)
            fail(steps[i].name, broken);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
    Arena *arena = arena_new();
    const char *error;
    Module *module = module_read(arena, "fuzz.ir", (const char *)data, n_bytes, &error);
    if (module != NULL) {
        check_text(arena, module);
        check_other_forms(module);
        check_passes(module);
        check_text(arena, module);
    }
    arena_free(arena);
    return 0;
}
