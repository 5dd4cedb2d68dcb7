// RUN: %unit %s
/* Reductions on small arrays whose results are worked out by hand. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/support/program.h"

static Program reduce_program(const char *node) {
    Arena *arena = arena_new();
    Program program = program_read(arena_printf(arena,
                                                "graph main {\n"
                                                "  %%0 = input {name = \"x\"} : f32[2, 3, 2]\n"
                                                "  %%1 = %s\n"
                                                "  output \"y\" = %%1\n"
                                                "}\n",
                                                node));
    arena_free(arena);
    program_set(&program, "x", VALUES(1, 2, 3, 4, 5, 6, -1, -2, -3, -4, -5, 7));
    program_run(&program, "main");
    return program;
}

static void reduce_sum_drops_a_middle_dim(void **state) {
    (void)state;
    Program program = reduce_program("reduce_sum %0 {dims = [1]} : f32[2, 2]");
    program_expect(&program, "y", VALUES(9, 12, -9, 1));
    program_free(&program);
}

static void reduce_sum_drops_outer_and_inner_dims(void **state) {
    (void)state;
    Program program = reduce_program("reduce_sum %0 {dims = [0, 2]} : f32[3]");
    program_expect(&program, "y", VALUES(0, 0, 13));
    program_free(&program);
}

static void reduce_sum_of_all_dims_is_a_scalar(void **state) {
    (void)state;
    Program program = reduce_program("reduce_sum %0 {dims = [0, 1, 2]} : f32[]");
    program_expect(&program, "y", VALUES(13));
    program_free(&program);
}

static void sum_squares_adds_every_element_squared(void **state) {
    (void)state;
    Program program = reduce_program("sum_squares %0 : f32[]");
    program_expect(&program, "y", VALUES(1 + 4 + 9 + 16 + 25 + 36 + 1 + 4 + 9 + 16 + 25 + 49));
    program_free(&program);
}

static void sum_squares_adds_up_all_operands(void **state) {
    (void)state;
    Program program = reduce_program("sum_squares %0, %0 : f32[]");
    program_expect(&program, "y", VALUES(2 * (1 + 4 + 9 + 16 + 25 + 36 + 1 + 4 + 9 + 16 + 25 + 49)));
    program_free(&program);
}

/* Two numbers a and b: softmax gives 1 / (1 + exp(b - a)) to a. */
static void softmax_works_along_the_last_dim(void **state) {
    (void)state;
    Program program = reduce_program("softmax %0 : f32[2, 3, 2]");
    double low = 1 / (1 + exp(1)), high = 1 / (1 + exp(-1)), far = exp(-12) / (1 + exp(-12));
    program_expect(&program, "y", VALUES(low, high, low, high, low, high, high, low, high, low, far, 1 - far));
    program_free(&program);
}

static void logsumexp_drops_the_last_dim(void **state) {
    (void)state;
    Program program = reduce_program("logsumexp %0 : f32[2, 3]");
    double more = log1p(exp(-1)); /* log(exp(a) + exp(a - 1)) - a */
    program_expect(&program, "y", VALUES(2 + more, 4 + more, 6 + more, -1 + more, -3 + more, 7 + log1p(exp(-12))));
    program_free(&program);
}

static void large_logits_do_not_overflow(void **state) {
    (void)state;
    Program program = program_read("graph main {\n"
                                   "  %0 = input {name = \"x\"} : f32[2, 2]\n"
                                   "  %1 = softmax %0 : f32[2, 2]\n"
                                   "  %2 = logsumexp %0 : f32[2]\n"
                                   "  output \"softmax\" = %1\n"
                                   "  output \"logsumexp\" = %2\n"
                                   "}\n");
    program_set(&program, "x", VALUES(-1e4, 1e4, -1e4, -1e4));
    program_run(&program, "main");
    program_expect(&program, "softmax", VALUES(0, 1, 0.5, 0.5));
    program_expect(&program, "logsumexp", VALUES(1e4, -1e4 + log(2)));
    program_free(&program);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reduce_sum_drops_a_middle_dim),      cmocka_unit_test(reduce_sum_drops_outer_and_inner_dims),
        cmocka_unit_test(reduce_sum_of_all_dims_is_a_scalar), cmocka_unit_test(sum_squares_adds_every_element_squared),
        cmocka_unit_test(sum_squares_adds_up_all_operands),   cmocka_unit_test(softmax_works_along_the_last_dim),
        cmocka_unit_test(logsumexp_drops_the_last_dim),       cmocka_unit_test(large_logits_do_not_overflow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
