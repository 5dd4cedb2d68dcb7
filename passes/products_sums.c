/* Sums along the result of a product: the gradient of a factor of rows (Guo et al. 2025, SonicMoE). */
#include <stddef.h>

#include "passes/products.h"

/* What the rule is about: sum(u · g) along dims that include the last. */
typedef struct {
    Builder *builder;
    Value *g;
    const int64_t *dims;
    int n_dims;
} Sum;

static Value *build_sum_of_product(const Sum *sum, Value *a, Value *b) {
    return build_reduce_sum(sum->builder, build_binary(sum->builder, OP_mul, a, b), sum->dims, sum->n_dims);
}

/* ---- The other product ---------------------------------------------------------------------------------------- */

/* Whether `node` multiplies `rows` by the matrix of `product`, transposed. */
static bool is_adjoint(Node *node, const Value *rows, const RowProduct *product) {
    RowProduct other;
    return products_match_rows(node, &other) && other.rows == rows && other.weights == product->weights &&
           other.offsets == product->offsets && other.is_nt != product->is_nt;
}

/* A product that is adjoint to `product`, of rows that are g or g with factors, and that stands after it: or NULL. */
static Node *find_adjoint(const RowProduct *product, const Value *g) {
    size_t position = products_record(product->node)->position;
    for (ProductsUse *use = products_record(g->def)->uses[g->result]; use; use = use->next) {
        ScaledRows scaled;
        const Value *result = &use->user->results[0];
        if (is_adjoint(use->user, g, product) && products_record(use->user)->position > position)
            return use->user;
        if (!products_match_scaled(result, &scaled) || scaled.base != g || !products_can_defer(&scaled))
            continue;
        for (ProductsUse *next = products_record(use->user)->uses[0]; next; next = next->next) {
            if (is_adjoint(next->user, result, product) && products_record(next->user)->position > position)
                return next->user;
        }
    }
    return NULL;
}

/* ---- The rule ------------------------------------------------------------------------------------------------- */

static bool has_one_use(const Value *value) {
    const ProductsRecord *record = products_record(value->def);
    const ProductsUse *use = record->uses[value->result];
    return use && !use->next && !record->is_output[value->result];
}

/* The product that `y` is, if sum(y · g) can be read from its rows and its adjoint instead, and that pays: the adjoint
   is there anyway, and its rows are kept for others too or y is for this sum alone. The adjoint then has a twin. */
static bool can_transpose(const Sum *sum, const Value *y, RowProduct *product) {
    if (!products_match_rows(y->def, product) || (has_one_use(product->rows) && !has_one_use(y)))
        return false;
    bool is_stable = products_is_stable(product->rows) && products_is_stable(product->weights) &&
                     products_is_stable(sum->g) && (!product->offsets || products_is_stable(product->offsets));
    Node *adjoint = is_stable ? find_adjoint(product, sum->g) : NULL;
    if (!adjoint)
        return false;
    products_record(adjoint)->has_twin = true;
    return true;
}

/* sum((h W) · g) = sum(h · (g Wᵀ)) */
static Value *build_transposed(const Sum *sum, const RowProduct *product) {
    Value *adjoint = products_build_rows(sum->builder, product, sum->g, !product->is_nt);
    return build_sum_of_product(sum, product->rows, adjoint);
}

/* sum(b · g) along the last dim for vectors b of the experts: g bᵀ, a product with one column. */
static Value *build_sum_with_vector(const Sum *sum, const Node *repeated) {
    Value *vectors = repeated->operands[0];
    const Type *type = &vectors->type;
    Type rows = {.dtype = type->dtype, .rank = 3, .dims = {type->dims[0], {.extent = 1}, type->dims[1]}};
    Value *matrices = build_reshape(sum->builder, vectors, &rows);
    Value *column = build_grouped_matmul(sum->builder, "nt", sum->g, matrices, repeated->operands[1]);
    Type sums = {.dtype = type->dtype, .rank = 1, .dims = {column->type.dims[0]}};
    return build_reshape(sum->builder, column, &sums);
}

/* What repeats the vectors of the experts, or one or a few numbers, to b: no storage that b takes is needed to read it.
 */
static bool is_repeated(const Node *b) {
    bool is_stable = b->op == OP_broadcast || (b->op == OP_grouped_broadcast && b->results[0].type.rank == 2);
    for (int i = 0; is_stable && i < b->n_operands; i++)
        is_stable = products_is_stable(b->operands[i]);
    return is_stable;
}

/* sum((y + b) · g) = sum(y · g) + sum(b · g), where the first becomes another sum and b is repeated: nothing of the
   size of y is kept. */
static Value *build_split(const Sum *sum, const Node *add) {
    for (int i = 0; add->op == OP_add && i < 2; i++) {
        RowProduct product;
        const Node *b = add->operands[1 - i]->def;
        if (!is_repeated(b) || !can_transpose(sum, add->operands[i], &product))
            continue;
        Value *rest = b->op == OP_grouped_broadcast ? build_sum_with_vector(sum, b)
                                                    : build_sum_of_product(sum, add->operands[1 - i], sum->g);
        return build_binary(sum->builder, OP_add, build_transposed(sum, &product), rest);
    }
    return NULL;
}

Value *products_sum_of_product(Builder *builder, Node *node) {
    Sum sum = {.builder = builder, .dims = attrs_ints(&node->attrs, "dims", &sum.n_dims)};
    const Node *mul = node->operands[0]->def;
    int last = node->operands[0]->type.rank - 1;
    if (mul->op != OP_mul || sum.n_dims == 0 || sum.dims[sum.n_dims - 1] != last || !has_one_use(node->operands[0]))
        return NULL;
    for (int i = 0; i < 2; i++) {
        RowProduct product;
        sum.g = mul->operands[1 - i];
        if (can_transpose(&sum, mul->operands[i], &product))
            return build_transposed(&sum, &product);
        Value *split = build_split(&sum, mul->operands[i]->def);
        if (split)
            return split;
    }
    return NULL;
}
