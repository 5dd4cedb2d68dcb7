#include "ir/rows.h"

#include <assert.h>
#include <string.h>

#include "ir/ops_internal.h"

typedef Rows RowsRule(const Node *node, int64_t n_rows);

static RowsRule *const rules[OP_COUNT] = {
#define OP(name, operands, results, class, attributes, infer, flops, interpret, rows, derive, lower)                   \
    [OP_##name] = rows_##rows,
#include "ir/ops.def"
#undef OP
};

Rows node_rows(const Node *node, int64_t n_rows) {
    return rules[node->op](node, n_rows);
}

int type_row_dims(const Type *type, int64_t n_rows) {
    int64_t n = 1;
    if (type_is_ragged(type) || n_rows < 2)
        return 0;
    for (int dim = 0; dim < type->rank && n < n_rows; dim++) {
        n *= type->dims[dim].extent;
        if (n == n_rows)
            return dim + 1;
    }
    return 0;
}

Type type_rows_part(const Type *type, int64_t n_rows, int64_t n_part) {
    int n_dims = type_row_dims(type, n_rows);
    assert(n_dims > 0);
    Type part = {.dtype = type->dtype, .rank = type->rank - n_dims + 1, .dims = {{.extent = n_part}}};
    for (int dim = n_dims; dim < type->rank; dim++)
        part.dims[dim - n_dims + 1] = type->dims[dim];
    return part;
}

/* ---- Rules: the column `rows` of ops.def ------------------------------------------------------------------------ */

static Rows rows_if(bool holds, RowsKind kind, uint32_t whole) {
    return holds ? (Rows){kind, whole} : (Rows){ROWS_NONE, 0};
}

static int operand_row_dims(const Node *node, int operand, int64_t n_rows) {
    return type_row_dims(&node->operands[operand]->type, n_rows);
}

Rows rows_none(const Node *node, int64_t n_rows) {
    (void)node, (void)n_rows;
    return (Rows){ROWS_NONE, 0};
}

/* Operands and results of one type. */
Rows rows_map(const Node *node, int64_t n_rows) {
    return rows_if(type_row_dims(&node->results[0].type, n_rows) > 0, ROWS_EACH, 0);
}

Rows rows_reshape(const Node *node, int64_t n_rows) {
    bool holds = operand_row_dims(node, 0, n_rows) > 0 && type_row_dims(&node->results[0].type, n_rows) > 0;
    return rows_if(holds, ROWS_EACH, 0);
}

/* The operand has all of the row dims, or none of them and is the same for every row. */
Rows rows_broadcast(const Node *node, int64_t n_rows) {
    const Type *type = &node->results[0].type;
    int n_dims = type_row_dims(type, n_rows), n_mapped;
    const int64_t *map = attrs_ints(&node->attrs, "dims", &n_mapped);
    int n_mapped_rows = 0;
    int64_t n_own_rows = 1;
    for (; n_mapped_rows < n_mapped && map[n_mapped_rows] < n_dims; n_mapped_rows++)
        n_own_rows *= type->dims[map[n_mapped_rows]].extent;
    bool has_rows = n_own_rows == n_rows;
    return rows_if(n_dims > 0 && (has_rows || n_mapped_rows == 0), ROWS_EACH, has_rows ? 0 : 1);
}

Rows rows_transpose(const Node *node, int64_t n_rows) {
    int n_dims = operand_row_dims(node, 0, n_rows), rank;
    const int64_t *perm = attrs_ints(&node->attrs, "perm", &rank);
    bool holds = n_dims > 0;
    for (int dim = 0; dim < n_dims; dim++)
        holds = holds && perm[dim] == dim;
    return rows_if(holds, ROWS_EACH, 0);
}

/* What changes one dim. */
Rows rows_dim(const Node *node, int64_t n_rows) {
    int n_dims = operand_row_dims(node, 0, n_rows);
    return rows_if(n_dims > 0 && attrs_int(&node->attrs, "dim", 0) >= n_dims, ROWS_EACH, 0);
}

Rows rows_reduce(const Node *node, int64_t n_rows) {
    int n_dims = operand_row_dims(node, 0, n_rows), n_reduced, n_reduced_rows = 0;
    const int64_t *reduced = attrs_ints(&node->attrs, "dims", &n_reduced);
    while (n_reduced_rows < n_reduced && reduced[n_reduced_rows] < n_dims)
        n_reduced_rows++;
    bool holds = n_dims > 0 && (n_reduced_rows == 0 || n_reduced_rows == n_dims);
    return rows_if(holds, n_reduced_rows == 0 ? ROWS_EACH : ROWS_SUM, 0);
}

/* What works along the last dim of operand 0; the other operands have its other dims. */
Rows rows_last(const Node *node, int64_t n_rows) {
    int n_dims = operand_row_dims(node, 0, n_rows);
    return rows_if(n_dims > 0 && n_dims < node->operands[0]->type.rank, ROWS_EACH, 0);
}

Rows rows_gather(const Node *node, int64_t n_rows) {
    return rows_if(operand_row_dims(node, 1, n_rows) > 0, ROWS_EACH, 1);
}

Rows rows_scatter_add(const Node *node, int64_t n_rows) {
    return rows_if(operand_row_dims(node, 1, n_rows) > 0, ROWS_SUM, 0);
}

Rows rows_matmul(const Node *node, int64_t n_rows) {
    int n_dims = operand_row_dims(node, 0, n_rows);
    bool holds = n_dims > 0 && n_dims < node->operands[0]->type.rank;
    bool is_sum = strcmp(attrs_string(&node->attrs, "mode", ""), "tn") == 0;
    return rows_if(holds, is_sum ? ROWS_SUM : ROWS_EACH, is_sum ? 0 : 2);
}

Rows rows_sum(const Node *node, int64_t n_rows) {
    return rows_if(node->n_operands == 1 && operand_row_dims(node, 0, n_rows) > 0, ROWS_SUM, 0);
}

/* ---- Parts ------------------------------------------------------------------------------------------------------ */

/* A list of dims, in which the first n_dims have become one. */
static void set_part_dims(Arena *arena, Attrs *attrs, const char *key, int n_dims) {
    int n, n_kept = 0;
    const int64_t *dims = attrs_ints(attrs, key, &n);
    int64_t kept[MAX_RANK];
    for (int i = 0; i < n; i++) {
        if (dims[i] >= n_dims)
            kept[n_kept++] = dims[i] - n_dims + 1;
        else if (n_kept == 0)
            kept[n_kept++] = 0;
    }
    attrs_set_ints(arena, attrs, key, kept, n_kept);
}

static Attrs attrs_of_part(Arena *arena, const Node *node, int64_t n_rows) {
    Attrs attrs = attrs_clone(arena, &node->attrs);
    const Value *shown = node->op == OP_broadcast || node->n_operands == 0 ? &node->results[0] : node->operands[0];
    int n_dims = type_row_dims(&shown->type, n_rows);
    if (attrs_find(&attrs, "dim"))
        attrs_set_int(arena, &attrs, "dim", attrs_int(&attrs, "dim", 0) - n_dims + 1);
    if (attrs_find(&attrs, "dims"))
        set_part_dims(arena, &attrs, "dims", n_dims);
    if (attrs_find(&attrs, "perm"))
        set_part_dims(arena, &attrs, "perm", n_dims);
    return attrs;
}

Node *build_rows_part(Builder *builder, const Node *node, int64_t n_rows, int64_t n_part, Value *const *operands) {
    enum { MAX_RESULTS = 4 };
    Rows rows = node_rows(node, n_rows);
    Type types[MAX_RESULTS];
    assert(rows.kind != ROWS_NONE && node->n_results <= MAX_RESULTS);
    for (int i = 0; i < node->n_results; i++) {
        const Type *type = &node->results[i].type;
        types[i] = rows.kind == ROWS_EACH ? type_rows_part(type, n_rows, n_part) : *type;
    }
    Attrs attrs = attrs_of_part(builder->graph->module->arena, node, n_rows);
    const char *error;
    Node *part = build_typed(builder, node->op, node->n_operands, operands, &attrs, types, &error);
    assert(part && "a node on part of its rows is the node with another extent");
    for (int i = 0; i < node->n_results; i++)
        part->results[i].hint = node->results[i].hint;
    return part;
}
