/* The front end: a .moe file in, a checked module out. spec/language.md describes the language.

   In: source text. Out: a module with the graphs "forward" and "generate", its states, and one directive a clause; or
   diagnostics. Never here: what a pass does to the graph, code generation.

   The folder reads in this order. Text: source, diagnostics, scanner.l, parser.y (ast, parse), format. Names and
   numbers: program, size, expression. The model: lower, function, weight, arguments, builtins*. Its clauses: clauses,
   settings, config. compile is all of that in one call. The command: options, driver, pipeline, build, evaluate, main.
 */
#ifndef MOEC_FRONTEND_FRONTEND_H
#define MOEC_FRONTEND_FRONTEND_H

#include "frontend/diagnostics.h"

/* -D NAME=VALUE */
typedef struct {
    const char *name;
    int64_t value;
} SizeOverride;

typedef struct {
    const SizeOverride *overrides;
    size_t n_overrides;
    int64_t generate_window; /* tokens that graph "generate" sees; 0: as many as "forward" */
    bool dense;              /* leave the upcycle and export clauses out */
} LowerOptions;

/* The module of the file at `path` and all that it imports, on `arena`; NULL after at least one error. */
Module *frontend_compile(Arena *arena, const char *path, const LowerOptions *options, Diagnostics *diagnostics);

/* The same from text; imports are looked for beside `path`. */
Module *frontend_compile_text(Arena *arena, const char *path, const char *text, size_t n_bytes,
                              const LowerOptions *options, Diagnostics *diagnostics);

/* Prints the file in its one canonical layout, comments kept: formatting that again changes nothing. False after an
   error; nothing was printed then. */
bool frontend_format(FILE *out, const char *path, Diagnostics *diagnostics);

/* Replaces the file by its canonical layout in one step, unless it has it already. */
bool frontend_format_in_place(const char *path, Diagnostics *diagnostics);

#endif
