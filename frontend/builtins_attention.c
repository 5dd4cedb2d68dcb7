/* Rotary positions and attention. */
#include "frontend/builtins.h"

#include <math.h>
#include <string.h>

#include "frontend/expression.h"

/* Sets attribute `key` to the number that `expr` is, which must be positive; nothing where it is NULL. */
static bool set_positive(Lowering *lowering, Attrs *attrs, const char *key, const Expr *expr) {
    Program *program = lowering->program;
    Scalar scalar;
    if (expr == NULL)
        return true;
    if (!lower_scalar(lowering, expr, &scalar))
        return false;
    if (!(scalar.number > 0 && isfinite(scalar.number))) {
        diagnostics_error(program->diagnostics, expr->range, "%s must be above 0, and is %s", key,
                          expression_number_text(program->arena, scalar.number));
        return false;
    }
    attrs_set_float(program->arena, attrs, key, scalar.number);
    return true;
}

/* A tensor of floats with 4 dims. */
static bool lower_heads(Lowering *lowering, const Expr *expr, const char *what, const char *shape, Value **out) {
    if (!lower_float_tensor(lowering, expr, what, out))
        return false;
    if ((*out)->type.rank == 4)
        return true;
    diagnostics_error(lowering->program->diagnostics, expr->range, "%s must be %s, and is %s", what, shape,
                      type_format(lowering->program->arena, &(*out)->type));
    lower_note_variable(lowering, expr);
    return false;
}

/* ---- Rotary positions ---------------------------------------------------------------------------------------------
 */

enum { ROPE_X, ROPE_THETA, ROPE_SCALING, ROPE_FACTOR, ROPE_ORIGINAL_CONTEXT = ROPE_FACTOR + 3 };

static bool check_frequencies(Lowering *lowering, const Attrs *attrs, const Expr *call) {
    double low = attrs_float(attrs, "low_freq_factor", 1), high = attrs_float(attrs, "high_freq_factor", 4);
    if (high > low)
        return true;
    diagnostics_error(lowering->program->diagnostics, call->range,
                      "rope: high_freq_factor must be above "
                      "low_freq_factor");
    return false;
}

/* The attributes of the table of angles. */
static bool lower_rope_attrs(Lowering *lowering, const Builtin *builtin, const Expr *call, const Expr *const *arguments,
                             Attrs *attrs) {
    Program *program = lowering->program;
    const Expr *scaling = arguments[ROPE_SCALING];
    bool is_good = set_positive(lowering, attrs, "theta", arguments[ROPE_THETA]);
    if (scaling != NULL && (scaling->kind != EXPR_STRING || strcmp(scaling->text, "llama3") != 0)) {
        if (scaling->kind != EXPR_ERROR)
            diagnostics_error(program->diagnostics, scaling->range, "scaling can be \"llama3\" only");
        return false;
    }
    if (scaling != NULL)
        attrs_set_string(program->arena, attrs, "scaling", scaling->text);
    for (int i = ROPE_FACTOR; i <= ROPE_ORIGINAL_CONTEXT; i++) {
        const char *key = builtin->formals[i].name;
        if (scaling == NULL && arguments[i] != NULL) {
            diagnostics_error(program->diagnostics, arguments[i]->range,
                              "rope: %s has a meaning only with scaling = \"llama3\"", key);
            is_good = false;
        } else if (scaling != NULL && arguments[i] == NULL) {
            diagnostics_error(program->diagnostics, lower_call_name(call),
                              "rope: scaling = \"llama3\" needs %s =", key);
            is_good = false;
        } else {
            is_good = set_positive(lowering, attrs, key, arguments[i]) && is_good;
        }
    }
    return is_good && check_frequencies(lowering, attrs, call);
}

Operand builtin_rope(Lowering *lowering, const Builtin *builtin, const Expr *call, const Expr *const *arguments) {
    Program *program = lowering->program;
    Value *x;
    Attrs attrs = {0};
    bool is_good = lower_heads(lowering, arguments[ROPE_X], "rope: x", "[B, T, H, D]", &x);
    is_good = lower_rope_attrs(lowering, builtin, call, arguments, &attrs) && is_good;
    if (!is_good)
        return operand_poison();
    const Dim *width = &x->type.dims[3];
    if (width->extent % 2 != 0) {
        diagnostics_error(program->diagnostics, arguments[ROPE_X]->range,
                          "rope: the last dim, %s, is turned in pairs and must be even",
                          dim_format(program->arena, width));
        return operand_poison();
    }
    Type type = {
        .dtype = DTYPE_F32, .rank = 3, .dims = {x->type.dims[1], {.extent = width->extent / 2}, {.extent = 2}}};
    Value *table = lower_typed(lowering, call->range, OP_rope_table, 0, NULL, &attrs, &type);
    if (table == NULL)
        return operand_poison();
    return operand_tensor(lower_value(lowering, call->range, OP_rope, 2, (Value *[]){x, table}, NULL));
}

/* ---- Attention ----------------------------------------------------------------------------------------------------
 */

enum { ATTENTION_Q, ATTENTION_K, ATTENTION_V, ATTENTION_SCALE, ATTENTION_WINDOW };

/* NULL if q, k and v fit each other, else what does not. */
static const char *find_misfit(Arena *arena, Value *const *qkv) {
    static const char *const dims[] = {"B", "T", "heads", "D"};
    const Type *q = &qkv[0]->type, *k = &qkv[1]->type, *v = &qkv[2]->type;
    for (int i = 0; i < 4; i++) {
        if (!size_dims_match(&k->dims[i], &v->dims[i]))
            return arena_printf(arena, "k and v differ in %s", dims[i]);
        if (i != 2 && !size_dims_match(&q->dims[i], &k->dims[i]))
            return arena_printf(arena, "q and k differ in %s", dims[i]);
    }
    if (q->dims[2].extent % k->dims[2].extent != 0)
        return arena_printf(arena, "the %s heads of q are not a multiple of the %s heads of k and v",
                            dim_format(arena, &q->dims[2]), dim_format(arena, &k->dims[2]));
    return NULL;
}

static bool check_heads(Lowering *lowering, const Expr *call, const Expr *const *arguments, Value *const *qkv) {
    Arena *arena = lowering->program->arena;
    const char *misfit = find_misfit(arena, qkv);
    if (misfit == NULL)
        return true;
    diagnostics_error(lowering->program->diagnostics, call->range,
                      "causal_attention: %s: q is %s, k is %s and v is %s; q is [B, T, H, D], k and v are [B, T, G, D]",
                      misfit, type_format(arena, &qkv[0]->type), type_format(arena, &qkv[1]->type),
                      type_format(arena, &qkv[2]->type));
    for (int i = 0; i < 3; i++)
        lower_note_variable(lowering, arguments[i]);
    return false;
}

Operand builtin_causal_attention(Lowering *lowering, const Builtin *builtin, const Expr *call,
                                 const Expr *const *arguments) {
    static const char *const names[] = {"causal_attention: q", "causal_attention: k", "causal_attention: v"};
    Program *program = lowering->program;
    Value *qkv[3];
    Attrs attrs = {0};
    bool is_good = true;
    for (int i = ATTENTION_Q; i <= ATTENTION_V; i++)
        is_good =
            lower_heads(lowering, arguments[i], names[i], i == 0 ? "[B, T, H, D]" : "[B, T, G, D]", &qkv[i]) && is_good;
    is_good = set_positive(lowering, &attrs, "scale", arguments[ATTENTION_SCALE]) && is_good;
    if (is_good && arguments[ATTENTION_SCALE] == NULL)
        attrs_set_float(program->arena, &attrs, "scale", 1 / sqrt((double)qkv[0]->type.dims[3].extent));
    Size window;
    if (arguments[ATTENTION_WINDOW] != NULL) {
        if (lower_integer(lowering, arguments[ATTENTION_WINDOW], "window", 1, &window))
            attrs_set_int(program->arena, &attrs, "window", window.value);
        else
            is_good = false;
    }
    if (!is_good || !check_heads(lowering, call, arguments, qkv))
        return operand_poison();
    return operand_tensor(lower_value(lowering, call->range, builtin->op, 3, qkv, &attrs));
}
