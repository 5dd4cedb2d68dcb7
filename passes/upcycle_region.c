/* Calls: which nodes of a graph belong to one, what goes in and what comes out. */
#include <stdarg.h>
#include <string.h>

#include "passes/upcycle.h"

bool upcycle_refuse(const Upcycle *at, Loc loc, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    const char *message = arena_vprintf(at->arena, format, arguments);
    va_end(arguments);
    report_error(at->reporter, at->module, loc, "'%s' can't become experts: %s", at->directive->name, message);
    report_note(at->reporter, at->module, at->directive->loc,
                "upcycle makes experts of a function with one float input [.., d] that treats each row by itself: "
                "products with weights of its own, elementwise functions, and sums, softmax or views along dims behind "
                "those of the rows");
    return false;
}

bool region_is_leaf(const Node *node) {
    return node->op == OP_state || node->op == OP_constant;
}

/* The index of the call that `node` belongs to, or -1. */
static int32_t call_of(const Upcycle *at, const Node *node) {
    return at->module->n_scopes > 0 ? at->call_of_scope[node->scope] : -1;
}

static void add_output(Region *regions, int32_t call, Value *value) {
    if (call < 0 || region_is_leaf(value->def))
        return;
    Region *region = &regions[call];
    if (!region->output)
        region->output = value;
    else if (region->output != value)
        region->other_output = value;
}

static void find_nodes(const Upcycle *at, Graph *graph, Region *regions) {
    for (Node *node = graph->first; node; node = node->next) {
        int32_t call = call_of(at, node);
        node->scratch = NULL;
        if (call >= 0)
            arena_push(at->arena, regions[call].nodes, regions[call].n_nodes, regions[call].capacity, node);
        for (int i = 0; i < node->n_operands; i++) {
            int32_t source = call_of(at, node->operands[i]->def);
            if (source != call)
                add_output(regions, source, node->operands[i]);
        }
    }
    for (size_t i = 0; i < graph->n_outputs; i++)
        add_output(regions, call_of(at, graph->outputs[i].value->def), graph->outputs[i].value);
}

Region *upcycle_find_regions(const Upcycle *at, Graph *graph) {
    Region *regions = arena_array_of(at->arena, Region, at->n_calls);
    uint32_t n = 0;
    for (uint32_t i = 0; i < at->module->n_scopes; i++) {
        if (at->call_of_scope[i] != (int32_t)n)
            continue;
        regions[n] = (Region){.scope = &at->module->scopes[i], .index = n, .scope_index = i};
        n++;
    }
    find_nodes(at, graph, regions);
    return regions;
}

RegionValue *region_value(Region *region, const Value *value) {
    return value == region->input ? &region->input_value : value->def->scratch;
}

/* ---- What the output depends on ------------------------------------------------------------------------------ */

static RegionWeight *add_weight(const Upcycle *at, Region *region, Node *node) {
    State *state = module_find_state(at->module, attrs_string(&node->attrs, "name", ""));
    for (size_t i = 0; i < region->n_weights; i++) {
        if (region->weights[i].dense == state)
            return &region->weights[i];
    }
    RegionWeight weight = {.dense = state, .first_use = node};
    arena_push(at->arena, region->weights, region->n_weights, region->weights_capacity, weight);
    return &region->weights[region->n_weights - 1];
}

static bool is_reached(const Region *region, const Node *node) {
    const RegionValue *known = node->scratch;
    return known && known->call == region->index + 1;
}

/* Marks what defines `value` as part of the call. Leaves from outside join `leaves`. False after an error. */
static bool reach(const Upcycle *at, Region *region, Region *leaves, Value *value, const Node *user) {
    Node *node = value->def;
    bool is_inside = call_of(at, node) == (int32_t)region->index;
    if (is_reached(region, node))
        return true;
    if (is_inside || region_is_leaf(node)) {
        RegionValue *fresh = arena_new_of(at->arena, RegionValue);
        *fresh = (RegionValue){.call = region->index + 1, .cut = -1};
        node->scratch = fresh;
        if (!is_inside)
            arena_push(at->arena, leaves->nodes, leaves->n_nodes, leaves->capacity, node);
        return true;
    }
    if (region->input && region->input != value)
        return upcycle_refuse(at, user->loc, "%s reads a second input, of type %s", op_info(user->op)->name,
                              type_format(at->arena, &value->type));
    region->input = value;
    return true;
}

/* The nodes that matter, leaves from outside first. */
static bool find_live_nodes(const Upcycle *at, Region *region) {
    Region live = {0}, leaves = {0};
    if (!reach(at, region, &leaves, region->output, region->output->def))
        return false;
    for (size_t i = region->n_nodes; i-- > 0;) {
        Node *node = region->nodes[i];
        for (int j = 0; j < node->n_operands && is_reached(region, node); j++) {
            if (!reach(at, region, &leaves, node->operands[j], node))
                return false;
        }
    }
    for (size_t i = 0; i < leaves.n_nodes; i++)
        arena_push(at->arena, live.nodes, live.n_nodes, live.capacity, leaves.nodes[i]);
    for (size_t i = 0; i < region->n_nodes; i++) {
        if (is_reached(region, region->nodes[i]))
            arena_push(at->arena, live.nodes, live.n_nodes, live.capacity, region->nodes[i]);
    }
    region->nodes = live.nodes;
    region->n_nodes = live.n_nodes;
    return true;
}

/* Routed rows and router logits have a size that a tensor can have. */
static bool check_sizes(const Upcycle *at, const Region *region) {
    const Type *input = &region->input->type;
    Dim width = input->dims[input->rank - 1], tokens = {.extent = type_n_elements(input) / width.extent};
    const Type types[] = {
        {DTYPE_F32, 2, {tokens, {.extent = at->settings.n_experts}}},
        {DTYPE_F32, 2, {{.extent = at->settings.n_experts}, width}},
        {DTYPE_F32, 3, {tokens, {.extent = at->settings.top_k}, width}},
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        const char *problem = type_check(at->arena, &types[i]);
        if (problem)
            return upcycle_refuse(at, region->scope->loc, "routing %lld rows would need a tensor that %s",
                                  (long long)tokens.extent, problem);
    }
    return true;
}

static bool check_input(const Upcycle *at, const Region *region) {
    if (!region->input)
        return upcycle_refuse(at, region->output->def->loc, "its result does not depend on its input");
    const Type *type = &region->input->type;
    if (type->rank < 2 || type->dtype != DTYPE_F32 || type_is_ragged(type))
        return upcycle_refuse(at, region->scope->loc, "its input is %s; it must be f32 of two dims or more",
                              type_format(at->arena, type));
    return check_sizes(at, region);
}

/* ---- Kinds of values ----------------------------------------------------------------------------------------- */

/* Whether a broadcast repeats its operand for every row: the result begins with the input's rows, all of them new. */
static bool adds_rows(const Region *region, const Node *node) {
    int n, row_rank = region_row_rank(region);
    const int64_t *dims = attrs_ints(&node->attrs, "dims", &n);
    const Type *type = &node->results[0].type, *input = &region->input->type;
    if (type->rank < row_rank || (n > 0 && dims[0] < row_rank))
        return false;
    for (int i = 0; i < row_rank; i++) {
        const char *name = type->dims[i].name, *input_name = input->dims[i].name;
        if (!dim_equal(&type->dims[i], &input->dims[i]) || (name && input_name && strcmp(name, input_name) != 0))
            return false;
    }
    return true;
}

static void classify(Region *region, const Node *node) {
    RegionValue *value = node->scratch;
    value->kind = node->op == OP_state ? EXPERT_WEIGHT : EXPERT_SPLAT;
    if (node->op == OP_constant)
        value->number = attrs_float(&node->attrs, "value", 0);
    for (int i = 0; i < node->n_operands; i++) {
        const RegionValue *operand = region_value(region, node->operands[i]);
        if (operand->kind > value->kind)
            value->kind = operand->kind;
        value->number = operand->number;
    }
    if (node->op == OP_broadcast && value->kind == EXPERT_WEIGHT && adds_rows(region, node))
        value->kind = EXPERT_ROWS;
}

/* False where all is one number, whatever the rows: only views of numbers have that form. */
static bool check_splat(const Upcycle *at, const Node *node) {
    const RegionValue *value = node->scratch;
    if (value->kind != EXPERT_SPLAT || node->op == OP_constant || op_info(node->op)->class == OP_CLASS_VIEW)
        return true;
    return upcycle_refuse(at, node->loc, "%s depends neither on its input nor on a weight", op_info(node->op)->name);
}

bool upcycle_check_region(const Upcycle *at, Region *region) {
    if (region->other_output)
        return upcycle_refuse(at, region->other_output->def->loc, "it has more than one result");
    if (!find_live_nodes(at, region) || !check_input(at, region))
        return false;
    region->input_value = (RegionValue){.call = region->index + 1, .cut = -1, .kind = EXPERT_ROWS};
    for (size_t i = 0; i < region->n_nodes; i++) {
        if (region->nodes[i]->op == OP_state)
            add_weight(at, region, region->nodes[i]);
    }
    for (size_t i = 0; i < region->n_nodes; i++) { /* the list of weights moves no more */
        if (region->nodes[i]->op == OP_state)
            ((RegionValue *)region->nodes[i]->scratch)->weight = add_weight(at, region, region->nodes[i]);
    }
    for (size_t i = 0; i < region->n_nodes; i++) {
        classify(region, region->nodes[i]);
        if (!check_splat(at, region->nodes[i]))
            return false;
    }
    if (region_value(region, region->output)->kind != EXPERT_ROWS)
        return upcycle_refuse(at, region->output->def->loc, "its result does not depend on its input");
    if (region->n_weights == 0)
        return upcycle_refuse(at, region->scope->loc, "it has no weights, so its experts would not differ");
    return true;
}
