// RUN: %unit %s
/* A Status keeps the first failure, whole or visibly cut. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support_runtime/folder.h"

static void the_first_failure_stays(void **state) {
    (void)state;
    Status status = STATUS_INIT;
    assert_false(status_fail(&status, STATUS_INPUT, "%s: %d", "first", 1));
    assert_false(status_fail(&status, STATUS_SYSTEM, "second"));
    errno = ENOSPC;
    assert_false(status_fail_errno(&status, "third"));
    assert_string_equal(status.message, "first: 1");
    assert_int_equal(status.code, STATUS_INPUT);
}

static void errno_is_named(void **state) {
    (void)state;
    Status status = STATUS_INIT;
    errno = ENOSPC;
    assert_false(status_fail_errno(&status, "%s: cannot write", "a.bin"));
    assert_string_equal(status.message, "a.bin: cannot write: No space left on device");
    assert_int_equal(status.code, STATUS_SYSTEM);
}

static void a_long_message_ends_in_dots(void **state) {
    (void)state;
    char text[3000];
    Status status = STATUS_INIT;
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    status_fail(&status, STATUS_INPUT, "%s", text);
    assert_int_equal(strlen(status.message), sizeof status.message - 1);
    assert_string_equal(status.message + sizeof status.message - 4, "...");
}

/* The reason is what helps most: a long name must not push it out. */
static void a_long_message_keeps_its_reason(void **state) {
    (void)state;
    char text[3000];
    Status status = STATUS_INIT;
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    errno = ENOSPC;
    status_fail_errno(&status, "%s", text);
    assert_non_null(strstr(status.message, "...: No space left on device"));
}

static void a_path_that_leads_nowhere_is_bad_input(void **state) {
    (void)state;
    Status missing = STATUS_INIT, inside_file = STATUS_INIT;
    errno = ENOENT;
    status_fail_errno(&missing, "a.bin");
    assert_int_equal(missing.code, STATUS_INPUT);
    errno = ENOTDIR;
    status_fail_errno(&inside_file, "a.bin/b");
    assert_int_equal(inside_file.code, STATUS_INPUT);
}

static void a_long_path_keeps_its_end(void **state) {
    (void)state;
    assert_string_equal(status_path_end("models/a.moe:3:1", 16), "models/a.moe:3:1");
    assert_string_equal(status_path_end("models/a.moe:3:1", 15), "a.moe:3:1");
    assert_string_equal(status_path_end("models/a.moe:3:1", 5), "e:3:1");
}

static void control_characters_do_not_reach_the_terminal(void **state) {
    (void)state;
    Status status = STATUS_INIT;
    status_fail(&status, STATUS_INPUT, "a\x1b[31mb\n\tc\r");
    assert_string_equal(status.message, "a?[31mb\n\tc?");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_failure_stays),
        cmocka_unit_test(errno_is_named),
        cmocka_unit_test(a_long_message_ends_in_dots),
        cmocka_unit_test(a_long_message_keeps_its_reason),
        cmocka_unit_test(a_path_that_leads_nowhere_is_bad_input),
        cmocka_unit_test(a_long_path_keeps_its_end),
        cmocka_unit_test(control_characters_do_not_reach_the_terminal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
