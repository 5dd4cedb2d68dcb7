/* The body of the function on the rows of experts: each op again, on ragged rows and on weights that have the expert as
   their first dim. What an op would mix that must stay apart is refused here. */
#include <assert.h>
#include <string.h>

#include "passes/upcycle.h"

typedef struct {
    const Upcycle *upcycle;
    Region *region;
    Builder *builder;
    const Routing *routing;
    Dim rows;
    /* Of the node under way. */
    const Node *node;
    ExpertKind kind;     /* of its result */
    Attrs attrs;         /* of what stands for it */
    const char *problem; /* NULL, or why there is no such op for experts; the rest of a sentence about the op */
} Experts;

/* ---- Types and dims ------------------------------------------------------------------------------------------- */

/* How many dims of a value in the function give way to the one of rows, or of experts. */
static int replaced_dims(const Experts *at, ExpertKind kind) {
    return kind == EXPERT_ROWS ? region_row_rank(at->region) : 0;
}

static int64_t new_dim(const Experts *at, int64_t dim) {
    return dim - replaced_dims(at, at->kind) + 1;
}

static Type expert_type(const Experts *at, const Type *dense, ExpertKind kind, int cut) {
    int n_replaced = replaced_dims(at, kind);
    Type type = {.dtype = dense->dtype, .rank = 1, .dims = {at->rows}};
    if (kind == EXPERT_WEIGHT)
        type.dims[0] = (Dim){.extent = at->upcycle->settings.n_experts, .name = "experts"};
    for (int i = n_replaced; i < dense->rank && type.rank < MAX_RANK; i++)
        type.dims[type.rank++] = region_cut_dim(at->upcycle, &dense->dims[i], i == cut);
    return type;
}

static const RegionValue *operand_value(const Experts *at, int i) {
    return region_value(at->region, at->node->operands[i]);
}

/* Operand i as the experts have it; a splat takes their form. */
static Value *expert_operand(Experts *at, int i) {
    const RegionValue *value = operand_value(at, i);
    if (value->kind != EXPERT_SPLAT)
        return value->expert;
    int cut = region_value(at->region, &at->node->results[0])->cut;
    Type type = expert_type(at, &at->node->operands[i]->type, at->kind, cut);
    return build_constant(at->builder, value->number, &type);
}

/* ---- Rules: operands are there; a rule checks what the op may not touch, and sets attributes ------------------- */

typedef void ExpertRule(Experts *at);

static void set_ints(Experts *at, const char *key, const int64_t *items, int n) {
    attrs_set_ints(at->upcycle->module->arena, &at->attrs, key, items, n);
}

/* The attribute `key` is a dim: it must be none of the rows'. */
static void move_dim(Experts *at, const char *key, const char *problem) {
    int64_t dim = attrs_int(&at->node->attrs, key, 0);
    if (dim < replaced_dims(at, at->kind))
        at->problem = problem;
    attrs_set_int(at->upcycle->module->arena, &at->attrs, key, new_dim(at, dim));
}

/* Lists of dims that begin with the rows', as they are, and go on with others: broadcast, transpose. */
static void move_dims_behind_rows(Experts *at, const char *key, const char *problem) {
    int64_t moved[MAX_RANK];
    int n, n_replaced = replaced_dims(at, at->kind), n_moved = 0;
    const int64_t *dims = attrs_ints(&at->node->attrs, key, &n);
    moved[n_moved++] = 0;
    for (int i = 0; i < n; i++) {
        if (i < n_replaced ? dims[i] != i : dims[i] < n_replaced)
            at->problem = problem;
        else if (i >= n_replaced && n_moved < MAX_RANK)
            moved[n_moved++] = new_dim(at, dims[i]);
    }
    set_ints(at, key, moved, n_moved);
}

static void expert_map(Experts *at) {
    (void)at;
}

static void expert_broadcast(Experts *at) {
    if (operand_value(at, 0)->kind == at->kind)
        move_dims_behind_rows(at, "dims", "moves rows");
}

static void expert_transpose(Experts *at) {
    move_dims_behind_rows(at, "perm", "moves rows");
}

static void expert_reshape(Experts *at) {
    const Type *type = &at->node->results[0].type, *input = &at->region->input->type;
    for (int i = 0; i < replaced_dims(at, at->kind); i++) {
        if (i >= type->rank || !dim_equal(&type->dims[i], &input->dims[i]))
            at->problem = "does not leave the dims of rows as they are";
    }
}

static void expert_slice(Experts *at) {
    move_dim(at, "dim", "leaves out rows");
}

static void expert_concat(Experts *at) {
    move_dim(at, "dim", "joins rows of several tensors");
}

static void expert_reduce_sum(Experts *at) {
    int64_t moved[MAX_RANK];
    int n;
    const int64_t *dims = attrs_ints(&at->node->attrs, "dims", &n);
    for (int i = 0; i < n; i++) {
        if (dims[i] < replaced_dims(at, at->kind))
            at->problem = "sums over rows";
        moved[i] = new_dim(at, dims[i]);
    }
    set_ints(at, "dims", moved, n);
}

static void expert_along_last(Experts *at) {
    if (at->node->operands[0]->type.rank <= replaced_dims(at, at->kind))
        at->problem = "works along a dim of rows";
}

static void expert_matmul(Experts *at) {
    const char *mode = attrs_string(&at->node->attrs, "mode", "");
    if (operand_value(at, 1)->kind != EXPERT_WEIGHT)
        at->problem = "has a second operand that is no weight";
    else if (operand_value(at, 0)->kind != EXPERT_ROWS)
        at->problem = "multiplies weights with each other";
    else if (strcmp(mode, "tn") == 0)
        at->problem = "sums over rows";
    else if (at->node->operands[0]->type.rank != region_row_rank(at->region) + 1)
        at->problem = "has a first operand with dims between those of rows and the last";
    attrs_set_string(at->upcycle->module->arena, &at->attrs, "mode", mode);
}

static const struct {
    OpKind op;
    OpKind expert_op;
    ExpertRule *rule;
} expert_rules[] = {
    {OP_reshape, OP_reshape, expert_reshape},       {OP_broadcast, OP_broadcast, expert_broadcast},
    {OP_transpose, OP_transpose, expert_transpose}, {OP_slice, OP_slice, expert_slice},
    {OP_concat, OP_concat, expert_concat},          {OP_reduce_sum, OP_reduce_sum, expert_reduce_sum},
    {OP_softmax, OP_softmax, expert_along_last},    {OP_logsumexp, OP_logsumexp, expert_along_last},
    {OP_matmul, OP_grouped_matmul, expert_matmul},
};

static ExpertRule *find_rule(OpKind op, OpKind *expert_op) {
    *expert_op = op;
    if (op_info(op)->class == OP_CLASS_MAP)
        return expert_map;
    for (size_t i = 0; i < sizeof expert_rules / sizeof *expert_rules; i++) {
        if (expert_rules[i].op == op) {
            *expert_op = expert_rules[i].expert_op;
            return expert_rules[i].rule;
        }
    }
    return NULL;
}

/* ---- Nodes ---------------------------------------------------------------------------------------------------- */

static bool refuse(const Experts *at, const char *problem) {
    return upcycle_refuse(at->upcycle, at->node->loc, "%s %s", op_info(at->node->op)->name, problem);
}

/* A weight on all rows of its expert. */
static Value *build_on_rows(Experts *at, Value *weight) {
    Arena *arena = at->upcycle->module->arena;
    Attrs attrs = {0};
    attrs_set_int(arena, &attrs, "rows", at->rows.extent);
    if (at->rows.name)
        attrs_set_string(arena, &attrs, "rows_name", at->rows.name);
    return build(at->builder, OP_grouped_broadcast, 2, (Value *[]){weight, at->routing->offsets}, &attrs);
}

/* A broadcast of a weight to rows: the experts' rows, then dims behind them where the function adds some. */
static Value *build_weight_rows(Experts *at, const Type *type) {
    Value *rows = build_on_rows(at, operand_value(at, 0)->expert);
    int64_t map[MAX_RANK] = {0};
    int n;
    const int64_t *dims = attrs_ints(&at->node->attrs, "dims", &n);
    for (int i = 0; i < n; i++)
        map[i + 1] = new_dim(at, dims[i]);
    return rows->type.rank == type->rank ? rows : build_broadcast(at->builder, rows, type, map);
}

static Value *build_node(Experts *at, OpKind op, const Type *type) {
    const char *error;
    int n = 0;
    Value **operands = arena_array_of(at->upcycle->arena, Value *, at->node->n_operands + 1);
    for (int i = 0; i < at->node->n_operands; i++) {
        if (operand_value(at, i)->kind == EXPERT_WEIGHT && at->kind == EXPERT_ROWS && op != OP_grouped_matmul) {
            refuse(at, "joins a weight with rows");
            return NULL;
        }
        operands[n++] = expert_operand(at, i);
    }
    if (op == OP_grouped_matmul)
        operands[n++] = at->routing->offsets;
    Node *node = build_typed(at->builder, op, n, operands, &at->attrs, type, &error);
    if (!node) {
        refuse(at, arena_printf(at->upcycle->arena, "does not work on experts: %s", error));
        return NULL;
    }
    return &node->results[0];
}

/* What the node's result is on the experts' rows; false after an error. */
static bool build_for_experts(Experts *at, RegionValue *value) {
    OpKind op;
    ExpertRule *rule = find_rule(at->node->op, &op);
    if (!rule)
        return refuse(at, "mixes rows, or is no op of a function of one row");
    at->kind = value->kind;
    at->attrs = (Attrs){0};
    at->problem = NULL;
    rule(at);
    if (at->problem)
        return refuse(at, at->problem);
    if (op == OP_slice)
        attrs_set_int(at->upcycle->module->arena, &at->attrs, "start", attrs_int(&at->node->attrs, "start", 0));
    const Type *dense = &at->node->results[0].type;
    Type type = expert_type(at, dense, value->kind, value->cut);
    const char *problem = type_check(at->upcycle->arena, &type);
    if (dense->rank - replaced_dims(at, value->kind) >= MAX_RANK)
        return refuse(at, "has too many dims");
    if (problem)
        return refuse(at, arena_printf(at->upcycle->arena, "would make a tensor that %s", problem));
    bool is_weight_on_rows = op == OP_broadcast && operand_value(at, 0)->kind != value->kind;
    value->expert = is_weight_on_rows ? build_weight_rows(at, &type) : build_node(at, op, &type);
    return value->expert != NULL;
}

Value *upcycle_build_experts(const Upcycle *upcycle, Region *region, Builder *builder, const Routing *routing) {
    Experts at = {.upcycle = upcycle, .region = region, .builder = builder, .routing = routing};
    Builder clause = *builder;
    region->input_value.expert = upcycle_dispatch(builder, routing, region->input);
    at.rows = region->input_value.expert->type.dims[0];
    for (size_t i = 0; i < region->n_nodes; i++) {
        at.node = region->nodes[i];
        RegionValue *value = at.node->scratch;
        builder->loc = at.node->loc;
        builder->scope = at.node->scope;
        if (at.node->op == OP_state)
            value->expert = build_state(builder, value->weight->expert);
        else if (value->kind != EXPERT_SPLAT && !build_for_experts(&at, value))
            return NULL;
        if (value->expert)
            value->expert->hint = at.node->results[0].hint;
    }
    *builder = clause;
    return region_value(region, region->output)->expert;
}

/* ---- The shared expert ---------------------------------------------------------------------------------------- */

static Value *copy_node(Region *region, Builder *builder, const Node *node) {
    const char *error;
    Value **operands = arena_array_of(builder->graph->module->arena, Value *, node->n_operands);
    for (int i = 0; i < node->n_operands; i++)
        operands[i] = region_value(region, node->operands[i])->shared;
    const Type *type = &node->results[0].type;
    Node *copy = build_typed(builder, node->op, node->n_operands, operands, &node->attrs, type, &error);
    assert(copy); /* the types are those of the node */
    return &copy->results[0];
}

Value *upcycle_build_shared(Region *region, Builder *builder) {
    Builder clause = *builder;
    region->input_value.shared = region->input;
    for (size_t i = 0; i < region->n_nodes; i++) {
        const Node *node = region->nodes[i];
        RegionValue *value = node->scratch;
        builder->loc = node->loc;
        builder->scope = node->scope;
        bool is_state = node->op == OP_state;
        value->shared = is_state ? build_state(builder, value->weight->shared) : copy_node(region, builder, node);
        value->shared->hint = node->results[0].hint;
    }
    *builder = clause;
    return region_value(region, region->output)->shared;
}
