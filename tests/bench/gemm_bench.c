/* How fast matrix products are, in GFLOP/s, beside OpenBLAS: the shapes of a training step of 4096 rows, each measured
   in turns so that what else the machine does meets all alike. Median of the runs, least and most behind it.

   Columns "packed" have a weight's copy that stays packed; "pack" is what it takes to make it, in ms.

   usage: gemm_bench [RUNS [NAME]] -- NAME: only shapes whose line has it */
#include <cblas.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/gemm.h"
#include "runtime/meter.h"
#include "runtime/random.h"

typedef enum { FORM_NN, FORM_NT, FORM_TN, FORM_COUNT } Form;
static const char *const form_names[FORM_COUNT] = {"nn", "nt", "tn"};

/* [m, n] results, sums over k; groups cut m (k for tn) at the offsets. */
typedef struct {
    const char *name;
    Form form;
    int64_t m, n, k;
    int64_t n_groups;
    const int32_t *offsets; /* NULL: equal shares */
    bool is_gathered;       /* lhs rows, in any order */
} Shape;

static const int32_t uneven[] = {0, 2000, 4000, 5500, 6500, 7400, 7900, 8176, 8192};

static const Shape shapes[] = {
    {.name = "square", .form = FORM_NN, .m = 1024, .n = 1024, .k = 1024},
    {.name = "square", .form = FORM_NT, .m = 1024, .n = 1024, .k = 1024},
#define TRAINING(n_cols, n_k)                                                                                          \
    {.name = "rows", .form = FORM_NN, .m = 4096, .n = n_cols, .k = n_k},                                               \
        {.name = "rows", .form = FORM_NT, .m = 4096, .n = n_cols, .k = n_k}, {                                         \
        .name = "weights", .form = FORM_TN, .m = n_cols, .n = n_k, .k = 4096                                           \
    }
    TRAINING(576, 576),
    TRAINING(192, 576),
    TRAINING(1536, 576),
    TRAINING(576, 1536),
    TRAINING(256, 256),
    TRAINING(1024, 256),
    TRAINING(8192, 256),
    TRAINING(8, 576),
    {.name = "experts", .form = FORM_NT, .m = 8192, .n = 1536, .k = 576, .n_groups = 8},
    {.name = "experts", .form = FORM_NN, .m = 8192, .n = 576, .k = 1536, .n_groups = 8},
    {.name = "experts gathered", .form = FORM_NT, .m = 8192, .n = 1536, .k = 576, .n_groups = 8, .is_gathered = true},
    {.name = "experts uneven",
     .form = FORM_NT,
     .m = 8192,
     .n = 1536,
     .k = 576,
     .n_groups = 8,
     .offsets = uneven,
     .is_gathered = true},
    {.name = "experts weights", .form = FORM_TN, .m = 1536, .n = 576, .k = 8192, .n_groups = 8},
    {.name = "experts weights uneven",
     .form = FORM_TN,
     .m = 1536,
     .n = 576,
     .k = 8192,
     .n_groups = 8,
     .offsets = uneven},
    {.name = "experts weights", .form = FORM_TN, .m = 1024, .n = 256, .k = 8192, .n_groups = 8},
    {.name = "experts weights", .form = FORM_TN, .m = 256, .n = 1024, .k = 8192, .n_groups = 8},
    {.name = "small experts", .form = FORM_NT, .m = 8192, .n = 1024, .k = 256, .n_groups = 32},
    {.name = "small experts", .form = FORM_NN, .m = 8192, .n = 256, .k = 1024, .n_groups = 32},
    {.name = "small experts weights", .form = FORM_TN, .m = 1024, .n = 256, .k = 8192, .n_groups = 32},
    {.name = "vocabulary", .form = FORM_NT, .m = 512, .n = 49152, .k = 576},
    {.name = "few rows", .form = FORM_NT, .m = 16, .n = 1536, .k = 576},
};
enum { N_SHAPES = sizeof shapes / sizeof *shapes, MAX_RUNS = 101 };

typedef enum { RUN_OWN, RUN_PACKED, RUN_BLAS, RUN_BF16, RUN_BF16_PACKED, RUN_COUNT } RunKind;

static const struct {
    const char *title;
    MoecGemmPrecision precision;
    bool is_packed;
} runs[RUN_COUNT] = {[RUN_OWN] = {"own f32", MOEC_GEMM_F32, false},
                     [RUN_PACKED] = {"packed", MOEC_GEMM_F32, true},
                     [RUN_BLAS] = {"OpenBLAS", MOEC_GEMM_F32, false},
                     [RUN_BF16] = {"own bf16", MOEC_GEMM_BF16, false},
                     [RUN_BF16_PACKED] = {"packed", MOEC_GEMM_BF16, true}};

typedef struct {
    const Shape *shape;
    int64_t n_groups;
    int32_t offsets[33], *gather;
    float *a, *b, *c;
    void *packed[RUN_COUNT]; /* b; NULL where it is none or no weight */
    double pack_seconds[RUN_COUNT];
} Bench;

static float *drawn(int64_t n) {
    float *values = malloc((size_t)n * sizeof *values);
    if (!values)
        abort();
    RandomStream stream = random_stream(1, "bench");
    random_normal(&stream, 0, (size_t)n, values);
    return values;
}

static MoecGemmPacked packed_shape(const Bench *bench, RunKind kind) {
    const Shape *s = bench->shape;
    bool is_nt = s->form == FORM_NT;
    return (MoecGemmPacked){.precision = runs[kind].precision,
                            .n_groups = bench->n_groups,
                            .n_cols = s->n,
                            .k = s->k,
                            .data = bench->b,
                            .stride = is_nt ? s->k : 1,
                            .k_stride = is_nt ? 1 : s->n,
                            .group_stride = s->n * s->k};
}

static void pack(Bench *bench, RunKind kind) {
    enum { PAGE = 4096 };
    MoecGemmPacked shape = packed_shape(bench, kind);
    if (!bench->packed[kind])
        bench->packed[kind] = aligned_alloc(PAGE, (moec_gemm_packed_bytes(&shape) + PAGE - 1) / PAGE * PAGE);
    double start = meter_clock(), seconds;
    moec_gemm_pack(&shape, bench->packed[kind]);
    seconds = meter_clock() - start;
    if (bench->pack_seconds[kind] == 0.0 || seconds < bench->pack_seconds[kind])
        bench->pack_seconds[kind] = seconds;
}

static bool can_run(const Shape *shape, RunKind kind) {
    return !runs[kind].is_packed || shape->form != FORM_TN;
}

static Bench bench_open(const Shape *shape) {
    Bench bench = {.shape = shape, .n_groups = shape->n_groups > 0 ? shape->n_groups : 1};
    bool sums_groups = shape->form == FORM_TN;
    for (int64_t group = 0; group <= bench.n_groups; group++)
        bench.offsets[group] = shape->offsets ? shape->offsets[group]
                                              : (int32_t)((sums_groups ? shape->k : shape->m) * group / bench.n_groups);
    bench.a = drawn(shape->m * shape->k);
    bench.b = drawn(shape->n * shape->k * (sums_groups ? 1 : bench.n_groups));
    bench.c = drawn(shape->m * shape->n * (sums_groups ? bench.n_groups : 1));
    bench.gather = calloc((size_t)shape->m, sizeof *bench.gather);
    for (int64_t row = 0; row < shape->m; row++)
        bench.gather[row] = (int32_t)(row * 3571 % shape->m);
    return bench;
}

static void bench_close(Bench *bench) {
    free(bench->a), free(bench->b), free(bench->c), free(bench->gather);
    for (int kind = 0; kind < RUN_COUNT; kind++)
        free(bench->packed[kind]);
}

static void run_own(const Bench *bench, RunKind kind) {
    const Shape *s = bench->shape;
    bool is_tn = s->form == FORM_TN, is_grouped = s->n_groups > 0;
    MoecGemm gemm = {.precision = runs[kind].precision, .n_groups = 1, .n_rows = s->m, .n_cols = s->n};
    gemm.n_products = gemm.n_results = 1;
    MoecGemmProduct *product = &gemm.products[0];
    product->k = s->k;
    product->lhs = (MoecGemmOperand){.data = bench->a, .stride = is_tn ? 1 : s->k, .k_stride = is_tn ? s->m : 1};
    product->rhs = (MoecGemmOperand){
        .data = bench->b, .stride = s->form == FORM_NT ? s->k : 1, .k_stride = s->form == FORM_NT ? 1 : s->n};
    if (is_grouped) {
        gemm.ragged = is_tn ? MOEC_GEMM_K : MOEC_GEMM_ROWS;
        gemm.n_groups = bench->n_groups;
        gemm.offsets = bench->offsets;
        product->rhs.group_stride = is_tn ? 0 : s->n * s->k;
    }
    product->rhs.packed = bench->packed[kind];
    if (s->is_gathered)
        product->lhs.gather = bench->gather;
    gemm.results[0] = (MoecGemmResult){
        .out = bench->c, .stride = s->n, .group_stride = is_tn ? s->m * s->n : 0, .beta = is_tn ? 1.0f : 0.0f};
    moec_gemm(&gemm);
}

/* OpenBLAS does not gather: for it, rows are in place. */
static void run_blas(const Bench *bench) {
    const Shape *s = bench->shape;
    for (int64_t group = 0; group < bench->n_groups; group++) {
        int start = bench->offsets[group], n = bench->offsets[group + 1] - start, m = (int)s->m, k = (int)s->k;
        int n_cols = (int)s->n;
        if (s->form == FORM_TN)
            cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, m, n_cols, n, 1.0f, bench->a + start * s->m, m,
                        bench->b + start * s->n, n_cols, 1.0f, bench->c + group * s->m * s->n, n_cols);
        else
            cblas_sgemm(CblasRowMajor, CblasNoTrans, s->form == FORM_NT ? CblasTrans : CblasNoTrans, n, n_cols, k, 1.0f,
                        bench->a + start * s->k, k, bench->b + group * s->n * s->k, s->form == FORM_NT ? k : n_cols,
                        0.0f, bench->c + start * s->n, n_cols);
    }
}

static double measure(Bench *bench, RunKind kind) {
    if (runs[kind].is_packed)
        pack(bench, kind);
    double start = meter_clock();
    if (kind == RUN_BLAS)
        run_blas(bench);
    else
        run_own(bench, kind);
    const Shape *s = bench->shape;
    return 2e-9 * (double)s->m * (double)s->n * (double)s->k / (meter_clock() - start);
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void run_shape(const Shape *shape, int n_runs, const char *line) {
    double rates[RUN_COUNT][MAX_RUNS];
    Bench bench = bench_open(shape);
    for (int kind = 0; kind < RUN_COUNT; kind++)
        if (can_run(shape, (RunKind)kind))
            measure(&bench, (RunKind)kind); /* pages and caches are warm from here on */
    for (int run = 0; run < n_runs; run++) {
        for (int kind = 0; kind < RUN_COUNT; kind++)
            rates[kind][run] = can_run(shape, (RunKind)kind) ? measure(&bench, (RunKind)kind) : 0.0;
    }
    bench_close(&bench);
    printf("%-46s", line);
    for (int kind = 0; kind < RUN_COUNT; kind++) {
        qsort(rates[kind], (size_t)n_runs, sizeof **rates, compare);
        if (can_run(shape, (RunKind)kind))
            printf("%6.0f %4.0f-%-4.0f", rates[kind][n_runs / 2], rates[kind][0], rates[kind][n_runs - 1]);
        else
            printf("%16s", "");
    }
    if (shape->form != FORM_TN)
        printf("%8.2f %.2f", 1e3 * bench.pack_seconds[RUN_PACKED], 1e3 * bench.pack_seconds[RUN_BF16_PACKED]);
    putchar('\n');
    fflush(stdout);
}

int main(int argc, char **argv) {
    int n_runs = argc > 1 ? atoi(argv[1]) : 15;
    n_runs = n_runs < 1 ? 1 : n_runs > MAX_RUNS ? MAX_RUNS : n_runs;
    printf("%-46s", "GFLOP/s");
    for (int kind = 0; kind < RUN_COUNT; kind++)
        printf("%16s", runs[kind].title);
    printf("%14s\n", "pack, f32 bf16");
    for (int i = 0; i < N_SHAPES; i++) {
        const Shape *s = &shapes[i];
        char line[128];
        snprintf(line, sizeof line, "%s %s [%ld, %ld] over %ld", s->name, form_names[s->form], (long)s->m, (long)s->n,
                 (long)s->k);
        if (argc < 3 || strstr(line, argv[2]))
            run_shape(s, n_runs, line);
    }
    moec_gemm_release();
    return 0;
}
