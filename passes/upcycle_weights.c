/* States of the experts, made from those of the function. spec/ir.md, "States", has the attributes. */
#include <string.h>

#include "passes/upcycle.h"

/* The weight's name below the path of the call. */
static const char *name_in(const char *path, const char *name) {
    size_t n = strlen(path);
    return n > 0 && strncmp(name, path, n) == 0 && name[n] == '.' ? name + n + 1 : name;
}

/* PATH.MIDDLE.NAME, or MIDDLE.NAME at the root. */
static const char *join_names(const Upcycle *at, const char *path, const char *middle, const char *name) {
    return arena_printf(at->module->arena, "%s%s%s%s%s", path, path[0] ? "." : "", middle, middle[0] ? "." : "", name);
}

/* A new weight, or NULL after an error. */
static State *add_state(const Upcycle *at, const char *name, const Type *type, Loc loc) {
    const State *other = module_find_state(at->module, name);
    if (!other)
        return module_add_state(at->module, name, "weight", type, loc);
    report_error(at->reporter, at->module, at->directive->loc,
                 "upcycle: a new weight would be called \"%s\", and there is one of that name; `router_name` gives the "
                 "router another",
                 name);
    report_note(at->reporter, at->module, other->loc, "it is defined here");
    return NULL;
}

/* ---- Experts -------------------------------------------------------------------------------------------------- */

static int hidden_dim(const Region *region, const Type *type) {
    for (int i = 0; i < type->rank; i++) {
        if (region_is_hidden(region, &type->dims[i]))
            return i;
    }
    return -1;
}

static Type expert_type(const Upcycle *at, const Region *region, const Type *dense) {
    Type type = {.dtype = dense->dtype, .rank = dense->rank + 1, .dims = {{at->settings.n_experts, "experts", false}}};
    for (int i = 0; i < dense->rank; i++)
        type.dims[i + 1] =
            region_cut_dim(at, &dense->dims[i], at->settings.n_segments > 1 && i == hidden_dim(region, dense));
    return type;
}

static void set_factor(Arena *arena, Attrs *attrs, double factor) {
    if (factor != 1)
        attrs_set_float(arena, attrs, "scale", factor * attrs_float(attrs, "scale", 1));
}

static void set_attributes(const Upcycle *at, const Region *region, const RegionWeight *weight, State *expert) {
    Arena *arena = at->module->arena;
    const UpcycleSettings *settings = &at->settings;
    Attrs *attrs = &expert->attrs;
    int hidden = hidden_dim(region, &weight->dense->type);
    *attrs = attrs_clone(arena, &weight->dense->attrs);
    attrs_set_int(arena, attrs, "experts", settings->n_experts);
    if (settings->n_segments > 1 && hidden >= 0) {
        attrs_set_int(arena, attrs, "segments", settings->n_segments);
        attrs_set_int(arena, attrs, "segment_dim", hidden);
    }
    set_factor(arena, attrs,
               (weight->is_segment_scaled ? (double)settings->n_segments : 1) * (weight->is_halved ? 0.5 : 1));
    if (settings->noise > 0)
        attrs_set_float(arena, attrs, "noise", settings->noise);
    if (settings->drop > 0 && hidden >= 0) {
        attrs_set_float(arena, attrs, "drop", settings->drop);
        attrs_set_int(arena, attrs, "drop_dim", hidden);
        attrs_set_int(arena, attrs, "drop_extent", expert->type.dims[hidden + 1].extent);
        attrs_set_string(arena, attrs, "drop_key", region->scope->path);
    }
}

static bool add_experts(const Upcycle *at, const Region *region, RegionWeight *weight) {
    const char *path = region->scope->path, *name = name_in(path, weight->dense->name);
    const Type *dense = &weight->dense->type;
    if (dense->rank == MAX_RANK)
        return upcycle_refuse(at, weight->first_use->loc, "weight \"%s\" has too many dims", weight->dense->name);
    Type type = expert_type(at, region, dense);
    const char *problem = type_check(at->arena, &type);
    if (problem)
        return upcycle_refuse(at, weight->first_use->loc, "the experts of weight \"%s\" would be a tensor that %s",
                              weight->dense->name, problem);
    weight->expert = add_state(at, join_names(at, path, "experts", name), &type, weight->dense->loc);
    if (!weight->expert)
        return false;
    set_attributes(at, region, weight, weight->expert);
    attrs_set_string(at->module->arena, &weight->expert->attrs, "export", join_names(at, path, "experts.{e}", name));
    return true;
}

static bool add_shared(const Upcycle *at, const Region *region, RegionWeight *weight) {
    const char *path = region->scope->path;
    const char *name = join_names(at, path, "shared_expert", name_in(path, weight->dense->name));
    weight->shared = add_state(at, name, &weight->dense->type, weight->dense->loc);
    if (!weight->shared)
        return false;
    Attrs *attrs = &weight->shared->attrs;
    *attrs = attrs_clone(at->module->arena, &weight->dense->attrs);
    set_factor(at->module->arena, attrs, weight->is_halved ? 0.5 : 1);
    attrs_set_string(at->module->arena, attrs, "export", name);
    return true;
}

static State *add_router(const Upcycle *at, const Region *region) {
    Arena *arena = at->module->arena;
    const UpcycleSettings *settings = &at->settings;
    const Type *input = &region->input->type;
    const char *name = join_names(at, region->scope->path, "", settings->router_name);
    Type type = {
        .dtype = DTYPE_F32, .rank = 2, .dims = {{settings->n_experts, "experts", false}, input->dims[input->rank - 1]}};
    State *router = add_state(at, name, &type, at->directive->loc);
    if (!router)
        return NULL;
    attrs_set_string(arena, &router->attrs, "init", settings->router_init);
    if (strcmp(settings->router_init, "normal") == 0)
        attrs_set_float(arena, &router->attrs, "std", settings->router_std);
    if (settings->n_segments > 1)
        attrs_set_int(arena, &router->attrs, "tile", settings->n_segments);
    attrs_set_bool(arena, &router->attrs, "decay", true);
    attrs_set_string(arena, &router->attrs, "export", name);
    return router;
}

/* ---- All weights of a call ------------------------------------------------------------------------------------ */

/* The states that an earlier call with this path made: another graph's, or one that shares the weights. */
static const UpcycledWeight *find_upcycled(const Upcycle *at, const RegionWeight *weight) {
    size_t index;
    return names_find(&at->weight_names, weight->dense->name, &index) ? &at->weights[index] : NULL;
}

static bool check_path(const Upcycle *at, const Region *region, const RegionWeight *weight,
                       const UpcycledWeight *known) {
    if (strcmp(known->path, region->scope->path) == 0)
        return true;
    return upcycle_refuse(at, weight->first_use->loc,
                          "weight \"%s\" belongs to two calls, at \"%s\" and at \"%s\"; each must have its own",
                          weight->dense->name, known->path, region->scope->path);
}

static bool add_weight(Upcycle *at, Region *region, RegionWeight *weight, State **router) {
    bool brings_router = !*router;
    const UpcycledWeight *known = find_upcycled(at, weight);
    if (known) {
        weight->expert = known->expert;
        weight->shared = known->shared;
        *router = known->router;
        return check_path(at, region, weight, known);
    }
    if (strcmp(weight->dense->kind, "weight") != 0)
        return upcycle_refuse(at, weight->first_use->loc, "it reads \"%s\", which is no weight", weight->dense->name);
    if (brings_router)
        *router = add_router(at, region);
    if (!*router || !add_experts(at, region, weight))
        return false;
    if (at->settings.has_shared && !add_shared(at, region, weight))
        return false;
    UpcycledWeight made = {.dense = weight->dense,
                           .router = *router,
                           .brings_router = brings_router,
                           .expert = weight->expert,
                           .shared = weight->shared,
                           .path = region->scope->path};
    names_add(&at->weight_names, weight->dense->name, at->n_weights);
    arena_push(at->arena, at->weights, at->n_weights, at->weights_capacity, made);
    return true;
}

bool upcycle_add_weights(Upcycle *at, Region *region, State **router) {
    *router = NULL;
    for (size_t i = 0; i < region->n_weights; i++) {
        if (!add_weight(at, region, &region->weights[i], router))
            return false;
    }
    return true;
}

/* ---- The dense states' end ------------------------------------------------------------------------------------ */

static bool check_unused(const Upcycle *at, const Node *node) {
    size_t index;
    if (node->op != OP_state || !names_find(&at->weight_names, attrs_string(&node->attrs, "name", ""), &index))
        return true;
    return upcycle_refuse(at, node->loc, "its weight \"%s\" is also used here, outside of the upcycled calls",
                          at->weights[index].dense->name);
}

/* The states in the order that they have from now on. */
typedef struct {
    Arena *arena;
    State **items;
    size_t n, capacity;
} States;

static void push_state(States *states, State *state) {
    arena_push(states->arena, states->items, states->n, states->capacity, state);
}

static void place_upcycled(States *states, const UpcycledWeight *weight) {
    if (weight->brings_router)
        push_state(states, weight->router);
    push_state(states, weight->expert);
    if (weight->shared)
        push_state(states, weight->shared);
}

/* The names of all states that the pass has made. */
static Names list_made(const Upcycle *at) {
    Names made = {.arena = at->arena};
    for (size_t i = 0; i < at->n_weights; i++) {
        const UpcycledWeight *weight = &at->weights[i];
        names_add(&made, weight->router->name, i);
        names_add(&made, weight->expert->name, i);
        if (weight->shared)
            names_add(&made, weight->shared->name, i);
    }
    return made;
}

bool upcycle_replace_states(Upcycle *at) {
    Module *module = at->module;
    for (size_t i = 0; i < module->n_graphs; i++) {
        for (const Node *node = module->graphs[i]->first; node; node = node->next) {
            if (!check_unused(at, node))
                return false;
        }
    }
    const Names made = list_made(at);
    States after = {.arena = at->arena};
    for (size_t i = 0, index; i < module->n_states; i++) {
        State *before = module->states[i];
        if (names_find(&at->weight_names, before->name, &index))
            place_upcycled(&after, &at->weights[index]);
        else if (!names_find(&made, before->name, &index))
            push_state(&after, before);
    }
    module_replace_states(module, after.items, after.n);
    return true;
}
