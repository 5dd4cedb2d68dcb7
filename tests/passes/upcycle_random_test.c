// RUN: %unit %s
/* Random functions of one row, upcycled: the first forward pass stays the dense one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/program.h"
#include "tests/support/random.h"
#include "tests/support/stages.h"

enum { N_PROGRAMS = 200, N_ROWS = 5, N_IN = 4 };

typedef struct {
    Arena *arena;
    Module *module;
    Builder builder;
    uint64_t random;
    int n_weights;
} Generator;

static int64_t below(Generator *at, int64_t n) {
    return (int64_t)(random_uniform(&at->random) * (double)n);
}

/* Rows are [N_ROWS, ..], or [1, N_ROWS, ..] where the function has two dims of rows. */
static Type rows_type(const Value *x, int64_t width) {
    Type type = x->type;
    type.dims[type.rank - 1] = (Dim){.extent = width};
    return type;
}

static int64_t width_of(const Value *x) {
    return x->type.dims[x->type.rank - 1].extent;
}

static Value *weight(Generator *at, int rank, const int64_t *extents) {
    Type type = {.dtype = DTYPE_F32, .rank = rank};
    for (int i = 0; i < rank; i++)
        type.dims[i].extent = extents[i];
    const char *name = arena_printf(at->arena, "f.w%d", at->n_weights++);
    State *state = module_add_state(at->module, name, "weight", &type, (Loc){0});
    attrs_set_string(at->arena, &state->attrs, "source", name);
    return build_state(&at->builder, state);
}

static Value *linear(Generator *at, Value *x, int64_t width) {
    int64_t k = width_of(x);
    switch (below(at, 3)) {
    case 0:
        return build_matmul(&at->builder, "nt", x, weight(at, 2, (int64_t[]){width, k}));
    case 1:
        return build_matmul(&at->builder, "nn", x, weight(at, 2, (int64_t[]){k, width}));
    default: {
        Attrs attrs = {0};
        attrs_set_ints(at->arena, &attrs, "perm", (int64_t[]){1, 0}, 2);
        Value *w = weight(at, 2, (int64_t[]){k, width});
        return build_matmul(&at->builder, "nt", x, build(&at->builder, OP_transpose, 1, &w, &attrs));
    }
    }
}

static Value *repeat(Generator *at, Value *x, const Value *like, int first_dim) {
    int64_t map[MAX_RANK];
    for (int i = 0; i < x->type.rank; i++)
        map[i] = first_dim + i;
    return build_broadcast(&at->builder, x, &like->type, map);
}

/* x times (1 + a vector), or plus a vector. */
static Value *with_vector(Generator *at, Value *x) {
    int last = x->type.rank - 1;
    Value *vector = weight(at, 1, (int64_t[]){width_of(x)});
    if (below(at, 2))
        return build_binary(&at->builder, OP_add, repeat(at, vector, x, last), x);
    Value *factor = build_binary(&at->builder, OP_add, build_constant(&at->builder, 1, &vector->type), vector);
    return build_binary(&at->builder, OP_mul, x, repeat(at, factor, x, last));
}

/* x minus a number per row: its mean, or its logsumexp. */
static Value *without_level(Generator *at, Value *x) {
    int64_t last = x->type.rank - 1;
    Value *level =
        below(at, 2) ? build_unary(&at->builder, OP_logsumexp, x)
                     : build_scale(&at->builder, build_reduce_sum(&at->builder, x, &last, 1), 1 / (double)width_of(x));
    return build_binary(&at->builder, OP_sub, x, repeat(at, level, x, 0));
}

/* The last dim as [2, width / 2], turned round, and back. */
static Value *transposed_halves(Generator *at, Value *x) {
    int rank = x->type.rank;
    Type halves = rows_type(x, 2);
    halves.dims[halves.rank++] = (Dim){.extent = width_of(x) / 2};
    int64_t perm[MAX_RANK] = {0, 1, 2};
    perm[rank - 1] = rank;
    perm[rank] = rank - 1;
    Attrs attrs = {0};
    attrs_set_ints(at->arena, &attrs, "perm", perm, rank + 1);
    Value *parts = build_reshape(&at->builder, x, &halves);
    return build_reshape(&at->builder, build(&at->builder, OP_transpose, 1, &parts, &attrs), &x->type);
}

/* The halves of the last dim, swapped. */
static Value *swapped_halves(Generator *at, Value *x) {
    int dim = x->type.rank - 1;
    int64_t half = width_of(x) / 2;
    Value *parts[] = {build_slice(&at->builder, x, dim, half, half), build_slice(&at->builder, x, dim, 0, half)};
    Attrs attrs = {0};
    attrs_set_int(at->arena, &attrs, "dim", dim);
    return build(&at->builder, OP_concat, 2, parts, &attrs);
}

static Value *step(Generator *at, Value *x) {
    static const OpKind maps[] = {OP_silu, OP_gelu, OP_tanh, OP_softmax, OP_neg, OP_sigmoid};
    switch (below(at, 7)) {
    case 0:
        return linear(at, x, 2 + 2 * below(at, 3));
    case 1:
        return with_vector(at, x);
    case 2:
        return without_level(at, x);
    case 3:
        return transposed_halves(at, x);
    case 4:
        return swapped_halves(at, x);
    case 5:
        return build_binary(&at->builder, OP_mul, x, build_unary(&at->builder, OP_tanh, x));
    default:
        return build_unary(&at->builder, maps[below(at, sizeof maps / sizeof *maps)], x);
    }
}

static Module *generate(Arena *arena, uint64_t seed) {
    Generator at = {.arena = arena, .random = seed};
    at.module = module_new(arena, arena_printf(arena, "random_%llu", (unsigned long long)seed));
    module_add_scope(at.module, (Scope){.function = "main", .path = ""});
    module_add_scope(at.module, (Scope){.function = "f", .path = "f"});
    Graph *graph = module_add_graph(at.module, "forward");
    at.builder = (Builder){.graph = graph};
    Type type = {.dtype = DTYPE_F32, .rank = 2, .dims = {{.extent = N_ROWS}, {.extent = N_IN}}};
    if (below(&at, 2))
        type = (Type){.dtype = DTYPE_F32, .rank = 3, .dims = {{.extent = 1}, {.extent = N_ROWS}, {.extent = N_IN}}};
    Value *x = build_input(&at.builder, "x", &type);
    at.builder.scope = 1;
    Value *y = linear(&at, x, 4);
    for (int64_t n = 1 + below(&at, 8); n > 0; n--)
        y = step(&at, y);
    at.builder.scope = 0;
    int64_t dims[] = {0, 1, 2};
    graph_add_output(graph, "y", y);
    graph_add_output(graph, "nll", build_reduce_sum(&at.builder, y, dims, y->type.rank));
    Directive *directive = module_add_directive(at.module, "upcycle", "f", (Loc){0});
    int64_t n_experts = 2 + below(&at, 3);
    attrs_set_int(arena, &directive->attrs, "experts", n_experts);
    attrs_set_int(arena, &directive->attrs, "top_k", 1 + below(&at, n_experts));
    return at.module;
}

/* Dense weights, and as many copies of each where the module has experts. */
static void bind(Interpreter *interpreter, const Module *module, Arena *arena) {
    Type type = module_find_graph(module, "forward")->first->results[0].type;
    Tensor x = tensor_new(arena, &type);
    random_fill(&x, 5, -1, 1);
    interpreter_set_input(interpreter, "x", x);
    for (size_t i = 0; i < module->n_states; i++) {
        const State *state = module->states[i];
        Tensor *tensor = interpreter_state(interpreter, state->name);
        const char *source = attrs_string(&state->attrs, "source", "router");
        int64_t n = type_n_elements(&tensor->type) / attrs_int(&state->attrs, "experts", 1);
        uint64_t seed = (uint64_t)source[strlen(source) - 1] + 1000 * strlen(source);
        random_fill(tensor, seed, -1, 1);
        for (int64_t j = n; j < type_n_elements(&tensor->type); j++)
            tensor->data[j] = tensor->data[j - n];
    }
}

static void run(Interpreter *interpreter, const Module *module, Arena *arena) {
    bind(interpreter, module, arena);
    const char *error = interpreter_run(interpreter, module_find_graph(module, "forward"));
    if (error)
        fail_msg("%s: %s", module->name, error);
}

static void functions_of_one_row_stay_the_same(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < N_PROGRAMS; seed++) {
        Arena *arena = arena_new();
        const Module *dense = generate(arena, seed);
        Module *upcycled = generate(arena, seed);
        assert_null(module_verify(dense));
        run_pass(upcycled, "upcycle");
        Interpreter *expected = interpreter_new(arena, dense), *actual = interpreter_new(arena, upcycled);
        run(expected, dense, arena);
        run(actual, upcycled, arena);
        const Tensor *y = interpreter_output(expected, "y");
        expect_near(dense->name, type_n_elements(&y->type), interpreter_output(actual, "y")->data, y->data, 1e-9);
        arena_free(arena);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(functions_of_one_row_stay_the_same)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
