// RUN: %unit %s
/* Parameters and FLOPs per token, counted by hand for small graphs: spec/numerics.md, "FLOPs". */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "codegen/plan.h"
#include "tests/support/program.h"

static void check_number(const char *what, double actual, double expected) {
    expect_near(what, 1, &actual, &expected, 1e-12);
}

static void check_flops(const char *text, double per_token) {
    Program program = program_read(text);
    check_number("FLOPs", plan_figures(program.module).flops_per_token, 3 * per_token);
    program_free(&program);
}

#define EMBEDDED                                                                                                       \
    "state \"embed\" weight : f32[11, 8]\n"                                                                            \
    "graph eval {\n"                                                                                                   \
    "  %0 = input {name = \"tokens\"} : i32[2, 6]\n"                                                                   \
    "  %1 = state {name = \"embed\"} : f32[11, 8]\n"                                                                   \
    "  %2 = gather %1, %0 : f32[2, 6, 8]\n"

static void a_look_up_costs_nothing_and_a_product_two_for_each_parameter(void **state) {
    (void)state;
    check_flops(EMBEDDED "}\n", 0);
    check_flops(EMBEDDED "  %3 = matmul %2, %1 {mode = \"nt\"} : f32[2, 6, 11]\n}\n", 2 * 11 * 8);
}

static void a_product_with_a_view_of_a_weight_counts(void **state) {
    (void)state;
    check_flops(EMBEDDED "  %3 = transpose %1 {perm = [1, 0]} : f32[8, 11]\n"
                         "  %4 = matmul %2, %3 {mode = \"nn\"} : f32[2, 6, 11]\n}\n",
                2 * 11 * 8);
}

static void a_product_without_parameters_does_not_count(void **state) {
    (void)state;
    check_flops(EMBEDDED "  %3 = reshape %2 : f32[12, 8]\n"
                         "  %4 = matmul %3, %3 {mode = \"nt\"} : f32[12, 12]\n}\n",
                0);
}

#define ATTENTION(attributes)                                                                                          \
    EMBEDDED "  %3 = reshape %2 : f32[2, 6, 2, 4]\n"                                                                   \
             "  %4, %5 = attention %3, %3, %3 {" attributes "} : f32[2, 6, 2, 4], f32[2, 2, 6]\n}\n"

static void attention_counts_the_causal_half_of_the_square(void **state) {
    (void)state;
    check_flops(ATTENTION("scale = 1.0"), 2 * 6 * 2 * 4);
    check_flops(ATTENTION("scale = 1.0, window = 9"), 2 * 6 * 2 * 4);
}

static void others_count_the_whole_square(void **state) {
    (void)state;
    static const char *const texts[] = {ATTENTION("scale = 1.0"), ATTENTION("scale = 1.0, window = 3")};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        Program program = program_read(texts[i]);
        check_number("FLOPs", plan_figures(program.module).full_flops_per_token, 3.0 * 4 * 6 * 2 * 4);
        program_free(&program);
    }
}

static void a_window_leaves_its_band_of_the_causal_half(void **state) {
    (void)state;
    check_flops(ATTENTION("scale = 1.0, window = 3"), 4 * 2 * 4 * (3 - 3 * 3 / 12.0));
}

/* 12 tokens of 2 choices among 3 experts. */
#define ROUTED(capacity, rows)                                                                                         \
    "state \"experts\" weight : f32[3, 5, 8] {experts = 3}\n" EMBEDDED                                                 \
    "  %3 = input {name = \"indices\"} : i32[12, 2]\n"                                                                 \
    "  %4, %5, %6 = route %3 {experts = 3, capacity = " capacity "} : i32[4], i32[~" rows "], i32[12, 2]\n"            \
    "  %7 = reshape %2 : f32[12, 8]\n"                                                                                 \
    "  %8 = dispatch %7, %5, %6 : f32[~" rows ", 8]\n"                                                                 \
    "  %9 = state {name = \"experts\"} : f32[3, 5, 8]\n"                                                               \
    "  %10 = grouped_matmul %8, %9, %4 {mode = \"nt\"} : f32[~" rows ", 5]\n}\n"

static void experts_cost_the_slots_of_a_token_whatever_their_capacity(void **state) {
    (void)state;
    check_flops(ROUTED("0", "24"), 2 * 2 * 5 * 8);
    check_flops(ROUTED("3", "9"), 2 * 2 * 5 * 8);
}

static void active_parameters_are_those_of_the_chosen_experts(void **state) {
    (void)state;
    Program program = program_read(ROUTED("0", "24"));
    PlanFigures figures = plan_figures(program.module);
    assert_int_equal(figures.n_experts, 3);
    assert_int_equal(figures.top_k, 2);
    assert_int_equal(figures.n_moe_layers, 1);
    check_number("total parameters", figures.total_parameters, 11 * 8 + 3 * 5 * 8);
    check_number("active parameters", figures.active_parameters, 11 * 8 + 2 * 5 * 8);
    program_free(&program);
}

static void sizes_come_from_the_tokens_of_each_graph(void **state) {
    (void)state;
    Program program = program_read("graph train {\n  %0 = input {name = \"tokens\"} : i32[2, 6]\n}\n"
                                   "graph generate {\n  %0 = input {name = \"tokens\"} : i32[1, 4]\n}\n");
    PlanFigures figures = plan_figures(program.module);
    assert_int_equal(figures.micro_batch, 2);
    assert_int_equal(figures.sequence, 6);
    assert_int_equal(figures.generate_sequence, 4);
    assert_int_equal(figures.n_moe_layers, 0);
    program_free(&program);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_look_up_costs_nothing_and_a_product_two_for_each_parameter),
        cmocka_unit_test(a_product_with_a_view_of_a_weight_counts),
        cmocka_unit_test(a_product_without_parameters_does_not_count),
        cmocka_unit_test(attention_counts_the_causal_half_of_the_square),
        cmocka_unit_test(others_count_the_whole_square),
        cmocka_unit_test(a_window_leaves_its_band_of_the_causal_half),
        cmocka_unit_test(experts_cost_the_slots_of_a_token_whatever_their_capacity),
        cmocka_unit_test(active_parameters_are_those_of_the_chosen_experts),
        cmocka_unit_test(sizes_come_from_the_tokens_of_each_graph),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
