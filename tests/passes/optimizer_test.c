// RUN: %unit %s
/* The update graph against AdamW written out by hand (spec/numerics.md, "Optimizer"), over some steps, with the norm
   within its bound and beyond it. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "passes/passes.h"
#include "tests/support/program.h"
#include "tests/support/random.h"
#include "tests/support/stages.h"

static const char weights_text[] = "state \"w\" weight : f32[3] {decay = true}\n"
                                   "state \"grad:w\" grad : f32[3]\n"
                                   "state \"b\" weight : f32[2]\n" /* an absent decay is none */
                                   "state \"grad:b\" grad : f32[2]\n";

enum { N_W = 3, N_B = 2, N = N_W + N_B, N_STEPS = 4 };

/* lr, beta1, beta2, epsilon, weight decay */
static const double lr = 0.1, beta1 = 0.9, beta2 = 0.99, epsilon = 1e-3, decay = 0.2;

typedef struct {
    double w[N], m[N], v[N]; /* of w, then of b */
} Adam;

static double norm_of(const double *gradient) {
    double squares = 0;
    for (int i = 0; i < N; i++)
        squares += gradient[i] * gradient[i];
    return sqrt(squares);
}

static void step_by_hand(Adam *adam, const double *gradient, double max_norm, int t) {
    double scale = fmin(1, max_norm / (norm_of(gradient) + 1e-6));
    for (int i = 0; i < N; i++) {
        double g = gradient[i] * scale;
        adam->m[i] = beta1 * adam->m[i] + (1 - beta1) * g;
        adam->v[i] = beta2 * adam->v[i] + (1 - beta2) * g * g;
        double m = adam->m[i] / (1 - pow(beta1, t)), v = adam->v[i] / (1 - pow(beta2, t));
        adam->w[i] -= lr * (m / (sqrt(v) + epsilon) + (i < N_W ? decay : 0) * adam->w[i]);
    }
}

static void set_both(Program *program, const char *kind, const double *values) {
    program_set(program, arena_printf(program->arena, "%sw", kind), N_W, values);
    program_set(program, arena_printf(program->arena, "%sb", kind), N_B, values + N_W);
}

static void expect_both(Program *program, const char *kind, const double *values) {
    const char *w = arena_printf(program->arena, "%sw", kind), *b = arena_printf(program->arena, "%sb", kind);
    expect_near(w, N_W, program_tensor(program, w)->data, values, 1e-12);
    expect_near(b, N_B, program_tensor(program, b)->data, values + N_W, 1e-12);
}

static void check_steps(double max_norm, bool is_simplified) {
    Program program = program_read(weights_text);
    run_pass(program.module, "optimizer");
    if (is_simplified)
        run_pass(program.module, "simplify");
    program.interpreter = interpreter_new(program.arena, program.module);
    uint64_t random = 11;
    Adam adam = {0};
    for (int i = 0; i < N; i++)
        adam.w[i] = random_uniform(&random) - 0.5;
    set_both(&program, "", adam.w);
    program_set(&program, "max_norm", 1, &max_norm);
    for (int t = 1; t <= N_STEPS; t++) {
        double gradient[N];
        for (int i = 0; i < N; i++)
            gradient[i] = random_uniform(&random) - 0.5;
        set_both(&program, "grad:", gradient);
        program_set(&program, "hyper", VALUES(lr, beta1, beta2, epsilon, decay, 1 - pow(beta1, t), 1 - pow(beta2, t)));
        program_run(&program, "update");
        step_by_hand(&adam, gradient, max_norm, t);
        double norm = norm_of(gradient);
        program_expect(&program, "grad_norm", 1, &norm);
        expect_both(&program, "", adam.w);
        expect_both(&program, "moment1:", adam.m);
        expect_both(&program, "moment2:", adam.v);
        expect_both(&program, "grad:", (double[N]){0});
    }
    program_free(&program);
}

static void steps_beyond_the_bound(void **state) {
    (void)state;
    check_steps(0.25, false);
    check_steps(0.25, true);
}

/* As the runtime says that there is none: the largest f32. */
static void steps_without_a_bound(void **state) {
    (void)state;
    check_steps(3.4028234663852886e38, false);
    check_steps(3.4028234663852886e38, true);
}

/* No gradient, no step but decay, and no division of 0 by 0. */
static void zero_gradients_have_a_scale(void **state) {
    (void)state;
    Program program = program_read(weights_text);
    run_pass(program.module, "optimizer");
    program.interpreter = interpreter_new(program.arena, program.module);
    set_both(&program, "", (double[]){1, 1, 1, 1, 1});
    program_set(&program, "max_norm", VALUES(0.5));
    program_set(&program, "hyper", VALUES(lr, beta1, beta2, epsilon, decay, 1 - beta1, 1 - beta2));
    program_run(&program, "update");
    expect_both(&program, "", (double[]){0.98, 0.98, 0.98, 1, 1});
    program_free(&program);
}

/* ---- Refusals --------------------------------------------------------------------------------------------------- */

static void expect_refusal(const char *text, const char *expected) {
    char *found;
    size_t n_bytes;
    FILE *out = open_memstream(&found, &n_bytes);
    PlainReporter reporter;
    plain_reporter_init(&reporter, out);
    Program program = program_read(text);
    assert_false(optimizer_run(program.module, &reporter.base));
    fclose(out);
    if (!strstr(found, expected))
        fail_msg("no \"%s\" in: %s", expected, found);
    free(found);
    program_free(&program);
}

static void a_weight_needs_a_gradient(void **state) {
    (void)state;
    expect_refusal("file 0 \"m.moe\"\nstate \"w\" weight : f32[3] @0:4:3\n",
                   "m.moe:4:3: error: weight \"w\" has no gradient: autodiff must run before optimizer");
    expect_refusal("", "error: there is nothing to train: the model has no weight");
}

static void what_optimizer_adds_is_not_there_yet(void **state) {
    (void)state;
    expect_refusal("graph update {}\n", "error: there is a graph \"update\" already, which optimizer is to add");
    expect_refusal("state \"w\" weight : f32[3]\nstate \"moment2:w\" moment2 : f32[3]\n",
                   "error: there is a state \"moment2:w\" already; optimizer is to add what starts so");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_beyond_the_bound),
        cmocka_unit_test(steps_without_a_bound),
        cmocka_unit_test(zero_gradients_have_a_scale),
        cmocka_unit_test(a_weight_needs_a_gradient),
        cmocka_unit_test(what_optimizer_adds_is_not_there_yet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
