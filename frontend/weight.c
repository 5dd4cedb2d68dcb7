/* `weight` statements: a tensor of the checkpoint becomes a state of the module. */
#include <math.h>
#include <string.h>

#include "frontend/expression.h"
#include "frontend/lower.h"

static const double default_std = 0.02;

/* What a weight is before training where there is no checkpoint. */
typedef struct {
    const char *kind; /* "normal", "zeros", "ones" */
    double std;       /* of "normal" */
} Init;

/* ---- Initial values -----------------------------------------------------------------------------------------------
 */

static bool lower_std(Lowering *lowering, const Expr *call, double *std) {
    static const Formal formals[] = {{.name = "std", .is_named = true, .is_optional = true}};
    const Expr *bound[1];
    Scalar scalar;
    if (!lower_bind(lowering, call, formals, 1, bound))
        return false;
    if (bound[0] == NULL)
        return true;
    if (!lower_scalar(lowering, bound[0], &scalar))
        return false;
    *std = scalar.number;
    if (*std >= 0 && isfinite(*std))
        return true;
    diagnostics_error(lowering->program->diagnostics, bound[0]->range, "a standard deviation cannot be below 0");
    return false;
}

static bool lower_init(Lowering *lowering, const Expr *expr, Init *init) {
    static const char *const kinds[] = {"normal", "zeros", "ones"};
    *init = (Init){.kind = "normal", .std = default_std};
    if (expr == NULL)
        return true;
    bool is_call = expr->kind == EXPR_CALL && expr->path == NULL;
    for (int i = 0; i < 3 && (is_call || expr->kind == EXPR_NAME); i++) {
        if (strcmp(expr->text, kinds[i]) != 0 || (is_call && i > 0))
            continue;
        init->kind = kinds[i];
        return !is_call || lower_std(lowering, expr, &init->std);
    }
    if (expr->kind != EXPR_ERROR)
        diagnostics_error(
            lowering->program->diagnostics, expr->range, "an initial value is normal(std = 0.02), zeros or ones%s",
            is_call || expr->kind == EXPR_NAME ? spelling_hint(lowering->program->arena, expr->text, kinds, 3) : "");
    return false;
}

/* ---- States -------------------------------------------------------------------------------------------------------
 */

static bool weight_type(Lowering *lowering, const Statement *statement, Type *type) {
    bool has_ellipsis;
    *type = (Type){.dtype = DTYPE_F32};
    if (!lower_shape(lowering, statement->shape, false, type->dims, &type->rank, &has_ellipsis))
        return false;
    const char *problem = type_check(lowering->program->arena, type);
    if (problem != NULL)
        diagnostics_error(lowering->program->diagnostics, statement->shape->range, "the weight is %s: %s",
                          type_format(lowering->program->arena, type), problem);
    return problem == NULL;
}

/* The weight's name in the checkpoint; NULL after an error. The names of gradients and moments are made from it. */
static const char *weight_name(Lowering *lowering, const Statement *statement) {
    static const char *const reserved[] = {"grad:", "moment1:", "moment2:"};
    const char *name = lower_path(lowering, statement->path, statement->path_range);
    if (name == NULL)
        return NULL;
    if (name[0] == '\0') {
        diagnostics_error(lowering->program->diagnostics, statement->path_range, "a weight needs a name");
        return NULL;
    }
    for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++) {
        if (strncmp(name, reserved[i], strlen(reserved[i])) == 0) {
            diagnostics_error(lowering->program->diagnostics, statement->path_range,
                              "the name of a weight cannot start with \"%s\"", reserved[i]);
            return NULL;
        }
    }
    return name;
}

static State *add_state(Lowering *lowering, const char *name, const Type *type, const Init *init, Loc loc) {
    Module *module = lowering->module;
    State *state = module_add_state(module, name, "weight", type, loc);
    attrs_set_string(module->arena, &state->attrs, "source", state->name);
    attrs_set_string(module->arena, &state->attrs, "init", init->kind);
    if (strcmp(init->kind, "normal") == 0)
        attrs_set_float(module->arena, &state->attrs, "std", init->std);
    attrs_set_string(module->arena, &state->attrs, "export", state->name);
    names_add(&lowering->weights, state->name, module->n_states - 1);
    return state;
}

/* The keyword of the statement that made a state. */
static Range state_range(const State *state) {
    return (Range){
        .begin = state->loc, .end_line = state->loc.line, .end_column = state->loc.column + (uint32_t)strlen("weight")};
}

static bool types_match(const Type *a, const Type *b) {
    bool match = type_equal(a, b);
    for (int i = 0; i < a->rank && match; i++)
        match = size_dims_match(&a->dims[i], &b->dims[i]);
    return match;
}

static const char *init_text(Arena *arena, const Init *init) {
    bool has_std = strcmp(init->kind, "normal") == 0;
    return has_std ? arena_printf(arena, "normal(std = %s)", expression_number_text(arena, init->std)) : init->kind;
}

/* Whether a weight of a name that is known is the same there; false after an error. */
static bool check_same(Lowering *lowering, const Statement *statement, const State *state, const Type *type,
                       const Init *init) {
    Arena *arena = lowering->program->arena;
    Diagnostics *diagnostics = lowering->program->diagnostics;
    if (!types_match(&state->type, type)) {
        diagnostics_error(diagnostics, statement->shape->range, "weight \"%s\" is %s here and %s elsewhere",
                          state->name, type_format(arena, type), type_format(arena, &state->type));
        bool is_one_statement = state->loc.file == statement->range.begin.file &&
                                state->loc.line == statement->range.begin.line &&
                                state->loc.column == statement->range.begin.column;
        diagnostics_note(diagnostics, state_range(state),
                         is_one_statement ? "it is made here in each graph and call: its shape cannot depend on sizes "
                                            "that differ, as main's two sizes do"
                                          : "it is one weight with the one here");
        return false;
    }
    const Init elsewhere = {attrs_string(&state->attrs, "init", ""), attrs_float(&state->attrs, "std", init->std)};
    if (strcmp(elsewhere.kind, init->kind) == 0 && elsewhere.std == init->std)
        return true;
    diagnostics_error(diagnostics, statement->name.range, "weight \"%s\" starts as %s here and as %s elsewhere",
                      state->name, init_text(arena, init), init_text(arena, &elsewhere));
    diagnostics_note(diagnostics, state_range(state), "it is one weight with the one here");
    return false;
}

/* NULL after an error. */
static const State *find_or_add(Lowering *lowering, const Statement *statement) {
    Type type;
    Init init;
    size_t index;
    bool is_good = weight_type(lowering, statement, &type);
    is_good = lower_init(lowering, statement->value, &init) && is_good;
    const char *name = weight_name(lowering, statement);
    if (!is_good || name == NULL)
        return NULL;
    if (!names_find(&lowering->weights, name, &index))
        return add_state(lowering, name, &type, &init, statement->range.begin);
    const State *state = lowering->module->states[index];
    return check_same(lowering, statement, state, &type, &init) ? state : NULL;
}

void lower_weight(Lowering *lowering, const Statement *statement) {
    const Word *name = &statement->name;
    const Variable *known = lower_find_variable(lowering, name->text);
    if (known != NULL) {
        diagnostics_error(lowering->program->diagnostics, name->range, "'%s' has a value already", name->text);
        diagnostics_note(lowering->program->diagnostics, known->range, "it was set here");
        return;
    }
    const State *state = find_or_add(lowering, statement);
    Operand operand = operand_poison();
    if (state != NULL) {
        lowering->builder.loc = statement->range.begin;
        operand = operand_tensor(build_state(&lowering->builder, state));
        operand.value->hint = name->text;
    }
    lower_define(lowering, name->text, range_join(name->range, statement->shape->range), operand);
}
