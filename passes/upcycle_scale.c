/* Which weights take factors, so that the first forward pass is the dense one.

   Segments: a product that sums over the hidden dim gives in each segment a part of the dense sum. Its weight times the
   number of segments makes the mean over the segments the dense value, which is what routing takes: each segment of a
   chosen copy has an equal share. Behind it all must be affine, so that a mean stays one.

   A shared expert: it and the routed experts give half of the result each. Walking back from the result, the factor 1/2
   goes to the last linear map's weight, and to what is added to it; then forwards, every use of a weight so scaled is
   checked, since one that is used elsewhere too can't be. */
#include <string.h>

#include "passes/upcycle.h"

typedef enum {
    EFFECT_NONLINEAR,
    EFFECT_LINEAR,   /* in all operands together */
    EFFECT_PRODUCT,  /* in each of two operands */
    EFFECT_QUOTIENT, /* in the first operand */
} Effect;

static const struct {
    OpKind op;
    Effect effect;
} effects[] = {
    {OP_copy, EFFECT_LINEAR},       {OP_neg, EFFECT_LINEAR},     {OP_add, EFFECT_LINEAR},
    {OP_sub, EFFECT_LINEAR},        {OP_reshape, EFFECT_LINEAR}, {OP_broadcast, EFFECT_LINEAR},
    {OP_transpose, EFFECT_LINEAR},  {OP_slice, EFFECT_LINEAR},   {OP_concat, EFFECT_LINEAR},
    {OP_reduce_sum, EFFECT_LINEAR}, {OP_mul, EFFECT_PRODUCT},    {OP_matmul, EFFECT_PRODUCT},
    {OP_div, EFFECT_QUOTIENT},
};

static Effect effect_of(const Node *node) {
    for (size_t i = 0; i < sizeof effects / sizeof *effects; i++) {
        if (effects[i].op == node->op)
            return effects[i].effect;
    }
    return EFFECT_NONLINEAR;
}

static RegionValue *operand(Region *region, const Node *node, int i) {
    return region_value(region, node->operands[i]);
}

/* ---- Segments ------------------------------------------------------------------------------------------------- */

/* The weight that `value` is a view of, or NULL. */
static RegionWeight *find_weight(Region *region, const Value *value) {
    while (value != region->input && op_info(value->def->op)->class == OP_CLASS_VIEW)
        value = value->def->operands[0];
    return value == region->input ? NULL : region_value(region, value)->weight;
}

static bool sums_over_cut(Region *region, const Node *node) {
    return node->op == OP_matmul && operand(region, node, 0)->cut == node->operands[0]->type.rank - 1;
}

/* Whether the node's result is a value of which only the mean over segments counts. NULL or why that is lost. */
static const char *mean_problem(Region *region, const Node *node, bool *is_mean) {
    Effect effect = effect_of(node);
    int n_means = 0;
    for (int i = 0; i < node->n_operands; i++)
        n_means += operand(region, node, i)->is_mean;
    *is_mean = n_means > 0 || sums_over_cut(region, node);
    if (n_means == 0 || effect == EFFECT_LINEAR)
        return NULL;
    if (effect == EFFECT_NONLINEAR || (effect == EFFECT_QUOTIENT && operand(region, node, 1)->is_mean))
        return "is not linear";
    if (effect == EFFECT_PRODUCT && n_means > 1)
        return "multiplies two of them";
    return sums_over_cut(region, node) ? "sums over the hidden dim again" : NULL;
}

static bool track_segments(const Upcycle *at, Region *region, Node *node) {
    RegionValue *value = region_value(region, &node->results[0]);
    const char *problem = mean_problem(region, node, &value->is_mean);
    if (problem)
        return upcycle_refuse(
            at, node->loc,
            "a segment's share of the sum over the hidden dim %s meets %s, which %s; what follows the "
            "last product must be linear",
            dim_format(at->arena, &region->hidden), op_info(node->op)->name, problem);
    if (!sums_over_cut(region, node))
        return true;
    RegionWeight *weight = find_weight(region, node->operands[1]);
    if (!weight)
        return upcycle_refuse(at, node->loc, "segments scale the weight of this product, which must be read as it is");
    weight->is_segment_scaled = true;
    return true;
}

/* A scaled weight must be used for such products only. */
static bool check_scaled_uses(const Upcycle *at, Region *region, const Node *node) {
    for (int i = 0; i < node->n_operands; i++) {
        const RegionWeight *weight = find_weight(region, node->operands[i]);
        bool is_view = op_info(node->op)->class == OP_CLASS_VIEW && operand(region, node, i)->kind == EXPERT_WEIGHT;
        if (!weight || !weight->is_segment_scaled ||
            (is_view && region_value(region, &node->results[0])->kind != EXPERT_ROWS))
            continue;
        if (i != 1 || !sums_over_cut(region, node))
            return upcycle_refuse(at, node->loc,
                                  "segments scale weight \"%s\" for the product over the hidden dim, but it is used "
                                  "here too",
                                  weight->dense->name);
    }
    return true;
}

static bool scale_segments(const Upcycle *at, Region *region) {
    for (size_t i = 0; i < region->n_nodes; i++) {
        if (!track_segments(at, region, region->nodes[i]))
            return false;
    }
    for (size_t i = 0; i < region->n_nodes; i++) {
        if (!check_scaled_uses(at, region, region->nodes[i]))
            return false;
    }
    return true;
}

/* ---- Halves --------------------------------------------------------------------------------------------------- */

/* Which operand of a product takes the factor: a weight rather than rows, else the second. -1: none can. */
static int halved_factor(Region *region, const Node *node) {
    int chosen = -1;
    for (int i = 0; i < 2; i++) {
        const RegionValue *factor = operand(region, node, i);
        bool is_weight = find_weight(region, node->operands[i]) != NULL;
        if (factor->can_halve && (chosen < 0 || is_weight || !find_weight(region, node->operands[chosen])))
            chosen = i;
    }
    return chosen;
}

static bool is_zero(const RegionValue *value) {
    return value->kind == EXPERT_SPLAT && value->number == 0;
}

static bool can_halve(Region *region, const Node *node) {
    if (node->op == OP_state || is_zero(node->scratch))
        return true;
    switch (effect_of(node)) {
    case EFFECT_LINEAR:
        for (int i = 0; i < node->n_operands; i++) {
            if (!operand(region, node, i)->can_halve)
                return false;
        }
        return true;
    case EFFECT_PRODUCT:
        return halved_factor(region, node) >= 0;
    case EFFECT_QUOTIENT:
        return operand(region, node, 0)->can_halve;
    case EFFECT_NONLINEAR:
        break;
    }
    return false;
}

/* What the factor of the node's result asks of its operands. */
static void hand_back(Region *region, const Node *node) {
    RegionValue *value = node->scratch;
    Effect effect = effect_of(node);
    if (!value->wants_half)
        return;
    if (value->weight)
        value->weight->is_halved = true;
    for (int i = 0; i < node->n_operands; i++) {
        bool takes = effect == EFFECT_LINEAR || (effect == EFFECT_QUOTIENT && i == 0) ||
                     (effect == EFFECT_PRODUCT && i == halved_factor(region, node));
        if (takes)
            operand(region, node, i)->wants_half = true;
    }
}

/* How often the factor is in the result; false where the operands do not agree. */
static bool count_halvings(Region *region, const Node *node, int *n) {
    Effect effect = effect_of(node);
    *n = 0;
    bool is_first = true;
    for (int i = 0; i < node->n_operands; i++) {
        const RegionValue *value = operand(region, node, i);
        bool is_product = effect == EFFECT_PRODUCT || effect == EFFECT_QUOTIENT;
        if (is_product) {
            *n += effect == EFFECT_QUOTIENT && i == 1 ? -value->n_halvings : value->n_halvings;
        } else if (!is_zero(value)) {
            if ((!is_first && value->n_halvings != *n) || (effect == EFFECT_NONLINEAR && value->n_halvings != 0))
                return false;
            *n = value->n_halvings;
            is_first = false;
        }
    }
    return true;
}

static bool refuse_halves(const Upcycle *at, const Node *node) {
    return upcycle_refuse(at, node->loc,
                          "a shared expert takes half of the result, by way of the weights of the last linear map and "
                          "of what is added to it; %s leaves no way to do so",
                          op_info(node->op)->name);
}

static bool scale_halves(const Upcycle *at, Region *region) {
    for (size_t i = 0; i < region->n_nodes; i++) {
        RegionValue *value = region->nodes[i]->scratch;
        value->can_halve = can_halve(region, region->nodes[i]);
    }
    RegionValue *output = region_value(region, region->output);
    if (!output->can_halve)
        return refuse_halves(at, region->output->def);
    output->wants_half = true;
    for (size_t i = region->n_nodes; i-- > 0;)
        hand_back(region, region->nodes[i]);
    for (size_t i = 0; i < region->n_nodes; i++) {
        RegionValue *value = region->nodes[i]->scratch;
        if (region_is_leaf(region->nodes[i]))
            value->n_halvings = value->weight && value->weight->is_halved;
        else if (!count_halvings(region, region->nodes[i], &value->n_halvings))
            return refuse_halves(at, region->nodes[i]);
    }
    return output->n_halvings == 1 || refuse_halves(at, region->output->def);
}

bool upcycle_scale(const Upcycle *at, Region *region) {
    return (at->settings.n_segments == 1 || scale_segments(at, region)) &&
           (!at->settings.has_shared || scale_halves(at, region));
}
