// RUN: %unit %s
/* The gradient checker itself: that it accepts right gradients, and finds and names wrong ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/gradcheck.h"
#include "tests/support/program.h"

/* loss = sum(w * w * x); the gradient of w, 2 w x, goes to its state as w x * factor, that of x, w * w, to an output.
 */
static Program square_program(void) {
    Program program = program_read("state \"w\" weight : f32[2, 2]\n"
                                   "state \"grad:w\" grad : f32[2, 2]\n"
                                   "graph forward {\n"
                                   "  %0 = state {name = \"w\"} : f32[2, 2]\n"
                                   "  %1 = input {name = \"x\"} : f32[2, 2]\n"
                                   "  %2 = mul %0, %0 : f32[2, 2]\n"
                                   "  %3 = mul %2, %1 : f32[2, 2]\n"
                                   "  %4 = reduce_sum %3 {dims = [0, 1]} : f32[]\n"
                                   "  output \"loss\" = %4\n"
                                   "}\n"
                                   "graph train {\n"
                                   "  %0 = state {name = \"w\"} : f32[2, 2]\n"
                                   "  %1 = input {name = \"x\"} : f32[2, 2]\n"
                                   "  %2 = state {name = \"grad:w\"} : f32[2, 2]\n"
                                   "  %3 = input {name = \"factor\"} : f32[2, 2]\n"
                                   "  %4 = mul %0, %1 : f32[2, 2]\n"
                                   "  %5 = mul %4, %3 : f32[2, 2]\n"
                                   "  %6 = accumulate %2, %5 : f32[2, 2]\n"
                                   "  %7 = mul %0, %0 : f32[2, 2]\n"
                                   "  output \"grad:x\" = %7\n"
                                   "}\n");
    program_set(&program, "w", VALUES(1, 2, -3, 0.5));
    program_set(&program, "x", VALUES(1, -1, 0.5, 2));
    program_set(&program, "factor", VALUES(2, 2, 2, 2));
    return program;
}

static const char *check(Program *program, const Gradcheck *options) {
    return gradcheck(program->arena, program->module, program->interpreter, options);
}

static void right_gradients_pass(void **state) {
    (void)state;
    Program program = square_program();
    assert_null(check(&program, &(Gradcheck){0}));
    program_free(&program);
}

static void a_gradient_left_over_from_before_does_not_count(void **state) {
    (void)state;
    Program program = square_program();
    program_set(&program, "grad:w", VALUES(1, 1, 1, 1));
    assert_null(check(&program, &(Gradcheck){0}));
    program_free(&program);
}

static void states_and_inputs_are_left_as_they_were(void **state) {
    (void)state;
    Program program = square_program();
    assert_null(check(&program, &(Gradcheck){0}));
    expect_near("w", 4, program_tensor(&program, "w")->data, (double[]){1, 2, -3, 0.5}, 0);
    expect_near("x", 4, program_tensor(&program, "x")->data, (double[]){1, -1, 0.5, 2}, 0);
    program_free(&program);
}

/* Both wrong elements differ; the worse one is reported. */
static void the_worst_wrong_element_is_named(void **state) {
    (void)state;
    Program program = square_program();
    program_set(&program, "factor", VALUES(2, 2.0002, 2.02, 2));
    const char *message = check(&program, &(Gradcheck){0});
    assert_non_null(message);
    assert_non_null(strstr(message, "gradient of \"w\" at [1, 0]: graph train gives -3.03, central differences of "
                                    "\"loss\" give -3"));
    program_free(&program);
}

static void the_tolerance_decides(void **state) {
    (void)state;
    Program program = square_program();
    program_set(&program, "factor", VALUES(2, 2.0002, 2, 2));
    assert_null(check(&program, &(Gradcheck){.tolerance = 1e-3}));
    assert_non_null(check(&program, &(Gradcheck){.tolerance = 1e-5}));
    program_free(&program);
}

static void a_weight_without_gradient_is_an_error(void **state) {
    (void)state;
    Program program = program_read("state \"w\" weight : f32[2]\n"
                                   "graph forward {\n"
                                   "  %0 = state {name = \"w\"} : f32[2]\n"
                                   "  %1 = reduce_sum %0 {dims = [0]} : f32[]\n"
                                   "  output \"loss\" = %1\n"
                                   "}\n");
    assert_string_equal(check(&program, &(Gradcheck){.gradient = "forward"}), "weight \"w\" has no gradient");
    program_free(&program);
}

static void nothing_to_compare_is_an_error(void **state) {
    (void)state;
    Program program = program_read("graph forward {\n"
                                   "  %0 = constant {value = 1.0} : f32[]\n"
                                   "  output \"loss\" = %0\n"
                                   "}\n");
    assert_string_equal(check(&program, &(Gradcheck){.gradient = "forward"}), "there is no gradient to compare");
    program_free(&program);
}

static void a_missing_graph_is_an_error(void **state) {
    (void)state;
    Program program = program_read("graph forward {\n"
                                   "  %0 = constant {value = 1.0} : f32[]\n"
                                   "  output \"loss\" = %0\n"
                                   "}\n");
    assert_string_equal(check(&program, &(Gradcheck){0}), "module test has no graph \"train\"");
    program_free(&program);
}

/* The two largest values are closer than the step. */
static void a_step_that_changes_a_choice_is_an_error(void **state) {
    (void)state;
    Program program = program_read("graph forward {\n"
                                   "  %0 = input {name = \"x\"} : f32[2]\n"
                                   "  %1, %2 = top_k %0 {k = 1} : f32[1], i32[1]\n"
                                   "  %3 = reduce_sum %1 {dims = [0]} : f32[]\n"
                                   "  %4 = constant {value = 1.0} : f32[2]\n"
                                   "  output \"loss\" = %3\n"
                                   "  output \"grad:x\" = %4\n"
                                   "}\n");
    program_set(&program, "x", VALUES(1, 1.000001));
    assert_string_equal(check(&program, &(Gradcheck){.gradient = "forward"}),
                        "\"x\" at [0], step 1e-05: the step changes %2, an integer result of top_k");
    program_free(&program);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(right_gradients_pass),
        cmocka_unit_test(a_gradient_left_over_from_before_does_not_count),
        cmocka_unit_test(states_and_inputs_are_left_as_they_were),
        cmocka_unit_test(the_worst_wrong_element_is_named),
        cmocka_unit_test(the_tolerance_decides),
        cmocka_unit_test(a_weight_without_gradient_is_an_error),
        cmocka_unit_test(nothing_to_compare_is_an_error),
        cmocka_unit_test(a_missing_graph_is_an_error),
        cmocka_unit_test(a_step_that_changes_a_choice_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
