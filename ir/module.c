/* Modules: files, scopes, states, directives, graphs, each in the order in which they were added. */
#include "ir/ir.h"

#include <assert.h>
#include <string.h>

Module *module_new(Arena *arena, const char *name) {
    Module *module = arena_new_of(arena, Module);
    module->arena = arena;
    module->name = arena_strdup(arena, name);
    module->state_indices.arena = arena;
    return module;
}

uint32_t module_add_file(Module *module, const char *path) {
    for (size_t i = 0; i < module->n_files; i++) {
        if (strcmp(module->files[i], path) == 0)
            return (uint32_t)i;
    }
    arena_push(module->arena, module->files, module->n_files, module->files_capacity,
               arena_strdup(module->arena, path));
    return (uint32_t)module->n_files - 1;
}

uint32_t module_add_scope(Module *module, Scope scope) {
    scope.function = arena_strdup(module->arena, scope.function);
    scope.path = arena_strdup(module->arena, scope.path);
    arena_push(module->arena, module->scopes, module->n_scopes, module->scopes_capacity, scope);
    return (uint32_t)module->n_scopes - 1;
}

/* Of two states of one name, which the verifier refuses, the first is found. */
static void append_state(Module *module, State *state) {
    names_add(&module->state_indices, state->name, module->n_states);
    arena_push(module->arena, module->states, module->n_states, module->states_capacity, state);
}

State *module_add_state(Module *module, const char *name, const char *kind, const Type *type, Loc loc) {
    State *state = arena_new_of(module->arena, State);
    state->name = arena_strdup(module->arena, name);
    state->kind = arena_strdup(module->arena, kind);
    state->type = *type;
    state->loc = loc;
    append_state(module, state);
    return state;
}

State *module_find_state(const Module *module, const char *name) {
    size_t index;
    return names_find(&module->state_indices, name, &index) ? module->states[index] : NULL;
}

void module_replace_states(Module *module, State *const *states, size_t n) {
    module->states = NULL;
    module->n_states = module->states_capacity = 0;
    module->state_indices = (Names){.arena = module->arena};
    for (size_t i = 0; i < n; i++)
        append_state(module, states[i]);
}

Directive *module_add_directive(Module *module, const char *kind, const char *name, Loc loc) {
    Directive directive = {
        .kind = arena_strdup(module->arena, kind), .name = arena_strdup(module->arena, name), .loc = loc};
    arena_push(module->arena, module->directives, module->n_directives, module->directives_capacity, directive);
    return &module->directives[module->n_directives - 1];
}

Directive *module_find_directive(const Module *module, const char *kind) {
    for (size_t i = 0; i < module->n_directives; i++) {
        if (strcmp(module->directives[i].kind, kind) == 0)
            return &module->directives[i];
    }
    return NULL;
}

Graph *module_add_graph(Module *module, const char *name) {
    Graph *graph = arena_new_of(module->arena, Graph);
    graph->name = arena_strdup(module->arena, name);
    graph->module = module;
    arena_push(module->arena, module->graphs, module->n_graphs, module->graphs_capacity, graph);
    return graph;
}

Graph *module_find_graph(const Module *module, const char *name) {
    for (size_t i = 0; i < module->n_graphs; i++) {
        if (strcmp(module->graphs[i]->name, name) == 0)
            return module->graphs[i];
    }
    return NULL;
}
