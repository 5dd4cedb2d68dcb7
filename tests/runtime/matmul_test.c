// RUN: %unit %s
/* Matrix products against plain loops in double, at sizes that no vector width divides, and at the edges. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <omp.h>

#include "runtime/matmul.h"
#include "runtime/random.h"

static const float UNTOUCHED = 777.0f;

static float *filled(int64_t n, float value) {
    float *values = malloc(((size_t)n + 1) * sizeof *values);
    assert_non_null(values);
    for (int64_t i = 0; i < n; i++)
        values[i] = value;
    return values;
}

static float *drawn(int64_t n, const char *name) {
    float *values = filled(n, 0.0f);
    RandomStream stream = random_stream(1, name);
    random_normal(&stream, 0, (size_t)n, values);
    return values;
}

/* ---- One product ------------------------------------------------------------------------------------------------ */

typedef struct {
    bool transpose_a, transpose_b;
    int64_t m, n, k;
    float alpha, beta;
    int64_t padding; /* elements between the end of a row and the next one */
} Product;

static double element(const Product *p, const float *a, int64_t lda, const float *b, int64_t ldb, int64_t row,
                      int64_t column) {
    double sum = 0.0;
    for (int64_t i = 0; i < p->k; i++)
        sum += (double)a[p->transpose_a ? i * lda + row : row * lda + i] *
               (double)b[p->transpose_b ? column * ldb + i : i * ldb + column];
    return sum;
}

static void check_product(Product p) {
    int64_t lda = (p.transpose_a ? p.m : p.k) + p.padding, ldb = (p.transpose_b ? p.k : p.n) + p.padding;
    int64_t ldc = p.n + p.padding;
    float *a = drawn((p.transpose_a ? p.k : p.m) * lda, "a"), *b = drawn((p.transpose_b ? p.n : p.k) * ldb, "b");
    float *c = p.beta == 0.0f ? filled(p.m * ldc, NAN) : drawn(p.m * ldc, "c");
    float *before = filled(p.m * ldc, 0.0f);
    memcpy(before, c, (size_t)(p.m * ldc) * sizeof *c);
    moec_matmul(p.transpose_a, p.transpose_b, p.m, p.n, p.k, p.alpha, a, lda, b, ldb, p.beta, c, ldc);
    for (int64_t row = 0; row < p.m; row++) {
        for (int64_t column = 0; column < p.n; column++) {
            double expected = (double)p.alpha * element(&p, a, lda, b, ldb, row, column);
            if (p.beta != 0.0f)
                expected += (double)p.beta * (double)before[row * ldc + column];
            double error = fabs(expected - (double)c[row * ldc + column]);
            assert_true(error <= 1e-5 * (1.0 + fabs(expected)) * sqrt((double)p.k + 1.0));
        }
        assert_memory_equal(c + row * ldc + p.n, before + row * ldc + p.n, (size_t)p.padding * sizeof *c);
    }
    free(a), free(b), free(c), free(before);
}

static void product_equals_plain_loops(void **state) {
    (void)state;
    static const int64_t sizes[][3] = {{1, 1, 1}, {5, 7, 3}, {17, 33, 65}, {64, 48, 96}, {1, 130, 31}, {131, 1, 9}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (int flags = 0; flags < 4; flags++) {
            for (int64_t padding = 0; padding < 4; padding += 3)
                check_product((Product){.transpose_a = (flags & 1) != 0,
                                        .transpose_b = (flags & 2) != 0,
                                        .m = sizes[i][0],
                                        .n = sizes[i][1],
                                        .k = sizes[i][2],
                                        .alpha = 1.0f,
                                        .padding = padding});
        }
    }
}

static void product_scales_and_accumulates(void **state) {
    (void)state;
    check_product((Product){.m = 19, .n = 23, .k = 29, .alpha = 0.5f, .beta = 1.0f});
    check_product((Product){.m = 19, .n = 23, .k = 29, .alpha = -2.0f, .beta = 0.25f, .padding = 2});
}

static void product_over_nothing_scales_c(void **state) {
    (void)state;
    check_product((Product){.m = 3, .n = 4, .k = 0, .alpha = 1.0f});
    check_product((Product){.m = 3, .n = 4, .k = 0, .alpha = 1.0f, .beta = 0.5f, .padding = 1});
}

static void empty_product_touches_nothing(void **state) {
    (void)state;
    float c = UNTOUCHED;
    moec_matmul(false, false, 0, 4, 3, 1.0f, NULL, 3, NULL, 4, 0.0f, &c, 4);
    moec_matmul(false, false, 4, 0, 3, 1.0f, NULL, 3, NULL, 0, 0.0f, &c, 0);
    assert_true(c == UNTOUCHED);
}

/* ---- Grouped products ------------------------------------------------------------------------------------------- */

typedef struct {
    int64_t n_groups;
    const int32_t *offsets;
    int64_t n_rows; /* of the buffers: those past the last offset belong to no group */
} Groups;

static const int32_t uneven[] = {0, 0, 7, 300, 300, 301, 340};
static const Groups groups_cases[] = {
    {6, uneven, 345},
    {1, (const int32_t[]){0, 33}, 33},
    {3, (const int32_t[]){0, 0, 0, 0}, 4},
    {2, (const int32_t[]){0, 500, 500}, 500},
};
enum { N_CASES = sizeof groups_cases / sizeof *groups_cases };

static void check_grouped_rows(const Groups *groups, bool transpose_b, int64_t n, int64_t k) {
    float *a = drawn(groups->n_rows * k, "a"), *b = drawn(groups->n_groups * n * k, "b");
    float *c = filled(groups->n_rows * n, UNTOUCHED);
    moec_grouped_matmul_rows(transpose_b, groups->n_groups, groups->offsets, n, k, a, b, c);
    for (int64_t group = 0; group < groups->n_groups; group++) {
        Product p = {.transpose_b = transpose_b, .k = k};
        const float *matrix = b + group * n * k;
        for (int64_t row = groups->offsets[group]; row < groups->offsets[group + 1]; row++) {
            for (int64_t column = 0; column < n; column++) {
                double expected = element(&p, a, k, matrix, transpose_b ? k : n, row, column);
                assert_true(fabs(expected - (double)c[row * n + column]) <= 1e-4 * (1.0 + fabs(expected)));
            }
        }
    }
    for (int64_t i = groups->offsets[groups->n_groups] * n; i < groups->n_rows * n; i++)
        assert_true(c[i] == UNTOUCHED);
    free(a), free(b), free(c);
}

static void grouped_rows_equal_plain_loops(void **state) {
    (void)state;
    for (int i = 0; i < N_CASES; i++) {
        for (int transpose_b = 0; transpose_b < 2; transpose_b++) {
            check_grouped_rows(&groups_cases[i], transpose_b, 37, 19);
            check_grouped_rows(&groups_cases[i], transpose_b, 210, 5);
            check_grouped_rows(&groups_cases[i], transpose_b, 3, 0);
        }
    }
}

static void check_grouped_weights(const Groups *groups, int64_t m, int64_t n) {
    float *a = drawn(groups->n_rows * m, "a"), *b = drawn(groups->n_rows * n, "b");
    float *c = filled(groups->n_groups * m * n, NAN);
    moec_grouped_matmul_weights(groups->n_groups, groups->offsets, m, n, a, b, c);
    for (int64_t group = 0; group < groups->n_groups; group++) {
        int64_t first = groups->offsets[group];
        Product p = {.transpose_a = true, .k = groups->offsets[group + 1] - first};
        for (int64_t row = 0; row < m; row++) {
            for (int64_t column = 0; column < n; column++) {
                double expected = element(&p, a + first * m, m, b + first * n, n, row, column);
                double actual = (double)c[(group * m + row) * n + column];
                assert_true(fabs(expected - actual) <= 1e-4 * (1.0 + fabs(expected)));
                assert_true(p.k > 0 || actual == 0.0);
            }
        }
    }
    free(a), free(b), free(c);
}

static void grouped_weights_equal_plain_loops(void **state) {
    (void)state;
    for (int i = 0; i < N_CASES; i++) {
        check_grouped_weights(&groups_cases[i], 37, 19);
        check_grouped_weights(&groups_cases[i], 5, 210);
    }
}

/* Bits of products in a row, under `n_threads`. */
static void run_all(int n_threads, float *rows, float *weights) {
    float *a = drawn(345 * 40, "a"), *b = drawn(345 * 70, "b");
    omp_set_num_threads(n_threads);
    moec_grouped_matmul_rows(true, 6, uneven, 70, 40, a, b, rows);
    moec_grouped_matmul_weights(6, uneven, 40, 70, a, b, weights);
    free(a), free(b);
}

static void same_inputs_same_bits(void **state) {
    (void)state;
    int n_threads = omp_get_max_threads();
    float *rows[2], *weights[2];
    for (int i = 0; i < 2; i++) {
        rows[i] = filled(345 * 70, 0.0f);
        weights[i] = filled(6 * 40 * 70, 0.0f);
        run_all(2, rows[i], weights[i]);
    }
    assert_memory_equal(rows[0], rows[1], 345 * 70 * sizeof(float));
    assert_memory_equal(weights[0], weights[1], 6 * 40 * 70 * sizeof(float));
    for (int i = 0; i < 2; i++)
        free(rows[i]), free(weights[i]);
    omp_set_num_threads(n_threads);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(product_equals_plain_loops),     cmocka_unit_test(product_scales_and_accumulates),
        cmocka_unit_test(product_over_nothing_scales_c),  cmocka_unit_test(empty_product_touches_nothing),
        cmocka_unit_test(grouped_rows_equal_plain_loops), cmocka_unit_test(grouped_weights_equal_plain_loops),
        cmocka_unit_test(same_inputs_same_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
