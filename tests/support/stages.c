#include "tests/support/stages.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "passes/passes.h"
#include "tests/support/program.h"
#include "tests/support/random_program.h"

void run_pass(Module *module, const char *name) {
    PlainReporter reporter;
    plain_reporter_init(&reporter, stderr);
    if (!pass_find(name)->run(module, &reporter.base))
        fail_msg("pass %s fails on %s", name, module->name);
    const char *broken = module_verify(module);
    if (broken)
        fail_msg("%s after pass %s: %s", module->name, name, broken);
}

/* Random programs route tokens themselves: there is nothing to upcycle. */
Module *random_stage(Arena *arena, uint64_t seed, int n_steps, const char *last, uint64_t *data_seed) {
    RandomProgram program = random_program(arena, seed, n_steps);
    *data_seed = program.data_seed;
    bool is_reached = strcmp(last, "lower") == 0;
    for (const Pass *pass = pass_find("autodiff"); pass->name && !is_reached; pass++) {
        run_pass(program.module, pass->name);
        is_reached = strcmp(pass->name, last) == 0;
    }
    return program.module;
}

static void run_graph(Interpreter *interpreter, const Module *module, const char *name) {
    const char *error = interpreter_run(interpreter, module_find_graph(module, name));
    if (error)
        fail_msg("%s: %s", module->name, error);
}

static void expect_same_outputs(const Graph *graph, Interpreter *expected, Interpreter *actual, double tolerance) {
    for (size_t i = 0; i < graph->n_outputs; i++) {
        const char *name = graph->outputs[i].name;
        const Tensor *a = interpreter_output(expected, name), *b = interpreter_output(actual, name);
        if (!b || !type_equal(&a->type, &b->type))
            fail_msg("graph %s has lost output \"%s\", or its type", graph->name, name);
        expect_near(name, type_n_elements(&a->type), b->data, a->data, tolerance);
    }
}

void expect_same_values(const Module *expected, const Module *actual, uint64_t data_seed, double tolerance) {
    Arena *arena = arena_new();
    Interpreter *a = interpreter_new(arena, expected), *b = interpreter_new(arena, actual);
    random_program_bind(a, expected, data_seed);
    random_program_bind(b, actual, data_seed);
    for (size_t i = 0; i < expected->n_graphs; i++) {
        const Graph *graph = expected->graphs[i];
        run_graph(a, expected, graph->name);
        run_graph(b, actual, graph->name);
        expect_same_outputs(graph, a, b, tolerance);
    }
    for (size_t i = 0; i < expected->n_states; i++) {
        const State *state = expected->states[i];
        expect_near(state->name, type_n_elements(&state->type), interpreter_state(b, state->name)->data,
                    interpreter_state(a, state->name)->data, tolerance);
    }
    arena_free(arena);
}

char *module_text(Arena *arena, const Module *module, size_t *n_bytes) {
    char *text;
    FILE *out = open_memstream(&text, n_bytes);
    module_print(out, module);
    fclose(out);
    char *kept = arena_strndup(arena, text, *n_bytes);
    free(text);
    return kept;
}

void expect_same_text(const char *what, const char *expected, const char *actual) {
    if (strcmp(expected, actual) == 0)
        return;
    size_t at = 0, line = 0;
    for (; expected[at] == actual[at]; at++)
        line = expected[at] == '\n' ? at + 1 : line;
    fail_msg("%s: expected the line\n  %.*s\nand found\n  %.*s", what, (int)strcspn(expected + line, "\n"),
             expected + line, (int)strcspn(actual + line, "\n"), actual + line);
}
