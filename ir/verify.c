/* The invariants of a module, in the order in which spec/ir.md lists them. Linear in the module. */
#include <stdlib.h>
#include <string.h>

#include "ir/block.h"
#include "ir/names.h"
#include "ir/ops_internal.h"
#include "ir/text.h"

/* The state that a value shares storage with. */
typedef struct {
    size_t state;       /* index + 1; 0: none */
    bool is_view;       /* of it, rather than the state itself */
    uint32_t n_updates; /* of a view: how often the state had been updated where it was taken */
} Shared;

typedef struct {
    const Module *module;
    Arena *arena; /* of this run */
    Names states;
    const Graph *graph;   /* being checked */
    const Value **values; /* of it, by number; those of the nodes before the current one */
    Shared *shared;       /* the same */
    uint32_t *n_updates;  /* by state: before the current node */
} Verifier;

enum { ALIGNMENT = 64 };

static const char *check_loc(Verifier *v, Loc loc, const char *what) {
    if (loc.line == 0 || loc.file < v->module->n_files)
        return NULL;
    return arena_printf(v->arena, "%s is in file %u of %zu", what, loc.file, v->module->n_files);
}

/* ---- What stands outside of graphs --------------------------------------------------------------------------------
 */

static const char *check_scopes(Verifier *v) {
    for (size_t i = 0; i < v->module->n_scopes; i++) {
        const Scope *scope = &v->module->scopes[i];
        if (i > 0 ? scope->parent >= i : scope->parent != 0)
            return arena_printf(v->arena, "scope %zu has the parent %u, which does not come before it", i,
                                scope->parent);
        const char *error = check_loc(v, scope->loc, arena_printf(v->arena, "scope %zu", i));
        if (error != NULL)
            return error;
    }
    return NULL;
}

static const char *check_directives(Verifier *v) {
    for (size_t i = 0; i < v->module->n_directives; i++) {
        const Directive *directive = &v->module->directives[i];
        const char *what = arena_printf(v->arena, "directive %s \"%s\"", directive->kind, directive->name);
        const char *error = text_is_name(directive->kind) ? check_loc(v, directive->loc, what)
                                                          : arena_printf(v->arena, "%s: the kind is not a name", what);
        for (size_t j = 0; j < directive->attrs.n && error == NULL; j++)
            error = check_loc(v, directive->attrs.items[j].loc, what);
        if (error != NULL)
            return error;
    }
    return NULL;
}

static const char *check_states(Verifier *v) {
    v->states = (Names){.arena = v->arena};
    for (size_t i = 0; i < v->module->n_states; i++) {
        const State *state = v->module->states[i];
        const char *what = arena_printf(v->arena, "state \"%s\"", state->name);
        if (!names_add(&v->states, state->name, i))
            return arena_printf(v->arena, "%s is there twice", what);
        const char *error = state_check(v->arena, state);
        if (error == NULL)
            error = check_loc(v, state->loc, what);
        if (error != NULL)
            return error;
    }
    return NULL;
}

/* ---- Nodes --------------------------------------------------------------------------------------------------------
 */

static bool is_defined(const Verifier *v, const Value *value, uint32_t n_defined) {
    return value != NULL && value->number < n_defined && v->values[value->number] == value;
}

static const char *check_operands(Verifier *v, const Node *node, uint32_t n_defined) {
    for (int i = 0; i < node->n_operands; i++) {
        if (!is_defined(v, node->operands[i], n_defined))
            return arena_printf(v->arena, "operand %d is not defined before it in this graph", i);
    }
    return NULL;
}

static const char *check_types(Verifier *v, const Node *node) {
    Type types[8];
    for (int i = 0; i < node->n_results; i++)
        types[i] = node->results[i].type;
    const char *error = node_infer(v->arena, node, types);
    for (int i = 0; i < node->n_results && error == NULL; i++) {
        if (!type_equal(&types[i], &node->results[i].type))
            error = arena_printf(v->arena, "result %d has type %s and should have %s", i,
                                 type_format(v->arena, &node->results[i].type), type_format(v->arena, &types[i]));
    }
    return error;
}

static const char *check_state_node(Verifier *v, const Node *node) {
    const char *name = attrs_string(&node->attrs, "name", "");
    size_t index;
    if (!names_find(&v->states, name, &index))
        return arena_printf(v->arena, "the module has no state \"%s\"", name);
    const Type *type = &v->module->states[index]->type;
    if (type_equal(type, &node->results[0].type))
        return NULL;
    return arena_printf(v->arena, "state \"%s\" is %s, not %s", name, type_format(v->arena, type),
                        type_format(v->arena, &node->results[0].type));
}

/* An update writes into its first operands: states, or what an earlier update left of them, each another. No other
   operand shows one of these: a kernel would write what it has yet to read. */
static const char *check_update(Verifier *v, const Node *node) {
    for (int i = 0; i < node->n_results; i++) {
        const Shared *shared = &v->shared[node->operands[i]->number];
        if (shared->state == 0 || shared->is_view)
            return arena_printf(v->arena, "operand %d is written to, and is not a state", i);
        for (int j = 0; j < i; j++) {
            if (v->shared[node->operands[j]->number].state == shared->state)
                return arena_printf(v->arena, "operands %d and %d are one state, and both are written to", j, i);
        }
        for (int j = node->n_results; j < node->n_operands; j++) {
            if (v->shared[node->operands[j]->number].state == shared->state)
                return arena_printf(v->arena, "operand %d reads state \"%s\", which the update writes", j,
                                    v->module->states[shared->state - 1]->name);
        }
    }
    return NULL;
}

/* A view of a state shows the state as it is where the view stands: it must not be read once that has changed. */
static const char *check_views_of_states(Verifier *v, const Node *node) {
    for (int i = 0; i < node->n_operands; i++) {
        const Shared *shared = &v->shared[node->operands[i]->number];
        if (shared->is_view && shared->state > 0 && v->n_updates[shared->state - 1] != shared->n_updates)
            return arena_printf(v->arena, "operand %d is a view of state \"%s\" from before an update of it", i,
                                v->module->states[shared->state - 1]->name);
    }
    return NULL;
}

/* Says what the results of a checked node share storage with. */
static void note_shared(Verifier *v, const Node *node) {
    OpClass class = op_info(node->op)->class;
    size_t index;
    if (node->op == OP_state && names_find(&v->states, attrs_string(&node->attrs, "name", ""), &index))
        v->shared[node->results[0].number].state = index + 1;
    for (int i = 0; i < node->n_results && (class == OP_CLASS_VIEW || class == OP_CLASS_UPDATE); i++) {
        const Shared *source = &v->shared[node->operands[i]->number];
        Shared *shared = &v->shared[node->results[i].number];
        *shared = (Shared){.state = source->state, .is_view = class == OP_CLASS_VIEW};
        if (source->state > 0 && class == OP_CLASS_UPDATE)
            v->n_updates[source->state - 1]++;
        if (source->state > 0 && class == OP_CLASS_VIEW)
            shared->n_updates = v->n_updates[source->state - 1];
    }
}

static const char *check_node(Verifier *v, const Node *node, uint32_t n_defined, Names *inputs) {
    const char *error = node_check_form(v->arena, node);
    if (error == NULL)
        error = check_operands(v, node, n_defined);
    if (error == NULL)
        error = check_types(v, node);
    if (error == NULL)
        error = check_loc(v, node->loc, "it");
    if (error == NULL && node->scope >= v->module->n_scopes && node->scope > 0)
        error = arena_printf(v->arena, "it is in scope %u of %zu", node->scope, v->module->n_scopes);
    if (error == NULL && node->op == OP_state)
        error = check_state_node(v, node);
    if (error == NULL && op_info(node->op)->class == OP_CLASS_UPDATE)
        error = check_update(v, node);
    if (error == NULL)
        error = check_views_of_states(v, node);
    if (error == NULL && node->op == OP_input && !names_add(inputs, attrs_string(&node->attrs, "name", ""), 0))
        error = arena_printf(v->arena, "the graph has two inputs \"%s\"", attrs_string(&node->attrs, "name", ""));
    return error;
}

/* ---- Graphs -------------------------------------------------------------------------------------------------------
 */

/* The list is linked both ways and as long as it says. */
static const char *check_links(Verifier *v) {
    size_t n = 0;
    const Node *last = NULL;
    for (const Node *node = v->graph->first; node != NULL && n <= v->graph->n_nodes; node = node->next) {
        if (node->prev != last)
            return "a node's prev is not the node before it";
        for (int i = 0; i < node->n_results; i++) {
            if (node->results[i].def != node || node->results[i].result != i)
                return "a result does not point back at its node";
        }
        last = node;
        n++;
    }
    return n == v->graph->n_nodes && last == v->graph->last ? NULL : "the list of nodes is not as long as it says";
}

static const char *check_outputs(Verifier *v, uint32_t n_values) {
    Names names = {.arena = v->arena};
    for (size_t i = 0; i < v->graph->n_outputs; i++) {
        const Output *output = &v->graph->outputs[i];
        if (!names_add(&names, output->name, i))
            return arena_printf(v->arena, "output \"%s\" is there twice", output->name);
        if (!is_defined(v, output->value, n_values))
            return arena_printf(v->arena, "output \"%s\" is not a value of this graph", output->name);
    }
    return NULL;
}

/* "%x.12 = silu: ERROR"; what is about an op starts with its name already. */
static const char *node_error(Verifier *v, const Node *node, const char *error) {
    const char *op = op_info(node->op)->name, *hint = node->results[0].hint;
    size_t n_op = strlen(op);
    bool has_op = strncmp(error, op, n_op) == 0 && error[n_op] == ':';
    const char *number = arena_printf(v->arena, "%u", node->results[0].number);
    const char *value = hint != NULL ? arena_printf(v->arena, "%s.%s", hint, number) : number;
    return arena_printf(v->arena, "%%%s = %s%s%s", value, has_op ? "" : op, has_op ? "" : ": ", error);
}

/* The nodes of a block are neighbours but for leaves and views, which are in no block. A block that goes on further
   down has been numbered again there. */
static const char *check_blocks(Verifier *v) {
    uint32_t n_blocks = 0;
    const Block *open = NULL;
    for (const Node *node = v->graph->first; node != NULL; node = node->next) {
        const Block *block = node->block;
        const char *error = NULL;
        if (block != NULL && !node_computes(node))
            error = "it is in a kernel, and computes nothing";
        else if (block != NULL && block != open)
            error = block->number == n_blocks++ ? block_check(v->arena, block)
                                                : "nodes of other kernels stand between those of its kernel";
        if (error != NULL)
            return node_error(v, node, error);
        open = node_computes(node) ? block : open;
    }
    return NULL;
}

/* What the memory plan left, where it has run: passes/passes.h. */
static const char *check_plan(Verifier *v, uint32_t n_values) {
    const Attrs *attrs = &v->graph->attrs;
    const Attr *offsets = attrs_find(attrs, "offsets"), *size = attrs_find(attrs, "arena_bytes");
    const Attr *bound = attrs_find(attrs, "lower_bound");
    if (offsets == NULL)
        return NULL;
    bool is_whole = size != NULL && bound != NULL;
    if (!is_whole || offsets->kind != ATTR_INTS || size->kind != ATTR_INT || bound->kind != ATTR_INT)
        return "offsets must be a list of integers, with the integers arena_bytes and lower_bound beside it";
    if ((uint32_t)offsets->as.ints.n != n_values)
        return arena_printf(v->arena, "offsets has %d entries for %u values", offsets->as.ints.n, n_values);
    for (uint32_t i = 0; i < n_values; i++) {
        int64_t offset = offsets->as.ints.items[i], n_bytes = type_n_bytes(&v->values[i]->type);
        bool fits = offset == -1 || (offset >= 0 && offset % ALIGNMENT == 0 && n_bytes <= size->as.i - offset);
        if (!fits)
            return arena_printf(v->arena, "value %u of %lld bytes has offset %lld in an arena of %lld", i,
                                (long long)n_bytes, (long long)offset, (long long)size->as.i);
    }
    return NULL;
}

static const char *check_graph(Verifier *v) {
    const char *error = check_links(v);
    if (error != NULL)
        return error;
    uint32_t n_values = graph_number(v->graph), n_defined = 0;
    v->values = arena_array_of(v->arena, const Value *, n_values);
    v->shared = arena_array_of(v->arena, Shared, n_values);
    v->n_updates = arena_array_of(v->arena, uint32_t, v->module->n_states);
    Names inputs = {.arena = v->arena};
    for (const Node *node = v->graph->first; node != NULL; node = node->next) {
        error = check_node(v, node, n_defined, &inputs);
        if (error != NULL)
            return node_error(v, node, error);
        for (int i = 0; i < node->n_results; i++)
            v->values[n_defined++] = &node->results[i];
        note_shared(v, node);
    }
    error = check_outputs(v, n_values);
    if (error == NULL)
        error = check_blocks(v);
    return error != NULL ? error : check_plan(v, n_values);
}

static const char *check_graphs(Verifier *v) {
    Names names = {.arena = v->arena};
    for (size_t i = 0; i < v->module->n_graphs; i++) {
        v->graph = v->module->graphs[i];
        if (!text_is_name(v->graph->name))
            return arena_printf(v->arena, "the graph's name '%s' is not a name", v->graph->name);
        if (!names_add(&names, v->graph->name, i))
            return arena_printf(v->arena, "graph %s is there twice", v->graph->name);
        const char *error = check_graph(v);
        if (error != NULL)
            return arena_printf(v->arena, "graph %s: %s", v->graph->name, error);
    }
    return NULL;
}

const char *module_verify(const Module *module) {
    Arena *arena = arena_new();
    Verifier verifier = {.module = module, .arena = arena};
    const char *error =
        text_is_name(module->name) ? NULL : arena_printf(arena, "the module's name '%s' is not a name", module->name);
    static const char *(*const checks[])(Verifier *) = {check_scopes, check_directives, check_states, check_graphs};
    for (size_t i = 0; i < sizeof checks / sizeof checks[0] && error == NULL; i++)
        error = checks[i](&verifier);
    if (error != NULL)
        error = arena_strdup(module->arena, error);
    arena_free(arena);
    return error;
}
