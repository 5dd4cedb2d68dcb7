/* Forms that scatter: a block of columns belongs to one thread, which goes through all rows in order, so that the sums
   have one order. Rows that follow each other and go to one place are added up in doubles before they go there. */
#include "codegen/form_c_rows.h"

enum { COLUMNS = 64 };

static void print_zeros(RowsPrinter *at, const FormInstr *scatter) {
    const FormArg *arg = &at->base.form->args[scatter->map.arg];
    CPrinter *c = at->base.c;
    long long n = (long long)arg->n_elements, n_chunks = n < FORM_CHUNKS ? n : FORM_CHUNKS;
    c_parallel(c, (double)n, "");
    c_open(c, "for (int64_t chunk = 0; chunk < %lld; chunk++)", n_chunks);
    c_line(c, "int64_t begin = chunk * %lld / %lld, stop = (chunk + 1) * %lld / %lld;", n, n_chunks, n, n_chunks);
    c_line(c, "memset(%s + begin, 0, sizeof(float) * (size_t)(stop - begin));", at->base.arg_names[scatter->map.arg]);
    c_close(c);
}

/* The loop over the columns of the block, which `at->is_needed` values are computed in. */
static void open_columns(RowsPrinter *at) {
    CPrinter *c = at->base.c;
    c_line(c, "#pragma omp simd");
    rows_open_part(at, at->base.body->n_indices - 1, "first", "end");
}

/* Adds what is in the sums to where the rows before go. */
static void print_flush(RowsPrinter *at, const FormInstr *scatter, bool has_columns) {
    CPrinter *c = at->base.c;
    const char *name = has_columns ? at->base.index_names[at->base.body->n_indices - 1] : NULL;
    const char *number = has_columns ? arena_printf(c->arena, "%s - first", name) : "0";
    const char *element = form_scatter_text(&at->base, scatter, "place");
    if (has_columns)
        open_columns(at);
    c_line(c, "%s += (float)sums[%s];", element, number);
    c_line(c, "sums[%s] = 0;", number);
    if (has_columns)
        c_close(c);
}

static void print_terms(RowsPrinter *at, const FormInstr *scatter, bool has_columns) {
    const FormBody *body = at->base.body;
    CPrinter *c = at->base.c;
    const char *value = form_value_text(&at->base, scatter->a);
    if (!has_columns) {
        c_line(c, "sums[0] += %s;", value);
        return;
    }
    phases_needs(&at->phases, 0, at->is_needed);
    open_columns(at);
    for (uint32_t i = 0; i < body->n_instrs; i++) {
        if (at->is_needed[i] && rows_instr(at, i)->op != FORM_CONST && rows_instr(at, i) != scatter)
            form_print_value(&at->base, i);
    }
    c_line(c, "sums[%s - first] += %s;", at->base.index_names[body->n_indices - 1], value);
    c_close(c);
}

static void print_row(RowsPrinter *at, const FormInstr *scatter, bool has_columns) {
    const FormBody *body = at->base.body;
    CPrinter *c = at->base.c;
    size_t number = (size_t)(scatter - body->instrs);
    for (uint32_t i = 0; i < body->n_instrs; i++) {
        const FormInstr *instr = rows_instr(at, i);
        if (instr->level == FORM_LEVEL_ROW && instr->op != FORM_CONST && instr != scatter && at->phases.is_live[i])
            form_print_value(&at->base, i);
    }
    c_line(c, "if (!v%zu_is)", number);
    c_line(c, "    continue;");
    c_open(c, "if (v%zu_at != place)", number);
    print_flush(at, scatter, has_columns);
    c_line(c, "place = v%zu_at;", number);
    c_close(c);
    print_terms(at, scatter, has_columns);
}

void rows_print_scatter(CPrinter *c, const Form *form) {
    RowsPrinter at = rows_printer_new(c, form);
    const FormInstr *scatter = form_scatter_of(at.base.body);
    long long n_cols = (long long)form_n_cols(at.base.body), n_rows = (long long)form_n_rows(at.base.body);
    bool has_columns = scatter->level == FORM_LEVEL_FULL;
    form_print_pointers(&at.base);
    if (form->args[scatter->map.arg].access == FORM_OUT)
        print_zeros(&at, scatter);
    if (n_cols > COLUMNS)
        c_parallel(c, at.work, "schedule(dynamic)");
    c_open(c, "for (int64_t first = 0; first < %lld; first += %d)", n_cols, COLUMNS);
    if (has_columns)
        c_line(c, "int64_t end = first + %d < %lld ? first + %d : %lld;", COLUMNS, n_cols, COLUMNS, n_cols);
    c_line(c, "double sums[%lld] = {0};", n_cols < COLUMNS ? n_cols : COLUMNS);
    c_line(c, "int64_t place = 0;");
    rows_open(&at, "0", arena_printf(c->arena, "%lld", n_rows));
    rows_print_indices(&at, -1);
    print_row(&at, scatter, has_columns);
    c_close(c);
    print_flush(&at, scatter, has_columns);
    c_close(c);
}
