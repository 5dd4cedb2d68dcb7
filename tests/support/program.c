#include "tests/support/program.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/gradcheck.h"
#include "tests/support/random.h"

Program program_read(const char *text) {
    Arena *arena = arena_new();
    const char *whole = arena_printf(arena, "module test\n%s", text);
    const char *error = NULL;
    Module *module = module_read(arena, "test.ir", whole, strlen(whole), &error);
    if (!module)
        fail_msg("test.ir:%s\n%s", error, whole);
    return (Program){.arena = arena, .module = module, .interpreter = interpreter_new(arena, module)};
}

void program_free(Program *program) {
    arena_free(program->arena);
}

static const Graph *find_graph(const Program *program, const char *name) {
    const Graph *graph = module_find_graph(program->module, name);
    if (!graph)
        fail_msg("no graph \"%s\"", name);
    return graph;
}

static const Type *find_input_type(const Program *program, const char *name) {
    for (size_t i = 0; i < program->module->n_graphs; i++) {
        const Value *input = graph_find_input(program->module->graphs[i], name);
        if (input)
            return &input->type;
    }
    return NULL;
}

Tensor *program_tensor(Program *program, const char *name) {
    Tensor *tensor = interpreter_state(program->interpreter, name);
    if (!tensor)
        tensor = interpreter_input(program->interpreter, name);
    if (tensor)
        return tensor;
    const Type *type = find_input_type(program, name);
    if (!type)
        fail_msg("no input or state \"%s\"", name);
    interpreter_set_input(program->interpreter, name, tensor_new(program->arena, type));
    return interpreter_input(program->interpreter, name);
}

void program_set(Program *program, const char *name, int64_t n, const double *values) {
    Tensor *tensor = program_tensor(program, name);
    if (n != type_n_elements(&tensor->type))
        fail_msg("\"%s\" has %lld elements, %lld are given", name, (long long)type_n_elements(&tensor->type),
                 (long long)n);
    memcpy(tensor->data, values, sizeof *values * (size_t)n);
}

void program_set_random(Program *program, const char *name, uint64_t seed, double low, double high) {
    Tensor *tensor = program_tensor(program, name);
    if (tensor->type.dtype == DTYPE_I32)
        random_fill(tensor, seed, low, high);
    else
        random_fill_separated(tensor, seed, low, high);
}

void program_run(Program *program, const char *graph) {
    const char *error = interpreter_run(program->interpreter, find_graph(program, graph));
    if (error)
        fail_msg("%s", error);
}

const char *program_run_failing(Program *program, const char *graph) {
    const char *error = interpreter_run(program->interpreter, find_graph(program, graph));
    if (!error)
        fail_msg("graph %s should fail", graph);
    return error;
}

static const Tensor *find_output(Program *program, const char *name) {
    const Tensor *output = interpreter_output(program->interpreter, name);
    if (!output)
        fail_msg("no output \"%s\"", name);
    return output;
}

const double *program_output(Program *program, const char *name) {
    return find_output(program, name)->data;
}

void expect_near(const char *what, int64_t n, const double *actual, const double *expected, double tolerance) {
    for (int64_t i = 0; i < n; i++) {
        bool is_near = fabs(actual[i] - expected[i]) <= tolerance * fmax(1, fabs(expected[i]));
        if (!is_near && actual[i] != expected[i] && !(isnan(actual[i]) && isnan(expected[i])))
            fail_msg("%s: element %lld is %.17g, expected %.17g", what, (long long)i, actual[i], expected[i]);
    }
}

void program_expect(Program *program, const char *name, int64_t n, const double *expected) {
    const Tensor *output = find_output(program, name);
    if (n != type_n_elements(&output->type))
        fail_msg("output \"%s\" has %lld elements, expected %lld", name, (long long)type_n_elements(&output->type),
                 (long long)n);
    expect_near(name, n, output->data, expected, 1e-12);
}

void program_expect_gradients(Program *program) {
    const char *error = gradcheck(program->arena, program->module, program->interpreter, &(Gradcheck){0});
    if (error)
        fail_msg("%s", error);
}
