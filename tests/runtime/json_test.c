// RUN: %unit %s
/* JSON, read strictly, printed so that it reads back the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "runtime/json.h"
#include "tests/support_runtime/folder.h"

static json_t *parse(const char *text) {
    Status status = STATUS_INIT;
    json_t *value = json_parse(text, strlen(text), "text", &status);
    expect_success(&status);
    return value;
}

static void expect_refused(const char *text, const char *message) {
    Status status = STATUS_INIT;
    assert_null(json_parse(text, strlen(text), "f.json", &status));
    expect_failure(&status, STATUS_INPUT, "f.json", message);
}

static void what_is_not_json_is_refused(void **state) {
    (void)state;
    expect_refused("", "f.json:1:0: not valid JSON");
    expect_refused("{", "not valid JSON");
    expect_refused("{\"a\": 1}\n{}", "f.json:2:1: not valid JSON: end of file expected");
    expect_refused("{\"a\": 1, \"a\": 2}", "duplicate object key");
    expect_refused("\"\xff\"", "not valid JSON");
    expect_refused("\"\\ud800\"", "not valid JSON");
    expect_refused("[01]", "not valid JSON");
    expect_refused("[NaN]", "not valid JSON");
    expect_refused("[1e999]", "not valid JSON");
}

static void nesting_is_bounded(void **state) {
    (void)state;
    char text[2 * JSON_MAX_DEPTH + 3];
    memset(text, '[', JSON_MAX_DEPTH);
    memset(text + JSON_MAX_DEPTH, ']', JSON_MAX_DEPTH);
    text[2 * JSON_MAX_DEPTH] = '\0';
    json_decref(parse(text));
    memset(text, '[', JSON_MAX_DEPTH + 1);
    memset(text + JSON_MAX_DEPTH + 1, ']', JSON_MAX_DEPTH + 1);
    text[2 * JSON_MAX_DEPTH + 2] = '\0';
    expect_refused(text, "nested deeper than 32 levels");
}

/* Brackets in strings do not nest. */
static void brackets_in_strings_do_not_count(void **state) {
    (void)state;
    json_decref(parse("\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[[[[\""));
}

static void expect_printed(const char *text, const char *expected) {
    json_t *value = parse(text);
    char *printed = json_print(value);
    assert_string_equal(printed, expected);
    json_t *again = parse(printed);
    assert_true(json_same(value, again));
    free(printed);
    json_decref(again);
    json_decref(value);
}

static void printing_is_readable_and_reads_back(void **state) {
    (void)state;
    expect_printed(
        "{\"b\":[1,2.5,1e-05],\"a\":{\"x\":[\"u\",{\"v\":null}],\"y\":{},\"z\":[]}}",
        "{\n  \"b\": [1, 2.5, 1e-05],\n  \"a\": {\n    \"x\": [\n      \"u\",\n      {\n        \"v\": null\n  "
        "    }\n    ],\n    \"y\": {},\n    \"z\": []\n  }\n}\n");
    expect_printed("10000.0", "10000.0\n");
    expect_printed("0.1", "0.1\n");
    expect_printed("1e300", "1e+300\n");
    expect_printed("9007199254740993", "9007199254740993\n");
    expect_printed("\"a\\n\\u0001\\\"\u00e9\"", "\"a\\n\\u0001\\\"\u00e9\"\n");
}

static void a_line_for_messages(void **state) {
    (void)state;
    json_t *value = parse("{\"a\": [1, [\"x\"]], \"b\": {}}");
    char *line = json_print_line(value);
    assert_string_equal(line, "{\"a\": [1, [\"x\"]], \"b\": {}}");
    free(line);
    json_decref(value);
}

static bool same(const char *left, const char *right) {
    json_t *a = parse(left), *b = parse(right);
    bool is_same = json_same(a, b);
    assert_int_equal(json_same(b, a), is_same);
    json_decref(a);
    json_decref(b);
    return is_same;
}

static void values_are_compared_not_spellings(void **state) {
    (void)state;
    assert_true(same("10000", "10000.0"));
    assert_true(same("{\"a\": 1, \"b\": [1, 2.0]}", "{\"b\": [1.0, 2], \"a\": 1}"));
    assert_true(same("-9223372036854775808", "-9223372036854775808.0"));
    assert_false(same("9223372036854775807", "9223372036854775807.0")); /* which is 2^63 */
    assert_false(same("9007199254740993", "9007199254740992.0"));
    assert_false(same("1", "true"));
    assert_false(same("null", "false"));
    assert_false(same("[1]", "[1, 2]"));
    assert_false(same("{\"a\": 1}", "{\"a\": 1, \"b\": 2}"));
    assert_false(same("{\"a\": 1}", "{\"b\": 1}"));
    assert_false(same("\"a\"", "\"b\""));
}

/* ---- Files ----------------------------------------------------------------------------------------------------- */

static void a_file_is_read_whole(void **state) {
    (void)state;
    Status status = STATUS_INIT;
    Folder folder = folder_make();
    size_t length;
    folder_write(&folder, "a", "x\0y", 3);
    char *text = json_read_text(folder_path(&folder, "a"), &length, &status);
    assert_int_equal(length, 3);
    assert_memory_equal(text, "x\0y", 4);
    free(text);
    folder_remove(&folder);
}

static void what_is_no_file_is_refused(void **state) {
    (void)state;
    Status status = STATUS_INIT;
    Folder folder = folder_make();
    assert_null(json_read_text(folder_path(&folder, "none"), NULL, &status));
    expect_failure(&status, STATUS_INPUT, "/none: cannot open: No such file");
    status = STATUS_INIT;
    assert_null(json_read_text(folder.path, NULL, &status));
    expect_failure(&status, STATUS_INPUT, folder.path, "is not a regular file");
    /* Reading a FIFO must not wait for a writer. */
    status = STATUS_INIT;
    assert_int_equal(mkfifo(folder_path(&folder, "fifo"), 0600), 0);
    assert_null(json_read_text(folder_path(&folder, "fifo"), NULL, &status));
    expect_failure(&status, STATUS_INPUT, "/fifo: is not a regular file");
    folder_remove(&folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_json_is_refused),
        cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(brackets_in_strings_do_not_count),
        cmocka_unit_test(printing_is_readable_and_reads_back),
        cmocka_unit_test(a_line_for_messages),
        cmocka_unit_test(values_are_compared_not_spellings),
        cmocka_unit_test(a_file_is_read_whole),
        cmocka_unit_test(what_is_no_file_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
