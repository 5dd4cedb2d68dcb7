// RUN: %unit %s
/* Orders of random programs: no value has changed, reads and writes of states are where they were, and the peak is not
   above that of the order found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "ir/view.h"
#include "passes/liveness.h"
#include "passes/passes.h"
#include "tests/support/program.h"
#include "tests/support/random_states.h"
#include "tests/support/stages.h"

enum { N_PROGRAMS = 60, N_STEPS = 14 };

static int64_t peak_of(const Graph *graph) {
    Arena *arena = arena_new();
    Liveness liveness;
    assert_true(liveness_of(arena, graph, &liveness));
    arena_free(arena);
    return liveness.lower_bound;
}

static void random_programs_need_no_more_than_before(void **state) {
    (void)state;
    int n_lower = 0;
    for (uint64_t seed = 0; seed < N_PROGRAMS; seed++) {
        Arena *arena = arena_new();
        uint64_t data_seed;
        const Module *expected = random_stage(arena, seed, N_STEPS, "layout", &data_seed);
        Module *module = random_stage(arena, seed, N_STEPS, "layout", &data_seed);
        run_pass(module, "schedule");
        for (size_t i = 0; i < module->n_graphs; i++) {
            int64_t before = peak_of(expected->graphs[i]), after = peak_of(module->graphs[i]);
            assert_true(after <= before);
            n_lower += after < before;
        }
        expect_same_values(expected, module, data_seed, 0);
        arena_free(arena);
    }
    assert_true(n_lower > N_PROGRAMS / 4);
}

/* The order of one run depends on the graph alone. */
static void equal_programs_get_equal_orders(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 4; seed++) {
        Arena *arena = arena_new();
        uint64_t data_seed;
        size_t n_bytes;
        const char *one = module_text(arena, random_stage(arena, seed, N_STEPS, "schedule", &data_seed), &n_bytes);
        const char *two = module_text(arena, random_stage(arena, seed, N_STEPS, "schedule", &data_seed), &n_bytes);
        expect_same_text("the second run", one, two);
        arena_free(arena);
    }
}

/* ---- States ---------------------------------------------------------------------------------------------------- */

/* Graph main with this body, scheduled; s is a state f32[2] at 1, x an input f32[2] = 10, 20. Output y as expected. */
static void expect_output(const char *body, double y0, double y1) {
    Arena *arena = arena_new();
    Program program = program_read(arena_printf(arena,
                                                "state \"s\" weight : f32[2]\n"
                                                "graph main {\n"
                                                "  %%s = state {name = \"s\"} : f32[2]\n"
                                                "  %%x = input {name = \"x\"} : f32[2]\n"
                                                "%s}\n",
                                                body));
    run_pass(program.module, "schedule");
    program_set(&program, "s", VALUES(1, 1));
    program_set(&program, "x", VALUES(10, 20));
    program_run(&program, "main");
    program_expect(&program, "y", VALUES(y0, y1));
    program_free(&program);
    arena_free(arena);
}

/* Left to its own devices the scheduler would run the update as early, or as late, as it can. */
static void a_state_is_read_before_and_after_its_update(void **state) {
    (void)state;
    const char *big = "  %b = broadcast %x {dims = [1]} : f32[64, 2]\n"
                      "  %e = neg %b : f32[64, 2]\n"
                      "  %f = reduce_sum %e {dims = [0]} : f32[2]\n";
    Arena *arena = arena_new();
    expect_output(arena_printf(arena,
                               "%s  %%before = mul %%s, %%f : f32[2]\n"
                               "  %%u = accumulate %%s, %%x : f32[2]\n"
                               "  output \"y\" = %%before\n",
                               big),
                  -640, -1280);
    expect_output(arena_printf(arena,
                               "%s  %%u = accumulate %%s, %%f : f32[2]\n"
                               "  %%after = mul %%s, %%x : f32[2]\n"
                               "  output \"y\" = %%after\n",
                               big),
                  -6390, -25580);
    arena_free(arena);
}

static void random_reads_and_writes_keep_their_order(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 4 * N_PROGRAMS; seed++) {
        Arena *arena = arena_new();
        const Module *expected = random_state_program(arena, seed, 2 * N_STEPS);
        Module *module = random_state_program(arena, seed, 2 * N_STEPS);
        run_pass(module, "schedule");
        assert_true(peak_of(module->graphs[0]) <= peak_of(expected->graphs[0]));
        expect_same_values(expected, module, seed, 0);
        arena_free(arena);
    }
}

/* Two nodes for one state, views of it, and an update between them. */
static void views_of_a_state_are_reads(void **state) {
    (void)state;
    expect_output("  %v = reshape %s : f32[1, 2]\n"
                  "  %before = neg %v : f32[1, 2]\n"
                  "  %again = state {name = \"s\"} : f32[2]\n"
                  "  %u = accumulate %again, %x : f32[2]\n"
                  "  %w = reshape %s : f32[1, 2]\n"
                  "  %sum = add %w, %before : f32[1, 2]\n"
                  "  %y = reshape %sum : f32[2]\n"
                  "  output \"y\" = %y\n",
                  10, 20);
}

static void an_output_view_of_a_state_stays_where_it_was(void **state) {
    (void)state;
    expect_output("  %y = slice %s {dim = 0, start = 0} : f32[2]\n"
                  "  %u = accumulate %s, %x : f32[2]\n"
                  "  output \"y\" = %y\n",
                  1, 1);
}

/* accumulate is not reordered: floats do not add up in any order. */
static void updates_of_a_state_keep_their_order(void **state) {
    (void)state;
    Program program = program_read("state \"s\" weight : f32[]\n"
                                   "graph main {\n"
                                   "  %s = state {name = \"s\"} : f32[]\n"
                                   "  %x = input {name = \"x\"} : f32[64]\n"
                                   "  %z = input {name = \"z\"} : f32[]\n"
                                   "  %e = exp %x : f32[64]\n"
                                   "  %f = reduce_sum %e {dims = [0]} : f32[]\n"
                                   "  %u1 = accumulate %s, %f : f32[]\n"
                                   "  %u2 = accumulate %u1, %z : f32[]\n"
                                   "  %u3 = accumulate %s, %f : f32[]\n"
                                   "}\n");
    run_pass(program.module, "schedule");
    const char *names[3] = {0};
    int n = 0;
    for (const Node *node = program.module->graphs[0]->first; node; node = node->next) {
        if (node->op == OP_accumulate)
            names[n++] = node->results[0].hint;
    }
    assert_int_equal(n, 3);
    assert_string_equal(names[0], "u1");
    assert_string_equal(names[1], "u2");
    assert_string_equal(names[2], "u3");
    program_free(&program);
}

/* ---- What is gained --------------------------------------------------------------------------------------------- */

/* All maps first, then all sums: one big value lives at a time once each sum follows its map. */
static void sums_follow_what_they_fold(void **state) {
    (void)state;
    Program program = program_read("graph main {\n"
                                   "  %x = input {name = \"x\"} : f32[4096]\n"
                                   "  %a = exp %x : f32[4096]\n"
                                   "  %b = neg %x : f32[4096]\n"
                                   "  %c = tanh %x : f32[4096]\n"
                                   "  %d = reduce_sum %a {dims = [0]} : f32[]\n"
                                   "  %e = reduce_sum %b {dims = [0]} : f32[]\n"
                                   "  %f = reduce_sum %c {dims = [0]} : f32[]\n"
                                   "  output \"d\" = %d\n"
                                   "  output \"e\" = %e\n"
                                   "  output \"f\" = %f\n"
                                   "}\n");
    run_pass(program.module, "schedule");
    assert_int_equal(peak_of(program.module->graphs[0]), 2 * 4096 * 4 + 2 * 64);
    program_free(&program);
}

/* A value made long before its only reader, out of an operand that stays alive. */
static void results_are_made_late(void **state) {
    (void)state;
    Program program = program_read("graph main {\n"
                                   "  %x = input {name = \"x\"} : f32[1024]\n"
                                   "  %rows = input {name = \"rows\"} : i32[8]\n"
                                   "  %wide = broadcast %x {dims = [1]} : f32[8, 1024]\n"
                                   "  %early = exp %wide : f32[8, 1024]\n"
                                   "  %a = neg %wide : f32[8, 1024]\n"
                                   "  %b = gather %a, %rows : f32[8, 1024]\n"
                                   "  %c = reduce_sum %b {dims = [0]} : f32[1024]\n"
                                   "  %d = broadcast %c {dims = [1]} : f32[8, 1024]\n"
                                   "  %e = mul %d, %early : f32[8, 1024]\n"
                                   "  %f = reduce_sum %e {dims = [0]} : f32[1024]\n"
                                   "  output \"f\" = %f\n"
                                   "}\n");
    assert_int_equal(peak_of(program.module->graphs[0]), 3 * 8 * 4096 + 64);
    run_pass(program.module, "schedule");
    assert_int_equal(peak_of(program.module->graphs[0]), (1 + 2 * 8) * 4096 + 64);
    program_free(&program);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_programs_need_no_more_than_before),
        cmocka_unit_test(equal_programs_get_equal_orders),
        cmocka_unit_test(a_state_is_read_before_and_after_its_update),
        cmocka_unit_test(random_reads_and_writes_keep_their_order),
        cmocka_unit_test(views_of_a_state_are_reads),
        cmocka_unit_test(an_output_view_of_a_state_stays_where_it_was),
        cmocka_unit_test(updates_of_a_state_keep_their_order),
        cmocka_unit_test(sums_follow_what_they_fold),
        cmocka_unit_test(results_are_made_late),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
