// RUN: %unit %s
/* Where training sequences come from: order, shares, and the way back after a stop. Files hold ids that count up, so
   that the first token of a window tells which one it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/data_stream.h"
#include "tests/support_runtime/folder.h"

enum { T = 4, VOCAB = 60000 };

/* A headerless file of n_windows windows: ids first, first + 1, .. */
static void write_windows(Folder *folder, const char *name, uint16_t first, size_t n_windows) {
    size_t n = n_windows * T + 1;
    uint16_t *ids = malloc(n * sizeof *ids);
    assert_non_null(ids);
    for (size_t i = 0; i < n; i++)
        ids[i] = (uint16_t)(first + i);
    folder_write(folder, name, ids, n * sizeof *ids);
    free(ids);
}

static bool try_open(DataStream *stream, size_t n_inputs, const char *const *inputs, uint64_t seed, Status *status) {
    DataRequest request = {.option = "--data",
                           .inputs = inputs,
                           .n_inputs = n_inputs,
                           .headerless = TOKEN_U16,
                           .sequence = T,
                           .vocab = VOCAB,
                           .seed = seed};
    return data_stream_open(stream, &request, status);
}

static DataStream open_stream(size_t n_inputs, const char *const *inputs, uint64_t seed) {
    DataStream stream;
    Status status = STATUS_INIT;
    try_open(&stream, n_inputs, inputs, seed, &status);
    expect_success(&status);
    return stream;
}

/* The first token of the next sequence, which must be a window with its targets. */
static int next(DataStream *stream) {
    Status status = STATUS_INIT;
    int32_t tokens[T], targets[T];
    assert_true(data_stream_next(stream, tokens, targets, &status));
    for (int i = 0; i < T; i++) {
        assert_int_equal(tokens[i], tokens[0] + i);
        assert_int_equal(targets[i], tokens[0] + i + 1);
    }
    return tokens[0];
}

static void each_epoch_has_every_window_once(void **state) {
    (void)state;
    enum { WINDOWS = 37 };
    Folder folder = folder_make();
    write_windows(&folder, "a.bin", 0, WINDOWS);
    DataStream stream = open_stream(1, (const char *const[]){folder_path(&folder, "a.bin")}, 1);
    assert_int_equal(stream.n_windows, WINDOWS);
    int orders[2][WINDOWS];
    for (int epoch = 0; epoch < 2; epoch++) {
        int n_seen[WINDOWS] = {0};
        for (int i = 0; i < WINDOWS; i++) {
            orders[epoch][i] = next(&stream);
            n_seen[orders[epoch][i] / T]++;
        }
        for (int i = 0; i < WINDOWS; i++)
            assert_int_equal(n_seen[i], 1);
    }
    assert_memory_not_equal(orders[0], orders[1], sizeof orders[0]);
    data_stream_close(&stream);
    folder_remove(&folder);
}

static void the_seed_decides_the_order(void **state) {
    (void)state;
    enum { N = 40 };
    Folder folder = folder_make();
    write_windows(&folder, "a.bin", 0, 100);
    int orders[3][N];
    for (uint64_t i = 0; i < 3; i++) {
        DataStream stream = open_stream(1, (const char *const[]){folder_path(&folder, "a.bin")}, i / 2);
        for (int j = 0; j < N; j++)
            orders[i][j] = next(&stream);
        data_stream_close(&stream);
    }
    assert_memory_equal(orders[0], orders[1], sizeof orders[0]);
    assert_memory_not_equal(orders[0], orders[2], sizeof orders[0]);
    folder_remove(&folder);
}

/* How many of n sequences come from the file whose ids begin at 40960. */
static int count_from_b(const char *a, const char *b, int n) {
    DataStream stream = open_stream(2, (const char *const[]){a, b}, 1);
    int count = 0;
    for (int i = 0; i < n; i++)
        count += next(&stream) >= 40960;
    data_stream_close(&stream);
    return count;
}

static void files_come_by_size_or_weight(void **state) {
    (void)state;
    Folder folder = folder_make();
    write_windows(&folder, "a.bin", 0, 30);
    write_windows(&folder, "b.bin", 40960, 10);
    char a[600], b[600];
    snprintf(a, sizeof a, "%s", folder_path(&folder, "a.bin"));
    snprintf(b, sizeof b, "%s", folder_path(&folder, "b.bin"));
    assert_int_equal(count_from_b(a, b, 400), 100);
    strcat(a, ":1"), strcat(b, ":3");
    assert_int_equal(count_from_b(a, b, 400), 300);
    assert_int_equal(count_from_b(a, b, 8), 6); /* and at once, not only on average */
    folder_remove(&folder);
}

static void a_pattern_shares_its_weight_by_size(void **state) {
    (void)state;
    Folder folder = folder_make();
    write_windows(&folder, "part-0.bin", 0, 30);
    write_windows(&folder, "part-1.bin", 1000, 10);
    write_windows(&folder, "other.bin", 40960, 10);
    char pattern[600], other[600];
    snprintf(pattern, sizeof pattern, "%s:4", folder_path(&folder, "part-*.bin"));
    snprintf(other, sizeof other, "%s:4", folder_path(&folder, "other.bin"));
    DataStream stream = open_stream(2, (const char *const[]){pattern, other}, 1);
    assert_int_equal(stream.n_sources, 3);
    assert_true(stream.sources[0].share == 0.375 && stream.sources[1].share == 0.125);
    assert_true(stream.sources[2].share == 0.5);
    data_stream_close(&stream);
    folder_remove(&folder);
}

static void a_stream_goes_on_where_it_was_marked(void **state) {
    (void)state;
    enum { N = 50, BEFORE = 23 };
    Folder folder = folder_make();
    write_windows(&folder, "a.bin", 0, 7);
    write_windows(&folder, "b.bin", 40960, 11);
    const char *inputs[] = {folder_path(&folder, "a.bin"), folder_path(&folder, "b.bin")};
    DataStream stream = open_stream(2, inputs, 5);
    for (int i = 0; i < BEFORE; i++)
        next(&stream);
    data_stream_mark(&stream);
    int expected[N];
    for (int i = 0; i < N; i++) /* drawn after the mark: a step under way, which the position leaves out */
        expected[i] = next(&stream);
    char *position = data_stream_position(&stream);
    data_stream_close(&stream);

    Status status = STATUS_INIT;
    stream = open_stream(2, inputs, 5);
    assert_true(data_stream_restore(&stream, position, &status));
    for (int i = 0; i < N; i++)
        assert_int_equal(next(&stream), expected[i]);
    data_stream_close(&stream);
    free(position);
    folder_remove(&folder);
}

/* The position after n more sequences; the caller frees it. */
static char *draw_on(DataStream *stream, int n) {
    for (int i = 0; i < n; i++)
        next(stream);
    data_stream_mark(stream);
    return data_stream_position(stream);
}

/* Nine of ten come from a, then one of four: at once, with nothing made up for, also where that run is stopped again.
 */
static void other_weights_hold_from_where_a_stream_goes_on(void **state) {
    (void)state;
    Folder folder = folder_make();
    write_windows(&folder, "a.bin", 0, 30);
    write_windows(&folder, "b.bin", 40960, 30);
    char a[600], b[600];
    snprintf(a, sizeof a, "%s:9", folder_path(&folder, "a.bin"));
    snprintf(b, sizeof b, "%s:1", folder_path(&folder, "b.bin"));
    DataStream stream = open_stream(2, (const char *const[]){a, b}, 1);
    char *position = draw_on(&stream, 100);
    data_stream_close(&stream);

    strcpy(strrchr(a, ':'), ":0.1"), strcpy(strrchr(b, ':'), ":0.3");
    for (int part = 0; part < 3; part++) {
        Status status = STATUS_INIT;
        stream = open_stream(2, (const char *const[]){a, b}, 1);
        assert_true(data_stream_restore(&stream, position, &status));
        assert_int_equal(stream.n_before, 100);
        free(position);
        int n_from_b = 0;
        for (int i = 0; i < 8; i++)
            n_from_b += next(&stream) >= 40960;
        assert_int_equal(n_from_b, 6);
        position = draw_on(&stream, part); /* and not only after a whole round */
        if (part == 1)
            strcpy(strrchr(a, ':'), ":1"), strcpy(strrchr(b, ':'), ":3");
        data_stream_close(&stream);
    }
    free(position);
    folder_remove(&folder);
}

static void validation_reads_windows_in_order(void **state) {
    (void)state;
    Folder folder = folder_make();
    write_windows(&folder, "a.bin", 0, 2);
    write_windows(&folder, "b.bin", 1000, 2);
    const char *inputs[] = {folder_path(&folder, "a.bin"), folder_path(&folder, "b.bin")};
    DataStream stream = open_stream(2, inputs, 5);
    static const int firsts[] = {0, 4, 1000, 1004};
    for (uint64_t i = 0; i < 4; i++) {
        Status status = STATUS_INIT;
        int32_t tokens[T], targets[T];
        assert_true(data_stream_window(&stream, i, tokens, targets, &status));
        assert_int_equal(tokens[0], firsts[i]);
        assert_int_equal(targets[T - 1], firsts[i] + T);
    }
    data_stream_close(&stream);
    folder_remove(&folder);
}

/* ---- What is refused -------------------------------------------------------------------------------------------- */

static void expect_refused(size_t n_inputs, const char *const *inputs, StatusCode code, const char *part) {
    DataStream stream;
    Status status = STATUS_INIT;
    assert_false(try_open(&stream, n_inputs, inputs, 1, &status));
    expect_failure(&status, code, part);
}

static void bad_inputs_are_refused(void **state) {
    (void)state;
    Folder folder = folder_make();
    write_windows(&folder, "a.bin", 0, 7);
    folder_write(&folder, "short.bin", "\1\0\2\0\3\0\4\0", 8);
    char weighted[600], wrong[600];
    const char *a = folder_path(&folder, "a.bin");
    snprintf(weighted, sizeof weighted, "%s:2", a);
    expect_refused(1, (const char *const[]){folder_path(&folder, "none.bin")}, STATUS_INPUT, "cannot open");
    expect_refused(1, (const char *const[]){folder_path(&folder, "none*.bin")}, STATUS_INPUT, "no token file matches");
    expect_refused(1, (const char *const[]){folder_path(&folder, "short.bin")}, STATUS_INPUT,
                   "has 4 tokens, but one sequence takes 5");
    expect_refused(2, (const char *const[]){weighted, a}, STATUS_USAGE, "some have a weight and some have none");
    static const char *const weights[] = {"0", "-1", "x", "", "nan", "inf"};
    for (size_t i = 0; i < sizeof weights / sizeof *weights; i++) {
        snprintf(wrong, sizeof wrong, "%s:%s", a, weights[i]);
        expect_refused(1, (const char *const[]){wrong}, STATUS_USAGE, "expected a number above 0");
    }
    folder_remove(&folder);
}

static void a_colon_in_the_name_of_a_file_is_no_weight(void **state) {
    (void)state;
    Folder folder = folder_make();
    write_windows(&folder, "a:3", 0, 7);
    DataStream stream = open_stream(1, (const char *const[]){folder_path(&folder, "a:3")}, 1);
    data_stream_close(&stream);
    folder_remove(&folder);
}

static void a_file_of_a_pattern_s_name_is_that_file(void **state) {
    (void)state;
    Folder folder = folder_make();
    write_windows(&folder, "part[1].bin", 0, 7);
    write_windows(&folder, "part1.bin", 0, 3);
    DataStream stream = open_stream(1, (const char *const[]){folder_path(&folder, "part[1].bin")}, 1);
    assert_int_equal(stream.n_windows, 7);
    data_stream_close(&stream);
    folder_remove(&folder);
}

static void an_id_beyond_the_vocabulary_is_refused(void **state) {
    (void)state;
    Folder folder = folder_make();
    write_windows(&folder, "a.bin", VOCAB - 2, 1);
    DataStream stream = open_stream(1, (const char *const[]){folder_path(&folder, "a.bin")}, 1);
    Status status = STATUS_INIT;
    int32_t tokens[T], targets[T];
    assert_false(data_stream_next(&stream, tokens, targets, &status));
    expect_failure(&status, STATUS_INPUT, "a.bin", "token 2 is 60000", "ids 0 to 59999");
    data_stream_close(&stream);
    folder_remove(&folder);
}

/* Of one file, each value as it stands in the JSON. */
#define POSITION(all, path, tokens, sequences, share, before)                                                          \
    "{\"sequences\": " all ", \"files\": [{\"path\": " path ", \"tokens\": " tokens ", \"sequences\": " sequences      \
    ", \"share\": " share ", \"before\": " before "}]}"

static void other_data_are_no_way_to_go_on(void **state) {
    (void)state;
    Folder folder = folder_make();
    write_windows(&folder, "a.bin", 0, 7);
    static const struct {
        const char *position, *message;
    } cases[] = {
        {"{\"sequences\": 3, \"files\": []}", "names 1 files; the run being resumed read 0"},
        {POSITION("3", "\"old.bin\"", "30", "3", "1", "0"),
         "has 29 tokens; the run being resumed read old.bin, which had 30"},
        {POSITION("4", "\"a.bin\"", "29", "3", "1", "0"), "don't add up"},
        {POSITION("-3", "\"a.bin\"", "29", "-3", "1", "0"), "is damaged"},
        {POSITION("3", "7", "29", "3", "1", "0"), "expected \"path\""},
        {POSITION("3", "\"a.bin\"", "29", "3", "\"1\"", "0"), "expected \"path\""},
        {POSITION("3", "\"a.bin\"", "29", "3", "1", "4"), "expected \"path\""},
        {POSITION("3", "\"a.bin\"", "29", "3", "1", "-1"), "expected \"path\""},
        {"{\"sequences\": 3, \"files\": 7}", "is damaged"},
        {"[]", "is damaged"},
        {"{", "not valid JSON"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        DataStream stream = open_stream(1, (const char *const[]){folder_path(&folder, "a.bin")}, 1);
        Status status = STATUS_INIT;
        assert_false(data_stream_restore(&stream, cases[i].position, &status));
        expect_failure(&status, STATUS_INPUT, cases[i].message);
        data_stream_close(&stream);
    }
    folder_remove(&folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_epoch_has_every_window_once),
        cmocka_unit_test(the_seed_decides_the_order),
        cmocka_unit_test(files_come_by_size_or_weight),
        cmocka_unit_test(a_pattern_shares_its_weight_by_size),
        cmocka_unit_test(a_stream_goes_on_where_it_was_marked),
        cmocka_unit_test(other_weights_hold_from_where_a_stream_goes_on),
        cmocka_unit_test(validation_reads_windows_in_order),
        cmocka_unit_test(bad_inputs_are_refused),
        cmocka_unit_test(a_colon_in_the_name_of_a_file_is_no_weight),
        cmocka_unit_test(a_file_of_a_pattern_s_name_is_that_file),
        cmocka_unit_test(an_id_beyond_the_vocabulary_is_refused),
        cmocka_unit_test(other_data_are_no_way_to_go_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
