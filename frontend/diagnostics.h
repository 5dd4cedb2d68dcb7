/* Messages about the source: "file:line:column: error: ...", the line, a caret and its range, notes. Errors are
   gathered and printed by diagnostics_flush in the order of the source, so that phases may find them in any order. */
#ifndef MOEC_FRONTEND_DIAGNOSTICS_H
#define MOEC_FRONTEND_DIAGNOSTICS_H

#include <stdio.h>

#include "frontend/source.h"
#include "ir/report.h"

typedef enum { DIAGNOSTICS_COLOR_AUTO, DIAGNOSTICS_COLOR_ALWAYS, DIAGNOSTICS_COLOR_NEVER } DiagnosticsColor;

typedef struct Diagnostics Diagnostics;

Diagnostics *diagnostics_new(Arena *arena, FILE *out, DiagnosticsColor color);

/* Lives as long as the messages; what they point into belongs on it. */
Arena *diagnostics_arena(const Diagnostics *diagnostics);

/* The files that ranges point into. */
Sources *diagnostics_sources(Diagnostics *diagnostics);

/* A message that was given before for the same place, word by word, is dropped with its notes. Line 0: no place. */
void diagnostics_error(Diagnostics *diagnostics, Range range, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void diagnostics_warning(Diagnostics *diagnostics, Range range, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Belongs to the message before it. */
void diagnostics_note(Diagnostics *diagnostics, Range range, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Errors so far. */
int diagnostics_errors(const Diagnostics *diagnostics);

/* What passes report through: the same messages, of the token at a location. */
Reporter *diagnostics_reporter(Diagnostics *diagnostics);

/* Prints and forgets what was gathered; after DIAGNOSTICS_MAX_ERRORS errors the rest is only counted. */
void diagnostics_flush(Diagnostics *diagnostics);

enum { DIAGNOSTICS_MAX_ERRORS = 20 };

/* "; did you mean 'x'?" with the candidate that is most like `name`, if one is near enough to be what was meant; else
 * "". */
const char *spelling_hint(Arena *arena, const char *name, const char *const *candidates, size_t n);

#endif
