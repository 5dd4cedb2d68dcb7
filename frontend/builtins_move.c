/* Built-in functions that give the same elements other places. */
#include "frontend/builtins.h"

/* The tensor and the type that it is to have: arguments 0 and 1. False after an error. */
static bool lower_target(Lowering *lowering, const Expr *const *arguments, Value **x, Type *type) {
    bool has_ellipsis;
    bool is_good = lower_tensor(lowering, arguments[0], x);
    is_good = lower_shape(lowering, arguments[1], false, type->dims, &type->rank, &has_ellipsis) && is_good;
    if (is_good)
        type->dtype = (*x)->type.dtype;
    return is_good;
}

Operand builtin_reshape(Lowering *lowering, const Builtin *builtin, const Expr *call, const Expr *const *arguments) {
    Program *program = lowering->program;
    Value *x;
    Type type = {0};
    if (!lower_target(lowering, arguments, &x, &type))
        return operand_poison();
    const char *problem = type_check(program->arena, &type);
    if (problem == NULL && type_n_elements(&type) != type_n_elements(&x->type))
        problem = arena_printf(program->arena, "has %lld element%s, and %s has %lld", (long long)type_n_elements(&type),
                               type_n_elements(&type) == 1 ? "" : "s", type_format(program->arena, &x->type),
                               (long long)type_n_elements(&x->type));
    if (problem == NULL)
        return operand_tensor(lower_typed(lowering, call->range, builtin->op, 1, &x, NULL, &type));
    diagnostics_error(program->diagnostics, call->range, "reshape: %s %s", type_format(program->arena, &type), problem);
    lower_note_variable(lowering, arguments[0]);
    return operand_poison();
}

/* ---- Transposing --------------------------------------------------------------------------------------------------
 */

static bool has_repeated_dim(const Type *type) {
    for (int i = 0; i < type->rank; i++) {
        for (int j = 0; j < i; j++) {
            if (size_dims_match(&type->dims[i], &type->dims[j]))
                return true;
        }
    }
    return false;
}

/* perm[i]: the dim of `x` that dim i of the result is. False where one has none or could be two of them. */
static bool find_permutation(const Type *x, const Dim *dims, int64_t *perm) {
    bool is_used[MAX_RANK] = {false};
    for (int i = 0; i < x->rank; i++) {
        int found = -1, n = 0;
        for (int j = 0; j < x->rank; j++) {
            if (!is_used[j] && size_dims_match(&dims[i], &x->dims[j])) {
                found = j;
                n++;
            }
        }
        if (n != 1)
            return false;
        is_used[found] = true;
        perm[i] = found;
    }
    return true;
}

Operand builtin_transpose(Lowering *lowering, const Builtin *builtin, const Expr *call, const Expr *const *arguments) {
    Program *program = lowering->program;
    Value *x;
    Type type = {0};
    int64_t perm[MAX_RANK];
    if (!lower_target(lowering, arguments, &x, &type))
        return operand_poison();
    if (has_repeated_dim(&x->type)) {
        diagnostics_error(program->diagnostics, call->range,
                          "transpose: two dims of %s are the same size, and cannot be told apart",
                          type_format(program->arena, &x->type));
        return operand_poison();
    }
    if (type.rank != x->type.rank || !find_permutation(&x->type, type.dims, perm)) {
        diagnostics_error(program->diagnostics, call->range,
                          "transpose: the dims of %s are not those of %s in an order",
                          type_format(program->arena, &type), type_format(program->arena, &x->type));
        lower_note_variable(lowering, arguments[0]);
        return operand_poison();
    }
    Attrs attrs = {0};
    attrs_set_ints(program->arena, &attrs, "perm", perm, type.rank);
    return operand_tensor(lower_value(lowering, call->range, builtin->op, 1, &x, &attrs));
}

/* ---- Joining ------------------------------------------------------------------------------------------------------
 */

/* Whether `x` may stand beside `first` in a concatenation along `dim`. */
static bool fits_beside(const Type *x, const Type *first, int dim) {
    if (x->dtype != first->dtype || x->rank != first->rank)
        return false;
    for (int i = 0; i < x->rank; i++) {
        if (i != dim && !size_dims_match(&x->dims[i], &first->dims[i]))
            return false;
    }
    return true;
}

static bool check_parts(Lowering *lowering, const Expr *const *exprs, Value *const *parts, int n, int dim) {
    Program *program = lowering->program;
    for (int i = 1; i < n; i++) {
        if (fits_beside(&parts[i]->type, &parts[0]->type, dim))
            continue;
        diagnostics_error(program->diagnostics, exprs[i]->range,
                          "concat: %s and %s, the first, may differ only in the dim that is joined, %s",
                          type_format(program->arena, &parts[i]->type), type_format(program->arena, &parts[0]->type),
                          dim_format(program->arena, &parts[0]->type.dims[dim]));
        lower_note_variable(lowering, exprs[0]);
        lower_note_variable(lowering, exprs[i]);
        return false;
    }
    return true;
}

/* `dim` is that of the first tensor; the others may have another extent there. */
Operand builtin_concat(Lowering *lowering, const Builtin *builtin, const Expr *call, const Expr *const *arguments) {
    Arena *arena = lowering->program->arena;
    Value **parts = arena_array_of(arena, Value *, call->n_items);
    const Expr **exprs = arena_array_of(arena, const Expr *, call->n_items);
    int n = 0;
    bool is_good = true;
    for (size_t i = 0; i < call->n_items; i++) {
        if (call->keywords[i] != NULL)
            continue;
        exprs[n] = call->items[i];
        is_good = lower_tensor(lowering, exprs[n], &parts[n]) && is_good;
        n++;
    }
    int dim = is_good ? builtin_find_dim(lowering, arguments[1], parts[0]) : -1;
    if (dim < 0 || !check_parts(lowering, exprs, parts, n, dim))
        return operand_poison();
    Attrs attrs = {0};
    attrs_set_int(arena, &attrs, "dim", dim);
    return operand_tensor(lower_value(lowering, call->range, builtin->op, n, parts, &attrs));
}
