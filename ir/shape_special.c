/* Shape rules of movement along an index, attention, the loss, routing. */
#include <string.h>

#include "ir/ops_internal.h"
#include "ir/shape_internal.h"

static const char *const too_many_dims = "the result would have too many dims";

/* ---- Movement -----------------------------------------------------------------------------------------------------
 */

const char *infer_concat(Arena *arena, const Node *node, Type *results) {
    int64_t dim = attrs_int(&node->attrs, "dim", 0);
    const char *error = require_dim(arena, node, 0, dim);
    if (error != NULL)
        return error;
    int d = (int)dim;
    const Type *first = operand_type(node, 0);
    if (first->dims[d].is_ragged)
        return arena_printf(arena, "dim %d of %s is ragged", d, type_format(arena, first));
    results[0] = *first;
    for (int i = 1; i < node->n_operands; i++) {
        const Type *x = operand_type(node, i);
        if (x->dtype != first->dtype || x->rank != first->rank || !shape_spans_equal(x, 0, first, 0, d) ||
            !shape_spans_equal(x, d + 1, first, d + 1, x->rank - d - 1))
            return arena_printf(arena, "operand %d is %s but operand 0 is %s; they may differ in dim %d only", i,
                                type_format(arena, x), type_format(arena, first), d);
        results[0].dims[d].extent += x->dims[d].extent;
        results[0].dims[d].name = NULL;
    }
    return NULL;
}

const char *infer_pad(Arena *arena, const Node *node, Type *results) {
    int64_t dim = attrs_int(&node->attrs, "dim", 0);
    int64_t before = attrs_int(&node->attrs, "before", 0), after = attrs_int(&node->attrs, "after", 0);
    const char *error = require_dim(arena, node, 0, dim);
    if (error != NULL)
        return error;
    results[0] = *operand_type(node, 0);
    if (results[0].dims[dim].is_ragged || before < 0 || after < 0 || before > MAX_ELEMENTS || after > MAX_ELEMENTS)
        return arena_printf(arena, "%lld and %lld zeros cannot be added to dim %lld of %s", (long long)before,
                            (long long)after, (long long)dim, type_format(arena, &results[0]));
    if (before > 0 || after > 0)
        results[0].dims[dim] = (Dim){.extent = results[0].dims[dim].extent + before + after};
    return NULL;
}

const char *infer_gather(Arena *arena, const Node *node, Type *results) {
    const Type *table = operand_type(node, 0), *indices = operand_type(node, 1);
    const char *error = require_dtype(arena, node, 1, DTYPE_I32);
    if (error == NULL)
        error = require_min_rank(arena, node, 0, 1);
    if (error == NULL)
        error = require_dense(arena, node, 0);
    if (error == NULL)
        error = require_dense(arena, node, 1);
    if (error != NULL)
        return error;
    results[0] = *indices;
    results[0].dtype = table->dtype;
    return type_append_span(&results[0], table, 1, table->rank) ? NULL : too_many_dims;
}

const char *infer_scatter_add(Arena *arena, const Node *node, Type *results) {
    const Type *x = operand_type(node, 0), *indices = operand_type(node, 1);
    const char *error = require_float(arena, node, 0);
    if (error == NULL)
        error = require_dtype(arena, node, 1, DTYPE_I32);
    if (error == NULL)
        error = require_dense(arena, node, 0);
    if (error != NULL)
        return error;
    if (x->rank < indices->rank || !shape_spans_equal(x, 0, indices, 0, indices->rank))
        return arena_printf(arena, "%s must start with the dims of %s", type_format(arena, x),
                            type_format(arena, indices));
    results[0] = (Type){.dtype = DTYPE_F32};
    type_append(&results[0], (Dim){.extent = attrs_int(&node->attrs, "rows", 0)});
    return type_append_span(&results[0], x, indices->rank, x->rank) ? NULL : too_many_dims;
}

/* NULL if operand 0 and the i32 operand 1 have rows along their last dims, and the same rows. */
static const char *require_row_choices(Arena *arena, const Node *node) {
    const Type *x = operand_type(node, 0), *indices = operand_type(node, 1);
    const char *error = require_float(arena, node, 0);
    if (error == NULL)
        error = require_dtype(arena, node, 1, DTYPE_I32);
    for (int i = 0; i < 2 && error == NULL; i++) {
        error = require_dense(arena, node, i);
        if (error == NULL)
            error = require_min_rank(arena, node, i, 1);
    }
    if (error == NULL && (x->rank != indices->rank || !shape_spans_equal(x, 0, indices, 0, x->rank - 1)))
        error = arena_printf(arena, "%s and %s must agree in all dims but the last", type_format(arena, x),
                             type_format(arena, indices));
    return error;
}

const char *infer_gather_last(Arena *arena, const Node *node, Type *results) {
    results[0] = *operand_type(node, 1);
    results[0].dtype = operand_type(node, 0)->dtype;
    return require_row_choices(arena, node);
}

const char *infer_scatter_last(Arena *arena, const Node *node, Type *results) {
    const Type *x = operand_type(node, 0);
    const char *error = require_row_choices(arena, node);
    if (error == NULL && !dim_equal(&x->dims[x->rank - 1], &operand_type(node, 1)->dims[x->rank - 1]))
        error = arena_printf(arena, "%s and %s must have the same dims", type_format(arena, x),
                             type_format(arena, operand_type(node, 1)));
    if (error != NULL)
        return error;
    results[0] = *x;
    results[0].dims[x->rank - 1] = (Dim){.extent = attrs_int(&node->attrs, "extent", 0)};
    return NULL;
}

/* ---- Attention ----------------------------------------------------------------------------------------------------
 */

const char *infer_rope_table(Arena *arena, const Node *node, Type *results) {
    const Type *type = &results[0];
    if (type->dtype != DTYPE_F32 || type->rank != 3 || type->dims[2].extent != 2 || type_is_ragged(type))
        return arena_printf(arena, "its type must be f32[positions, pairs, 2], not %s", type_format(arena, type));
    const char *scaling = attrs_string(&node->attrs, "scaling", "");
    static const char *const needed[] = {"factor", "low_freq_factor", "high_freq_factor", "original_context"};
    if (scaling[0] != '\0' && strcmp(scaling, "llama3") != 0)
        return arena_printf(arena, "scaling is \"%s\"; it can be \"llama3\"", scaling);
    for (size_t i = 0; scaling[0] != '\0' && i < sizeof needed / sizeof needed[0]; i++) {
        if (attrs_find(&node->attrs, needed[i]) == NULL)
            return arena_printf(arena, "scaling \"llama3\" needs the attribute '%s'", needed[i]);
    }
    return NULL;
}

const char *infer_rope(Arena *arena, const Node *node, Type *results) {
    const Type *x = operand_type(node, 0), *table = operand_type(node, 1);
    const char *error = require_float(arena, node, 0);
    if (error == NULL)
        error = require_rank(arena, node, 0, 4);
    if (error == NULL)
        error = require_dense(arena, node, 0);
    if (error == NULL)
        error = require_rank(arena, node, 1, 3);
    if (error == NULL &&
        (table->dims[0].extent != x->dims[1].extent || table->dims[1].extent * 2 != x->dims[3].extent ||
         table->dims[2].extent != 2 || table->dtype != DTYPE_F32))
        error = arena_printf(arena, "the table of %s is f32[T, D/2, 2], not %s", type_format(arena, x),
                             type_format(arena, table));
    results[0] = *x;
    return error;
}

/* NULL if operands 0, 1, 2 are queries [B, T, H, D], keys and values [B, T, G, D] with H a multiple of G. */
static const char *require_heads(Arena *arena, const Node *node) {
    const Type *q = operand_type(node, 0), *k = operand_type(node, 1);
    const char *error = NULL;
    for (int i = 0; i < 3 && error == NULL; i++) {
        error = require_float(arena, node, i);
        if (error == NULL)
            error = require_dtype(arena, node, i, q->dtype);
        if (error == NULL)
            error = require_rank(arena, node, i, 4);
        if (error == NULL)
            error = require_dense(arena, node, i);
    }
    if (error == NULL)
        error = require_same(arena, node, 1, 2);
    if (error == NULL && (!shape_spans_equal(q, 0, k, 0, 2) || !dim_equal(&q->dims[3], &k->dims[3])))
        error = arena_printf(arena, "queries %s and keys %s must agree in all dims but the heads",
                             type_format(arena, q), type_format(arena, k));
    if (error == NULL && q->dims[2].extent % k->dims[2].extent != 0)
        error = arena_printf(arena, "%s query heads are not a multiple of %s key heads", dim_format(arena, &q->dims[2]),
                             dim_format(arena, &k->dims[2]));
    if (error == NULL && attrs_int(&node->attrs, "window", 0) < 0)
        error = "window must be at least 1, or 0 for none";
    return error;
}

/* f32[B, H, T]: one number a query. */
static Type per_query_type(const Type *q) {
    return (Type){.dtype = DTYPE_F32, .rank = 3, .dims = {q->dims[0], q->dims[2], q->dims[1]}};
}

const char *infer_attention(Arena *arena, const Node *node, Type *results) {
    const char *error = require_heads(arena, node);
    if (error != NULL)
        return error;
    results[0] = *operand_type(node, 0);
    results[0].dtype = DTYPE_F32;
    results[1] = per_query_type(operand_type(node, 0));
    return NULL;
}

const char *infer_attention_grad(Arena *arena, const Node *node, Type *results) {
    const char *error = require_heads(arena, node);
    if (error == NULL)
        error = require_same(arena, node, 0, 3);
    if (error == NULL)
        error = require_same(arena, node, 0, 5);
    if (error != NULL)
        return error;
    Type per_query = per_query_type(operand_type(node, 0));
    if (!type_equal(operand_type(node, 4), &per_query))
        return arena_printf(arena, "operand 4 must be %s, and is %s", type_format(arena, &per_query),
                            type_format(arena, operand_type(node, 4)));
    for (int i = 0; i < 3; i++) {
        results[i] = *operand_type(node, i);
        results[i].dtype = DTYPE_F32;
    }
    return NULL;
}

/* ---- Loss ---------------------------------------------------------------------------------------------------------
 */

/* Floats hold the numbers of classes: codegen/form.h compares them with a target so. */
static const int64_t MAX_CLASSES = 1 << 24;

/* NULL if operand 0 is logits f32[.., V] and operand 1 targets i32[..]; `per_row` becomes f32[..]. */
static const char *require_logits(Arena *arena, const Node *node, Type *per_row) {
    const Type *logits = operand_type(node, 0), *targets = operand_type(node, 1);
    const char *error = require_dtype(arena, node, 0, DTYPE_F32);
    if (error == NULL)
        error = require_min_rank(arena, node, 0, 1);
    if (error == NULL)
        error = require_dense(arena, node, 0);
    if (error == NULL)
        error = require_dtype(arena, node, 1, DTYPE_I32);
    if (error == NULL &&
        (targets->rank != logits->rank - 1 || !shape_spans_equal(targets, 0, logits, 0, targets->rank)))
        error = arena_printf(arena, "targets %s do not fit logits %s", type_format(arena, targets),
                             type_format(arena, logits));
    if (error == NULL && type_extent(logits, -1) > MAX_CLASSES)
        error = arena_printf(arena, "logits are of at most 2^24 classes, and these are %s", type_format(arena, logits));
    *per_row = *logits;
    per_row->rank = logits->rank - (error == NULL);
    return error;
}

const char *infer_cross_entropy(Arena *arena, const Node *node, Type *results) {
    const char *error = require_logits(arena, node, &results[0]);
    results[1] = results[0];
    return error;
}

const char *infer_cross_entropy_grad(Arena *arena, const Node *node, Type *results) {
    Type per_row;
    const char *error = require_logits(arena, node, &per_row);
    for (int i = 2; i < 4 && error == NULL; i++) {
        if (!type_equal(operand_type(node, i), &per_row))
            error = arena_printf(arena, "operand %d must be %s, and is %s", i, type_format(arena, &per_row),
                                 type_format(arena, operand_type(node, i)));
    }
    results[0] = *operand_type(node, 0);
    return error;
}

/* ---- Routing ------------------------------------------------------------------------------------------------------
 */

const char *infer_top_k(Arena *arena, const Node *node, Type *results) {
    const Type *x = operand_type(node, 0);
    int64_t k = attrs_int(&node->attrs, "k", 0);
    const char *error = require_float(arena, node, 0);
    if (error == NULL)
        error = require_min_rank(arena, node, 0, 1);
    if (error == NULL)
        error = require_dense(arena, node, 0);
    if (error == NULL && (k < 1 || k > type_extent(x, -1)))
        error = arena_printf(arena, "k = %lld of the last dim of %s", (long long)k, type_format(arena, x));
    if (error != NULL)
        return error;
    results[0] = *x;
    results[0].dims[x->rank - 1] = (Dim){.extent = k};
    results[1] = results[0];
    results[1].dtype = DTYPE_I32;
    return NULL;
}

const char *infer_histogram(Arena *arena, const Node *node, Type *results) {
    results[0] = (Type){.dtype = DTYPE_F32, .rank = 1, .dims = {{.extent = attrs_int(&node->attrs, "bins", 0)}}};
    const char *error = require_dtype(arena, node, 0, DTYPE_I32);
    return error != NULL ? error : require_dense(arena, node, 0);
}

const char *infer_route(Arena *arena, const Node *node, Type *results) {
    const Type *indices = operand_type(node, 0);
    int64_t n_experts = attrs_int(&node->attrs, "experts", 0), capacity = attrs_int(&node->attrs, "capacity", 0);
    const char *error = require_dtype(arena, node, 0, DTYPE_I32);
    if (error == NULL)
        error = require_min_rank(arena, node, 0, 1);
    if (error == NULL)
        error = require_dense(arena, node, 0);
    if (error == NULL && (n_experts < 1 || n_experts > MAX_ELEMENTS || capacity < 0))
        error = arena_printf(arena,
                             "experts = %lld and capacity = %lld: there is at least one expert, and no negative "
                             "capacity (0: none is dropped)",
                             (long long)n_experts, (long long)capacity);
    if (error != NULL)
        return error;
    int64_t n_slots = type_n_elements(indices);
    bool is_bounded = capacity > 0 && capacity <= n_slots / n_experts;
    int64_t n_rows = is_bounded ? capacity * n_experts : n_slots;
    results[0] = (Type){.dtype = DTYPE_I32, .rank = 1, .dims = {{.extent = n_experts + 1}}};
    results[1] = (Type){.dtype = DTYPE_I32, .rank = 1, .dims = {{.extent = n_rows, .name = "rows", .is_ragged = true}}};
    results[2] = *indices;
    return NULL;
}

/* NULL if operands 1 and 2 are slot_of_row i32[~R] and row_of_slot i32[.., k], as `route` gives them. */
static const char *require_routing(Arena *arena, const Node *node) {
    const Type *slot_of_row = operand_type(node, 1);
    const char *error = require_dtype(arena, node, 1, DTYPE_I32);
    if (error == NULL)
        error = require_dtype(arena, node, 2, DTYPE_I32);
    if (error == NULL)
        error = require_min_rank(arena, node, 2, 1);
    if (error == NULL)
        error = require_dense(arena, node, 2);
    if (error == NULL && (slot_of_row->rank != 1 || !type_is_ragged(slot_of_row)))
        error = arena_printf(arena, "operand 1 must be i32[~rows], and is %s", type_format(arena, slot_of_row));
    return error;
}

/* How many dims of row_of_slot count rows of the dense side: tokens, or with per_slot slots. */
static int n_source_dims(const Node *node) {
    return operand_type(node, 2)->rank - (attrs_bool(&node->attrs, "per_slot", false) ? 0 : 1);
}

const char *infer_dispatch(Arena *arena, const Node *node, Type *results) {
    const Type *x = operand_type(node, 0), *row_of_slot = operand_type(node, 2);
    const char *error = require_routing(arena, node);
    if (error == NULL)
        error = require_dense(arena, node, 0);
    if (error != NULL)
        return error;
    int n_source = n_source_dims(node);
    if (x->rank < n_source || !shape_spans_equal(x, 0, row_of_slot, 0, n_source))
        return arena_printf(arena, "%s must start with %s", type_format(arena, x),
                            shape_text(arena, row_of_slot, 0, n_source));
    results[0] = (Type){.dtype = x->dtype};
    type_append(&results[0], operand_type(node, 1)->dims[0]);
    return type_append_span(&results[0], x, n_source, x->rank) ? NULL : too_many_dims;
}

const char *infer_combine(Arena *arena, const Node *node, Type *results) {
    const Type *y = operand_type(node, 0), *row_of_slot = operand_type(node, 2);
    const char *error = require_routing(arena, node);
    if (error == NULL)
        error = require_float(arena, node, 0);
    if (error == NULL)
        error = require_min_rank(arena, node, 0, 1);
    if (error == NULL && !dim_equal(&y->dims[0], &operand_type(node, 1)->dims[0]))
        error = arena_printf(arena, "%s must have the rows of %s", type_format(arena, y),
                             type_format(arena, operand_type(node, 1)));
    if (error != NULL)
        return error;
    results[0] = (Type){.dtype = DTYPE_F32};
    bool fits = type_append_span(&results[0], row_of_slot, 0, n_source_dims(node)) &&
                type_append_span(&results[0], y, 1, y->rank);
    return fits ? NULL : too_many_dims;
}
