/* What the files that print forms of kind ROWS share. */
#ifndef MOEC_CODEGEN_FORM_C_ROWS_H
#define MOEC_CODEGEN_FORM_C_ROWS_H

#include "codegen/form_c_internal.h"
#include "codegen/form_c_phases.h"

/* Terms that are added up in floats, in lanes side by side; their sums are added in doubles. */
enum { FORM_BLOCK = 1024 };

/* Long sums are cut in this many parts for threads to share: always the same ones, added up in order. */
enum { FORM_CHUNKS = 64 };

typedef struct {
    FormPrinter base;
    Phases phases;
    bool *is_needed; /* by the loop at hand */
    int first_col;   /* the first column index */
    double work;     /* what computing all elements costs, in additions */
    bool is_single;  /* one block at a time has all terms of the sums over columns: they are added up in vn itself */
} RowsPrinter;

static inline const FormInstr *rows_instr(const RowsPrinter *at, size_t i) {
    return &at->base.body->instrs[i];
}

static inline int rows_n_col_indices(const RowsPrinter *at) {
    return at->base.body->n_indices - at->first_col;
}

/* ---- Rows (form_c_rows.c) -------------------------------------------------------------------------------------- */

RowsPrinter rows_printer_new(CPrinter *c, const Form *form);
/* The loop over all rows, or over those from `first` on to before `end`. */
void rows_open(RowsPrinter *at, const char *first, const char *end);
void rows_open_all(RowsPrinter *at);
/* `int64_t b = row / 256, t = row % 256;` of the row indices but `except` (-1: none), where `row` is not one of them.
 */
void rows_print_indices(RowsPrinter *at, int except);
/* The number of the row in a loop. */
const char *rows_name(const RowsPrinter *at);
/* What has one value for each row and can be computed before the loop of the phase. */
void rows_print_values(RowsPrinter *at, int phase);
/* Whether some of that is written, which must not happen twice. */
bool rows_write_values(const RowsPrinter *at);
/* All of a row's work. */
void rows_print(RowsPrinter *at);

/* ---- Pieces (form_c_pieces.c) ---------------------------------------------------------------------------------- */

/* Tables of the pieces: `sizes`, and `starts`, the number of the first part of each. */
void rows_print_piece_tables(RowsPrinter *at);
/* How many parts all pieces have. */
int64_t rows_n_parts(const RowsPrinter *at);
/* What part number `part` is: columns [begin, stop) of a piece, and pointers to the arguments' pieces. */
void rows_print_part(RowsPrinter *at);

/* ---- Loops over columns (form_c_loops.c) ----------------------------------------------------------------------- */

/* The number of the column: "h * 64 + d". */
const char *rows_col_text(const RowsPrinter *at);
/* for (int64_t d = 0; d < 576; d++) { */
void rows_open_index(RowsPrinter *at, int index);
void rows_open_part(RowsPrinter *at, int index, const char *first, const char *end);
/* What stands in the innermost loop of the phase. */
void rows_print_elements(RowsPrinter *at, int phase);
/* The loops over the columns and the values of the sums over them. */
void rows_print_loops(RowsPrinter *at, int phase);
/* The same, the columns shared out among threads; there is one column index. */
void rows_print_shared_loop(RowsPrinter *at, int phase);

/* ---- Ways through the rows ------------------------------------------------------------------------------------- */

/* With sums over rows (form_c_sums.c). */
void rows_print_sums(RowsPrinter *at);
/* A form without reductions of which each element has one index of rows and one of columns that can change places:
   the row index that some array steps through one by one, where the columns leap; -1: none (form_c_transposed.c). */
int rows_transposed_index(const RowsPrinter *at);
void rows_print_transposed(RowsPrinter *at, int transposed);
/* The same of a form that only sums over columns, and writes what has one value a row. */
int rows_summed_index(const RowsPrinter *at);
void rows_print_transposed_sums(RowsPrinter *at, int summed);

/* What scatters (form_c_scatter.c). */
void rows_print_scatter(CPrinter *c, const Form *form);

#endif
