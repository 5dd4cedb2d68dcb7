#include "ir/report.h"

#include <stdarg.h>

static void emit(Reporter *reporter, ReportKind kind, const Module *module, Loc loc, const char *format,
                 va_list arguments) {
    reporter->emit(reporter, kind, module, loc, arena_vprintf(module->arena, format, arguments));
}

void report_error(Reporter *reporter, const Module *module, Loc loc, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    reporter->n_errors++;
    emit(reporter, REPORT_ERROR, module, loc, format, arguments);
    va_end(arguments);
}

void report_warning(Reporter *reporter, const Module *module, Loc loc, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    emit(reporter, REPORT_WARNING, module, loc, format, arguments);
    va_end(arguments);
}

void report_note(Reporter *reporter, const Module *module, Loc loc, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    emit(reporter, REPORT_NOTE, module, loc, format, arguments);
    va_end(arguments);
}

static void emit_plain(Reporter *self, ReportKind kind, const Module *module, Loc loc, const char *message) {
    static const char *const names[] = {[REPORT_ERROR] = "error", [REPORT_WARNING] = "warning", [REPORT_NOTE] = "note"};
    FILE *out = ((PlainReporter *)self)->out;
    if (loc.line > 0)
        fprintf(out, "%s:%u:%u: ", module->files[loc.file], loc.line, loc.column);
    fprintf(out, "%s: %s\n", names[kind], message);
}

void plain_reporter_init(PlainReporter *reporter, FILE *out) {
    *reporter = (PlainReporter){.base = {.emit = emit_plain}, .out = out};
}
