// RUN: %unit %s
/* Matrix products, dense and grouped, and per-expert vectors, on small arrays written out. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/support/program.h"

/* One node over operands a and b of the given types; the caller sets them and runs. */
static Program product_program(const char *a, const char *b, const char *node) {
    Arena *arena = arena_new();
    Program program = program_read(arena_printf(arena,
                                                "graph main {\n"
                                                "  %%0 = input {name = \"a\"} : %s\n"
                                                "  %%1 = input {name = \"b\"} : %s\n"
                                                "  %%2 = input {name = \"offsets\"} : i32[4]\n"
                                                "  %%3 = %s\n"
                                                "  output \"c\" = %%3\n"
                                                "}\n",
                                                a, b, node));
    arena_free(arena);
    program_tensor(&program, "offsets"); /* bound to zeros */
    return program;
}

static void matmul_nt_multiplies_rows_by_rows(void **state) {
    (void)state;
    Program program = product_program("f32[1, 2, 3]", "f32[2, 3]", "matmul %0, %1 {mode = \"nt\"} : f32[1, 2, 2]");
    program_set(&program, "a", VALUES(1, 2, 3, 4, 5, 6));
    program_set(&program, "b", VALUES(1, 0, -1, 2, 1, 0));
    program_run(&program, "main");
    program_expect(&program, "c", VALUES(-2, 4, -2, 13));
    program_free(&program);
}

static void matmul_nn_multiplies_rows_by_columns(void **state) {
    (void)state;
    Program program = product_program("f32[2, 3]", "f32[3, 2]", "matmul %0, %1 {mode = \"nn\"} : f32[2, 2]");
    program_set(&program, "a", VALUES(1, 2, 3, 4, 5, 6));
    program_set(&program, "b", VALUES(1, 0, -1, 2, 1, 0));
    program_run(&program, "main");
    program_expect(&program, "c", VALUES(2, 4, 5, 10));
    program_free(&program);
}

/* All leading dims are summed over: here four rows. */
static void matmul_tn_sums_over_all_rows(void **state) {
    (void)state;
    Program program = product_program("f32[2, 2, 2]", "f32[2, 2, 3]", "matmul %0, %1 {mode = \"tn\"} : f32[2, 3]");
    program_set(&program, "a", VALUES(1, 2, 3, 4, 5, 6, 7, 8));
    program_set(&program, "b", VALUES(1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 0, 0));
    program_run(&program, "main");
    program_expect(&program, "c", VALUES(8, 3, 5, 10, 4, 6));
    program_free(&program);
}

/* 1 + 2^-8 lies half between two bf16 and goes to the even one, 1; 1 + 3 2^-8 goes to 1 + 2^-6, 1 + 2^-8 + 2^-20 to
   1 + 2^-7. The sum, of products that bf16 doesn't hold, is not rounded. */
static void products_of_bf16_are_f32(void **state) {
    (void)state;
    Program program = program_read("graph main {\n"
                                   "  %0 = input {name = \"a\"} : f32[3, 1]\n"
                                   "  %1 = input {name = \"b\"} : f32[1, 1]\n"
                                   "  %2 = to_bf16 %0 : bf16[3, 1]\n"
                                   "  %3 = to_bf16 %1 : bf16[1, 1]\n"
                                   "  %4 = matmul %2, %3 {mode = \"nt\"} : f32[3, 1]\n"
                                   "  output \"c\" = %4\n"
                                   "}\n");
    program_set(&program, "a", VALUES(1 + 0x1p-8, 1 + 0x3p-8, 1 + 0x1p-8 + 0x1p-20));
    program_set(&program, "b", VALUES(1 + 0x1p-7 + 0x1p-12));
    program_run(&program, "main");
    program_expect(&program, "c", VALUES(1 + 0x1p-7, (1 + 0x1p-6) * (1 + 0x1p-7), (1 + 0x1p-7) * (1 + 0x1p-7)));
    program_free(&program);
}

/* ---- Grouped: three experts; expert 1 has no rows, expert 0 has one, expert 2 has two, and one row is unused. -- */

#define OFFSETS VALUES(0, 1, 1, 3)

static void grouped_nt_uses_each_experts_matrix(void **state) {
    (void)state;
    Program program =
        product_program("f32[~4, 2]", "f32[3, 1, 2]", "grouped_matmul %0, %1, %2 {mode = \"nt\"} : f32[~4, 1]");
    program_set(&program, "a", VALUES(1, 2, 3, 4, 5, 6, 7, 8));
    program_set(&program, "b", VALUES(1, 10, 100, 100, 2, -1));
    program_set(&program, "offsets", OFFSETS);
    program_run(&program, "main");
    program_expect(&program, "c", VALUES(21, 2, 4, NAN));
    program_free(&program);
}

static void grouped_nn_uses_each_experts_matrix(void **state) {
    (void)state;
    Program program =
        product_program("f32[~4, 1]", "f32[3, 1, 2]", "grouped_matmul %0, %1, %2 {mode = \"nn\"} : f32[~4, 2]");
    program_set(&program, "a", VALUES(2, 3, 4, 5));
    program_set(&program, "b", VALUES(1, 10, 100, 100, 2, -1));
    program_set(&program, "offsets", OFFSETS);
    program_run(&program, "main");
    program_expect(&program, "c", VALUES(2, 20, 6, -3, 8, -4, NAN, NAN));
    program_free(&program);
}

/* The unused row holds NaN in both operands and must not be read. */
static void grouped_tn_sums_over_each_experts_rows(void **state) {
    (void)state;
    Program program =
        product_program("f32[~4, 2]", "f32[~4, 1]", "grouped_matmul %0, %1, %2 {mode = \"tn\"} : f32[3, 2, 1]");
    program_set(&program, "a", VALUES(1, 2, 3, 4, 5, 6, NAN, NAN));
    program_set(&program, "b", VALUES(2, 10, 1, NAN));
    program_set(&program, "offsets", OFFSETS);
    program_run(&program, "main");
    program_expect(&program, "c", VALUES(2, 4, 0, 0, 35, 46));
    program_free(&program);
}

static void grouped_matmul_refuses_falling_offsets(void **state) {
    (void)state;
    Program program =
        product_program("f32[~4, 2]", "f32[3, 1, 2]", "grouped_matmul %0, %1, %2 {mode = \"nt\"} : f32[~4, 1]");
    program_tensor(&program, "a");
    program_tensor(&program, "b");
    program_set(&program, "offsets", VALUES(0, 3, 1, 4));
    assert_string_equal(program_run_failing(&program, "main"),
                        "graph main: %3 = grouped_matmul: offsets must rise from 0 to at most the 4 rows there are");
    program_free(&program);
}

static const char per_expert_text[] = "graph main {\n"
                                      "  %0 = input {name = \"w\"} : f32[3, 2]\n"
                                      "  %1 = input {name = \"offsets\"} : i32[4]\n"
                                      "  %2 = grouped_broadcast %0, %1 {rows = 4} : f32[~4, 2]\n"
                                      "  output \"rows\" = %2\n"
                                      "}\n"
                                      "graph adjoint {\n"
                                      "  %0 = input {name = \"x\"} : f32[~4, 2]\n"
                                      "  %1 = input {name = \"offsets\"} : i32[4]\n"
                                      "  %2 = grouped_sum %0, %1 : f32[3, 2]\n"
                                      "  output \"w\" = %2\n"
                                      "}\n";

static void grouped_broadcast_gives_each_row_its_experts_vector(void **state) {
    (void)state;
    Program program = program_read(per_expert_text);
    program_set(&program, "w", VALUES(1, 2, 3, 4, 5, 6));
    program_set(&program, "offsets", OFFSETS);
    program_run(&program, "main");
    program_expect(&program, "rows", VALUES(1, 2, 5, 6, 5, 6, NAN, NAN));
    program_free(&program);
}

static void grouped_sum_adds_each_experts_rows(void **state) {
    (void)state;
    Program program = program_read(per_expert_text);
    program_set(&program, "x", VALUES(1, 2, 3, 4, 5, 6, NAN, NAN));
    program_set(&program, "offsets", OFFSETS);
    program_run(&program, "adjoint");
    program_expect(&program, "w", VALUES(1, 2, 0, 0, 8, 10));
    program_free(&program);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matmul_nt_multiplies_rows_by_rows),
        cmocka_unit_test(matmul_nn_multiplies_rows_by_columns),
        cmocka_unit_test(matmul_tn_sums_over_all_rows),
        cmocka_unit_test(grouped_nt_uses_each_experts_matrix),
        cmocka_unit_test(grouped_nn_uses_each_experts_matrix),
        cmocka_unit_test(grouped_tn_sums_over_each_experts_rows),
        cmocka_unit_test(products_of_bf16_are_f32),
        cmocka_unit_test(grouped_matmul_refuses_falling_offsets),
        cmocka_unit_test(grouped_broadcast_gives_each_row_its_experts_vector),
        cmocka_unit_test(grouped_sum_adds_each_experts_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
