/* How passes tell the user about errors: through one interface that the frontend implements with source lines and
   carets, and that tests and `moec opt` implement as plain lines. */
#ifndef MOEC_IR_REPORT_H
#define MOEC_IR_REPORT_H

#include "ir/ir.h"

typedef enum { REPORT_ERROR, REPORT_WARNING, REPORT_NOTE } ReportKind;

typedef struct Reporter Reporter;
struct Reporter {
    /* One message. A note belongs to the error before it. `module` resolves loc.file; its source range is one token. */
    void (*emit)(Reporter *self, ReportKind kind, const Module *module, Loc loc, const char *message);
    int n_errors;
};

void report_error(Reporter *reporter, const Module *module, Loc loc, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void report_warning(Reporter *reporter, const Module *module, Loc loc, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void report_note(Reporter *reporter, const Module *module, Loc loc, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Prints "path:line:col: error: message" to `out`; needs no source text. */
typedef struct {
    Reporter base;
    FILE *out;
} PlainReporter;
void plain_reporter_init(PlainReporter *reporter, FILE *out);

#endif
