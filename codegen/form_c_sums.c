/* Sums over all rows. */
#include <assert.h>

#include "codegen/form_c_rows.h"

/* Bytes of the partial rows of all chunks: as many chunks as fit the first, but FEW of them as long as they fit the
   second, which is no place on the stack. */
static const int64_t MAX_STACK_BYTES = 1 << 20, MAX_STATIC_BYTES = 4 << 20;
enum { FEW_CHUNKS = 16 };

static bool is_row_sum(const RowsPrinter *at, size_t i) {
    return at->phases.is_live[i] && rows_instr(at, i)->op == FORM_SUM_ROWS;
}

static void print_for_each(RowsPrinter *at, void (*print)(RowsPrinter *at, size_t instr)) {
    for (size_t i = 0; i < at->base.body->n_instrs; i++) {
        if (is_row_sum(at, i))
            print(at, i);
    }
}

/* What is written of the sums. */
static void print_writes(RowsPrinter *at) {
    for (size_t i = 0; i < at->base.body->n_instrs; i++) {
        if (form_instr_writes(rows_instr(at, i)) && rows_instr(at, i)->level == FORM_LEVEL_COL)
            form_print_write(&at->base, rows_instr(at, i));
    }
}

/* Of one chunk. */
static int64_t partial_bytes(const RowsPrinter *at) {
    int64_t n_bytes = 0;
    for (size_t i = 0; i < at->base.body->n_instrs; i++)
        n_bytes += is_row_sum(at, i) ? form_n_cols(at->base.body) * (int64_t)sizeof(float) : 0;
    return n_bytes;
}

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static int64_t count_chunks(const RowsPrinter *at) {
    int64_t n_bytes = partial_bytes(at);
    assert(n_bytes > 0 && "only forms with sums over rows have chunks");
    int64_t n = MAX_STACK_BYTES / n_bytes;
    if (n < FEW_CHUNKS)
        n = least(MAX_STATIC_BYTES / n_bytes, FEW_CHUNKS);
    n = least(least(n, FORM_CHUNKS), form_n_rows(at->base.body));
    return n > 1 ? n : 1;
}

static void print_partial(RowsPrinter *at, size_t i) {
    int64_t n_chunks = count_chunks(at);
    bool is_large = n_chunks * partial_bytes(at) > MAX_STACK_BYTES;
    c_line(at->base.c, "%sfloat partial_%zu[%lld][%lld];", is_large ? "static " : "", i, (long long)n_chunks,
           (long long)form_n_cols(at->base.body));
}

static void print_parts(RowsPrinter *at, size_t i) {
    c_line(at->base.c, "float *restrict parts_%zu = partial_%zu[chunk];", i, i);
    c_line(at->base.c, "memset(parts_%zu, 0, sizeof partial_%zu[chunk]);", i, i);
}

static void print_combined_sum(RowsPrinter *at, size_t i) {
    c_line(at->base.c, "double sum_%zu = 0;", i);
    c_line(at->base.c, "for (int64_t chunk = 0; chunk < %lld; chunk++)", (long long)count_chunks(at));
    c_line(at->base.c, "    sum_%zu += partial_%zu[chunk][%s];", i, i, rows_col_text(at));
    c_line(at->base.c, "float v%zu = (float)sum_%zu;", i, i);
}

/* Each chunk has a partial row of its own, and these are added up in order. */
void rows_print_sums(RowsPrinter *at) {
    const FormBody *body = at->base.body;
    CPrinter *c = at->base.c;
    long long n_rows = (long long)form_n_rows(body), n_chunks = (long long)count_chunks(at);
    print_for_each(at, print_partial);
    c_parallel(c, at->work, "");
    c_open(c, "for (int64_t chunk = 0; chunk < %lld; chunk++)", n_chunks);
    print_for_each(at, print_parts);
    rows_open(at, arena_printf(c->arena, "chunk * %lld / %lld", n_rows, n_chunks),
              arena_printf(c->arena, "(chunk + 1) * %lld / %lld", n_rows, n_chunks));
    rows_print(at);
    c_close(c);
    c_close(c);
    for (int i = at->first_col; i < body->n_indices; i++) {
        if (i == body->n_indices - 1)
            c_line(c, "#pragma omp simd");
        rows_open_index(at, i);
    }
    print_for_each(at, print_combined_sum);
    print_writes(at);
    for (int i = at->first_col; i < body->n_indices; i++)
        c_close(c);
}
