/* Rules for elementwise ops and for factors that pass through sums. A constant operand of add and mul stands second. */
#include <float.h>
#include <math.h>
#include <stddef.h>

#include "ir/scalar.h"
#include "passes/simplify.h"

bool simplify_constant(const Value *value, double *constant) {
    const Node *node = simplify_match(value, OP_constant);
    if (!node || !dtype_is_float(value->type.dtype))
        return false;
    *constant = attrs_float(&node->attrs, "value", 0);
    return true;
}

Value *simplify_build_constant(Builder *builder, double constant, const Type *type) {
    double size = fabs(constant);
    if (!(size == 0 || (size >= FLT_MIN && size <= FLT_MAX)))
        return NULL;
    return build_constant(builder, constant, type);
}

/* ---- Maps of constants ---------------------------------------------------------------------------------------- */

Value *simplify_fold_map(Builder *builder, const Node *node) {
    double x[2] = {0};
    for (int i = 0; i < node->n_operands; i++) {
        if (!simplify_constant(node->operands[i], &x[i]))
            return NULL;
    }
    return simplify_build_constant(builder, scalar_function(node->op)(x[0], x[1]), &node->results[0].type);
}

/* ---- Maps of broadcasts: the map before the elements are repeated ---------------------------------------------- */

/* The broadcast among the operands, where the others are constants or broadcasts of the same kind. */
static const Node *common_broadcast(const Node *node) {
    const Node *common = NULL;
    double constant;
    for (int i = 0; i < node->n_operands; i++) {
        const Node *broadcast = simplify_match(node->operands[i], OP_broadcast);
        if (broadcast && (!common || (attrs_equal(&broadcast->attrs, &common->attrs) &&
                                      type_equal(&broadcast->operands[0]->type, &common->operands[0]->type))))
            common = broadcast;
        else if (broadcast || !simplify_constant(node->operands[i], &constant))
            return NULL;
    }
    return common;
}

/* f(broadcast(x), broadcast(y), c) = broadcast(f(x, y, c)) */
Value *simplify_map_of_broadcasts(Builder *builder, const Node *node) {
    const Node *common = common_broadcast(node);
    if (!common)
        return NULL;
    Value *operands[2] = {NULL};
    for (int i = 0; i < node->n_operands; i++) {
        double constant;
        const Node *broadcast = simplify_match(node->operands[i], OP_broadcast);
        operands[i] = broadcast ? broadcast->operands[0] : NULL;
        if (simplify_constant(node->operands[i], &constant))
            operands[i] = build_constant(builder, constant, &common->operands[0]->type);
    }
    Value *mapped = build(builder, node->op, node->n_operands, operands, &node->attrs);
    int n_dims;
    return build_broadcast(builder, mapped, &node->results[0].type, attrs_ints(&common->attrs, "dims", &n_dims));
}

/* ---- Sums ----------------------------------------------------------------------------------------------------- */

/* x op c, or NULL where f32 can't hold c. */
static Value *build_with_constant(Builder *builder, OpKind op, Value *x, double c) {
    Value *constant = simplify_build_constant(builder, c, &x->type);
    return constant ? build_binary(builder, op, x, constant) : NULL;
}

/* x + 0 */
static Value *add_zero(Builder *builder, const Node *node) {
    (void)builder;
    double c;
    return simplify_constant(node->operands[1], &c) && c == 0 ? node->operands[0] : NULL;
}

/* (x + a) + c = x + (a + c) */
static Value *add_constants(Builder *builder, const Node *node) {
    double a, c;
    const Node *inner = simplify_match(node->operands[0], OP_add);
    if (!inner || !simplify_constant(node->operands[1], &c) || !simplify_constant(inner->operands[1], &a))
        return NULL;
    return build_with_constant(builder, OP_add, inner->operands[0], a + c);
}

/* x + -y = x - y, -x + y = y - x */
static Value *add_negative(Builder *builder, const Node *node) {
    for (int i = 0; i < 2; i++) {
        const Node *negative = simplify_match(node->operands[1 - i], OP_neg);
        if (negative)
            return build_binary(builder, OP_sub, node->operands[i], negative->operands[0]);
    }
    return NULL;
}

/* x - c = x + -c */
static Value *subtract_constant(Builder *builder, const Node *node) {
    double c;
    return simplify_constant(node->operands[1], &c) ? build_with_constant(builder, OP_add, node->operands[0], -c)
                                                    : NULL;
}

/* 0 - x = -x */
static Value *subtract_from_zero(Builder *builder, const Node *node) {
    double c;
    return simplify_constant(node->operands[0], &c) && c == 0 ? build_unary(builder, OP_neg, node->operands[1]) : NULL;
}

/* x - -y = x + y */
static Value *subtract_negative(Builder *builder, const Node *node) {
    const Node *negative = simplify_match(node->operands[1], OP_neg);
    return negative ? build_binary(builder, OP_add, node->operands[0], negative->operands[0]) : NULL;
}

/* ---- Products ------------------------------------------------------------------------------------------------- */

/* x * 1, x / 1 */
static Value *multiply_by_one(Builder *builder, const Node *node) {
    (void)builder;
    double c;
    return simplify_constant(node->operands[1], &c) && c == 1 ? node->operands[0] : NULL;
}

/* x * -1 = -x */
static Value *multiply_by_minus_one(Builder *builder, const Node *node) {
    double c;
    return simplify_constant(node->operands[1], &c) && c == -1 ? build_unary(builder, OP_neg, node->operands[0]) : NULL;
}

/* (x * a) * c = x * (a c), (-x) * c = x * -c */
static Value *multiply_constants(Builder *builder, const Node *node) {
    double a, c;
    if (!simplify_constant(node->operands[1], &c))
        return NULL;
    const Node *product = simplify_match(node->operands[0], OP_mul);
    if (product && simplify_constant(product->operands[1], &a))
        return build_with_constant(builder, OP_mul, product->operands[0], a * c);
    const Node *negative = simplify_match(node->operands[0], OP_neg);
    return negative ? build_with_constant(builder, OP_mul, negative->operands[0], -c) : NULL;
}

/* (-x) * (-y) = x * y, the same for / */
static Value *multiply_negatives(Builder *builder, const Node *node) {
    const Node *a = simplify_match(node->operands[0], OP_neg), *b = simplify_match(node->operands[1], OP_neg);
    return a && b ? build_binary(builder, node->op, a->operands[0], b->operands[0]) : NULL;
}

/* x / c = x * (1 / c) */
static Value *divide_by_constant(Builder *builder, const Node *node) {
    double c;
    return simplify_constant(node->operands[1], &c) ? build_with_constant(builder, OP_mul, node->operands[0], 1 / c)
                                                    : NULL;
}

/* ---- One operand ---------------------------------------------------------------------------------------------- */

static Value *copy_is_operand(Builder *builder, const Node *node) {
    (void)builder;
    return node->operands[0];
}

/* -(-x) = x */
static Value *negate_negative(Builder *builder, const Node *node) {
    (void)builder;
    const Node *inner = simplify_match(node->operands[0], OP_neg);
    return inner ? inner->operands[0] : NULL;
}

/* -(x - y) = y - x */
static Value *negate_difference(Builder *builder, const Node *node) {
    const Node *inner = simplify_match(node->operands[0], OP_sub);
    return inner ? build_binary(builder, OP_sub, inner->operands[1], inner->operands[0]) : NULL;
}

/* -(x * c) = x * -c */
static Value *negate_product(Builder *builder, const Node *node) {
    double c;
    const Node *inner = simplify_match(node->operands[0], OP_mul);
    return inner && simplify_constant(inner->operands[1], &c)
               ? build_with_constant(builder, OP_mul, inner->operands[0], -c)
               : NULL;
}

/* relu(relu(x)) = relu(x) */
static Value *relu_of_relu(Builder *builder, const Node *node) {
    (void)builder;
    return simplify_match(node->operands[0], OP_relu) ? node->operands[0] : NULL;
}

/* ---- Factors through sums ------------------------------------------------------------------------------------- */

/* sum(x * c) = sum(x) * c, sum(-x) = -sum(x): fewer elements to multiply, and factors meet. */
static Value *sum_of_product(Builder *builder, const Node *node) {
    double c;
    int n_dims;
    const int64_t *dims = attrs_ints(&node->attrs, "dims", &n_dims);
    const Node *product = simplify_match(node->operands[0], OP_mul);
    if (product && simplify_constant(product->operands[1], &c))
        return build_scale(builder, build_reduce_sum(builder, product->operands[0], dims, n_dims), c);
    const Node *negative = simplify_match(node->operands[0], OP_neg);
    if (negative)
        return build_unary(builder, OP_neg, build_reduce_sum(builder, negative->operands[0], dims, n_dims));
    return NULL;
}

const SimplifyRule simplify_arithmetic_rules[] = {
    {OP_add, add_zero},
    {OP_add, add_constants},
    {OP_add, add_negative},
    {OP_sub, subtract_constant},
    {OP_sub, subtract_from_zero},
    {OP_sub, subtract_negative},
    {OP_mul, multiply_by_one},
    {OP_mul, multiply_by_minus_one},
    {OP_mul, multiply_constants},
    {OP_mul, multiply_negatives},
    {OP_div, multiply_by_one},
    {OP_div, divide_by_constant},
    {OP_div, multiply_negatives},
    {OP_copy, copy_is_operand},
    {OP_neg, negate_negative},
    {OP_neg, negate_difference},
    {OP_neg, negate_product},
    {OP_relu, relu_of_relu},
    {OP_reduce_sum, sum_of_product},
    {OP_COUNT, NULL},
};
