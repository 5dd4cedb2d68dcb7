/* Rows that several blocks share: where nothing is summed, where rows are few and long, and forms in pieces. Each loop
   of a row is a launch, between which parts of sums are in scratch memory; then they are added up by each block that
   needs them, in the same order. */
#include <assert.h>

#include "codegen/form_cuda_internal.h"

/* Blocks that share all rows; reads of each thread of theirs, at least. */
enum { MAX_CHUNKS = 1024, LEAST_READS = 4 };
/* Columns of a part of a piece, which is one block's: more where a block adds up sums of all parts, of which there are
   so many at most, and of each piece one more. */
enum { PART = 16384, MAX_SUMMED_PARTS = 8192 };

/* How the rows of a form are cut. */
typedef struct {
    int64_t n_rows, n_chunks;   /* of each row */
    int64_t part;               /* columns of a part of a piece */
    int64_t *partials, *maxima; /* where the parts of each reduction are in scratch memory, [rows, chunks] */
} Chunks;

/* ---- Flat ------------------------------------------------------------------------------------------------------- */

void cuda_print_flat(CudaPrinter *at) {
    CPrinter *c = at->base.c;
    int64_t n = form_n_cols(at->base.body), n_columns = (int64_t)at->n_threads * at->width;
    const char *in_64_bits = at->int_type[3] == '\0' ? "" : "(int64_t)";
    cuda_open_kernel(at, (n + n_columns - 1) / n_columns, at->n_threads);
    CudaColumns columns = {.first =
                               arena_printf(c->arena, "(%sblockIdx.x * %d + threadIdx.x)", in_64_bits, at->n_threads),
                           .end = n % n_columns == 0 ? "" : arena_printf(c->arena, "%lld", (long long)n)};
    cuda_print_values(at, 0, false, "");
    phases_needs(&at->phases, 0, at->is_needed);
    cuda_print_loop(at, 0, columns);
    c_close(c);
}

/* ---- Parts of sums ---------------------------------------------------------------------------------------------- */

static Chunks chunks_new(CudaPrinter *at, int64_t n_chunks) {
    const FormBody *body = at->base.body;
    Arena *arena = at->base.c->arena;
    Chunks chunks = {.n_rows = form_n_rows(body), .n_chunks = n_chunks};
    chunks.partials = arena_array_of(arena, int64_t, body->n_instrs);
    chunks.maxima = arena_array_of(arena, int64_t, body->n_instrs);
    for (size_t i = 0; i < body->n_instrs; i++) {
        if (!at->phases.is_live[i] || !form_instr_reduces_cols(&body->instrs[i]))
            continue;
        chunks.partials[i] = cuda_add_scratch(at, chunks.n_rows * n_chunks);
        if (body->instrs[i].op == FORM_LOGSUMEXP_COLS)
            chunks.maxima[i] = cuda_add_scratch(at, chunks.n_rows * n_chunks);
    }
    return chunks;
}

/* Pointers to the parts of the row. */
static void print_partials(CudaPrinter *at, const Chunks *chunks, int phase) {
    CPrinter *c = at->base.c;
    const char *row = chunks->n_rows == 1 ? "0" : cuda_row_name(at);
    for (size_t i = 0; i < at->base.body->n_instrs; i++) {
        const FormInstr *instr = cuda_instr(at, i);
        if (!form_instr_reduces_cols(instr) || !phases_is_root(&at->phases, i, phase))
            continue;
        c_line(c, "float *partial_%zu = scratch + (%lld + %s * %lld);", i, (long long)chunks->partials[i], row,
               (long long)chunks->n_chunks);
        if (instr->op == FORM_LOGSUMEXP_COLS)
            c_line(c, "float *maxima_%zu = scratch + (%lld + %s * %lld);", i, (long long)chunks->maxima[i], row,
                   (long long)chunks->n_chunks);
    }
}

static void print_left_parts(CudaPrinter *at, const Chunks *chunks, int phase) {
    CPrinter *c = at->base.c;
    print_partials(at, chunks, phase);
    c_open(c, "if (thread == 0)");
    cuda_print_for_each(at, phase, FORM_SUM_COLS, "partial_$[chunk] = v$;");
    cuda_print_for_each(at, phase, FORM_MAX_COLS, "partial_$[chunk] = v$;");
    cuda_print_for_each(at, phase, FORM_LOGSUMEXP_COLS, "partial_$[chunk] = sum_$;\nmaxima_$[chunk] = maximum_$;");
    c_close(c);
}

/* What a launch before has left of the phase's sums, added up by the block. */
static void print_found_parts(CudaPrinter *at, const Chunks *chunks, int phase) {
    CPrinter *c = at->base.c;
    if (!cuda_reduces(at, phase))
        return;
    print_partials(at, chunks, phase);
    cuda_print_starts(at, phase);
    c_open(c, "for (int i = thread; i < %lld; i += %d)", (long long)chunks->n_chunks, at->n_threads);
    cuda_print_for_each(at, phase, FORM_SUM_COLS, "v$ += partial_$[i];");
    cuda_print_for_each(at, phase, FORM_MAX_COLS, "v$ = fmaxf(v$, partial_$[i]);");
    cuda_print_for_each(at, phase, FORM_LOGSUMEXP_COLS,
                        "float before_$ = maximum_$;\n"
                        "maximum_$ = fmaxf(maximum_$, maxima_$[i]);\n"
                        "sum_$ = sum_$ * moec_exp_weight(before_$ - maximum_$) +\n"
                        "        partial_$[i] * moec_exp_weight(maxima_$[i] - maximum_$);");
    c_close(c);
    cuda_print_combined(at, phase);
    cuda_print_ends(at, phase);
}

/* ---- Launches --------------------------------------------------------------------------------------------------- */

/* Opens the launch of the phase, or of what is written once a row (`n_chunks` 1), up to the values of its row. */
static void open_launch(CudaPrinter *at, const Chunks *chunks, int phase, int64_t n_chunks, bool writes) {
    CPrinter *c = at->base.c;
    cuda_open_kernel(at, chunks->n_rows * n_chunks, at->n_threads);
    cuda_print_shared(at);
    c_line(c, "int thread = threadIdx.x;");
    if (chunks->n_rows > 1 && n_chunks > 1)
        c_line(c, "%s %s = blockIdx.x / %lld, chunk = blockIdx.x %% %lld;", at->int_type, cuda_row_name(at),
               (long long)n_chunks, (long long)n_chunks);
    else if (chunks->n_rows > 1)
        c_line(c, writes ? "%s %s = blockIdx.x;" : "%s %s = blockIdx.x, chunk = 0;", at->int_type, cuda_row_name(at));
    else if (!writes)
        c_line(c, "int chunk = blockIdx.x;");
    if (chunks->n_rows > 1)
        cuda_print_row_indices(at);
    for (int before = 0; before <= phase; before++) {
        if (before > 0)
            print_found_parts(at, chunks, before - 1);
        cuda_print_values(at, before, writes, "thread == 0");
    }
}

static bool writes_row_values(const CudaPrinter *at) {
    for (size_t i = 0; i < at->base.body->n_instrs; i++) {
        if (form_instr_writes(cuda_instr(at, i)) && cuda_instr(at, i)->level == FORM_LEVEL_ROW)
            return true;
    }
    return false;
}

/* The loop over one chunk of the row's columns. */
static void print_chunk(CudaPrinter *at, const Chunks *chunks, int phase) {
    Arena *arena = at->base.c->arena;
    const char *scale = at->width > 1 ? " * 4" : "";
    CudaColumns columns = {
        .first = arena_printf(arena, at->width > 1 ? "(chunk * %d + thread)%s" : "chunk * %d + thread%s", at->n_threads,
                              scale),
        .end = arena_printf(arena, "%lld", (long long)form_n_cols(at->base.body)),
        .step = arena_printf(arena, "%lld", (long long)chunks->n_chunks * at->n_threads * at->width)};
    cuda_print_loop(at, phase, columns);
}

/* Those that are over where a piece has no multiple of four columns. */
static bool has_rest(const Form *form) {
    for (size_t i = 0; i < form->n_pieces; i++) {
        if (form->pieces[i] % 4 != 0)
            return true;
    }
    return false;
}

/* The loop over one part of a piece, which starts at a multiple of four columns. */
static void print_part(CudaPrinter *at, int phase) {
    CPrinter *c = at->base.c;
    const Form *form = at->base.form;
    for (size_t i = 0; i < form->n_args; i++) {
        const FormArg *arg = &form->args[i];
        if (arg->is_in_pieces)
            c_line(c, "%s%s *__restrict__ %s = pieces_%s[piece];", arg->access == FORM_IN ? "const " : "",
                   c_type(arg->dtype), at->base.arg_names[i], at->base.arg_names[i]);
    }
    bool is_wide = at->width > 1;
    CudaColumns columns = {.first = is_wide ? "begin + thread * 4" : "begin + thread",
                           .end = is_wide ? "stop - 3" : "stop",
                           .step = arena_printf(c->arena, "%d", at->n_threads * at->width)};
    cuda_print_loop(at, phase, columns);
    if (!is_wide || !has_rest(form))
        return;
    at->width = 1;
    columns.first = "begin + (stop - begin) / 4 * 4 + thread";
    columns.end = "stop";
    columns.step = arena_printf(c->arena, "%d", at->n_threads);
    cuda_print_loop(at, phase, columns);
    at->width = 4;
}

static void print_launches(CudaPrinter *at, const Chunks *chunks) {
    CPrinter *c = at->base.c;
    const Form *form = at->base.form;
    for (int phase = 0; phase < at->phases.n_phases; phase++) {
        if (!phases_needs(&at->phases, phase, at->is_needed))
            continue;
        open_launch(at, chunks, phase, chunks->n_chunks, false);
        if (form->n_pieces > 0) {
            c_line(c, "int piece = moec_piece(%s_starts, %zu, chunk);", form->name, form->n_pieces);
            c_line(c, "%s begin = (chunk - %s_starts[piece]) * %lld, stop = begin + %lld;", at->int_type, form->name,
                   (long long)chunks->part, (long long)chunks->part);
            c_line(c, "stop = stop < %s_sizes[piece] ? stop : %s_sizes[piece];", form->name, form->name);
        }
        cuda_print_starts(at, phase);
        if (form->n_pieces > 0)
            print_part(at, phase);
        else
            print_chunk(at, chunks, phase);
        cuda_print_combined(at, phase);
        if (cuda_reduces(at, phase))
            print_left_parts(at, chunks, phase);
        c_close(c);
    }
    if (!writes_row_values(at))
        return;
    open_launch(at, chunks, at->phases.n_phases - 1, 1, true);
    c_close(c);
}

void cuda_print_by_chunk(CudaPrinter *at) {
    int64_t n_rows = form_n_rows(at->base.body), n_reads = form_n_cols(at->base.body) / at->width;
    int64_t n_chunks = n_reads / (at->n_threads * LEAST_READS), most = MAX_CHUNKS / n_rows;
    n_chunks = n_chunks < most ? n_chunks : most;
    Chunks chunks = chunks_new(at, n_chunks > 1 ? n_chunks : 1);
    print_launches(at, &chunks);
}

/* ---- Pieces ----------------------------------------------------------------------------------------------------- */

static bool has_sums(const CudaPrinter *at) {
    for (int phase = 0; phase < at->phases.n_phases; phase++) {
        if (cuda_reduces(at, phase))
            return true;
    }
    return false;
}

static int64_t columns_of_part(const CudaPrinter *at) {
    int64_t n_columns = form_n_cols(at->base.body), part = PART;
    while (has_sums(at) && n_columns / part > MAX_SUMMED_PARTS)
        part *= 2;
    return part;
}

/* The numbers in lines of some each. */
static void print_table(CudaPrinter *at, const char *name, const int64_t *numbers, size_t n) {
    enum { IN_LINE = 8 };
    CPrinter *c = at->base.c;
    c_open(c, "MOEC_CONSTANT const int64_t %s_%s[%zu] =", at->base.form->name, name, n);
    for (size_t i = 0; i < n; i += IN_LINE) {
        const char *line = "";
        for (size_t j = i; j < n && j < i + IN_LINE; j++)
            line = arena_printf(c->arena, "%s%s%lld,", line, j > i ? " " : "", (long long)numbers[j]);
        c_line(c, "%s", line);
    }
    c->depth--;
    c_line(c, "};");
}

/* A block has a part of a piece: `starts` has the number of the first of each. */
void cuda_print_pieces(CudaPrinter *at) {
    const Form *form = at->base.form;
    int64_t *starts = arena_array_of(at->base.c->arena, int64_t, form->n_pieces), n_parts = 0;
    int64_t part = columns_of_part(at);
    for (size_t i = 0; i < form->n_pieces; i++) {
        starts[i] = n_parts;
        n_parts += (form->pieces[i] + part - 1) / part;
    }
    print_table(at, "sizes", form->pieces, form->n_pieces);
    print_table(at, "starts", starts, form->n_pieces);
    c_text(at->base.c, "\n");
    Chunks chunks = chunks_new(at, n_parts);
    chunks.part = part;
    print_launches(at, &chunks);
}
