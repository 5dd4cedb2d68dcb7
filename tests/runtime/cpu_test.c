// RUN: %unit %s
/* How many threads are of use. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/cpu.h"
#include "tests/support_runtime/folder.h"

static void write_text(Folder *folder, const char *name, const char *text) {
    folder_write(folder, name, text, strlen(text));
}

static int cores_of_max(const char *text) {
    Folder folder = folder_make();
    write_text(&folder, "cpu.max", text);
    int n = cpu_group_cores(folder.path);
    folder_remove(&folder);
    return n;
}

static int cores_of_quota(const char *quota, const char *period) {
    Folder folder = folder_make();
    write_text(&folder, "cpu.cfs_quota_us", quota);
    write_text(&folder, "cpu.cfs_period_us", period);
    int n = cpu_group_cores(folder.path);
    folder_remove(&folder);
    return n;
}

static void a_group_s_time_limits_its_cores(void **state) {
    (void)state;
    assert_int_equal(cores_of_max("200000 100000\n"), 2);
    assert_int_equal(cores_of_max("250000 100000\n"), 3);
    assert_int_equal(cores_of_max("10000 100000\n"), 1);
    assert_int_equal(cores_of_quota("150000\n", "50000\n"), 3);
}

static void no_limit_is_none(void **state) {
    (void)state;
    Folder folder = folder_make();
    assert_int_equal(cpu_group_cores(folder.path), 0);
    folder_remove(&folder);
    assert_int_equal(cores_of_max("max 100000\n"), 0);
    assert_int_equal(cores_of_quota("-1\n", "100000\n"), 0);
    assert_int_equal(cores_of_quota("100000\n", "0\n"), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_group_s_time_limits_its_cores),
        cmocka_unit_test(no_limit_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
