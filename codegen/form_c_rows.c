/* ROWS forms as C: loops over rows, and over the columns of a row in phases (form_c_phases.h). Every result has one
   writer and every sum one order, whatever the number of threads. */
#include <assert.h>
#include <string.h>

#include "codegen/form_c_internal.h"
#include "codegen/form_c_phases.h"

/* Terms that are added up in floats, in lanes side by side; their sums are added in doubles. */
enum { BLOCK = 1024 };

/* A sum over all rows is cut in this many parts at most, whose partial rows take this many bytes at most: always the
   same parts, added up in order. */
enum { MAX_CHUNKS = 64, MAX_PARTIAL_BYTES = 1 << 20 };

typedef struct {
    FormPrinter base;
    Phases phases;
    bool *is_needed; /* by the loop at hand */
    int first_col;   /* the first column index */
    bool has_row_sums;
    int64_t n_chunks;
} RowsPrinter;

static const FormInstr *instr_at(const RowsPrinter *at, size_t i) {
    return &at->base.body->instrs[i];
}

static int n_col_indices(const RowsPrinter *at) {
    return at->base.body->n_indices - at->first_col;
}

/* ---- Indices ---------------------------------------------------------------------------------------------------- */

/* `int64_t b = row / 256, t = row % 256;`, where one index does not stand for the row by itself. */
static void print_row_indices(RowsPrinter *at) {
    const FormBody *body = at->base.body;
    const char *row = "row";
    for (int i = at->first_col - 1; i >= 0 && at->first_col > 1; i--) {
        const char *name = at->base.index_names[i];
        if (i == 0) {
            c_line(at->base.c, "int64_t %s = %s;", name, row);
            break;
        }
        long long extent = (long long)body->indices[i].extent;
        c_line(at->base.c, "int64_t %s = %s %% %lld;", name, row, extent);
        row = arena_printf(at->base.c->arena, "%s / %lld", row, extent);
    }
}

static const char *row_name(const RowsPrinter *at) {
    return at->first_col == 1 ? at->base.index_names[0] : "row";
}

/* The number of the column: "h * 64 + d". */
static const char *flat_col(const RowsPrinter *at) {
    const FormBody *body = at->base.body;
    const char *text = "";
    int64_t stride = 1;
    for (int i = body->n_indices - 1; i >= at->first_col; i--) {
        const char *term =
            stride == 1 ? at->base.index_names[i]
                        : arena_printf(at->base.c->arena, "%s * %lld", at->base.index_names[i], (long long)stride);
        text = text[0] == '\0' ? term : arena_printf(at->base.c->arena, "%s + %s", term, text);
        stride *= body->indices[i].extent;
    }
    return text[0] == '\0' ? "0" : text;
}

static void open_index(RowsPrinter *at, int i) {
    const char *name = at->base.index_names[i];
    c_open(at->base.c, "for (int64_t %s = 0; %s < %lld; %s++)", name, name, (long long)at->base.body->indices[i].extent,
           name);
}

/* ---- The loop of a phase ---------------------------------------------------------------------------------------- */

static bool is_col_reduction(const FormInstr *instr) {
    return instr->op == FORM_SUM_COLS || instr->op == FORM_MAX_COLS;
}

/* Before the loops: what they add up. */
static void print_sum_starts(RowsPrinter *at, int phase) {
    for (size_t i = 0; i < at->base.body->n_instrs; i++) {
        if (!phases_is_root(&at->phases, i, phase))
            continue;
        if (instr_at(at, i)->op == FORM_SUM_COLS)
            c_line(at->base.c, "double sum_%zu = 0;", i);
        else if (instr_at(at, i)->op == FORM_MAX_COLS)
            c_line(at->base.c, "float v%zu = -FLT_MAX;", i);
    }
}

/* `reduction(+ : block_3, block_7) reduction(max : v5)` */
static const char *reduction_clauses(const RowsPrinter *at, int phase) {
    Arena *arena = at->base.c->arena;
    const char *sums = "", *maxima = "";
    for (size_t i = 0; i < at->base.body->n_instrs; i++) {
        if (!phases_is_root(&at->phases, i, phase))
            continue;
        if (instr_at(at, i)->op == FORM_SUM_COLS)
            sums = arena_printf(arena, "%s%sblock_%zu", sums, sums[0] == '\0' ? " reduction(+ : " : ", ", i);
        else if (instr_at(at, i)->op == FORM_MAX_COLS)
            maxima = arena_printf(arena, "%s%sv%zu", maxima, maxima[0] == '\0' ? " reduction(max : " : ", ", i);
    }
    return arena_printf(arena, "%s%s%s%s", sums, sums[0] == '\0' ? "" : ")", maxima, maxima[0] == '\0' ? "" : ")");
}

static void print_root(RowsPrinter *at, size_t i) {
    const FormInstr *instr = instr_at(at, i);
    CPrinter *c = at->base.c;
    if (form_instr_writes(instr)) {
        form_print_write(&at->base, instr);
        return;
    }
    const char *value = form_value_text(&at->base, instr->a);
    if (instr->op == FORM_SUM_COLS)
        c_line(c, "block_%zu += %s;", i, value);
    else if (instr->op == FORM_MAX_COLS)
        c_line(c, "v%zu = %s > v%zu ? %s : v%zu;", i, value, i, value, i);
    else
        c_line(c, "parts_%zu[%s] += %s;", i, flat_col(at), value);
}

static void print_loop_body(RowsPrinter *at, int phase) {
    for (uint32_t i = 0; i < at->base.body->n_instrs; i++) {
        const FormInstr *instr = instr_at(at, i);
        if (at->is_needed[i] && instr->op != FORM_CONST) {
            if (phases_reads_kept(&at->phases, i, phase))
                c_line(at->base.c, "float v%u = kept_%u[%s];", i, i, flat_col(at));
            else
                form_print_value(&at->base, i);
            if (at->phases.kept_from[i] == phase)
                c_line(at->base.c, "kept_%u[%s] = v%u;", i, flat_col(at), i);
        }
        if (phases_is_root(&at->phases, i, phase))
            print_root(at, i);
    }
}

/* The innermost loop, in blocks where it adds up more than one block's terms. */
static void print_inner_loop(RowsPrinter *at, int phase) {
    CPrinter *c = at->base.c;
    const FormBody *body = at->base.body;
    const char *clauses = reduction_clauses(at, phase);
    bool has_sums = strstr(clauses, "block_") != NULL;
    if (n_col_indices(at) == 0) { /* one column */
        for (size_t i = 0; i < body->n_instrs && has_sums; i++) {
            if (phases_is_root(&at->phases, i, phase) && instr_at(at, i)->op == FORM_SUM_COLS)
                c_line(c, "float block_%zu = 0;", i);
        }
        print_loop_body(at, phase);
        return;
    }
    int inner = body->n_indices - 1;
    const char *name = at->base.index_names[inner];
    long long extent = (long long)body->indices[inner].extent;
    bool is_blocked = has_sums && extent > BLOCK;
    if (is_blocked) {
        c_open(c, "for (int64_t first = 0; first < %lld; first += %d)", extent, BLOCK);
        c_line(c, "int64_t end = first + %d < %lld ? first + %d : %lld;", BLOCK, extent, BLOCK, extent);
    }
    for (size_t i = 0; i < body->n_instrs && has_sums; i++) {
        if (phases_is_root(&at->phases, i, phase) && instr_at(at, i)->op == FORM_SUM_COLS)
            c_line(c, "float block_%zu = 0;", i);
    }
    c_line(c, "#pragma omp simd%s", clauses);
    if (is_blocked)
        c_open(c, "for (int64_t %s = first; %s < end; %s++)", name, name, name);
    else
        open_index(at, inner);
    print_loop_body(at, phase);
    c_close(c);
    for (size_t i = 0; i < body->n_instrs && has_sums; i++) {
        if (phases_is_root(&at->phases, i, phase) && instr_at(at, i)->op == FORM_SUM_COLS)
            c_line(c, "sum_%zu += block_%zu;", i, i);
    }
    if (is_blocked)
        c_close(c);
}

static void print_loops(RowsPrinter *at, int phase) {
    print_sum_starts(at, phase);
    int n_opened = 0;
    for (int i = at->first_col; i < at->base.body->n_indices - 1; i++, n_opened++)
        open_index(at, i);
    print_inner_loop(at, phase);
    for (; n_opened > 0; n_opened--)
        c_close(at->base.c);
    for (size_t i = 0; i < at->base.body->n_instrs; i++) {
        bool is_sum = phases_is_root(&at->phases, i, phase) && instr_at(at, i)->op == FORM_SUM_COLS;
        if (is_sum && n_col_indices(at) == 0)
            c_line(at->base.c, "sum_%zu += block_%zu;", i, i);
        if (is_sum)
            c_line(at->base.c, "float v%zu = (float)sum_%zu;", i, i);
    }
}

/* ---- A row ------------------------------------------------------------------------------------------------------ */

static void print_row(RowsPrinter *at) {
    const FormBody *body = at->base.body;
    print_row_indices(at);
    for (size_t i = 0; i < body->n_instrs; i++) {
        if (at->phases.kept_from[i] >= 0)
            c_line(at->base.c, "float kept_%zu[%lld];", i, (long long)form_n_cols(body));
    }
    for (int phase = 0; phase < at->phases.n_phases; phase++) {
        for (uint32_t i = 0; i < body->n_instrs; i++) {
            const FormInstr *instr = instr_at(at, i);
            bool is_here = at->phases.is_live[i] && instr->level == FORM_LEVEL_ROW && at->phases.phases[i] == phase;
            if (!is_here || instr->op == FORM_CONST || is_col_reduction(instr))
                continue;
            if (form_instr_writes(instr))
                form_print_write(&at->base, instr);
            else
                form_print_value(&at->base, i);
        }
        if (phases_needs(&at->phases, phase, at->is_needed))
            print_loops(at, phase);
    }
}

static void open_rows(RowsPrinter *at, const char *first, const char *end) {
    const char *name = row_name(at);
    c_open(at->base.c, "for (int64_t %s = %s; %s < %s; %s++)", name, first, name, end, name);
}

/* What computing all elements costs, in additions. */
static double work_of(const RowsPrinter *at) {
    const FormBody *body = at->base.body;
    double rows = (double)form_n_rows(body), elements = rows * (double)form_n_cols(body), work = 0;
    for (size_t i = 0; i < body->n_instrs; i++) {
        if (at->phases.is_live[i])
            work += form_cost(body, instr_at(at, i)) * (instr_at(at, i)->level == FORM_LEVEL_FULL ? elements : rows);
    }
    return work;
}

/* ---- Sums over rows --------------------------------------------------------------------------------------------- */

static bool is_row_sum(const RowsPrinter *at, size_t i) {
    return at->phases.is_live[i] && instr_at(at, i)->op == FORM_SUM_ROWS;
}

static int64_t count_chunks(const RowsPrinter *at) {
    int64_t n_rows = form_n_rows(at->base.body), row_bytes = 0;
    for (size_t i = 0; i < at->base.body->n_instrs; i++)
        row_bytes += is_row_sum(at, i) ? form_n_cols(at->base.body) * (int64_t)sizeof(float) : 0;
    int64_t n = MAX_PARTIAL_BYTES / row_bytes;
    n = n < MAX_CHUNKS ? n : MAX_CHUNKS;
    n = n < n_rows ? n : n_rows;
    return n > 1 ? n : 1;
}

/* The parts' partial rows, one after the other, then what is written of their sums. */
static void print_combined(RowsPrinter *at) {
    const FormBody *body = at->base.body;
    CPrinter *c = at->base.c;
    for (int i = at->first_col; i < body->n_indices; i++)
        open_index(at, i);
    for (size_t i = 0; i < body->n_instrs; i++) {
        if (!is_row_sum(at, i))
            continue;
        c_line(c, "double sum_%zu = 0;", i);
        c_line(c, "for (int64_t chunk = 0; chunk < %lld; chunk++)", (long long)at->n_chunks);
        c_line(c, "    sum_%zu += partial_%zu[chunk][%s];", i, i, flat_col(at));
        c_line(c, "float v%zu = (float)sum_%zu;", i, i);
    }
    for (size_t i = 0; i < body->n_instrs; i++) {
        if (at->phases.is_live[i] && form_instr_writes(instr_at(at, i)) && instr_at(at, i)->level == FORM_LEVEL_COL)
            form_print_write(&at->base, instr_at(at, i));
    }
    for (int i = at->first_col; i < body->n_indices; i++)
        c_close(c);
}

static void print_in_chunks(RowsPrinter *at) {
    const FormBody *body = at->base.body;
    CPrinter *c = at->base.c;
    long long n_rows = (long long)form_n_rows(body), n_cols = (long long)form_n_cols(body);
    long long n_chunks = (long long)at->n_chunks;
    for (size_t i = 0; i < body->n_instrs; i++) {
        if (is_row_sum(at, i))
            c_line(c, "float partial_%zu[%lld][%lld];", i, n_chunks, n_cols);
    }
    c_parallel(c, work_of(at), "");
    c_open(c, "for (int64_t chunk = 0; chunk < %lld; chunk++)", n_chunks);
    for (size_t i = 0; i < body->n_instrs; i++) {
        if (!is_row_sum(at, i))
            continue;
        c_line(c, "float *restrict parts_%zu = partial_%zu[chunk];", i, i);
        c_line(c, "memset(parts_%zu, 0, sizeof partial_%zu[chunk]);", i, i);
    }
    open_rows(at, arena_printf(c->arena, "chunk * %lld / %lld", n_rows, n_chunks),
              arena_printf(c->arena, "(chunk + 1) * %lld / %lld", n_rows, n_chunks));
    print_row(at);
    c_close(c);
    c_close(c);
    print_combined(at);
}

/* ---- Forms without reductions ----------------------------------------------------------------------------------- */

static bool has_reductions(const FormBody *body) {
    for (size_t i = 0; i < body->n_instrs; i++) {
        if (form_instr_is_reduction(&body->instrs[i]))
            return true;
    }
    return false;
}

/* The same body with all indices but the last in the row, joined where they can be: rows and columns mean nothing
   where nothing is summed, and long inner loops are good. */
static Form flattened(Arena *arena, const Form *form) {
    Form flat = *form;
    flat.body.instrs = arena_array_of(arena, FormInstr, form->body.n_instrs);
    memcpy(flat.body.instrs, form->body.instrs, form->body.n_instrs * sizeof *form->body.instrs);
    for (int i = 0; i < flat.body.n_indices; i++)
        flat.body.indices[i].is_col = true;
    form_merge_indices(&flat);
    for (int i = 0; i < flat.body.n_indices - 1; i++)
        flat.body.indices[i].is_col = false;
    for (size_t i = 0; i < flat.body.n_instrs; i++)
        flat.body.instrs[i].level = form_level(&flat.body, &flat.body.instrs[i]);
    return flat;
}

/* Fewer rows than this leave threads idle: then they share the columns of each. */
enum { LEAST_ROWS = 16 };

static void print_elements(RowsPrinter *at) {
    CPrinter *c = at->base.c;
    const FormBody *body = at->base.body;
    int64_t n_rows = form_n_rows(body);
    bool shares_cols = n_rows < LEAST_ROWS && n_col_indices(at) == 1 && c_is_parallel(work_of(at));
    if (!shares_cols && n_rows > 1)
        c_parallel(c, work_of(at), "");
    if (n_rows > 1)
        open_rows(at, "0", arena_printf(c->arena, "%lld", (long long)n_rows));
    if (!shares_cols) {
        print_row(at);
        if (n_rows > 1)
            c_close(c);
        return;
    }
    print_row_indices(at);
    for (uint32_t i = 0; i < body->n_instrs; i++) {
        const FormInstr *instr = instr_at(at, i);
        if (at->phases.is_live[i] && instr->level == FORM_LEVEL_ROW && instr->op != FORM_CONST &&
            !form_instr_writes(instr))
            form_print_value(&at->base, i);
        else if (at->phases.is_live[i] && instr->level == FORM_LEVEL_ROW && form_instr_writes(instr))
            form_print_write(&at->base, instr);
    }
    if (phases_needs(&at->phases, 0, at->is_needed)) {
        c_line(c, "#pragma omp parallel for simd");
        open_index(at, at->first_col);
        print_loop_body(at, 0);
        c_close(c);
    }
    if (n_rows > 1)
        c_close(c);
}

/* ---- The function ----------------------------------------------------------------------------------------------- */

void form_print_rows(CPrinter *c, const Form *form) {
    bool is_summing = has_reductions(&form->body);
    Form flat = is_summing ? *form : flattened(c->arena, form);
    RowsPrinter at = {.base = form_printer_new(c, &flat, &flat.body)};
    at.phases = phases_of(c->arena, &flat.body, true);
    at.is_needed = arena_array_of(c->arena, bool, flat.body.n_instrs);
    while (at.first_col < flat.body.n_indices && !flat.body.indices[at.first_col].is_col)
        at.first_col++;
    for (size_t i = 0; i < flat.body.n_instrs; i++)
        at.has_row_sums = at.has_row_sums || is_row_sum(&at, i);
    form_print_pointers(&at.base);
    if (at.has_row_sums) {
        at.n_chunks = count_chunks(&at);
        print_in_chunks(&at);
    } else if (is_summing) {
        c_parallel(c, work_of(&at), "");
        open_rows(&at, "0", arena_printf(c->arena, "%lld", (long long)form_n_rows(&flat.body)));
        print_row(&at);
        c_close(c);
    } else {
        print_elements(&at);
    }
}
