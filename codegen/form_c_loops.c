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

static bool is_reduced(const RowsPrinter *at, size_t i, FormOp op, int phase) {
    return rows_instr(at, i)->op == op && phases_is_root(&at->phases, i, phase);
}

static bool reduces(const RowsPrinter *at, FormOp op, int phase) {
    for (size_t i = 0; i < at->base.body->n_instrs; i++) {
        if (is_reduced(at, i, op, phase))
            return true;
    }
    return false;
}

/* One line for each reduction over columns of the phase, its number put in for $. */
static void print_for_each(RowsPrinter *at, int phase, FormOp op, const char *line) {
    for (size_t i = 0; i < at->base.body->n_instrs; i++) {
        if (!is_reduced(at, i, op, phase))
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

/* ` reduction(+ : block_3, block_7) reduction(max : v5, maximum_9)` */
static const char *reduction_clauses(const RowsPrinter *at, int phase) {
    Arena *arena = at->base.c->arena;
    const char *sums = "", *maxima = "";
    for (size_t i = 0; i < at->base.body->n_instrs; i++) {
        bool is_logsumexp = is_reduced(at, i, FORM_LOGSUMEXP_COLS, phase);
        if (is_reduced(at, i, FORM_SUM_COLS, phase))
            sums =
                arena_printf(arena, "%s%s%s%zu", sums, sums[0] == '\0' ? " reduction(+ : " : ", ", block_name(at), i);
        else if (is_logsumexp || is_reduced(at, i, FORM_MAX_COLS, phase))
            maxima = arena_printf(arena, "%s%s%s%zu", maxima, maxima[0] == '\0' ? " reduction(max : " : ", ",
                                  is_logsumexp ? "maximum_" : "v", i);
    }
    return arena_printf(arena, "%s%s%s%s", sums, sums[0] == '\0' ? "" : ")", maxima, maxima[0] == '\0' ? "" : ")");
}

static void print_starts(RowsPrinter *at, int phase) {
    if (!at->is_single)
        print_for_each(at, phase, FORM_SUM_COLS, "double sum_$ = 0;");
    print_for_each(at, phase, FORM_MAX_COLS, "float v$ = -INFINITY;");
    print_for_each(at, phase, FORM_LOGSUMEXP_COLS, "float maximum_$ = -FLT_MAX;");
    print_for_each(at, phase, FORM_LOGSUMEXP_COLS, "double sum_$ = 0;");
}

static void print_ends(RowsPrinter *at, int phase) {
    if (!at->is_single)
        print_for_each(at, phase, FORM_SUM_COLS, "float v$ = (float)sum_$;");
    print_for_each(at, phase, FORM_LOGSUMEXP_COLS, "float v$ = (float)(maximum_$ + log(sum_$));");
}

/* ---- Loops ----------------------------------------------------------------------------------------------------- */

/* `at_term`: the number of the element in its block. */
static void print_root(RowsPrinter *at, size_t i, const char *at_term) {
    const FormInstr *instr = rows_instr(at, i);
    CPrinter *c = at->base.c;
    if (form_instr_writes(instr)) {
        form_print_write(&at->base, instr);
        return;
    }
    const char *value = form_value_text(&at->base, instr->a);
    if (instr->op == FORM_SUM_COLS) {
        c_line(c, "%s%zu += %s;", block_name(at), i, value);
    } else if (instr->op == FORM_MAX_COLS) {
        c_line(c, "v%zu = %s > v%zu ? %s : v%zu;", i, value, i, value, i);
    } else if (instr->op == FORM_LOGSUMEXP_COLS) {
        c_line(c, "terms_%zu[%s] = %s;", i, at_term, value);
        c_line(c, "maximum_%zu = %s > maximum_%zu ? %s : maximum_%zu;", i, value, i, value, i);
    } else {
        c_line(c, "parts_%zu[%s] += %s;", i, rows_col_text(at), value);
    }
}

static void print_elements(RowsPrinter *at, int phase, const char *at_term) {
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
            print_root(at, i, at_term);
    }
}

void rows_print_elements(RowsPrinter *at, int phase) {
    print_elements(at, phase, NULL);
}

static void open_block(RowsPrinter *at, int phase) {
    print_for_each(at, phase, FORM_SUM_COLS, at->is_single ? "float v$ = 0.0f;" : "float block_$ = 0.0f;");
    print_for_each(at, phase, FORM_LOGSUMEXP_COLS, "float before_$ = maximum_$, block_$ = 0.0f;");
    print_for_each(at, phase, FORM_LOGSUMEXP_COLS, arena_printf(at->base.c->arena, "float terms_$[%d];", FORM_BLOCK));
}

/* Where the maximum has grown, the sum of what came before is corrected. */
static void close_block(RowsPrinter *at, int phase) {
    if (!at->is_single)
        print_for_each(at, phase, FORM_SUM_COLS, "sum_$ += block_$;");
    print_for_each(at, phase, FORM_LOGSUMEXP_COLS, "sum_$ = sum_$ * moec_exp_weight(before_$ - maximum_$) + block_$;");
}

/* The terms of logsumexps, of which the block's maximum is known. */
static void print_exponentials(RowsPrinter *at, int phase, const char *first, const char *end) {
    CPrinter *c = at->base.c;
    for (size_t i = 0; i < at->base.body->n_instrs; i++) {
        if (!is_reduced(at, i, FORM_LOGSUMEXP_COLS, phase))
            continue;
        c_line(c, "#pragma omp simd reduction(+ : block_%zu)", i);
        c_line(c, "for (int64_t term = 0; term < %s - %s; term++)", end, first);
        c_line(c, "    block_%zu += moec_exp_weight(terms_%zu[term] - maximum_%zu);", i, i, i);
    }
}

/* The columns of the innermost index from `first` on to before `end`. */
static void print_part(RowsPrinter *at, int phase, const char *first, const char *end) {
    int inner = at->base.body->n_indices - 1;
    open_block(at, phase);
    c_line(at->base.c, "#pragma omp simd%s", reduction_clauses(at, phase));
    rows_open_part(at, inner, first, end);
    print_elements(at, phase, arena_printf(at->base.c->arena, "%s - %s", at->base.index_names[inner], first));
    c_close(at->base.c);
    print_exponentials(at, phase, first, end);
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
        print_elements(at, phase, "0");
        print_exponentials(at, phase, "0", "1");
        close_block(at, phase);
    } else {
        for (int i = at->first_col; i < inner; i++)
            rows_open_index(at, i);
        bool has_sums = reduces(at, FORM_SUM_COLS, phase) || reduces(at, FORM_LOGSUMEXP_COLS, phase);
        if (has_sums && is_long)
            print_blocks(at, phase, "0", extent_text(at, inner));
        else
            print_part(at, phase, "0", extent_text(at, inner));
        for (int i = at->first_col; i < inner; i++)
            c_close(at->base.c);
    }
    print_ends(at, phase);
}

/* ---- Shared by threads ----------------------------------------------------------------------------------------- */

/* Threads have whole blocks: the compiler may round elements of the rest of a loop, which has no full vector, otherwise
   than those of vectors, and where loops end must not depend on the number of threads. */
static void print_shared_blocks(RowsPrinter *at, int phase) {
    c_parallel(at->base.c, at->work, "");
    if (at->base.form->n_pieces == 0) {
        print_blocks(at, phase, "0", extent_text(at, at->base.body->n_indices - 1));
        return;
    }
    c_open(at->base.c, "for (int64_t part = 0; part < %lld; part++)", (long long)rows_n_parts(at));
    rows_print_part(at);
    print_part(at, phase, "begin", "stop");
    c_close(at->base.c);
}

/* The columns of chunk number `chunk`. */
static void print_chunk(RowsPrinter *at, int phase) {
    CPrinter *c = at->base.c;
    bool is_in_pieces = at->base.form->n_pieces > 0;
    const char *extent = extent_text(at, at->base.body->n_indices - 1);
    if (is_in_pieces)
        extent = arena_printf(c->arena, "%lld", (long long)rows_n_parts(at));
    const char *first = arena_printf(c->arena, "chunk * %s / %d", extent, FORM_CHUNKS);
    const char *end = arena_printf(c->arena, "(chunk + 1) * %s / %d", extent, FORM_CHUNKS);
    if (!is_in_pieces) {
        print_blocks(at, phase, first, end);
        return;
    }
    c_open(c, "for (int64_t part = %s; part < %s; part++)", first, end);
    rows_print_part(at);
    print_blocks(at, phase, "begin", "stop");
    c_close(c);
}

static void print_combined_logsumexps(RowsPrinter *at, int phase) {
    print_for_each(at, phase, FORM_LOGSUMEXP_COLS, "float before_$ = maximum_$;");
    print_for_each(at, phase, FORM_LOGSUMEXP_COLS,
                   "maximum_$ = maxima_$[chunk] > maximum_$ ? maxima_$[chunk] : maximum_$;");
    print_for_each(at, phase, FORM_LOGSUMEXP_COLS,
                   "sum_$ = sum_$ * moec_exp_weight(before_$ - maximum_$) + "
                   "partial_$[chunk] * moec_exp_weight(maxima_$[chunk] - maximum_$);");
}

void rows_print_shared_loop(RowsPrinter *at, int phase) {
    CPrinter *c = at->base.c;
    at->is_single = false;
    if (reduction_clauses(at, phase)[0] == '\0') {
        print_shared_blocks(at, phase);
        return;
    }
    print_for_each(at, phase, FORM_SUM_COLS, arena_printf(c->arena, "double partial_$[%d];", FORM_CHUNKS));
    print_for_each(at, phase, FORM_MAX_COLS, arena_printf(c->arena, "float partial_$[%d];", FORM_CHUNKS));
    print_for_each(at, phase, FORM_LOGSUMEXP_COLS, arena_printf(c->arena, "double partial_$[%d];", FORM_CHUNKS));
    print_for_each(at, phase, FORM_LOGSUMEXP_COLS, arena_printf(c->arena, "float maxima_$[%d];", FORM_CHUNKS));
    c_parallel(c, at->work, "");
    c_open(c, "for (int64_t chunk = 0; chunk < %d; chunk++)", FORM_CHUNKS);
    print_starts(at, phase);
    print_chunk(at, phase);
    print_for_each(at, phase, FORM_SUM_COLS, "partial_$[chunk] = sum_$;");
    print_for_each(at, phase, FORM_MAX_COLS, "partial_$[chunk] = v$;");
    print_for_each(at, phase, FORM_LOGSUMEXP_COLS, "partial_$[chunk] = sum_$;");
    print_for_each(at, phase, FORM_LOGSUMEXP_COLS, "maxima_$[chunk] = maximum_$;");
    c_close(c);
    print_starts(at, phase);
    c_open(c, "for (int64_t chunk = 0; chunk < %d; chunk++)", FORM_CHUNKS);
    print_for_each(at, phase, FORM_SUM_COLS, "sum_$ += partial_$[chunk];");
    print_for_each(at, phase, FORM_MAX_COLS, "v$ = partial_$[chunk] > v$ ? partial_$[chunk] : v$;");
    print_combined_logsumexps(at, phase);
    c_close(c);
    print_ends(at, phase);
}
