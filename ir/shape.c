/* Shape rules of leaves, views, maps, reductions and updates. The rest stands in shape_*.c. */
#include "ir/shape_internal.h"

#include <math.h>
#include <string.h>

#include "ir/ops_internal.h"

/* ---- Shared -------------------------------------------------------------------------------------------------------
 */

const char *shape_text(Arena *arena, const Type *type, int first, int end) {
    const char *text = "[";
    for (int i = first; i < end; i++)
        text = arena_printf(arena, "%s%s%s", text, i > first ? ", " : "", dim_format(arena, &type->dims[i]));
    return arena_printf(arena, "%s]", text);
}

bool shape_spans_equal(const Type *a, int first, const Type *b, int b_first, int n) {
    for (int i = 0; i < n; i++) {
        if (!dim_equal(&a->dims[first + i], &b->dims[b_first + i]))
            return false;
    }
    return true;
}

const char *require_dtype(Arena *arena, const Node *node, int operand, DType dtype) {
    const Type *type = operand_type(node, operand);
    return type->dtype == dtype ? NULL
                                : arena_printf(arena, "operand %d must be %s, and is %s", operand, dtype_name(dtype),
                                               type_format(arena, type));
}

const char *require_float(Arena *arena, const Node *node, int operand) {
    const Type *type = operand_type(node, operand);
    return dtype_is_float(type->dtype)
               ? NULL
               : arena_printf(arena, "operand %d must be of floats, and is %s", operand, type_format(arena, type));
}

const char *require_rank(Arena *arena, const Node *node, int operand, int rank) {
    const Type *type = operand_type(node, operand);
    return type->rank == rank ? NULL
                              : arena_printf(arena, "operand %d must have %d dim%s, and is %s", operand, rank,
                                             rank == 1 ? "" : "s", type_format(arena, type));
}

const char *require_min_rank(Arena *arena, const Node *node, int operand, int rank) {
    const Type *type = operand_type(node, operand);
    return type->rank >= rank ? NULL
                              : arena_printf(arena, "operand %d must have at least %d dim%s, and is %s", operand, rank,
                                             rank == 1 ? "" : "s", type_format(arena, type));
}

const char *require_dense(Arena *arena, const Node *node, int operand) {
    const Type *type = operand_type(node, operand);
    return !type_is_ragged(type)
               ? NULL
               : arena_printf(arena, "operand %d must not be ragged, and is %s", operand, type_format(arena, type));
}

const char *require_same(Arena *arena, const Node *node, int operand, int other) {
    const Type *a = operand_type(node, operand), *b = operand_type(node, other);
    return type_equal(a, b) ? NULL
                            : arena_printf(arena, "operand %d is %s but operand %d is %s", operand,
                                           type_format(arena, a), other, type_format(arena, b));
}

const char *require_dim(Arena *arena, const Node *node, int operand, int64_t dim) {
    const Type *type = operand_type(node, operand);
    return dim >= 0 && dim < type->rank ? NULL
                                        : arena_printf(arena, "operand %d has no dim %lld: it is %s", operand,
                                                       (long long)dim, type_format(arena, type));
}

bool type_append(Type *type, Dim dim) {
    if (type->rank == MAX_RANK)
        return false;
    type->dims[type->rank++] = dim;
    return true;
}

bool type_append_span(Type *type, const Type *from, int first, int end) {
    for (int i = first; i < end; i++) {
        if (!type_append(type, from->dims[i]))
            return false;
    }
    return true;
}

/* ---- Leaves -------------------------------------------------------------------------------------------------------
 */

const char *infer_given(Arena *arena, const Node *node, Type *results) {
    (void)arena, (void)node, (void)results;
    return NULL; /* inputs have any type; a state's is the module's, which the verifier compares */
}

const char *infer_constant(Arena *arena, const Node *node, Type *results) {
    double value = attrs_float(&node->attrs, "value", 0);
    if (results->dtype != DTYPE_I32 || (value >= INT32_MIN && value <= INT32_MAX && value == floor(value)))
        return NULL;
    return arena_printf(arena, "the value %g is no i32", value);
}

/* ---- Views --------------------------------------------------------------------------------------------------------
 */

const char *infer_reshape(Arena *arena, const Node *node, Type *results) {
    const Type *x = operand_type(node, 0);
    bool fits = x->dtype == results->dtype && type_n_elements(x) == type_n_elements(results) &&
                type_is_ragged(x) == type_is_ragged(results) &&
                (!type_is_ragged(x) || x->dims[0].extent == results->dims[0].extent);
    return fits ? NULL
                : arena_printf(arena, "%s cannot become %s: the elements, and a ragged dim, must stay",
                               type_format(arena, x), type_format(arena, results));
}

const char *infer_broadcast(Arena *arena, const Node *node, Type *results) {
    const Type *x = operand_type(node, 0);
    int n;
    const int64_t *dims = attrs_ints(&node->attrs, "dims", &n);
    if (n != x->rank)
        return arena_printf(arena, "dims has %d entries for %s", n, type_format(arena, x));
    if (x->dtype != results->dtype)
        return arena_printf(arena, "%s cannot become %s", type_format(arena, x), type_format(arena, results));
    for (int i = 0; i < n; i++) {
        if (dims[i] < 0 || dims[i] >= results->rank || (i > 0 && dims[i] <= dims[i - 1]))
            return arena_printf(arena, "dims must rise within the %d dims of %s", results->rank,
                                type_format(arena, results));
        if (!dim_equal(&x->dims[i], &results->dims[dims[i]]))
            return arena_printf(arena, "dim %d of %s is not dim %lld of %s", i, type_format(arena, x),
                                (long long)dims[i], type_format(arena, results));
    }
    return NULL;
}

const char *infer_transpose(Arena *arena, const Node *node, Type *results) {
    const Type *x = operand_type(node, 0);
    int n;
    const int64_t *perm = attrs_ints(&node->attrs, "perm", &n);
    if (n != x->rank)
        return arena_printf(arena, "perm has %d entries for %s", n, type_format(arena, x));
    bool is_used[MAX_RANK] = {false};
    results[0] = (Type){.dtype = x->dtype};
    for (int i = 0; i < n; i++) {
        if (perm[i] < 0 || perm[i] >= n || is_used[perm[i]])
            return arena_printf(arena, "perm must name each of the %d dims once", n);
        is_used[perm[i]] = true;
        type_append(&results[0], x->dims[perm[i]]);
    }
    return NULL;
}

const char *infer_slice(Arena *arena, const Node *node, Type *results) {
    const Type *x = operand_type(node, 0);
    int64_t dim = attrs_int(&node->attrs, "dim", 0), start = attrs_int(&node->attrs, "start", 0);
    const char *error = require_dim(arena, node, 0, dim);
    if (error != NULL)
        return error;
    int d = (int)dim;
    bool fits = x->dtype == results->dtype && x->rank == results->rank && shape_spans_equal(x, 0, results, 0, d) &&
                shape_spans_equal(x, d + 1, results, d + 1, x->rank - d - 1) && !x->dims[d].is_ragged &&
                !results->dims[d].is_ragged && start >= 0 && results->dims[d].extent <= x->dims[d].extent - start;
    return fits ? NULL
                : arena_printf(arena, "%s has no elements %s along dim %d from %lld on", type_format(arena, x),
                               type_format(arena, results), d, (long long)start);
}

/* ---- Maps, reductions ---------------------------------------------------------------------------------------------
 */

const char *infer_copy(Arena *arena, const Node *node, Type *results) {
    (void)arena;
    results[0] = *operand_type(node, 0);
    return NULL;
}

const char *infer_same(Arena *arena, const Node *node, Type *results) {
    const char *error = require_float(arena, node, 0);
    for (int i = 1; i < node->n_operands && error == NULL; i++)
        error = require_same(arena, node, 0, i);
    results[0] = *operand_type(node, 0);
    return error;
}

const char *infer_to_bf16(Arena *arena, const Node *node, Type *results) {
    results[0] = *operand_type(node, 0);
    results[0].dtype = DTYPE_BF16;
    return require_dtype(arena, node, 0, DTYPE_F32);
}

const char *infer_to_f32(Arena *arena, const Node *node, Type *results) {
    results[0] = *operand_type(node, 0);
    results[0].dtype = DTYPE_F32;
    return require_dtype(arena, node, 0, DTYPE_BF16);
}

const char *infer_reduce(Arena *arena, const Node *node, Type *results) {
    const Type *x = operand_type(node, 0);
    const char *error = require_float(arena, node, 0);
    int n;
    const int64_t *dims = attrs_ints(&node->attrs, "dims", &n);
    bool is_reduced[MAX_RANK] = {false};
    for (int i = 0; i < n && error == NULL; i++) {
        error = require_dim(arena, node, 0, dims[i]);
        if (error == NULL && i > 0 && dims[i] <= dims[i - 1])
            error = "dims must rise";
        if (error == NULL && x->dims[dims[i]].is_ragged)
            error =
                arena_printf(arena, "the ragged dim of %s cannot be summed; grouped_sum can", type_format(arena, x));
        if (error == NULL)
            is_reduced[dims[i]] = true;
    }
    if (error != NULL)
        return error;
    results[0] = (Type){.dtype = x->dtype};
    for (int i = 0; i < x->rank; i++) {
        if (!is_reduced[i])
            type_append(&results[0], x->dims[i]);
    }
    return NULL;
}

/* NULL if there are rows of floats to work along: a last dim that isn't ragged. */
static const char *require_rows(Arena *arena, const Node *node) {
    const char *error = require_float(arena, node, 0);
    if (error == NULL)
        error = require_min_rank(arena, node, 0, 1);
    const Type *x = operand_type(node, 0);
    if (error == NULL && x->dims[x->rank - 1].is_ragged)
        error = arena_printf(arena, "the last dim of %s is ragged", type_format(arena, x));
    return error;
}

const char *infer_same_rows(Arena *arena, const Node *node, Type *results) {
    results[0] = *operand_type(node, 0);
    return require_rows(arena, node);
}

const char *infer_drop_last(Arena *arena, const Node *node, Type *results) {
    const char *error = require_rows(arena, node);
    if (error != NULL)
        return error;
    results[0] = *operand_type(node, 0);
    results[0].rank--;
    return NULL;
}

const char *infer_to_scalar(Arena *arena, const Node *node, Type *results) {
    const char *error = NULL;
    for (int i = 0; i < node->n_operands && error == NULL; i++) {
        error = require_float(arena, node, i);
        if (error == NULL)
            error = require_dense(arena, node, i);
    }
    results[0] = (Type){.dtype = DTYPE_F32};
    return error;
}

/* ---- Updates ------------------------------------------------------------------------------------------------------
 */

const char *infer_update(Arena *arena, const Node *node, Type *results) {
    results[0] = *operand_type(node, 0);
    const char *error = require_float(arena, node, 0);
    return error != NULL ? error : require_same(arena, node, 0, 1);
}

const char *infer_adamw(Arena *arena, const Node *node, Type *results) {
    const char *error = require_float(arena, node, 0);
    for (int i = 1; i < 4 && error == NULL; i++)
        error = require_same(arena, node, 0, i);
    const Type hyper = {.dtype = DTYPE_F32, .rank = 1, .dims = {{.extent = 7}}}, scale = {.dtype = DTYPE_F32};
    if (error == NULL && !type_equal(operand_type(node, 4), &hyper))
        error = arena_printf(arena, "operand 4 must be f32[7], and is %s", type_format(arena, operand_type(node, 4)));
    if (error == NULL && !type_equal(operand_type(node, 5), &scale))
        error = arena_printf(arena, "operand 5 must be f32[], and is %s", type_format(arena, operand_type(node, 5)));
    for (int i = 0; i < 4; i++)
        results[i] = *operand_type(node, i);
    return error;
}
