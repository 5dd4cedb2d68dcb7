/* The walk over products, and what the rules ask it. */
#include "passes/products.h"

#include <assert.h>
#include <string.h>

#include "ir/view.h"
#include "passes/passes.h"

/* ---- Matching ------------------------------------------------------------------------------------------------- */

bool products_match_rows(Node *node, RowProduct *out) {
    const char *mode = attrs_string(&node->attrs, "mode", "");
    bool is_product = node->op == OP_matmul || node->op == OP_grouped_matmul;
    if (!is_product || strcmp(mode, "tn") == 0 || attrs_find(&node->attrs, "inputs"))
        return false;
    *out = (RowProduct){.node = node,
                        .rows = node->operands[0],
                        .weights = node->operands[1],
                        .offsets = node->op == OP_grouped_matmul ? node->operands[2] : NULL,
                        .is_nt = strcmp(mode, "nt") == 0};
    return true;
}

Value *products_build_rows(Builder *builder, const RowProduct *like, Value *rows, bool is_nt) {
    return build_product_like(builder, like->node, is_nt ? "nt" : "nn", rows, like->weights);
}

/* A broadcast that repeats along the last dim. */
static const Node *match_factors(const Value *value) {
    const Node *node = value->def;
    int n_dims;
    if (node->op != OP_broadcast)
        return NULL;
    const int64_t *dims = attrs_ints(&node->attrs, "dims", &n_dims);
    return n_dims == 0 || dims[n_dims - 1] != value->type.rank - 1 ? node : NULL;
}

bool products_match_scaled(const Value *value, ScaledRows *out) {
    const Node *mul = value->def;
    for (int i = 0; mul->op == OP_mul && i < 2; i++) {
        const Node *broadcast = match_factors(mul->operands[i]);
        if (!broadcast)
            continue;
        *out = (ScaledRows){.base = mul->operands[1 - i], .broadcast = broadcast};
        return true;
    }
    return false;
}

bool products_is_stable(Value *value) {
    const Node *owner = view_owner(value)->def;
    return owner->op != OP_state || !products_record(owner)->is_updated;
}

Value *products_build_scaled(Builder *builder, Value *rows, const ScaledRows *like) {
    int n_dims;
    Value *factors = build_broadcast(builder, like->broadcast->operands[0], &rows->type,
                                     attrs_ints(&like->broadcast->attrs, "dims", &n_dims));
    return build_binary(builder, OP_mul, rows, factors);
}

bool products_can_defer(const ScaledRows *scaled) {
    return products_is_stable(scaled->base) && products_is_stable(scaled->broadcast->operands[0]);
}

/* ---- Who uses what -------------------------------------------------------------------------------------------- */

static void note_uses(Arena *arena, Node *node) {
    for (int i = 0; i < node->n_operands; i++) {
        const Value *operand = node->operands[i];
        ProductsUse **list = &products_record(operand->def)->uses[operand->result];
        ProductsUse *use = arena_new_of(arena, ProductsUse);
        *use = (ProductsUse){.user = node, .next = *list};
        *list = use;
    }
}

static const char *state_name(const Node *state) {
    return attrs_string(&state->attrs, "name", "");
}

/* By name: a graph may read one state by several nodes. */
static void note_updates(Arena *arena, const Graph *graph) {
    Names updated = {.arena = arena};
    for (const Node *node = graph->first; node; node = node->next) {
        for (int i = 0; i < node->n_results && op_info(node->op)->class == OP_CLASS_UPDATE; i++)
            names_add(&updated, state_name(view_owner(node->operands[i])->def), 0);
    }
    size_t index;
    for (Node *node = graph->first; node; node = node->next)
        products_record(node)->is_updated = node->op == OP_state && names_find(&updated, state_name(node), &index);
}

static void note_nodes(Arena *arena, const Graph *graph) {
    size_t position = 0;
    for (Node *node = graph->first; node; node = node->next) {
        ProductsRecord *record = arena_new_of(arena, ProductsRecord);
        record->position = position++;
        record->uses = arena_array_of(arena, ProductsUse *, node->n_results);
        record->is_output = arena_array_of(arena, bool, node->n_results);
        node->scratch = record;
        note_uses(arena, node);
    }
    for (size_t i = 0; i < graph->n_outputs; i++) {
        const Value *value = graph->outputs[i].value;
        products_record(value->def)->is_output[value->result] = true;
    }
    note_updates(arena, graph);
}

/* ---- The walk ------------------------------------------------------------------------------------------------- */

typedef struct {
    OpKind op;
    ProductsRewrite *rewrite;
} ProductsRule;

/* Sums come first: they say which products of rows without factors there will be. No rule makes what another one takes,
   so each goes over the graph once. */
static const ProductsRule rules[] = {
    {OP_reduce_sum, products_sum_of_product},
    {OP_matmul, products_of_scaled},
    {OP_grouped_matmul, products_of_scaled},
    {OP_grouped_sum, products_sum_of_scaled},
    {OP_COUNT, NULL},
};

typedef struct {
    Graph *graph;
    Arena *arena; /* the pass's own */
    Replacement *replacements;
    size_t n, capacity;
} Walk;

static void apply(Walk *walk, const ProductsRule *rule) {
    for (Node *node = walk->graph->first; node; node = node->next) {
        if (!node->scratch || node->op != rule->op)
            continue;
        Builder builder = {.graph = walk->graph, .before = node, .loc = node->loc, .scope = node->scope};
        Value *value = rule->rewrite(&builder, node);
        if (!value)
            continue;
        assert(type_equal(&value->type, &node->results[0].type) && "a rule keeps the type");
        value->hint = node->results[0].hint;
        Replacement replacement = {&node->results[0], value};
        arena_push(walk->arena, walk->replacements, walk->n, walk->capacity, replacement);
    }
}

static void rewrite_graph(Graph *graph) {
    Walk walk = {.graph = graph, .arena = arena_new()};
    note_nodes(walk.arena, graph);
    for (const ProductsRule *rule = rules; rule->rewrite; rule++)
        apply(&walk, rule);
    graph_replace_uses(graph, walk.replacements, walk.n);
    arena_free(walk.arena);
}

/* Some of what the rules make is there twice, and some of what was there is not needed any more: simplify's work. */
bool products_run(Module *module, Reporter *reporter) {
    for (size_t i = 0; i < module->n_graphs; i++)
        rewrite_graph(module->graphs[i]);
    return simplify_run(module, reporter);
}
