/* Building nodes: operands and attributes in, checked and typed nodes out. */
#include "ir/ir.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "ir/ops_internal.h"

enum { MAX_RESULTS = 4 };

/* An unlinked node with untyped results. */
static Node *node_new(const Builder *builder, OpKind op, int n_operands, Value *const *operands, const Attrs *attrs) {
    Arena *arena = builder->graph->module->arena;
    Node *node = arena_new_of(arena, Node);
    node->op = op;
    node->n_operands = n_operands;
    node->operands = arena_array_of(arena, Value *, n_operands);
    for (int i = 0; i < n_operands; i++)
        node->operands[i] = operands[i];
    node->n_results = op_info(op)->n_results;
    node->results = arena_array_of(arena, Value, node->n_results);
    if (attrs != NULL)
        node->attrs = attrs_clone(arena, attrs);
    node->loc = builder->loc;
    node->scope = builder->scope;
    return node;
}

/* The names of `names` on the dims of `type`, which has the same extents. */
static void type_take_names(Type *type, const Type *names) {
    for (int i = 0; i < type->rank; i++)
        type->dims[i].name = names->dims[i].name;
}

static const char *type_results(Arena *arena, Node *node, const Type *given) {
    Type types[MAX_RESULTS] = {{.dtype = DTYPE_F32}};
    for (int i = 0; i < node->n_results && given != NULL; i++)
        types[i] = given[i];
    const char *error = node_infer(arena, node, types);
    for (int i = 0; i < node->n_results && error == NULL; i++) {
        if (given != NULL && !type_equal(&types[i], &given[i]))
            error = arena_printf(arena, "%s: result %d is %s, not %s", op_info(node->op)->name, i,
                                 type_format(arena, &types[i]), type_format(arena, &given[i]));
        if (given != NULL && error == NULL)
            type_take_names(&types[i], &given[i]);
        node->results[i] = (Value){.type = types[i], .def = node, .result = i};
    }
    return error;
}

Node *build_typed(Builder *builder, OpKind op, int n_operands, Value *const *operands, const Attrs *attrs,
                  const Type *types, const char **error) {
    Arena *arena = builder->graph->module->arena;
    Node *node = node_new(builder, op, n_operands, operands, attrs);
    *error = node_check_form(arena, node);
    if (*error == NULL)
        *error = type_results(arena, node, types);
    if (*error != NULL)
        return NULL;
    graph_insert(builder->graph, node, builder->before);
    return node;
}

Node *build_try(Builder *builder, OpKind op, int n_operands, Value *const *operands, const Attrs *attrs,
                const char **error) {
    return build_typed(builder, op, n_operands, operands, attrs, NULL, error);
}

/* build_typed where failure is a bug of the caller. */
static Value *build_sure(Builder *builder, OpKind op, int n_operands, Value *const *operands, const Attrs *attrs,
                         const Type *types) {
    const char *error;
    Node *node = build_typed(builder, op, n_operands, operands, attrs, types, &error);
    if (node == NULL) {
        fprintf(stderr, "moec: internal error: %s\n", error);
        assert(false && "a pass built an ill-typed node");
        abort();
    }
    return &node->results[0];
}

Value *build(Builder *builder, OpKind op, int n_operands, Value *const *operands, const Attrs *attrs) {
    return build_sure(builder, op, n_operands, operands, attrs, NULL);
}

/* ---- Leaves -------------------------------------------------------------------------------------------------------
 */

Value *build_input(Builder *builder, const char *name, const Type *type) {
    Attrs attrs = {0};
    attrs_set_string(builder->graph->module->arena, &attrs, "name", name);
    return build_sure(builder, OP_input, 0, NULL, &attrs, type);
}

Value *build_state(Builder *builder, const State *state) {
    Attrs attrs = {0};
    attrs_set_string(builder->graph->module->arena, &attrs, "name", state->name);
    return build_sure(builder, OP_state, 0, NULL, &attrs, &state->type);
}

Value *build_constant(Builder *builder, double value, const Type *type) {
    Attrs attrs = {0};
    attrs_set_float(builder->graph->module->arena, &attrs, "value", value);
    return build_sure(builder, OP_constant, 0, NULL, &attrs, type);
}

/* ---- Short forms --------------------------------------------------------------------------------------------------
 */

Value *build_unary(Builder *builder, OpKind op, Value *x) {
    return build(builder, op, 1, &x, NULL);
}

Value *build_binary(Builder *builder, OpKind op, Value *a, Value *b) {
    return build(builder, op, 2, (Value *[]){a, b}, NULL);
}

Value *build_scale(Builder *builder, Value *x, double factor) {
    return build_binary(builder, OP_mul, x, build_constant(builder, factor, &x->type));
}

Value *build_reshape(Builder *builder, Value *x, const Type *type) {
    return build_sure(builder, OP_reshape, 1, &x, NULL, type);
}

Value *build_slice(Builder *builder, Value *x, int dim, int64_t start, int64_t extent) {
    Arena *arena = builder->graph->module->arena;
    Attrs attrs = {0};
    attrs_set_int(arena, &attrs, "dim", dim);
    attrs_set_int(arena, &attrs, "start", start);
    Type type = x->type;
    if (extent != type.dims[dim].extent)
        type.dims[dim] = (Dim){.extent = extent};
    return build_sure(builder, OP_slice, 1, &x, &attrs, &type);
}

Value *build_broadcast(Builder *builder, Value *x, const Type *type, const int64_t *map) {
    Attrs attrs = {0};
    attrs_set_ints(builder->graph->module->arena, &attrs, "dims", map, x->type.rank);
    Type result = *type;
    result.dtype = x->type.dtype;
    return build_sure(builder, OP_broadcast, 1, &x, &attrs, &result);
}

Value *build_reduce_sum(Builder *builder, Value *x, const int64_t *dims, int n_dims) {
    Attrs attrs = {0};
    attrs_set_ints(builder->graph->module->arena, &attrs, "dims", dims, n_dims);
    return build(builder, OP_reduce_sum, 1, &x, &attrs);
}

Value *build_matmul(Builder *builder, const char *mode, Value *a, Value *b) {
    Attrs attrs = {0};
    attrs_set_string(builder->graph->module->arena, &attrs, "mode", mode);
    return build(builder, OP_matmul, 2, (Value *[]){a, b}, &attrs);
}

Value *build_grouped_matmul(Builder *builder, const char *mode, Value *a, Value *b, Value *offsets) {
    Attrs attrs = {0};
    attrs_set_string(builder->graph->module->arena, &attrs, "mode", mode);
    return build(builder, OP_grouped_matmul, 3, (Value *[]){a, b, offsets}, &attrs);
}

Value *build_product_like(Builder *builder, const Node *like, const char *mode, Value *a, Value *b) {
    Arena *arena = builder->graph->module->arena;
    bool is_grouped = like->op == OP_grouped_matmul;
    Value *operands[3] = {a, b, is_grouped ? like->operands[2] : NULL};
    Attrs attrs = attrs_clone(arena, &like->attrs);
    attrs_set_string(arena, &attrs, "mode", mode);
    return build(builder, like->op, is_grouped ? 3 : 2, operands, &attrs);
}
