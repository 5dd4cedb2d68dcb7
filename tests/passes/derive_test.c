// RUN: %unit %s
/* The derivative of each op, against central differences: one small program an op, or one for each way to use it. The
   loss is the sum of every output "y*" of the program times random numbers. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "passes/derive.h"
#include "passes/passes.h"
#include "tests/support/gradcheck.h"
#include "tests/support/program.h"

/* Weights are drawn from [low, high), or [-1, 1) if both are 0; i32 inputs from [0, n_indices). */
typedef struct {
    const char *name; /* the op, then what is special */
    const char *states;
    const char *body; /* of graph forward */
    double low, high;
    double n_indices;
} Case;

#define A23 "state \"a\" weight : f32[2, 3]\n"
#define UNARY(op)                                                                                                      \
    "  %0 = state {name = \"a\"} : f32[2, 3]\n"                                                                        \
    "  %1 = " op " %0 : f32[2, 3]\n"                                                                                   \
    "  output \"y\" = %1\n"
#define BINARY(op)                                                                                                     \
    "  %0 = state {name = \"a\"} : f32[2, 3]\n"                                                                        \
    "  %1 = state {name = \"b\"} : f32[2, 3]\n"                                                                        \
    "  %2 = " op " %0, %1 : f32[2, 3]\n"                                                                               \
    "  output \"y\" = %2\n"
#define A23_B23 A23 "state \"b\" weight : f32[2, 3]\n"

/* Two tokens of two choices among three experts; capacity leaves out one slot of the indices below. */
#define ROUTE                                                                                                          \
    "  %0 = input {name = \"indices\"} : i32[3, 2]\n"                                                                  \
    "  %1, %2, %3 = route %0 {experts = 3, capacity = 2} : i32[4], i32[~6], i32[3, 2]\n"

static const Case cases[] = {
    {"copy", A23, UNARY("copy"), 0, 0, 0},
    {"neg", A23, UNARY("neg"), 0, 0, 0},
    {"exp", A23, UNARY("exp"), 0, 0, 0},
    {"log", A23, UNARY("log"), 0.5, 2, 0},
    {"sqrt", A23, UNARY("sqrt"), 0.5, 2, 0},
    {"rsqrt", A23, UNARY("rsqrt"), 0.5, 2, 0},
    {"tanh", A23, UNARY("tanh"), 0, 0, 0},
    {"sigmoid", A23, UNARY("sigmoid"), -3, 3, 0},
    {"relu", A23, UNARY("relu"), 0, 0, 0},
    {"silu", A23, UNARY("silu"), -3, 3, 0},
    {"gelu", A23, UNARY("gelu"), -3, 3, 0},
    {"gelu_tanh", A23, UNARY("gelu_tanh"), -3, 3, 0},
    {"softmax", A23, UNARY("softmax"), -2, 2, 0},
    {"add", A23_B23, BINARY("add"), 0, 0, 0},
    {"sub", A23_B23, BINARY("sub"), 0, 0, 0},
    {"mul", A23_B23, BINARY("mul"), 0, 0, 0},
    {"div", A23_B23, BINARY("div"), 0.5, 2, 0},
    {"mul of a value with itself", A23,
     "  %0 = state {name = \"a\"} : f32[2, 3]\n"
     "  %1 = mul %0, %0 : f32[2, 3]\n"
     "  output \"y\" = %1\n",
     0, 0, 0},

    {"reshape", A23,
     "  %0 = state {name = \"a\"} : f32[2, 3]\n"
     "  %1 = reshape %0 : f32[3, 1, 2]\n"
     "  output \"y\" = %1\n",
     0, 0, 0},
    {"broadcast to dims around and between", A23,
     "  %0 = state {name = \"a\"} : f32[2, 3]\n"
     "  %1 = broadcast %0 {dims = [1, 3]} : f32[2, 2, 4, 3, 2]\n"
     "  output \"y\" = %1\n",
     0, 0, 0},
    {"broadcast of a scalar", "state \"a\" weight : f32[]\n",
     "  %0 = state {name = \"a\"} : f32[]\n"
     "  %1 = broadcast %0 {dims = []} : f32[2, 3]\n"
     "  output \"y\" = %1\n",
     0, 0, 0},
    {"transpose of three dims", "state \"a\" weight : f32[2, 3, 4]\n",
     "  %0 = state {name = \"a\"} : f32[2, 3, 4]\n"
     "  %1 = transpose %0 {perm = [1, 2, 0]} : f32[3, 4, 2]\n"
     "  output \"y\" = %1\n",
     0, 0, 0},
    {"slice", "state \"a\" weight : f32[2, 5, 2]\n",
     "  %0 = state {name = \"a\"} : f32[2, 5, 2]\n"
     "  %1 = slice %0 {dim = 1, start = 1} : f32[2, 3, 2]\n"
     "  output \"y\" = %1\n",
     0, 0, 0},

    {"reduce_sum of an inner dim", "state \"a\" weight : f32[2, 3, 4]\n",
     "  %0 = state {name = \"a\"} : f32[2, 3, 4]\n"
     "  %1 = reduce_sum %0 {dims = [1]} : f32[2, 4]\n"
     "  output \"y\" = %1\n",
     0, 0, 0},
    {"reduce_sum of outer dims", "state \"a\" weight : f32[2, 3, 4]\n",
     "  %0 = state {name = \"a\"} : f32[2, 3, 4]\n"
     "  %1 = reduce_sum %0 {dims = [0, 2]} : f32[3]\n"
     "  output \"y\" = %1\n",
     0, 0, 0},
    {"logsumexp", A23,
     "  %0 = state {name = \"a\"} : f32[2, 3]\n"
     "  %1 = logsumexp %0 : f32[2]\n"
     "  output \"y\" = %1\n",
     -2, 2, 0},

    {"concat of three, one of them twice", "state \"a\" weight : f32[2, 1, 2]\nstate \"b\" weight : f32[2, 3, 2]\n",
     "  %0 = state {name = \"a\"} : f32[2, 1, 2]\n"
     "  %1 = state {name = \"b\"} : f32[2, 3, 2]\n"
     "  %2 = concat %0, %1, %0 {dim = 1} : f32[2, 5, 2]\n"
     "  output \"y\" = %2\n",
     0, 0, 0},
    {"pad", A23,
     "  %0 = state {name = \"a\"} : f32[2, 3]\n"
     "  %1 = pad %0 {dim = 1, before = 2, after = 1} : f32[2, 6]\n"
     "  output \"y\" = %1\n",
     0, 0, 0},
    {"gather, rows more than once", "state \"a\" weight : f32[3, 2]\n",
     "  %0 = state {name = \"a\"} : f32[3, 2]\n"
     "  %1 = input {name = \"indices\"} : i32[2, 4]\n"
     "  %2 = gather %0, %1 : f32[2, 4, 2]\n"
     "  output \"y\" = %2\n",
     0, 0, 3},
    {"scatter_add", "state \"a\" weight : f32[2, 4, 2]\n",
     "  %0 = state {name = \"a\"} : f32[2, 4, 2]\n"
     "  %1 = input {name = \"indices\"} : i32[2, 4]\n"
     "  %2 = scatter_add %0, %1 {rows = 3} : f32[3, 2]\n"
     "  output \"y\" = %2\n",
     0, 0, 3},
    {"gather_last", "state \"a\" weight : f32[3, 4]\n",
     "  %0 = state {name = \"a\"} : f32[3, 4]\n"
     "  %1 = input {name = \"indices\"} : i32[3, 2]\n"
     "  %2 = gather_last %0, %1 : f32[3, 2]\n"
     "  output \"y\" = %2\n",
     0, 0, 4},
    {"scatter_last", "state \"a\" weight : f32[3, 2]\n",
     "  %0 = state {name = \"a\"} : f32[3, 2]\n"
     "  %1 = input {name = \"indices\"} : i32[3, 2]\n"
     "  %2 = scatter_last %0, %1 {extent = 4} : f32[3, 4]\n"
     "  output \"y\" = %2\n",
     0, 0, 4},

    {"matmul nt", "state \"a\" weight : f32[2, 2, 3]\nstate \"b\" weight : f32[4, 3]\n",
     "  %0 = state {name = \"a\"} : f32[2, 2, 3]\n"
     "  %1 = state {name = \"b\"} : f32[4, 3]\n"
     "  %2 = matmul %0, %1 {mode = \"nt\"} : f32[2, 2, 4]\n"
     "  output \"y\" = %2\n",
     0, 0, 0},
    {"matmul nn", "state \"a\" weight : f32[2, 2, 3]\nstate \"b\" weight : f32[3, 4]\n",
     "  %0 = state {name = \"a\"} : f32[2, 2, 3]\n"
     "  %1 = state {name = \"b\"} : f32[3, 4]\n"
     "  %2 = matmul %0, %1 {mode = \"nn\"} : f32[2, 2, 4]\n"
     "  output \"y\" = %2\n",
     0, 0, 0},
    {"matmul tn", "state \"a\" weight : f32[2, 2, 3]\nstate \"b\" weight : f32[2, 2, 4]\n",
     "  %0 = state {name = \"a\"} : f32[2, 2, 3]\n"
     "  %1 = state {name = \"b\"} : f32[2, 2, 4]\n"
     "  %2 = matmul %0, %1 {mode = \"tn\"} : f32[3, 4]\n"
     "  output \"y\" = %2\n",
     0, 0, 0},

    /* Ragged values come from dispatch and go to combine or grouped_sum, which alone know which rows are in use. */
    {"dispatch, and combine of tokens", "state \"a\" weight : f32[3, 2]\n",
     ROUTE "  %4 = state {name = \"a\"} : f32[3, 2]\n"
           "  %5 = dispatch %4, %2, %3 : f32[~6, 2]\n"
           "  %6 = tanh %5 : f32[~6, 2]\n"
           "  %7 = combine %6, %2, %3 : f32[3, 2]\n"
           "  output \"y\" = %7\n",
     0, 0, 3},
    {"combine and dispatch of slots", "state \"a\" weight : f32[3, 2, 2]\n",
     ROUTE "  %4 = state {name = \"a\"} : f32[3, 2, 2]\n"
           "  %5 = dispatch %4, %2, %3 {per_slot = true} : f32[~6, 2]\n"
           "  %6 = tanh %5 : f32[~6, 2]\n"
           "  %7 = combine %6, %2, %3 {per_slot = true} : f32[3, 2, 2]\n"
           "  output \"y\" = %7\n",
     0, 0, 3},
    {"grouped_matmul nt", "state \"a\" weight : f32[3, 2]\nstate \"w\" weight : f32[3, 4, 2]\n",
     ROUTE "  %4 = state {name = \"a\"} : f32[3, 2]\n"
           "  %5 = dispatch %4, %2, %3 : f32[~6, 2]\n"
           "  %6 = state {name = \"w\"} : f32[3, 4, 2]\n"
           "  %7 = grouped_matmul %5, %6, %1 {mode = \"nt\"} : f32[~6, 4]\n"
           "  %8 = combine %7, %2, %3 : f32[3, 4]\n"
           "  output \"y\" = %8\n",
     0, 0, 3},
    {"grouped_matmul nn", "state \"a\" weight : f32[3, 2]\nstate \"w\" weight : f32[3, 2, 4]\n",
     ROUTE "  %4 = state {name = \"a\"} : f32[3, 2]\n"
           "  %5 = dispatch %4, %2, %3 : f32[~6, 2]\n"
           "  %6 = state {name = \"w\"} : f32[3, 2, 4]\n"
           "  %7 = grouped_matmul %5, %6, %1 {mode = \"nn\"} : f32[~6, 4]\n"
           "  %8 = combine %7, %2, %3 : f32[3, 4]\n"
           "  output \"y\" = %8\n",
     0, 0, 3},
    {"grouped_matmul tn", "state \"a\" weight : f32[3, 2]\nstate \"b\" weight : f32[3, 2, 4]\n",
     ROUTE "  %4 = state {name = \"a\"} : f32[3, 2]\n"
           "  %5 = dispatch %4, %2, %3 : f32[~6, 2]\n"
           "  %6 = state {name = \"b\"} : f32[3, 2, 4]\n"
           "  %7 = dispatch %6, %2, %3 {per_slot = true} : f32[~6, 4]\n"
           "  %8 = grouped_matmul %5, %7, %1 {mode = \"tn\"} : f32[3, 2, 4]\n"
           "  output \"y\" = %8\n",
     0, 0, 3},
    {"grouped_broadcast", "state \"w\" weight : f32[3, 2]\n",
     ROUTE "  %4 = state {name = \"w\"} : f32[3, 2]\n"
           "  %5 = grouped_broadcast %4, %1 {rows = 6} : f32[~6, 2]\n"
           "  %6 = combine %5, %2, %3 {per_slot = true} : f32[3, 2, 2]\n"
           "  output \"y\" = %6\n",
     0, 0, 3},
    {"grouped_sum", "state \"a\" weight : f32[3, 2, 2]\n",
     ROUTE "  %4 = state {name = \"a\"} : f32[3, 2, 2]\n"
           "  %5 = dispatch %4, %2, %3 {per_slot = true} : f32[~6, 2]\n"
           "  %6 = grouped_sum %5, %1 : f32[3, 2]\n"
           "  output \"y\" = %6\n",
     0, 0, 3},
    {"broadcast along the last dim of ragged rows", "state \"a\" weight : f32[3, 2]\n",
     ROUTE "  %4 = state {name = \"a\"} : f32[3, 2]\n"
           "  %5 = dispatch %4, %2, %3 {per_slot = true} : f32[~6]\n"
           "  %6 = broadcast %5 {dims = [0]} : f32[~6, 4]\n"
           "  %7 = combine %6, %2, %3 : f32[3, 4]\n"
           "  output \"y\" = %7\n",
     0, 0, 3},
    {"top_k", "state \"a\" weight : f32[3, 4]\n",
     "  %0 = state {name = \"a\"} : f32[3, 4]\n"
     "  %1, %2 = top_k %0 {k = 2} : f32[3, 2], i32[3, 2]\n"
     "  output \"y\" = %1\n",
     0, 0, 0},

    {"rope", "state \"a\" weight : f32[2, 3, 2, 4]\n",
     "  %0 = state {name = \"a\"} : f32[2, 3, 2, 4]\n"
     "  %1 = rope_table {theta = 10.0} : f32[3, 2, 2]\n"
     "  %2 = rope %0, %1 : f32[2, 3, 2, 4]\n"
     "  output \"y\" = %2\n",
     0, 0, 0},
    {"rope backwards", "state \"a\" weight : f32[2, 3, 2, 4]\n",
     "  %0 = state {name = \"a\"} : f32[2, 3, 2, 4]\n"
     "  %1 = rope_table {theta = 10.0} : f32[3, 2, 2]\n"
     "  %2 = rope %0, %1 {inverse = true} : f32[2, 3, 2, 4]\n"
     "  output \"y\" = %2\n",
     0, 0, 0},
#define QKV                                                                                                            \
    "state \"q\" weight : f32[2, 3, 4, 2]\n"                                                                           \
    "state \"k\" weight : f32[2, 3, 2, 2]\n"                                                                           \
    "state \"v\" weight : f32[2, 3, 2, 2]\n"
#define ATTENTION(window)                                                                                              \
    "  %0 = state {name = \"q\"} : f32[2, 3, 4, 2]\n"                                                                  \
    "  %1 = state {name = \"k\"} : f32[2, 3, 2, 2]\n"                                                                  \
    "  %2 = state {name = \"v\"} : f32[2, 3, 2, 2]\n"                                                                  \
    "  %3, %4 = attention %0, %1, %2 {scale = 0.7" window "} : f32[2, 3, 4, 2], f32[2, 4, 3]\n"
    {"attention", QKV, ATTENTION("") "  output \"y\" = %3\n", -2, 2, 0},
    {"attention in a window", QKV, ATTENTION(", window = 2") "  output \"y\" = %3\n", -2, 2, 0},
    {"attention, logsumexp", QKV, ATTENTION("") "  output \"y\" = %4\n", -2, 2, 0},
    {"attention in a window, both results", QKV,
     ATTENTION(", window = 2") "  output \"y0\" = %3\n  output \"y1\" = %4\n", -2, 2, 0},

#define CROSS_ENTROPY                                                                                                  \
    "  %0 = state {name = \"a\"} : f32[4, 5]\n"                                                                        \
    "  %1 = input {name = \"targets\"} : i32[4]\n"                                                                     \
    "  %2, %3 = cross_entropy %0, %1 : f32[4], f32[4]\n"
    {"cross_entropy", "state \"a\" weight : f32[4, 5]\n", CROSS_ENTROPY "  output \"y\" = %2\n", -2, 2, 5},
    {"cross_entropy, logsumexp", "state \"a\" weight : f32[4, 5]\n", CROSS_ENTROPY "  output \"y\" = %3\n", -2, 2, 5},
    {"cross_entropy, both results", "state \"a\" weight : f32[4, 5]\n",
     CROSS_ENTROPY "  output \"y0\" = %2\n  output \"y1\" = %3\n", -2, 2, 5},
};

enum { N_CASES = sizeof cases / sizeof *cases };

/* ---- From a case to a program ------------------------------------------------------------------------------------ */

/* The sum of y times the input "probe:NAME". */
static Value *build_probe(Builder *builder, const Output *output) {
    Value *y = output->value;
    const char *name = arena_printf(builder->graph->module->arena, "probe:%s", output->name);
    Value *product = build_binary(builder, OP_mul, y, build_input(builder, name, &y->type));
    int64_t dims[MAX_RANK] = {0, 1, 2, 3, 4, 5};
    return y->type.rank ? build_reduce_sum(builder, product, dims, y->type.rank) : product;
}

static void add_loss(Graph *graph) {
    Builder builder = {.graph = graph};
    Value *loss = NULL;
    size_t n_outputs = graph->n_outputs;
    for (size_t i = 0; i < n_outputs; i++) {
        Value *share = build_probe(&builder, &graph->outputs[i]);
        loss = loss ? build_binary(&builder, OP_add, loss, share) : share;
    }
    graph_add_output(graph, "loss", loss);
    graph_add_output(graph, "nll", loss);
}

static void bind(Program *program, const Case *at, const Graph *graph) {
    for (const Node *node = graph->first; node; node = node->next) {
        const char *name = attrs_string(&node->attrs, "name", "");
        uint64_t seed = (uint64_t)name[0] + 1000 * strlen(name);
        if (node->op == OP_input && node->results[0].type.dtype == DTYPE_I32)
            program_set_random(program, name, seed, 0, at->n_indices);
        else if (node->op == OP_input)
            program_set_random(program, name, seed, -1, 1);
        else if (node->op == OP_state)
            program_set_random(program, name, seed, at->low < at->high ? at->low : -1,
                               at->low < at->high ? at->high : 1);
    }
    interpreter_set_input(program->interpreter, "loss_scale", (Tensor){{.dtype = DTYPE_F32}, &(double){1}});
}

/* Autodiff takes the forward graph away; the check needs it. */
static void check_case(void **state) {
    const Case *at = *state;
    Arena *arena = arena_new();
    Program program = program_read(arena_printf(arena, "%sgraph forward {\n%s}\n", at->states, at->body));
    Graph *forward = module_find_graph(program.module, "forward");
    add_loss(forward);
    Graph *kept = graph_clone(forward, "kept");
    PlainReporter reporter;
    plain_reporter_init(&reporter, stderr);
    assert_true(autodiff_run(program.module, &reporter.base));
    assert_null(module_verify(program.module));
    bind(&program, at, kept);
    assert_null(gradcheck(arena, program.module, program.interpreter, &(Gradcheck){.forward = "kept"}));
    program_free(&program);
    arena_free(arena);
}

/* ---- The table is complete ----------------------------------------------------------------------------------------
 */

static bool has_case(const char *op) {
    size_t length = strlen(op);
    for (size_t i = 0; i < N_CASES; i++) {
        const char *name = cases[i].name;
        if (strncmp(name, op, length) == 0 && (name[length] == 0 || name[length] == ' ' || name[length] == ','))
            return true;
    }
    return false;
}

static void every_op_with_a_derivative_has_a_case(void **state) {
    (void)state;
    for (OpKind op = 0; op < OP_COUNT; op++) {
        bool has_derivative = derive_rule(op) != derive_none && derive_rule(op) != derive_never;
        if (has_derivative && !has_case(op_info(op)->name))
            fail_msg("no case for %s", op_info(op)->name);
    }
}

int main(void) {
    struct CMUnitTest tests[N_CASES + 1];
    for (size_t i = 0; i < N_CASES; i++)
        tests[i] = (struct CMUnitTest){cases[i].name, check_case, NULL, NULL, (void *)(uintptr_t)&cases[i]};
    tests[N_CASES] = (struct CMUnitTest)cmocka_unit_test(every_op_with_a_derivative_has_a_case);
    return _cmocka_run_group_tests("derivatives", tests, N_CASES + 1, NULL, NULL);
}
