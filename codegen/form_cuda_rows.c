/* ROWS forms as CUDA C: which way the threads go through rows and columns, and the way by rows. Every result has one
   writer, and every sum one order. */
#include <assert.h>

#include "codegen/form_cuda_internal.h"

/* Floats that a thread keeps of its columns, and times that it reads some. */
enum { MAX_HELD = 64, MAX_VECTORS = 8, FEW_VECTORS = 4 };
/* Blocks that share all rows where there are sums over them: several for each processor of a GPU. */
enum { MAX_ROW_CHUNKS = 1024 };
/* Of fewer rows than this, and at least so many columns, several blocks share each. */
static const int64_t LEAST_ROWS = 64, LEAST_SHARED_COLS = 8192;

/* ---- What the form has ------------------------------------------------------------------------------------------ */

static bool has_row_sums(const CudaPrinter *at) {
    for (size_t i = 0; i < at->base.body->n_instrs; i++) {
        if (cuda_is_live(at, i, FORM_SUM_ROWS))
            return true;
    }
    return false;
}

static bool has_col_sums(const FormBody *body, const bool *is_live) {
    for (size_t i = 0; i < body->n_instrs; i++) {
        if (is_live[i] && form_instr_reduces_cols(&body->instrs[i]))
            return true;
    }
    return false;
}

static bool writes_row_values(const FormBody *body) {
    for (size_t i = 0; i < body->n_instrs; i++) {
        if (form_instr_writes(&body->instrs[i]) && body->instrs[i].level == FORM_LEVEL_ROW)
            return true;
    }
    return false;
}

static void set_levels(FormBody *body) {
    for (size_t i = 0; i < body->n_instrs; i++)
        body->instrs[i].level = form_level(body, &body->instrs[i]);
}

static void make_all_columns(FormBody *body) {
    for (int i = 0; i < body->n_indices; i++)
        body->indices[i].is_col = true;
    set_levels(body);
}

/* Whether lanes should have rows next to each other: arrays step through these one by one, and through none of the
   columns. */
static bool is_across(const CudaPrinter *at) {
    const FormBody *body = at->base.body;
    bool has_rows = false;
    for (size_t i = 0; i < body->n_instrs; i++) {
        const FormInstr *instr = &body->instrs[i];
        if (!at->phases.is_live[i] || instr->op != FORM_LOAD || instr->level != FORM_LEVEL_FULL)
            continue;
        for (int j = 0; j < body->n_indices; j++) {
            bool is_single = instr->map.strides[j] == 1 && body->indices[j].extent > 1;
            if (is_single && body->indices[j].is_col)
                return false;
            has_rows = has_rows || is_single;
        }
    }
    return has_rows;
}

/* ---- How threads share a row ------------------------------------------------------------------------------------ */

/* Values of each column that a thread holds from loop to loop, or from row to row. */
static int count_held(const CudaPrinter *at) {
    int n = 0;
    for (size_t i = 0; i < at->base.body->n_instrs; i++)
        n += (at->phases.kept_from[i] >= 0) + cuda_is_live(at, i, FORM_SUM_ROWS);
    return n;
}

/* Beside what a thread of so many in a block holds, it needs some registers. */
static bool fits(const CudaPrinter *at, int64_t n_vectors, int n_threads) {
    enum { REGISTERS = 65536, OTHERS = 40 };
    int held = count_held(at), limit = REGISTERS / n_threads - OTHERS;
    limit = limit < MAX_HELD ? limit : MAX_HELD;
    return n_vectors <= MAX_VECTORS && n_vectors * at->width * (held > 0 ? held : 1) <= limit;
}

/* A block a row: as few threads left over as there can be, and of equals the fewest threads. */
static void share_by_block(CudaPrinter *at, int64_t n_reads) {
    int64_t least = INT64_MAX;
    at->group = 0;
    for (int threads = CUDA_MAX_THREADS; threads >= CUDA_WARP; threads -= CUDA_WARP) {
        int64_t n_vectors = (n_reads + threads - 1) / threads, n_over = n_vectors * threads - n_reads;
        if (n_over > least || (n_vectors > FEW_VECTORS && at->group > 0) || !fits(at, n_vectors, threads))
            continue;
        least = n_over;
        at->group = threads;
        at->n_vectors = (int)n_vectors;
    }
    at->n_threads = at->group;
    if (at->group > 0)
        return;
    at->group = at->n_threads = CUDA_MAX_THREADS;
    at->n_vectors = 0;
}

static void share_rows(CudaPrinter *at) {
    const FormBody *body = at->base.body;
    int64_t n_reads = (form_n_cols(body) + at->width - 1) / at->width;
    bool fits_warp = fits(at, (n_reads + CUDA_WARP - 1) / CUDA_WARP, CUDA_THREADS);
    if (has_row_sums(at) || (!fits_warp && form_n_cols(body) > 1 && !is_across(at))) {
        share_by_block(at, n_reads);
    } else if (form_n_cols(body) == 1 || is_across(at)) {
        at->group = 1;
        at->n_vectors = n_reads <= MAX_VECTORS && fits(at, n_reads, CUDA_THREADS) ? (int)n_reads : 0;
    } else if (n_reads <= CUDA_WARP) {
        at->group = 1;
        while (at->group < n_reads)
            at->group *= 2;
        at->n_vectors = 1;
    } else {
        at->group = CUDA_WARP;
        at->n_vectors = (int)((n_reads + CUDA_WARP - 1) / CUDA_WARP);
    }
    if (at->n_vectors == 0) /* nothing stays from loop to loop */
        at->phases = phases_keeping(at->base.c->arena, body, 0);
}

/* ---- Rows ------------------------------------------------------------------------------------------------------- */

/* Columns of the threads of a row; `end` "" where all of these have some. */
static CudaColumns columns_of_row(const CudaPrinter *at) {
    Arena *arena = at->base.c->arena;
    long long n_cols = (long long)form_n_cols(at->base.body);
    bool is_even = at->n_vectors > 0 && (int64_t)at->n_vectors * at->group * at->width == n_cols;
    CudaColumns columns = {.first = at->group > 1 ? at->lane : "0",
                           .end = is_even ? "" : arena_printf(arena, "%lld", n_cols)};
    if (at->n_vectors > 0)
        return columns;
    if (at->width > 1 && at->group > 1)
        columns.first = arena_printf(arena, "%s * %d", columns.first, at->width);
    columns.step = arena_printf(arena, "%d", at->group * at->width);
    return columns;
}

static void print_row(CudaPrinter *at) {
    CPrinter *c = at->base.c;
    const char *writer =
        at->group == 1 ? "" : arena_printf(c->arena, "%s == 0%s", at->lane, at->is_guarded ? " && is_row" : "");
    cuda_print_row_indices(at);
    cuda_print_kept(at);
    for (int phase = 0; phase < at->phases.n_phases; phase++) {
        cuda_print_values(at, phase, true, writer);
        if (!phases_needs(&at->phases, phase, at->is_needed))
            continue;
        cuda_print_starts(at, phase);
        cuda_print_loop(at, phase, columns_of_row(at));
        cuda_print_combined(at, phase);
        cuda_print_ends(at, phase);
    }
}

/* Which row the thread has, and which place in it. Lanes that have none go along with their warp, on the last row, and
   write nothing: shuffles need all of them. */
static void print_own_row(CudaPrinter *at) {
    CPrinter *c = at->base.c;
    const char *row = cuda_row_name(at), *in_64_bits = at->int_type[3] == '\0' ? "" : "(int64_t)";
    long long n_rows = (long long)form_n_rows(at->base.body);
    int n_groups = at->n_threads / at->group;
    if (at->group > CUDA_WARP)
        c_line(c, "int thread = threadIdx.x;");
    else if (at->group > 1)
        c_line(c, "int lane = threadIdx.x %% %d;", at->group);
    if (at->first_col == 0 && n_groups == 1)
        return;
    if (n_groups == 1)
        c_line(c, "%s %s = blockIdx.x;", at->int_type, row);
    else if (at->group == 1)
        c_line(c, "%s %s = %sblockIdx.x * %d + threadIdx.x;", at->int_type, row, in_64_bits, n_groups);
    else
        c_line(c, "%s %s = %sblockIdx.x * %d + threadIdx.x / %d;", at->int_type, row, in_64_bits, n_groups, at->group);
    if (at->is_guarded) {
        c_line(c, "int is_row = %s < %lld;", row, n_rows);
        c_line(c, "%s = is_row ? %s : %lld;", row, row, n_rows - 1);
    } else if (n_rows % n_groups != 0) {
        c_line(c, "if (%s >= %lld)", row, n_rows);
        c_line(c, "    return;");
    }
}

/* Few rows need small blocks only: of one warp, or of a row. */
static int threads_of_block(const CudaPrinter *at) {
    int64_t n = form_n_rows(at->base.body) * at->group;
    if (at->group > CUDA_WARP)
        return at->group;
    int threads = CUDA_THREADS;
    while (threads > CUDA_WARP && threads / 2 >= n)
        threads /= 2;
    return threads;
}

static void print_rows(CudaPrinter *at) {
    int64_t n_rows = form_n_rows(at->base.body);
    at->n_threads = threads_of_block(at);
    int n_groups = at->n_threads / at->group;
    at->is_guarded = at->group > 1 && at->group < CUDA_WARP && n_rows % (CUDA_WARP / at->group) != 0;
    cuda_open_kernel(at, (n_rows + n_groups - 1) / n_groups, at->n_threads);
    cuda_print_shared(at);
    print_own_row(at);
    print_row(at);
    c_close(at->base.c);
}

/* ---- Sums over rows --------------------------------------------------------------------------------------------- */

/* Each block has some rows, one after the other, and leaves its sums in scratch memory. */
static int64_t count_chunks(const CudaPrinter *at) {
    int64_t n_rows = form_n_rows(at->base.body);
    return n_rows < MAX_ROW_CHUNKS ? n_rows : MAX_ROW_CHUNKS;
}

/* Where each sum's partial rows are, [chunks, columns]; on the arena. */
static int64_t *place_partials(CudaPrinter *at) {
    const FormBody *body = at->base.body;
    int64_t *places = arena_array_of(at->base.c->arena, int64_t, body->n_instrs);
    for (size_t i = 0; i < body->n_instrs; i++) {
        if (cuda_is_live(at, i, FORM_SUM_ROWS))
            places[i] = cuda_add_scratch(at, count_chunks(at) * form_n_cols(body));
    }
    return places;
}

static void print_partials(CudaPrinter *at, const int64_t *places, bool of_block) {
    long long n_cols = (long long)form_n_cols(at->base.body);
    for (size_t i = 0; i < at->base.body->n_instrs; i++) {
        if (!cuda_is_live(at, i, FORM_SUM_ROWS))
            continue;
        if (of_block)
            c_line(at->base.c, "float *partial_%zu = scratch + %lld + (int64_t)blockIdx.x * %lld;", i,
                   (long long)places[i], n_cols);
        else
            c_line(at->base.c, "const float *partial_%zu = scratch + %lld;", i, (long long)places[i]);
    }
}

static void print_left_parts(CudaPrinter *at) {
    CPrinter *c = at->base.c;
    const char *col = cuda_col_name(at);
    long long n_cols = (long long)form_n_cols(at->base.body);
    bool has_col = at->base.body->n_indices > at->first_col;
    for (size_t i = 0; i < at->base.body->n_instrs; i++) {
        if (!cuda_is_live(at, i, FORM_SUM_ROWS))
            continue;
        if (!has_col) {
            c_line(c, "if (thread == 0)");
            c_line(c, "    partial_%zu[0] = parts_%zu;", i, i);
            continue;
        }
        const char *vector = at->n_vectors > 1 ? arena_printf(c->arena, "vector * %d + thread", at->group) : "thread";
        bool is_even = (int64_t)at->n_vectors * at->group * at->width == n_cols;
        if (at->n_vectors > 1) {
            c_line(c, "#pragma unroll");
            c_open(c, "for (int vector = 0; vector < %d; vector++)", at->n_vectors);
        } else {
            c_line(c, "{");
            c->depth++;
        }
        if (at->width > 1)
            vector = arena_printf(c->arena, at->n_vectors > 1 ? "(%s) * 4" : "%s * 4", vector);
        c_line(c, "%s %s = %s;", at->int_type, col, vector);
        if (!is_even)
            c_line(c, "if (%s < %lld)", col, n_cols);
        const char *indent = is_even ? "" : "    ", *place = at->n_vectors > 1 ? "[vector]" : "";
        bool is_aligned = at->width > 1; /* and so are rows of partial sums */
        if (is_aligned)
            c_line(c, "%smoec_store4(&partial_%zu[%s], parts_%zu%s);", indent, i, col, i, place);
        else
            c_line(c, "%spartial_%zu[%s] = parts_%zu%s;", indent, i, col, i, place);
        c_close(c);
    }
}

/* 32 columns a block; its warps share the chunks, and the first of them adds up what all of them have. */
static void print_row_sums(CudaPrinter *at, const int64_t *places) {
    enum { N_WARPS = 16 };
    CPrinter *c = at->base.c;
    const FormBody *body = at->base.body;
    long long n_cols = (long long)form_n_cols(body), n_chunks = (long long)count_chunks(at);
    const char *col = body->n_indices > at->first_col ? cuda_col_name(at) : "col";
    cuda_open_kernel(at, (n_cols + CUDA_WARP - 1) / CUDA_WARP, N_WARPS * CUDA_WARP);
    print_partials(at, places, false);
    c_line(c, "int lane = threadIdx.x %% 32, warp = threadIdx.x / 32;");
    c_line(c, "%s %s = (%s)blockIdx.x * 32 + lane;", at->int_type, col, at->int_type);
    c_line(c, "MOEC_SHARED float shared_sums[%d][32];", N_WARPS);
    bool is_second = false;
    for (size_t i = 0; i < body->n_instrs; i++) {
        if (!cuda_is_live(at, i, FORM_SUM_ROWS))
            continue;
        c_line(c, "float v%zu = 0.0f;", i);
        c_line(c, "for (int chunk = warp; chunk < %lld && %s < %lld; chunk += %d)", n_chunks, col, n_cols, N_WARPS);
        c_line(c, "    v%zu += partial_%zu[(int64_t)chunk * %lld + %s];", i, i, n_cols, col);
        if (is_second)
            c_line(c, "__syncthreads();");
        is_second = true;
        c_line(c, "shared_sums[warp][lane] = v%zu;", i);
        c_line(c, "__syncthreads();");
        c_line(c, "for (int i = 1; i < %d && warp == 0; i++)", N_WARPS);
        c_line(c, "    v%zu += shared_sums[i][lane];", i);
    }
    c_line(c, "if (warp > 0 || %s >= %lld)", col, n_cols);
    c_line(c, "    return;");
    cuda_print_col_indices(at);
    for (size_t i = 0; i < body->n_instrs; i++) {
        if (form_instr_writes(cuda_instr(at, i)) && cuda_instr(at, i)->level == FORM_LEVEL_COL)
            form_print_write(&at->base, cuda_instr(at, i));
    }
    c_close(c);
}

static void print_summed_rows(CudaPrinter *at) {
    CPrinter *c = at->base.c;
    long long n_rows = (long long)form_n_rows(at->base.body), n_chunks = (long long)count_chunks(at);
    const int64_t *places = place_partials(at);
    const char *row = cuda_row_name(at);
    cuda_open_kernel(at, n_chunks, at->n_threads);
    cuda_print_shared(at);
    c_line(c, "int thread = threadIdx.x;");
    print_partials(at, places, true);
    if (at->n_vectors > 0)
        cuda_print_parts(at);
    c_line(c, "%s begin = (int64_t)blockIdx.x * %lld / %lld, stop = ((int64_t)blockIdx.x + 1) * %lld / %lld;",
           at->int_type, n_rows, n_chunks, n_rows, n_chunks);
    c_open(c, "for (%s %s = begin; %s < stop; %s++)", at->int_type, row, row, row);
    print_row(at);
    if (has_col_sums(at->base.body, at->phases.is_live) && at->group > CUDA_WARP)
        c_line(c, "__syncthreads(); /* before the next row's sums take the place of this one's */");
    c_close(c);
    if (at->n_vectors > 0)
        print_left_parts(at);
    c_close(c);
    print_row_sums(at, places);
}

/* ---- Ways ------------------------------------------------------------------------------------------------------- */

void cuda_print_rows(CudaPrinter *at, Form *form) {
    enum { ALL = 1 << 20 };
    FormBody *body = &form->body;
    Arena *arena = at->base.c->arena;
    const bool *is_live = form_live(arena, body);
    bool sums_cols = has_col_sums(body, is_live), sums_rows = false;
    for (size_t i = 0; i < body->n_instrs; i++)
        sums_rows = sums_rows || (is_live[i] && body->instrs[i].op == FORM_SUM_ROWS);
    bool is_flat = form->n_pieces == 0 && !sums_cols && !sums_rows && form_n_rows(body) * form_n_cols(body) > 1 &&
                   (form_n_cols(body) == 1 || !writes_row_values(body));
    if (is_flat) {
        make_all_columns(body);
        form_merge_indices(form);
        at->base = form_printer_with(at->base.c, form, body, at->base.taken);
    } else if (form->n_pieces == 0 && sums_rows && !sums_cols && form_n_cols(body) == 1) {
        for (size_t i = 0; i < body->n_instrs; i++)
            body->instrs[i].op = body->instrs[i].op == FORM_SUM_ROWS ? FORM_SUM_COLS : body->instrs[i].op;
        make_all_columns(body);
        sums_rows = false;
        sums_cols = true;
    }
    while (at->first_col < body->n_indices && !body->indices[at->first_col].is_col)
        at->first_col++;
    at->phases = phases_keeping(arena, body, ALL);
    at->width = cuda_width(at);
    bool is_shared =
        sums_cols && !sums_rows && form_n_rows(body) < LEAST_ROWS && form_n_cols(body) >= LEAST_SHARED_COLS;
    if (form->n_pieces > 0 || is_flat || is_shared) {
        at->phases = phases_keeping(arena, body, 0);
        at->group = at->n_threads;
    }
    if (form->n_pieces > 0) {
        cuda_print_pieces(at);
    } else if (is_flat) {
        cuda_print_flat(at);
    } else if (is_shared) {
        cuda_print_by_chunk(at);
    } else {
        share_rows(at);
        at->lane = at->group > CUDA_WARP || sums_rows ? "thread" : "lane";
        if (sums_rows)
            print_summed_rows(at);
        else
            print_rows(at);
    }
}
