/* What calls of built-in functions and of the model's own have in common: matching arguments, and what is said when
   they do not fit. */
#include <string.h>

#include "frontend/lower.h"

enum { MAX_LISTED = 64 };

Range lower_call_name(const Expr *call) {
    Range range = call->range;
    range.end_line = range.begin.line;
    range.end_column = range.begin.column + (uint32_t)strlen(call->text);
    return range;
}

bool lower_step(Lowering *lowering, Range range) {
    Diagnostics *diagnostics = lowering->program->diagnostics;
    if (diagnostics_errors(diagnostics) >= LOWER_MAX_ERRORS)
        return false;
    if (lowering->n_steps < LOWER_MAX_STEPS) {
        lowering->n_steps++;
        return true;
    }
    if (lowering->n_steps == LOWER_MAX_STEPS)
        diagnostics_error(diagnostics, range,
                          "the model is larger than %d statements and expressions here, functions and loops written "
                          "out; does a loop end too late?",
                          LOWER_MAX_STEPS);
    lowering->n_steps = LOWER_MAX_STEPS + 1;
    return false;
}

/* ---- Notes --------------------------------------------------------------------------------------------------------
 */

void lower_note_variable(Lowering *lowering, const Expr *expr) {
    if (expr->kind != EXPR_NAME)
        return;
    const Variable *variable = lower_find_variable(lowering, expr->text);
    if (variable != NULL && variable->operand.kind == OPERAND_TENSOR)
        diagnostics_note(lowering->program->diagnostics, variable->range, "'%s' is %s from here on", expr->text,
                         type_format(lowering->program->arena, &variable->operand.value->type));
}

void lower_note_sizes(Lowering *lowering, Range range, const Dim *a, const Dim *b) {
    if (!dim_equal(a, b) || size_dims_match(a, b))
        return;
    diagnostics_note(lowering->program->diagnostics, range,
                     "%s and %s are different sizes that have one value by chance: name one dim, or define one size "
                     "by the other",
                     dim_format(lowering->program->arena, a), dim_format(lowering->program->arena, b));
}

/* ---- Matching -----------------------------------------------------------------------------------------------------
 */

static void report_unknown_keyword(Lowering *lowering, const Expr *call, size_t argument, const Formal *formals,
                                   size_t n) {
    const char *names[MAX_LISTED] = {0};
    size_t n_names = 0;
    const char *list = "";
    for (size_t i = 0; i < n && n_names < MAX_LISTED; i++) {
        if (formals[i].is_rest)
            continue;
        list = arena_printf(lowering->program->arena, "%s%s%s", list, n_names > 0 ? ", " : "", formals[i].name);
        names[n_names++] = formals[i].name;
    }
    const char *keyword = call->keywords[argument];
    const char *hint = spelling_hint(lowering->program->arena, keyword, names, n_names);
    if (hint[0] == '\0' && n_names > 0)
        hint = arena_printf(lowering->program->arena, "; it has: %s", list);
    diagnostics_error(lowering->program->diagnostics, call->items[argument]->range, "'%s' has no argument '%s'%s",
                      call->text, keyword, hint);
}

/* The formal of argument `i`, the `position`th without a keyword; n after an error. */
static size_t find_formal(Lowering *lowering, const Expr *call, size_t i, size_t position, const Formal *formals,
                          size_t n) {
    const char *keyword = call->keywords[i];
    for (size_t k = 0, n_passed = 0; k < n; k++) {
        if (keyword != NULL ? !formals[k].is_rest && strcmp(keyword, formals[k].name) == 0
                            : !formals[k].is_named && (formals[k].is_rest || n_passed++ == position))
            return k;
    }
    if (keyword != NULL) {
        report_unknown_keyword(lowering, call, i, formals, n);
        return n;
    }
    size_t n_positional = 0;
    while (n_positional < n && !formals[n_positional].is_named)
        n_positional++;
    const char *hint = n_positional < n
                           ? arena_printf(lowering->program->arena,
                                          "; the others have names, such as %s =", formals[n_positional].name)
                           : "";
    diagnostics_error(lowering->program->diagnostics, call->items[i]->range, "'%s' takes %zu argument%s%s%s",
                      call->text, n_positional, n_positional == 1 ? "" : "s", n_positional < n ? " without a name" : "",
                      hint);
    return n;
}

bool lower_bind(Lowering *lowering, const Expr *call, const Formal *formals, size_t n, const Expr **bound) {
    Diagnostics *diagnostics = lowering->program->diagnostics;
    size_t n_positions = 0;
    bool is_good = true;
    memset(bound, 0, sizeof *bound * n);
    for (size_t i = 0; i < call->n_items && is_good; i++) {
        size_t k = find_formal(lowering, call, i, n_positions, formals, n);
        n_positions += call->keywords[i] == NULL;
        if (k == n) {
            is_good = false;
        } else if (bound[k] != NULL && !formals[k].is_rest) {
            diagnostics_error(diagnostics, call->items[i]->range, "'%s' is given twice", formals[k].name);
            is_good = false;
        } else if (bound[k] == NULL) {
            bound[k] = call->items[i];
        }
    }
    for (size_t k = 0; k < n && is_good; k++) {
        if (bound[k] != NULL || formals[k].is_optional)
            continue;
        diagnostics_error(diagnostics, lower_call_name(call), "'%s' needs the argument %s%s", call->text,
                          formals[k].name, formals[k].is_named ? " =" : "");
        is_good = false;
    }
    return is_good;
}

bool lower_float_tensor(Lowering *lowering, const Expr *expr, const char *what, Value **out) {
    if (!lower_tensor(lowering, expr, out))
        return false;
    if (dtype_is_float((*out)->type.dtype))
        return true;
    diagnostics_error(lowering->program->diagnostics, expr->range, "%s must be a tensor of floats, and is %s", what,
                      type_format(lowering->program->arena, &(*out)->type));
    lower_note_variable(lowering, expr);
    return false;
}
