// RUN: %unit %s
/* How much memory there is, as control groups tell. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/memory.h"
#include "tests/support_runtime/folder.h"

static uint64_t available(Folder *folder, const char *limit, const char *used, const char *statistics) {
    folder_write(folder, "memory.max", limit, strlen(limit));
    folder_write(folder, "memory.current", used, strlen(used));
    folder_write(folder, "memory.stat", statistics, strlen(statistics));
    return memory_group_available(folder->path, "memory.max", "memory.current");
}

static void files_in_memory_are_no_use_of_it(void **state) {
    (void)state;
    Folder folder = folder_make();
    static const char statistics[] = "anon 100\nfile 700\nshmem 50\ninactive_file 400\nactive_file 250\n";
    assert_int_equal(available(&folder, "1000\n", "900\n", statistics), 750);
    assert_int_equal(available(&folder, "1000\n", "900\n", ""), 100);
    assert_int_equal(available(&folder, "1000\n", "300\n", statistics), 1000);
    assert_int_equal(available(&folder, "100\n", "900\n", statistics), 0);
    folder_remove(&folder);
}

static void no_limit_is_none(void **state) {
    (void)state;
    Folder folder = folder_make();
    assert_true(memory_group_available(folder.path, "memory.max", "memory.current") == UINT64_MAX);
    assert_true(available(&folder, "max\n", "900\n", "") == UINT64_MAX);
    folder_remove(&folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_in_memory_are_no_use_of_it),
        cmocka_unit_test(no_limit_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
