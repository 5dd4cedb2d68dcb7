/* What makes a state one: its kind, its type, and the attributes that say how it is made and exported. The table of
   these stands in spec/ir.md, "States". */
#include <string.h>

#include "ir/ops_internal.h"

static const char *const attribute_rows =
    "source:s? init:s? std:f? experts:i? segments:i? segment_dim:i? scale:f? noise:f? drop:f? drop_dim:i? "
    "drop_extent:i? drop_key:s? tile:i? export:s? decay:b?";

static bool is_one_of(const char *word, const char *const *words, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (strcmp(word, words[i]) == 0)
            return true;
    }
    return false;
}

static const char *check_kind(Arena *arena, const State *state) {
    static const char *const kinds[] = {"weight", "grad", "moment1", "moment2"};
    static const char *const inits[] = {"normal", "zeros", "ones"};
    const char *init = attrs_string(&state->attrs, "init", "normal");
    if (!is_one_of(state->kind, kinds, sizeof kinds / sizeof kinds[0]))
        return arena_printf(arena, "is a '%s'; it can be a weight, grad, moment1 or moment2", state->kind);
    if (!is_one_of(init, inits, sizeof inits / sizeof inits[0]))
        return arena_printf(arena, "has init \"%s\"; it can be \"normal\", \"zeros\" or \"ones\"", init);
    return NULL;
}

static const char *check_type(Arena *arena, const State *state) {
    const char *problem = type_check(arena, &state->type);
    return problem == NULL && type_is_ragged(&state->type) ? "is ragged" : problem;
}

/* `key` counts a dim of one expert's tensor: the state's dims without the first. */
static bool is_expert_dim(const State *state, const char *key) {
    int64_t dim = attrs_int(&state->attrs, key, 0);
    return dim >= 0 && dim < state->type.rank - 1;
}

static const char *check_experts(Arena *arena, const State *state) {
    const Attrs *attrs = &state->attrs;
    const Type *type = &state->type;
    int64_t n_experts = attrs_int(attrs, "experts", 0), n_segments = attrs_int(attrs, "segments", 1);
    if (attrs_find(attrs, "experts") == NULL)
        return attrs_find(attrs, "segments") != NULL ? "has segments and no experts" : NULL;
    if (type->rank < 1 || n_experts != type->dims[0].extent)
        return arena_printf(arena, "has %lld experts, and is %s", (long long)n_experts, type_format(arena, type));
    if (n_segments < 1 || n_experts % n_segments != 0)
        return arena_printf(arena, "has %lld segments, of which %lld experts are no multiple", (long long)n_segments,
                            (long long)n_experts);
    if (n_segments > 1 && !is_expert_dim(state, "segment_dim"))
        return "has a segment_dim that its experts lack";
    return NULL;
}

static const char *check_draws(Arena *arena, const State *state) {
    const Attrs *attrs = &state->attrs;
    const Type *type = &state->type;
    int64_t tile = attrs_int(attrs, "tile", 1);
    if (tile < 1 || (tile > 1 && type->rank < 1))
        return arena_printf(arena, "has tile %lld", (long long)tile);
    if (attrs_find(attrs, "drop") == NULL)
        return NULL;
    if (!is_expert_dim(state, "drop_dim"))
        return "has a drop_dim that its experts lack";
    int64_t extent = type->dims[attrs_int(attrs, "drop_dim", 0) + 1].extent;
    if (attrs_int(attrs, "drop_extent", extent) != extent)
        return arena_printf(arena, "has drop_extent %lld, and is %s", (long long)attrs_int(attrs, "drop_extent", 0),
                            type_format(arena, type));
    return NULL;
}

const char *state_check(Arena *arena, const State *state) {
    static const char *(*const checks[])(Arena *, const State *) = {check_kind, check_type, check_experts, check_draws};
    const char *what = arena_printf(arena, "state \"%s\"", state->name);
    const char *error = attrs_check(arena, what, attribute_rows, &state->attrs);
    if (error != NULL)
        return error;
    for (size_t i = 0; i < sizeof checks / sizeof checks[0] && error == NULL; i++)
        error = checks[i](arena, state);
    return error == NULL ? NULL : arena_printf(arena, "%s %s", what, error);
}
