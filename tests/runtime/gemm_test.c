// RUN: %unit
/* moec_gemm with every family of inner kernels against a plain loop in double precision: random shapes and strides,
   gathers, computed operands, ragged rows and sums, several products; the same bits whatever the number of threads. */
#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/gemm_blas.h"
#include "runtime/gemm_kernels.h"

enum { MAX_GROUPS = 16 };

static uint64_t state;

static void seed(uint64_t value) {
    state = value * 0x9e3779b97f4a7c15 + 1;
}

/* In [0, n). */
static int64_t draw(int64_t n) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (int64_t)(state >> 11) % n;
}

static float draw_float(void) {
    return (float)draw(2001) / 1000.0f - 1.0f;
}

/* Exactly n elements, so that the sanitizer sees what lies beyond. */
static float *random_floats(int64_t n) {
    float *x = malloc(sizeof *x * (size_t)(n > 0 ? n : 1));
    assert_non_null(x);
    for (int64_t i = 0; i < n; i++)
        x[i] = draw_float();
    return x;
}

static uint16_t *random_halves(int64_t n) {
    uint16_t *x = malloc(sizeof *x * (size_t)(n > 0 ? n : 1));
    assert_non_null(x);
    for (int64_t i = 0; i < n; i++) {
        float value = draw_float();
        uint32_t bits;
        memcpy(&bits, &value, sizeof bits);
        x[i] = (uint16_t)(bits >> 16);
    }
    return x;
}

/* An operand [major, minor] in memory; major may be gathered. */
typedef struct {
    void *data;
    int32_t *gather;
    int64_t n_minor;
    bool k_is_major;
} Source;

typedef struct {
    MoecGemm gemm;
    int32_t offsets[MAX_GROUPS + 1];
    Source lhs[MOEC_GEMM_MAX_PRODUCTS], rhs[MOEC_GEMM_MAX_PRODUCTS];
    int64_t n_results_floats; /* of each result */
    float *before, *after[MOEC_GEMM_MAX_RESULTS];
    int *n_written; /* by the epilogue, of result 0 */
} Case;

static float source_at(const MoecGemm *gemm, const MoecGemmOperand *operand, int64_t group, int64_t i, int64_t k,
                       bool k_is_major) {
    int64_t major = k_is_major ? k : i, minor = k_is_major ? i : k;
    if (operand->gather) {
        major = operand->gather[major];
        if (major < 0)
            return 0.0f;
        major /= operand->gather_divisor > 1 ? operand->gather_divisor : 1;
    }
    int64_t stride = k_is_major ? operand->k_stride : operand->stride;
    int64_t at = group * operand->group_stride + major * stride + minor;
    if (gemm->precision != MOEC_GEMM_BF16)
        return ((const float *)operand->data)[at];
    uint32_t bits = (uint32_t)((const uint16_t *)operand->data)[at] << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static int64_t n_groups(const MoecGemm *gemm) {
    return gemm->ragged == MOEC_GEMM_DENSE ? 1 : gemm->n_groups;
}

static double sum_at(const Case *at, int result, int64_t group, int64_t row, int64_t col) {
    const MoecGemm *gemm = &at->gemm;
    double sum = 0;
    for (int p = 0; p < gemm->n_products; p++) {
        const MoecGemmProduct *product = &gemm->products[p];
        int64_t first = gemm->ragged == MOEC_GEMM_K ? gemm->offsets[group] : 0;
        int64_t end = gemm->ragged == MOEC_GEMM_K ? gemm->offsets[group + 1] : product->k;
        for (int64_t k = first; k < end && product->result == result; k++) {
            float a = source_at(gemm, &product->lhs, group, row, k, at->lhs[p].k_is_major);
            float b = source_at(gemm, &product->rhs, group, col, k, at->rhs[p].k_is_major);
            sum += (double)a * b;
        }
    }
    return sum;
}

static const Case *current; /* of the callbacks, which have no other way to it */

static void load(const MoecGemmOperand *operand, bool k_is_major, int64_t group, int64_t major, int64_t n_major,
                 int64_t minor, int64_t n_minor, float *out, int64_t ld) {
    for (int64_t i = 0; i < n_major; i++) {
        for (int64_t j = 0; j < n_minor; j++)
            out[i * ld + j] = source_at(&current->gemm, operand, group, k_is_major ? minor + j : major + i,
                                        k_is_major ? major + i : minor + j, k_is_major);
    }
}

static MoecGemmOperand loaded_operand; /* what the first lhs was before it got the callback */

static void load_lhs(void *const *args, int64_t group, int64_t major, int64_t n_major, int64_t minor, int64_t n_minor,
                     float *out, int64_t ld) {
    assert_ptr_equal(args, current->gemm.args);
    load(&loaded_operand, current->lhs[0].k_is_major, group, major, n_major, minor, n_minor, out, ld);
}

/* Writes result r + 1 times each sum. */
static void epilogue(void *const *args, const MoecGemmTile *tile) {
    assert_ptr_equal(args, current->gemm.args);
    int64_t n_cols = current->gemm.n_cols;
    for (int64_t i = 0; i < tile->n_rows; i++) {
        for (int64_t j = 0; j < tile->n_cols; j++) {
            int64_t at = tile->group * (current->gemm.ragged == MOEC_GEMM_K ? current->gemm.n_rows * n_cols : 0) +
                         (tile->row + i) * n_cols + tile->col + j;
            __atomic_fetch_add(&current->n_written[at], 1, __ATOMIC_RELAXED);
            for (int r = 0; r < current->gemm.n_results; r++)
                current->after[r][at] = (float)(r + 1) * tile->sums[r][i * tile->ld + j];
        }
    }
}

/* ---- Random cases ------------------------------------------------------------------------------------------------ */

static void make_operand(Case *at, MoecGemmOperand *operand, Source *source, bool is_lhs, int64_t k) {
    const MoecGemm *gemm = &at->gemm;
    int64_t n_side = is_lhs ? gemm->n_rows : gemm->n_cols;
    bool has_matrices = gemm->ragged == MOEC_GEMM_ROWS && !is_lhs;
    source->k_is_major = gemm->ragged == MOEC_GEMM_K || draw(2);
    int64_t n_major = source->k_is_major ? k : n_side, n_minor = source->k_is_major ? n_side : k;
    if (n_minor == 1 || n_major == 1) /* the strides tell the sides apart by gemm.h's rule */
        source->k_is_major = gemm->ragged == MOEC_GEMM_K || n_minor != 1 ? source->k_is_major : false;
    n_major = source->k_is_major ? k : n_side;
    n_minor = source->k_is_major ? n_side : k;
    int64_t n_stored = n_major;
    if (draw(3) == 0 && !has_matrices && n_minor > 1) {
        operand->gather_divisor = 1 + draw(2);
        n_stored = n_major / operand->gather_divisor + 1;
        source->gather = malloc(sizeof(int32_t) * (size_t)(n_major > 0 ? n_major : 1));
        for (int64_t i = 0; i < n_major; i++)
            source->gather[i] = (int32_t)(draw(8) == 0 ? -1 : draw(n_stored * operand->gather_divisor));
        operand->gather = source->gather;
    }
    int64_t n_elements = n_stored * n_minor * (has_matrices ? gemm->n_groups : 1);
    if (gemm->precision == MOEC_GEMM_BF16)
        source->data = random_halves(n_elements);
    else
        source->data = random_floats(n_elements);
    operand->data = source->data;
    operand->stride = source->k_is_major ? 1 : n_minor;
    operand->k_stride = source->k_is_major ? n_minor : 1;
    operand->group_stride = has_matrices ? n_stored * n_minor : 0;
}

static void make_offsets(Case *at, int64_t n_most) {
    int64_t n_left = n_most;
    for (int64_t g = 0; g < at->gemm.n_groups; g++) {
        int64_t n = draw(3) == 0 ? 0 : draw(2) == 0 ? n_left : draw(n_left + 1);
        at->offsets[g + 1] = at->offsets[g] + (int32_t)n;
        n_left -= n;
    }
    at->gemm.offsets = at->offsets;
}

static int64_t draw_extent(int64_t most) {
    return draw(4) == 0 ? 1 + draw(3) : 1 + draw(most);
}

static void make_case(Case *at, MoecGemmPrecision precision) {
    *at = (Case){0};
    MoecGemm *gemm = &at->gemm;
    static void *const args[] = {NULL};
    int64_t most = draw(6) == 0 ? 700 : 70, k = draw_extent(draw(8) == 0 ? 3000 : most);
    gemm->precision = precision;
    gemm->ragged = (MoecGemmRagged)draw(3);
    gemm->n_groups = gemm->ragged == MOEC_GEMM_DENSE ? 1 : 1 + draw(draw(3) == 0 ? MAX_GROUPS : 4);
    gemm->n_rows = draw_extent(most);
    gemm->n_cols = draw_extent(most);
    gemm->n_products = 1 + (int)draw(3);
    gemm->n_results = 1 + (int)draw(gemm->n_products);
    gemm->args = args;
    if (gemm->ragged != MOEC_GEMM_DENSE)
        make_offsets(at, gemm->ragged == MOEC_GEMM_ROWS ? gemm->n_rows : k);
    for (int p = 0; p < gemm->n_products; p++) {
        MoecGemmProduct *product = &gemm->products[p];
        product->k = gemm->ragged == MOEC_GEMM_K ? k : draw_extent(most);
        product->result = p < gemm->n_results ? p : (int)draw(gemm->n_results);
        if (p > 0 && draw(2) == 0) { /* siblings */
            product->k = gemm->products[0].k;
            product->lhs = gemm->products[0].lhs;
            at->lhs[p].k_is_major = at->lhs[0].k_is_major;
        } else {
            make_operand(at, &product->lhs, &at->lhs[p], true, product->k);
        }
        make_operand(at, &product->rhs, &at->rhs[p], false, product->k);
    }
    at->n_results_floats = gemm->n_rows * gemm->n_cols * (gemm->ragged == MOEC_GEMM_K ? gemm->n_groups : 1);
    at->before = random_floats(at->n_results_floats);
    for (int r = 0; r < gemm->n_results; r++)
        at->after[r] = random_floats(at->n_results_floats);
    at->n_written = calloc((size_t)at->n_results_floats, sizeof *at->n_written);
    if (draw(2)) {
        gemm->epilogue = epilogue;
        return;
    }
    for (int r = 0; r < gemm->n_results; r++)
        gemm->results[r] = (MoecGemmResult){
            .out = at->after[r],
            .stride = gemm->n_cols,
            .group_stride = gemm->ragged == MOEC_GEMM_K ? gemm->n_rows * gemm->n_cols : 0,
            .beta = draw(2) ? (float)draw(2) : 0.5f,
        };
}

static void free_case(Case *at) {
    for (int p = 0; p < MOEC_GEMM_MAX_PRODUCTS; p++) {
        free(at->lhs[p].data), free(at->lhs[p].gather);
        free(at->rhs[p].data), free(at->rhs[p].gather);
    }
    for (int r = 0; r < MOEC_GEMM_MAX_RESULTS; r++)
        free(at->after[r]);
    free(at->before), free(at->n_written);
}

/* ---- Checks ------------------------------------------------------------------------------------------------------ */

static void run(Case *at, const MoecGemm *gemm, int n_threads) {
    int n_before = omp_get_max_threads();
    for (int r = 0; r < gemm->n_results; r++) {
        memcpy(at->after[r], at->before, sizeof(float) * (size_t)at->n_results_floats);
        if (!gemm->epilogue && gemm->results[r].beta == 0)
            at->after[r][0] = NAN;
    }
    memset(at->n_written, 0, sizeof *at->n_written * (size_t)at->n_results_floats);
    current = at;
    omp_set_num_threads(n_threads);
    moec_gemm(gemm);
    omp_set_num_threads(n_before);
}

static void check_element(const Case *at, int64_t group, int64_t row, int64_t col, uint64_t number) {
    const MoecGemm *gemm = &at->gemm;
    int64_t index = (gemm->ragged == MOEC_GEMM_K ? group * gemm->n_rows : 0) + row;
    index = index * gemm->n_cols + col;
    for (int r = 0; r < gemm->n_results; r++) {
        double sum = sum_at(at, r, group, row, col);
        double expected = gemm->epilogue ? (r + 1) * sum : sum + gemm->results[r].beta * at->before[index];
        if (!(fabs(at->after[r][index] - expected) <= 2e-4 * fmax(1, fabs(expected))))
            fail_msg("case %llu: group %lld row %lld col %lld result %d: %.9g, expected %.9g",
                     (unsigned long long)number, (long long)group, (long long)row, (long long)col, r,
                     (double)at->after[r][index], expected);
    }
    if (gemm->epilogue)
        assert_int_equal(at->n_written[index], 1);
}

static void check_case(const Case *at, uint64_t number) {
    const MoecGemm *gemm = &at->gemm;
    int64_t n_elements = gemm->n_rows * gemm->n_cols, step = 1 + n_elements / 200; /* large results: some elements */
    for (int64_t g = 0; g < n_groups(gemm); g++) {
        int64_t first = gemm->ragged == MOEC_GEMM_ROWS ? gemm->offsets[g] : 0;
        int64_t end = gemm->ragged == MOEC_GEMM_ROWS ? gemm->offsets[g + 1] : gemm->n_rows;
        for (int64_t i = first * gemm->n_cols; i < end * gemm->n_cols; i += i % 7 == 0 ? 1 : step)
            check_element(at, g, i / gemm->n_cols, i % gemm->n_cols, number);
    }
    for (int64_t i = 0; i < at->n_results_floats && gemm->epilogue; i++)
        assert_true(at->n_written[i] <= 1);
}

/* Packs the rhs of some products that can be, which then have no other; how many. */
static int pack_some(MoecGemm *gemm, void **packed) {
    int n = 0;
    for (int p = 0; p < gemm->n_products; p++) {
        MoecGemmOperand *rhs = &gemm->products[p].rhs;
        packed[p] = NULL;
        if (gemm->ragged == MOEC_GEMM_K || rhs->gather || draw(4) == 0)
            continue;
        MoecGemmPacked shape = {.precision = gemm->precision,
                                .n_groups = gemm->n_groups,
                                .n_cols = gemm->n_cols,
                                .k = gemm->products[p].k,
                                .data = rhs->data,
                                .stride = rhs->stride,
                                .k_stride = rhs->k_stride,
                                .group_stride = rhs->group_stride};
        size_t n_bytes = moec_gemm_packed_bytes(&shape);
        packed[p] = aligned_alloc(64, (n_bytes + 63) / 64 * 64);
        assert_non_null(packed[p]);
        moec_gemm_pack(&shape, packed[p]);
        rhs->packed = packed[p];
        rhs->data = NULL;
        n++;
    }
    return n;
}

/* The same bits from packed copies; how many there were. */
static int check_packed(Case *at, const float *expected, uint64_t number) {
    MoecGemm gemm = at->gemm;
    void *packed[MOEC_GEMM_MAX_PRODUCTS];
    int n = pack_some(&gemm, packed);
    run(at, &gemm, 1 + (int)(number % 3));
    if (memcmp(expected, at->after[0], sizeof(float) * (size_t)at->n_results_floats) != 0)
        fail_msg("case %llu changes with %d packed copies", (unsigned long long)number, n);
    for (int p = 0; p < gemm.n_products; p++)
        free(packed[p]);
    return n;
}

static void check_random_cases(MoecGemmPrecision precision, uint64_t n_cases) {
    int n_packed = 0;
    for (uint64_t number = 0; number < n_cases; number++) {
        Case at;
        seed(number + 1000 * (uint64_t)precision);
        make_case(&at, precision);
        MoecGemm gemm = at.gemm;
        run(&at, &at.gemm, 1);
        check_case(&at, number);
        size_t n_bytes = sizeof(float) * (size_t)at.n_results_floats;
        float *once = malloc(n_bytes);
        memcpy(once, at.after[0], n_bytes);
        loaded_operand = gemm.products[0].lhs;
        for (int n_threads = 2; n_threads <= 3; n_threads++) { /* the last time with a computed operand, if it can be */
            if (n_threads == 3 && precision != MOEC_GEMM_BF16)
                gemm.products[0].lhs = (MoecGemmOperand){
                    .load = load_lhs, .stride = loaded_operand.stride, .k_stride = loaded_operand.k_stride};
            run(&at, &gemm, n_threads);
            if (memcmp(once, at.after[0], n_bytes) != 0)
                fail_msg("case %llu changes with %d threads", (unsigned long long)number, n_threads);
        }
        n_packed += check_packed(&at, once, number);
        free(once);
        free_case(&at);
    }
    assert_true(n_packed > (int)n_cases / 4);
    moec_gemm_release();
}

#ifdef __SANITIZE_ADDRESS__
enum { N_CASES = 60 };
#else
enum { N_CASES = 300 };
#endif

static void every_family_is_right(void **unused) {
    (void)unused;
    static const char *const names[] = {"avx512bf16", "avx512", "avx2", "portable"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!gemm_kernels_force(names[i]))
            continue;
        check_random_cases(MOEC_GEMM_F32, N_CASES);
        check_random_cases(MOEC_GEMM_BF16, N_CASES);
    }
    gemm_kernels_force(NULL);
}

/* OpenBLAS in the place of our kernels: the same operands, the same epilogues. */
static void a_library_gives_the_same(void **unused) {
    (void)unused;
    gemm_choose_blas(true);
    for (uint64_t number = 0; number < N_CASES; number++) {
        Case at;
        seed(number);
        make_case(&at, MOEC_GEMM_F32);
        MoecGemm gemm = at.gemm;
        run(&at, &gemm, 2);
        check_case(&at, number);
        loaded_operand = gemm.products[0].lhs;
        gemm.products[0].lhs =
            (MoecGemmOperand){.load = load_lhs, .stride = loaded_operand.stride, .k_stride = loaded_operand.k_stride};
        run(&at, &gemm, 2);
        check_case(&at, number);
        free_case(&at);
    }
    gemm_choose_blas(false);
    moec_gemm_release();
}

static void inside_of_a_parallel_region(void **unused) {
    (void)unused;
    enum { N = 70 };
    float *a = random_floats(N * N), *out = random_floats(4 * N * N);
#pragma omp parallel for num_threads(2)
    for (int i = 0; i < 4; i++) {
        MoecGemm gemm = {.n_groups = 1,
                         .n_rows = N,
                         .n_cols = N,
                         .n_products = 1,
                         .n_results = 1,
                         .products = {{.lhs = {.data = a, .stride = N, .k_stride = 1},
                                       .rhs = {.data = a, .stride = N, .k_stride = 1},
                                       .k = N}},
                         .results = {{.out = out + i * N * N, .stride = N}}};
        moec_gemm(&gemm);
    }
    for (int i = 1; i < 4; i++)
        assert_memory_equal(out, out + i * N * N, sizeof *out * N * N);
    free(a), free(out);
    moec_gemm_release();
}

/* Another product of the same size packs into what is there; all of it goes. */
static void memory_is_counted(void **unused) {
    (void)unused;
    enum { N = 300 };
    float *a = random_floats(N * N), *out = random_floats(N * N);
    MoecGemm gemm = {.n_groups = 1, .n_rows = N, .n_cols = N, .n_products = 1, .n_results = 1};
    gemm.products[0].lhs = gemm.products[0].rhs = (MoecGemmOperand){.data = a, .stride = N, .k_stride = 1};
    gemm.products[0].k = N;
    gemm.results[0] = (MoecGemmResult){.out = out, .stride = N};
    omp_set_num_threads(1); /* of several, the second product may be the first for some */
    assert_int_equal(moec_gemm_bytes(), 0);
    moec_gemm(&gemm);
    uint64_t n_bytes = moec_gemm_bytes();
    assert_true(n_bytes >= N * N * sizeof(float));
    moec_gemm(&gemm);
    assert_int_equal(moec_gemm_bytes(), n_bytes);
    moec_gemm_release();
    assert_int_equal(moec_gemm_bytes(), 0);
    free(a), free(out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_family_is_right),
        cmocka_unit_test(a_library_gives_the_same),
        cmocka_unit_test(inside_of_a_parallel_region),
        cmocka_unit_test(memory_is_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
