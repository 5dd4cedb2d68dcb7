// RUN: %unit %s
/* Gradients of random programs against central differences, what autodiff keeps of the forward graph, and what it
   refuses. Each op's own derivative is derive_test.c's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "passes/passes.h"
#include "tests/support/gradcheck.h"
#include "tests/support/program.h"
#include "tests/support/random_program.h"
#include "tests/support/stages.h"

enum { N_PROGRAMS = 60, N_STEPS = 12 };

/* A random program with a copy of its forward graph under the name "kept", after the passes up to `last`. */
static Module *compile(Arena *arena, uint64_t seed, const char *const *passes_to_run, uint64_t *data_seed) {
    RandomProgram program = random_program(arena, seed, N_STEPS);
    *data_seed = program.data_seed;
    graph_clone(module_find_graph(program.module, "forward"), "kept");
    for (; *passes_to_run; passes_to_run++)
        run_pass(program.module, *passes_to_run);
    return program.module;
}

static void check_gradients(const char *const *passes_to_run) {
    for (uint64_t seed = 0; seed < N_PROGRAMS; seed++) {
        Arena *arena = arena_new();
        uint64_t data_seed;
        Module *module = compile(arena, seed, passes_to_run, &data_seed);
        Interpreter *interpreter = interpreter_new(arena, module);
        random_program_bind(interpreter, module, data_seed);
        const char *error = gradcheck(arena, module, interpreter,
                                      &(Gradcheck){.forward = "kept", .tolerance = 1e-5, .max_elements = 4});
        if (error)
            fail_msg("%s: %s", module->name, error);
        arena_free(arena);
    }
}

static void gradients_agree_with_differences(void **state) {
    (void)state;
    check_gradients((const char *[]){"autodiff", NULL});
}

static void simplified_gradients_agree_with_differences(void **state) {
    (void)state;
    check_gradients((const char *[]){"autodiff", "optimizer", "simplify", NULL});
}

/* ---- Outputs --------------------------------------------------------------------------------------------------- */

static void run(Interpreter *interpreter, const Module *module, const char *graph) {
    const char *error = interpreter_run(interpreter, module_find_graph(module, graph));
    if (error)
        fail_msg("%s: %s", module->name, error);
}

/* What `graph` puts out is what the forward graph did, bit for bit. */
static void expect_outputs_of_forward(Arena *arena, const Module *module, const char *graph, uint64_t data_seed) {
    Interpreter *expected = interpreter_new(arena, module), *actual = interpreter_new(arena, module);
    random_program_bind(expected, module, data_seed);
    random_program_bind(actual, module, data_seed);
    run(expected, module, "kept");
    run(actual, module, graph);
    const Graph *outputs_of = module_find_graph(module, graph);
    for (size_t i = 0; i < outputs_of->n_outputs; i++) {
        const char *name = outputs_of->outputs[i].name;
        const Tensor *a = interpreter_output(expected, name), *b = interpreter_output(actual, name);
        expect_near(name, type_n_elements(&a->type), b->data, a->data, 0);
    }
}

static void outputs_are_those_of_the_forward_graph(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < N_PROGRAMS; seed++) {
        Arena *arena = arena_new();
        uint64_t data_seed;
        Module *module = compile(arena, seed, (const char *[]){"autodiff", NULL}, &data_seed);
        const Graph *kept = module_find_graph(module, "kept"), *train = module_find_graph(module, "train");
        assert_null(module_find_graph(module, "forward"));
        assert_int_equal(train->n_outputs, kept->n_outputs - 1); /* all but logits */
        assert_int_equal(module_find_graph(module, "eval")->n_outputs, 1);
        expect_outputs_of_forward(arena, module, "train", data_seed);
        expect_outputs_of_forward(arena, module, "eval", data_seed);
        arena_free(arena);
    }
}

/* Gradients add to what is there, times the input. */
static void gradients_accumulate_times_the_scale(void **state) {
    (void)state;
    Program program = program_read("state \"w\" weight : f32[2]\n"
                                   "graph forward {\n"
                                   "  %w = state {name = \"w\"} : f32[2]\n"
                                   "  %s = mul %w, %w : f32[2]\n"
                                   "  %l = reduce_sum %s {dims = [0]} : f32[]\n"
                                   "  output \"loss\" = %l\n"
                                   "  output \"nll\" = %l\n"
                                   "}\n");
    run_pass(program.module, "autodiff");
    program.interpreter = interpreter_new(program.arena, program.module);
    program_set(&program, "w", VALUES(3, -1));
    program_set(&program, "grad:w", VALUES(10, 20));
    program_set(&program, "loss_scale", VALUES(0.5));
    program_run(&program, "train");
    expect_near("grad:w", 2, program_tensor(&program, "grad:w")->data, (double[]){13, 19}, 0);
    program_run(&program, "train");
    expect_near("grad:w", 2, program_tensor(&program, "grad:w")->data, (double[]){16, 18}, 0);
    program_free(&program);
}

/* ---- Messages -------------------------------------------------------------------------------------------------- */

typedef struct {
    const char *name, *text;
    bool is_accepted;
    const char *expected;
} Message;

#define NLL "  output \"nll\" = %l\n"
#define LOSS "  output \"loss\" = %l\n" NLL

static const Message messages[] = {
    {"no forward graph", "graph main {\n}\n", false, "there is no graph \"forward\" to differentiate"},
    {"no loss", "graph forward {\n  %l = constant {value = 1.0} : f32[]\n" NLL "}\n", false,
     "an output \"loss\" of type f32[]; found none"},
    {"a loss that is no number",
     "file 0 \"m.moe\"\ngraph forward {\n  %l = constant {value = 1.0} : f32[2] @0:7:3\n" LOSS "}\n", false,
     "m.moe:7:3: error: training needs a graph \"forward\" with an output \"loss\" of type f32[]; found f32[2]"},
    {"a derivative that there is not",
     "file 0 \"m.moe\"\nstate \"w\" weight : f32[]\ngraph forward {\n  %w = state {name = \"w\"} : f32[]\n"
     "  %l = silu_grad %w, %w : f32[] @0:8:3\n" LOSS "}\n",
     false, "m.moe:8:3: error: can't differentiate silu_grad: it has no derivative"},
    {"a graph that is to be added",
     "state \"w\" weight : f32[]\ngraph eval {}\ngraph forward {\n  %l = state {name = \"w\"} : f32[]\n" LOSS "}\n",
     false, "error: there is a graph \"eval\" already, which autodiff is to add"},
    {"a gradient that is to be added",
     "state \"w\" weight : f32[]\nstate \"grad:w\" grad : f32[]\ngraph forward {\n"
     "  %l = state {name = \"w\"} : f32[]\n" LOSS "}\n",
     false, "error: there is a state \"grad:w\" already; autodiff is to add what starts so"},
    {"a weight that the loss does not depend on",
     "file 0 \"m.moe\"\nstate \"v\" weight : f32[] @0:2:3\nstate \"w\" weight : f32[]\ngraph forward {\n"
     "  %l = state {name = \"w\"} : f32[]\n" LOSS "}\n",
     true, "m.moe:2:3: warning: the loss does not depend on weight \"v\""},
};

static void check_message(void **state) {
    const Message *message = *state;
    char *text;
    size_t n_bytes;
    FILE *out = open_memstream(&text, &n_bytes);
    PlainReporter reporter;
    plain_reporter_init(&reporter, out);
    Program program = program_read(message->text);
    bool is_accepted = autodiff_run(program.module, &reporter.base);
    fclose(out);
    if (is_accepted != message->is_accepted || !strstr(text, message->expected))
        fail_msg("%s, expected \"%s\", found: %s", is_accepted ? "accepted" : "refused", message->expected, text);
    free(text);
    program_free(&program);
}

int main(void) {
    enum { N_FIXED = 4, N_MESSAGES = sizeof messages / sizeof *messages };
    struct CMUnitTest tests[N_FIXED + N_MESSAGES] = {
        cmocka_unit_test(gradients_agree_with_differences),
        cmocka_unit_test(simplified_gradients_agree_with_differences),
        cmocka_unit_test(outputs_are_those_of_the_forward_graph),
        cmocka_unit_test(gradients_accumulate_times_the_scale),
    };
    for (size_t i = 0; i < N_MESSAGES; i++)
        tests[N_FIXED + i] =
            (struct CMUnitTest){messages[i].name, check_message, NULL, NULL, (void *)(uintptr_t)&messages[i]};
    return _cmocka_run_group_tests("autodiff", tests, N_FIXED + N_MESSAGES, NULL, NULL);
}
