// RUN: %unit %s
/* The loss and the updates of training state; reference values are PyTorch's in double precision. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/support/program.h"

/* ---- Cross-entropy ------------------------------------------------------------------------------------------- */

static const char cross_entropy_text[] = "graph forward {\n"
                                         "  %0 = input {name = \"logits\"} : f32[3, 3]\n"
                                         "  %1 = input {name = \"targets\"} : i32[3]\n"
                                         "  %2 = input {name = \"w\"} : f32[3]\n"
                                         "  %3, %4 = cross_entropy %0, %1 : f32[3], f32[3]\n"
                                         "  %5 = mul %3, %2 : f32[3]\n"
                                         "  %6 = reduce_sum %5 {dims = [0]} : f32[]\n"
                                         "  output \"nll\" = %3\n"
                                         "  output \"logsumexp\" = %4\n"
                                         "  output \"loss\" = %6\n"
                                         "}\n"
                                         "graph train {\n"
                                         "  %0 = input {name = \"logits\"} : f32[3, 3]\n"
                                         "  %1 = input {name = \"targets\"} : i32[3]\n"
                                         "  %2 = input {name = \"w\"} : f32[3]\n"
                                         "  %3, %4 = cross_entropy %0, %1 : f32[3], f32[3]\n"
                                         "  %5 = cross_entropy_grad %0, %1, %4, %2 : f32[3, 3]\n"
                                         "  output \"grad:logits\" = %5\n"
                                         "}\n";

/* The second row has no target. */
static Program cross_entropy_program(void) {
    Program program = program_read(cross_entropy_text);
    program_set(&program, "logits", VALUES(1, 2, 3, 0, -1, 0.5, 2, 2, 2));
    program_set(&program, "targets", VALUES(2, -1, 0));
    program_set(&program, "w", VALUES(1, 2, -3));
    return program;
}

static void cross_entropy_matches_reference(void **state) {
    (void)state;
    Program program = cross_entropy_program();
    program_run(&program, "forward");
    program_expect(&program, "nll", VALUES(0.4076059644443804, 0, 1.0986122886681098));
    program_expect(&program, "logsumexp", VALUES(3.4076059644443806, 1.1041306053367284, 3.09861228866811));
    program_free(&program);
}

static void a_position_without_target_has_no_gradient(void **state) {
    (void)state;
    Program program = cross_entropy_program();
    program_run(&program, "train");
    expect_near("row 1", 3, program_output(&program, "grad:logits") + 3, (double[]){0, 0, 0}, 0);
    program_free(&program);
}

static void cross_entropy_grad_matches_central_differences(void **state) {
    (void)state;
    Program program = cross_entropy_program();
    program_expect_gradients(&program);
    program_free(&program);
}

static void cross_entropy_refuses_a_target_past_the_vocabulary(void **state) {
    (void)state;
    Program program = cross_entropy_program();
    program_set(&program, "targets", VALUES(2, -1, 3));
    assert_string_equal(program_run_failing(&program, "forward"),
                        "graph forward: %3 = cross_entropy: target 3 is out of range: expected 0 to 2");
    program_free(&program);
}

/* ---- Updates ------------------------------------------------------------------------------------------------- */

static void accumulate_adds_in_place_over_runs(void **state) {
    (void)state;
    Program program = program_read("state \"grad:w\" grad : f32[2]\n"
                                   "graph main {\n"
                                   "  %0 = state {name = \"grad:w\"} : f32[2]\n"
                                   "  %1 = input {name = \"x\"} : f32[2]\n"
                                   "  %2 = accumulate %0, %1 : f32[2]\n"
                                   "  output \"sum\" = %2\n"
                                   "}\n");
    program_set(&program, "x", VALUES(1, -2));
    program_run(&program, "main");
    program_set(&program, "x", VALUES(10, 20));
    program_run(&program, "main");
    program_expect(&program, "sum", VALUES(11, 18));
    expect_near("state", 2, program_tensor(&program, "grad:w")->data, (double[]){11, 18}, 0);
    program_free(&program);
}

/* Two steps; scale 0.5 halves the gradients that torch.optim.AdamW was given halved. */
static void expect_adamw(bool decays, const double *weights) {
    Arena *arena = arena_new();
    Program program = program_read(arena_printf(
        arena,
        "state \"w\" weight : f32[3] {decay = %s}\n"
        "state \"grad:w\" grad : f32[3]\n"
        "state \"moment1:w\" moment1 : f32[3]\n"
        "state \"moment2:w\" moment2 : f32[3]\n"
        "graph update {\n"
        "  %%0 = state {name = \"w\"} : f32[3]\n"
        "  %%1 = state {name = \"grad:w\"} : f32[3]\n"
        "  %%2 = state {name = \"moment1:w\"} : f32[3]\n"
        "  %%3 = state {name = \"moment2:w\"} : f32[3]\n"
        "  %%4 = input {name = \"hyper\"} : f32[7]\n"
        "  %%5 = input {name = \"scale\"} : f32[]\n"
        "  %%6, %%7, %%8, %%9 = adamw %%0, %%1, %%2, %%3, %%4, %%5 {decay = %s} : f32[3], f32[3], f32[3], f32[3]\n"
        "}\n",
        decays ? "true" : "false", decays ? "true" : "false"));
    arena_free(arena);
    program_set(&program, "w", VALUES(1, -2, 0.5));
    program_set(&program, "scale", VALUES(0.5));
    const double gradients[2][3] = {{1, -0.5, 0}, {0.25, 3, -1}};
    for (int step = 0; step < 2; step++) {
        program_set(&program, "hyper",
                    VALUES(0.01, 0.9, 0.95, 1e-8, 0.1, 1 - pow(0.9, step + 1), 1 - pow(0.95, step + 1)));
        program_set(&program, "grad:w", 3, gradients[step]);
        program_run(&program, "update");
        expect_near("w", 3, program_tensor(&program, "w")->data, weights + step * 3, 1e-13);
        expect_near("gradient", 3, program_tensor(&program, "grad:w")->data, (double[]){0, 0, 0}, 0);
    }
    expect_near("moment1", 3, program_tensor(&program, "moment1:w")->data, (double[]){0.0575, 0.1275, -0.05}, 1e-15);
    expect_near("moment2", 3, program_tensor(&program, "moment2:w")->data, (double[]){0.01265625, 0.11546875, 0.0125},
                1e-15);
    program_free(&program);
}

static void adamw_with_decay_matches_reference(void **state) {
    (void)state;
    expect_adamw(true, (double[]){0.9890000002, -1.9880000004, 0.4995, //
                                  0.9796112955228119, -1.992178328874188, 0.5063500998177731});
}

static void adamw_without_decay_matches_reference(void **state) {
    (void)state;
    expect_adamw(false, (double[]){0.9900000002, -1.9900000004, 0.5, //
                                   0.9816002955230119, -1.9961663288745881, 0.5073495998177732});
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cross_entropy_matches_reference),
        cmocka_unit_test(a_position_without_target_has_no_gradient),
        cmocka_unit_test(cross_entropy_grad_matches_central_differences),
        cmocka_unit_test(cross_entropy_refuses_a_target_past_the_vocabulary),
        cmocka_unit_test(accumulate_adds_in_place_over_runs),
        cmocka_unit_test(adamw_with_decay_matches_reference),
        cmocka_unit_test(adamw_without_decay_matches_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
