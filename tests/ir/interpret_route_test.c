// RUN: %unit %s
/* Routing: choices, the sorting of slots, dropping, and the way of rows there and back. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/support/program.h"

/* ---- Choices ------------------------------------------------------------------------------------------------- */

static Program top_k_program(void) {
    return program_read("graph main {\n"
                        "  %0 = input {name = \"x\"} : f32[2, 4]\n"
                        "  %1, %2 = top_k %0 {k = 3} : f32[2, 3], i32[2, 3]\n"
                        "  output \"values\" = %1\n"
                        "  output \"indices\" = %2\n"
                        "}\n");
}

static void top_k_orders_by_value(void **state) {
    (void)state;
    Program program = top_k_program();
    program_set(&program, "x", VALUES(0.5, -1, 3, 2, -4, -3, -2, -1));
    program_run(&program, "main");
    program_expect(&program, "values", VALUES(3, 2, 0.5, -1, -2, -3));
    program_expect(&program, "indices", VALUES(2, 3, 0, 3, 2, 1));
    program_free(&program);
}

static void top_k_breaks_ties_by_lower_index(void **state) {
    (void)state;
    Program program = top_k_program();
    program_set(&program, "x", VALUES(1, 2, 2, 2, 0, 0, 0, 0));
    program_run(&program, "main");
    program_expect(&program, "indices", VALUES(1, 2, 3, 0, 1, 2));
    program_free(&program);
}

static Program histogram_program(void) {
    return program_read("graph main {\n"
                        "  %0 = input {name = \"indices\"} : i32[3, 2]\n"
                        "  %1 = histogram %0 {bins = 4} : f32[4]\n"
                        "  output \"counts\" = %1\n"
                        "}\n");
}

static void histogram_counts_each_bin(void **state) {
    (void)state;
    Program program = histogram_program();
    program_set(&program, "indices", VALUES(3, 0, 3, 1, 0, 3));
    program_run(&program, "main");
    program_expect(&program, "counts", VALUES(2, 1, 0, 3));
    program_free(&program);
}

static void histogram_refuses_a_bin_it_lacks(void **state) {
    (void)state;
    Program program = histogram_program();
    program_set(&program, "indices", VALUES(3, 0, 4, 1, 0, 3));
    assert_string_equal(program_run_failing(&program, "main"),
                        "graph main: %1 = histogram: bin 4 is out of range: expected 0 to 3");
    program_free(&program);
}

/* ---- Slots and rows ------------------------------------------------------------------------------------------ */

/* Four tokens, two choices each, three experts. */
static Program route_program(int capacity, int n_rows) {
    Arena *arena = arena_new();
    Program program = program_read(
        arena_printf(arena,
                     "graph main {\n"
                     "  %%0 = input {name = \"indices\"} : i32[4, 2]\n"
                     "  %%1, %%2, %%3 = route %%0 {experts = 3, capacity = %d} : i32[4], i32[~%d], i32[4, 2]\n"
                     "  output \"offsets\" = %%1\n"
                     "  output \"slot_of_row\" = %%2\n"
                     "  output \"row_of_slot\" = %%3\n"
                     "}\n",
                     capacity, n_rows));
    arena_free(arena);
    return program;
}

static void route_sorts_slots_by_expert_in_order(void **state) {
    (void)state;
    Program program = route_program(0, 8);
    program_set(&program, "indices", VALUES(2, 0, 1, 2, 0, 1, 2, 1));
    program_run(&program, "main");
    program_expect(&program, "offsets", VALUES(0, 2, 5, 8));
    program_expect(&program, "slot_of_row", VALUES(1, 4, 2, 5, 7, 0, 3, 6));
    program_expect(&program, "row_of_slot", VALUES(5, 0, 2, 6, 1, 3, 7, 4));
    program_free(&program);
}

static void route_gives_an_unchosen_expert_no_rows(void **state) {
    (void)state;
    Program program = route_program(0, 8);
    program_set(&program, "indices", VALUES(2, 0, 0, 2, 0, 2, 2, 0));
    program_run(&program, "main");
    program_expect(&program, "offsets", VALUES(0, 4, 4, 8));
    program_expect(&program, "slot_of_row", VALUES(1, 2, 4, 7, 0, 3, 5, 6));
    program_free(&program);
}

/* Expert 1 is chosen by slots 2, 5 and 7, expert 2 by 0, 3 and 6: with room for two, slots 7 and 6 are dropped. */
static void route_drops_slots_beyond_the_capacity(void **state) {
    (void)state;
    Program program = route_program(2, 6);
    program_set(&program, "indices", VALUES(2, 0, 1, 2, 0, 1, 2, 1));
    program_run(&program, "main");
    program_expect(&program, "offsets", VALUES(0, 2, 4, 6));
    program_expect(&program, "slot_of_row", VALUES(1, 4, 2, 5, 0, 3));
    program_expect(&program, "row_of_slot", VALUES(4, 0, 2, 5, 1, 3, -1, -1));
    program_free(&program);
}

static void route_marks_rows_past_the_last_offset(void **state) {
    (void)state;
    Program program = route_program(2, 6);
    program_set(&program, "indices", VALUES(0, 1, 0, 1, 0, 1, 0, 1));
    program_run(&program, "main");
    program_expect(&program, "offsets", VALUES(0, 2, 4, 4));
    program_expect(&program, "slot_of_row", VALUES(0, 2, 1, 3, -1, -1));
    program_expect(&program, "row_of_slot", VALUES(0, 2, 1, 3, -1, -1, -1, -1));
    program_free(&program);
}

static void route_refuses_an_expert_that_is_not_there(void **state) {
    (void)state;
    Program program = route_program(0, 8);
    program_set(&program, "indices", VALUES(2, 0, 1, 3, 0, 1, 2, 1));
    assert_string_equal(program_run_failing(&program, "main"),
                        "graph main: %1 = route: expert 3 is out of range: expected 0 to 2");
    program_free(&program);
}

/* ---- There and back ------------------------------------------------------------------------------------------ */

/* Capacity 2 of three experts; x per token and per slot, y the routed rows. Two vectors of width 2 a row. */
static const char trip_text[] = "graph there {\n"
                                "  %0 = input {name = \"indices\"} : i32[4, 2]\n"
                                "  %1, %2, %3 = route %0 {experts = 3, capacity = 2} : i32[4], i32[~6], i32[4, 2]\n"
                                "  %4 = input {name = \"token_x\"} : f32[4, 2]\n"
                                "  %5 = input {name = \"slot_x\"} : f32[4, 2, 2]\n"
                                "  %6 = dispatch %4, %2, %3 : f32[~6, 2]\n"
                                "  %7 = dispatch %5, %2, %3 {per_slot = true} : f32[~6, 2]\n"
                                "  output \"token_rows\" = %6\n"
                                "  output \"slot_rows\" = %7\n"
                                "}\n"
                                "graph back {\n"
                                "  %0 = input {name = \"indices\"} : i32[4, 2]\n"
                                "  %1, %2, %3 = route %0 {experts = 3, capacity = 2} : i32[4], i32[~6], i32[4, 2]\n"
                                "  %4 = input {name = \"y\"} : f32[~6, 2]\n"
                                "  %5 = combine %4, %2, %3 : f32[4, 2]\n"
                                "  %6 = combine %4, %2, %3 {per_slot = true} : f32[4, 2, 2]\n"
                                "  output \"tokens\" = %5\n"
                                "  output \"slots\" = %6\n"
                                "}\n";

/* Experts 0 and 1 are full, two slots are dropped, expert 2 keeps one: five rows of six. */
static Program trip_program(void) {
    Program program = program_read(trip_text);
    program_set(&program, "indices", VALUES(0, 1, 1, 0, 1, 0, 2, 1));
    program_set(&program, "token_x", VALUES(1, 2, 3, 4, 5, 6, 7, 8));
    program_set(&program, "slot_x", VALUES(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16));
    program_set(&program, "y", VALUES(1, 10, 2, 20, 3, 30, 4, 40, 5, 50, NAN, NAN));
    return program;
}

static void dispatch_copies_a_token_to_each_of_its_rows(void **state) {
    (void)state;
    Program program = trip_program();
    program_run(&program, "there");
    program_expect(&program, "token_rows", VALUES(1, 2, 3, 4, 1, 2, 3, 4, 7, 8, NAN, NAN));
    program_free(&program);
}

static void dispatch_per_slot_copies_each_slot_to_its_row(void **state) {
    (void)state;
    Program program = trip_program();
    program_run(&program, "there");
    program_expect(&program, "slot_rows", VALUES(1, 2, 7, 8, 3, 4, 5, 6, 13, 14, NAN, NAN));
    program_free(&program);
}

/* Token 2 lost both of its slots, token 3 one. */
static void combine_sums_the_kept_rows_of_a_token(void **state) {
    (void)state;
    Program program = trip_program();
    program_run(&program, "back");
    program_expect(&program, "tokens", VALUES(4, 40, 6, 60, 0, 0, 5, 50));
    program_free(&program);
}

static void combine_per_slot_gives_dropped_slots_zero(void **state) {
    (void)state;
    Program program = trip_program();
    program_run(&program, "back");
    program_expect(&program, "slots", VALUES(1, 10, 3, 30, 4, 40, 2, 20, 0, 0, 0, 0, 5, 50, 0, 0));
    program_free(&program);
}

/* The sum of products of used rows only. */
static double inner_product(const double *a, const double *b, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* <dispatch(x), y> = <x, combine(y)> for random x, y and choices, per token and per slot. */
static void combine_is_the_adjoint_of_dispatch(void **state) {
    (void)state;
    Program program = trip_program();
    for (uint64_t seed = 0; seed < 20; seed++) {
        program_set_random(&program, "indices", seed, 0, 3);
        program_set_random(&program, "token_x", seed + 100, -1, 1);
        program_set_random(&program, "slot_x", seed + 200, -1, 1);
        program_set_random(&program, "y", seed + 300, -1, 1);
        const double *y = program_tensor(&program, "y")->data;
        program_run(&program, "there");
        const double *rows[] = {program_output(&program, "token_rows"), program_output(&program, "slot_rows")};
        int n_used = 0;
        while (n_used < 12 && !isnan(rows[0][n_used]))
            n_used++;
        double there[] = {inner_product(rows[0], y, n_used), inner_product(rows[1], y, n_used)};
        program_run(&program, "back");
        double back[] = {
            inner_product(program_tensor(&program, "token_x")->data, program_output(&program, "tokens"), 8),
            inner_product(program_tensor(&program, "slot_x")->data, program_output(&program, "slots"), 16)};
        expect_near("inner products", 2, there, back, 1e-14);
    }
    program_free(&program);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(top_k_orders_by_value),
        cmocka_unit_test(top_k_breaks_ties_by_lower_index),
        cmocka_unit_test(histogram_counts_each_bin),
        cmocka_unit_test(histogram_refuses_a_bin_it_lacks),
        cmocka_unit_test(route_sorts_slots_by_expert_in_order),
        cmocka_unit_test(route_gives_an_unchosen_expert_no_rows),
        cmocka_unit_test(route_drops_slots_beyond_the_capacity),
        cmocka_unit_test(route_marks_rows_past_the_last_offset),
        cmocka_unit_test(route_refuses_an_expert_that_is_not_there),
        cmocka_unit_test(dispatch_copies_a_token_to_each_of_its_rows),
        cmocka_unit_test(dispatch_per_slot_copies_each_slot_to_its_row),
        cmocka_unit_test(combine_sums_the_kept_rows_of_a_token),
        cmocka_unit_test(combine_per_slot_gives_dropped_slots_zero),
        cmocka_unit_test(combine_is_the_adjoint_of_dispatch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
