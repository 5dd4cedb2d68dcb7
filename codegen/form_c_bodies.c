/* Bodies on parts of their rows and columns, as C: of operands, and of results, that a kernel has a tile of. */
#include "codegen/form_c_internal.h"

void form_print_side_indices(FormPrinter *at, const char *type, bool is_col, const char *flat) {
    int64_t inner = 1;
    int last = at->body->n_indices - 1;
    while (last >= 0 && at->body->indices[last].is_col != is_col)
        last--;
    for (int i = last; i >= 0 && at->body->indices[i].is_col == is_col; i--) {
        bool is_first = i == 0 || at->body->indices[i - 1].is_col != is_col;
        int64_t extent = at->body->indices[i].extent;
        const char *text = inner == 1 ? flat : arena_printf(at->c->arena, "%s / %lld", flat, (long long)inner);
        if (is_first)
            c_line(at->c, "%s %s = %s;", type, at->index_names[i], text);
        else
            c_line(at->c, "%s %s = %s %% %lld;", type, at->index_names[i], text, (long long)extent);
        inner *= extent;
    }
}

void form_print_level(FormPrinter *at, const bool *is_live, FormLevel level) {
    for (uint32_t i = 0; i < at->body->n_instrs; i++) {
        const FormInstr *instr = &at->body->instrs[i];
        bool writes = form_instr_writes(instr);
        if (!is_live[i] || (writes ? FORM_LEVEL_FULL : instr->level) != level || instr->op == FORM_CONST)
            continue;
        if (writes)
            form_print_write(at, instr);
        else if (instr->op == FORM_SUM)
            c_line(at->c, "float v%u = sums_%d[col];", i, instr->result);
        else
            form_print_value(at, i);
    }
}

/* ---- Rows of attention's tensors -------------------------------------------------------------------------------- */

/* The full values in the column, and the element that a part yields. */
static void print_column(FormPrinter *at, const bool *is_live) {
    const FormBody *body = at->body;
    const char *number = "";
    int64_t n_inner = 1;
    form_print_level(at, is_live, FORM_LEVEL_FULL);
    for (int i = body->n_indices - 1; i >= 0 && body->indices[i].is_col; i--) {
        const char *plus = number[0] == '\0' ? "" : " + ", *name = at->index_names[i];
        number = n_inner == 1 ? arena_printf(at->c->arena, "%s%s%s", name, plus, number)
                              : arena_printf(at->c->arena, "%s * %lld%s%s", name, (long long)n_inner, plus, number);
        n_inner *= body->indices[i].extent;
    }
    if (body->yield != FORM_NONE)
        c_line(at->c, "packed[%s] = %s;", number[0] == '\0' ? "0" : number, form_value_text(at, body->yield));
}

static void open_column_index(FormPrinter *at, int index) {
    const char *name = at->index_names[index];
    if (index == at->body->n_indices - 1)
        c_line(at->c, "#pragma omp simd");
    c_open(at->c, "for (int64_t %s = 0; %s < %lld; %s++)", name, name, (long long)at->body->indices[index].extent,
           name);
}

/* All columns. Two halves are done side by side: they read the same. */
static void print_columns(FormPrinter *at, const bool *is_live) {
    const FormBody *body = at->body;
    int first = body->n_indices, last = body->n_indices - 1;
    while (first > 0 && body->indices[first - 1].is_col)
        first--;
    bool has_halves = first + 1 == last && body->indices[first].extent == 2;
    for (int i = has_halves ? last : first; i <= last; i++)
        open_column_index(at, i);
    for (int half = 0; half < (has_halves ? 2 : 1); half++) {
        if (has_halves) {
            c_line(at->c, "{");
            at->c->depth++;
            c_line(at->c, "const int64_t %s = %d;", at->index_names[first], half);
        }
        print_column(at, is_live);
        if (has_halves)
            c_close(at->c);
    }
    for (int i = has_halves ? last : first; i <= last; i++)
        c_close(at->c);
}

void form_print_rows_of_part(CPrinter *c, const Form *form, const FormBody *part, const char *name, int64_t step) {
    FormPrinter at = form_printer_new(c, form, part);
    const bool *is_live = form_live(c->arena, part);
    long long n_cols = (long long)form_n_cols(part);
    c_line(c, "/* Rows first, first + %lld, .. of %s, n_major in all. */", (long long)step, name);
    c_open(c, "static const float *%s_%s(void *const *args, int64_t first, int64_t n_major, float *out)", form->name,
           name);
    form_print_pointers(&at);
    c_open(c, "for (int64_t major = 0; major < n_major; major++)");
    c_line(c, "int64_t row = first + major * %lld;", (long long)step);
    c_line(c, "(void)row;"); /* all may be alike */
    form_print_side_indices(&at, "int64_t", false, "row");
    form_print_level(&at, is_live, FORM_LEVEL_ROW);
    c_line(c, "float *packed = out + major * %lld;", n_cols);
    print_columns(&at, is_live);
    c_close(c);
    c_line(c, "return out;");
    c_close(c);
    fputc('\n', c->out);
}

void form_print_row_of_result(CPrinter *c, const Form *form, const FormBody *body, const char *name) {
    FormPrinter at = form_printer_new(c, form, body);
    const bool *is_live = form_live(c->arena, body);
    c_line(c, "/* Does with a row of %s what is to be done. */", name);
    c_open(c, "static void %s_%s(void *const *args, int64_t row, const float *sums)", form->name, name);
    form_print_pointers(&at);
    c_line(c, "(void)row, (void)sums;"); /* all may be alike */
    form_print_side_indices(&at, "int64_t", false, "row");
    form_print_level(&at, is_live, FORM_LEVEL_ROW);
    print_columns(&at, is_live);
    c_close(c);
    fputc('\n', c->out);
}
