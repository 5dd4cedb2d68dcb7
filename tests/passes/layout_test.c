// RUN: %unit %s
/* Every operand and output of random programs has the layout that spec/ir.md promises, and no value has changed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "ir/view.h"
#include "passes/passes.h"
#include "tests/support/program.h"
#include "tests/support/random_states.h"
#include "tests/support/stages.h"

enum { N_PROGRAMS = 60, N_STEPS = 12 };

static void check_operand(const Node *node, int i) {
    Value *operand = node->operands[i];
    OpClass class = op_info(node->op)->class;
    bool reads_any = class == OP_CLASS_MAP || node->op == OP_reduce_sum;
    View view;
    if (!view_of(operand, &view))
        fail_msg("operand %d of %s has no affine map", i, op_info(node->op)->name);
    if (reads_any)
        return;
    bool reads_vectors = node->op == OP_attention || node->op == OP_attention_grad;
    if (!(reads_vectors ? view_has_vectors(&view, &operand->type) : view_is_dense(&view, &operand->type)))
        fail_msg("operand %d of %s is not dense", i, op_info(node->op)->name);
    if (view.owner->def->op == OP_constant)
        fail_msg("operand %d of %s is a constant", i, op_info(node->op)->name);
}

static void check_output(const Output *output) {
    View view;
    if (!view_of(output->value, &view) || !view_is_dense(&view, &output->value->type))
        fail_msg("output %s is not dense", output->name);
    if (op_info(view.owner->def->op)->class == OP_CLASS_LEAF)
        fail_msg("output %s shares storage with %s", output->name, op_info(view.owner->def->op)->name);
}

static void check_layout(const Module *module) {
    for (size_t i = 0; i < module->n_graphs; i++) {
        const Graph *graph = module->graphs[i];
        for (const Node *node = graph->first; node; node = node->next) {
            for (int j = 0; j < node->n_operands && op_info(node->op)->class != OP_CLASS_VIEW; j++)
                check_operand(node, j);
        }
        for (size_t j = 0; j < graph->n_outputs; j++)
            check_output(&graph->outputs[j]);
    }
}

/* Of the module's graphs together. */
static size_t count_copies(const Module *module) {
    size_t n_copies = 0;
    for (size_t i = 0; i < module->n_graphs; i++) {
        for (const Node *node = module->graphs[i]->first; node; node = node->next)
            n_copies += node->op == OP_copy;
    }
    return n_copies;
}

/* With `before` simplified and as autodiff and optimizer leave it: there, constants have views. */
static void check_random_programs(const char *before) {
    for (uint64_t seed = 0; seed < N_PROGRAMS; seed++) {
        Arena *arena = arena_new();
        uint64_t data_seed;
        const Module *expected = random_stage(arena, seed, N_STEPS, before, &data_seed);
        Module *module = random_stage(arena, seed, N_STEPS, before, &data_seed);
        run_pass(module, "layout");
        check_layout(module);
        expect_same_values(expected, module, data_seed, 0);
        size_t n_copies = count_copies(module);
        run_pass(module, "layout");
        assert_int_equal(count_copies(module), n_copies); /* what is laid out stays so */
        arena_free(arena);
    }
}

static void random_programs_are_laid_out(void **state) {
    (void)state;
    check_random_programs("simplify");
}

static void unsimplified_programs_are_laid_out(void **state) {
    (void)state;
    check_random_programs("optimizer");
}

static void reads_of_states_stay_where_they_are(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 4 * N_PROGRAMS; seed++) {
        Arena *arena = arena_new();
        const Module *expected = random_state_program(arena, seed, 2 * N_STEPS);
        Module *module = random_state_program(arena, seed, 2 * N_STEPS);
        run_pass(module, "layout");
        check_layout(module);
        expect_same_values(expected, module, seed, 0);
        arena_free(arena);
    }
}

/* ---- How many copies ------------------------------------------------------------------------------------------ */

/* Copies after the pass in graph main with this body; x f32[4, 3, 2], w f32[3, 4, 2] are inputs, s f32[4, 6] a state.
 */
static size_t copies_of(const char *body) {
    Arena *arena = arena_new();
    Program program = program_read(arena_printf(arena,
                                                "state \"s\" weight : f32[4, 6]\n"
                                                "graph main {\n"
                                                "  %%x = input {name = \"x\"} : f32[4, 3, 2]\n"
                                                "  %%w = input {name = \"w\"} : f32[3, 4, 2]\n"
                                                "  %%s = state {name = \"s\"} : f32[4, 6]\n"
                                                "%s}\n",
                                                body));
    run_pass(program.module, "layout");
    check_layout(program.module);
    size_t n_copies = count_copies(program.module);
    program_free(&program);
    arena_free(arena);
    return n_copies;
}

static void maps_read_through_views(void **state) {
    (void)state;
    assert_int_equal(copies_of("  %t = transpose %x {perm = [1, 0, 2]} : f32[3, 4, 2]\n"
                               "  %y = add %t, %w : f32[3, 4, 2]\n"
                               "  output \"y\" = %y\n"),
                     0);
}

static void others_share_one_copy(void **state) {
    (void)state;
    assert_int_equal(copies_of("  %t = transpose %x {perm = [1, 0, 2]} : f32[3, 4, 2]\n"
                               "  %y = softmax %t : f32[3, 4, 2]\n"
                               "  %z = logsumexp %t : f32[3, 4]\n"
                               "  output \"y\" = %y\n"
                               "  output \"z\" = %z\n"),
                     1);
}

/* Two reshapes of one transpose: the transpose is copied, not each reshape. */
static void the_inner_view_is_copied(void **state) {
    (void)state;
    assert_int_equal(copies_of("  %t = transpose %x {perm = [1, 0, 2]} : f32[3, 4, 2]\n"
                               "  %a = reshape %t : f32[12, 2]\n"
                               "  %b = reshape %t : f32[3, 8]\n"
                               "  %y = softmax %a : f32[12, 2]\n"
                               "  %z = softmax %b : f32[3, 8]\n"
                               "  output \"y\" = %y\n"
                               "  output \"z\" = %z\n"),
                     1);
}

static void dense_views_are_read_as_they_are(void **state) {
    (void)state;
    assert_int_equal(copies_of("  %r = reshape %x : f32[2, 12]\n"
                               "  %a = slice %r {dim = 0, start = 1} : f32[1, 12]\n"
                               "  %y = softmax %a : f32[1, 12]\n"
                               "  output \"y\" = %y\n"),
                     0);
}

/* Heads before positions, and a slice of each vector. Vectors whose elements are apart have a copy. */
static void attention_reads_vectors_where_they_are(void **state) {
    (void)state;
    assert_int_equal(copies_of("  %q = reshape %x : f32[1, 3, 4, 2]\n"
                               "  %h = transpose %q {perm = [0, 2, 1, 3]} : f32[1, 4, 3, 2]\n"
                               "  %k = slice %h {dim = 3, start = 1} : f32[1, 4, 3, 1]\n"
                               "  %o, %l = attention %k, %k, %k {scale = 1.0} : f32[1, 4, 3, 1], f32[1, 3, 4]\n"
                               "  %p, %m = attention %h, %h, %h {scale = 1.0} : f32[1, 4, 3, 2], f32[1, 3, 4]\n"
                               "  output \"o\" = %o\n"
                               "  output \"p\" = %p\n"),
                     0);
    assert_int_equal(copies_of("  %q = reshape %x : f32[1, 3, 2, 4]\n"
                               "  %h = transpose %q {perm = [0, 3, 1, 2]} : f32[1, 4, 3, 2]\n"
                               "  %o, %l = attention %h, %h, %h {scale = 1.0} : f32[1, 4, 3, 2], f32[1, 3, 4]\n"
                               "  output \"o\" = %o\n"),
                     1);
}

static void outputs_that_no_kernel_fills_are_copied(void **state) {
    (void)state;
    assert_int_equal(copies_of("  %r = reshape %x : f32[2, 12]\n"
                               "  output \"x\" = %x\n"
                               "  output \"r\" = %r\n"
                               "  output \"s\" = %s\n"),
                     2);
}

static void views_without_affine_map_get_a_copy_in_between(void **state) {
    (void)state;
    assert_int_equal(copies_of("  %t = transpose %x {perm = [1, 0, 2]} : f32[3, 4, 2]\n"
                               "  %a = reshape %t : f32[12, 2]\n"
                               "  %b = transpose %a {perm = [1, 0]} : f32[2, 12]\n"
                               "  %y = exp %b : f32[2, 12]\n"
                               "  output \"y\" = %y\n"),
                     1);
    assert_int_equal(copies_of("  %t = transpose %x {perm = [1, 0, 2]} : f32[3, 4, 2]\n"
                               "  %a = reshape %t : f32[12, 2]\n"
                               "  %b = transpose %a {perm = [1, 0]} : f32[2, 12]\n"
                               "  %y = softmax %b : f32[2, 12]\n"
                               "  output \"y\" = %y\n"),
                     2);
}

/* The copy before the broadcast has 24 elements, behind it 240. */
static void the_small_side_of_a_broadcast_is_copied(void **state) {
    (void)state;
    Program program = program_read("graph main {\n"
                                   "  %x = input {name = \"x\"} : f32[4, 3, 2]\n"
                                   "  %t = transpose %x {perm = [1, 0, 2]} : f32[3, 4, 2]\n"
                                   "  %b = broadcast %t {dims = [0, 1, 3]} : f32[3, 4, 10, 2]\n"
                                   "  %r = reshape %b : f32[12, 10, 2]\n"
                                   "  %y = exp %r : f32[12, 10, 2]\n"
                                   "  output \"y\" = %y\n"
                                   "}\n");
    run_pass(program.module, "layout");
    check_layout(program.module);
    assert_int_equal(count_copies(program.module), 1);
    for (const Node *node = program.module->graphs[0]->first; node; node = node->next) {
        if (node->op == OP_copy)
            assert_int_equal(type_n_elements(&node->results[0].type), 24);
    }
    program_free(&program);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_programs_are_laid_out),
        cmocka_unit_test(unsimplified_programs_are_laid_out),
        cmocka_unit_test(reads_of_states_stay_where_they_are),
        cmocka_unit_test(maps_read_through_views),
        cmocka_unit_test(others_share_one_copy),
        cmocka_unit_test(the_inner_view_is_copied),
        cmocka_unit_test(dense_views_are_read_as_they_are),
        cmocka_unit_test(attention_reads_vectors_where_they_are),
        cmocka_unit_test(outputs_that_no_kernel_fills_are_copied),
        cmocka_unit_test(views_without_affine_map_get_a_copy_in_between),
        cmocka_unit_test(the_small_side_of_a_broadcast_is_copied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
