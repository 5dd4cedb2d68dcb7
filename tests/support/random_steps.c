#include "tests/support/random_steps.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "tests/support/random.h"

/* ---- Building blocks ------------------------------------------------------------------------------------------- */

int64_t random_below(Generator *generator, int64_t n) {
    return (int64_t)(random_uniform(&generator->random) * (double)n);
}

Type random_type(int rank, const int64_t *extents) {
    Type type = {.dtype = DTYPE_F32, .rank = rank};
    for (int i = 0; i < rank; i++)
        type.dims[i].extent = extents[i];
    return type;
}

void random_push(Generator *generator, Value *value, double bound) {
    if (bound > 4) {
        value = build_unary(&generator->builder, OP_tanh, value);
        bound = 1;
    }
    assert(generator->n_pool < RANDOM_POOL_SIZE);
    generator->pool[generator->n_pool++] = (PoolItem){.value = value, .bound = bound};
}

bool random_is_any(const Generator *generator, const Type *type) {
    (void)generator;
    (void)type;
    return true;
}

bool random_is_hidden(const Generator *generator, const Type *type) {
    Type hidden = random_type(3, (int64_t[]){generator->B, generator->T, generator->d});
    return type_equal(type, &hidden);
}

PoolItem *random_pick(Generator *generator, bool (*accepts)(const Generator *generator, const Type *type)) {
    size_t first = (size_t)random_below(generator, (int64_t)generator->n_pool);
    for (size_t i = 0; i < generator->n_pool; i++) {
        PoolItem *item = &generator->pool[(first + i) % generator->n_pool];
        if (accepts(generator, &item->value->type)) {
            item->is_used = true;
            return item;
        }
    }
    return NULL;
}

Value *random_weight(Generator *generator, Type type) {
    const char *name = arena_printf(generator->arena, "w%d", generator->n_weights++);
    State *state = module_add_state(generator->module, name, "weight", &type, generator->builder.loc);
    attrs_set_bool(generator->arena, &state->attrs, "decay", type.rank >= 2);
    return build_state(&generator->builder, state);
}

Value *random_input(Generator *generator, Type type) {
    const char *name = arena_printf(generator->arena, "x%d", generator->n_inputs++);
    return build_input(&generator->builder, name, &type);
}

Value *random_spread(Generator *generator, Value *x) {
    return build_binary(&generator->builder, OP_add, x, random_weight(generator, x->type));
}

static int64_t last_extent(const Type *type) {
    return type->dims[type->rank - 1].extent;
}

Value *random_linear(Generator *generator, Value *x, int64_t n) {
    int64_t k = last_extent(&x->type);
    bool is_nt = random_below(generator, 2) == 0;
    Value *w = random_weight(generator, random_type(2, is_nt ? (int64_t[]){n, k} : (int64_t[]){k, n}));
    Value *product = build_matmul(&generator->builder, is_nt ? "nt" : "nn", x, w);
    return build_scale(&generator->builder, product, 1 / (double)k);
}

Value *random_repeat_last(Generator *generator, Value *rows, const Type *type) {
    int64_t map[] = {0, 1, 2, 3, 4, 5};
    return build_broadcast(&generator->builder, rows, type, map);
}

Value *random_mean(Generator *generator, Value *x) {
    int64_t dims[] = {0, 1, 2, 3, 4, 5};
    Value *sum = x->type.rank ? build_reduce_sum(&generator->builder, x, dims, x->type.rank) : x;
    return build_scale(&generator->builder, sum, 1 / (double)type_n_elements(&x->type));
}

Value *random_node(Generator *generator, OpKind op, int n_operands, Value *const *operands, const RandomAttr *attrs) {
    Attrs list = {0};
    for (; attrs->key; attrs++)
        attrs_set_int(generator->arena, &list, attrs->key, attrs->value);
    return build(&generator->builder, op, n_operands, operands, &list);
}

/* A constant in [0.5, 1.5). */
static double random_factor(Generator *generator) {
    return 0.5 + random_uniform(&generator->random);
}

static bool has_dims(const Generator *generator, const Type *type) {
    (void)generator;
    return type->rank >= 1;
}

static bool is_small(const Generator *generator, const Type *type) {
    (void)generator;
    return type->rank < 4 && type_n_elements(type) <= 64;
}

static int random_dim(Generator *generator, const Type *type) {
    return (int)random_below(generator, type->rank);
}

/* ---- Elementwise ----------------------------------------------------------------------------------------------- */

/* x² + c: away from 0, where log, sqrt, rsqrt and div are smooth. */
static Value *make_positive(Generator *at, Value *x) {
    Value *square = build_binary(&at->builder, OP_mul, x, x);
    return build_binary(&at->builder, OP_add, square, build_constant(&at->builder, random_factor(at), &x->type));
}

/* op; what makes its argument one at which it is smooth, or NULL; its bound for arguments in [-4, 4] */
typedef struct {
    OpKind op;
    Value *(*prepare)(Generator *generator, Value *x);
    double bound;
} UnaryStep;

static const UnaryStep unary_steps[] = {
    {OP_copy, NULL, 4},           {OP_neg, NULL, 4},  {OP_log, make_positive, 3}, {OP_sqrt, make_positive, 4.2},
    {OP_rsqrt, make_positive, 2}, {OP_tanh, NULL, 1}, {OP_sigmoid, NULL, 1},      {OP_relu, random_spread, 5},
    {OP_silu, NULL, 4},           {OP_gelu, NULL, 4}, {OP_gelu_tanh, NULL, 4},
};

static void step_unary(Generator *at) {
    PoolItem *x = random_pick(at, random_is_any);
    const UnaryStep *step = &unary_steps[random_below(at, sizeof unary_steps / sizeof *unary_steps)];
    Value *argument = step->prepare ? step->prepare(at, x->value) : x->value;
    random_push(at, build_unary(&at->builder, step->op, argument), step->bound);
}

static void step_exp(Generator *at) {
    Value *x = build_unary(&at->builder, OP_tanh, random_pick(at, random_is_any)->value);
    random_push(at, build_unary(&at->builder, OP_exp, x), 2.8);
}

/* Another operand for x: from the pool, a new weight, a new input, or a constant. */
static PoolItem random_partner(Generator *at, const Type *type) {
    for (size_t i = 0; i < at->n_pool; i++) {
        PoolItem *item = &at->pool[at->n_pool - 1 - i];
        if (type_equal(&item->value->type, type) && random_below(at, 2)) {
            item->is_used = true;
            return *item;
        }
    }
    switch (random_below(at, 3)) {
    case 0:
        return (PoolItem){.value = random_weight(at, *type), .bound = 1};
    case 1:
        return (PoolItem){.value = random_input(at, *type), .bound = 1};
    default:
        return (PoolItem){.value = build_constant(&at->builder, random_factor(at), type), .bound = 1.5};
    }
}

static void step_binary(Generator *at) {
    static const OpKind ops[] = {OP_add, OP_sub, OP_mul, OP_div};
    OpKind op = ops[random_below(at, 4)];
    PoolItem x = *random_pick(at, random_is_any);
    PoolItem y = random_partner(at, &x.value->type);
    if (random_below(at, 2)) {
        PoolItem swapped = x;
        x = y;
        y = swapped;
    }
    double bound = op == OP_mul ? x.bound * y.bound : x.bound + y.bound;
    if (op == OP_div) {
        y.value = make_positive(at, y.value);
        bound = 2 * x.bound;
    }
    random_push(at, build_binary(&at->builder, op, x.value, y.value), bound);
}

/* ---- Views and movement ----------------------------------------------------------------------------------------- */

static void step_broadcast(Generator *at) {
    PoolItem *x = random_pick(at, is_small);
    Type type = {.dtype = DTYPE_F32};
    if (!x)
        return;
    int new_dim = (int)random_below(at, x->value->type.rank + 1);
    int64_t map[MAX_RANK];
    for (int i = 0; i < x->value->type.rank; i++) {
        map[i] = i + (i >= new_dim);
        type.dims[map[i]] = x->value->type.dims[i];
    }
    type.dims[new_dim] = (Dim){.extent = 2 + random_below(at, 2)};
    type.rank = x->value->type.rank + 1;
    random_push(at, build_broadcast(&at->builder, x->value, &type, map), x->bound);
}

/* To one dim, or the last two dims made one, or a dim of 1 put behind. */
static void step_reshape(Generator *at) {
    PoolItem *x = random_pick(at, is_small);
    if (!x)
        return;
    const Type *from = &x->value->type;
    Type type = *from;
    switch (random_below(at, 3)) {
    case 0:
        type = random_type(1, (int64_t[]){type_n_elements(from)});
        break;
    case 1:
        if (from->rank < 2)
            return;
        type.rank--;
        type.dims[type.rank - 1] = (Dim){.extent = last_extent(from) * from->dims[type.rank - 1].extent};
        break;
    default:
        type.dims[type.rank++] = (Dim){.extent = 1};
    }
    random_push(at, build_reshape(&at->builder, x->value, &type), x->bound);
}

static void step_transpose(Generator *at) {
    PoolItem *x = random_pick(at, has_dims);
    if (!x)
        return;
    int rank = x->value->type.rank;
    int64_t perm[MAX_RANK];
    for (int i = 0; i < rank; i++) { /* insertion of i at a random place */
        int64_t place = random_below(at, i + 1);
        perm[i] = perm[place];
        perm[place] = i;
    }
    Attrs attrs = {0};
    attrs_set_ints(at->arena, &attrs, "perm", perm, rank);
    random_push(at, build(&at->builder, OP_transpose, 1, &x->value, &attrs), x->bound);
}

static void step_slice(Generator *at) {
    PoolItem *x = random_pick(at, has_dims);
    if (!x)
        return;
    int dim = random_dim(at, &x->value->type);
    int64_t whole = x->value->type.dims[dim].extent, extent = 1 + random_below(at, whole);
    random_push(at, build_slice(&at->builder, x->value, dim, random_below(at, whole - extent + 1), extent), x->bound);
}

static void step_pad(Generator *at) {
    PoolItem *x = random_pick(at, has_dims);
    if (!x)
        return;
    RandomAttr attrs[] = {{"dim", random_dim(at, &x->value->type)},
                          {"before", random_below(at, 3)},
                          {"after", random_below(at, 3)},
                          {NULL, 0}};
    random_push(at, random_node(at, OP_pad, 1, &x->value, attrs), x->bound);
}

/* x, its double and x again along one dim. */
static void step_concat(Generator *at) {
    PoolItem *x = random_pick(at, has_dims);
    if (!x || type_n_elements(&x->value->type) > 64)
        return;
    Value *parts[] = {x->value, random_partner(at, &x->value->type).value, x->value};
    RandomAttr attrs[] = {{"dim", random_dim(at, &x->value->type)}, {NULL, 0}};
    random_push(at, random_node(at, OP_concat, 1 + (int)random_below(at, 3), parts, attrs), x->bound);
}

/* ---- Reductions ------------------------------------------------------------------------------------------------- */

static void step_reduce_sum(Generator *at) {
    PoolItem *x = random_pick(at, has_dims);
    if (!x)
        return;
    const Type *type = &x->value->type;
    int64_t dims[MAX_RANK], n_terms = 1;
    int n_dims = 0, always = random_dim(at, type);
    for (int dim = 0; dim < type->rank; dim++) {
        if (dim == always || random_below(at, 2)) {
            dims[n_dims++] = dim;
            n_terms *= type->dims[dim].extent;
        }
    }
    Value *sum = build_reduce_sum(&at->builder, x->value, dims, n_dims);
    random_push(at, build_scale(&at->builder, sum, 1 / (double)n_terms), x->bound);
}

static void step_softmax(Generator *at) {
    PoolItem *x = random_pick(at, has_dims);
    if (x)
        random_push(at, build_unary(&at->builder, OP_softmax, x->value), 1);
}

static void step_logsumexp(Generator *at) {
    PoolItem *x = random_pick(at, has_dims);
    if (x)
        random_push(at, build_unary(&at->builder, OP_logsumexp, x->value), x->bound + 3);
}

/* ---- Products --------------------------------------------------------------------------------------------------- */

static bool has_rows(const Generator *generator, const Type *type) {
    (void)generator;
    return type->rank >= 2 && type->rank <= 4;
}

static void step_linear(Generator *at) {
    PoolItem *x = random_pick(at, has_rows);
    if (x)
        random_push(at, random_linear(at, x->value, 2 + random_below(at, 4)), x->bound);
}

/* xᵀ (x w) over all rows. */
static void step_matmul_tn(Generator *at) {
    PoolItem *x = random_pick(at, has_rows);
    if (!x)
        return;
    Value *y = random_linear(at, x->value, 3);
    double n_rows = (double)type_n_elements(&y->type) / 3;
    Value *product = build_matmul(&at->builder, "tn", x->value, y);
    random_push(at, build_scale(&at->builder, product, 1 / n_rows), x->bound * x->bound);
}

/* ---- Along an index --------------------------------------------------------------------------------------------- */

static void step_gather(Generator *at) {
    Value *indices = at->indices && random_below(at, 2) ? at->indices : at->tokens;
    int64_t n_rows = indices == at->indices ? at->n_choices : 11;
    if (indices->type.rank > 3)
        return;
    Value *table = random_weight(at, random_type(2, (int64_t[]){n_rows, 3}));
    random_push(at, build(&at->builder, OP_gather, 2, (Value *[]){table, indices}, NULL), 1);
}

static void step_scatter_add(Generator *at) {
    PoolItem *x = random_pick(at, random_is_hidden);
    RandomAttr attrs[] = {{"rows", 11 + random_below(at, 3)}, {NULL, 0}};
    random_push(at, random_node(at, OP_scatter_add, 2, (Value *[]){x->value, at->tokens}, attrs),
                x->bound * (double)(at->B * at->T));
}

/* The k largest, and their indices for the steps that need some; then other values at the same indices. */
static void step_top_k(Generator *at) {
    PoolItem *x = random_pick(at, has_dims);
    if (!x)
        return;
    at->n_choices = last_extent(&x->value->type);
    RandomAttr attrs[] = {{"k", 1 + random_below(at, at->n_choices)}, {NULL, 0}};
    Value *spread = random_spread(at, x->value);
    Value *values = random_node(at, OP_top_k, 1, &spread, attrs);
    at->indices = &values->def->results[1];
    Value *others = random_partner(at, &x->value->type).value;
    random_push(at, values, x->bound + 1);
    random_push(at, build(&at->builder, OP_gather_last, 2, (Value *[]){others, at->indices}, NULL), 4);
}

static bool is_like_indices(const Generator *generator, const Type *type) {
    Type wanted = generator->indices->type;
    wanted.dtype = DTYPE_F32;
    return type_equal(type, &wanted);
}

static void step_scatter_last(Generator *at) {
    PoolItem *x = at->indices ? random_pick(at, is_like_indices) : NULL;
    RandomAttr attrs[] = {{"extent", at->n_choices + random_below(at, 2)}, {NULL, 0}};
    if (x)
        random_push(at, random_node(at, OP_scatter_last, 2, (Value *[]){x->value, at->indices}, attrs), x->bound);
}

static void step_histogram(Generator *at) {
    if (!at->indices)
        return;
    RandomAttr attrs[] = {{"bins", at->n_choices}, {NULL, 0}};
    Value *counts = random_node(at, OP_histogram, 1, &at->indices, attrs);
    random_push(at, build_scale(&at->builder, counts, 1 / (double)type_n_elements(&at->indices->type)), 1);
}

/* ---- Attention -------------------------------------------------------------------------------------------------- */

/* [B, T, n_heads * extent] of a new linear map of x, as heads. */
static Value *build_heads(Generator *at, Value *x, int64_t n_heads, int64_t extent) {
    Type type = random_type(4, (int64_t[]){at->B, at->T, n_heads, extent});
    Value *projected = build_scale(&at->builder, random_linear(at, x, n_heads * extent), (double)at->d);
    return build_reshape(&at->builder, projected, &type);
}

static Value *build_rope(Generator *at, Value *x) {
    int64_t extent = last_extent(&x->type);
    if (random_below(at, 4) == 0)
        return x;
    Type type = random_type(3, (int64_t[]){at->T, extent / 2, 2});
    Attrs attrs = {0};
    attrs_set_float(at->arena, &attrs, "theta", 100);
    const char *error = NULL;
    Node *table = build_typed(&at->builder, OP_rope_table, 0, NULL, &attrs, &type, &error);
    assert(table);
    attrs = (Attrs){0};
    if (random_below(at, 2))
        attrs_set_bool(at->arena, &attrs, "inverse", random_below(at, 2));
    return build(&at->builder, OP_rope, 2, (Value *[]){x, &table->results[0]}, &attrs);
}

static void step_attention(Generator *at) {
    Value *x = random_pick(at, random_is_hidden)->value;
    int64_t n_kv_heads = 1 + random_below(at, 2), n_heads = n_kv_heads * (1 + random_below(at, 2));
    int64_t extent = 2 * (1 + random_below(at, 2));
    Value *q = build_rope(at, build_heads(at, x, n_heads, extent));
    Value *k = build_rope(at, build_heads(at, x, n_kv_heads, extent));
    Value *v = build_heads(at, x, n_kv_heads, extent);
    Attrs attrs = {0};
    attrs_set_float(at->arena, &attrs, "scale", 1 / sqrt((double)extent));
    if (random_below(at, 2))
        attrs_set_int(at->arena, &attrs, "window", 1 + random_below(at, at->T));
    Value *out = build(&at->builder, OP_attention, 3, (Value *[]){q, k, v}, &attrs);
    Type joined = random_type(3, (int64_t[]){at->B, at->T, n_heads * extent});
    Value *projected = random_linear(at, build_reshape(&at->builder, out, &joined), at->d);
    random_push(at, build_binary(&at->builder, OP_add, x, projected), 4);
    if (random_below(at, 3) == 0)
        random_push(at, &out->def->results[1], 4);
}

/* ---- The draw --------------------------------------------------------------------------------------------------- */

/* A step and how often it is drawn. */
typedef struct {
    void (*run)(Generator *generator);
    int weight;
} Step;

static const Step steps[] = {
    {step_unary, 8},     {step_exp, 1},       {step_binary, 6},    {step_broadcast, 2},    {step_reshape, 3},
    {step_transpose, 3}, {step_slice, 2},     {step_pad, 2},       {step_concat, 2},       {step_reduce_sum, 3},
    {step_softmax, 2},   {step_logsumexp, 2}, {step_linear, 3},    {step_matmul_tn, 1},    {step_gather, 2},
    {step_attention, 2}, {step_top_k, 2},     {step_histogram, 1}, {step_scatter_last, 2}, {step_scatter_add, 1},
};

void random_step(Generator *generator) {
    int total = 0;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        total += steps[i].weight;
    int64_t drawn = random_below(generator, total);
    const Step *step = steps;
    for (; drawn >= step->weight; step++)
        drawn -= step->weight;
    step->run(generator);
}
