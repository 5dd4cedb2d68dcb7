/* Rules for views, movement, and sums and products that see through them. */
#include <stddef.h>
#include <string.h>

#include "passes/simplify.h"

static int64_t int_attr(const Node *node, const char *key) {
    return attrs_int(&node->attrs, key, 0);
}

static Value *build_ints(Builder *builder, OpKind op, Value *x, const char *key, const int64_t *items, int n) {
    Attrs attrs = {0};
    attrs_set_ints(builder->graph->module->arena, &attrs, key, items, n);
    return build(builder, op, 1, &x, &attrs);
}

/* ---- Any view ------------------------------------------------------------------------------------------------- */

/* A view of something that is the same everywhere: a constant, or one number broadcast. */
Value *simplify_view_of_splat(Builder *builder, const Node *node) {
    double constant;
    Value *x = node->operands[0];
    const Type *type = &node->results[0].type;
    if (simplify_constant(x, &constant))
        return build_constant(builder, constant, type);
    const Node *broadcast = simplify_match(x, OP_broadcast);
    if (!broadcast || broadcast->operands[0]->type.rank != 0)
        return NULL;
    int n_dims;
    return build_broadcast(builder, broadcast->operands[0], type, attrs_ints(&broadcast->attrs, "dims", &n_dims));
}

static bool is_identity(const int64_t *perm, int n) {
    for (int i = 0; i < n; i++) {
        if (perm[i] != i)
            return false;
    }
    return true;
}

/* A view that shows all of its operand in its own order. */
Value *simplify_view_of_all(Builder *builder, const Node *node) {
    (void)builder;
    Value *x = node->operands[0];
    int n_dims = 0;
    const int64_t *perm = node->op == OP_transpose ? attrs_ints(&node->attrs, "perm", &n_dims) : NULL;
    return type_equal(&x->type, &node->results[0].type) && is_identity(perm, n_dims) ? x : NULL;
}

/* ---- Views of views ------------------------------------------------------------------------------------------- */

static Value *reshape_of_reshape(Builder *builder, const Node *node) {
    const Node *inner = simplify_match(node->operands[0], OP_reshape);
    return inner ? build_reshape(builder, inner->operands[0], &node->results[0].type) : NULL;
}

static Value *transpose_of_transpose(Builder *builder, const Node *node) {
    const Node *inner = simplify_match(node->operands[0], OP_transpose);
    if (!inner)
        return NULL;
    int rank;
    const int64_t *outer_perm = attrs_ints(&node->attrs, "perm", &rank);
    const int64_t *inner_perm = attrs_ints(&inner->attrs, "perm", &rank);
    int64_t perm[MAX_RANK];
    for (int i = 0; i < rank; i++)
        perm[i] = inner_perm[outer_perm[i]];
    return build_ints(builder, OP_transpose, inner->operands[0], "perm", perm, rank);
}

static Value *broadcast_of_broadcast(Builder *builder, const Node *node) {
    const Node *inner = simplify_match(node->operands[0], OP_broadcast);
    if (!inner)
        return NULL;
    int n_inner, n_outer;
    const int64_t *inner_dims = attrs_ints(&inner->attrs, "dims", &n_inner);
    const int64_t *outer_dims = attrs_ints(&node->attrs, "dims", &n_outer);
    int64_t map[MAX_RANK];
    for (int i = 0; i < n_inner; i++)
        map[i] = outer_dims[inner_dims[i]];
    return build_broadcast(builder, inner->operands[0], &node->results[0].type, map);
}

static Value *slice_of_slice(Builder *builder, const Node *node) {
    const Node *inner = simplify_match(node->operands[0], OP_slice);
    int64_t dim = int_attr(node, "dim");
    if (!inner || int_attr(inner, "dim") != dim)
        return NULL;
    return build_slice(builder, inner->operands[0], (int)dim, int_attr(inner, "start") + int_attr(node, "start"),
                       node->results[0].type.dims[dim].extent);
}

/* ---- Slices of what was put together --------------------------------------------------------------------------- */

/* A slice that lies in one of the parts. */
static Value *slice_of_concat(Builder *builder, const Node *node) {
    const Node *concat = simplify_match(node->operands[0], OP_concat);
    int64_t dim = int_attr(node, "dim"), start = int_attr(node, "start");
    int64_t extent = node->results[0].type.dims[dim].extent;
    if (!concat || int_attr(concat, "dim") != dim)
        return NULL;
    for (int i = 0; i < concat->n_operands; i++) {
        Value *part = concat->operands[i];
        int64_t part_extent = part->type.dims[dim].extent;
        if (start < part_extent)
            return start + extent <= part_extent ? build_slice(builder, part, (int)dim, start, extent) : NULL;
        start -= part_extent;
    }
    return NULL;
}

/* A slice that sees none of the zeros. */
static Value *slice_of_pad(Builder *builder, const Node *node) {
    const Node *pad = simplify_match(node->operands[0], OP_pad);
    int64_t dim = int_attr(node, "dim"), extent = node->results[0].type.dims[dim].extent;
    if (!pad || int_attr(pad, "dim") != dim)
        return NULL;
    int64_t start = int_attr(node, "start") - int_attr(pad, "before");
    if (start < 0 || start + extent > pad->operands[0]->type.dims[dim].extent)
        return NULL;
    return build_slice(builder, pad->operands[0], (int)dim, start, extent);
}

/* ---- Concat and pad ------------------------------------------------------------------------------------------- */

static Value *build_concat(Builder *builder, int64_t dim, Value *const *parts, int n_parts) {
    Attrs attrs = {0};
    attrs_set_int(builder->graph->module->arena, &attrs, "dim", dim);
    return build(builder, OP_concat, n_parts, parts, &attrs);
}

static Value *build_pad(Builder *builder, Value *x, int64_t dim, int64_t before, int64_t after) {
    Arena *arena = builder->graph->module->arena;
    Attrs attrs = {0};
    attrs_set_int(arena, &attrs, "dim", dim);
    attrs_set_int(arena, &attrs, "before", before);
    attrs_set_int(arena, &attrs, "after", after);
    return build(builder, OP_pad, 1, &x, &attrs);
}

static Value *concat_of_one(Builder *builder, const Node *node) {
    (void)builder;
    return node->n_operands == 1 ? node->operands[0] : NULL;
}

/* concat(concat(a, b), c) = concat(a, b, c) */
static Value *concat_of_concat(Builder *builder, const Node *node) {
    int64_t dim = int_attr(node, "dim");
    int n_parts = 0;
    for (int i = 0; i < node->n_operands; i++) {
        const Node *inner = simplify_match(node->operands[i], OP_concat);
        n_parts += inner && int_attr(inner, "dim") == dim ? inner->n_operands : 1;
    }
    if (n_parts == node->n_operands)
        return NULL;
    Value **parts = arena_array_of(builder->graph->module->arena, Value *, n_parts), **next = parts;
    for (int i = 0; i < node->n_operands; i++) {
        const Node *inner = simplify_match(node->operands[i], OP_concat);
        if (!inner || int_attr(inner, "dim") != dim) {
            *next++ = node->operands[i];
            continue;
        }
        memcpy(next, inner->operands, sizeof *next * (size_t)inner->n_operands);
        next += inner->n_operands;
    }
    return build_concat(builder, dim, parts, n_parts);
}

/* Slices of one value that follow each other are one slice. */
static Value *concat_of_slices(Builder *builder, const Node *node) {
    int64_t dim = int_attr(node, "dim"), start = 0, end = 0;
    Value *source = NULL;
    for (int i = 0; i < node->n_operands; i++) {
        const Node *slice = simplify_match(node->operands[i], OP_slice);
        if (!slice || int_attr(slice, "dim") != dim)
            return NULL;
        if (i == 0) {
            source = slice->operands[0];
            start = end = int_attr(slice, "start");
        }
        if (slice->operands[0] != source || int_attr(slice, "start") != end)
            return NULL;
        end += slice->results[0].type.dims[dim].extent;
    }
    return build_slice(builder, source, (int)dim, start, end - start);
}

static Value *pad_by_nothing(Builder *builder, const Node *node) {
    (void)builder;
    return int_attr(node, "before") == 0 && int_attr(node, "after") == 0 ? node->operands[0] : NULL;
}

static Value *pad_of_pad(Builder *builder, const Node *node) {
    const Node *inner = simplify_match(node->operands[0], OP_pad);
    if (!inner || int_attr(inner, "dim") != int_attr(node, "dim"))
        return NULL;
    return build_pad(builder, inner->operands[0], int_attr(node, "dim"),
                     int_attr(inner, "before") + int_attr(node, "before"),
                     int_attr(inner, "after") + int_attr(node, "after"));
}

/* pad(a) + pad(b), where b begins where a ends: the padded concatenation. The gradients of neighbouring slices add up
   to it. */
static Value *add_of_neighbours(Builder *builder, const Node *node) {
    const Node *a = simplify_match(node->operands[0], OP_pad), *b = simplify_match(node->operands[1], OP_pad);
    if (!a || !b || int_attr(a, "dim") != int_attr(b, "dim"))
        return NULL;
    if (int_attr(a, "before") > int_attr(b, "before")) {
        const Node *first = b;
        b = a;
        a = first;
    }
    int64_t dim = int_attr(a, "dim");
    if (int_attr(a, "before") + a->operands[0]->type.dims[dim].extent != int_attr(b, "before"))
        return NULL;
    Value *both = build_concat(builder, dim, (Value *[]){a->operands[0], b->operands[0]}, 2);
    return build_pad(builder, both, dim, int_attr(a, "before"), int_attr(b, "after"));
}

/* ---- Sums ----------------------------------------------------------------------------------------------------- */

/* The dims of a reduce_sum's operand, as flags. */
static void mark_reduced(const Node *node, bool *is_reduced) {
    int n_dims;
    const int64_t *dims = attrs_ints(&node->attrs, "dims", &n_dims);
    memset(is_reduced, 0, sizeof(bool) * MAX_RANK);
    for (int i = 0; i < n_dims; i++)
        is_reduced[dims[i]] = true;
}

/* Only dims of extent 1 are summed, or none: nothing is added. */
static Value *sum_of_single_elements(Builder *builder, const Node *node) {
    Value *x = node->operands[0];
    if (type_n_elements(&x->type) != type_n_elements(&node->results[0].type) || type_is_ragged(&x->type))
        return NULL;
    return build_reshape(builder, x, &node->results[0].type);
}

static Value *sum_of_constant(Builder *builder, const Node *node) {
    double constant;
    const Type *from = &node->operands[0]->type, *to = &node->results[0].type;
    if (!simplify_constant(node->operands[0], &constant))
        return NULL;
    double n_terms = (double)type_n_elements(from) / (double)type_n_elements(to);
    return simplify_build_constant(builder, constant * n_terms, to);
}

/* sum(broadcast(x)): x summed along those of its own dims that are summed, times the number of repetitions that are
   summed, repeated along the rest. */
static Value *sum_of_broadcast(Builder *builder, const Node *node) {
    const Node *broadcast = simplify_match(node->operands[0], OP_broadcast);
    if (!broadcast)
        return NULL;
    const Type *type = &broadcast->results[0].type;
    int n_mapped;
    const int64_t *map = attrs_ints(&broadcast->attrs, "dims", &n_mapped);
    bool is_reduced[MAX_RANK];
    mark_reduced(node, is_reduced);
    double n_repetitions = 1;
    int64_t own[MAX_RANK], kept_map[MAX_RANK];
    int n_own = 0, n_kept = 0;
    for (int dim = 0, next = 0, result_dim = 0; dim < type->rank; dim++) {
        bool is_mapped = next < n_mapped && map[next] == dim;
        if (is_reduced[dim] && is_mapped)
            own[n_own++] = next;
        else if (is_reduced[dim])
            n_repetitions *= (double)type->dims[dim].extent;
        else if (is_mapped)
            kept_map[n_kept++] = result_dim;
        next += is_mapped;
        result_dim += !is_reduced[dim];
    }
    Value *sum = broadcast->operands[0];
    if (n_own)
        sum = build_reduce_sum(builder, sum, own, n_own);
    return build_broadcast(builder, build_scale(builder, sum, n_repetitions), &node->results[0].type, kept_map);
}

/* ---- Products ------------------------------------------------------------------------------------------------- */

/* The operand of a transpose that swaps the two dims of a matrix. */
static Value *transposed_matrix(const Value *value) {
    const Node *transpose = simplify_match(value, OP_transpose);
    return transpose && value->type.rank == 2 ? transpose->operands[0] : NULL;
}

/* a · transpose(b): nt and nn say how b stands. */
static Value *product_with_transposed(Builder *builder, const Node *node) {
    const char *mode = attrs_string(&node->attrs, "mode", "");
    Value *b = transposed_matrix(node->operands[1]);
    if (!b || strcmp(mode, "tn") == 0)
        return NULL;
    return build_product_like(builder, node, strcmp(mode, "nt") == 0 ? "nn" : "nt", node->operands[0], b);
}

const SimplifyRule simplify_shape_rules[] = {
    {OP_reshape, reshape_of_reshape},
    {OP_transpose, transpose_of_transpose},
    {OP_broadcast, broadcast_of_broadcast},
    {OP_slice, slice_of_slice},
    {OP_slice, slice_of_concat},
    {OP_slice, slice_of_pad},
    {OP_concat, concat_of_one},
    {OP_concat, concat_of_concat},
    {OP_concat, concat_of_slices},
    {OP_pad, pad_by_nothing},
    {OP_pad, pad_of_pad},
    {OP_add, add_of_neighbours},
    {OP_reduce_sum, sum_of_constant},
    {OP_reduce_sum, sum_of_single_elements},
    {OP_reduce_sum, sum_of_broadcast},
    {OP_matmul, product_with_transposed},
    {OP_COUNT, NULL},
};
