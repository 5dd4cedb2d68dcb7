/* The settings of a clause, read by a table with one row per setting: its key, what its value may be, what it is where
   the clause does not say. Values become attributes whose locations are those of the values. */
#ifndef MOEC_FRONTEND_SETTINGS_H
#define MOEC_FRONTEND_SETTINGS_H

#include "frontend/program.h"

typedef struct SettingRow SettingRow;

/* Where values go, and what is needed to evaluate them. */
typedef struct {
    Program *program;
    Attrs *attrs;
} SettingReader;

/* Checks `value` and sets the row's attribute; false after an error. */
typedef bool SettingRead(SettingReader *reader, const SettingRow *row, const Expr *value);

/* What a number may be; the bounds themselves are allowed unless they are excluded. */
typedef struct {
    double least, most; /* most INFINITY: no upper bound */
    bool excludes_least, excludes_most;
} Limits;

/* A word that a value may be. With arguments it may be called: "normal(std = 0.02)". */
typedef struct {
    const char *word;
    const SettingRow *arguments; /* as rows of settings; NULL: none */
} Choice;

struct SettingRow {
    const char *key; /* NULL ends a table */
    SettingRead *read;
    Limits limits;         /* of a number */
    const Choice *choices; /* of a word; ended by a NULL word */
    const Expr *otherwise; /* its value where the clause does not say; NULL: no attribute is set */
    bool is_required;
    const char *attr; /* the attribute; NULL: named as the key */
};

/* Defaults in tables. */
#define SETTING_INTEGER_IS(value) (&(const Expr){.kind = EXPR_INT, .integer = (value), .number = (value)})
#define SETTING_NUMBER_IS(value) (&(const Expr){.kind = EXPR_FLOAT, .number = (value)})
#define SETTING_WORD_IS(value) (&(const Expr){.kind = EXPR_NAME, .text = (value)})
#define SETTING_STRING_IS(value) (&(const Expr){.kind = EXPR_STRING, .text = (value)})

/* ---- Kinds of values ------------------------------------------------------------------------------------------ */

SettingRead setting_integer; /* an int within the limits */
SettingRead setting_number;  /* a float within the limits */
SettingRead setting_word;    /* a string: one of the choices; attributes of its own for each argument */
/* A number, or the only choice, which stands for 0. */
SettingRead setting_number_or_word;
SettingRead setting_string; /* a string in quotes, not empty */
SettingRead setting_size;   /* a size that has a name: that name */
SettingRead setting_layers; /* "all", "A .. B", "every(N, from = M)": ints FIRST, END, STEP */

/* ---- Clauses ---------------------------------------------------------------------------------------------------- */

/* Reads all settings of `clause` and fills in what it leaves out. Keys in quotes are errors, or left to the caller. */
bool settings_read(SettingReader *reader, const Clause *clause, const SettingRow *rows, bool takes_quoted_keys);

/* Sets every attribute to what it is where no clause says; no row may be required. */
void settings_default(SettingReader *reader, const SettingRow *rows);

/* Reports each key that occurs twice; false if one does. */
bool settings_are_unique(Program *program, Setting *const *settings, size_t n);

/* Where the value of `key` stands, or the clause's first word where it is not set. */
Range settings_range(const Clause *clause, const char *key);

#endif
