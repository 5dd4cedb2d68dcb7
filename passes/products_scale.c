/* Factors of rows pass through products: from what is read to what comes out, or to the other operand. Where the rows
   are a dispatch, a product can gather them as it reads them; their scaled copy would have to be stored. */
#include <string.h>

#include "passes/products.h"

static bool is_dispatched(const Value *value) {
    ScaledRows scaled;
    return value->def->op == OP_dispatch ||
           (products_match_scaled(value, &scaled) && scaled.base->def->op == OP_dispatch);
}

/* (w · x) W = w · (x W), where x is a dispatch, or where x W is there as well. */
static Value *of_scaled_rows(Builder *builder, Node *node) {
    RowProduct product;
    ScaledRows scaled;
    if (!products_match_rows(node, &product) || !products_match_scaled(product.rows, &scaled))
        return NULL;
    bool pays = scaled.base->def->op == OP_dispatch || products_record(node)->has_twin;
    if (!pays || !products_can_defer(&scaled))
        return NULL;
    Value *unscaled = products_build_rows(builder, &product, scaled.base, product.is_nt);
    return products_build_scaled(builder, unscaled, &scaled);
}

/* (w · x)ᵀ y = xᵀ (w · y), where x is a dispatch and y is none, whichever of them stands first. */
static Value *over_scaled_rows(Builder *builder, Node *node) {
    for (int i = 0; i < 2; i++) {
        ScaledRows scaled;
        Value *operands[3], *other = node->operands[1 - i];
        bool pays = products_match_scaled(node->operands[i], &scaled) && scaled.base->def->op == OP_dispatch &&
                    !is_dispatched(other);
        if (!pays || !products_can_defer(&scaled))
            continue;
        memcpy(operands, node->operands, sizeof(Value *) * (size_t)node->n_operands);
        operands[i] = scaled.base;
        operands[1 - i] = products_build_scaled(builder, other, &scaled);
        return build(builder, node->op, node->n_operands, operands, &node->attrs);
    }
    return NULL;
}

Value *products_of_scaled(Builder *builder, Node *node) {
    Value *value = of_scaled_rows(builder, node);
    bool is_over_rows =
        strcmp(attrs_string(&node->attrs, "mode", ""), "tn") == 0 && !attrs_find(&node->attrs, "inputs");
    return value || !is_over_rows ? value : over_scaled_rows(builder, node);
}

/* Each expert's sum of w · x, where x[~R, K] is a dispatch: wᵀ x, a product with the factors as a matrix [~R, 1]. */
Value *products_sum_of_scaled(Builder *builder, Node *node) {
    ScaledRows scaled;
    bool pays = products_match_scaled(node->operands[0], &scaled) && scaled.base->def->op == OP_dispatch;
    Value *factors = pays ? scaled.broadcast->operands[0] : NULL;
    if (!pays || !type_is_ragged(&factors->type) || node->operands[0]->type.rank != 2 || !products_can_defer(&scaled))
        return NULL;
    Type column = {.dtype = factors->type.dtype, .rank = 2, .dims = {factors->type.dims[0], {.extent = 1}}};
    Value *matrix = build_reshape(builder, factors, &column);
    Value *sum = build_grouped_matmul(builder, "tn", matrix, scaled.base, node->operands[1]);
    return build_reshape(builder, sum, &node->results[0].type);
}
