// RUN: %unit %s
/* Views and movement along dims and indices, on small arrays written out. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/support/program.h"

/* x f32[2, 3] = 1 .. 6, and one node. */
static Program view_program(const char *node) {
    Arena *arena = arena_new();
    Program program = program_read(arena_printf(arena,
                                                "graph main {\n"
                                                "  %%0 = input {name = \"x\"} : f32[2, 3]\n"
                                                "  %%1 = %s\n"
                                                "  output \"y\" = %%1\n"
                                                "}\n",
                                                node));
    arena_free(arena);
    program_set(&program, "x", VALUES(1, 2, 3, 4, 5, 6));
    program_run(&program, "main");
    return program;
}

static void reshape_keeps_the_order(void **state) {
    (void)state;
    Program program = view_program("reshape %0 : f32[3, 1, 2]");
    program_expect(&program, "y", VALUES(1, 2, 3, 4, 5, 6));
    program_free(&program);
}

static void broadcast_repeats_along_new_dims(void **state) {
    (void)state;
    Program program = view_program("broadcast %0 {dims = [0, 2]} : f32[2, 2, 3]");
    program_expect(&program, "y", VALUES(1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6));
    program_free(&program);
}

static void broadcast_repeats_elements_of_a_row(void **state) {
    (void)state;
    Program program = view_program("broadcast %0 {dims = [0, 1]} : f32[2, 3, 2]");
    program_expect(&program, "y", VALUES(1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6));
    program_free(&program);
}

static void transpose_takes_result_dims_from_perm(void **state) {
    (void)state;
    Program program = view_program("transpose %0 {perm = [1, 0]} : f32[3, 2]");
    program_expect(&program, "y", VALUES(1, 4, 2, 5, 3, 6));
    program_free(&program);
}

/* A cycle of three dims is not its own inverse: y[i, j, k] = x[j, k, i] for perm [2, 0, 1]. */
static void transpose_of_three_dims_is_not_inverted(void **state) {
    (void)state;
    Program program = program_read("graph main {\n"
                                   "  %0 = input {name = \"x\"} : f32[2, 3, 4]\n"
                                   "  %1 = transpose %0 {perm = [2, 0, 1]} : f32[4, 2, 3]\n"
                                   "  output \"y\" = %1\n"
                                   "}\n");
    double x[24], expected[24];
    for (int j = 0; j < 2; j++) {
        for (int k = 0; k < 3; k++) {
            for (int i = 0; i < 4; i++) {
                x[(j * 3 + k) * 4 + i] = 100 * j + 10 * k + i;
                expected[(i * 2 + j) * 3 + k] = 100 * j + 10 * k + i;
            }
        }
    }
    program_set(&program, "x", 24, x);
    program_run(&program, "main");
    program_expect(&program, "y", 24, expected);
    program_free(&program);
}

static void slice_of_the_first_dim_takes_rows(void **state) {
    (void)state;
    Program program = view_program("slice %0 {dim = 0, start = 1} : f32[1, 3]");
    program_expect(&program, "y", VALUES(4, 5, 6));
    program_free(&program);
}

static void slice_of_the_last_dim_takes_columns(void **state) {
    (void)state;
    Program program = view_program("slice %0 {dim = 1, start = 1} : f32[2, 2]");
    program_expect(&program, "y", VALUES(2, 3, 5, 6));
    program_free(&program);
}

static void pad_adds_zeros_on_both_sides(void **state) {
    (void)state;
    Program program = view_program("pad %0 {dim = 1, before = 1, after = 2} : f32[2, 6]");
    program_expect(&program, "y", VALUES(0, 1, 2, 3, 0, 0, 0, 4, 5, 6, 0, 0));
    program_free(&program);
}

static void concat_joins_along_any_dim(void **state) {
    (void)state;
    Program program = program_read("graph main {\n"
                                   "  %0 = input {name = \"a\"} : f32[2, 1]\n"
                                   "  %1 = input {name = \"b\"} : f32[2, 2]\n"
                                   "  %2 = concat %0, %1, %0 {dim = 1} : f32[2, 4]\n"
                                   "  %3 = concat %1, %1 {dim = 0} : f32[4, 2]\n"
                                   "  output \"columns\" = %2\n"
                                   "  output \"rows\" = %3\n"
                                   "}\n");
    program_set(&program, "a", VALUES(1, 2));
    program_set(&program, "b", VALUES(3, 4, 5, 6));
    program_run(&program, "main");
    program_expect(&program, "columns", VALUES(1, 3, 4, 1, 2, 5, 6, 2));
    program_expect(&program, "rows", VALUES(3, 4, 5, 6, 3, 4, 5, 6));
    program_free(&program);
}

/* ---- Along an index ------------------------------------------------------------------------------------------ */

static const char gather_text[] = "graph main {\n"
                                  "  %0 = input {name = \"table\"} : f32[4, 2]\n"
                                  "  %1 = input {name = \"indices\"} : i32[2, 2]\n"
                                  "  %2 = gather %0, %1 : f32[2, 2, 2]\n"
                                  "  output \"y\" = %2\n"
                                  "}\n"
                                  "graph adjoint {\n"
                                  "  %0 = input {name = \"y\"} : f32[2, 2, 2]\n"
                                  "  %1 = input {name = \"indices\"} : i32[2, 2]\n"
                                  "  %2 = scatter_add %0, %1 {rows = 4} : f32[4, 2]\n"
                                  "  output \"table\" = %2\n"
                                  "}\n";

static void gather_takes_rows(void **state) {
    (void)state;
    Program program = program_read(gather_text);
    program_set(&program, "table", VALUES(1, 2, 3, 4, 5, 6, 7, 8));
    program_set(&program, "indices", VALUES(3, 0, 3, 1));
    program_run(&program, "main");
    program_expect(&program, "y", VALUES(7, 8, 1, 2, 7, 8, 3, 4));
    program_free(&program);
}

static void scatter_add_sums_rows_of_one_index(void **state) {
    (void)state;
    Program program = program_read(gather_text);
    program_set(&program, "y", VALUES(1, 2, 3, 4, 10, 20, 5, 6));
    program_set(&program, "indices", VALUES(3, 0, 3, 1));
    program_run(&program, "adjoint");
    program_expect(&program, "table", VALUES(3, 4, 5, 6, 0, 0, 11, 22));
    program_free(&program);
}

static void gather_refuses_an_index_past_the_table(void **state) {
    (void)state;
    Program program = program_read(gather_text);
    program_set(&program, "table", VALUES(1, 2, 3, 4, 5, 6, 7, 8));
    program_set(&program, "indices", VALUES(3, 0, 4, 1));
    assert_string_equal(program_run_failing(&program, "main"),
                        "graph main: %2 = gather: row index 4 is out of range: expected 0 to 3");
    program_free(&program);
}

static void gather_refuses_a_negative_index(void **state) {
    (void)state;
    Program program = program_read(gather_text);
    program_set(&program, "table", VALUES(1, 2, 3, 4, 5, 6, 7, 8));
    program_set(&program, "indices", VALUES(3, 0, -1, 1));
    assert_string_equal(program_run_failing(&program, "main"),
                        "graph main: %2 = gather: row index -1 is out of range: expected 0 to 3");
    program_free(&program);
}

static const char gather_last_text[] = "graph main {\n"
                                       "  %0 = input {name = \"x\"} : f32[2, 3]\n"
                                       "  %1 = input {name = \"indices\"} : i32[2, 2]\n"
                                       "  %2 = gather_last %0, %1 : f32[2, 2]\n"
                                       "  output \"y\" = %2\n"
                                       "}\n"
                                       "graph adjoint {\n"
                                       "  %0 = input {name = \"y\"} : f32[2, 2]\n"
                                       "  %1 = input {name = \"indices\"} : i32[2, 2]\n"
                                       "  %2 = scatter_last %0, %1 {extent = 3} : f32[2, 3]\n"
                                       "  output \"x\" = %2\n"
                                       "}\n";

static void gather_last_indexes_each_row(void **state) {
    (void)state;
    Program program = program_read(gather_last_text);
    program_set(&program, "x", VALUES(1, 2, 3, 4, 5, 6));
    program_set(&program, "indices", VALUES(2, 0, 1, 1));
    program_run(&program, "main");
    program_expect(&program, "y", VALUES(3, 1, 5, 5));
    program_free(&program);
}

static void scatter_last_fills_with_zeros_and_sums_repeats(void **state) {
    (void)state;
    Program program = program_read(gather_last_text);
    program_set(&program, "y", VALUES(1, 2, 3, 4));
    program_set(&program, "indices", VALUES(2, 0, 1, 1));
    program_run(&program, "adjoint");
    program_expect(&program, "x", VALUES(2, 0, 1, 0, 7, 0));
    program_free(&program);
}

static void gather_last_refuses_an_index_past_the_row(void **state) {
    (void)state;
    Program program = program_read(gather_last_text);
    program_set(&program, "x", VALUES(1, 2, 3, 4, 5, 6));
    program_set(&program, "indices", VALUES(2, 0, 3, 1));
    assert_string_equal(program_run_failing(&program, "main"),
                        "graph main: %2 = gather_last: index 3 is out of range: expected 0 to 2");
    program_free(&program);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reshape_keeps_the_order),
        cmocka_unit_test(broadcast_repeats_along_new_dims),
        cmocka_unit_test(broadcast_repeats_elements_of_a_row),
        cmocka_unit_test(transpose_takes_result_dims_from_perm),
        cmocka_unit_test(transpose_of_three_dims_is_not_inverted),
        cmocka_unit_test(slice_of_the_first_dim_takes_rows),
        cmocka_unit_test(slice_of_the_last_dim_takes_columns),
        cmocka_unit_test(pad_adds_zeros_on_both_sides),
        cmocka_unit_test(concat_joins_along_any_dim),
        cmocka_unit_test(gather_takes_rows),
        cmocka_unit_test(scatter_add_sums_rows_of_one_index),
        cmocka_unit_test(gather_refuses_an_index_past_the_table),
        cmocka_unit_test(gather_refuses_a_negative_index),
        cmocka_unit_test(gather_last_indexes_each_row),
        cmocka_unit_test(scatter_last_fills_with_zeros_and_sums_repeats),
        cmocka_unit_test(gather_last_refuses_an_index_past_the_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
