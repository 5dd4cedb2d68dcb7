#include "codegen/c_print.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- Lines ---------------------------------------------------------------------------------------------------- */

enum { INDENT = 4 };

static void print_indented(CPrinter *c, const char *format, va_list arguments, const char *ending) {
    fprintf(c->out, "%*s", c->depth * INDENT, "");
    vfprintf(c->out, format, arguments);
    fputs(ending, c->out);
}

void c_line(CPrinter *c, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    print_indented(c, format, arguments, "\n");
    va_end(arguments);
}

void c_open(CPrinter *c, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    print_indented(c, format, arguments, " {\n");
    va_end(arguments);
    c->depth++;
}

void c_close(CPrinter *c) {
    c->depth--;
    c_line(c, "}");
}

void c_text(CPrinter *c, const char *text) {
    while (*text != '\0') {
        size_t n = strcspn(text, "\n");
        assert(text[n] == '\n');
        if (n == 0)
            fputc('\n', c->out);
        else
            c_line(c, "%.*s", (int)n, text);
        text += n + 1;
    }
}

void c_comment(CPrinter *c, const char *text) {
    fprintf(c->out, "%*s/* ", c->depth * INDENT, "");
    for (const char *at = text; *at != '\0'; at++) {
        fputc(*at, c->out);
        if (at[0] == '*' && at[1] == '/') /* in a dim's name, for one: the comment must not end there */
            fputc(' ', c->out);
    }
    fputs(" */\n", c->out);
}

/* What waking the threads costs, some microseconds, is small beside this much work. */
static const double PARALLEL_WORK = 32768;

bool c_is_parallel(double work) {
    return work >= PARALLEL_WORK;
}

void c_parallel(CPrinter *c, double work, const char *clauses) {
    if (c_is_parallel(work))
        c_line(c, "#pragma omp parallel for%s%s", clauses[0] == '\0' ? "" : " ", clauses);
}

/* ---- Parts of C ----------------------------------------------------------------------------------------------- */

const char *c_type(DType dtype) {
    static const char *const types[] = {[DTYPE_F32] = "float", [DTYPE_BF16] = "uint16_t", [DTYPE_I32] = "int32_t"};
    assert((size_t)dtype < sizeof types / sizeof *types && types[dtype] != NULL);
    return types[dtype];
}

/* The shortest decimal text that reads back to `value`, as a floating literal without suffix. */
static const char *decimal(Arena *arena, double value, bool is_float) {
    char *text = NULL;
    value = is_float ? (double)(float)value : value; /* what is too small for a float is 0 */
    for (int precision = 1; precision <= 17; precision++) {
        text = arena_printf(arena, "%.*g", precision, value);
        double back = strtod(text, NULL);
        if (is_float ? (float)back == (float)value : back == value)
            break;
    }
    return strpbrk(text, ".e") != NULL ? text : arena_printf(arena, "%s.0", text);
}

const char *c_double(CPrinter *c, double value) {
    assert(isfinite(value));
    return decimal(c->arena, value, false);
}

const char *c_literal(CPrinter *c, DType dtype, double value) {
    const char *text;
    if (dtype == DTYPE_I32)
        text = arena_printf(c->arena, "%lld", (long long)value);
    else if (isnan(value))
        text = "NAN";
    else if (isinf((float)value))
        text = value < 0 ? "-INFINITY" : "INFINITY";
    else
        text = arena_printf(c->arena, "%sf", decimal(c->arena, value, true));
    return text[0] == '-' ? arena_printf(c->arena, "(%s)", text) : text;
}

void c_constants(CPrinter *c, const CConstant *constants) {
    fprintf(c->out, "%*senum {", c->depth * INDENT, "");
    for (int i = 0; constants[i].name != NULL; i++)
        fprintf(c->out, "%s %s = %lld", i > 0 ? "," : "", constants[i].name, (long long)constants[i].value);
    fputs(" };\n", c->out);
}
