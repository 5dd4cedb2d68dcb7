/* Reverse mode: from graph "forward" to "train", which also computes what one micro-batch adds to each weight's
   gradient, and "eval", which computes nll alone. spec/autodiff.md.

   Two walks over the nodes, each linear. Forwards: which values are active, that is, depend on a weight through
   differentiable ops. Backwards from the loss: each node's rule turns the gradients of its results into those of its
   active operands. A value's gradient is complete when the walk reaches the node that defines it, since all its users
   come later in the list. Gradients of one value add up in the order in which the walk meets its users, last user
   first. A weight's gradients are not added up but accumulated into its state one by one, where they arise: the two of
   a tied embedding never exist at once. */
#include <string.h>

#include "ir/names.h"
#include "passes/derive.h"
#include "passes/passes.h"
#include "passes/simplify.h"

/* A weight and where its gradient is gathered. */
typedef struct {
    const State *weight;
    const State *gradient;
    Value *sum; /* the gradient's state as the last accumulation leaves it; NULL before the first */
} Accumulator;

/* What is known of a value of the forward graph, by its number. */
typedef struct {
    bool is_active;
    Accumulator *accumulator; /* of the weight that the value is, or NULL */
    Value *gradient;          /* NULL: zero so far; not used where there is an accumulator */
} Activity;

typedef struct {
    Module *module;
    Reporter *reporter;
    Arena *arena; /* the pass's own */
    Builder builder;
    Accumulator *accumulators; /* one a weight, in the order of the module's states */
    size_t n_accumulators;
    Names weights; /* a weight's name -> its accumulator's index */
    Activity *activities;
} Autodiff;

/* ---- Outputs -------------------------------------------------------------------------------------------------- */

/* What the graphs keep of the forward graph's outputs, in this order; those that are there. */
static const char *const train_outputs[] = {"loss", "nll", "balance", "z_loss", "expert_load", NULL};
static const char *const eval_outputs[] = {"nll", NULL};

static void keep_outputs(Arena *arena, Graph *graph, const char *const *names) {
    const Graph before = *graph;
    graph->outputs = arena_array_of(arena, Output, before.n_outputs);
    graph->outputs_capacity = before.n_outputs;
    graph->n_outputs = 0;
    for (size_t i = 0; names[i]; i++) {
        Value *value = graph_find_output(&before, names[i]);
        if (value)
            graph_add_output(graph, names[i], value);
    }
}

static bool is_scalar(const Value *value) {
    return value->type.rank == 0 && value->type.dtype == DTYPE_F32;
}

/* The loss, or NULL after an error. */
static Value *find_loss(Module *module, const Graph *forward, Reporter *reporter) {
    static const char *const scalars[] = {"loss", "nll"};
    for (size_t i = 0; i < sizeof scalars / sizeof *scalars; i++) {
        const Value *value = graph_find_output(forward, scalars[i]);
        if (value && is_scalar(value))
            continue;
        const char *found = value ? type_format(module->arena, &value->type) : "none";
        report_error(reporter, module, value ? value->def->loc : (Loc){0},
                     "training needs a graph \"forward\" with an output \"%s\" of type f32[]; found %s", scalars[i],
                     found);
        return NULL;
    }
    return graph_find_output(forward, "loss");
}

/* ---- Weights and their accumulators --------------------------------------------------------------------------- */

static void add_accumulators(Autodiff *at) {
    size_t n_states = at->module->n_states;
    at->accumulators = arena_array_of(at->arena, Accumulator, n_states);
    for (size_t i = 0; i < n_states; i++) {
        const State *weight = at->module->states[i];
        if (strcmp(weight->kind, "weight") != 0)
            continue;
        const char *name = arena_printf(at->module->arena, "grad:%s", weight->name);
        names_add(&at->weights, weight->name, at->n_accumulators);
        at->accumulators[at->n_accumulators++] = (Accumulator){
            .weight = weight, .gradient = module_add_state(at->module, name, "grad", &weight->type, weight->loc)};
    }
}

/* The accumulator of the weight that `node` reads, or NULL if it reads none. */
static Accumulator *find_accumulator(const Autodiff *at, const Node *node) {
    if (node->op != OP_state)
        return NULL;
    size_t index;
    bool is_weight = names_find(&at->weights, attrs_string(&node->attrs, "name", ""), &index);
    return is_weight ? &at->accumulators[index] : NULL;
}

static void accumulate(Autodiff *at, Accumulator *accumulator, Value *gradient) {
    if (!accumulator->sum)
        accumulator->sum = build_state(&at->builder, accumulator->gradient);
    accumulator->sum = build_binary(&at->builder, OP_accumulate, accumulator->sum, gradient);
}

/* ---- The walks ------------------------------------------------------------------------------------------------ */

static Activity *activity_of(const Autodiff *at, const Value *value) {
    return &at->activities[value->number];
}

static void mark_active(Autodiff *at, const Graph *graph) {
    at->activities = arena_array_of(at->arena, Activity, graph_number(graph));
    for (const Node *node = graph->first; node; node = node->next) {
        Accumulator *accumulator = find_accumulator(at, node);
        bool is_active = accumulator != NULL;
        for (int i = 0; i < node->n_operands && derive_rule(node->op) != derive_none; i++)
            is_active = is_active || activity_of(at, node->operands[i])->is_active;
        for (int i = 0; i < node->n_results; i++) {
            const Value *result = &node->results[i];
            *activity_of(at, result) =
                (Activity){.is_active = is_active && dtype_is_float(result->type.dtype), .accumulator = accumulator};
        }
    }
}

/* `contribution` is one use's share of the gradient of `value`. */
static void add_gradient(Autodiff *at, const Value *value, Value *contribution) {
    if (value->hint && !contribution->hint)
        contribution->hint = arena_printf(at->module->arena, "d_%s", value->hint);
    Activity *activity = activity_of(at, value);
    if (activity->accumulator)
        accumulate(at, activity->accumulator, contribution);
    else if (activity->gradient)
        activity->gradient = build_binary(&at->builder, OP_add, activity->gradient, contribution);
    else
        activity->gradient = contribution;
}

/* False after an error. Does nothing for a node that no gradient reaches or that no weight is behind. */
static bool derive_node(Autodiff *at, const Node *node) {
    Value **d_results = arena_array_of(at->arena, Value *, node->n_results);
    Value **d_operands = arena_array_of(at->arena, Value *, node->n_operands);
    bool *is_wanted = arena_array_of(at->arena, bool, node->n_operands);
    bool is_reached = false, is_any_wanted = false;
    for (int i = 0; i < node->n_results; i++) {
        d_results[i] = activity_of(at, &node->results[i])->gradient;
        is_reached = is_reached || d_results[i];
    }
    for (int i = 0; i < node->n_operands; i++) {
        is_wanted[i] = activity_of(at, node->operands[i])->is_active;
        is_any_wanted = is_any_wanted || is_wanted[i];
    }
    if (!is_reached || !is_any_wanted)
        return true;

    at->builder.loc = node->loc;
    at->builder.scope = node->scope;
    Derivation derivation = {.builder = &at->builder,
                             .node = node,
                             .d_results = d_results,
                             .is_wanted = is_wanted,
                             .d_operands = d_operands};
    derive_rule(node->op)(&derivation);
    if (derivation.error) {
        report_error(at->reporter, at->module, node->loc, "can't differentiate %s: %s", op_info(node->op)->name,
                     derivation.error);
        return false;
    }
    for (int i = 0; i < node->n_operands; i++) {
        if (d_operands[i])
            add_gradient(at, node->operands[i], d_operands[i]);
    }
    return true;
}

/* From the loss back to the weights. */
static bool build_backward(Autodiff *at, Graph *graph, const Value *loss) {
    const Node *last_forward = graph->last;
    mark_active(at, graph);
    at->builder = (Builder){.graph = graph, .loc = loss->def->loc, .scope = loss->def->scope};
    Value *loss_scale = build_input(&at->builder, "loss_scale", &loss->type);
    if (activity_of(at, loss)->is_active)
        add_gradient(at, loss, loss_scale);
    bool succeeded = true;
    for (const Node *node = last_forward; node; node = node->prev)
        succeeded = derive_node(at, node) && succeeded;
    return succeeded;
}

static void warn_about_unreached_weights(const Autodiff *at) {
    for (size_t i = 0; i < at->n_accumulators; i++) {
        const Accumulator *accumulator = &at->accumulators[i];
        if (!accumulator->sum)
            report_warning(at->reporter, at->module, accumulator->weight->loc,
                           "the loss does not depend on weight \"%s\": training leaves it as it is, but for weight "
                           "decay",
                           accumulator->weight->name);
    }
}

bool autodiff_run(Module *module, Reporter *reporter) {
    Graph *graph = module_find_graph(module, "forward");
    if (!graph) {
        report_error(reporter, module, (Loc){0}, "there is no graph \"forward\" to differentiate");
        return false;
    }
    const Value *loss = find_loss(module, graph, reporter);
    if (!loss)
        return false;
    if (!pass_can_add(module, reporter, "autodiff", (const char *const[]){"train", "eval", NULL},
                      (const char *const[]){"grad:", NULL}))
        return false;
    Graph *eval = graph_clone(graph, "eval");
    keep_outputs(module->arena, eval, eval_outputs);
    graph_remove_dead(eval);
    graph->name = "train";
    keep_outputs(module->arena, graph, train_outputs);

    Autodiff at = {.module = module, .reporter = reporter, .arena = arena_new()};
    at.weights.arena = at.arena;
    add_accumulators(&at);
    bool succeeded = build_backward(&at, graph, loss);
    if (succeeded) {
        warn_about_unreached_weights(&at);
        graph_remove_dead(graph);
    }
    arena_free(at.arena);
    return succeeded;
}
