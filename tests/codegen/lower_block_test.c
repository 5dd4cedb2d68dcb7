// RUN: %unit
/* Blocks in the kernel form against the same nodes in the IR's interpreter. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "codegen/lower_block.h"
#include "ir/block.h"
#include "ir/interpret.h"
#include "tests/support/random.h"

/* Nodes that have kernels of their own stand before the block and fill what it reads. */
typedef struct {
    Arena *arena;
    Module *module;
    Graph *graph;
    Interpreter *interpreter;
    Node *nodes[SPACE_MAX_NODES];
    size_t n_nodes;
    bool *escapes;
    Tensor states[4]; /* as they were before the run */
} Fixture;

static void read_module(Fixture *at, const char *states, const char *text) {
    const char *error;
    const char *whole = arena_printf(at->arena, "module m\n%s\ngraph main {\n%s\n}\n", states, text);
    at->module = module_read(at->arena, "test", whole, strlen(whole), &error);
    if (!at->module)
        fail_msg("%s", error);
    at->graph = at->module->graphs[0];
    graph_number(at->graph);
}

static bool is_of_route(const Node *node) {
    return node->op == OP_top_k || node->op == OP_histogram || node->op == OP_route;
}

/* The nodes that can be in a block; what routes, only in one of that kind. */
static void choose_nodes(Fixture *at, FormKind kind) {
    const char *reason;
    Block *block = block_new(at->graph);
    at->n_nodes = 0;
    for (Node *node = at->graph->first; node; node = node->next) {
        bool is_turned = node->op == OP_rope && (kind == FORM_KIND_ATTENTION || kind == FORM_KIND_ATTENTION_GRAD);
        if (!node_computes(node) || (is_of_route(node) && kind != FORM_KIND_ROUTE) ||
            (!is_turned && !space_of(at->arena, &node, 1, &reason)))
            continue;
        node->block = block;
        at->nodes[at->n_nodes++] = node;
    }
    at->escapes = block_escapes(at->arena, at->graph);
}

static void run_interpreter(Fixture *at) {
    uint64_t seed = 1;
    at->interpreter = interpreter_new(at->arena, at->module);
    for (size_t i = 0; i < at->module->n_states; i++) {
        at->states[i] = tensor_new(at->arena, &at->module->states[i]->type);
        random_fill(&at->states[i], seed++, -1, 1);
        interpreter_set_state(at->interpreter, at->module->states[i]->name, at->states[i]);
    }
    for (Node *node = at->graph->first; node; node = node->next) {
        if (node->op != OP_input)
            continue;
        Tensor input = tensor_new(at->arena, &node->results[0].type);
        random_fill(&input, seed++, input.type.dtype == DTYPE_I32 ? 0 : -1, input.type.dtype == DTYPE_I32 ? 3 : 1);
        interpreter_set_input(at->interpreter, attrs_string(&node->attrs, "name", ""), input);
    }
    const char *error = interpreter_run(at->interpreter, at->graph);
    if (error)
        fail_msg("%s", error);
}

static const Tensor *before_run(const Fixture *at, const Value *owner) {
    for (size_t i = 0; i < at->module->n_states && owner->def->op == OP_state; i++) {
        if (strcmp(at->module->states[i]->name, attrs_string(&owner->def->attrs, "name", "")) == 0)
            return &at->states[i];
    }
    return interpreter_value(at->interpreter, owner);
}

/* Values of an argument before the kernel runs; NaN where it is to write. */
static double *argument_values(const Fixture *at, const FormArg *arg, const LoweredArgument *place) {
    double *values = arena_array_of(at->arena, double, (size_t)arg->n_elements);
    const Tensor *source = arg->access == FORM_OUT ? NULL : before_run(at, place->owner);
    for (int64_t i = 0; i < arg->n_elements; i++)
        values[i] = source ? source->data[place->offset + i] : NAN;
    return values;
}

static void compare(const Fixture *at, Value *value, const double *actual) {
    const Tensor *expected = interpreter_value(at->interpreter, value);
    for (int64_t i = 0; i < type_n_elements(&value->type); i++) {
        double e = expected->data[i], a = actual[i];
        bool is_nobodys = isnan(e) && type_is_ragged(&value->type);
        if (!is_nobodys && !(fabs(a - e) <= 1e-12 * fmax(1, fabs(e))))
            fail_msg("%%%u element %lld: %.17g, expected %.17g", value->number, (long long)i, a, e);
    }
}

static void check(const char *states, const char *text, FormKind kind) {
    Fixture at = {.arena = arena_new()};
    const char *reason;
    read_module(&at, states, text);
    choose_nodes(&at, kind);
    run_interpreter(&at);
    Space *space = space_of(at.arena, at.nodes, at.n_nodes, &reason);
    if (!space)
        fail_msg("refused: %s", reason);
    LoweredBlock lowered = lower_block(at.arena, space, &(LoweredStorage){.escapes = at.escapes}, "kernel", true);
    const Form *form = lowered.form;
    assert_int_equal(form->kind, kind);
    reason = form_verify(at.arena, form);
    if (reason) {
        form_print(stderr, form);
        fail_msg("%s", reason);
    }
    double **args = arena_array_of(at.arena, double *, form->n_args);
    for (size_t i = 0; i < form->n_args; i++)
        args[i] = argument_values(&at, &form->args[i], &lowered.arguments[i]);
    reason = form_interpret(at.arena, form, args);
    if (reason)
        fail_msg("%s", reason);
    size_t n_checked = 0;
    for (size_t i = 0; i < at.n_nodes; i++) {
        for (size_t j = 0; j < form->n_args; j++) {
            for (int k = 0; k < at.nodes[i]->n_results && form->args[j].access != FORM_IN; k++) {
                Value *value = &at.nodes[i]->results[k];
                if (lowered.arguments[j].owner != view_owner(value))
                    continue;
                compare(&at, value, args[j]);
                n_checked++;
            }
        }
    }
    assert_true(n_checked >= at.graph->n_outputs && n_checked > 0);
    arena_free(at.arena);
}

static void test_rms_norm(void **unused) {
    (void)unused;
    check("state \"w\" weight : f32[5] {init = \"normal\"}",
          "%x = input {name = \"x\"} : f32[2, 3, 5]\n"
          "%w = state {name = \"w\"} : f32[5]\n"
          "%y = mul %x, %x : f32[2, 3, 5]\n"
          "%s = reduce_sum %y {dims = [2]} : f32[2, 3]\n"
          "%c = constant {value = 0.2} : f32[2, 3]\n"
          "%m = mul %s, %c : f32[2, 3]\n"
          "%r = rsqrt %m : f32[2, 3]\n"
          "%b = broadcast %r {dims = [0, 1]} : f32[2, 3, 5]\n"
          "%z = mul %x, %b : f32[2, 3, 5]\n"
          "%g = broadcast %w {dims = [2]} : f32[2, 3, 5]\n"
          "%o = mul %z, %g : f32[2, 3, 5]\n"
          "output \"o\" = %o\n output \"r\" = %r\n",
          FORM_KIND_ROWS);
}

static void test_softmax_over_heads(void **unused) {
    (void)unused;
    check("",
          "%x = input {name = \"x\"} : f32[4, 6]\n"
          "%t = input {name = \"t\"} : f32[3, 2, 4]\n"
          "%p = transpose %t {perm = [2, 1, 0]} : f32[4, 2, 3]\n"
          "%h = reshape %x : f32[4, 2, 3]\n"
          "%a = add %h, %p : f32[4, 2, 3]\n"
          "%f = reshape %a : f32[4, 6]\n"
          "%s = softmax %f : f32[4, 6]\n"
          "%l = logsumexp %f : f32[4]\n"
          "output \"s\" = %s\n output \"l\" = %l\n",
          FORM_KIND_ROWS);
}

static void test_column_sums_are_accumulated(void **unused) {
    (void)unused;
    check("state \"w\" weight : f32[5] {init = \"normal\"}\nstate \"grad:w\" grad : f32[5]",
          "%x = input {name = \"x\"} : f32[2, 3, 5]\n"
          "%d = input {name = \"d\"} : f32[2, 3, 5]\n"
          "%g = state {name = \"grad:w\"} : f32[5]\n"
          "%y = mul %x, %d : f32[2, 3, 5]\n"
          "%s = reduce_sum %y {dims = [0, 1]} : f32[5]\n"
          "%a = accumulate %g, %s : f32[5]\n"
          "output \"y\" = %y\n",
          FORM_KIND_ROWS);
}

/* The loss of capped logits, and its gradient as far as the cap. */
static void test_loss_of_what_is_made_on_the_way(void **unused) {
    (void)unused;
    check("",
          "%x = input {name = \"x\"} : f32[2, 3, 5]\n"
          "%t = input {name = \"t\"} : i32[2, 3]\n"
          "%d = input {name = \"d\"} : f32[2, 3]\n"
          "%u = tanh %x : f32[2, 3, 5]\n"
          "%n, %l = cross_entropy %u, %t : f32[2, 3], f32[2, 3]\n"
          "%f = mul %d, %n : f32[2, 3]\n"
          "%g = cross_entropy_grad %u, %t, %l, %f : f32[2, 3, 5]\n"
          "%o = mul %g, %u : f32[2, 3, 5]\n"
          "output \"n\" = %n\n output \"l\" = %l\n output \"o\" = %o\n",
          FORM_KIND_ROWS);
}

static void test_norm_of_everything(void **unused) {
    (void)unused;
    check("",
          "%x = input {name = \"x\"} : f32[2, 3, 5]\n"
          "%t = transpose %x {perm = [2, 0, 1]} : f32[5, 2, 3]\n"
          "%y = exp %t : f32[5, 2, 3]\n"
          "%a = sum_squares %y : f32[]\n"
          "%b = reduce_sum %y {dims = [0, 1, 2]} : f32[]\n"
          "%c = add %a, %b : f32[]\n"
          "%n = sqrt %c : f32[]\n"
          "%i = reduce_sum %y {dims = []} : f32[5, 2, 3]\n"
          "output \"n\" = %n\n output \"i\" = %i\n",
          FORM_KIND_ROWS);
}

/* top_k and route stand before the block. */
#define ROUTED                                                                                                         \
    "%x = input {name = \"x\"} : f32[7, 6]\n"                                                                          \
    "%l = input {name = \"l\"} : f32[7, 3]\n"                                                                          \
    "%w, %e = top_k %l {k = 2} : f32[7, 2], i32[7, 2]\n"                                                               \
    "%offsets, %slots, %rows = route %e {experts = 3, capacity = 4} : i32[4], i32[~12], i32[7, 2]\n"

static void test_routing_with_probabilities(void **unused) {
    (void)unused;
    check("",
          "%l = input {name = \"l\"} : f32[2, 9, 5]\n"
          "%p = softmax %l : f32[2, 9, 5]\n"
          "%w, %e = top_k %p {k = 2} : f32[2, 9, 2], i32[2, 9, 2]\n"
          "%n = histogram %e {bins = 5} : f32[5]\n"
          "%offsets, %slots, %rows = route %e {experts = 5, capacity = 6} : i32[6], i32[~30], i32[2, 9, 2]\n"
          "%z = logsumexp %l : f32[2, 9]\n"
          "output \"w\" = %w\n output \"n\" = %n\n output \"z\" = %z\n output \"o\" = %offsets\n"
          "output \"s\" = %slots\n output \"r\" = %rows\n",
          FORM_KIND_ROUTE);
}

static void test_experts_that_are_given(void **unused) {
    (void)unused;
    check("",
          "%e = input {name = \"e\"} : i32[8, 2]\n"
          "%n = histogram %e {bins = 4} : f32[4]\n"
          "%offsets, %slots, %rows = route %e {experts = 4, capacity = 0} : i32[5], i32[~16], i32[8, 2]\n"
          "output \"n\" = %n\n output \"o\" = %offsets\n output \"s\" = %slots\n output \"r\" = %rows\n",
          FORM_KIND_ROUTE);
}

/* Of one projection; queries are normed by row before they are turned, results are stored before and after. */
static void test_attention_with_all_around_it(void **unused) {
    (void)unused;
    check("",
          "%x = input {name = \"x\"} : f32[2, 5, 40]\n"
          "%n = input {name = \"n\"} : f32[2, 5, 3]\n"
          "%t = input {name = \"t\"} : f32[5, 4, 2]\n"
          "%a = slice %x {dim = 2, start = 0} : f32[2, 5, 24]\n"
          "%b = reshape %a : f32[2, 5, 3, 8]\n"
          "%e = exp %n : f32[2, 5, 3]\n"
          "%f = broadcast %e {dims = [0, 1, 2]} : f32[2, 5, 3, 8]\n"
          "%g = mul %b, %f : f32[2, 5, 3, 8]\n"
          "%h = tanh %g : f32[2, 5, 3, 8]\n"
          "%q = rope %h, %t : f32[2, 5, 3, 8]\n"
          "%c = slice %x {dim = 2, start = 24} : f32[2, 5, 8]\n"
          "%k = reshape %c : f32[2, 5, 1, 8]\n"
          "%r = rope %k, %t : f32[2, 5, 1, 8]\n"
          "%d = slice %x {dim = 2, start = 32} : f32[2, 5, 8]\n"
          "%u = reshape %d : f32[2, 5, 1, 8]\n"
          "%v = relu %u : f32[2, 5, 1, 8]\n"
          "%o, %l = attention %q, %r, %v {scale = 0.5} : f32[2, 5, 3, 8], f32[2, 3, 5]\n"
          "%m = neg %o : f32[2, 5, 3, 8]\n"
          "%w = rope %m, %t {inverse = true} : f32[2, 5, 3, 8]\n"
          "%y = mul %w, %b : f32[2, 5, 3, 8]\n"
          "output \"o\" = %o\n output \"w\" = %w\n output \"y\" = %y\n",
          FORM_KIND_ATTENTION);
}

/* One sequence and one head of keys, rope of rope, a gradient that nobody reads. */
static void test_gradient_of_attention_with_all_around_it(void **unused) {
    (void)unused;
    check("",
          "%x = input {name = \"x\"} : f32[1, 7, 2, 12]\n"
          "%k = input {name = \"k\"} : f32[1, 7, 1, 12]\n"
          "%o = input {name = \"o\"} : f32[1, 7, 2, 12]\n"
          "%l = input {name = \"l\"} : f32[1, 2, 7]\n"
          "%d = input {name = \"d\"} : f32[1, 7, 24]\n"
          "%t = input {name = \"t\"} : f32[7, 6, 2]\n"
          "%p = rope %x, %t : f32[1, 7, 2, 12]\n"
          "%q = rope %p, %t {inverse = true} : f32[1, 7, 2, 12]\n"
          "%e = reshape %d : f32[1, 7, 2, 12]\n"
          "%f = tanh %e : f32[1, 7, 2, 12]\n"
          "%dq, %dk, %dv = attention_grad %q, %k, %k, %o, %l, %f {scale = 0.4, window = 3} : f32[1, 7, 2, 12], "
          "f32[1, 7, 1, 12], f32[1, 7, 1, 12]\n"
          "%g = rope %dq, %t {inverse = true} : f32[1, 7, 2, 12]\n"
          "%h = add %dk, %k : f32[1, 7, 1, 12]\n"
          "%i = reshape %h : f32[7, 12]\n"
          "output \"g\" = %g\n output \"i\" = %i\n",
          FORM_KIND_ATTENTION_GRAD);
}

static void test_combine_and_residual(void **unused) {
    (void)unused;
    check("",
          ROUTED "%y = input {name = \"y\"} : f32[~12, 6]\n"
                 "%c = combine %y, %slots, %rows : f32[7, 6]\n"
                 "%o = add %x, %c : f32[7, 6]\n"
                 "%q = mul %o, %o : f32[7, 6]\n"
                 "%s = reduce_sum %q {dims = [1]} : f32[7]\n"
                 "output \"o\" = %o\n output \"s\" = %s\n",
          FORM_KIND_ROWS);
}

static void test_gate_and_up_with_gathered_rows(void **unused) {
    (void)unused;
    check("state \"g\" weight : f32[3, 5, 6] {init = \"normal\"}\nstate \"u\" weight : f32[3, 5, 6] {init = "
          "\"normal\"}",
          ROUTED "%gw = state {name = \"g\"} : f32[3, 5, 6]\n"
                 "%uw = state {name = \"u\"} : f32[3, 5, 6]\n"
                 "%r = dispatch %x, %slots, %rows : f32[~12, 6]\n"
                 "%g = grouped_matmul %r, %gw, %offsets {mode = \"nt\"} : f32[~12, 5]\n"
                 "%u = grouped_matmul %r, %uw, %offsets {mode = \"nt\"} : f32[~12, 5]\n"
                 "%s = silu %g : f32[~12, 5]\n"
                 "%h = mul %s, %u : f32[~12, 5]\n"
                 "%p = dispatch %w, %slots, %rows {per_slot = true} : f32[~12]\n"
                 "%b = broadcast %p {dims = [0]} : f32[~12, 5]\n"
                 "%o = mul %h, %b : f32[~12, 5]\n"
                 "output \"o\" = %o\n output \"g\" = %g\n",
          FORM_KIND_PRODUCT);
}

static void test_weights_gradient_of_made_rows(void **unused) {
    (void)unused;
    check("state \"w\" weight : f32[3, 6, 5] {init = \"normal\"}\nstate \"grad:w\" grad : f32[3, 6, 5]",
          ROUTED "%g = input {name = \"g\"} : f32[~12, 5]\n"
                 "%u = input {name = \"u\"} : f32[~12, 5]\n"
                 "%grad = state {name = \"grad:w\"} : f32[3, 6, 5]\n"
                 "%r = dispatch %x, %slots, %rows : f32[~12, 6]\n"
                 "%s = silu %g : f32[~12, 5]\n"
                 "%h = mul %s, %u : f32[~12, 5]\n"
                 "%d = grouped_matmul %r, %h, %offsets {mode = \"tn\"} : f32[3, 6, 5]\n"
                 "%a = accumulate %grad, %d : f32[3, 6, 5]\n",
          FORM_KIND_PRODUCT);
}

static void test_sum_of_products_with_bias_and_residual(void **unused) {
    (void)unused;
    check("state \"v\" weight : f32[4, 5] {init = \"normal\"}\nstate \"w\" weight : f32[3, 5] {init = \"normal\"}\n"
          "state \"b\" weight : f32[5] {init = \"normal\"}",
          "%x = input {name = \"x\"} : f32[2, 3, 4]\n"
          "%y = input {name = \"y\"} : f32[2, 3, 3]\n"
          "%z = input {name = \"z\"} : f32[2, 3, 5]\n"
          "%v = state {name = \"v\"} : f32[4, 5]\n"
          "%w = state {name = \"w\"} : f32[3, 5]\n"
          "%b = state {name = \"b\"} : f32[5]\n"
          "%p = matmul %x, %v {mode = \"nn\"} : f32[2, 3, 5]\n"
          "%q = matmul %y, %w {mode = \"nn\"} : f32[2, 3, 5]\n"
          "%s = add %q, %p : f32[2, 3, 5]\n"
          "%c = broadcast %b {dims = [2]} : f32[2, 3, 5]\n"
          "%t = add %s, %c : f32[2, 3, 5]\n"
          "%o = add %t, %z : f32[2, 3, 5]\n"
          "output \"o\" = %o\n",
          FORM_KIND_PRODUCT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rms_norm),
        cmocka_unit_test(test_softmax_over_heads),
        cmocka_unit_test(test_column_sums_are_accumulated),
        cmocka_unit_test(test_loss_of_what_is_made_on_the_way),
        cmocka_unit_test(test_norm_of_everything),
        cmocka_unit_test(test_routing_with_probabilities),
        cmocka_unit_test(test_experts_that_are_given),
        cmocka_unit_test(test_combine_and_residual),
        cmocka_unit_test(test_attention_with_all_around_it),
        cmocka_unit_test(test_gradient_of_attention_with_all_around_it),
        cmocka_unit_test(test_gate_and_up_with_gathered_rows),
        cmocka_unit_test(test_weights_gradient_of_made_rows),
        cmocka_unit_test(test_sum_of_products_with_bias_and_residual),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
