/* The table of built-in functions, and those that are products, maps or reductions. */
#include "frontend/builtins.h"

#include <math.h>
#include <string.h>

#include "frontend/expression.h"
#include "ir/scalar.h"

/* ---- Products -----------------------------------------------------------------------------------------------------
 */

/* x[.., K] times w, whose dim `summed` is K. */
static Operand lower_product(Lowering *lowering, const Expr *call, const Expr *const *arguments, int summed) {
    Program *program = lowering->program;
    Value *operands[2];
    bool is_good = lower_float_tensor(lowering, arguments[0], "x", &operands[0]);
    is_good = lower_float_tensor(lowering, arguments[1], "w", &operands[1]) && is_good;
    if (!is_good)
        return operand_poison();
    const Type *x = &operands[0]->type, *w = &operands[1]->type;
    const char *problem = NULL;
    if (x->rank == 0)
        problem = "x must have at least one dim";
    else if (w->rank != 2)
        problem = "w must have two dims";
    else if (!size_dims_match(&x->dims[x->rank - 1], &w->dims[summed]))
        problem = arena_printf(program->arena, "the last dim of x, %s, is not the %s dim of w, %s",
                               dim_format(program->arena, &x->dims[x->rank - 1]), summed == 1 ? "last" : "first",
                               dim_format(program->arena, &w->dims[summed]));
    if (problem == NULL) {
        Attrs attrs = {0};
        attrs_set_string(program->arena, &attrs, "mode", summed == 1 ? "nt" : "nn");
        return operand_tensor(lower_value(lowering, call->range, OP_matmul, 2, operands, &attrs));
    }
    const char *hint = "";
    if (x->rank > 0 && w->rank == 2 && size_dims_match(&x->dims[x->rank - 1], &w->dims[1 - summed]))
        hint = summed == 1 ? "; matmul(x, w) takes w as [in, out]" : "; linear(x, w) takes w as [out, in]";
    diagnostics_error(program->diagnostics, call->range, "%s: %s: x is %s and w is %s%s", call->text, problem,
                      type_format(program->arena, x), type_format(program->arena, w), hint);
    lower_note_variable(lowering, arguments[0]);
    lower_note_variable(lowering, arguments[1]);
    if (x->rank > 0 && w->rank == 2)
        lower_note_sizes(lowering, call->range, &x->dims[x->rank - 1], &w->dims[summed]);
    return operand_poison();
}

static Operand lower_linear(Lowering *lowering, const Builtin *builtin, const Expr *call,
                            const Expr *const *arguments) {
    (void)builtin;
    return lower_product(lowering, call, arguments, 1);
}

static Operand lower_matmul(Lowering *lowering, const Builtin *builtin, const Expr *call,
                            const Expr *const *arguments) {
    (void)builtin;
    return lower_product(lowering, call, arguments, 0);
}

/* ---- Maps ---------------------------------------------------------------------------------------------------------
 */

static Operand lower_map(Lowering *lowering, const Builtin *builtin, const Expr *call, const Expr *const *arguments) {
    Program *program = lowering->program;
    Operand x = lower_expression(lowering, arguments[0]);
    if (x.kind == OPERAND_POISON)
        return x;
    if (x.kind == OPERAND_SCALAR) {
        double result = scalar_function(builtin->op)(x.scalar.number, 0);
        if (isfinite(result))
            return operand_number(result);
        diagnostics_error(program->diagnostics, call->range, "%s(%s) is not a number", builtin->name,
                          expression_number_text(program->arena, x.scalar.number));
        return operand_poison();
    }
    if (!dtype_is_float(x.value->type.dtype)) {
        diagnostics_error(program->diagnostics, arguments[0]->range, "%s needs a tensor of floats, and this is %s",
                          builtin->name, type_format(program->arena, &x.value->type));
        lower_note_variable(lowering, arguments[0]);
        return operand_poison();
    }
    return operand_tensor(lower_value(lowering, call->range, builtin->op, 1, &x.value, NULL));
}

/* ---- Reductions ---------------------------------------------------------------------------------------------------
 */

/* How many dims of `type` are `dim`, by name only or by any match; *last is the last of them. */
static int count_dims(const Type *type, const Dim *dim, bool by_name, int *last) {
    int n = 0;
    for (int i = 0; i < type->rank; i++) {
        bool matches = size_dims_match(&type->dims[i], dim);
        if (by_name)
            matches = matches && (type->dims[i].name == NULL) == (dim->name == NULL);
        if (matches) {
            *last = i;
            n++;
        }
    }
    return n;
}

int builtin_find_dim(Lowering *lowering, const Expr *expr, const Value *x) {
    Program *program = lowering->program;
    Size size;
    if (!lower_integer(lowering, expr, "a dim", 1, &size))
        return -1;
    Dim dim = size_dim(&program->atoms, &size);
    int found = -1;
    int n = count_dims(&x->type, &dim, true, &found);
    if (n == 0)
        n = count_dims(&x->type, &dim, false, &found);
    if (n == 1)
        return found;
    diagnostics_error(program->diagnostics, expr->range, n == 0 ? "%s has no dim %s" : "%s has more than one dim %s",
                      type_format(program->arena, &x->type), dim_format(program->arena, &dim));
    for (int i = 0; i < x->type.rank && n == 0; i++)
        lower_note_sizes(lowering, expr->range, &dim, &x->type.dims[i]);
    return -1;
}

/* mean and sum. */
static Operand lower_sum(Lowering *lowering, const Builtin *builtin, const Expr *call, const Expr *const *arguments) {
    Value *x;
    if (!lower_float_tensor(lowering, arguments[0], "x", &x))
        return operand_poison();
    int dim = builtin_find_dim(lowering, arguments[1], x);
    if (dim < 0)
        return operand_poison();
    Attrs attrs = {0};
    int64_t dims[] = {dim};
    attrs_set_ints(lowering->program->arena, &attrs, "dims", dims, 1);
    Value *sum = lower_value(lowering, call->range, OP_reduce_sum, 1, &x, &attrs);
    if (sum != NULL && strcmp(builtin->name, "mean") == 0)
        sum = build_scale(&lowering->builder, sum, 1 / (double)x->type.dims[dim].extent);
    return operand_tensor(sum);
}

static Operand lower_softmax(Lowering *lowering, const Builtin *builtin, const Expr *call,
                             const Expr *const *arguments) {
    Value *x;
    if (!lower_float_tensor(lowering, arguments[0], "x", &x))
        return operand_poison();
    return operand_tensor(lower_value(lowering, call->range, builtin->op, 1, &x, NULL));
}

/* ---- The table ----------------------------------------------------------------------------------------------------
 */

#define PLAIN(text)                                                                                                    \
    { .name = (text) }
#define NAMED(text)                                                                                                    \
    { .name = (text), .is_named = true }
#define OPTION(text)                                                                                                   \
    { .name = (text), .is_named = true, .is_optional = true }
#define MAP(text, op)                                                                                                  \
    { (text), {PLAIN("x")}, lower_map, (op) }

static const Builtin builtins[] = {
    {"linear", {PLAIN("x"), PLAIN("w")}, lower_linear, OP_matmul},
    {"matmul", {PLAIN("x"), PLAIN("w")}, lower_matmul, OP_matmul},
    MAP("exp", OP_exp),
    MAP("log", OP_log),
    MAP("sqrt", OP_sqrt),
    MAP("rsqrt", OP_rsqrt),
    MAP("tanh", OP_tanh),
    MAP("sigmoid", OP_sigmoid),
    MAP("relu", OP_relu),
    MAP("silu", OP_silu),
    MAP("gelu", OP_gelu),
    MAP("gelu_tanh", OP_gelu_tanh),
    {"mean", {PLAIN("x"), PLAIN("dim")}, lower_sum, OP_reduce_sum},
    {"sum", {PLAIN("x"), PLAIN("dim")}, lower_sum, OP_reduce_sum},
    {"softmax", {PLAIN("x")}, lower_softmax, OP_softmax},
    {"reshape", {PLAIN("x"), PLAIN("shape")}, builtin_reshape, OP_reshape},
    {"transpose", {PLAIN("x"), PLAIN("shape")}, builtin_transpose, OP_transpose},
    {"concat", {{.name = "a", .is_rest = true}, NAMED("dim")}, builtin_concat, OP_concat},
    {"rope",
     {PLAIN("x"), NAMED("theta"), OPTION("scaling"), OPTION("factor"), OPTION("low_freq_factor"),
      OPTION("high_freq_factor"), OPTION("original_context")},
     builtin_rope,
     OP_rope},
    {"causal_attention",
     {PLAIN("q"), PLAIN("k"), PLAIN("v"), OPTION("scale"), OPTION("window")},
     builtin_causal_attention,
     OP_attention},
};

enum { N_BUILTINS = sizeof builtins / sizeof builtins[0] };

const Builtin *builtin_find(const char *name) {
    for (size_t i = 0; i < N_BUILTINS; i++) {
        if (strcmp(builtins[i].name, name) == 0)
            return &builtins[i];
    }
    return NULL;
}

const char **builtin_names(Arena *arena, size_t *n) {
    const char **names = arena_array_of(arena, const char *, N_BUILTINS);
    for (size_t i = 0; i < N_BUILTINS; i++)
        names[i] = builtins[i].name;
    *n = N_BUILTINS;
    return names;
}

Operand builtin_call(Lowering *lowering, const Builtin *builtin, const Expr *call) {
    size_t n = 0;
    while (n < BUILTIN_MAX_FORMALS && builtin->formals[n].name != NULL)
        n++;
    if (call->path != NULL) {
        diagnostics_error(lowering->program->diagnostics, call->path_range,
                          "'%s' is built in and has no weights: a path here has no use", builtin->name);
        return operand_poison();
    }
    const Expr *arguments[BUILTIN_MAX_FORMALS];
    if (!lower_bind(lowering, call, builtin->formals, n, arguments))
        return operand_poison();
    return builtin->lower(lowering, builtin, call, arguments);
}
