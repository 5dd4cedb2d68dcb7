/* The hidden dim: which it is, and how the cut into segments goes through the function.

   Segment g of a copy holds slice g of the hidden dim of every weight. A value is either the same in all segments, or
   cut along one dim, or, once a product has summed over the cut dim, a part of a sum over segments, which is for
   upcycle_scale.c. Anything else, such as a softmax along the hidden dim, has no exact form in segments. */
#include <string.h>

#include "passes/upcycle.h"

/* ---- Which dim ------------------------------------------------------------------------------------------------ */

static bool is_same_size(const Dim *a, const Dim *b) {
    return a->extent == b->extent && (!a->name || !b->name || strcmp(a->name, b->name) == 0);
}

static bool has_dim(const Type *type, const Dim *dim) {
    for (int i = 0; i < type->rank; i++) {
        if (is_same_size(&type->dims[i], dim))
            return true;
    }
    return false;
}

bool region_is_hidden(const Region *region, const Dim *dim) {
    return region->hidden.extent > 0 && is_same_size(&region->hidden, dim);
}

Dim region_cut_dim(const Upcycle *at, const Dim *dim, bool is_cut) {
    if (!is_cut)
        return *dim;
    long long n_segments = at->settings.n_segments;
    const char *format = dim->name && strpbrk(dim->name, "+-") ? "(%s)/%lld" : "%s/%lld";
    const char *name = dim->name ? arena_printf(at->module->arena, format, dim->name, n_segments) : NULL;
    return (Dim){.extent = dim->extent / n_segments, .name = name};
}

/* The dims of the weights that the input lacks, each once. */
static Type find_candidates(const Region *region) {
    Type candidates = {0};
    for (size_t i = 0; i < region->n_weights; i++) {
        const Type *type = &region->weights[i].dense->type;
        for (int j = 0; j < type->rank && candidates.rank < MAX_RANK; j++) {
            if (!has_dim(&region->input->type, &type->dims[j]) && !has_dim(&candidates, &type->dims[j]))
                candidates.dims[candidates.rank++] = type->dims[j];
        }
    }
    return candidates;
}

static const char *list_dims(const Upcycle *at, const Type *type) {
    const char *text = "";
    for (int i = 0; i < type->rank; i++)
        text = arena_printf(at->arena, "%s%s%s", text, i > 0 ? ", " : "", dim_format(at->arena, &type->dims[i]));
    return type->rank > 0 ? text : "none";
}

static bool find_named(const Upcycle *at, Region *region) {
    const char *name = at->settings.hidden;
    for (size_t i = 0; i < region->n_weights; i++) {
        const Type *type = &region->weights[i].dense->type;
        for (int j = 0; j < type->rank; j++) {
            if (type->dims[j].name && strcmp(type->dims[j].name, name) == 0)
                region->hidden = type->dims[j];
        }
    }
    Type candidates = find_candidates(region);
    if (region->hidden.extent > 0 && !has_dim(&region->input->type, &region->hidden))
        return true;
    report_error(at->reporter, at->module, upcycle_setting_loc(at, "hidden"),
                 "upcycle: hidden is \"%s\"; it must be a dim of the weights of '%s' that its input %s lacks: %s", name,
                 at->directive->name, type_format(at->arena, &region->input->type), list_dims(at, &candidates));
    return false;
}

bool upcycle_find_hidden(const Upcycle *at, Region *region) {
    bool is_drop = at->settings.drop > 0;
    if (at->settings.n_segments == 1 && !is_drop)
        return true;
    if (at->settings.hidden)
        return find_named(at, region);
    Type candidates = find_candidates(region);
    if (candidates.rank == 1) {
        region->hidden = candidates.dims[0];
        return true;
    }
    report_error(at->reporter, at->module, upcycle_setting_loc(at, is_drop ? "drop" : "segments"),
                 "upcycle: %s need the hidden dim of '%s', which can't be told: dims of its weights that its input %s "
                 "lacks: %s; name it with `hidden`",
                 is_drop ? "dropped columns" : "segments", at->directive->name,
                 type_format(at->arena, &region->input->type), list_dims(at, &candidates));
    return false;
}

/* ---- Where the cut goes --------------------------------------------------------------------------------------- */

/* The dim of the node's result that is cut, -1 for none; or sets *problem. */
typedef int CutRule(Region *region, const Node *node, const char **problem);

static int operand_cut(Region *region, const Node *node, int i) {
    return region_value(region, node->operands[i])->cut;
}

/* What adapts to any cut. */
static bool is_splat(Region *region, const Node *node, int i) {
    return region_value(region, node->operands[i])->kind == EXPERT_SPLAT;
}

/* The cut that all operands share, splats aside. */
static int cut_together(Region *region, const Node *node, const char **problem) {
    int cut = -1;
    bool is_first = true;
    for (int i = 0; i < node->n_operands; i++) {
        if (is_splat(region, node, i))
            continue;
        if (!is_first && operand_cut(region, node, i) != cut)
            *problem = "joins a value that is cut along it with one that isn't";
        cut = operand_cut(region, node, i);
        is_first = false;
    }
    return cut;
}

static int cut_broadcast(Region *region, const Node *node, const char **problem) {
    int cut = operand_cut(region, node, 0), n;
    const int64_t *dims = attrs_ints(&node->attrs, "dims", &n);
    const Type *type = &node->results[0].type;
    bool has_rows = region_value(region, &node->results[0])->kind == EXPERT_ROWS;
    if (cut >= 0)
        return (int)dims[cut];
    for (int i = 0, next = 0; i < type->rank; i++) {
        bool is_row_dim = has_rows && i < region_row_rank(region);
        if (next < n && dims[next] == i)
            next++;
        else if (!is_row_dim && region_is_hidden(region, &type->dims[i]))
            cut = i;
    }
    (void)problem;
    return cut;
}

static int cut_transpose(Region *region, const Node *node, const char **problem) {
    int cut = operand_cut(region, node, 0), n, result = -1;
    const int64_t *perm = attrs_ints(&node->attrs, "perm", &n);
    for (int i = 0; i < n; i++) {
        if (perm[i] == cut)
            result = i;
    }
    (void)problem;
    return result;
}

/* The cut dim must stay as it is: then the elements before it fill whole dims of the result. */
static int cut_reshape(Region *region, const Node *node, const char **problem) {
    int cut = operand_cut(region, node, 0);
    const Type *from = &node->operands[0]->type, *to = &node->results[0].type;
    if (cut < 0)
        return -1;
    int64_t n_before = 1, n = 1;
    for (int i = 0; i < cut; i++)
        n_before *= from->dims[i].extent;
    for (int i = 0; i < to->rank; n *= to->dims[i++].extent) {
        if (n == n_before && to->dims[i].extent == from->dims[cut].extent)
            return i;
    }
    *problem = "reshapes it";
    return -1;
}

static int cut_one_dim(Region *region, const Node *node, const char **problem) {
    int cut = cut_together(region, node, problem);
    if (cut >= 0 && attrs_int(&node->attrs, "dim", 0) == cut)
        *problem = node->op == OP_slice ? "slices it" : "joins it with more";
    return cut;
}

static int cut_reduce_sum(Region *region, const Node *node, const char **problem) {
    int cut = operand_cut(region, node, 0), n, n_before = 0;
    const int64_t *dims = attrs_ints(&node->attrs, "dims", &n);
    for (int i = 0; i < n; i++) {
        if (dims[i] == cut)
            *problem = "sums over it, with no weight to make up for the other segments";
        n_before += dims[i] < cut;
    }
    return cut < 0 ? -1 : cut - n_before;
}

static int cut_along_last(Region *region, const Node *node, const char **problem) {
    int cut = operand_cut(region, node, 0);
    if (cut >= 0 && cut == node->operands[0]->type.rank - 1)
        *problem = "works along all of it";
    return cut;
}

static int cut_matmul(Region *region, const Node *node, const char **problem) {
    int rank = node->operands[0]->type.rank, a = operand_cut(region, node, 0), b = operand_cut(region, node, 1);
    const char *mode = attrs_string(&node->attrs, "mode", "");
    int summed = strcmp(mode, "nt") == 0 ? 1 : 0;
    if (strcmp(mode, "tn") == 0)
        *problem = "sums over rows";
    else if ((a == rank - 1) != (b == summed))
        *problem = "sums over it on one side only";
    if (b == 1 - summed)
        return rank - 1;
    return a < rank - 1 ? a : -1;
}

/* Ops that no function of one row is made of. */
static int cut_nothing(Region *region, const Node *node, const char **problem) {
    for (int i = 0; i < node->n_operands; i++) {
        if (operand_cut(region, node, i) >= 0)
            *problem = "can't be cut";
    }
    return -1;
}

static const struct {
    OpKind op;
    CutRule *rule;
} cut_rules[] = {
    {OP_broadcast, cut_broadcast}, {OP_transpose, cut_transpose},  {OP_reshape, cut_reshape},
    {OP_slice, cut_one_dim},       {OP_concat, cut_one_dim},       {OP_reduce_sum, cut_reduce_sum},
    {OP_softmax, cut_along_last},  {OP_logsumexp, cut_along_last}, {OP_matmul, cut_matmul},
};

static CutRule *find_rule(OpKind op) {
    if (op_info(op)->class == OP_CLASS_MAP)
        return cut_together;
    for (size_t i = 0; i < sizeof cut_rules / sizeof *cut_rules; i++) {
        if (cut_rules[i].op == op)
            return cut_rules[i].rule;
    }
    return cut_nothing;
}

static bool refuse_cut(const Upcycle *at, const Region *region, const Node *node, const char *problem) {
    return upcycle_refuse(at, node->loc, "segments cut the hidden dim %s, and %s %s",
                          dim_format(at->arena, &region->hidden), op_info(node->op)->name, problem);
}

/* The hidden dim of a weight, -1 for none. */
static bool cut_weight(const Upcycle *at, Region *region, const Node *node, RegionValue *value) {
    const Type *type = &node->results[0].type;
    for (int i = 0; i < type->rank; i++) {
        if (!region_is_hidden(region, &type->dims[i]))
            continue;
        if (value->cut >= 0)
            return refuse_cut(at, region, node, "is a weight that has it twice");
        value->cut = i;
    }
    return true;
}

/* A dim of the hidden one's name that no cut led to. */
static bool check_names(const Upcycle *at, Region *region, const Node *node, const RegionValue *value) {
    const Type *type = &node->results[0].type;
    for (int i = 0; i < type->rank; i++) {
        const Dim *dim = &type->dims[i];
        if (value->kind != EXPERT_SPLAT && dim->name && region_is_hidden(region, dim) && i != value->cut)
            return refuse_cut(at, region, node, "makes it of another dim");
    }
    return true;
}

static bool cut_node(const Upcycle *at, Region *region, const Node *node) {
    RegionValue *value = region_value(region, &node->results[0]);
    const char *problem = NULL;
    if (node->op == OP_state)
        return cut_weight(at, region, node, value);
    if (node->op == OP_constant)
        return true;
    value->cut = find_rule(node->op)(region, node, &problem);
    return problem ? refuse_cut(at, region, node, problem) : check_names(at, region, node, value);
}

bool upcycle_cut(const Upcycle *at, Region *region) {
    if (at->settings.n_segments == 1)
        return true;
    if (region->hidden.extent % at->settings.n_segments != 0) {
        report_error(at->reporter, at->module, upcycle_setting_loc(at, "segments"),
                     "upcycle: the hidden dim %s is not a multiple of segments (%lld)",
                     dim_format(at->arena, &region->hidden), (long long)at->settings.n_segments);
        return false;
    }
    for (size_t i = 0; i < region->n_nodes; i++) {
        if (!cut_node(at, region, region->nodes[i]))
            return false;
    }
    if (region_value(region, region->output)->cut < 0)
        return true;
    return refuse_cut(at, region, region->output->def, "leaves it in the result");
}
