/* Printing C: indented lines, literals, constants.

   In: what a kernel does, from codegen/lower_*.c. Out: its body as text. Never here: what an op means. */
#ifndef MOEC_CODEGEN_C_PRINT_H
#define MOEC_CODEGEN_C_PRINT_H

#include "ir/ir.h"

typedef struct {
    Arena *arena; /* of the text that expressions are made of */
    FILE *out;
    int depth; /* of indentation */
} CPrinter;

/* ---- Lines ---------------------------------------------------------------------------------------------------- */

/* One indented line. */
void c_line(CPrinter *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* One that opens a block: " {" is added. */
void c_open(CPrinter *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
void c_close(CPrinter *c);
/* Lines of fixed text, each ended by a newline, indented further by the current depth. */
void c_text(CPrinter *c, const char *text);
/* A comment of the text, whatever is in it. */
void c_comment(CPrinter *c, const char *text);
/* `#pragma omp parallel for CLAUSES` for the loop that follows, if `work` (about one FLOP or one element moved each) is
   worth waking the threads. */
void c_parallel(CPrinter *c, double work, const char *clauses);
bool c_is_parallel(double work);

/* ---- Parts of C ----------------------------------------------------------------------------------------------- */

/* "float"; f32 and i32 only. */
const char *c_type(DType dtype);
/* A literal of the dtype, in brackets where negative. */
const char *c_literal(CPrinter *c, DType dtype, double value);
const char *c_double(CPrinter *c, double value);

typedef struct {
    const char *name; /* NULL ends a list */
    int64_t value;
} CConstant;

/* enum { n_rows = 1024, width = 576 }; such names can stand in array bounds, and differ from kernel to kernel. */
void c_constants(CPrinter *c, const CConstant *constants);

#endif
