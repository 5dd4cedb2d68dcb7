// RUN: %unit %s
/* Fusion of random programs: no value changes, every block has a space, and no value that is not stored is needed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ir/block.h"
#include "ir/space.h"
#include "passes/passes.h"
#include "tests/support/program.h"
#include "tests/support/random_states.h"
#include "tests/support/stages.h"

enum { N_PROGRAMS = 60, N_STEPS = 16 };

/* ---- Random programs -------------------------------------------------------------------------------------------- */

/* Blocks with more than one node; each block can be lowered. */
static int check_spaces(const Graph *graph) {
    Arena *arena = arena_new();
    int n_fused = 0;
    const bool *escapes = block_escapes(arena, graph);
    for (Node *node = graph->first; node; node = node->next) {
        size_t n;
        const char *reason;
        if (!node->block)
            continue;
        Node **nodes = block_nodes(arena, node, &n);
        const Space *space = space_of(arena, nodes, n, &reason);
        if (!space)
            fail_msg("graph %s: the kernel of %%%u has no space: %s", graph->name, node->results[0].number, reason);
        for (size_t i = 0; i < n; i++)
            assert_true(space_can_store(space, nodes[i]) || !escapes[nodes[i]->results[0].number]);
        n_fused += n > 1;
        node = nodes[n - 1];
    }
    arena_free(arena);
    return n_fused;
}

static int fuse_all(Module *module) {
    int n_fused = 0;
    run_pass(module, "fuse");
    for (size_t i = 0; i < module->n_graphs; i++)
        n_fused += check_spaces(module->graphs[i]);
    return n_fused;
}

static void random_programs_compute_the_same(void **state) {
    (void)state;
    int n_fused = 0;
    for (uint64_t seed = 0; seed < N_PROGRAMS; seed++) {
        Arena *arena = arena_new();
        uint64_t data_seed;
        const Module *expected = random_stage(arena, seed, N_STEPS, "layout", &data_seed);
        Module *module = random_stage(arena, seed, N_STEPS, "layout", &data_seed);
        n_fused += fuse_all(module);
        run_pass(module, "schedule");
        run_pass(module, "memory");
        for (size_t i = 0; i < module->n_graphs; i++)
            check_spaces(module->graphs[i]);
        expect_same_values(expected, module, data_seed, 0);
        arena_free(arena);
    }
    assert_true(n_fused > 10 * N_PROGRAMS);
}

/* Reads and writes of states in any order, with what can be fused around them. */
static void programs_about_states_compute_the_same(void **state) {
    (void)state;
    int n_fused = 0;
    for (uint64_t seed = 0; seed < 4 * N_PROGRAMS; seed++) {
        Arena *arena = arena_new();
        Module *expected = random_state_program(arena, seed, 2 * N_STEPS);
        Module *module = random_state_program(arena, seed, 2 * N_STEPS);
        run_pass(expected, "layout");
        run_pass(module, "layout");
        n_fused += fuse_all(module);
        expect_same_values(expected, module, seed, 0);
        arena_free(arena);
    }
    assert_true(n_fused > N_PROGRAMS);
}

static void equal_programs_get_equal_kernels(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 4; seed++) {
        Arena *arena = arena_new();
        uint64_t data_seed;
        size_t n_bytes;
        const char *texts[2];
        for (int i = 0; i < 2; i++) {
            Module *module = random_stage(arena, seed, N_STEPS, "layout", &data_seed);
            run_pass(module, "fuse");
            texts[i] = module_text(arena, module, &n_bytes);
        }
        expect_same_text("the second run", texts[0], texts[1]);
        arena_free(arena);
    }
}

/* ---- What may be fused ------------------------------------------------------------------------------------------ */

static const char *const mixture = "state \"grad:w\" grad : f32[16, 8]\n"
                                   "state \"w\" weight : f32[16, 8]\n"
                                   "graph main {\n"
                                   "  %x = input {name = \"x\"} : f32[32, 8]\n"
                                   "  %y = input {name = \"y\"} : f32[32, 16]\n"
                                   "  %w = state {name = \"w\"} : f32[16, 8]\n"
                                   "  %g = state {name = \"grad:w\"} : f32[16, 8]\n"
                                   "  %e = exp %x : f32[32, 8]\n"
                                   "  %n = neg %e : f32[32, 8]\n"
                                   "  %p = matmul %n, %w {mode = \"nt\"} : f32[32, 16]\n"
                                   "  %t = tanh %p : f32[32, 16]\n"
                                   "  %a = neg %y : f32[32, 16]\n"
                                   "  %b = exp %y : f32[32, 16]\n"
                                   "  %dw = matmul %y, %x {mode = \"tn\"} : f32[16, 8]\n"
                                   "  %u = accumulate %g, %dw : f32[16, 8]\n"
                                   "  output \"t\" = %t\n"
                                   "  output \"a\" = %a\n"
                                   "  output \"b\" = %b\n"
                                   "}\n";

/* The op before and the op behind of each place where two nodes share a kernel. */
static void expect_kernels(const char *only, const char *expected) {
    Program program = program_read(mixture);
    if (only) {
        Directive *directive = module_add_directive(program.module, "fuse", "", (Loc){0});
        attrs_set_string(program.arena, &directive->attrs, "only", only);
    }
    fuse_all(program.module);
    const char *found = "";
    for (Node *node = program.module->graphs[0]->first; node; node = node->next) {
        size_t n;
        if (!node->block)
            continue;
        Node **nodes = block_nodes(program.arena, node, &n);
        for (size_t i = 0; i < n; i++)
            found = arena_printf(program.arena, "%s%s%s", found, i > 0 ? " " : "", op_info(nodes[i]->op)->name);
        found = arena_printf(program.arena, "%s; ", found);
        node = nodes[n - 1];
    }
    assert_string_equal(found, expected);
    program_free(&program);
}

static void the_directive_says_what_may_be_fused(void **state) {
    (void)state;
    expect_kernels(NULL, "exp neg matmul tanh; neg exp; matmul accumulate; ");
    expect_kernels("rows,epilogue,prologue,siblings,accumulate,updates",
                   "exp neg matmul tanh; neg exp; matmul accumulate; ");
    expect_kernels("", "exp; neg; matmul; tanh; neg; exp; matmul; accumulate; ");
    expect_kernels("rows", "exp neg; matmul; tanh; neg; exp; matmul; accumulate; ");
    expect_kernels("epilogue", "exp; neg; matmul tanh; neg; exp; matmul; accumulate; ");
    expect_kernels("prologue", "exp neg matmul; tanh; neg; exp; matmul; accumulate; ");
    expect_kernels("siblings", "exp; neg; matmul; tanh; neg exp; matmul; accumulate; ");
    expect_kernels("accumulate", "exp; neg; matmul; tanh; neg; exp; matmul accumulate; ");
}

static void a_kind_that_is_none_is_an_error(void **state) {
    (void)state;
    static const char *const lists[] = {"row", "rows,", ",rows", "rows, epilogue", "rows,all"};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        Program program = program_read(mixture);
        Directive *directive = module_add_directive(program.module, "fuse", "", (Loc){0});
        attrs_set_string(program.arena, &directive->attrs, "only", lists[i]);
        char *text;
        size_t n_bytes;
        FILE *out = open_memstream(&text, &n_bytes);
        PlainReporter reporter;
        plain_reporter_init(&reporter, out);
        bool done = fuse_run(program.module, &reporter.base);
        fclose(out);
        assert_int_equal(done, i == 1); /* a list may end with a comma */
        assert_int_equal(reporter.base.n_errors, i != 1);
        free(text);
        program_free(&program);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_programs_compute_the_same), cmocka_unit_test(programs_about_states_compute_the_same),
        cmocka_unit_test(equal_programs_get_equal_kernels), cmocka_unit_test(the_directive_says_what_may_be_fused),
        cmocka_unit_test(a_kind_that_is_none_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
