#include "tests/support/random_states.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "ir/view.h"
#include "tests/support/random.h"

enum { N_STATES = 3, N_ROWS = 4, N_COLUMNS = 6 };

typedef struct {
    Arena *arena;
    uint64_t random;
    Builder builder;
    State *states[N_STATES];
    Value **values; /* f32[4, 6]: to be used further */
    size_t n_values, values_capacity;
    Value **views; /* of a state that has not been updated since */
    size_t n_views, views_capacity;
    int n_outputs;
} Generator;

static const Type matrix = {DTYPE_F32, 2, {{.extent = N_ROWS}, {.extent = N_COLUMNS}}};

static size_t below(Generator *at, size_t n) {
    return (size_t)(random_uniform(&at->random) * (double)n);
}

static void push(Generator *at, Value *value) {
    arena_push(at->arena, at->values, at->n_values, at->values_capacity, value);
}

static void add_output(Generator *at, Value *value) {
    graph_add_output(at->builder.graph, arena_printf(at->arena, "y%d", at->n_outputs++), value);
}

static Value *pick(Generator *at) {
    return at->values[below(at, at->n_values)];
}

/* A node of its own for each read: several read one state. */
static Value *read_state(Generator *at) {
    return build_state(&at->builder, at->states[below(at, N_STATES)]);
}

static Value *any_view(Generator *at, Value *x) {
    Attrs attrs = {0};
    attrs_set_ints(at->arena, &attrs, "perm", (int64_t[]){1, 0}, 2);
    switch (below(at, 3)) {
    case 0:
        return build_slice(&at->builder, x, 0, 1, N_ROWS - 2);
    case 1:
        return build_reshape(&at->builder, x, &(Type){DTYPE_F32, 1, {{.extent = N_ROWS * N_COLUMNS}}});
    default:
        return build(&at->builder, OP_transpose, 1, &x, &attrs);
    }
}

/* f32[4, 6] from any value. */
static Value *back_to_matrix(Generator *at, Value *x) {
    Value *sum = x;
    int64_t dims[] = {0, 1};
    if (x->type.rank > 0)
        sum = build_reduce_sum(&at->builder, x, dims, x->type.rank);
    return build_broadcast(&at->builder, sum, &matrix, NULL);
}

static void step_view(Generator *at) {
    Value *view = any_view(at, read_state(at));
    arena_push(at->arena, at->views, at->n_views, at->views_capacity, view);
    if (below(at, 3) == 0)
        add_output(at, view);
}

static void step_read_view(Generator *at) {
    if (at->n_views > 0)
        push(at, back_to_matrix(at, build_unary(&at->builder, OP_tanh, at->views[below(at, at->n_views)])));
}

static void step_read(Generator *at) {
    Value *product = build_binary(&at->builder, OP_mul, read_state(at), pick(at));
    push(at, build_unary(&at->builder, OP_tanh, product));
}

/* Views of the state end here. */
static void step_update(Generator *at) {
    Value *state = read_state(at);
    const char *name = attrs_string(&state->def->attrs, "name", "");
    Value *updated = build_binary(&at->builder, OP_accumulate, state, pick(at));
    size_t n_kept = 0;
    for (size_t i = 0; i < at->n_views; i++) {
        const Node *owner = view_owner(at->views[i])->def;
        if (strcmp(attrs_string(&owner->attrs, "name", ""), name) != 0)
            at->views[n_kept++] = at->views[i];
    }
    at->n_views = n_kept;
    if (below(at, 2))
        push(at, build_unary(&at->builder, OP_tanh, updated));
    if (below(at, 3) == 0) /* shows the state as it is at the end */
        add_output(at, below(at, 2) ? updated : state);
}

/* A value through a temporary of up to 32 times its size. */
static void step_wide(Generator *at) {
    Type wide = {DTYPE_F32, 3, {{.extent = 1 + (int64_t)below(at, 32)}, matrix.dims[0], matrix.dims[1]}};
    Value *repeated = build_broadcast(&at->builder, pick(at), &wide, (int64_t[]){1, 2});
    Value *temporary = build_unary(&at->builder, OP_tanh, repeated);
    push(at, build_unary(&at->builder, OP_tanh, build_reduce_sum(&at->builder, temporary, (int64_t[]){0}, 1)));
}

Module *random_state_program(Arena *arena, uint64_t seed, int n_steps) {
    static void (*const steps[])(Generator *) = {step_view, step_read_view, step_read, step_update, step_wide};
    Generator at = {.arena = arena, .random = seed};
    Module *module = module_new(arena, "states");
    at.builder = (Builder){.graph = module_add_graph(module, "main")};
    for (int i = 0; i < N_STATES; i++)
        at.states[i] = module_add_state(module, arena_printf(arena, "s%d", i), "weight", &matrix, (Loc){0});
    push(&at, build_input(&at.builder, "x", &matrix));
    for (int i = 0; i < n_steps; i++)
        steps[below(&at, sizeof steps / sizeof *steps)](&at);
    for (size_t i = 1; i < at.n_values; i++)
        add_output(&at, at.values[i]);
    add_output(&at, read_state(&at));
    const char *broken = module_verify(module);
    if (broken)
        fail_msg("random state program %llu: %s", (unsigned long long)seed, broken);
    return module;
}
