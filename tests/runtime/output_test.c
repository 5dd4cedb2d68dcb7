// RUN: %unit %s
/* Directories and links that appear whole or not at all, also on file systems that can't exchange two names, and with
   signals that interrupt writing. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/output.h"
#include "tests/support_runtime/failing_disk.h"
#include "tests/support_runtime/folder.h"

/* Writes "out" with one file of the text; what stood there goes. */
static bool write_out(Folder *folder, Disk *disk, const char *text, Status *status) {
    OutputDir dir;
    if (!output_dir_begin(&dir, disk, folder_path(folder, "out"), folder_path(folder, "tmp"), status))
        return false;
    if (output_dir_add(&dir, "a", text, strlen(text), status))
        return output_dir_publish(&dir, status);
    output_dir_abandon(&dir);
    return false;
}

static void expect_out(Folder *folder, const char *expected) {
    char *text = folder_read(folder, "out/a", NULL);
    assert_string_equal(text, expected);
    free(text);
}

static void a_directory_takes_the_place_of_another(void **state) {
    (void)state;
    Folder folder = folder_make();
    Status status = STATUS_INIT;
    assert_true(write_out(&folder, disk_system(), "first", &status));
    folder_write_text(&folder, "out/old", "x");
    assert_true(write_out(&folder, disk_system(), "second", &status));
    expect_out(&folder, "second");
    assert_int_equal(folder_count(&folder, "out"), 1);
    assert_int_equal(folder_count(&folder, "."), 1);
    folder_remove(&folder);
}

/* NFS and some others: what stands there moves aside in a step of its own. */
static void names_need_not_be_exchangeable(void **state) {
    (void)state;
    Folder folder = folder_make();
    Status status = STATUS_INIT;
    assert_true(write_out(&folder, disk_system(), "first", &status));
    FailingDisk failing = failing_disk(-1, 0, false);
    failing.never = "exchange";
    assert_true(write_out(&folder, &failing.disk, "second", &status));
    assert_string_equal(failing.failed, "exchange");
    expect_out(&folder, "second");
    assert_int_equal(folder_count(&folder, "."), 1);
    folder_remove(&folder);
}

/* Any call fails while "out" is replaced: it is the first or the second one, whole. */
static bool replace_with_failure(long at, bool can_exchange) {
    Folder folder = folder_make();
    Status status = STATUS_INIT;
    assert_true(write_out(&folder, disk_system(), "first", &status));
    FailingDisk failing = failing_disk(at, EIO, false);
    failing.never = can_exchange ? NULL : "exchange";
    bool is_written = write_out(&folder, &failing.disk, "second", &status);
    bool has_failed = failing.n_calls > at;
    assert_int_equal(is_written, !has_failed);
    if (has_failed) {
        expect_failure(&status, STATUS_SYSTEM, "Input/output error");
        char *text = folder_read(&folder, "out/a", NULL);
        assert_true(strcmp(text, "first") == 0 || strcmp(text, "second") == 0);
        free(text);
    } else {
        expect_out(&folder, "second");
    }
    folder_remove(&folder);
    return has_failed;
}

static void a_failure_leaves_one_of_both(void **state) {
    (void)state;
    for (int can_exchange = 0; can_exchange < 2; can_exchange++) {
        long n = 0;
        while (replace_with_failure(n, can_exchange))
            n++;
        assert_true(n > 10);
    }
}

static void what_a_killed_run_left_is_no_obstacle(void **state) {
    (void)state;
    Folder folder = folder_make();
    Status status = STATUS_INIT;
    folder_write_text(&folder, "tmp/deep/half", "x");
    assert_true(write_out(&folder, disk_system(), "new", &status));
    assert_int_equal(folder_count(&folder, "out"), 1);
    folder_remove(&folder);
}

/* ---- Files ----------------------------------------------------------------------------------------------------- */

/* A disk that writes a few bytes at a time, and is interrupted before each. */
typedef struct {
    Disk disk;
    bool is_interrupted;
} SlowDisk;

static ssize_t slow_write(Disk *self, int fd, const void *bytes, size_t n) {
    SlowDisk *slow = (SlowDisk *)(void *)self;
    slow->is_interrupted = !slow->is_interrupted;
    if (slow->is_interrupted) {
        errno = EINTR;
        return -1;
    }
    return disk_system()->write(self, fd, bytes, n < 777 ? n : 777);
}

static void writing_goes_on_after_interruptions(void **state) {
    (void)state;
    enum { N = 300000 };
    Folder folder = folder_make();
    Status status = STATUS_INIT;
    SlowDisk slow = {*disk_system(), false};
    slow.disk.write = slow_write;
    unsigned char *bytes = malloc(N);
    for (size_t i = 0; i < N; i++)
        bytes[i] = (unsigned char)(i * 7 + i / 256);
    OutputDir dir;
    assert_true(output_dir_begin(&dir, &slow.disk, folder_path(&folder, "out"), folder_path(&folder, "tmp"), &status));
    OutputFile *file = output_file_open(&dir, "a", &status);
    /* Pieces below, at, and above the size of the buffer. */
    static const size_t pieces[] = {1, 65535, 0, 65536, 70000, 3, 98925};
    size_t done = 0;
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; done += pieces[i++])
        assert_true(output_file_write(file, bytes + done, pieces[i], &status));
    assert_int_equal(done, N);
    assert_int_equal(file->n_bytes, N);
    assert_true(output_file_close(file, &status));
    assert_true(output_dir_publish(&dir, &status));
    size_t n;
    char *text = folder_read(&folder, "out/a", &n);
    assert_int_equal(n, N);
    assert_memory_equal(text, bytes, N);
    free(text);
    free(bytes);
    folder_remove(&folder);
}

/* ---- Links ----------------------------------------------------------------------------------------------------- */

static void expect_link(Folder *folder, const char *expected) {
    char target[64] = "";
    assert_true(readlink(folder_path(folder, "latest"), target, sizeof target - 1) > 0);
    assert_string_equal(target, expected);
}

static void a_link_is_swapped(void **state) {
    (void)state;
    Folder folder = folder_make();
    Status status = STATUS_INIT;
    assert_true(output_link(disk_system(), folder.path, "latest", "one", &status));
    expect_link(&folder, "one");
    assert_int_equal(symlink("half", folder_path(&folder, ".latest.tmp")), 0); /* of a run that was killed */
    assert_true(output_link(disk_system(), folder.path, "latest", "two", &status));
    expect_link(&folder, "two");
    assert_int_equal(folder_count(&folder, "."), 1);
    folder_remove(&folder);
}

static void a_folder_of_that_name_is_left_alone(void **state) {
    (void)state;
    Folder folder = folder_make();
    Status status = STATUS_INIT;
    folder_write_text(&folder, "latest/precious", "x");
    assert_false(output_link(disk_system(), folder.path, "latest", "one", &status));
    expect_failure(&status, STATUS_SYSTEM, "cannot rename to", "Is a directory");
    assert_true(folder_has(&folder, "latest/precious"));
    assert_int_equal(folder_count(&folder, "."), 1);
    folder_remove(&folder);
}

static void removing_a_tree_does_not_follow_links(void **state) {
    (void)state;
    Folder folder = folder_make();
    folder_write_text(&folder, "kept/a", "x");
    folder_write_text(&folder, "tree/b", "x");
    assert_int_equal(symlink(folder_path(&folder, "kept"), folder_path(&folder, "tree/link")), 0);
    assert_true(output_remove_tree(disk_system(), folder_path(&folder, "tree")));
    assert_true(folder_has(&folder, "kept/a"));
    assert_int_equal(folder_count(&folder, "."), 1);
    folder_remove(&folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_directory_takes_the_place_of_another),
        cmocka_unit_test(names_need_not_be_exchangeable),
        cmocka_unit_test(a_failure_leaves_one_of_both),
        cmocka_unit_test(what_a_killed_run_left_is_no_obstacle),
        cmocka_unit_test(writing_goes_on_after_interruptions),
        cmocka_unit_test(a_link_is_swapped),
        cmocka_unit_test(a_folder_of_that_name_is_left_alone),
        cmocka_unit_test(removing_a_tree_does_not_follow_links),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
