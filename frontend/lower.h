/* From trees to IR: what expression.c, builtins.c and lower.c share.

   Functions are inlined: a call evaluates the body with the arguments as variables. An operand that an error spoilt is
   poisoned; whatever is made of it is poisoned too, without another message. */
#ifndef MOEC_FRONTEND_LOWER_H
#define MOEC_FRONTEND_LOWER_H

#include "frontend/program.h"

typedef enum { OPERAND_POISON, OPERAND_SCALAR, OPERAND_TENSOR } OperandKind;

/* What an expression is worth: a number known while compiling, or a tensor of the graph. */
typedef struct {
    OperandKind kind;
    Scalar scalar;
    Value *value;
} Operand;

typedef struct {
    const char *name;
    Operand operand;
    Range range; /* where it was defined */
} Variable;

/* One walk over the model that makes one graph; or, with builder.graph NULL, the evaluation of numbers alone. */
typedef struct {
    Program *program;
    Module *module;
    Builder builder;
    /* Variables of the function under way; later ones hide earlier ones. Its callers' lie below first_variable. */
    Variable *variables;
    size_t n_variables, variables_capacity;
    size_t first_variable;
    size_t end_carried; /* those from first_variable to here were there before the loop under way */
    const char *path;   /* prefix of checkpoint names */
    uint32_t n_scopes;  /* calls so far: all graphs of a module make the same calls in the same order */
    int depth;          /* of calls, loops and nested expressions */
    int64_t n_steps;    /* statements and expressions so far */
    Names weights;      /* full name -> index of the module's state */
} Lowering;

/* Calls, loops and expressions nested deeper than this are refused, and so are models of more steps, functions of more
   variables, and longer names of tensors. After so many errors nothing more is looked at. */
enum {
    LOWER_MAX_DEPTH = 400,
    LOWER_MAX_STEPS = 200000,
    LOWER_MAX_VARIABLES = 1000,
    LOWER_MAX_NAME = 1000,
    LOWER_MAX_ERRORS = 100
};

Operand operand_poison(void);
Operand operand_number(double number);
Operand operand_tensor(Value *value);

/* Evaluates an expression; strings, lists and ranges are errors here. */
Operand lower_expression(Lowering *lowering, const Expr *expr);

/* The number or the tensor an expression must be; false after an error, or if it is poisoned. */
bool lower_scalar(Lowering *lowering, const Expr *expr, Scalar *out);
bool lower_tensor(Lowering *lowering, const Expr *expr, Value **out);
/* An integer from `least` up; `what` names it in messages. */
bool lower_integer(Lowering *lowering, const Expr *expr, const char *what, int64_t least, Size *out);

/* The dims that a list of sizes writes, an ellipsis left out; false after an error. */
bool lower_shape(Lowering *lowering, const Expr *list, bool allows_ellipsis, Dim *dims, int *rank, bool *has_ellipsis);

/* A node at `range`. On failure the op's own reason is reported there and NULL returned. */
Node *lower_node(Lowering *lowering, Range range, OpKind op, int n, Value *const *operands, const Attrs *attrs);
Value *lower_value(Lowering *lowering, Range range, OpKind op, int n, Value *const *operands, const Attrs *attrs);
/* The same with the type of its one result given. */
Value *lower_typed(Lowering *lowering, Range range, OpKind op, int n, Value *const *operands, const Attrs *attrs,
                   const Type *type);

/* ---- Arguments ------------------------------------------------------------------------------------------------ */

/* What a function takes: by position or by name. */
typedef struct {
    const char *name;
    bool is_named; /* by name only */
    bool is_optional;
    bool is_rest; /* stands for all that come by position */
} Formal;

/* bound[i]: the argument for formals[i], or NULL. False after an error. */
bool lower_bind(Lowering *lowering, const Expr *call, const Formal *formals, size_t n, const Expr **bound);

/* lower_tensor of floats; `what` names it in messages: "linear: x". */
bool lower_float_tensor(Lowering *lowering, const Expr *expr, const char *what, Value **out);

/* Notes where the variable that `expr` names was set, and its type; nothing if it names none. */
void lower_note_variable(Lowering *lowering, const Expr *expr);

/* "d=64 and ff=64 are different sizes of one value" as a note, where that is so. */
void lower_note_sizes(Lowering *lowering, Range range, const Dim *a, const Dim *b);

/* The part of a call's range that is the function's name. */
Range lower_call_name(const Expr *call);

/* One more step; false, with an error at `range`, if that is one too many. */
bool lower_step(Lowering *lowering, Range range);

/* "f32[B=2, d=64]", "the number 3"; not of poison. */
const char *lower_operand_text(Lowering *lowering, const Operand *operand);

/* ---- Functions ------------------------------------------------------------------------------------------------ */

/* The call of a function that the model defines. */
Operand lower_call(Lowering *lowering, const Expr *call, Symbol *symbol);

/* The body of a function with these arguments, below `path`; `loc` is the call. */
Operand lower_function(Lowering *lowering, Symbol *symbol, const Operand *arguments, const char *path, Loc loc);

void lower_weight(Lowering *lowering, const Statement *statement);

/* The path under way and below it `text`, with "{l}" replaced by the value of variable l. NULL after an error. */
const char *lower_path(Lowering *lowering, const char *text, Range range);

const Variable *lower_find_variable(const Lowering *lowering, const char *name);
void lower_define(Lowering *lowering, const char *name, Range range, Operand operand);

/* ---- Built-in functions -------------------------------------------------------------------------------------- */

typedef struct Builtin Builtin;

/* NULL: there is none of this name. */
const Builtin *builtin_find(const char *name);
Operand builtin_call(Lowering *lowering, const Builtin *builtin, const Expr *call);
/* All names, for suggestions; *n of them. */
const char **builtin_names(Arena *arena, size_t *n);

/* ---- Whole models --------------------------------------------------------------------------------------------- */

/* Adds the graphs "forward" and "generate" and the states they read. False after an error. */
bool lower_program(Program *program, Module *module);

#endif
