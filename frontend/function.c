/* Functions written out at each call, and the statements they are made of. */
#include <string.h>

#include "frontend/lower.h"

/* ---- Statements ---------------------------------------------------------------------------------------------------
 */

static bool shapes_match(const Type *a, const Type *b) {
    if (a->dtype != b->dtype || a->rank != b->rank)
        return false;
    for (int i = 0; i < a->rank; i++) {
        if (!size_dims_match(&a->dims[i], &b->dims[i]))
            return false;
    }
    return true;
}

/* Whether a variable that lives across iterations may go from `old` to `new`. */
static bool may_follow(const Operand *old, const Operand *new) {
    if (old->kind == OPERAND_POISON || new->kind == OPERAND_POISON)
        return true;
    return old->kind == new->kind &&
           (old->kind == OPERAND_SCALAR || shapes_match(&old->value->type, &new->value->type));
}

static void lower_assign(Lowering *lowering, const Statement *statement) {
    const Word *name = &statement->name;
    Operand operand = lower_expression(lowering, statement->value);
    if (operand.kind == OPERAND_TENSOR && operand.value->hint == NULL)
        operand.value->hint = name->text;
    const Variable *found = lower_find_variable(lowering, name->text);
    if (found == NULL) {
        lower_define(lowering, name->text, name->range, operand);
        return;
    }
    Variable *variable = &lowering->variables[found - lowering->variables];
    if ((size_t)(found - lowering->variables) < lowering->end_carried && !may_follow(&variable->operand, &operand)) {
        diagnostics_error(lowering->program->diagnostics, name->range,
                          "'%s' lives across the iterations of the loop and cannot change from %s to %s", name->text,
                          lower_operand_text(lowering, &variable->operand), lower_operand_text(lowering, &operand));
        diagnostics_note(lowering->program->diagnostics, variable->range, "it was set here before");
        operand = operand_poison();
    }
    variable->operand = operand;
    variable->range = name->range;
}

static void lower_loop(Lowering *lowering, const Statement *loop);

static void lower_statements(Lowering *lowering, Statement *const *body, size_t n, bool is_loop) {
    for (size_t i = 0; i < n; i++) {
        const Statement *statement = body[i];
        if (!lower_step(lowering, statement->range))
            return;
        switch (statement->kind) {
        case STATEMENT_WEIGHT:
            lower_weight(lowering, statement);
            break;
        case STATEMENT_ASSIGN:
            lower_assign(lowering, statement);
            break;
        case STATEMENT_FOR:
            lower_loop(lowering, statement);
            break;
        case STATEMENT_RETURN:
            diagnostics_error(lowering->program->diagnostics, statement->range,
                              is_loop ? "a loop cannot return; return after it"
                                      : "return must be the last statement of a function");
            break;
        }
    }
}

/* One iteration; false where there should not be another. Variables that it makes are gone after it. */
static bool lower_iteration(Lowering *lowering, const Statement *loop, int64_t i) {
    size_t n_variables = lowering->n_variables;
    const char *path = lowering->path;
    int errors = diagnostics_errors(lowering->program->diagnostics);
    if (!lower_step(lowering, loop->name.range))
        return false;
    Scalar scalar = {.is_integer = true, .size = size_number(i), .number = (double)i};
    lower_define(lowering, loop->name.text, loop->name.range, (Operand){.kind = OPERAND_SCALAR, .scalar = scalar});
    if (loop->path != NULL)
        lowering->path = lower_path(lowering, loop->path, loop->path_range);
    if (lowering->path != NULL)
        lower_statements(lowering, loop->body, loop->n_body, true);
    lowering->path = path;
    lowering->n_variables = n_variables;
    return diagnostics_errors(lowering->program->diagnostics) == errors;
}

static void lower_loop(Lowering *lowering, const Statement *loop) {
    Diagnostics *diagnostics = lowering->program->diagnostics;
    Size start, end;
    bool is_good = lower_integer(lowering, loop->value, "the start of a loop", 0, &start);
    is_good = lower_integer(lowering, loop->end, "the end of a loop", 0, &end) && is_good;
    if (!is_good)
        return;
    if (start.value > end.value) {
        diagnostics_error(diagnostics, range_join(loop->value->range, loop->end->range),
                          "a loop goes up, and this one is from %lld to %lld", (long long)start.value,
                          (long long)end.value);
        return;
    }
    if (lowering->depth >= LOWER_MAX_DEPTH) {
        diagnostics_error(diagnostics, loop->name.range, "calls and loops are nested more than %d deep here",
                          LOWER_MAX_DEPTH);
        lowering->n_steps = LOWER_MAX_STEPS + 1; /* that one says it all */
        return;
    }
    size_t end_carried = lowering->end_carried;
    lowering->end_carried = lowering->n_variables;
    lowering->depth++;
    int64_t i = start.value;
    while (i < end.value && lower_iteration(lowering, loop, i))
        i++;
    lowering->depth--;
    lowering->end_carried = end_carried;
}

/* ---- Calls --------------------------------------------------------------------------------------------------------
 */

/* The scope of the next call, which another graph of the module may have made before. */
static uint32_t enter_scope(Lowering *lowering, Symbol *symbol, const char *path, Loc loc) {
    Module *module = lowering->module;
    uint32_t index = lowering->n_scopes++;
    Scope scope = {.parent = lowering->builder.scope,
                   .function = symbol->name.text,
                   .path = path,
                   .ordinal = symbol->n_calls++,
                   .loc = loc};
    if (index < module->n_scopes) {
        const Scope *known = &module->scopes[index];
        if (known->parent == scope.parent && known->ordinal == scope.ordinal &&
            strcmp(known->function, scope.function) == 0 && strcmp(known->path, path) == 0)
            return index;
    }
    return module_add_scope(module, scope);
}

static Operand lower_body(Lowering *lowering, const Function *function) {
    const Statement *last = function->n_body > 0 ? function->body[function->n_body - 1] : NULL;
    bool returns = last != NULL && last->kind == STATEMENT_RETURN;
    lower_statements(lowering, function->body, function->n_body - returns, false);
    if (returns)
        return lower_step(lowering, last->range) ? lower_expression(lowering, last->value) : operand_poison();
    for (size_t i = 0; i < function->n_body; i++) {
        if (function->body[i]->kind == STATEMENT_RETURN)
            return operand_poison(); /* one that is not the last, which was said */
    }
    diagnostics_error(lowering->program->diagnostics, function->name.range,
                      "'%s' has no value: its last statement must be return", function->name.text);
    return operand_poison();
}

Operand lower_function(Lowering *lowering, Symbol *symbol, const Operand *arguments, const char *path, Loc loc) {
    const Function *function = symbol->function;
    size_t n_variables = lowering->n_variables, first_variable = lowering->first_variable;
    size_t end_carried = lowering->end_carried;
    uint32_t scope = lowering->builder.scope;
    const char *outer_path = lowering->path;
    symbol->is_active = true;
    lowering->builder.scope = enter_scope(lowering, symbol, path, loc);
    lowering->first_variable = n_variables;
    lowering->end_carried = 0;
    lowering->path = path;
    for (size_t i = 0; i < function->n_parameters; i++) {
        const Word *name = &function->parameters[i].name;
        if (arguments[i].kind == OPERAND_TENSOR && arguments[i].value->hint == NULL)
            arguments[i].value->hint = name->text;
        lower_define(lowering, name->text, name->range, arguments[i]);
    }
    Operand result = lower_body(lowering, function);
    symbol->is_active = false;
    lowering->builder.scope = scope;
    lowering->n_variables = n_variables;
    lowering->first_variable = first_variable;
    lowering->end_carried = end_carried;
    lowering->path = outer_path;
    return result;
}

/* ---- Arguments ----------------------------------------------------------------------------------------------------
 */

/* The type that a parameter declares; false after an error. Nothing but sizes and constants is visible in it. */
static bool parameter_type(Lowering *lowering, const Parameter *parameter, Type *type, bool *has_ellipsis) {
    size_t first_variable = lowering->first_variable;
    *type = (Type){.dtype = DTYPE_F32};
    if (parameter->dtype.text != NULL && !dtype_parse(parameter->dtype.text, &type->dtype)) {
        diagnostics_error(lowering->program->diagnostics, parameter->dtype.range,
                          "'%s' is no type of elements; it can be i32 for token ids, or left out for floats",
                          parameter->dtype.text);
        return false;
    }
    lowering->first_variable = lowering->n_variables;
    bool is_good = lower_shape(lowering, parameter->shape, true, type->dims, &type->rank, has_ellipsis);
    lowering->first_variable = first_variable;
    return is_good;
}

static bool argument_fits(const Operand *argument, const Type *type, bool has_ellipsis) {
    if (argument->kind == OPERAND_SCALAR)
        return type->rank == 0 && dtype_is_float(type->dtype);
    const Type *found = &argument->value->type;
    int n_leading = found->rank - type->rank;
    if (found->dtype != type->dtype || (has_ellipsis ? n_leading < 0 : n_leading != 0))
        return false;
    for (int i = 0; i < type->rank; i++) {
        if (!size_dims_match(&found->dims[n_leading + i], &type->dims[i]))
            return false;
    }
    return true;
}

/* "[.., d=64]", "i32[B=2, T=16]". */
static const char *parameter_text(Arena *arena, const Type *type, bool has_ellipsis) {
    const char *text = arena_printf(arena, "%s[%s", type->dtype == DTYPE_F32 ? "" : dtype_name(type->dtype),
                                    !has_ellipsis    ? ""
                                    : type->rank > 0 ? ".., "
                                                     : "..");
    for (int i = 0; i < type->rank; i++)
        text = arena_printf(arena, "%s%s%s", text, i > 0 ? ", " : "", dim_format(arena, &type->dims[i]));
    return arena_printf(arena, "%s]", text);
}

static bool check_argument(Lowering *lowering, const Expr *call, const Parameter *parameter, const Expr *expr,
                           const Operand *argument) {
    Diagnostics *diagnostics = lowering->program->diagnostics;
    Type type;
    bool has_ellipsis;
    if (!parameter_type(lowering, parameter, &type, &has_ellipsis))
        return false;
    if (argument->kind == OPERAND_POISON || argument_fits(argument, &type, has_ellipsis))
        return true;
    diagnostics_error(diagnostics, expr->range, "'%s' takes %s: %s, and this is %s", call->text, parameter->name.text,
                      parameter_text(lowering->program->arena, &type, has_ellipsis),
                      lower_operand_text(lowering, argument));
    lower_note_variable(lowering, expr);
    diagnostics_note(diagnostics, parameter->name.range, "the parameter is declared here");
    const Type *found = argument->kind == OPERAND_TENSOR ? &argument->value->type : &type;
    for (int i = 1; i <= type.rank && i <= found->rank; i++)
        lower_note_sizes(lowering, expr->range, &found->dims[found->rank - i], &type.dims[type.rank - i]);
    return false;
}

/* The arguments of a call, evaluated where it stands; those that do not fit are poison. False after an error that
   leaves nothing to call. */
static bool lower_arguments(Lowering *lowering, const Expr *call, const Function *function, Operand *arguments) {
    Arena *arena = lowering->program->arena;
    size_t n = function->n_parameters;
    Formal *formals = arena_array_of(arena, Formal, n);
    const Expr **bound = arena_array_of(arena, const Expr *, n);
    for (size_t i = 0; i < n; i++)
        formals[i].name = function->parameters[i].name.text;
    if (!lower_bind(lowering, call, formals, n, bound)) {
        diagnostics_note(lowering->program->diagnostics, function->name.range, "'%s' is defined here",
                         function->name.text);
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        arguments[i] = lower_expression(lowering, bound[i]);
        if (!check_argument(lowering, call, &function->parameters[i], bound[i], &arguments[i]))
            arguments[i] = operand_poison();
    }
    return true;
}

Operand lower_call(Lowering *lowering, const Expr *call, Symbol *symbol) {
    Diagnostics *diagnostics = lowering->program->diagnostics;
    const Function *function = symbol->function;
    if (lowering->builder.graph == NULL) {
        diagnostics_error(diagnostics, lower_call_name(call), "sizes and constants cannot call functions of the model");
        return operand_poison();
    }
    if (symbol->is_active) {
        diagnostics_error(diagnostics, lower_call_name(call),
                          "'%s' calls itself here; functions are written out at each call, which would never end",
                          call->text);
        diagnostics_note(diagnostics, symbol->name.range, "'%s' is defined here", call->text);
        return operand_poison();
    }
    Operand *arguments = arena_array_of(lowering->program->arena, Operand, function->n_parameters);
    const char *path = call->path == NULL ? lowering->path : lower_path(lowering, call->path, call->path_range);
    if (!lower_arguments(lowering, call, function, arguments) || path == NULL)
        return operand_poison();
    return lower_function(lowering, symbol, arguments, path, call->range.begin);
}
