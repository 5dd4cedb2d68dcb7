/* The upcycle pass: finds the calls of the named function in every graph and turns them into experts, one by one. */
#include "passes/upcycle.h"

#include <math.h>
#include <string.h>

#include "passes/passes.h"
#include "passes/simplify.h"

/* ---- Calls ---------------------------------------------------------------------------------------------------- */

static bool is_chosen_layer(const UpcycleSettings *settings, int64_t ordinal) {
    return ordinal >= settings->first_layer && (settings->end_layer < 0 || ordinal < settings->end_layer) &&
           (ordinal - settings->first_layer) % settings->layer_step == 0;
}

/* Scopes of the chosen calls, and all that is called inside them; *n_all: calls in all. False after an error. */
static bool find_calls(Upcycle *at, uint32_t *n_all) {
    const Module *module = at->module;
    at->call_of_scope = arena_array_of(at->arena, int32_t, module->n_scopes);
    *n_all = 0;
    for (size_t i = 0; i < module->n_scopes; i++) {
        const Scope *scope = &module->scopes[i];
        int32_t outer = i > 0 ? at->call_of_scope[scope->parent] : -1;
        at->call_of_scope[i] = outer;
        if (outer >= 0 || strcmp(scope->function, at->directive->name) != 0)
            continue;
        (*n_all)++;
        if (is_chosen_layer(&at->settings, scope->ordinal))
            at->call_of_scope[i] = (int32_t)at->n_calls++;
    }
    if (*n_all == 0)
        report_error(at->reporter, module, at->directive->loc, "upcycle: nothing calls '%s'", at->directive->name);
    else if (at->n_calls == 0)
        report_error(at->reporter, module, upcycle_setting_loc(at, "layers"),
                     "upcycle: layers chooses none of the %u calls of '%s'", *n_all, at->directive->name);
    return at->n_calls > 0;
}

/* ---- One call ------------------------------------------------------------------------------------------------- */

/* Slots that an expert takes at most, 0 for no bound: ceil(tokens * k * capacity / experts), where a factor such as 1.1
   that binary fractions miss by a hair counts as what was written. Generating drops nothing. */
static int64_t capacity_of(const Upcycle *at, const Graph *graph, const Value *input) {
    const UpcycleSettings *settings = &at->settings;
    if (settings->capacity == 0 || strcmp(graph->name, "generate") == 0)
        return 0;
    const Type *type = &input->type;
    int64_t n_rows = type_n_elements(type) / type_extent(type, -1);
    double n_tokens = (double)n_rows;
    double exact = n_tokens * (double)settings->top_k * settings->capacity / (double)settings->n_experts;
    double slots = ceil(exact * (1 - 1e-12));
    return slots >= n_tokens ? (int64_t)n_tokens : (int64_t)fmax(slots, 1);
}

/* Builds experts that give what the call gave, and adds to the losses (NULL: none are wanted). NULL after an error. */
static Value *upcycle_call(Upcycle *at, Graph *graph, Region *region, RoutingLosses *losses) {
    State *router;
    if (!upcycle_check_region(at, region) || !upcycle_find_hidden(at, region) || !upcycle_cut(at, region) ||
        !upcycle_scale(at, region) || !upcycle_add_weights(at, region, &router))
        return NULL;
    Builder builder = {
        .graph = graph, .before = region->output->def, .loc = at->directive->loc, .scope = region->scope_index};
    Routing routing = upcycle_route(at, &builder, region->input, router, capacity_of(at, graph, region->input));
    if (losses)
        upcycle_add_losses(at, &builder, &routing, losses);
    Value *rows = upcycle_build_experts(at, region, &builder, &routing);
    if (!rows)
        return NULL;
    Value *result = upcycle_combine(&builder, &routing, rows);
    if (at->settings.has_shared)
        result = build_binary(&builder, OP_add, result, upcycle_build_shared(region, &builder));
    result->hint = region->output->hint;
    return result;
}

/* ---- Graphs --------------------------------------------------------------------------------------------------- */

/* All calls of one graph whose results are used. */
static bool upcycle_calls(Upcycle *at, Graph *graph, RoutingLosses *losses) {
    Region *regions = upcycle_find_regions(at, graph);
    Replacement *replacements = arena_array_of(at->arena, Replacement, at->n_calls);
    size_t n = 0;
    for (uint32_t i = 0; i < at->n_calls; i++) {
        if (!regions[i].output)
            continue;
        Value *result = upcycle_call(at, graph, &regions[i], losses);
        if (!result)
            return false;
        replacements[n++] = (Replacement){regions[i].output, result};
    }
    graph_replace_uses(graph, replacements, n);
    return true;
}

static bool upcycle_forward(Upcycle *at, Graph *forward) {
    RoutingLosses losses = {0};
    if (graph_find_output(forward, "loss")) {
        report_error(at->reporter, at->module, at->directive->loc,
                     "upcycle: graph \"forward\" has an output \"loss\" already, which upcycle is to add");
        return false;
    }
    if (!upcycle_calls(at, forward, &losses))
        return false;
    if (losses.n_loads == 0)
        return upcycle_refuse(at, at->directive->loc, "no call computes anything that is used");
    Builder builder = {.graph = forward, .loc = at->directive->loc};
    upcycle_add_outputs(at, &builder, &losses, graph_find_output(forward, "nll"));
    return true;
}

static bool upcycle_module(Upcycle *at, Graph *forward) {
    Module *module = at->module;
    uint32_t n_all;
    if (!upcycle_read_settings(at) || !find_calls(at, &n_all) || !upcycle_forward(at, forward))
        return false;
    for (size_t i = 0; i < module->n_graphs; i++) {
        if (module->graphs[i] != forward && !upcycle_calls(at, module->graphs[i], NULL))
            return false;
    }
    for (size_t i = 0; i < module->n_graphs; i++)
        graph_remove_dead(module->graphs[i]);
    if (!upcycle_replace_states(at))
        return false;
    upcycle_name_exports(at, at->n_calls < n_all);
    return true;
}

/* ---- Modules -------------------------------------------------------------------------------------------------- */

/* Graph "forward" if it has an nll, or NULL after an error. */
static Graph *find_forward(Module *module, Reporter *reporter) {
    Graph *forward = module_find_graph(module, "forward");
    const Value *nll = forward ? graph_find_output(forward, "nll") : NULL;
    if (nll && nll->type.rank == 0 && nll->type.dtype == DTYPE_F32)
        return forward;
    report_error(reporter, module, nll ? nll->def->loc : (Loc){0},
                 "training needs a graph \"forward\" with an output \"nll\" of type f32[]; found %s",
                 nll ? type_format(module->arena, &nll->type) : "none");
    return NULL;
}

/* *directive becomes the only upcycle clause, or NULL where there is none; false after an error. */
static bool find_directive(Module *module, Reporter *reporter, Directive **directive) {
    *directive = module_find_directive(module, "upcycle");
    for (size_t i = 0; i < module->n_directives; i++) {
        Directive *other = &module->directives[i];
        if (other == *directive || strcmp(other->kind, "upcycle") != 0)
            continue;
        report_error(reporter, module, other->loc, "a model has one upcycle clause; this is the second");
        return false;
    }
    return true;
}

static bool is_applied(const Directive *directive) {
    const Attr *attr = attrs_find(&directive->attrs, "applied");
    return attr && attr->kind == ATTR_BOOL && attr->as.b;
}

bool upcycle_run(Module *module, Reporter *reporter) {
    Directive *directive;
    Graph *forward = find_forward(module, reporter);
    if (!forward || !find_directive(module, reporter, &directive))
        return false;
    if (!directive && !graph_find_output(forward, "loss"))
        graph_add_output(forward, "loss", graph_find_output(forward, "nll"));
    if (!directive || is_applied(directive))
        return true;
    Upcycle at = {.module = module, .reporter = reporter, .arena = arena_new(), .directive = directive};
    at.weight_names.arena = at.arena;
    bool succeeded = upcycle_module(&at, forward);
    arena_free(at.arena);
    if (succeeded)
        attrs_set_bool(module->arena, &directive->attrs, "applied", true);
    return succeeded;
}
