#include "frontend/expression.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/lower.h"

Operand operand_poison(void) {
    return (Operand){.kind = OPERAND_POISON};
}

Operand operand_number(double number) {
    return (Operand){.kind = OPERAND_SCALAR, .scalar = {.number = number}};
}

static Operand operand_size(Size size) {
    return (Operand){.kind = OPERAND_SCALAR,
                     .scalar = {.is_integer = true, .size = size, .number = (double)size.value}};
}

Operand operand_tensor(Value *value) {
    return value == NULL ? operand_poison() : (Operand){.kind = OPERAND_TENSOR, .value = value};
}

const char *expression_number_text(Arena *arena, double number) {
    for (int digits = 1; digits < 17; digits++) {
        char *text = arena_printf(arena, "%.*g", digits, number);
        if (strtod(text, NULL) == number)
            return text;
    }
    return arena_printf(arena, "%.17g", number);
}

const char *lower_operand_text(Lowering *lowering, const Operand *operand) {
    Arena *arena = lowering->program->arena;
    if (operand->kind == OPERAND_TENSOR)
        return type_format(arena, &operand->value->type);
    if (operand->scalar.is_integer)
        return arena_printf(arena, "the number %lld", (long long)operand->scalar.size.value);
    return arena_printf(arena, "the number %s", expression_number_text(arena, operand->scalar.number));
}

/* ---- Nodes --------------------------------------------------------------------------------------------------------
 */

static Node *built(Lowering *lowering, Range range, Node *node, const char *error) {
    if (node == NULL)
        diagnostics_error(lowering->program->diagnostics, range, "%s", error);
    return node;
}

Node *lower_node(Lowering *lowering, Range range, OpKind op, int n, Value *const *operands, const Attrs *attrs) {
    const char *error = NULL;
    lowering->builder.loc = range.begin;
    Node *node = build_try(&lowering->builder, op, n, operands, attrs, &error);
    return built(lowering, range, node, error);
}

Value *lower_value(Lowering *lowering, Range range, OpKind op, int n, Value *const *operands, const Attrs *attrs) {
    Node *node = lower_node(lowering, range, op, n, operands, attrs);
    return node == NULL ? NULL : &node->results[0];
}

Value *lower_typed(Lowering *lowering, Range range, OpKind op, int n, Value *const *operands, const Attrs *attrs,
                   const Type *type) {
    const char *error = NULL;
    lowering->builder.loc = range.begin;
    Node *node = build_typed(&lowering->builder, op, n, operands, attrs, type, &error);
    built(lowering, range, node, error);
    return node == NULL ? NULL : &node->results[0];
}

/* ---- Names --------------------------------------------------------------------------------------------------------
 */

const Variable *lower_find_variable(const Lowering *lowering, const char *name) {
    for (size_t i = lowering->n_variables; i-- > lowering->first_variable;) {
        if (strcmp(lowering->variables[i].name, name) == 0)
            return &lowering->variables[i];
    }
    return NULL;
}

void lower_define(Lowering *lowering, const char *name, Range range, Operand operand) {
    Variable variable = {.name = name, .operand = operand, .range = range};
    if (lowering->n_variables - lowering->first_variable == LOWER_MAX_VARIABLES) {
        diagnostics_error(lowering->program->diagnostics, range, "a function can have %d variables",
                          LOWER_MAX_VARIABLES);
        lowering->n_steps = LOWER_MAX_STEPS + 1; /* that one says it all */
        return;
    }
    arena_push(lowering->program->arena, lowering->variables, lowering->n_variables, lowering->variables_capacity,
               variable);
}

/* Everything that a name in an expression can mean. */
static const char **known_values(Lowering *lowering, size_t *n) {
    Program *program = lowering->program;
    size_t n_locals = lowering->n_variables - lowering->first_variable;
    const char **names = arena_array_of(program->arena, const char *, n_locals + program->n_symbols + 1);
    *n = 0;
    for (size_t i = lowering->first_variable; i < lowering->n_variables; i++)
        names[(*n)++] = lowering->variables[i].name;
    for (size_t i = 0; i < program->n_symbols; i++) {
        if (program->symbols[i]->kind != SYMBOL_FUNCTION)
            names[(*n)++] = program->symbols[i]->name.text;
    }
    return names;
}

static Operand lower_name(Lowering *lowering, const Expr *expr) {
    Program *program = lowering->program;
    const Variable *variable = lower_find_variable(lowering, expr->text);
    if (variable != NULL)
        return variable->operand;
    Symbol *symbol = program_find(program, expr->text);
    if (symbol != NULL && symbol->kind != SYMBOL_FUNCTION) {
        Operand operand = {.kind = OPERAND_SCALAR};
        int depth = program->depth;
        program->depth = lowering->depth;
        bool is_good = program_value(program, symbol, &operand.scalar);
        program->depth = depth;
        return is_good ? operand : operand_poison();
    }
    if (symbol != NULL || builtin_find(expr->text) != NULL) {
        diagnostics_error(program->diagnostics, expr->range, "'%s' is a function; a value is expected here",
                          expr->text);
    } else {
        size_t n;
        const char **names = known_values(lowering, &n);
        diagnostics_error(program->diagnostics, expr->range, "'%s' is not defined%s", expr->text,
                          spelling_hint(program->arena, expr->text, names, n));
    }
    return operand_poison();
}

/* The value of the loop variable that the path at `open`, "{l}", names; false after an error. */
static bool path_variable(Lowering *lowering, const char *open, const char *close, Range range, int64_t *value) {
    const char *name = arena_strndup(lowering->program->arena, open + 1, (size_t)(close - open - 1));
    const Variable *variable = lower_find_variable(lowering, name);
    bool is_good = variable != NULL && variable->operand.kind == OPERAND_SCALAR && variable->operand.scalar.is_integer;
    if (is_good)
        *value = variable->operand.scalar.size.value;
    else if (variable == NULL || variable->operand.kind != OPERAND_POISON)
        diagnostics_error(lowering->program->diagnostics, range, "'{%s}' in a path must name the variable of a loop",
                          name);
    return is_good;
}

const char *lower_path(Lowering *lowering, const char *text, Range range) {
    char out[LOWER_MAX_NAME + 1];
    const char *separator = lowering->path[0] != '\0' && text[0] != '\0' ? "." : "";
    int n = snprintf(out, sizeof out, "%s%s", lowering->path, separator);
    for (const char *at = text; at != NULL && n < (int)sizeof out;) {
        const char *open = strchr(at, '{'), *close = open != NULL ? strchr(open, '}') : NULL;
        char *end = out + n;
        size_t room = sizeof out - (size_t)n;
        int64_t value;
        if (close == NULL)
            n += snprintf(end, room, "%s", at);
        else if (path_variable(lowering, open, close, range, &value))
            n += snprintf(end, room, "%.*s%lld", (int)(open - at), at, (long long)value);
        else
            return NULL;
        at = close != NULL ? close + 1 : NULL;
    }
    if (n < (int)sizeof out)
        return arena_strdup(lowering->program->arena, out);
    diagnostics_error(lowering->program->diagnostics, range, "the name of a tensor has at most %d characters here",
                      LOWER_MAX_NAME);
    return NULL;
}

/* ---- Operators ----------------------------------------------------------------------------------------------------
 */

static Operand binary_numbers(Lowering *lowering, char sign, const Expr *expr, const Scalar *a, const Scalar *b) {
    if (a->is_integer && b->is_integer) {
        Size size;
        const char *reason;
        if (size_binary(&lowering->program->atoms, sign, &a->size, &b->size, &size, &reason))
            return operand_size(size);
        diagnostics_error(lowering->program->diagnostics, expr->range, "%lld %c %lld: %s%s", (long long)a->size.value,
                          sign, (long long)b->size.value, reason,
                          sign == '/' && b->size.value != 0 ? "; write a number with a point for a fraction" : "");
        return operand_poison();
    }
    double x = a->number, y = b->number;
    double result = sign == '+' ? x + y : sign == '-' ? x - y : sign == '*' ? x * y : x / y;
    if (isfinite(result))
        return operand_number(result);
    Arena *arena = lowering->program->arena;
    diagnostics_error(lowering->program->diagnostics, expr->range, "%s %c %s is not a finite number",
                      expression_number_text(arena, x), sign, expression_number_text(arena, y));
    return operand_poison();
}

/* map[i]: the dim of `large` that dim i of `small` is, found from the right. */
static bool align_dims(const Type *small, const Type *large, int64_t *map) {
    int j = large->rank;
    for (int i = small->rank - 1; i >= 0; i--) {
        do {
            j--;
        } while (j >= 0 && !size_dims_match(&small->dims[i], &large->dims[j]));
        if (j < 0)
            return false;
        map[i] = j;
    }
    return true;
}

/* Where one of two dims has a name, both get it. */
static Type named_type(const Type *large, const Type *small, const int64_t *map) {
    Type type = *large;
    for (int i = 0; i < small->rank; i++) {
        if (type.dims[map[i]].name == NULL)
            type.dims[map[i]].name = small->dims[i].name;
    }
    return type;
}

static OpKind binary_op(char sign) {
    return sign == '+' ? OP_add : sign == '-' ? OP_sub : sign == '*' ? OP_mul : OP_div;
}

static void note_misfit(Lowering *lowering, const Expr *expr, const Type *small, const Type *large) {
    for (size_t i = 0; i < expr->n_items; i++)
        lower_note_variable(lowering, expr->items[i]);
    for (int i = 1; i <= small->rank; i++)
        lower_note_sizes(lowering, expr->range, &small->dims[small->rank - i], &large->dims[large->rank - i]);
}

static Operand binary_tensors(Lowering *lowering, char sign, const Expr *expr, Value *a, Value *b) {
    bool swaps = b->type.rank > a->type.rank;
    Value *large = swaps ? b : a, *small = swaps ? a : b;
    int64_t map[MAX_RANK];
    if (!align_dims(&small->type, &large->type, map)) {
        Arena *arena = lowering->program->arena;
        diagnostics_error(lowering->program->diagnostics, expr->range,
                          "the dims of %s and %s do not fit: '%c' needs those of one to occur in the other in order",
                          type_format(arena, &a->type), type_format(arena, &b->type), sign);
        note_misfit(lowering, expr, &small->type, &large->type);
        return operand_poison();
    }
    Type type = named_type(&large->type, &small->type, map);
    if (small->type.rank < large->type.rank) {
        Type wide = type;
        wide.dtype = small->type.dtype;
        lowering->builder.loc = expr->range.begin;
        small = build_broadcast(&lowering->builder, small, &wide, map);
    }
    Value *operands[] = {swaps ? small : large, swaps ? large : small};
    return operand_tensor(lower_value(lowering, expr->range, binary_op(sign), 2, operands, NULL));
}

/* A number in arithmetic with tensors becomes an f32. */
static bool check_range(Lowering *lowering, const Expr *expr, const Operand *operand) {
    if (operand->kind != OPERAND_SCALAR || fabs(operand->scalar.number) <= FLT_MAX)
        return true;
    diagnostics_error(lowering->program->diagnostics, expr->range, "%s is beyond the range of f32, %g",
                      expression_number_text(lowering->program->arena, operand->scalar.number), (double)FLT_MAX);
    return false;
}

static Value *as_tensor(Lowering *lowering, const Operand *operand, const Type *type, Range range) {
    if (operand->kind == OPERAND_TENSOR)
        return operand->value;
    lowering->builder.loc = range.begin;
    return build_constant(&lowering->builder, operand->scalar.number, type);
}

static bool check_floats(Lowering *lowering, char sign, const Expr *expr, const Operand *operand) {
    if (operand->kind != OPERAND_TENSOR || dtype_is_float(operand->value->type.dtype))
        return true;
    diagnostics_error(lowering->program->diagnostics, expr->range,
                      "'%c' needs float tensors, and this is %s; token ids can only index", sign,
                      type_format(lowering->program->arena, &operand->value->type));
    return false;
}

/* `sign` (+ - * /) between operands that were evaluated from a and b. */
static Operand lower_binary(Lowering *lowering, char sign, const Expr *expr, Operand a, Operand b) {
    if (a.kind == OPERAND_POISON || b.kind == OPERAND_POISON)
        return operand_poison();
    if (a.kind == OPERAND_SCALAR && b.kind == OPERAND_SCALAR)
        return binary_numbers(lowering, sign, expr, &a.scalar, &b.scalar);
    if (!check_floats(lowering, sign, expr, &a) || !check_floats(lowering, sign, expr, &b))
        return operand_poison();
    if (!check_range(lowering, expr->items[0], &a) || !check_range(lowering, expr->items[1], &b))
        return operand_poison();
    if (sign == '/' && b.kind == OPERAND_SCALAR && b.scalar.number == 0) {
        diagnostics_error(lowering->program->diagnostics, expr->range, "%s / 0: division by zero",
                          lower_operand_text(lowering, &a));
        return operand_poison();
    }
    const Type *type = a.kind == OPERAND_TENSOR ? &a.value->type : &b.value->type;
    return binary_tensors(lowering, sign, expr, as_tensor(lowering, &a, type, expr->range),
                          as_tensor(lowering, &b, type, expr->range));
}

static Operand lower_negate(Lowering *lowering, const Expr *expr) {
    Operand operand = lower_expression(lowering, expr->items[0]);
    if (operand.kind == OPERAND_SCALAR) {
        Scalar zero = {.is_integer = operand.scalar.is_integer};
        return binary_numbers(lowering, '-', expr, &zero, &operand.scalar);
    }
    if (operand.kind == OPERAND_POISON || !check_floats(lowering, '-', expr, &operand))
        return operand_poison();
    return operand_tensor(lower_value(lowering, expr->range, OP_neg, 1, &operand.value, NULL));
}

/* ---- Indices ------------------------------------------------------------------------------------------------------
 */

static Operand lower_index(Lowering *lowering, const Expr *expr) {
    Value *operands[2];
    bool is_good = lower_tensor(lowering, expr->items[0], &operands[0]);
    is_good = lower_tensor(lowering, expr->items[1], &operands[1]) && is_good;
    if (!is_good)
        return operand_poison();
    if (operands[1]->type.dtype != DTYPE_I32) {
        diagnostics_error(lowering->program->diagnostics, expr->items[1]->range,
                          "an index must be i32, such as token ids, and this is %s",
                          type_format(lowering->program->arena, &operands[1]->type));
        return operand_poison();
    }
    return operand_tensor(lower_value(lowering, expr->range, OP_gather, 2, operands, NULL));
}

static Operand lower_slice(Lowering *lowering, const Expr *expr) {
    Program *program = lowering->program;
    Value *x;
    Size start, end, extent;
    const char *reason;
    bool is_good = lower_tensor(lowering, expr->items[0], &x);
    is_good = lower_integer(lowering, expr->items[1], "the start of a slice", 0, &start) && is_good;
    is_good = lower_integer(lowering, expr->items[2], "the end of a slice", 1, &end) && is_good;
    if (!is_good)
        return operand_poison();
    if (x->type.rank == 0) {
        diagnostics_error(program->diagnostics, expr->items[0]->range, "a scalar has no dims to slice");
        return operand_poison();
    }
    int dim = expr->is_last ? x->type.rank - 1 : 0;
    if (start.value >= end.value || end.value > x->type.dims[dim].extent) {
        diagnostics_error(program->diagnostics, range_join(expr->items[1]->range, expr->items[2]->range),
                          "the slice %lld .. %lld is not in the dim %s", (long long)start.value, (long long)end.value,
                          dim_format(program->arena, &x->type.dims[dim]));
        return operand_poison();
    }
    bool fits = size_binary(&program->atoms, '-', &end, &start, &extent, &reason);
    if (!fits)
        extent = size_number(end.value - start.value);
    Attrs attrs = {0};
    attrs_set_int(program->arena, &attrs, "dim", dim);
    attrs_set_int(program->arena, &attrs, "start", start.value);
    Type type = x->type;
    type.dims[dim] = size_dim(&program->atoms, &extent);
    return operand_tensor(lower_typed(lowering, expr->range, OP_slice, 1, &x, &attrs, &type));
}

/* ---- Expressions --------------------------------------------------------------------------------------------------
 */

static Operand lower_any_call(Lowering *lowering, const Expr *expr) {
    Program *program = lowering->program;
    Symbol *symbol = program_find(program, expr->text);
    if (symbol != NULL && symbol->kind == SYMBOL_FUNCTION)
        return lower_call(lowering, expr, symbol);
    const Builtin *builtin = builtin_find(expr->text);
    if (builtin != NULL)
        return builtin_call(lowering, builtin, expr);
    Range name = lower_call_name(expr);
    if (symbol != NULL) {
        diagnostics_error(program->diagnostics, name, "'%s' is not a function", expr->text);
        diagnostics_note(program->diagnostics, symbol->name.range, "it is defined here");
        return operand_poison();
    }
    size_t n_functions, n_builtins;
    const char **functions = program_names(program, SYMBOL_FUNCTION, &n_functions);
    const char **builtins = builtin_names(program->arena, &n_builtins);
    const char **names = arena_array_of(program->arena, const char *, n_functions + n_builtins);
    memcpy(names, functions, sizeof *names * n_functions);
    memcpy(names + n_functions, builtins, sizeof *names * n_builtins);
    diagnostics_error(program->diagnostics, name, "there is no function '%s'%s", expr->text,
                      spelling_hint(program->arena, expr->text, names, n_functions + n_builtins));
    return operand_poison();
}

static Operand lower_operation(Lowering *lowering, const Expr *expr) {
    Operand a = lower_expression(lowering, expr->items[0]), b = lower_expression(lowering, expr->items[1]);
    return lower_binary(lowering, expr->sign, expr, a, b);
}

static Operand lower_by_kind(Lowering *lowering, const Expr *expr) {
    switch (expr->kind) {
    case EXPR_INT:
        return operand_size(size_number(expr->integer));
    case EXPR_FLOAT:
        return operand_number(expr->number);
    case EXPR_NAME:
        return lower_name(lowering, expr);
    case EXPR_NEGATE:
        return lower_negate(lowering, expr);
    case EXPR_BINARY:
        return lower_operation(lowering, expr);
    case EXPR_CALL:
        return lower_any_call(lowering, expr);
    case EXPR_INDEX:
        return lower_index(lowering, expr);
    case EXPR_SLICE:
        return lower_slice(lowering, expr);
    case EXPR_ERROR:
        return operand_poison();
    case EXPR_STRING:
    case EXPR_ELLIPSIS:
    case EXPR_LIST:
    case EXPR_RANGE:
    case EXPR_BLOCK:
        break;
    }
    diagnostics_error(lowering->program->diagnostics, expr->range, "a tensor or a number is expected here");
    return operand_poison();
}

Operand lower_expression(Lowering *lowering, const Expr *expr) {
    if (!lower_step(lowering, expr->range))
        return operand_poison();
    if (lowering->depth >= LOWER_MAX_DEPTH) {
        diagnostics_error(lowering->program->diagnostics, expr->range,
                          "calls and expressions are nested more than %d deep here", LOWER_MAX_DEPTH);
        lowering->n_steps = LOWER_MAX_STEPS + 1; /* that one says it all */
        return operand_poison();
    }
    lowering->depth++;
    Operand operand = lower_by_kind(lowering, expr);
    lowering->depth--;
    return operand;
}

bool lower_scalar(Lowering *lowering, const Expr *expr, Scalar *out) {
    Operand operand = lower_expression(lowering, expr);
    if (operand.kind == OPERAND_TENSOR)
        diagnostics_error(lowering->program->diagnostics, expr->range, "a number is expected here, and this is %s",
                          lower_operand_text(lowering, &operand));
    *out = operand.scalar;
    return operand.kind == OPERAND_SCALAR;
}

bool lower_tensor(Lowering *lowering, const Expr *expr, Value **out) {
    Operand operand = lower_expression(lowering, expr);
    if (operand.kind == OPERAND_SCALAR)
        diagnostics_error(lowering->program->diagnostics, expr->range, "a tensor is expected here, and this is %s",
                          lower_operand_text(lowering, &operand));
    *out = operand.value;
    return operand.kind == OPERAND_TENSOR;
}

bool lower_integer(Lowering *lowering, const Expr *expr, const char *what, int64_t least, Size *out) {
    Scalar scalar;
    if (!lower_scalar(lowering, expr, &scalar))
        return false;
    if (!scalar.is_integer) {
        diagnostics_error(lowering->program->diagnostics, expr->range, "%s must be an integer, and this is %s", what,
                          expression_number_text(lowering->program->arena, scalar.number));
        return false;
    }
    if (scalar.size.value < least || scalar.size.value > MAX_ELEMENTS) {
        diagnostics_error(lowering->program->diagnostics, expr->range, "%s must be from %lld to 2^%d, and this is %lld",
                          what, (long long)least, MAX_ELEMENTS_LOG2, (long long)scalar.size.value);
        return false;
    }
    *out = scalar.size;
    return true;
}

bool lower_shape(Lowering *lowering, const Expr *list, bool allows_ellipsis, Dim *dims, int *rank, bool *has_ellipsis) {
    Diagnostics *diagnostics = lowering->program->diagnostics;
    bool is_good = true;
    *rank = 0;
    *has_ellipsis = false;
    if (list->kind != EXPR_LIST) {
        if (list->kind != EXPR_ERROR)
            diagnostics_error(diagnostics, list->range, "a shape is expected here, such as [B, T, d]");
        return false;
    }
    for (size_t i = 0; i < list->n_items && is_good; i++) {
        const Expr *item = list->items[i];
        Size size;
        if (item->kind == EXPR_ELLIPSIS) {
            *has_ellipsis = true;
            is_good = allows_ellipsis;
            if (!is_good)
                diagnostics_error(diagnostics, item->range, "'..' can stand in the shape of a parameter only");
        } else if (*rank == MAX_RANK) {
            diagnostics_error(diagnostics, list->range, "a tensor has at most %d dims", MAX_RANK);
            is_good = false;
        } else {
            is_good = lower_integer(lowering, item, "a dim", 1, &size);
            if (is_good)
                dims[(*rank)++] = size_dim(&lowering->program->atoms, &size);
        }
    }
    return is_good;
}

bool expression_scalar(Program *program, const Expr *expr, Scalar *out) {
    Lowering lowering = {.program = program, .depth = program->depth};
    return lower_scalar(&lowering, expr, out);
}
