// RUN: %unit %s
/* Kernel blocks of any nodes: gathering and scheduling keep values, the order of reads and writes of states, and blocks
   whole; what a block keeps to itself has no storage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ir/block.h"
#include "passes/liveness.h"
#include "passes/order.h"
#include "passes/passes.h"
#include "tests/support/program.h"
#include "tests/support/random_blocks.h"
#include "tests/support/random_states.h"
#include "tests/support/stages.h"

enum { N_PROGRAMS = 40, N_STEPS = 14 };

static int64_t peak_of(const Graph *graph) {
    Arena *arena = arena_new();
    Liveness liveness;
    assert_true(liveness_of(arena, graph, &liveness));
    arena_free(arena);
    return liveness.lower_bound;
}

static const Module *read_back(Arena *arena, const Module *module) {
    const char *error;
    size_t n_bytes;
    const char *text = module_text(arena, module, &n_bytes);
    const Module *again = module_read(arena, "again.ir", text, strlen(text), &error);
    if (!again)
        fail_msg("%s: %s", module->name, error);
    expect_same_text(module->name, text, module_text(arena, again, &n_bytes));
    return again;
}

/* Gathered, scheduled, planned and read again, `module` is as `expected`; blocks that are alone stay as they are. */
static void check_blocks(Arena *arena, const Module *expected, Module *module, uint64_t data_seed) {
    expect_same_values(expected, module, data_seed, 0);
    int64_t *peaks = arena_array_of(arena, int64_t, module->n_graphs);
    for (size_t i = 0; i < module->n_graphs; i++)
        peaks[i] = peak_of(module->graphs[i]);
    run_pass(module, "schedule");
    for (size_t i = 0; i < module->n_graphs; i++)
        assert_true(peak_of(module->graphs[i]) <= peaks[i]);
    run_pass(module, "memory");
    expect_same_values(expected, read_back(arena, module), data_seed, 0);
}

static void blocks_change_no_value(void **state) {
    (void)state;
    int n_blocks = 0;
    for (uint64_t seed = 0; seed < N_PROGRAMS; seed++) {
        Arena *arena = arena_new();
        uint64_t data_seed;
        const Module *expected = random_stage(arena, seed, N_STEPS, "layout", &data_seed);
        Module *module = random_stage(arena, seed, N_STEPS, "layout", &data_seed);
        n_blocks += random_blocks(module, seed);
        check_blocks(arena, expected, module, data_seed);
        arena_free(arena);
    }
    assert_true(n_blocks > 10 * N_PROGRAMS);
}

static void blocks_keep_the_order_of_reads_and_writes(void **state) {
    (void)state;
    int n_blocks = 0;
    for (uint64_t seed = 0; seed < 4 * N_PROGRAMS; seed++) {
        Arena *arena = arena_new();
        const Module *expected = random_state_program(arena, seed, 2 * N_STEPS);
        Module *module = random_state_program(arena, seed, 2 * N_STEPS);
        n_blocks += random_blocks(module, seed);
        check_blocks(arena, expected, module, seed);
        arena_free(arena);
    }
    assert_true(n_blocks > 2 * N_PROGRAMS);
}

/* ---- By hand ---------------------------------------------------------------------------------------------------- */

/* The node of the graph that has the hint. */
static Node *node_named(const Program *program, const char *hint) {
    Node *node = program->module->graphs[0]->first;
    while (node && (!node->results[0].hint || strcmp(node->results[0].hint, hint) != 0))
        node = node->next;
    assert_non_null(node);
    return node;
}

static void join(const Program *program, const char *hint, const char *other) {
    Node *node = node_named(program, hint);
    if (!node->block)
        node->block = block_new(program->module->graphs[0]);
    node_named(program, other)->block = node->block;
}

static void a_circle_is_refused(void **state) {
    (void)state;
    Program program = program_read("graph main {\n"
                                   "  %x = input {name = \"x\"} : f32[4]\n"
                                   "  %a = exp %x : f32[4]\n"
                                   "  %b = neg %a : f32[4]\n"
                                   "  %c = add %a, %b : f32[4]\n"
                                   "  output \"c\" = %c\n"
                                   "}\n");
    join(&program, "a", "c");
    assert_false(graph_gather_blocks(program.module->graphs[0]));
    assert_ptr_equal(node_named(&program, "a")->next, node_named(&program, "b"));
    join(&program, "a", "b");
    assert_true(graph_gather_blocks(program.module->graphs[0]));
    assert_null(module_verify(program.module));
    program_free(&program);
}

/* Each of two blocks reads what the other makes. */
static void a_circle_of_blocks_is_refused(void **state) {
    (void)state;
    Program program = program_read("graph main {\n"
                                   "  %x = input {name = \"x\"} : f32[4]\n"
                                   "  %a = exp %x : f32[4]\n"
                                   "  %b = neg %x : f32[4]\n"
                                   "  %c = tanh %a : f32[4]\n"
                                   "  %d = sqrt %b : f32[4]\n"
                                   "  output \"c\" = %c\n"
                                   "  output \"d\" = %d\n"
                                   "}\n");
    join(&program, "a", "d");
    assert_true(graph_gather_blocks(program.module->graphs[0]));
    join(&program, "b", "c");
    assert_false(graph_gather_blocks(program.module->graphs[0]));
    program_free(&program);
}

/* An update between two reads of the state, which can't be one kernel. */
static void an_update_keeps_its_readers_apart(void **state) {
    (void)state;
    Program program = program_read("state \"s\" weight : f32[4]\n"
                                   "graph main {\n"
                                   "  %s = state {name = \"s\"} : f32[4]\n"
                                   "  %x = input {name = \"x\"} : f32[4]\n"
                                   "  %a = neg %s : f32[4]\n"
                                   "  %u = accumulate %s, %x : f32[4]\n"
                                   "  %c = exp %s : f32[4]\n"
                                   "  output \"a\" = %a\n"
                                   "  output \"c\" = %c\n"
                                   "}\n");
    join(&program, "a", "c");
    assert_false(graph_gather_blocks(program.module->graphs[0]));
    program_free(&program);
}

static const char *const stored = "state \"s\" weight : f32[8, 16]\n"
                                  "graph main {\n"
                                  "  %x = input {name = \"x\"} : f32[8, 16]\n"
                                  "  %s = state {name = \"s\"} : f32[8, 16]\n"
                                  "  kernel {\n"
                                  "    %inside = exp %x : f32[8, 16]\n"
                                  "    %view = transpose %inside {perm = [1, 0]} : f32[16, 8]\n"
                                  "    %read = neg %view : f32[16, 8]\n"
                                  "    %viewed = tanh %view : f32[16, 8]\n"
                                  "    %out = sqrt %viewed : f32[16, 8]\n"
                                  "    %u = accumulate %s, %inside : f32[8, 16]\n"
                                  "    %unread = neg %inside : f32[8, 16]\n"
                                  "  }\n"
                                  "  %flat = reshape %viewed : f32[128]\n"
                                  "  %after = neg %flat : f32[128]\n"
                                  "  %other = exp %read : f32[16, 8]\n"
                                  "  output \"after\" = %after\n"
                                  "  output \"other\" = %other\n"
                                  "  output \"out\" = %out\n"
                                  "}\n";

static bool escapes(const Program *program, const char *hint) {
    return block_escapes(program->arena, program->module->graphs[0])[node_named(program, hint)->results[0].number];
}

static void what_others_read_escapes(void **state) {
    (void)state;
    Program program = program_read(stored);
    assert_false(escapes(&program, "inside"));
    assert_false(escapes(&program, "unread"));
    assert_false(escapes(&program, "u"));
    assert_true(escapes(&program, "read"));
    assert_true(escapes(&program, "viewed"));
    assert_true(escapes(&program, "out"));
    assert_true(escapes(&program, "x"));
    assert_true(escapes(&program, "after"));
    program_free(&program);
}

/* The kernel fills its three results while it reads x; then x's place is free for the two that follow. */
static void a_block_is_one_moment(void **state) {
    (void)state;
    Program program = program_read(stored);
    run_pass(program.module, "memory");
    const Graph *graph = program.module->graphs[0];
    enum { SIZE = 8 * 16 * 4 };
    assert_int_equal(attrs_int(&graph->attrs, "lower_bound", 0), 4 * SIZE);
    int n;
    const int64_t *offsets = attrs_ints(&graph->attrs, "offsets", &n);
    static const struct {
        const char *hint;
        bool is_stored;
    } expected[] = {{"x", true},   {"s", false}, {"inside", false}, {"view", false}, {"read", true},  {"viewed", true},
                    {"out", true}, {"u", false}, {"unread", false}, {"flat", false}, {"after", true}, {"other", true}};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        assert_int_equal(offsets[node_named(&program, expected[i].hint)->results[0].number] >= 0,
                         expected[i].is_stored);
    program_free(&program);
}

static void a_block_lists_its_nodes(void **state) {
    (void)state;
    Program program = program_read(stored);
    size_t n;
    Node **nodes = block_nodes(program.arena, node_named(&program, "inside"), &n);
    assert_int_equal(n, 6);
    assert_ptr_equal(nodes[0], node_named(&program, "inside"));
    assert_ptr_equal(nodes[1], node_named(&program, "read"));
    assert_ptr_equal(nodes[5], node_named(&program, "unread"));
    for (size_t i = 0; i < n; i++)
        assert_int_equal(block_ends_at(nodes[i]), i == n - 1);
    program_free(&program);
}

/* A copy has blocks of its own; a pass that changes nodes leaves none. */
static void clones_have_their_own_blocks(void **state) {
    (void)state;
    Program program = program_read(stored);
    const Graph *graph = program.module->graphs[0], *copy = graph_clone(graph, "copy");
    assert_null(module_verify(program.module));
    const Node *b = copy->first;
    for (const Node *a = graph->first; a; a = a->next, b = b->next) {
        assert_int_equal(!a->block, !b->block);
        assert_true(!a->block || a->block != b->block);
    }
    run_pass(program.module, "simplify");
    for (const Node *node = graph->first; node; node = node->next)
        assert_null(node->block);
    program_free(&program);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_change_no_value),
        cmocka_unit_test(blocks_keep_the_order_of_reads_and_writes),
        cmocka_unit_test(a_circle_is_refused),
        cmocka_unit_test(a_circle_of_blocks_is_refused),
        cmocka_unit_test(an_update_keeps_its_readers_apart),
        cmocka_unit_test(what_others_read_escapes),
        cmocka_unit_test(a_block_is_one_moment),
        cmocka_unit_test(a_block_lists_its_nodes),
        cmocka_unit_test(clones_have_their_own_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
