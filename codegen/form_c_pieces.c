/* Forms in pieces: the pieces are cut in parts, always the same ones, which threads share whatever piece they are of.
 */
#include "codegen/form_c_rows.h"

/* Columns of a part: some blocks of a sum, and enough for what finding the piece takes. */
enum { PART = 16 * FORM_BLOCK };

static int64_t parts_of(int64_t n_columns) {
    return (n_columns + PART - 1) / PART;
}

int64_t rows_n_parts(const RowsPrinter *at) {
    int64_t n = 0;
    for (size_t i = 0; i < at->base.form->n_pieces; i++)
        n += parts_of(at->base.form->pieces[i]);
    return n;
}

/* The numbers in lines of some each. */
static void print_table(CPrinter *c, const char *name, const int64_t *numbers, size_t n) {
    enum { IN_LINE = 8 };
    c_open(c, "static const int64_t %s[%zu] =", name, n);
    for (size_t i = 0; i < n; i += IN_LINE) {
        const char *line = "";
        for (size_t j = i; j < n && j < i + IN_LINE; j++)
            line = arena_printf(c->arena, "%s%s%lld,", line, j > i ? " " : "", (long long)numbers[j]);
        c_line(c, "%s", line);
    }
    c->depth--;
    c_line(c, "};");
}

void rows_print_piece_tables(RowsPrinter *at) {
    const Form *form = at->base.form;
    int64_t *starts = arena_array_of(at->base.c->arena, int64_t, form->n_pieces);
    for (size_t i = 1; i < form->n_pieces; i++)
        starts[i] = starts[i - 1] + parts_of(form->pieces[i - 1]);
    print_table(at->base.c, "sizes", form->pieces, form->n_pieces);
    print_table(at->base.c, "starts", starts, form->n_pieces);
}

void rows_print_part(RowsPrinter *at) {
    CPrinter *c = at->base.c;
    c_line(c, "int64_t piece = moec_piece(starts, %zu, part), begin = (part - starts[piece]) * %d;",
           at->base.form->n_pieces, PART);
    c_line(c, "int64_t stop = begin + %d < sizes[piece] ? begin + %d : sizes[piece];", PART, PART);
    form_print_piece_pointers(&at->base);
}
