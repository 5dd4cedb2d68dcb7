/* The functions that the language has, one row each in builtins.c; spec/language.md, "Built-in functions". */
#ifndef MOEC_FRONTEND_BUILTINS_H
#define MOEC_FRONTEND_BUILTINS_H

#include "frontend/lower.h"

enum { BUILTIN_MAX_FORMALS = 7 };

/* arguments[i]: the argument for formals[i], or NULL where an optional one is not given. */
typedef Operand BuiltinLower(Lowering *lowering, const Builtin *builtin, const Expr *call,
                             const Expr *const *arguments);

struct Builtin {
    const char *name;
    Formal formals[BUILTIN_MAX_FORMALS];
    BuiltinLower *lower;
    OpKind op; /* of those that are one op */
};

/* builtins_move.c */
BuiltinLower builtin_reshape, builtin_transpose, builtin_concat;
/* builtins_attention.c */
BuiltinLower builtin_rope, builtin_causal_attention;

/* The dim of `x` that `expr` names by its size; -1 after an error. */
int builtin_find_dim(Lowering *lowering, const Expr *expr, const Value *x);

#endif
