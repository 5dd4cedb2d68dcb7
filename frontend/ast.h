/* The tree of one source file, as the parser leaves it. Everything lives on the compilation's arena. */
#ifndef MOEC_FRONTEND_AST_H
#define MOEC_FRONTEND_AST_H

#include "frontend/source.h"

typedef struct Expr Expr;
typedef struct Setting Setting;
typedef struct Statement Statement;

typedef enum {
    EXPR_ERROR,    /* stood where the parser found a mistake, which was reported */
    EXPR_INT,      /* integer */
    EXPR_FLOAT,    /* number */
    EXPR_STRING,   /* text */
    EXPR_NAME,     /* text */
    EXPR_ELLIPSIS, /* ".." in a shape or an index */
    EXPR_NEGATE,   /* items[0] */
    EXPR_BINARY,   /* sign, items[0], items[1] */
    EXPR_CALL,     /* text(arguments items, names in keywords) in path */
    EXPR_INDEX,    /* items[0] [items[1]] */
    EXPR_SLICE,    /* items[0] [items[1] .. items[2]], of the last dim with is_last */
    EXPR_LIST,     /* [items] */
    EXPR_RANGE,    /* items[0] .. items[1] */
    EXPR_BLOCK,    /* { settings } */
} ExprKind;

struct Expr {
    ExprKind kind;
    Range range;
    int64_t integer;
    double number;
    const char *text;
    char sign; /* one of + - * / */
    bool is_last;
    Expr **items;
    size_t n_items, items_capacity;
    const char **keywords; /* of a call: the name of each argument that has one, else NULL */
    size_t n_keywords, keywords_capacity;
    const char *path; /* of a call: its "in" string, or NULL */
    Range path_range;
    Setting **settings;
    size_t n_settings, settings_capacity;
};

/* A name and where it stands. */
typedef struct {
    const char *text;
    Range range;
} Word;

struct Setting {
    Word key;
    bool is_string_key;
    Expr *value;
};

typedef enum { STATEMENT_WEIGHT, STATEMENT_ASSIGN, STATEMENT_FOR, STATEMENT_RETURN } StatementKind;

struct Statement {
    StatementKind kind;
    Range range;
    Word name;        /* of the weight, the variable, the loop's variable */
    Expr *shape;      /* of a weight: a list */
    Expr *value;      /* assigned, returned; the initial value of a weight, or NULL; a loop's first */
    Expr *end;        /* a loop's end */
    const char *path; /* of a weight: its tensor; of a loop: its "in" string, or NULL */
    Range path_range;
    Statement **body; /* of a loop */
    size_t n_body, body_capacity;
};

/* "tokens: i32[B, T]" */
typedef struct {
    Word name;
    Word dtype; /* text NULL: a float tensor */
    Expr *shape;
} Parameter;

typedef struct {
    Word name;
    Range range;
    Parameter *parameters;
    size_t n_parameters, parameters_capacity;
    Statement **body;
    size_t n_body, body_capacity;
} Function;

/* "size d = 64", "const eps = 1e-5" */
typedef struct {
    Word name;
    Expr *value;
    bool is_size;
} Constant;

/* "upcycle mlp { ... }" */
typedef struct {
    Word kind, name; /* name.text NULL where the clause has none */
    Range range;
    Setting **settings;
    size_t n_settings, settings_capacity;
} Clause;

typedef struct {
    Word name; /* of "model NAME"; text NULL in imported files */
    Word *imports;
    size_t n_imports, imports_capacity;
    Constant **constants;
    size_t n_constants, constants_capacity;
    Function **functions;
    size_t n_functions, functions_capacity;
    Clause **clauses;
    size_t n_clauses, clauses_capacity;
} File;

#endif
