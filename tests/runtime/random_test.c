// RUN: %unit %s
/* Philox against the known answers of its authors, and what is made of it. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/random.h"

typedef struct {
    uint32_t counter[4], key[2], block[4];
} KnownAnswer;

/* philox4x32-10 of kat_vectors in Random123. */
static const KnownAnswer known_answers[] = {
    {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
    {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
     {0xffffffff, 0xffffffff},
     {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
    {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
     {0xa4093822, 0x299f31d0},
     {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
};

static void philox_gives_the_known_answers(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof known_answers / sizeof *known_answers; i++) {
        uint32_t block[4];
        random_philox(known_answers[i].counter, known_answers[i].key, block);
        assert_memory_equal(block, known_answers[i].block, sizeof block);
    }
}

static void streams_differ_by_seed_name_and_purpose(void **state) {
    (void)state;
    RandomStream streams[] = {random_stream(1, "a"), random_stream(2, "a"), random_stream(1, "b"),
                              random_stream_for(1, "init", "a"), random_stream_for(1, "noise", "a")};
    for (size_t i = 0; i < 5; i++) {
        for (size_t k = 0; k < i; k++)
            assert_int_not_equal(random_bits(&streams[i], 0), random_bits(&streams[k], 0));
    }
    RandomStream joined = random_stream(1, "init:a");
    assert_int_equal(random_bits(&streams[3], 5), random_bits(&joined, 5));
}

/* A checkpoint's routers and noise depend on these values: they may never change. */
static void streams_stay_what_they_are(void **state) {
    (void)state;
    RandomStream stream = random_stream_for(42, "init", "model.layers.0.mlp.gate.weight");
    float normals[3];
    random_normal(&stream, 0, 3, normals);
    assert_int_equal(random_bits(&stream, 7), 0xdb699546d47f091f);
    assert_true(fabs((double)normals[0] - 0x1.4e8b3ep-3) < 1e-7);
    assert_true(fabs((double)normals[1] + 0x1.7ba462p-1) < 1e-7);
    assert_true(fabs((double)normals[2] - 0x1.d74d64p-2) < 1e-7);
}

static void normals_do_not_depend_on_where_drawing_began(void **state) {
    (void)state;
    RandomStream stream = random_stream(3, "n");
    float whole[100], part[100];
    random_normal(&stream, 0, 100, whole);
    for (size_t first = 0; first < 9; first++) {
        random_normal(&stream, first, 100 - first, part);
        assert_memory_equal(part, whole + first, (100 - first) * sizeof *part);
    }
}

static void normals_are_normal(void **state) {
    (void)state;
    enum { N = 200000 };
    float *values = malloc(N * sizeof *values);
    RandomStream stream = random_stream(4, "n");
    double sum = 0, squares = 0, fourths = 0;
    random_normal(&stream, 0, N, values);
    for (size_t i = 0; i < N; i++) {
        double x = (double)values[i];
        assert_true(isfinite(x));
        sum += x;
        squares += x * x;
        fourths += x * x * x * x;
    }
    free(values);
    assert_true(fabs(sum / N) < 0.01);
    assert_true(fabs(squares / N - 1) < 0.02);
    assert_true(fabs(fourths / N - 3) < 0.1);
}

static void uniforms_fill_the_interval(void **state) {
    (void)state;
    RandomStream stream = random_stream(5, "u");
    size_t counts[10] = {0};
    for (uint64_t i = 0; i < 10000; i++) {
        double x = random_uniform(&stream, i);
        assert_true(x >= 0 && x < 1);
        counts[(size_t)(10 * x)]++;
        assert_true(random_below(&stream, i, 7) < 7);
    }
    for (size_t i = 0; i < 10; i++)
        assert_in_range(counts[i], 850, 1150);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_gives_the_known_answers),
        cmocka_unit_test(streams_differ_by_seed_name_and_purpose),
        cmocka_unit_test(streams_stay_what_they_are),
        cmocka_unit_test(normals_do_not_depend_on_where_drawing_began),
        cmocka_unit_test(normals_are_normal),
        cmocka_unit_test(uniforms_fill_the_interval),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
