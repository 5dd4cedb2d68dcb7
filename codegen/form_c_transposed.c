/* Forms that read or write across the lines of some array. */
#include "codegen/form_c_rows.h"

#include <string.h>

/* Elements of a line of the cache. */
enum { LINE = 16 };

/* A row index that some array steps through one by one, where the innermost columns leap. */
static int leaping_index(const RowsPrinter *at) {
    const FormBody *body = at->base.body;
    int inner = body->n_indices - 1;
    for (int i = 0; i < at->first_col; i++) {
        for (size_t j = 0; j < body->n_instrs; j++) {
            const FormAccessMap *map = &body->instrs[j].map;
            bool leaps = map->arg != FORM_NONE && map->strides[i] == 1 && map->strides[inner] >= LINE;
            if (form_instr_has_map(&body->instrs[j]) && leaps && body->indices[i].extent >= LINE &&
                body->indices[inner].extent >= LINE)
                return i;
        }
    }
    return -1;
}

int rows_transposed_index(const RowsPrinter *at) {
    return rows_n_col_indices(at) != 1 || rows_write_values(at) ? -1 : leaping_index(at);
}

int rows_summed_index(const RowsPrinter *at) {
    const FormBody *body = at->base.body;
    for (size_t i = 0; i < body->n_instrs; i++) {
        const FormInstr *instr = rows_instr(at, i);
        bool is_sum = instr->op == FORM_SUM_COLS && at->phases.phases[i] == 1;
        bool is_full_write = form_instr_writes(instr) && instr->level == FORM_LEVEL_FULL;
        if (at->phases.is_live[i] && ((form_instr_is_reduction(instr) && !is_sum) || is_full_write))
            return -1;
    }
    return rows_n_col_indices(at) == 0 ? -1 : leaping_index(at);
}

/* The lines of that array are run through from end to end, as many side by side as fill a line of the others. */
void rows_print_transposed(RowsPrinter *at, int transposed) {
    CPrinter *c = at->base.c;
    const FormBody *body = at->base.body;
    int inner = body->n_indices - 1;
    long long extent = (long long)body->indices[inner].extent;
    long long n_rows = (long long)(form_n_rows(body) / body->indices[transposed].extent);
    c_parallel(c, at->work, n_rows > 1 ? "collapse(2)" : "");
    if (n_rows > 1)
        c_open(c, "for (int64_t row = 0; row < %lld; row++)", n_rows);
    c_open(c, "for (int64_t first = 0; first < %lld; first += %d)", extent, LINE);
    c_line(c, "int64_t end = first + %d < %lld ? first + %d : %lld;", LINE, extent, LINE, extent);
    if (n_rows > 1)
        rows_print_indices(at, transposed);
    rows_open_index(at, transposed);
    rows_print_values(at, 0);
    phases_needs(&at->phases, 0, at->is_needed);
    c_line(c, "#pragma omp simd");
    rows_open_part(at, inner, "first", "end");
    rows_print_elements(at, 0);
    c_close(c);
    c_close(c);
    c_close(c);
    if (n_rows > 1)
        c_close(c);
}

/* ---- Sums ------------------------------------------------------------------------------------------------------ */

/* Rows that are added up side by side. */
enum { SUMS = 64 };

static bool is_live_row(const RowsPrinter *at, size_t i) {
    const FormInstr *instr = rows_instr(at, i);
    return at->phases.is_live[i] && instr->level == FORM_LEVEL_ROW && instr->op != FORM_CONST;
}

/* What the sums are of, of any level. */
static void find_terms(RowsPrinter *at) {
    const FormBody *body = at->base.body;
    memset(at->is_needed, 0, body->n_instrs * sizeof *at->is_needed);
    for (size_t i = body->n_instrs; i-- > 0;) {
        const FormInstr *instr = rows_instr(at, i);
        if (!at->is_needed[i] && !phases_is_root(&at->phases, i, 0))
            continue;
        for (int j = 0; j < form_instr_n_operands(instr); j++)
            at->is_needed[form_instr_operand(instr, j)] = true;
        if (instr->map.gather != FORM_NONE)
            at->is_needed[instr->map.gather] = true;
    }
}

/* One column of the rows. */
static void print_terms(RowsPrinter *at, const char *number) {
    find_terms(at);
    for (uint32_t i = 0; i < at->base.body->n_instrs; i++) {
        const FormInstr *instr = rows_instr(at, i);
        if (at->is_needed[i] && instr->op != FORM_CONST)
            form_print_value(&at->base, i);
        if (phases_is_root(&at->phases, i, 0))
            c_line(at->base.c, "sum_%u[%s] += %s;", i, number, form_value_text(&at->base, instr->a));
    }
}

/* What has one value a row, and is written. */
static void print_row(RowsPrinter *at, const char *number) {
    for (uint32_t i = 0; i < at->base.body->n_instrs; i++) {
        const FormInstr *instr = rows_instr(at, i);
        if (!is_live_row(at, i))
            continue;
        if (instr->op == FORM_SUM_COLS)
            c_line(at->base.c, "float v%u = (float)sum_%u[%s];", i, i, number);
        else if (form_instr_writes(instr))
            form_print_write(&at->base, instr);
        else
            form_print_value(&at->base, i);
    }
}

/* A line of the array has an element for each of the rows that are added up side by side. */
void rows_print_transposed_sums(RowsPrinter *at, int summed) {
    CPrinter *c = at->base.c;
    const FormBody *body = at->base.body;
    long long extent = (long long)body->indices[summed].extent, n_rows = (long long)form_n_rows(body) / extent;
    const char *number = arena_printf(c->arena, "%s - first", at->base.index_names[summed]);
    c_parallel(c, at->work, n_rows > 1 ? "collapse(2)" : "");
    if (n_rows > 1)
        c_open(c, "for (int64_t row = 0; row < %lld; row++)", n_rows);
    c_open(c, "for (int64_t first = 0; first < %lld; first += %d)", extent, SUMS);
    c_line(c, "int64_t end = first + %d < %lld ? first + %d : %lld;", SUMS, extent, SUMS, extent);
    if (n_rows > 1)
        rows_print_indices(at, summed);
    for (size_t i = 0; i < body->n_instrs; i++) {
        if (phases_is_root(&at->phases, i, 0))
            c_line(c, "double sum_%zu[%d] = {0};", i, SUMS);
    }
    for (int i = at->first_col; i < body->n_indices; i++)
        rows_open_index(at, i);
    c_line(c, "#pragma omp simd");
    rows_open_part(at, summed, "first", "end");
    print_terms(at, number);
    for (int i = at->first_col; i <= body->n_indices; i++)
        c_close(c);
    rows_open_part(at, summed, "first", "end");
    print_row(at, number);
    for (int i = 0; i < (n_rows > 1 ? 3 : 2); i++)
        c_close(c);
}
