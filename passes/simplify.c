/* The sweep that simplifies a graph: operands first, rules until none applies, then equal nodes made one.

   Each node is visited once, in list order. A rule's new nodes go in front of the node that they replace and are
   visited next, so when the sweep ends no rule applies anywhere and no two nodes are equal: one sweep is the fixpoint.
   Replaced nodes stay in the list, unused, until the dead are removed at the end. */
#include <assert.h>
#include <string.h>

#include "passes/passes.h"
#include "passes/simplify.h"

/* What the sweep knows of a node it has visited (Node.scratch; NULL before). */
typedef struct {
    Value **replacements; /* one a result, or NULL where the node stays */
    uint32_t ordinal;     /* how many nodes were visited before: an order that depends on the graph alone */
    uint64_t hash;
    uint64_t version; /* see version_of_operands */
    /* Of states: */
    bool is_updated;    /* some node of the graph writes it */
    uint64_t n_updates; /* how many of these the sweep has passed */
} Visit;

typedef struct {
    Graph *graph;
    Arena *arena; /* the pass's own */
    uint32_t n_visited;
    /* Nodes that stay, by what they compute: open addressing, a power of two of slots, at most half of them used. */
    Node **slots;
    size_t n_slots, n_used;
} Sweep;

const SimplifyClassRule simplify_class_rules[] = {
    {OP_CLASS_MAP, simplify_fold_map},
    {OP_CLASS_MAP, simplify_map_of_broadcasts},
    {OP_CLASS_VIEW, simplify_view_of_splat},
    {OP_CLASS_VIEW, simplify_view_of_all},
    {OP_CLASS_LEAF, NULL},
};

static Visit *visit_of(const Node *node) {
    return node->scratch;
}

/* What stands for `value` now. Whatever a visited node refers to stays, so there is nothing to follow twice. */
static Value *resolve(Value *value) {
    const Visit *visit = visit_of(value->def);
    return visit && visit->replacements ? resolve(visit->replacements[value->result]) : value;
}

/* ---- States: nodes that read and write them are not free to move ---------------------------------------------- */

/* The state whose storage `value` is: itself, a view of it, or what an update leaves of it. NULL: a value of its own.
 */
static Node *storage_of(const Value *value) {
    for (;;) {
        Node *def = value->def;
        OpClass class = op_info(def->op)->class;
        if (def->op == OP_state)
            return resolve(&def->results[0])->def;
        if (class == OP_CLASS_VIEW)
            value = def->operands[0];
        else if (class == OP_CLASS_UPDATE)
            value = def->operands[value->result];
        else
            return NULL;
    }
}

static bool is_updated_storage(const Value *value) {
    const Node *state = storage_of(value);
    return state && visit_of(state)->is_updated;
}

/* Grows with every update of a state that an operand reads: equal nodes with equal versions see equal values. */
static uint64_t version_of_operands(const Node *node) {
    uint64_t version = 0;
    for (int i = 0; i < node->n_operands; i++) {
        const Node *state = storage_of(node->operands[i]);
        version += state ? visit_of(state)->n_updates : 0;
    }
    return version;
}

/* ---- Equal nodes ---------------------------------------------------------------------------------------------- */

static uint64_t hash_mix(uint64_t hash, uint64_t value) {
    hash = (hash ^ value) * 0x9e3779b97f4a7c15u;
    return hash ^ (hash >> 29);
}

static uint64_t hash_text(uint64_t hash, const char *text) {
    for (; *text; text++)
        hash = hash_mix(hash, (unsigned char)*text);
    return hash;
}

static uint64_t hash_attr(uint64_t hash, const Attr *attr) {
    uint64_t bits = 0;
    hash = hash_text(hash, attr->key);
    switch (attr->kind) {
    case ATTR_INT:
        return hash_mix(hash, (uint64_t)attr->as.i);
    case ATTR_FLOAT:
        memcpy(&bits, &attr->as.f, sizeof bits);
        return hash_mix(hash, bits);
    case ATTR_BOOL:
        return hash_mix(hash, attr->as.b);
    case ATTR_STRING:
        return hash_text(hash, attr->as.s);
    case ATTR_INTS:
        for (int i = 0; i < attr->as.ints.n; i++)
            hash = hash_mix(hash, (uint64_t)attr->as.ints.items[i]);
        return hash;
    }
    return hash;
}

static uint64_t hash_node(const Node *node) {
    uint64_t hash = hash_mix(0, (uint64_t)node->op);
    for (int i = 0; i < node->n_operands; i++) {
        const Value *operand = node->operands[i];
        hash = hash_mix(hash_mix(hash, visit_of(operand->def)->ordinal), (uint64_t)operand->result);
    }
    for (size_t i = 0; i < node->attrs.n; i++)
        hash = hash_attr(hash, &node->attrs.items[i]);
    for (int i = 0; i < node->n_results; i++) {
        for (int dim = 0; dim < node->results[i].type.rank; dim++)
            hash = hash_mix(hash, (uint64_t)node->results[i].type.dims[dim].extent);
    }
    return hash_mix(hash, visit_of(node)->version);
}

static bool nodes_are_equal(const Node *a, const Node *b) {
    bool are_equal = a->op == b->op && a->n_operands == b->n_operands && a->n_results == b->n_results &&
                     visit_of(a)->version == visit_of(b)->version && attrs_equal(&a->attrs, &b->attrs);
    for (int i = 0; are_equal && i < a->n_operands; i++)
        are_equal = a->operands[i] == b->operands[i];
    for (int i = 0; are_equal && i < a->n_results; i++)
        are_equal = type_equal(&a->results[i].type, &b->results[i].type);
    return are_equal;
}

/* The slot of a node equal to `node`, or the free one where it belongs. */
static Node **find_slot(const Sweep *sweep, const Node *node) {
    uint64_t hash = visit_of(node)->hash;
    for (size_t i = hash & (sweep->n_slots - 1);; i = (i + 1) & (sweep->n_slots - 1)) {
        Node **slot = &sweep->slots[i];
        if (!*slot || (visit_of(*slot)->hash == hash && nodes_are_equal(*slot, node)))
            return slot;
    }
}

static void grow_slots(Sweep *sweep) {
    Sweep before = *sweep;
    sweep->n_slots = before.n_slots ? 2 * before.n_slots : 1024;
    sweep->slots = arena_array_of(sweep->arena, Node *, sweep->n_slots);
    for (size_t i = 0; i < before.n_slots; i++) {
        if (before.slots[i])
            *find_slot(sweep, before.slots[i]) = before.slots[i];
    }
}

/* A node that was visited before and computes the same, or NULL, in which case `node` is remembered. */
static Node *find_equal(Sweep *sweep, Node *node) {
    Visit *visit = visit_of(node);
    visit->version = version_of_operands(node);
    visit->hash = hash_node(node);
    if (2 * sweep->n_used >= sweep->n_slots)
        grow_slots(sweep);
    Node **slot = find_slot(sweep, node);
    if (*slot)
        return *slot;
    *slot = node;
    sweep->n_used++;
    return NULL;
}

/* ---- Rules ---------------------------------------------------------------------------------------------------- */

static Value *apply_rule_of_op(const SimplifyRule *rules, Builder *builder, const Node *node) {
    for (const SimplifyRule *rule = rules; rule->rewrite; rule++) {
        Value *value = rule->op == node->op ? rule->rewrite(builder, node) : NULL;
        if (value)
            return value;
    }
    return NULL;
}

static Value *apply_rule(Builder *builder, const Node *node) {
    OpClass class = op_info(node->op)->class;
    for (const SimplifyClassRule *rule = simplify_class_rules; rule->rewrite; rule++) {
        Value *value = rule->class == class ? rule->rewrite(builder, node) : NULL;
        if (value)
            return value;
    }
    Value *value = apply_rule_of_op(simplify_arithmetic_rules, builder, node);
    return value ? value : apply_rule_of_op(simplify_shape_rules, builder, node);
}

/* Whether the nodes from `first` up to `node`, which a rule has added, read a state that the graph writes. */
static bool reads_updated_storage(const Node *first, const Node *node) {
    for (; first != node; first = first->next) {
        for (int i = 0; i < first->n_operands; i++) {
            if (is_updated_storage(first->operands[i]))
                return true;
        }
    }
    return false;
}

/* What the first rule that applies makes of `node`, or NULL. A rewrite may read what an operand has read, at a later
   place; where a state changes in between, it is taken back. */
static Value *rewrite(Sweep *sweep, Node *node) {
    Builder builder = {.graph = sweep->graph, .before = node, .loc = node->loc, .scope = node->scope};
    Node *before = node->prev;
    Value *value = apply_rule(&builder, node);
    if (!value)
        return NULL;
    assert(type_equal(&value->type, &node->results[0].type) && "a rule keeps the type");
    const Node *first = before ? before->next : sweep->graph->first;
    if (!is_updated_storage(value) && !reads_updated_storage(first, node))
        return value;
    while (node->prev != before)
        graph_remove(sweep->graph, node->prev);
    return NULL;
}

/* ---- The sweep ------------------------------------------------------------------------------------------------ */

static void replace(Sweep *sweep, Node *node, Value *const *values) {
    Visit *visit = visit_of(node);
    visit->replacements = arena_array_of(sweep->arena, Value *, node->n_results);
    for (int i = 0; i < node->n_results; i++) {
        visit->replacements[i] = values[i];
        if (!values[i]->hint)
            values[i]->hint = node->results[i].hint;
    }
}

static void replace_by_node(Sweep *sweep, Node *node, Node *equal) {
    Value **values = arena_array_of(sweep->arena, Value *, node->n_results);
    for (int i = 0; i < node->n_results; i++)
        values[i] = &equal->results[i];
    replace(sweep, node, values);
}

/* add and mul: a constant second, else what was visited first first. */
static void order_operands(Node *node) {
    if (node->op != OP_add && node->op != OP_mul)
        return;
    Value *a = node->operands[0], *b = node->operands[1];
    bool is_a_constant = a->def->op == OP_constant, is_b_constant = b->def->op == OP_constant;
    bool is_ordered = visit_of(a->def)->ordinal <= visit_of(b->def)->ordinal;
    if (is_a_constant != is_b_constant ? is_b_constant : is_ordered)
        return;
    node->operands[0] = b;
    node->operands[1] = a;
}

static void note_updates(const Node *node) {
    for (int i = 0; i < node->n_results; i++) {
        const Node *state = storage_of(node->operands[i]);
        if (state)
            visit_of(state)->n_updates++;
    }
}

/* Simplifies one node whose operands' nodes were visited. The node to visit next. */
static Node *visit_node(Sweep *sweep, Node *node) {
    for (int i = 0; i < node->n_operands; i++)
        node->operands[i] = resolve(node->operands[i]);
    order_operands(node);
    Node *before = node->prev;
    Value *value = rewrite(sweep, node);
    Visit *visit = arena_new_of(sweep->arena, Visit);
    node->scratch = visit;
    if (value) {
        replace(sweep, node, &value);
        return before ? before->next : sweep->graph->first;
    }
    visit->ordinal = sweep->n_visited++;
    if (op_info(node->op)->class == OP_CLASS_UPDATE) {
        note_updates(node);
        return node->next;
    }
    Node *equal = find_equal(sweep, node);
    if (equal)
        replace_by_node(sweep, node, equal);
    return node->next;
}

/* States come before everything else, so that all that read one state read the same node, and which are written is
   known from the start. */
static void visit_states(Sweep *sweep) {
    for (Node *node = sweep->graph->first; node; node = node->next)
        node->scratch = NULL;
    for (Node *node = sweep->graph->first; node; node = node->next) {
        if (node->op == OP_state)
            visit_node(sweep, node);
    }
    for (Node *node = sweep->graph->first; node; node = node->next) {
        for (int i = 0; i < node->n_results && op_info(node->op)->class == OP_CLASS_UPDATE; i++) {
            const Node *state = storage_of(node->operands[i]);
            if (state)
                visit_of(state)->is_updated = true;
        }
    }
}

static void simplify_graph(Graph *graph) {
    Sweep sweep = {.graph = graph, .arena = arena_new()};
    visit_states(&sweep);
    for (Node *node = graph->first; node;)
        node = visit_of(node) ? node->next : visit_node(&sweep, node);
    for (size_t i = 0; i < graph->n_outputs; i++)
        graph->outputs[i].value = resolve(graph->outputs[i].value);
    graph_remove_dead(graph);
    arena_free(sweep.arena);
}

bool simplify_run(Module *module, Reporter *reporter) {
    (void)reporter; /* any graph can be simplified */
    for (size_t i = 0; i < module->n_graphs; i++)
        simplify_graph(module->graphs[i]);
    return true;
}
