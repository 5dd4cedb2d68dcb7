/* Printing C: indented lines, constants, arguments, and nests of loops over strided tensors.

   In: what a kernel does, from codegen/lower_*.c. Out: its body as text. Never here: what an op means. */
#ifndef MOEC_CODEGEN_C_PRINT_H
#define MOEC_CODEGEN_C_PRINT_H

#include "ir/ir.h"
#include "ir/view.h"

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

/* Pointers to the kernel's arguments. `names`: of the results, then of all operands; NULL for one that the kernel does
   not touch. */
void c_pointers(CPrinter *c, const Node *node, const char *const *names);

/* ---- Loop nests ----------------------------------------------------------------------------------------------- */

enum { NEST_MAX_TENSORS = 3 };

/* Loops over an index space and the tensors that are read or written at each index: element
   offset + sum(variable * stride). */
typedef struct {
    const char *variable; /* loop variable */
    int64_t extent;
    int64_t strides[NEST_MAX_TENSORS]; /* one a tensor; 0 where it repeats */
} NestLoop;

typedef struct {
    int n_loops;
    NestLoop loops[MAX_RANK]; /* outermost first */
    int n_tensors;
    const char *tensors[NEST_MAX_TENSORS];
    int64_t offsets[NEST_MAX_TENSORS];
} Nest;

/* One loop a dim of `type`, named after the dim. */
Nest nest_new(const Type *type);
/* Adds a tensor; returns its index. `strides`: one a loop. */
int nest_add(Nest *nest, const char *name, int64_t offset, const int64_t *strides);
/* Leaves out loops of one iteration, makes one loop of neighbours that every tensor runs through evenly, and gives the
   rest distinct names that are C identifiers. After all tensors were added. */
void nest_merge(Nest *nest, Arena *arena);

/* "x[b_t * 576 + d]" */
const char *nest_element(CPrinter *c, const Nest *nest, int tensor);

/* for (int64_t d = 0; d < 576; d++) { */
void nest_open_loop(CPrinter *c, const NestLoop *loop);
/* The same with other bounds, as C expressions. */
void nest_open_part(CPrinter *c, const NestLoop *loop, const char *first, const char *end);

/* The whole nest around one statement that writes a different element in each iteration: parallel if the work is worth
   it, the inner loop vectorised. */
void nest_print_map(CPrinter *c, const Nest *nest, double work, const char *statement);

#endif
