/* Reductions. Every sum has an order that does not depend on the number of threads, and accumulates in doubles. */
#include <assert.h>

#include "codegen/lower.h"

/* ---- Sums over any dims --------------------------------------------------------------------------------------- */

/* A sum under construction: the nest over x, its tensors, and how many loops of either kind there are. */
typedef struct {
    Nest nest;
    int out; /* 0 strides along reduced loops */
    LowerElement x;
    int n_kept, n_reduced;
    double work;
} Sum;

static Sum sum_of(CPrinter *c, const Node *node) {
    const Type *type = lower_operand_type(node, 0);
    Sum sum = {.nest = nest_new(type), .work = (double)type_n_elements(type)};
    int n_dims;
    const int64_t *dims = attrs_ints(&node->attrs, "dims", &n_dims);
    for (int i = 0; i < n_dims; i++)
        sum.nest.loops[dims[i]].is_reduced = true;
    int64_t dense[MAX_RANK], strides[MAX_RANK];
    type_strides(&node->results[0].type, dense);
    int kept = 0;
    for (int i = 0; i < type->rank; i++)
        strides[i] = sum.nest.loops[i].is_reduced ? 0 : dense[kept++];
    sum.out = nest_add(&sum.nest, "out", 0, strides);
    sum.x = lower_element(c, &sum.nest, node, 0, "x");
    if (sum.x.literal == NULL)
        nest_sort(&sum.nest, sum.x.tensor);
    nest_merge(&sum.nest, c->arena);
    for (int i = 0; i < sum.nest.n_loops; i++) {
        if (sum.nest.loops[i].is_reduced)
            sum.n_reduced++;
        else
            sum.n_kept++;
    }
    return sum;
}

/* Opens the loops of one kind, outermost first, at most `n`; returns how many. */
static int open_loops(CPrinter *c, const Nest *nest, bool is_reduced, int n) {
    int n_opened = 0;
    for (int i = 0; i < nest->n_loops && n_opened < n; i++) {
        if (nest->loops[i].is_reduced != is_reduced)
            continue;
        nest_open_loop(c, &nest->loops[i]);
        n_opened++;
    }
    return n_opened;
}

static void close_loops(CPrinter *c, int n) {
    for (int i = 0; i < n; i++)
        c_close(c);
}

static void print_collapsed(CPrinter *c, double work, int n_loops) {
    if (n_loops > 0)
        c_parallel(c, work, n_loops > 1 ? arena_printf(c->arena, "collapse(%d)", n_loops) : "");
}

/* The inner loop is reduced: one sum at a time. */
static void print_row_sums(CPrinter *c, const Sum *sum) {
    const Nest *nest = &sum->nest;
    print_collapsed(c, sum->work, sum->n_kept);
    int n_kept = open_loops(c, nest, false, sum->n_kept);
    c_line(c, "double sum = 0;");
    int n_reduced = open_loops(c, nest, true, sum->n_reduced - 1);
    c_line(c, "#pragma omp simd reduction(+ : sum)");
    nest_open_loop(c, &nest->loops[nest->n_loops - 1]);
    c_line(c, "sum += %s;", lower_element_text(c, nest, sum->x));
    close_loops(c, n_reduced + 1);
    c_line(c, "%s = (float)sum;", nest_element(c, nest, sum->out));
    close_loops(c, n_kept);
}

/* Sums that are added up side by side: columns of x. */
enum { COLUMNS = 64 };

/* The inner loop is kept: a block of columns at a time. */
static void print_column_sums(CPrinter *c, const Sum *sum) {
    const Nest *nest = &sum->nest;
    const NestLoop *columns = &nest->loops[nest->n_loops - 1];
    const char *extent = arena_printf(c->arena, "%lld", (long long)columns->extent);
    print_collapsed(c, sum->work, sum->n_kept);
    int n_kept = open_loops(c, nest, false, sum->n_kept - 1);
    c_open(c, "for (int64_t first = 0; first < %s; first += %d)", extent, COLUMNS);
    c_line(c, "int64_t end = first + %d < %s ? first + %d : %s;", COLUMNS, extent, COLUMNS, extent);
    c_line(c, "double sum[%d] = {0};", COLUMNS);
    int n_reduced = open_loops(c, nest, true, sum->n_reduced);
    c_line(c, "#pragma omp simd");
    nest_open_part(c, columns, "first", "end");
    c_line(c, "sum[%s - first] += %s;", columns->variable, lower_element_text(c, nest, sum->x));
    close_loops(c, n_reduced + 1);
    nest_open_part(c, columns, "first", "end");
    c_line(c, "%s = (float)sum[%s - first];", nest_element(c, nest, sum->out), columns->variable);
    close_loops(c, n_kept + 2);
}

/* Long sums are cut in this many parts for threads to share: always the same ones, added up in order. */
enum { CHUNKS = 64, MAX_CHUNKED_SUMS = 64 };

/* The longest reduced loop. */
static const NestLoop *chunked_loop(const Nest *nest) {
    const NestLoop *longest = NULL;
    for (int i = 0; i < nest->n_loops; i++) {
        const NestLoop *loop = &nest->loops[i];
        if (loop->is_reduced && (longest == NULL || loop->extent > longest->extent))
            longest = loop;
    }
    return longest;
}

/* The sums of all chunks' partial sums. */
static void print_combined(CPrinter *c, int64_t n_chunks, int64_t n_sums) {
    if (n_sums > 1)
        c_open(c, "for (int64_t i = 0; i < %lld; i++)", (long long)n_sums);
    c_line(c, "double sum = 0;");
    c_line(c, "for (int64_t chunk = 0; chunk < %lld; chunk++)", (long long)n_chunks);
    c_line(c, "    sum += partial[chunk]%s;", n_sums > 1 ? "[i]" : "");
    c_line(c, "out[%s] = (float)sum;", n_sums > 1 ? "i" : "0");
    if (n_sums > 1)
        c_close(c);
}

/* Few sums of much: each chunk of the longest reduced loop has its own partial sums. */
static void print_chunked_sums(CPrinter *c, const Sum *sum, int64_t n_sums) {
    Nest nest = sum->nest;
    const NestLoop *chunked = chunked_loop(&sum->nest);
    int64_t n_chunks = chunked->extent < CHUNKS ? chunked->extent : CHUNKS;
    const char *first = arena_printf(c->arena, "chunk * %lld / %lld", (long long)chunked->extent, (long long)n_chunks);
    const char *end =
        arena_printf(c->arena, "(chunk + 1) * %lld / %lld", (long long)chunked->extent, (long long)n_chunks);
    nest.tensors[sum->out] = "partial[chunk]";
    const char *partial = n_sums == 1 ? "partial[chunk]" : nest_element(c, &nest, sum->out);
    if (n_sums == 1)
        c_line(c, "double partial[%lld] = {0};", (long long)n_chunks);
    else
        c_line(c, "double partial[%lld][%lld] = {{0}};", (long long)n_chunks, (long long)n_sums);
    c_parallel(c, sum->work, "");
    c_open(c, "for (int64_t chunk = 0; chunk < %lld; chunk++)", (long long)n_chunks);
    for (int i = 0; i < nest.n_loops; i++) {
        const NestLoop *loop = &nest.loops[i];
        bool is_inner = i == nest.n_loops - 1;
        if (is_inner && loop->is_reduced)
            c_line(c, "double sum = 0;");
        if (is_inner)
            c_line(c, loop->is_reduced ? "#pragma omp simd reduction(+ : sum)" : "#pragma omp simd");
        if (loop->extent == chunked->extent && &sum->nest.loops[i] == chunked)
            nest_open_part(c, loop, first, end);
        else
            nest_open_loop(c, loop);
    }
    bool is_row = nest.loops[nest.n_loops - 1].is_reduced;
    c_line(c, "%s += %s;", is_row ? "sum" : partial, lower_element_text(c, &nest, sum->x));
    c_close(c);
    if (is_row)
        c_line(c, "%s += sum;", partial);
    close_loops(c, nest.n_loops);
    print_combined(c, n_chunks, n_sums);
}

void lower_reduce_sum(CPrinter *c, const Node *node) {
    c_pointers(c, node, (const char *const[]){"out", "x"});
    Sum sum = sum_of(c, node);
    int64_t n_sums = type_n_elements(&node->results[0].type);
    if (sum.n_reduced == 0)
        nest_print_map(c, &sum.nest, sum.work,
                       arena_printf(c->arena, "%s = %s;", nest_element(c, &sum.nest, sum.out),
                                    lower_element_text(c, &sum.nest, sum.x)));
    else if (n_sums <= MAX_CHUNKED_SUMS && c_is_parallel(sum.work))
        print_chunked_sums(c, &sum, n_sums);
    else if (sum.nest.loops[sum.nest.n_loops - 1].is_reduced)
        print_row_sums(c, &sum);
    else
        print_column_sums(c, &sum);
}

/* f32[]: chunk after chunk, as the chunked sums above. */
void lower_sum_squares(CPrinter *c, const Node *node) {
    int64_t n_elements = type_n_elements(lower_operand_type(node, 0));
    c_pointers(c, node, (const char *const[]){"out", "x"});
    c_constants(c, (const CConstant[]){{"n_elements", n_elements}, {"n_chunks", CHUNKS}, {NULL, 0}});
    c_line(c, "double partial[n_chunks];");
    c_parallel(c, (double)n_elements, "");
    c_text(c, "for (int64_t chunk = 0; chunk < n_chunks; chunk++) {\n"
              "    double sum = 0;\n"
              "    #pragma omp simd reduction(+ : sum)\n"
              "    for (int64_t i = chunk * n_elements / n_chunks; i < (chunk + 1) * n_elements / n_chunks; i++)\n"
              "        sum += (double)x[i] * x[i];\n"
              "    partial[chunk] = sum;\n"
              "}\n"
              "double sum = 0;\n"
              "for (int64_t chunk = 0; chunk < n_chunks; chunk++)\n"
              "    sum += partial[chunk];\n"
              "out[0] = (float)sum;\n");
}
