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

/* A loop for each column index; "half * 32 + i", the number of the column. */
static const char *open_columns(FormPrinter *at) {
    const FormBody *body = at->body;
    const char *number = "";
    int64_t n_inner = form_n_cols(body);
    for (int i = 0; i < body->n_indices; i++) {
        const char *name = at->index_names[i];
        if (!body->indices[i].is_col)
            continue;
        if (i == body->n_indices - 1)
            c_line(at->c, "#pragma omp simd");
        c_open(at->c, "for (int64_t %s = 0; %s < %lld; %s++)", name, name, (long long)body->indices[i].extent, name);
        n_inner /= body->indices[i].extent;
        const char *plus = number[0] == '\0' ? "" : " + ";
        number = n_inner == 1 ? arena_printf(at->c->arena, "%s%s%s", number, plus, name)
                              : arena_printf(at->c->arena, "%s%s%s * %lld", number, plus, name, (long long)n_inner);
    }
    return number[0] == '\0' ? "0" : number;
}

static void close_columns(FormPrinter *at) {
    for (int i = 0; i < at->body->n_indices; i++) {
        if (at->body->indices[i].is_col)
            c_close(at->c);
    }
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
    const char *number = open_columns(&at);
    form_print_level(&at, is_live, FORM_LEVEL_FULL);
    c_line(c, "packed[%s] = %s;", number, form_value_text(&at, part->yield));
    close_columns(&at);
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
    open_columns(&at);
    form_print_level(&at, is_live, FORM_LEVEL_FULL);
    close_columns(&at);
    c_close(c);
    fputc('\n', c->out);
}
