/* Shape rules of matrix products and of the vectors that belong to experts. */
#include <string.h>

#include "ir/ops_internal.h"
#include "ir/shape_internal.h"

typedef enum { MODE_NT, MODE_NN, MODE_TN, MODE_COUNT } MatmulMode;

static MatmulMode matmul_mode(const Node *node) {
    static const char *const names[MODE_COUNT] = {"nt", "nn", "tn"};
    const char *mode = attrs_string(&node->attrs, "mode", "");
    int i = 0;
    while (i < MODE_COUNT && strcmp(names[i], mode) != 0)
        i++;
    return (MatmulMode)i;
}

static const char *unknown_mode(Arena *arena, const Node *node) {
    return arena_printf(arena, "mode is \"%s\"; it must be \"nt\", \"nn\" or \"tn\"",
                        attrs_string(&node->attrs, "mode", ""));
}

/* NULL if dim `a_dim` of operand 0 and dim `b_dim` of operand 1, over which products are summed, are equal. */
static const char *require_contraction(Arena *arena, const Node *node, int a_dim, int b_dim) {
    const Type *a = operand_type(node, 0), *b = operand_type(node, 1);
    if (dim_equal(&a->dims[a_dim], &b->dims[b_dim]))
        return NULL;
    return arena_printf(arena, "operand 0 has %s but operand 1 has %s to sum over: %s and %s, mode \"%s\"",
                        dim_format(arena, &a->dims[a_dim]), dim_format(arena, &b->dims[b_dim]), type_format(arena, a),
                        type_format(arena, b), attrs_string(&node->attrs, "mode", ""));
}

static const char *require_matrices(Arena *arena, const Node *node) {
    const char *error = require_float(arena, node, 0);
    for (int i = 0; i < 2 && error == NULL; i++)
        error = require_dense(arena, node, i);
    if (error == NULL)
        error = require_dtype(arena, node, 1, operand_type(node, 0)->dtype);
    if (error == NULL)
        error = require_min_rank(arena, node, 0, 1);
    return error;
}

static const char *infer_matmul_tn(Arena *arena, const Node *node, Type *results) {
    const Type *a = operand_type(node, 0), *b = operand_type(node, 1);
    if (b->rank != a->rank || !shape_spans_equal(a, 0, b, 0, a->rank - 1))
        return arena_printf(arena, "%s and %s must agree in all dims but the last, mode \"tn\"", type_format(arena, a),
                            type_format(arena, b));
    results[0] = (Type){.dtype = DTYPE_F32, .rank = 2, .dims = {a->dims[a->rank - 1], b->dims[b->rank - 1]}};
    return NULL;
}

const char *infer_matmul(Arena *arena, const Node *node, Type *results) {
    MatmulMode mode = matmul_mode(node);
    if (mode == MODE_COUNT)
        return unknown_mode(arena, node);
    const char *error = require_matrices(arena, node);
    if (error != NULL)
        return error;
    if (mode == MODE_TN)
        return infer_matmul_tn(arena, node, results);
    const Type *a = operand_type(node, 0), *b = operand_type(node, 1);
    error = require_rank(arena, node, 1, 2);
    int summed = mode == MODE_NT ? 1 : 0;
    if (error == NULL)
        error = require_contraction(arena, node, a->rank - 1, summed);
    if (error != NULL)
        return error;
    results[0] = *a;
    results[0].dtype = DTYPE_F32;
    results[0].dims[a->rank - 1] = b->dims[1 - summed];
    return NULL;
}

/* ---- Ragged rows --------------------------------------------------------------------------------------------------
 */

static const char *require_ragged(Arena *arena, const Node *node, int operand) {
    const Type *type = operand_type(node, operand);
    return type_is_ragged(type)
               ? NULL
               : arena_printf(arena, "operand %d must be ragged, and is %s", operand, type_format(arena, type));
}

/* NULL if the operand is i32[n_groups + 1]; n_groups 0: any number of groups. */
static const char *require_offsets(Arena *arena, const Node *node, int operand, int64_t n_groups) {
    const Type *type = operand_type(node, operand);
    bool fits = type->dtype == DTYPE_I32 && type->rank == 1 && !type_is_ragged(type) && type->dims[0].extent >= 2 &&
                (n_groups == 0 || type->dims[0].extent == n_groups + 1);
    if (fits)
        return NULL;
    if (n_groups == 0)
        return arena_printf(arena, "operand %d must be offsets i32[groups + 1], and is %s", operand,
                            type_format(arena, type));
    return arena_printf(arena, "operand %d must be offsets i32[%lld], and is %s", operand, (long long)n_groups + 1,
                        type_format(arena, type));
}

static const char *infer_grouped_tn(Arena *arena, const Node *node, Type *results) {
    const Type *a = operand_type(node, 0), *b = operand_type(node, 1), *offsets = operand_type(node, 2);
    const char *error = require_rank(arena, node, 1, 2);
    if (error == NULL)
        error = require_ragged(arena, node, 1);
    if (error == NULL)
        error = require_contraction(arena, node, 0, 0);
    if (error == NULL)
        error = require_offsets(arena, node, 2, 0);
    if (error != NULL)
        return error;
    Dim groups = {.extent = offsets->dims[0].extent - 1};
    results[0] = (Type){.dtype = DTYPE_F32, .rank = 3, .dims = {groups, a->dims[1], b->dims[1]}};
    return NULL;
}

const char *infer_grouped_matmul(Arena *arena, const Node *node, Type *results) {
    MatmulMode mode = matmul_mode(node);
    if (mode == MODE_COUNT)
        return unknown_mode(arena, node);
    const Type *a = operand_type(node, 0), *b = operand_type(node, 1);
    const char *error = require_float(arena, node, 0);
    if (error == NULL)
        error = require_rank(arena, node, 0, 2);
    if (error == NULL)
        error = require_ragged(arena, node, 0);
    if (error == NULL)
        error = require_dtype(arena, node, 1, a->dtype);
    if (error != NULL)
        return error;
    if (mode == MODE_TN)
        return infer_grouped_tn(arena, node, results);
    error = require_rank(arena, node, 1, 3);
    if (error == NULL)
        error = require_dense(arena, node, 1);
    int summed = mode == MODE_NT ? 2 : 1;
    if (error == NULL)
        error = require_contraction(arena, node, 1, summed);
    if (error == NULL)
        error = require_offsets(arena, node, 2, b->dims[0].extent);
    if (error != NULL)
        return error;
    results[0] = *a;
    results[0].dtype = DTYPE_F32;
    results[0].dims[1] = b->dims[3 - summed];
    return NULL;
}

const char *infer_grouped_broadcast(Arena *arena, const Node *node, Type *results) {
    const Type *w = operand_type(node, 0);
    const char *error = require_min_rank(arena, node, 0, 1);
    if (error == NULL)
        error = require_dense(arena, node, 0);
    if (error == NULL)
        error = require_offsets(arena, node, 1, w->dims[0].extent);
    if (error != NULL)
        return error;
    results[0] = *w;
    results[0].dims[0] = (Dim){.extent = attrs_int(&node->attrs, "rows", 0),
                               .name = attrs_string(&node->attrs, "rows_name", NULL),
                               .is_ragged = true};
    return NULL;
}

const char *infer_grouped_sum(Arena *arena, const Node *node, Type *results) {
    const char *error = require_float(arena, node, 0);
    if (error == NULL)
        error = require_ragged(arena, node, 0);
    if (error == NULL)
        error = require_offsets(arena, node, 1, 0);
    if (error != NULL)
        return error;
    results[0] = *operand_type(node, 0);
    results[0].dtype = DTYPE_F32;
    results[0].dims[0] = (Dim){.extent = operand_type(node, 1)->dims[0].extent - 1};
    return NULL;
}
