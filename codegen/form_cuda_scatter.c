/* Forms that scatter as CUDA C, without atomics: rows that go to one place are a list, in their order. One launch notes
   where each row goes, one finds the next row of each that goes there too, and in the last one the first row of a list
   adds up all of it. */
#include "codegen/form_cuda_internal.h"

/* Where scratch memory has, for each row, its place or -1, the next row to go there or -1, and whether it is the first
   to do so. */
typedef struct {
    const FormInstr *scatter;
    size_t number; /* of that instruction */
    int64_t n_rows;
    int64_t places, next, first;
} Lists;

static void print_pointer(CudaPrinter *at, const char *name, int64_t place) {
    c_line(at->base.c, "int32_t *%s = (int32_t *)scratch + %lld;", name, (long long)place);
}

static void print_pointers(CudaPrinter *at, const Lists *lists) {
    print_pointer(at, "places", lists->places);
    print_pointer(at, "next", lists->next);
    print_pointer(at, "is_first", lists->first);
}

/* ---- Lists ------------------------------------------------------------------------------------------------------ */

static void print_zeros(CudaPrinter *at, const Lists *lists) {
    CPrinter *c = at->base.c;
    long long n = (long long)at->base.form->args[lists->scatter->map.arg].n_elements;
    const char *name = at->base.arg_names[lists->scatter->map.arg];
    int width = n % 4 == 0 && cuda_is_aligned(at, lists->scatter->map.arg) ? 4 : 1, n_elements = CUDA_THREADS * width;
    cuda_open_kernel(at, (n + n_elements - 1) / n_elements, CUDA_THREADS);
    c_line(c, "int64_t first = ((int64_t)blockIdx.x * %d + threadIdx.x) * %d;", CUDA_THREADS, width);
    c_line(c, "if (first >= %lld)", n);
    c_line(c, "    return;");
    if (width == 4) {
        c_line(c, "const float zeros[4] = {0.0f, 0.0f, 0.0f, 0.0f};");
        c_line(c, "moec_store4(&%s[first], zeros);", name);
    } else {
        c_line(c, "%s[first] = 0.0f;", name);
    }
    c_close(c);
}

static void print_places(CudaPrinter *at, const Lists *lists) {
    CPrinter *c = at->base.c;
    const char *row = cuda_row_name(at);
    long long n_rows = (long long)lists->n_rows;
    cuda_open_kernel(at, (n_rows + CUDA_THREADS - 1) / CUDA_THREADS, CUDA_THREADS);
    print_pointer(at, "places", lists->places);
    c_line(c, "%s %s = (%s)(blockIdx.x * %d + threadIdx.x);", at->int_type, row, at->int_type, CUDA_THREADS);
    c_line(c, "if (%s >= %lld)", row, n_rows);
    c_line(c, "    return;");
    cuda_print_row_indices(at);
    cuda_print_values(at, 0, false, "");
    c_line(c, "places[%s] = v%zu_is ? (int32_t)v%u : -1;", row, lists->number, lists->scatter->map.gather);
    c_close(c);
}

/* A thread compares its row with all, of which its block has some in shared memory at a time. */
static void print_lists(CudaPrinter *at, const Lists *lists) {
    CPrinter *c = at->base.c;
    long long n_rows = (long long)lists->n_rows;
    cuda_open_kernel(at, (n_rows + CUDA_THREADS - 1) / CUDA_THREADS, CUDA_THREADS);
    c_line(c, "MOEC_SHARED int32_t shared_places[%d];", CUDA_THREADS);
    print_pointers(at, lists);
    c_line(c, "int thread = threadIdx.x, row = blockIdx.x * %d + thread;", CUDA_THREADS);
    c_line(c, "int place = row < %lld ? places[row] : -1, leads = place >= 0, next_row = -1;", n_rows);
    c_open(c, "for (int begin = 0; begin < %lld; begin += %d)", n_rows, CUDA_THREADS);
    c_line(c, "shared_places[thread] = begin + thread < %lld ? places[begin + thread] : -1;", n_rows);
    c_line(c, "__syncthreads();");
    c_line(c, "#pragma unroll 8");
    c_open(c, "for (int i = 0; i < %d; i++)", CUDA_THREADS);
    c_line(c, "int is_there = shared_places[i] == place;");
    c_line(c, "leads = is_there && begin + i < row ? 0 : leads;");
    c_line(c, "next_row = is_there && begin + i > row && next_row < 0 ? begin + i : next_row;");
    c_close(c);
    c_line(c, "__syncthreads();");
    c_close(c);
    c_line(c, "if (row >= %lld)", n_rows);
    c_line(c, "    return;");
    c_line(c, "next[row] = next_row;");
    c_line(c, "is_first[row] = leads;");
    c_close(c);
}

/* ---- Sums ------------------------------------------------------------------------------------------------------- */

static bool stores_vector(const CudaPrinter *at, const Lists *lists) {
    const FormAccessMap *map = &lists->scatter->map;
    return at->width > 1 && cuda_is_aligned(at, map->arg) && map->gather_stride % 4 == 0 && map->offset % 4 == 0 &&
           map->strides[at->base.body->n_indices - 1] == 1;
}

/* Of the thread's columns; there is one index of these at most. */
static void print_store(CudaPrinter *at, const Lists *lists) {
    CPrinter *c = at->base.c;
    const char *sign = at->base.form->args[lists->scatter->map.arg].access == FORM_INOUT ? "+=" : "=";
    if (stores_vector(at, lists)) {
        const char *element = form_scatter_text(&at->base, lists->scatter, "place");
        c_line(c, "float stored[4] = {0.0f};");
        if (sign[0] == '+')
            c_line(c, "moec_load4(stored, &%s);", element);
        c_line(c, "for (int element = 0; element < 4; element++)");
        c_line(c, "    stored[element] += parts_%zu[element];", lists->number);
        c_line(c, "moec_store4(&%s, stored);", element);
    } else if (at->width == 1) {
        c_line(c, "%s %s parts_%zu;", form_scatter_text(&at->base, lists->scatter, "place"), sign, lists->number);
    } else {
        const char **name = &at->base.index_names[at->base.body->n_indices - 1], *whole = *name;
        *name = arena_printf(c->arena, "(%s + element)", whole);
        c_line(c, "for (int element = 0; element < 4; element++)");
        c_line(c, "    %s %s parts_%zu[element];", form_scatter_text(&at->base, lists->scatter, "place"), sign,
               lists->number);
        *name = whole;
    }
}

/* A row's columns are shared by the threads of `n_tiles` blocks: which columns this one has. */
static const char *share_columns(CudaPrinter *at, int64_t n_reads, long long *n_tiles) {
    at->n_threads = CUDA_WARP;
    while (at->n_threads < CUDA_THREADS && at->n_threads < n_reads)
        at->n_threads *= 2;
    at->group = at->n_threads;
    at->n_vectors = 1;
    *n_tiles = (n_reads + at->n_threads - 1) / at->n_threads;
    return *n_tiles == 1
               ? "thread"
               : arena_printf(at->base.c->arena, "(int)(blockIdx.x %% %lld * %d + thread)", *n_tiles, at->n_threads);
}

static void print_sums(CudaPrinter *at, const Lists *lists) {
    CPrinter *c = at->base.c;
    const char *row = cuda_row_name(at), *col = cuda_col_name(at);
    long long n_cols = (long long)form_n_cols(at->base.body), n_tiles;
    bool has_columns = lists->scatter->level == FORM_LEVEL_FULL;
    CudaColumns columns = {.first = share_columns(at, (n_cols + at->width - 1) / at->width, &n_tiles),
                           .end = arena_printf(c->arena, "%lld", n_cols)};
    cuda_open_kernel(at, lists->n_rows * n_tiles, at->n_threads);
    print_pointers(at, lists);
    c_line(c, "int thread = threadIdx.x, begin = blockIdx.x / %lld;", n_tiles);
    c_line(c, "if (!is_first[begin])");
    c_line(c, "    return;");
    cuda_print_parts(at);
    c_open(c, "for (%s %s = begin; %s >= 0; %s = next[%s])", at->int_type, row, row, row, row);
    cuda_print_row_indices(at);
    cuda_print_values(at, 0, false, "");
    if (has_columns) {
        phases_needs(&at->phases, 0, at->is_needed);
        cuda_print_loop(at, 0, columns);
    } else {
        c_line(c, "parts_%zu += %s;", lists->number, form_value_text(&at->base, lists->scatter->a));
    }
    c_close(c);
    c_line(c, "int64_t place = (int64_t)places[begin] * %lld;", (long long)lists->scatter->map.gather_stride);
    if (has_columns) {
        c_line(c, at->width > 1 ? "%s %s = %s * 4;" : "%s %s = %s;", at->int_type, col, columns.first);
        c_open(c, "if (%s < %lld)", col, n_cols);
    } else {
        c_open(c, "if (thread == 0)");
    }
    print_store(at, lists);
    c_close(c);
    c_close(c);
}

void cuda_print_scatter(CudaPrinter *at, const Form *form) {
    const FormBody *body = at->base.body;
    Lists lists = {.scatter = form_scatter_of(body), .n_rows = form_n_rows(body)};
    lists.number = (size_t)(lists.scatter - body->instrs);
    while (at->first_col < body->n_indices && !body->indices[at->first_col].is_col)
        at->first_col++;
    at->phases = phases_keeping(at->base.c->arena, body, 0);
    at->width = cuda_width(at);
    lists.places = cuda_add_scratch(at, lists.n_rows);
    lists.next = cuda_add_scratch(at, lists.n_rows);
    lists.first = cuda_add_scratch(at, lists.n_rows);
    if (form->args[lists.scatter->map.arg].access == FORM_OUT)
        print_zeros(at, &lists);
    print_places(at, &lists);
    print_lists(at, &lists);
    print_sums(at, &lists);
}
