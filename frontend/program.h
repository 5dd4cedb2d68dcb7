/* A model's top-level names over all of its files, and the values of its sizes and constants. */
#ifndef MOEC_FRONTEND_PROGRAM_H
#define MOEC_FRONTEND_PROGRAM_H

#include "frontend/frontend.h"
#include "frontend/parse.h"
#include "frontend/size.h"
#include "ir/names.h"

/* A number known while compiling: a size (an integer, with its polynomial) or a constant. */
typedef struct {
    bool is_integer;
    Size size;
    double number;
} Scalar;

typedef enum { SYMBOL_SIZE, SYMBOL_CONST, SYMBOL_FUNCTION } SymbolKind;
typedef enum { SYMBOL_NEW, SYMBOL_ACTIVE, SYMBOL_READY, SYMBOL_BROKEN } SymbolState;

typedef struct {
    SymbolKind kind;
    Word name;
    Expr *value;        /* of a size or a constant */
    Function *function; /* of a function */
    SymbolState state;  /* of `scalar` */
    Scalar scalar;
    uint32_t n_calls; /* of a function, so far, in the graph being lowered */
    bool is_active;   /* being lowered right now */
} Symbol;

typedef struct {
    Arena *arena;
    Diagnostics *diagnostics;
    const LowerOptions *options;
    uint32_t file;     /* the model's own; those it imports come after it */
    const char *model; /* its name */
    Names names;
    Symbol **symbols;
    size_t n_symbols, symbols_capacity;
    Clause **clauses;
    size_t n_clauses, clauses_capacity;
    SizeAtoms atoms;
    int depth; /* of the expressions around the one under way: values are evaluated where they are first used */
} Program;

/* Parses source `file` and what it imports, and declares all names. False after an error. */
bool program_load(Program *program, uint32_t file);

/* NULL: no such top-level name. */
Symbol *program_find(const Program *program, const char *name);

/* The names of all symbols of a kind, for suggestions; *n of them. */
const char **program_names(const Program *program, SymbolKind kind, size_t *n);

/* The value of a size or constant, evaluated when first asked for; false after an error, reported once. */
bool program_value(Program *program, Symbol *symbol, Scalar *out);

#endif
