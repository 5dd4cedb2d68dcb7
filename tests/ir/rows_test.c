// RUN: %unit %s
/* Nodes of random programs on parts of their rows: what the parts give, put together or added up, is what the whole
   gives. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "ir/rows.h"
#include "tests/support/program.h"
#include "tests/support/random_program.h"
#include "tests/support/stages.h"

enum { N_PROGRAMS = 40, N_STEPS = 12 };

/* Rows [start, start + extent) of a value. */
static Value *build_part(Builder *builder, Value *value, int64_t n_rows, int64_t start, int64_t extent) {
    Type flat = type_rows_part(&value->type, n_rows, n_rows);
    return build_slice(builder, build_reshape(builder, value, &flat), 0, start, extent);
}

static Node *build_node_part(Builder *builder, const Node *node, int64_t n_rows, int64_t start, int64_t extent) {
    Value *operands[8];
    assert_true(node->n_operands <= 8);
    for (int i = 0; i < node->n_operands; i++)
        operands[i] = rows_split_operand(node_rows(node, n_rows), i)
                          ? build_part(builder, node->operands[i], n_rows, start, extent)
                          : node->operands[i];
    return build_rows_part(builder, node, n_rows, extent, operands);
}

static Value *build_whole(Builder *builder, RowsKind kind, const Type *type, Value *first, Value *second) {
    if (kind == ROWS_SUM)
        return build_binary(builder, OP_add, first, second);
    Attrs attrs = {0};
    attrs_set_int(builder->graph->module->arena, &attrs, "dim", 0);
    return build_reshape(builder, build(builder, OP_concat, 2, (Value *[]){first, second}, &attrs), type);
}

/* Adds the node's results and the same from two parts as outputs, with names that end in their number. */
static void add_outputs(Arena *arena, Graph *graph, const Node *node, int64_t n_rows, int64_t n_first, int *n_outputs) {
    Builder builder = {.graph = graph, .before = node->next};
    Node *first = build_node_part(&builder, node, n_rows, 0, n_first);
    Node *second = build_node_part(&builder, node, n_rows, n_first, n_rows - n_first);
    for (int i = 0; i < node->n_results; i++) {
        Value *whole = build_whole(&builder, node_rows(node, n_rows).kind, &node->results[i].type, &first->results[i],
                                   &second->results[i]);
        graph_add_output(graph, arena_printf(arena, "whole %d", *n_outputs), &node->results[i]);
        graph_add_output(graph, arena_printf(arena, "parts %d", (*n_outputs)++), whole);
    }
}

/* Splits the node along each number of rows that its first operand or result has. */
static void split_node(Arena *arena, Graph *graph, Node *node, int *n_outputs, int *n_split) {
    const Value *shown = node->n_operands > 0 ? node->operands[node->n_operands - 1] : &node->results[0];
    const Type *types[] = {&shown->type, &node->results[0].type};
    int64_t tried = 1;
    for (int i = 0; i < 2; i++) {
        for (int dim = 1; dim <= types[i]->rank; dim++) {
            int64_t n_rows = type_span(types[i], 0, dim);
            if (n_rows == tried || node_rows(node, n_rows).kind == ROWS_NONE)
                continue;
            tried = n_rows;
            add_outputs(arena, graph, node, n_rows, 1 + n_rows / 3, n_outputs);
            n_split[node->op]++;
        }
    }
}

static void check_outputs(Arena *arena, Interpreter *interpreter, int n_outputs) {
    for (int i = 0; i < n_outputs; i++) {
        const Tensor *whole = interpreter_output(interpreter, arena_printf(arena, "whole %d", i));
        const Tensor *parts = interpreter_output(interpreter, arena_printf(arena, "parts %d", i));
        assert_true(type_equal(&whole->type, &parts->type));
        expect_near("parts", type_n_elements(&whole->type), parts->data, whole->data, 1e-12);
    }
}

static void split_graph(Module *module, const char *name, uint64_t data_seed, int *n_split) {
    Arena *arena = arena_new();
    Graph *graph = module_find_graph(module, name);
    int n_outputs = 0;
    for (Node *node = graph->first, *next; node; node = next) {
        next = node->next;
        split_node(arena, graph, node, &n_outputs, n_split);
    }
    const char *broken = module_verify(module);
    if (broken)
        fail_msg("%s", broken);
    Interpreter *interpreter = interpreter_new(arena, module);
    random_program_bind(interpreter, module, data_seed);
    const char *error = interpreter_run(interpreter, graph);
    if (error)
        fail_msg("%s", error);
    check_outputs(arena, interpreter, n_outputs);
    arena_free(arena);
}

static void parts_make_up_the_whole(void **state) {
    (void)state;
    int n_split[OP_COUNT] = {0};
    for (uint64_t seed = 0; seed < N_PROGRAMS; seed++) {
        Arena *arena = arena_new();
        uint64_t data_seed;
        Module *module = random_stage(arena, seed, N_STEPS, "autodiff", &data_seed);
        split_graph(module, "train", data_seed, n_split);
        arena_free(arena);
    }
    static const OpKind expected[] = {OP_constant,    OP_reshape,       OP_broadcast,  OP_transpose,
                                      OP_slice,       OP_mul,           OP_reduce_sum, OP_softmax,
                                      OP_logsumexp,   OP_concat,        OP_pad,        OP_gather,
                                      OP_scatter_add, OP_gather_last,   OP_matmul,     OP_scatter_last,
                                      OP_silu_grad,   OP_cross_entropy, OP_top_k,      OP_cross_entropy_grad,
                                      OP_histogram};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        if (n_split[expected[i]] == 0)
            fail_msg("no %s was split", op_info(expected[i])->name);
    }
}

/* ---- What has no rows ------------------------------------------------------------------------------------------- */

static Node *find_node(const Program *program, OpKind op) {
    for (Node *node = program->module->graphs[0]->first; node; node = node->next) {
        if (node->op == op)
            return node;
    }
    fail_msg("no %s", op_info(op)->name);
    return NULL;
}

static void dims_that_are_not_leading_are_no_rows(void **state) {
    (void)state;
    Program program = program_read("graph main {\n"
                                   "  %x = input {name = \"x\"} : f32[B=2, T=3, d=4]\n"
                                   "  %w = input {name = \"w\"} : f32[5, 4]\n"
                                   "  %t = transpose %x {perm = [1, 0, 2]} : f32[T=3, B=2, d=4]\n"
                                   "  %y = matmul %x, %w {mode = \"nt\"} : f32[B=2, T=3, 5]\n"
                                   "  %s = softmax %x : f32[B=2, T=3, d=4]\n"
                                   "  %r = reduce_sum %x {dims = [1]} : f32[B=2, d=4]\n"
                                   "  %b = broadcast %r {dims = [1, 2]} : f32[3, B=2, d=4]\n"
                                   "  output \"y\" = %y\n"
                                   "}\n");
    assert_int_equal(node_rows(find_node(&program, OP_transpose), 6).kind, ROWS_NONE);
    assert_int_equal(node_rows(find_node(&program, OP_matmul), 6).kind, ROWS_EACH);
    assert_int_equal(node_rows(find_node(&program, OP_matmul), 6).whole, 2);
    assert_int_equal(node_rows(find_node(&program, OP_matmul), 24).kind, ROWS_NONE);
    assert_int_equal(node_rows(find_node(&program, OP_matmul), 5).kind, ROWS_NONE);
    assert_int_equal(node_rows(find_node(&program, OP_softmax), 24).kind, ROWS_NONE);
    assert_int_equal(node_rows(find_node(&program, OP_reduce_sum), 2).kind, ROWS_EACH);
    assert_int_equal(node_rows(find_node(&program, OP_reduce_sum), 6).kind, ROWS_NONE);
    assert_int_equal(node_rows(find_node(&program, OP_broadcast), 3).whole, 1);
    assert_int_equal(node_rows(find_node(&program, OP_broadcast), 6).kind, ROWS_NONE);
    program_free(&program);
}

static void ragged_values_have_no_rows(void **state) {
    (void)state;
    Type type = {.dtype = DTYPE_F32, .rank = 2, .dims = {{.extent = 6, .is_ragged = true}, {.extent = 4}}};
    assert_int_equal(type_row_dims(&type, 6), 0);
    type.dims[0].is_ragged = false;
    assert_int_equal(type_row_dims(&type, 6), 1);
    assert_int_equal(type_row_dims(&type, 24), 2);
    assert_int_equal(type_row_dims(&type, 4), 0);
    assert_int_equal(type_row_dims(&type, 1), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_make_up_the_whole),
        cmocka_unit_test(dims_that_are_not_leading_are_no_rows),
        cmocka_unit_test(ragged_values_have_no_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
