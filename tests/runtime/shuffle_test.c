// RUN: %unit %s
/* The order of the data: a permutation of any size, another for every seed, stream and epoch. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/data_shuffle.h"

static void expect_permutation(uint64_t n) {
    Shuffle shuffle = shuffle_make(n, 1, 2, 3);
    bool *is_seen = calloc(n, sizeof *is_seen);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t at = shuffle_at(&shuffle, i);
        assert_true(at < n);
        assert_false(is_seen[at]);
        is_seen[at] = true;
    }
    free(is_seen);
}

static void every_size_is_permuted(void **state) {
    (void)state;
    for (uint64_t n = 1; n <= 300; n++)
        expect_permutation(n);
    expect_permutation(4095);
    expect_permutation(4096);
    expect_permutation(4097);
    expect_permutation(100003);
}

/* Below n, and different: as far as that can be looked at. */
static void huge_sizes_stay_in_range(void **state) {
    (void)state;
    uint64_t n = (UINT64_C(1) << 62) - 12345;
    Shuffle shuffle = shuffle_make(n, 1, 0, 0);
    uint64_t seen[64];
    for (uint64_t i = 0; i < 64; i++) {
        seen[i] = shuffle_at(&shuffle, n - 1 - i);
        assert_true(seen[i] < n);
        for (uint64_t k = 0; k < i; k++)
            assert_true(seen[k] != seen[i]);
    }
}

static uint64_t places_that_agree(Shuffle a, Shuffle b) {
    uint64_t n_same = 0;
    for (uint64_t i = 0; i < a.n; i++)
        n_same += shuffle_at(&a, i) == shuffle_at(&b, i);
    return n_same;
}

static void seed_stream_and_epoch_each_change_the_order(void **state) {
    (void)state;
    Shuffle base = shuffle_make(1000, 1, 2, 3);
    assert_int_equal(places_that_agree(base, shuffle_make(1000, 1, 2, 3)), 1000);
    assert_true(places_that_agree(base, shuffle_make(1000, 2, 2, 3)) < 20);
    assert_true(places_that_agree(base, shuffle_make(1000, 1, 3, 3)) < 20);
    assert_true(places_that_agree(base, shuffle_make(1000, 1, 2, 4)) < 20);
}

/* Neighbours do not stay neighbours, and no place is favoured. */
static void the_order_looks_random(void **state) {
    (void)state;
    enum { N = 10000 };
    Shuffle shuffle = shuffle_make(N, 5, 0, 0);
    uint64_t n_neighbours = 0, n_low_first = 0;
    for (uint64_t i = 0; i + 1 < N; i++) {
        uint64_t a = shuffle_at(&shuffle, i), b = shuffle_at(&shuffle, i + 1);
        n_neighbours += a + 1 == b || b + 1 == a;
        n_low_first += i < N / 2 && a < N / 2;
    }
    assert_true(n_neighbours < 20);
    assert_in_range(n_low_first, N / 4 - 200, N / 4 + 200);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_size_is_permuted),
        cmocka_unit_test(huge_sizes_stay_in_range),
        cmocka_unit_test(seed_stream_and_epoch_each_change_the_order),
        cmocka_unit_test(the_order_looks_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
