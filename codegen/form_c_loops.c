/* The loops over a row's columns, and the sums over them. */
#include <assert.h>
#include <string.h>

#include "codegen/form_c_rows.h"

const char *rows_col_text(const RowsPrinter *at) {
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

void rows_open_part(RowsPrinter *at, int index, const char *first, const char *end) {
    const char *name = at->base.index_names[index];
    c_open(at->base.c, "for (int64_t %s = %s; %s < %s; %s++)", name, first, name, end, name);
}

static const char *extent_text(const RowsPrinter *at, int index) {
    return arena_printf(at->base.c->arena, "%lld", (long long)at->base.body->indices[index].extent);
}

void rows_open_index(RowsPrinter *at, int index) {
    rows_open_part(at, index, "0", extent_text(at, index));
}

/* ---- What the loop of a phase adds up -------------------------------------------------------------------------- */

static bool is_sum(const RowsPrinter *at, size_t i, int phase) {
    return rows_instr(at, i)->op == FORM_SUM_COLS && phases_is_root(&at->phases, i, phase);
}

static bool is_maximum(const RowsPrinter *at, size_t i, int phase) {
    return rows_instr(at, i)->op == FORM_MAX_COLS && phases_is_root(&at->phases, i, phase);
}

/* One line for each sum over columns of the phase, its number put in for $. Those of maxima where `maxima`. */
static void print_for_each(RowsPrinter *at, int phase, bool maxima, const char *line) {
    for (size_t i = 0; i < at->base.body->n_instrs; i++) {
        if (!(maxima ? is_maximum(at, i, phase) : is_sum(at, i, phase)))
            continue;
        const char *text = "";
        const char *rest = line;
        for (const char *next; (next = strchr(rest, '$')) != NULL; rest = next + 1)
            text = arena_printf(at->base.c->arena, "%s%.*s%zu", text, (int)(next - rest), rest, i);
        c_line(at->base.c, "%s%s", text, rest);
    }
}

/* How the variables of a block's sums start. */
static const char *block_name(const RowsPrinter *at) {
    return at->is_single ? "v" : "block_";
}

/* ` reduction(+ : block_3, block_7) reduction(max : v5)` */
static const char *reduction_clauses(const RowsPrinter *at, int phase) {
    Arena *arena = at->base.c->arena;
    const char *sums = "", *maxima = "";
    for (size_t i = 0; i < at->base.body->n_instrs; i++) {
        if (is_sum(at, i, phase))
            sums =
                arena_printf(arena, "%s%s%s%zu", sums, sums[0] == '\0' ? " reduction(+ : " : ", ", block_name(at), i);
        else if (is_maximum(at, i, phase))
            maxima = arena_printf(arena, "%s%sv%zu", maxima, maxima[0] == '\0' ? " reduction(max : " : ", ", i);
    }
    return arena_printf(arena, "%s%s%s%s", sums, sums[0] == '\0' ? "" : ")", maxima, maxima[0] == '\0' ? "" : ")");
}

static bool has_sums(const RowsPrinter *at, int phase) {
    for (size_t i = 0; i < at->base.body->n_instrs; i++) {
        if (is_sum(at, i, phase))
            return true;
    }
    return false;
}

static void print_starts(RowsPrinter *at, int phase) {
    if (!at->is_single)
        print_for_each(at, phase, false, "double sum_$ = 0;");
    print_for_each(at, phase, true, "float v$ = -INFINITY;");
}

/* ---- Loops ----------------------------------------------------------------------------------------------------- */

static void print_root(RowsPrinter *at, size_t i) {
    const FormInstr *instr = rows_instr(at, i);
    CPrinter *c = at->base.c;
    if (form_instr_writes(instr)) {
        form_print_write(&at->base, instr);
        return;
    }
    const char *value = form_value_text(&at->base, instr->a);
    if (instr->op == FORM_SUM_COLS)
        c_line(c, "%s%zu += %s;", block_name(at), i, value);
    else if (instr->op == FORM_MAX_COLS)
        c_line(c, "v%zu = %s > v%zu ? %s : v%zu;", i, value, i, value, i);
    else
        c_line(c, "parts_%zu[%s] += %s;", i, rows_col_text(at), value);
}

void rows_print_elements(RowsPrinter *at, int phase) {
    for (uint32_t i = 0; i < at->base.body->n_instrs; i++) {
        if (at->is_needed[i] && rows_instr(at, i)->op != FORM_CONST) {
            if (phases_reads_kept(&at->phases, i, phase))
                c_line(at->base.c, "float v%u = kept_%u[%s];", i, i, rows_col_text(at));
            else
                form_print_value(&at->base, i);
            if (at->phases.kept_from[i] == phase)
                c_line(at->base.c, "kept_%u[%s] = v%u;", i, rows_col_text(at), i);
        }
        if (phases_is_root(&at->phases, i, phase))
            print_root(at, i);
    }
}

static void open_block(RowsPrinter *at, int phase) {
    print_for_each(at, phase, false, at->is_single ? "float v$ = 0.0f;" : "float block_$ = 0.0f;");
}

static void close_block(RowsPrinter *at, int phase) {
    if (!at->is_single)
        print_for_each(at, phase, false, "sum_$ += block_$;");
}

/* The columns of the innermost index from `first` on to before `end`. */
static void print_part(RowsPrinter *at, int phase, const char *first, const char *end) {
    open_block(at, phase);
    c_line(at->base.c, "#pragma omp simd%s", reduction_clauses(at, phase));
    rows_open_part(at, at->base.body->n_indices - 1, first, end);
    rows_print_elements(at, phase);
    c_close(at->base.c);
    close_block(at, phase);
}

/* The same, in blocks. */
static void print_blocks(RowsPrinter *at, int phase, const char *first, const char *end) {
    CPrinter *c = at->base.c;
    c_open(c, "for (int64_t first = %s; first < %s; first += %d)", first, end, FORM_BLOCK);
    c_line(c, "int64_t end = first + %d < %s ? first + %d : %s;", FORM_BLOCK, end, FORM_BLOCK, end);
    print_part(at, phase, "first", "end");
    c_close(c);
}

void rows_print_loops(RowsPrinter *at, int phase) {
    const FormBody *body = at->base.body;
    int inner = body->n_indices - 1, n_col_indices = rows_n_col_indices(at);
    bool is_long = n_col_indices > 0 && body->indices[inner].extent > FORM_BLOCK;
    at->is_single = n_col_indices < 2 && !is_long;
    print_starts(at, phase);
    if (n_col_indices == 0) { /* one column */
        open_block(at, phase);
        rows_print_elements(at, phase);
        close_block(at, phase);
    } else {
        for (int i = at->first_col; i < inner; i++)
            rows_open_index(at, i);
        if (has_sums(at, phase) && is_long)
            print_blocks(at, phase, "0", extent_text(at, inner));
        else
            print_part(at, phase, "0", extent_text(at, inner));
        for (int i = at->first_col; i < inner; i++)
            c_close(at->base.c);
    }
    if (!at->is_single)
        print_for_each(at, phase, false, "float v$ = (float)sum_$;");
}

/* ---- Shared by threads ----------------------------------------------------------------------------------------- */

/* Threads have whole blocks: the compiler may round elements of the rest of a loop, which has no full vector, otherwise
   than those of vectors, and where loops end must not depend on the number of threads. */
static void print_shared_blocks(RowsPrinter *at, int phase) {
    c_line(at->base.c, "#pragma omp parallel for");
    print_blocks(at, phase, "0", extent_text(at, at->base.body->n_indices - 1));
}

void rows_print_shared_loop(RowsPrinter *at, int phase) {
    CPrinter *c = at->base.c;
    const char *extent = extent_text(at, at->base.body->n_indices - 1);
    at->is_single = false;
    if (reduction_clauses(at, phase)[0] == '\0') {
        print_shared_blocks(at, phase);
        return;
    }
    const char *first = arena_printf(c->arena, "chunk * %s / %d", extent, FORM_CHUNKS);
    const char *end = arena_printf(c->arena, "(chunk + 1) * %s / %d", extent, FORM_CHUNKS);
    print_for_each(at, phase, false, arena_printf(c->arena, "double partial_$[%d];", FORM_CHUNKS));
    print_for_each(at, phase, true, arena_printf(c->arena, "float partial_$[%d];", FORM_CHUNKS));
    c_line(c, "#pragma omp parallel for");
    c_open(c, "for (int64_t chunk = 0; chunk < %d; chunk++)", FORM_CHUNKS);
    print_starts(at, phase);
    print_blocks(at, phase, first, end);
    print_for_each(at, phase, false, "partial_$[chunk] = sum_$;");
    print_for_each(at, phase, true, "partial_$[chunk] = v$;");
    c_close(c);
    print_starts(at, phase);
    c_open(c, "for (int64_t chunk = 0; chunk < %d; chunk++)", FORM_CHUNKS);
    print_for_each(at, phase, false, "sum_$ += partial_$[chunk];");
    print_for_each(at, phase, true, "v$ = partial_$[chunk] > v$ ? partial_$[chunk] : v$;");
    c_close(c);
    print_for_each(at, phase, false, "float v$ = (float)sum_$;");
}
