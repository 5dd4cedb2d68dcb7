/* Derivatives of views, reductions and movement. What moves elements is linear, so each rule is the adjoint map: what
   repeats an element sums its gradients and the other way round. */
#include "passes/derive.h"

/* One node with the given integer attributes, ended by a NULL key. */
typedef struct {
    const char *key;
    int64_t value;
} IntAttr;

static Value *build_with_ints(Derivation *at, OpKind op, int n_operands, Value *const *operands,
                              const IntAttr *attributes) {
    Arena *arena = at->builder->graph->module->arena;
    Attrs attrs = {0};
    for (const IntAttr *attribute = attributes; attribute->key; attribute++)
        attrs_set_int(arena, &attrs, attribute->key, attribute->value);
    return build(at->builder, op, n_operands, operands, &attrs);
}

/* ---- Views --------------------------------------------------------------------------------------------------- */

void derive_reshape(Derivation *at) {
    at->d_operands[0] = build_reshape(at->builder, at->d_results[0], &derive_operand(at, 0)->type);
}

/* The sum over the dims along which x was repeated. Which rows of a ragged dim are in use, only ops that take offsets
   know. */
void derive_broadcast(Derivation *at) {
    Value *dy = at->d_results[0];
    int n_mapped;
    const int64_t *map = attrs_ints(&at->node->attrs, "dims", &n_mapped);
    int64_t repeated[MAX_RANK];
    int n_repeated = 0;
    for (int dim = 0, next = 0; dim < dy->type.rank; dim++) {
        if (next < n_mapped && map[next] == dim) {
            next++;
            continue;
        }
        if (dy->type.dims[dim].is_ragged) {
            at->error = "it repeats its operand along ragged rows; grouped_broadcast does that with a derivative";
            return;
        }
        repeated[n_repeated++] = dim;
    }
    at->d_operands[0] = n_repeated ? build_reduce_sum(at->builder, dy, repeated, n_repeated) : dy;
}

/* The inverse permutation. */
void derive_transpose(Derivation *at) {
    int rank;
    const int64_t *perm = attrs_ints(&at->node->attrs, "perm", &rank);
    int64_t inverse[MAX_RANK];
    for (int i = 0; i < rank; i++)
        inverse[perm[i]] = i;
    Attrs attrs = {0};
    attrs_set_ints(at->builder->graph->module->arena, &attrs, "perm", inverse, rank);
    at->d_operands[0] = build(at->builder, OP_transpose, 1, &(Value *){at->d_results[0]}, &attrs);
}

/* Zeros where the slice did not look. */
void derive_slice(Derivation *at) {
    int64_t dim = derive_int_attribute(at, "dim"), start = derive_int_attribute(at, "start");
    int64_t extent = derive_result(at, 0)->type.dims[dim].extent, whole = derive_operand(at, 0)->type.dims[dim].extent;
    at->d_operands[0] =
        build_with_ints(at, OP_pad, 1, &(Value *){at->d_results[0]},
                        (IntAttr[]){{"dim", dim}, {"before", start}, {"after", whole - start - extent}, {NULL, 0}});
}

/* ---- Reductions ---------------------------------------------------------------------------------------------- */

/* Every element that went into a sum gets the sum's gradient. */
void derive_reduce_sum(Derivation *at) {
    const Type *type = &derive_operand(at, 0)->type;
    int n_dims;
    const int64_t *dims = attrs_ints(&at->node->attrs, "dims", &n_dims);
    bool is_reduced[MAX_RANK] = {false};
    for (int i = 0; i < n_dims; i++)
        is_reduced[dims[i]] = true;
    int64_t map[MAX_RANK];
    for (int dim = 0, next = 0; dim < type->rank; dim++) {
        if (!is_reduced[dim])
            map[next++] = dim;
    }
    at->d_operands[0] = build_broadcast(at->builder, at->d_results[0], type, map);
}

/* dx = y (dy - sum(dy y)), the sum along the last dim */
void derive_softmax(Derivation *at) {
    Value *y = derive_result(at, 0);
    Value *weighted = build_binary(at->builder, OP_mul, at->d_results[0], y);
    Value *sum = build_reduce_sum(at->builder, weighted, &(int64_t){y->type.rank - 1}, 1);
    Value *mean = build_binary(at->builder, OP_mul, derive_repeat_last(at, sum, &y->type), y);
    at->d_operands[0] = build_binary(at->builder, OP_sub, weighted, mean);
}

/* dx = dy softmax(x), softmax(x) = exp(x - y) */
void derive_logsumexp(Derivation *at) {
    at->d_operands[0] = derive_through_logsumexp(at, derive_operand(at, 0), derive_result(at, 0), at->d_results[0]);
}

/* ---- Along a dim --------------------------------------------------------------------------------------------- */

void derive_concat(Derivation *at) {
    int dim = (int)derive_int_attribute(at, "dim");
    int64_t start = 0;
    for (int i = 0; i < at->node->n_operands; i++) {
        int64_t extent = derive_operand(at, i)->type.dims[dim].extent;
        if (at->is_wanted[i])
            at->d_operands[i] = build_slice(at->builder, at->d_results[0], dim, start, extent);
        start += extent;
    }
}

void derive_pad(Derivation *at) {
    int dim = (int)derive_int_attribute(at, "dim");
    int64_t extent = derive_operand(at, 0)->type.dims[dim].extent;
    at->d_operands[0] = build_slice(at->builder, at->d_results[0], dim, derive_int_attribute(at, "before"), extent);
}

/* ---- Along an index: gather and scatter are each other's adjoint ---------------------------------------------- */

void derive_gather(Derivation *at) {
    const IntAttr attributes[] = {{"rows", derive_operand(at, 0)->type.dims[0].extent}, {NULL, 0}};
    Value *operands[] = {at->d_results[0], derive_operand(at, 1)};
    at->d_operands[0] = build_with_ints(at, OP_scatter_add, 2, operands, attributes);
}

void derive_scatter_add(Derivation *at) {
    Value *operands[] = {at->d_results[0], derive_operand(at, 1)};
    at->d_operands[0] = build(at->builder, OP_gather, 2, operands, NULL);
}

void derive_gather_last(Derivation *at) {
    const IntAttr attributes[] = {{"extent", type_extent(&derive_operand(at, 0)->type, -1)}, {NULL, 0}};
    Value *operands[] = {at->d_results[0], derive_operand(at, 1)};
    at->d_operands[0] = build_with_ints(at, OP_scatter_last, 2, operands, attributes);
}

void derive_scatter_last(Derivation *at) {
    Value *operands[] = {at->d_results[0], derive_operand(at, 1)};
    at->d_operands[0] = build(at->builder, OP_gather_last, 2, operands, NULL);
}
