/* ROWS forms as C: the way through the rows, and the work of one. Every result has one writer and every sum one order,
   whatever the number of threads. */
#include "codegen/form_c_rows.h"

#include <assert.h>
#include <string.h>

/* ---- Rows ------------------------------------------------------------------------------------------------------ */

void rows_print_indices(RowsPrinter *at, int except) {
    const char *row = "row";
    int first = except == 0 ? 1 : 0, n = at->first_col - (except >= 0);
    for (int i = at->first_col - 1; i >= first && (n > 1 || except >= 0); i--) {
        const char *name = at->base.index_names[i];
        long long extent = (long long)at->base.body->indices[i].extent;
        if (i == except)
            continue;
        if (i == first) {
            c_line(at->base.c, "int64_t %s = %s;", name, row);
            continue;
        }
        c_line(at->base.c, "int64_t %s = %s %% %lld;", name, row, extent);
        row = arena_printf(at->base.c->arena, "%s / %lld", row, extent);
    }
}

const char *rows_name(const RowsPrinter *at) {
    return at->first_col == 1 ? at->base.index_names[0] : "row";
}

void rows_open(RowsPrinter *at, const char *first, const char *end) {
    const char *name = rows_name(at);
    c_open(at->base.c, "for (int64_t %s = %s; %s < %s; %s++)", name, first, name, end, name);
}

void rows_open_all(RowsPrinter *at) {
    rows_open(at, "0", arena_printf(at->base.c->arena, "%lld", (long long)form_n_rows(at->base.body)));
}

void rows_print_values(RowsPrinter *at, int phase) {
    for (uint32_t i = 0; i < at->base.body->n_instrs; i++) {
        const FormInstr *instr = rows_instr(at, i);
        bool is_here = at->phases.is_live[i] && instr->level == FORM_LEVEL_ROW && at->phases.phases[i] == phase;
        if (!is_here || instr->op == FORM_CONST || form_instr_is_reduction(instr))
            continue;
        if (form_instr_writes(instr))
            form_print_write(&at->base, instr);
        else
            form_print_value(&at->base, i);
    }
}

static bool writes_row_values(const FormBody *body) {
    for (size_t i = 0; i < body->n_instrs; i++) {
        if (form_instr_writes(&body->instrs[i]) && body->instrs[i].level == FORM_LEVEL_ROW)
            return true;
    }
    return false;
}

bool rows_write_values(const RowsPrinter *at) {
    return writes_row_values(at->base.body);
}

void rows_print(RowsPrinter *at) {
    const FormBody *body = at->base.body;
    rows_print_indices(at, -1);
    for (size_t i = 0; i < body->n_instrs; i++) {
        if (at->phases.kept_from[i] >= 0)
            c_line(at->base.c, "float kept_%zu[%lld];", i, (long long)form_n_cols(body));
    }
    for (int phase = 0; phase < at->phases.n_phases; phase++) {
        rows_print_values(at, phase);
        if (phases_needs(&at->phases, phase, at->is_needed))
            rows_print_loops(at, phase);
    }
}

/* ---- Ways through the rows ------------------------------------------------------------------------------------- */

static bool has_op(const FormBody *body, const bool *is_live, FormOp op) {
    for (size_t i = 0; i < body->n_instrs; i++) {
        if (is_live[i] && body->instrs[i].op == op)
            return true;
    }
    return false;
}

static void set_levels(FormBody *body) {
    for (size_t i = 0; i < body->n_instrs; i++)
        body->instrs[i].level = form_level(body, &body->instrs[i]);
}

/* A column index that became a row index would repeat what is written once a row. */
static bool can_flatten(const FormBody *body) {
    int n_col_indices = 0;
    for (int i = 0; i < body->n_indices; i++)
        n_col_indices += body->indices[i].is_col;
    return n_col_indices < 2 || !writes_row_values(body);
}

/* Where nothing is summed, rows and columns mean nothing and long inner loops are good: all indices but the last make
   up the row, joined where they can be. */
static void flatten(Form *form) {
    FormBody *body = &form->body;
    for (int i = 0; i < body->n_indices; i++)
        body->indices[i].is_col = true;
    form_merge_indices(form);
    for (int i = 0; i < body->n_indices - 1; i++)
        body->indices[i].is_col = false;
    set_levels(body);
}

/* With sums over rows of one column: the same as sums over the columns of one row, which threads and lanes share. */
static void lay_down(FormBody *body) {
    for (int i = 0; i < body->n_indices; i++)
        body->indices[i].is_col = true;
    for (size_t i = 0; i < body->n_instrs; i++) {
        if (body->instrs[i].op == FORM_SUM_ROWS)
            body->instrs[i].op = FORM_SUM_COLS;
    }
    set_levels(body);
}

/* Fewer rows than this leave threads idle: then they share the columns of each, where a row has enough of them. */
enum { LEAST_ROWS = 16 };
static const int64_t LEAST_SHARED_COLS = 32768;

/* A row has some work, and all threads do it together. */
static void print_shared(RowsPrinter *at) {
    bool has_loop = form_n_rows(at->base.body) > 1;
    if (has_loop)
        rows_open_all(at);
    rows_print_indices(at, -1);
    for (int phase = 0; phase < at->phases.n_phases; phase++) {
        rows_print_values(at, phase);
        if (phases_needs(&at->phases, phase, at->is_needed))
            rows_print_shared_loop(at, phase);
    }
    if (has_loop)
        c_close(at->base.c);
}

/* A row of all pieces is no buffer's. */
static void print_pieces(RowsPrinter *at) {
    for (size_t i = 0; i < at->base.body->n_instrs; i++)
        at->phases.kept_from[i] = -1;
    rows_print_piece_tables(at);
    print_shared(at);
}

/* Rows with no more columns than this may be computed side by side in vectors: the compiler unrolls their loops. */
static const int64_t MAX_UNROLLED_COLS = 32;

/* Rows that threads share in chunks, always the same ones, for what the shared blocks of columns are for. */
static void print_row_chunks(RowsPrinter *at) {
    CPrinter *c = at->base.c;
    long long n_rows = (long long)form_n_rows(at->base.body), n_chunks = n_rows < FORM_CHUNKS ? n_rows : FORM_CHUNKS;
    c_parallel(c, at->work, "");
    c_open(c, "for (int64_t chunk = 0; chunk < %lld; chunk++)", n_chunks);
    rows_open(at, arena_printf(c->arena, "chunk * %lld / %lld", n_rows, n_chunks),
              arena_printf(c->arena, "(chunk + 1) * %lld / %lld", n_rows, n_chunks));
    rows_print(at);
    c_close(c);
    c_close(c);
}

static void print_row_by_row(RowsPrinter *at) {
    bool has_loop = form_n_rows(at->base.body) > 1;
    if (!has_loop) {
        rows_print(at);
        return;
    }
    if (c_is_parallel(at->work) && form_n_cols(at->base.body) <= MAX_UNROLLED_COLS) {
        print_row_chunks(at);
        return;
    }
    c_parallel(at->base.c, at->work, "");
    rows_open_all(at);
    rows_print(at);
    c_close(at->base.c);
}

static double work_of(const RowsPrinter *at) {
    const FormBody *body = at->base.body;
    double n_rows = (double)form_n_rows(body), n_elements = n_rows * (double)form_n_cols(body), work = 0;
    for (size_t i = 0; i < body->n_instrs; i++) {
        if (at->phases.is_live[i])
            work += form_cost(body, rows_instr(at, i)) *
                    (rows_instr(at, i)->level == FORM_LEVEL_FULL ? n_elements : n_rows);
    }
    return work;
}

RowsPrinter rows_printer_new(CPrinter *c, const Form *form) {
    const FormBody *body = &form->body;
    RowsPrinter at = {.base = form_printer_new(c, form, body), .phases = phases_of(c->arena, body)};
    at.is_needed = arena_array_of(c->arena, bool, body->n_instrs);
    while (at.first_col < body->n_indices && !body->indices[at.first_col].is_col)
        at.first_col++;
    at.work = work_of(&at);
    return at;
}

void form_print_rows(CPrinter *c, Form *form) {
    FormBody *body = &form->body;
    const bool *is_live = form_live(c->arena, body);
    bool sums_cols = has_op(body, is_live, FORM_SUM_COLS) || has_op(body, is_live, FORM_MAX_COLS) ||
                     has_op(body, is_live, FORM_LOGSUMEXP_COLS);
    bool sums_rows = has_op(body, is_live, FORM_SUM_ROWS), is_summing = sums_cols || sums_rows;
    if (form_scatter_of(body)) {
        rows_print_scatter(c, form);
        return;
    }
    if (form->n_pieces == 0 && !is_summing && can_flatten(body))
        flatten(form);
    else if (form->n_pieces == 0 && is_summing && !sums_cols && form_n_cols(body) == 1)
        lay_down(body);
    RowsPrinter at = rows_printer_new(c, form);
    int64_t n_rows = form_n_rows(body), n_cols = form_n_cols(body);
    bool shares_cols = n_rows < LEAST_ROWS && rows_n_col_indices(&at) == 1 && c_is_parallel(at.work) &&
                       (!is_summing || n_cols >= LEAST_SHARED_COLS);
    int transposed = is_summing ? -1 : rows_transposed_index(&at);
    form_print_pointers(&at.base);
    if (form->n_pieces > 0)
        print_pieces(&at);
    else if (has_op(body, is_live, FORM_SUM_ROWS))
        rows_print_sums(&at);
    else if (transposed >= 0)
        rows_print_transposed(&at, transposed);
    else if (is_summing && rows_summed_index(&at) >= 0)
        rows_print_transposed_sums(&at, rows_summed_index(&at));
    else if (shares_cols)
        print_shared(&at);
    else
        print_row_by_row(&at);
}
