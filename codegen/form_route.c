/* What is said of a route: its lines, and what must hold of it. */
#include "codegen/form_route.h"

#include "codegen/form_internal.h"

static const struct {
    const char *word;
    DType dtype;
} results[] = {
#define X(id, word, dtype, what) [FORM_ROUTE_##id] = {word, DTYPE_##dtype},
    FORM_ROUTE_RESULTS(X)
#undef X
};

FormRoute form_route_new(void) {
    FormRoute route = {.given = FORM_NONE};
    for (int i = 0; i < FORM_ROUTE_RESULT_COUNT; i++)
        route.results[i] = FORM_NONE;
    return route;
}

const char *form_route_word(FormRouteResult result) {
    return results[result].word;
}

int64_t form_n_slots(const Form *form) {
    return form_n_rows(&form->body) * form->route.k;
}

bool form_loads_scores(const Form *form) {
    const FormBody *body = &form->body;
    if (body->n_instrs != 1 || body->instrs[0].op != FORM_LOAD)
        return false;
    const FormAccessMap *map = &body->instrs[0].map;
    int64_t stride = 1;
    bool is_col = true, is_dense = form->args[map->arg].dtype == DTYPE_F32 && map->gather == FORM_NONE;
    for (int i = body->n_indices - 1; i >= 0 && is_dense; i--) {
        if (is_col && !body->indices[i].is_col) /* rows may lie apart */
            stride = map->strides[i] > stride ? map->strides[i] : stride;
        is_col = body->indices[i].is_col;
        is_dense = map->strides[i] == stride || body->indices[i].extent == 1;
        stride *= body->indices[i].extent;
    }
    return is_dense;
}

void form_print_route_lines(FILE *out, const Form *form) {
    const FormRoute *route = &form->route;
    if (route->given != FORM_NONE)
        fprintf(out, "  given %s\n", form->args[route->given].name);
    else
        fprintf(out, "  top_k %lld\n", (long long)route->k);
    if (route->capacity > 0)
        fprintf(out, "  capacity %lld\n", (long long)route->capacity);
    for (int i = 0; i < FORM_ROUTE_RESULT_COUNT; i++) {
        if (route->results[i] != FORM_NONE)
            fprintf(out, "  %s %s\n", results[i].word, form->args[route->results[i]].name);
    }
}

/* ---- Checks ----------------------------------------------------------------------------------------------------- */

/* How many elements the result has; of slot_of_row at least so many. */
static int64_t n_elements_of(const Form *form, FormRouteResult result) {
    int64_t n_experts = form_n_cols(&form->body), n_slots = form_n_slots(form), capacity = form->route.capacity;
    switch (result) {
    case FORM_ROUTE_COUNTS:
        return n_experts;
    case FORM_ROUTE_OFFSETS:
        return n_experts + 1;
    case FORM_ROUTE_SLOT_OF_ROW:
        return capacity > 0 && capacity <= n_slots / n_experts ? capacity * n_experts : n_slots;
    default:
        return n_slots;
    }
}

static const char *check_result(Arena *arena, const Form *form, FormRouteResult result) {
    uint32_t number = form->route.results[result];
    if (number == FORM_NONE)
        return NULL;
    const FormArg *arg = number < form->n_args ? &form->args[number] : NULL;
    int64_t n = n_elements_of(form, result);
    bool may_have_more = result == FORM_ROUTE_SLOT_OF_ROW;
    if (!arg || arg->access != FORM_OUT || arg->dtype != results[result].dtype || arg->n_elements < n ||
        (arg->n_elements > n && !may_have_more))
        return arena_printf(arena, "its %s are %s %s[%lld] out", results[result].word,
                            may_have_more ? "at least" : "an", dtype_name(results[result].dtype), (long long)n);
    for (int i = 0; i < (int)result; i++) {
        if (form->route.results[i] == number)
            return arena_printf(arena, "argument %s is to hold two results", arg->name);
    }
    return NULL;
}

static const char *check_choice(Arena *arena, const Form *form) {
    const FormBody *body = &form->body;
    const FormRoute *route = &form->route;
    int64_t n_experts = form_n_cols(body);
    if (route->given == FORM_NONE) {
        if (route->k < 1 || route->k > n_experts)
            return arena_printf(arena, "a row chooses %lld of %lld columns", (long long)route->k, (long long)n_experts);
        bool is_computed = !form_loads_scores(form);
        return is_computed && n_experts > FORM_MAX_COMPUTED_SCORES
                   ? arena_printf(arena, "of %lld columns scores are just loaded, dense, and nothing is written",
                                  (long long)n_experts)
                   : NULL;
    }
    bool chooses = route->results[FORM_ROUTE_VALUES] != FORM_NONE || route->results[FORM_ROUTE_EXPERTS] != FORM_NONE;
    if (body->n_instrs > 0 || route->k != 1 || chooses)
        return "where experts are given, nothing is chosen";
    const FormArg *given = route->given < form->n_args ? &form->args[route->given] : NULL;
    if (!given || given->dtype != DTYPE_I32 || given->access != FORM_IN || given->n_elements < form_n_rows(body))
        return arena_printf(arena, "the experts that are given are i32[%lld] in", (long long)form_n_rows(body));
    return NULL;
}

static const char *check_body(Arena *arena, const Form *form) {
    for (size_t i = 0; i < form->body.n_instrs; i++) {
        const FormInstr *instr = &form->body.instrs[i];
        if (instr->op == FORM_SUM_ROWS)
            return "a route has no sums over rows";
        for (int j = 0; j < FORM_ROUTE_RESULT_COUNT && form_instr_writes(instr); j++) {
            if (instr->map.arg == form->route.results[j])
                return arena_printf(arena, "its body writes its %s", results[j].word);
        }
    }
    return NULL;
}

const char *form_check_route(Arena *arena, const Form *form) {
    const FormRoute *route = &form->route;
    const char *error = check_choice(arena, form);
    if (error)
        return error;
    if (form_n_cols(&form->body) >= INT32_MAX || form_n_rows(&form->body) > INT32_MAX / route->k)
        return "slots and experts are less than 2^31";
    if (route->capacity < 0)
        return "a capacity is not negative";
    bool has_results = false;
    for (int i = 0; i < FORM_ROUTE_RESULT_COUNT && !error; i++) {
        has_results = has_results || route->results[i] != FORM_NONE;
        error = check_result(arena, form, (FormRouteResult)i);
    }
    if (error)
        return error;
    if (!has_results)
        return "it has no results";
    if (route->results[FORM_ROUTE_SLOT_OF_ROW] != FORM_NONE && route->results[FORM_ROUTE_ROW_OF_SLOT] == FORM_NONE)
        return "slot_of_row takes row_of_slot, which holds the experts meanwhile";
    return check_body(arena, form);
}
