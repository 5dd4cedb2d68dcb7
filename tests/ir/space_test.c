// RUN: %unit
/* Which nodes fit one kernel block, in which roles, and why not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "ir/space.h"

typedef struct {
    Arena *arena;
    Module *module;
    Node *nodes[SPACE_MAX_NODES + 1]; /* that compute, of the first graph */
    size_t n_nodes;
} Fixture;

/* The nodes of a graph with this text between its braces. */
static void read_graph(Fixture *at, const char *text) {
    at->arena = arena_new();
    const char *error;
    const char *whole = arena_printf(at->arena, "module m\ngraph main {\n%s\n}\n", text);
    at->module = module_read(at->arena, "test", whole, strlen(whole), &error);
    if (!at->module)
        fail_msg("%s", error);
    graph_number(at->module->graphs[0]);
    at->n_nodes = 0;
    for (Node *node = at->module->graphs[0]->first; node; node = node->next) {
        OpClass class = op_info(node->op)->class;
        if (class != OP_CLASS_LEAF && class != OP_CLASS_VIEW)
            at->nodes[at->n_nodes++] = node;
    }
}

static Space *accepted(Fixture *at, const char *text) {
    const char *reason;
    read_graph(at, text);
    Space *space = space_of(at->arena, at->nodes, at->n_nodes, &reason);
    if (!space)
        fail_msg("refused: %s", reason);
    return space;
}

static void refused(const char *text, const char *expected) {
    Fixture at;
    const char *reason;
    read_graph(&at, text);
    assert_null(space_of(at.arena, at.nodes, at.n_nodes, &reason));
    if (!strstr(reason, expected))
        fail_msg("expected a reason with \"%s\", found \"%s\"", expected, reason);
    arena_free(at.arena);
}

static void test_norm_has_rows_and_columns(void **unused) {
    (void)unused;
    Fixture at;
    Space *space = accepted(&at, "%x = input {name = \"x\"} : f32[2, 3, 8]\n"
                                 "%y = mul %x, %x : f32[2, 3, 8]\n"
                                 "%s = reduce_sum %y {dims = [2]} : f32[2, 3]\n"
                                 "%r = rsqrt %s : f32[2, 3]\n"
                                 "%b = broadcast %r {dims = [0, 1]} : f32[2, 3, 8]\n"
                                 "%z = mul %x, %b : f32[2, 3, 8]\n");
    assert_int_equal(space->kind, SPACE_ROWS);
    assert_int_equal(space->n_rows, 6);
    assert_int_equal(space->n_cols, 8);
    assert_int_equal(space->n_row_indices, 2);
    assert_int_equal(space->n_col_indices, 1);
    const Role roles[] = {ROLE_FULL, ROLE_ROW, ROLE_ROW, ROLE_FULL};
    assert_memory_equal(space->roles, roles, sizeof roles);
    View view;
    int64_t strides[SPACE_MAX_INDICES];
    assert_true(space_map(space, at.nodes[3]->operands[1], ROLE_FULL, &view, strides));
    assert_ptr_equal(view.owner, &at.nodes[2]->results[0]);
    const int64_t expected[] = {3, 1, 0};
    assert_memory_equal(strides, expected, sizeof expected);
    arena_free(at.arena);
}

static void test_dims_are_refined(void **unused) {
    (void)unused;
    Fixture at;
    Space *space = accepted(&at, "%x = input {name = \"x\"} : f32[6, 8]\n"
                                 "%w = input {name = \"w\"} : f32[4]\n"
                                 "%y = exp %x : f32[6, 8]\n"
                                 "%h = reshape %y : f32[6, 2, 4]\n"
                                 "%b = broadcast %w {dims = [2]} : f32[6, 2, 4]\n"
                                 "%z = mul %h, %b : f32[6, 2, 4]\n"
                                 "%s = reduce_sum %z {dims = [1, 2]} : f32[6]\n");
    const int64_t extents[] = {6, 2, 4};
    assert_int_equal(space->n_row_indices, 1);
    assert_int_equal(space->n_col_indices, 2);
    assert_memory_equal(space->extents, extents, sizeof extents);
    arena_free(at.arena);
}

static void test_sum_over_rows_is_col(void **unused) {
    (void)unused;
    Fixture at;
    Space *space = accepted(&at, "%x = input {name = \"x\"} : f32[6, 8]\n"
                                 "%y = exp %x : f32[6, 8]\n"
                                 "%s = reduce_sum %y {dims = [0]} : f32[8]\n");
    assert_int_equal(space->roles[1], ROLE_COL);
    assert_int_equal(space->n_rows, 6);
    arena_free(at.arena);
}

static void test_product_has_prologue_and_epilogue(void **unused) {
    (void)unused;
    Fixture at;
    Space *space = accepted(&at, "%x = input {name = \"x\"} : f32[5, 8]\n"
                                 "%experts = input {name = \"e\"} : i32[5, 2]\n"
                                 "%w = input {name = \"w\"} : f32[3, 4, 8]\n"
                                 "%u = input {name = \"u\"} : f32[3, 4, 8]\n"
                                 "%offsets = input {name = \"o\"} : i32[4]\n"
                                 "%slots = input {name = \"s\"} : i32[~10]\n"
                                 "%rows = dispatch %x, %slots, %experts : f32[~10, 8]\n"
                                 "%g = grouped_matmul %rows, %w, %offsets {mode = \"nt\"} : f32[~10, 4]\n"
                                 "%v = grouped_matmul %rows, %u, %offsets {mode = \"nt\"} : f32[~10, 4]\n"
                                 "%a = silu %g : f32[~10, 4]\n"
                                 "%h = mul %a, %v : f32[~10, 4]\n");
    assert_int_equal(space->kind, SPACE_PRODUCT);
    assert_int_equal(space->n_rows, 10);
    assert_int_equal(space->n_cols, 4);
    assert_int_equal(space->n_products, 2);
    assert_int_equal(space->n_operands, 3);
    assert_int_equal(space->products[0].lhs, space->products[1].lhs);
    assert_int_equal(space->n_nodes, 4); /* without the dispatch */
    Space *part = space->operands[space->products[0].lhs].part;
    assert_non_null(part);
    assert_int_equal(part->n_rows, 10);
    assert_int_equal(part->n_cols, 8);
    assert_null(space->operands[space->products[0].rhs].part);
    arena_free(at.arena);
}

static void test_reasons(void **unused) {
    (void)unused;
    refused("%x = input {name = \"x\"} : f32[6, 8]\n"
            "%y = exp %x : f32[6, 8]\n"
            "%t = transpose %y {perm = [1, 0]} : f32[8, 6]\n"
            "%z = exp %t : f32[8, 6]\n",
            "rows and columns");
    refused("%x = input {name = \"x\"} : f32[8, 8]\n"
            "%y = exp %x : f32[8, 8]\n"
            "%t = transpose %y {perm = [1, 0]} : f32[8, 8]\n"
            "%z = exp %t : f32[8, 8]\n",
            "another order");
    refused("%x = input {name = \"x\"} : f32[6, 8]\n"
            "%s = reduce_sum %x {dims = [0]} : f32[8]\n"
            "%b = broadcast %s {dims = [1]} : f32[6, 8]\n"
            "%z = mul %x, %b : f32[6, 8]\n",
            "only at the end");
    refused("%x = input {name = \"x\"} : f32[6, 8, 3]\n"
            "%s = reduce_sum %x {dims = [1]} : f32[6, 3]\n",
            "neither whole rows nor whole columns");
    refused("%x = input {name = \"x\"} : f32[6, 8]\n"
            "%a = reduce_sum %x {dims = [1]} : f32[6]\n"
            "%s = reduce_sum %x {dims = [0, 1]} : f32[]\n",
            "has 1 rows of 48 columns, and the others 6 of 8");
    refused("%x = input {name = \"x\"} : f32[4, 4]\n"
            "%y = matmul %x, %x {mode = \"nt\"} : f32[4, 4]\n"
            "%z = matmul %y, %x {mode = \"nt\"} : f32[4, 4]\n",
            "multiplies what another product");
    refused("%x = input {name = \"x\"} : f32[4, 4]\n"
            "%y = matmul %x, %x {mode = \"nt\"} : f32[4, 4]\n"
            "%s = reduce_sum %y {dims = [1]} : f32[4]\n",
            "parts of a product's result");
    refused("%x = input {name = \"x\"} : f32[4, 4]\n"
            "%i = input {name = \"i\"} : i32[4, 2]\n"
            "%q = gather_last %x, %i : f32[4, 2]\n",
            "kernel of its own");
}

static void test_route_has_scores(void **unused) {
    (void)unused;
    Fixture at;
    Space *space = accepted(&at, "%x = input {name = \"x\"} : f32[2, 3, 8]\n"
                                 "%p = softmax %x : f32[2, 3, 8]\n"
                                 "%q, %e = top_k %p {k = 2} : f32[2, 3, 2], i32[2, 3, 2]\n"
                                 "%n = histogram %e {bins = 8} : f32[8]\n"
                                 "%o, %s, %r = route %e {experts = 8, capacity = 0} : i32[9], i32[~12], i32[2, 3, 2]\n"
                                 "%l = logsumexp %x : f32[2, 3]\n");
    assert_int_equal(space->kind, SPACE_ROUTE);
    assert_int_equal(space->n_rows, 6);
    assert_int_equal(space->n_cols, 8);
    assert_int_equal(space->n_nodes, 2);
    assert_ptr_equal(space->top_k, at.nodes[1]);
    assert_ptr_equal(space->histogram, at.nodes[2]);
    assert_ptr_equal(space->route, at.nodes[3]);
    arena_free(at.arena);
}

#define CHOSEN "%x = input {name = \"x\"} : f32[4, 4]\n%q, %e = top_k %x {k = 4} : f32[4, 4], i32[4, 4]\n"

static void test_reasons_of_routes(void **unused) {
    (void)unused;
    refused(CHOSEN "%y = exp %q : f32[4, 4]\n", "reads what top_k makes");
    refused(CHOSEN "%s = reduce_sum %x {dims = [0]} : f32[4]\n", "no part of choosing experts");
    refused(CHOSEN "%y = matmul %x, %x {mode = \"nt\"} : f32[4, 4]\n", "no part of choosing experts");
    refused(CHOSEN "%n = histogram %e {bins = 5} : f32[5]\n", "has 5 experts, and there are 4");
    refused(CHOSEN "%n = histogram %e {bins = 4} : f32[4]\n%m = histogram %e {bins = 4} : f32[4]\n",
            "is there already");
    refused(CHOSEN "%g = input {name = \"g\"} : i32[4, 4]\n%n = histogram %g {bins = 4} : f32[4]\n",
            "of other experts");
    refused(CHOSEN "%t = transpose %e {perm = [1, 0]} : i32[4, 4]\n%n = histogram %t {bins = 4} : f32[4]\n",
            "not dense");
    refused("%x = input {name = \"x\"} : f32[2, 5000]\n"
            "%y = exp %x : f32[2, 5000]\n"
            "%q, %e = top_k %y {k = 2} : f32[2, 2], i32[2, 2]\n",
            "more than 4096 computed scores");
}

static void test_loss_reads_rows_and_one_element_of_each(void **unused) {
    (void)unused;
    Fixture at;
    Space *space = accepted(&at, "%x = input {name = \"x\"} : f32[2, 3, 8]\n"
                                 "%t = input {name = \"t\"} : i32[2, 3]\n"
                                 "%y = tanh %x : f32[2, 3, 8]\n"
                                 "%n, %l = cross_entropy %y, %t : f32[2, 3], f32[2, 3]\n"
                                 "%d = cross_entropy_grad %y, %t, %l, %n : f32[2, 3, 8]\n");
    assert_int_equal(space->n_rows, 6);
    assert_int_equal(space->n_cols, 8);
    const Role roles[] = {ROLE_FULL, ROLE_ROW, ROLE_FULL};
    assert_memory_equal(space->roles, roles, sizeof roles);
    arena_free(at.arena);
}

#define TENSORS                                                                                                        \
    "%q = input {name = \"q\"} : f32[2, 3, 4, 8]\n"                                                                    \
    "%k = input {name = \"k\"} : f32[2, 3, 2, 8]\n"                                                                    \
    "%table = input {name = \"table\"} : f32[3, 4, 2]\n"
#define ATTENDED(q) "%o, %l = attention " q ", %k, %k {scale = 0.5} : f32[2, 3, 4, 8], f32[2, 4, 3]\n"

static void test_attention_has_parts_and_bodies(void **unused) {
    (void)unused;
    Fixture at;
    Space *space = accepted(&at, TENSORS "%x = exp %q : f32[2, 3, 4, 8]\n"
                                         "%y = rope %x, %table : f32[2, 3, 4, 8]\n" ATTENDED(
                                             "%y") "%m = reshape %o : f32[6, 32]\n"
                                                   "%z = neg %o : f32[2, 3, 4, 8]\n"
                                                   "%w = rope %z, %table {inverse = true} : f32[2, 3, 4, 8]\n");
    assert_int_equal(space->kind, SPACE_ATTENTION);
    assert_ptr_equal(space->attention, at.nodes[2]);
    assert_int_equal(space->n_operands, 3);
    const Space *part = space->operands[0].part, *body = space->bodies[0];
    assert_non_null(part);
    assert_int_equal(part->n_nodes, 2);
    assert_int_equal(part->n_rows, 24);
    assert_int_equal(part->n_cols, 8);
    assert_true(part->has_pairs);
    assert_int_equal(part->extents[part->n_row_indices], 2);
    assert_null(space->operands[1].part);
    assert_non_null(body);
    assert_ptr_equal(body->given, &at.nodes[2]->results[0]);
    assert_int_equal(body->n_nodes, 2);
    assert_null(space->bodies[1]);
    assert_false(space_can_store(space, at.nodes[1]));
    assert_true(space_can_store(space, at.nodes[2]));
    assert_true(space_can_store(space, at.nodes[4]));
    arena_free(at.arena);
}

static void test_reasons_of_attention(void **unused) {
    (void)unused;
    refused(TENSORS ATTENDED("%q") "%p, %n = attention %q, %k, %k {scale = 2} : f32[2, 3, 4, 8], f32[2, 4, 3]\n",
            "attention has a kernel of its own");
    refused(TENSORS "%y = rope %q, %table : f32[2, 3, 4, 8]\n", "rope has a kernel of its own");
    refused(TENSORS "%x = exp %k : f32[2, 3, 2, 8]\n" ATTENDED("%q"), "has nothing to do with the attention beside it");
    refused(TENSORS ATTENDED("%q") "%s = reduce_sum %o {dims = [3]} : f32[2, 3, 4]\n",
            "reduce_sum can't be done on parts of attention's result or operand");
    refused(TENSORS "%x = exp %q : f32[2, 3, 4, 8]\n" ATTENDED("%x") "%z = mul %x, %o : f32[2, 3, 4, 8]\n",
            "reads what an operand of attention is made from");
    refused(TENSORS ATTENDED("%q") "%z = exp %l : f32[2, 4, 3]\n", "exp is done with no vectors of attention");
    refused(TENSORS ATTENDED("%q") "%t = transpose %o {perm = [0, 2, 1, 3]} : f32[2, 4, 3, 8]\n"
                                   "%z = exp %t : f32[2, 4, 3, 8]\n",
            "has dims that do not line up with those of the others");
    refused(TENSORS "%n = input {name = \"n\"} : f32[2, 2, 3]\n"
                    "%g, %h, %i = attention_grad %k, %k, %k, %k, %n, %k {scale = 1} : f32[2, 3, 2, 8], "
                    "f32[2, 3, 2, 8], f32[2, 3, 2, 8]\n"
                    "%z = add %g, %h : f32[2, 3, 2, 8]\n",
            "reads two results of attention");
    refused("%q = input {name = \"q\"} : f32[2, 3, 4, 2]\n%t = input {name = \"t\"} : f32[3, 1, 2]\n"
            "%x = rope %q, %t : f32[2, 3, 4, 2]\n"
            "%o, %l = attention %x, %q, %q {scale = 0.5} : f32[2, 3, 4, 2], f32[2, 4, 3]\n",
            "rope has a kernel of its own");
}

static void test_sums_of_many_tensors_are_in_pieces(void **unused) {
    (void)unused;
    Fixture at;
    Space *space = accepted(&at, "%x = input {name = \"x\"} : f32[2, 3]\n"
                                 "%y = input {name = \"y\"} : f32[5]\n"
                                 "%s = sum_squares %x, %y : f32[]\n"
                                 "%n = sqrt %s : f32[]\n");
    assert_int_equal(space->n_pieces, 2);
    assert_int_equal(space->n_rows, 1);
    assert_int_equal(space->n_cols, 11);
    assert_ptr_equal(space_piece(space, 0, 1), at.nodes[0]->operands[1]);
    const Role roles[] = {ROLE_ROW, ROLE_ROW};
    assert_memory_equal(space->roles, roles, sizeof roles);
    arena_free(at.arena);
    refused("%x = input {name = \"x\"} : f32[2, 3]\n"
            "%y = input {name = \"y\"} : f32[5]\n"
            "%s = sum_squares %x, %y : f32[]\n"
            "%t = sum_squares %y, %x : f32[]\n",
            "adds up other tensors than the one before it");
    refused("%x = input {name = \"x\"} : f32[2, 3]\n"
            "%y = input {name = \"y\"} : f32[5]\n"
            "%s = sum_squares %x, %y : f32[]\n"
            "%z = input {name = \"z\"} : f32[11]\n"
            "%e = exp %z : f32[11]\n",
            "are not of one element or one list of tensors");
    refused("%x = input {name = \"x\"} : f32[2, 3]\n"
            "%y = input {name = \"y\"} : f32[1]\n"
            "%z = exp %y : f32[1]\n"
            "%s = sum_squares %x, %z : f32[]\n",
            "needs all of what exp makes");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_norm_has_rows_and_columns),
        cmocka_unit_test(test_dims_are_refined),
        cmocka_unit_test(test_sum_over_rows_is_col),
        cmocka_unit_test(test_product_has_prologue_and_epilogue),
        cmocka_unit_test(test_loss_reads_rows_and_one_element_of_each),
        cmocka_unit_test(test_sums_of_many_tensors_are_in_pieces),
        cmocka_unit_test(test_reasons),
        cmocka_unit_test(test_route_has_scores),
        cmocka_unit_test(test_reasons_of_routes),
        cmocka_unit_test(test_attention_has_parts_and_bodies),
        cmocka_unit_test(test_reasons_of_attention),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
