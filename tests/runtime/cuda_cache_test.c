// RUN: %unit %s
/* The cache of compiled kernels: what is stored is found, what is damaged is not, what is too much goes. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/cuda_cache.h"
#include "tests/support_runtime/failing_disk.h"
#include "tests/support_runtime/folder.h"

static CudaCacheKey key_of(const char *text) {
    return cuda_cache_key((const char *const[]){"13.0", text}, 2);
}

static CudaCache cache_in(Folder *folder, Disk *disk, uint64_t max_bytes) {
    CudaCache cache;
    Status status = STATUS_INIT;
    cuda_cache_open(&cache, disk, folder_path(folder, "a/kernels"), max_bytes, &status);
    expect_success(&status);
    return cache;
}

static void store(const CudaCache *cache, const char *text, const char *bytes) {
    Status status = STATUS_INIT;
    CudaCacheKey key = key_of(text);
    cuda_cache_store(cache, &key, bytes, strlen(bytes), &status);
    expect_success(&status);
}

/* Whether `bytes` are found under the key of `text`; other bytes must not be. */
static bool finds(const CudaCache *cache, const char *text, const char *bytes) {
    CudaCacheKey key = key_of(text);
    void *found;
    size_t n;
    if (!cuda_cache_find(cache, &key, &found, &n))
        return false;
    assert_int_equal(n, strlen(bytes));
    assert_memory_equal(found, bytes, n);
    free(found);
    return true;
}

static void what_is_stored_is_found(void **state) {
    (void)state;
    Folder folder = folder_make();
    CudaCache cache = cache_in(&folder, disk_system(), CUDA_CACHE_BYTES);
    assert_false(finds(&cache, "a", ""));
    store(&cache, "a", "code of a");
    store(&cache, "b", "");
    assert_true(finds(&cache, "a", "code of a"));
    assert_true(finds(&cache, "b", ""));
    assert_false(finds(&cache, "c", ""));
    store(&cache, "a", "code of a");
    assert_int_equal(folder_count(&folder, "a/kernels"), 2);
    cuda_cache_close(&cache);
    folder_remove(&folder);
}

/* Texts that join to the same are other keys. */
static void keys_tell_lists_apart(void **state) {
    (void)state;
    const CudaCacheKey one = cuda_cache_key((const char *const[]){"ab", "c"}, 2);
    const CudaCacheKey two = cuda_cache_key((const char *const[]){"a", "bc"}, 2);
    const CudaCacheKey three = cuda_cache_key((const char *const[]){"ab", "c", ""}, 3);
    assert_string_not_equal(one.text, two.text);
    assert_string_not_equal(one.text, three.text);
}

static const char *path_of(Folder *folder, const char *text) {
    char name[128];
    CudaCacheKey key = key_of(text);
    snprintf(name, sizeof name, "a/kernels/%s.bin", key.text);
    return folder_path(folder, name);
}

/* Any byte that is another, any length that is shorter. */
static void what_is_damaged_is_not_found(void **state) {
    (void)state;
    Folder folder = folder_make();
    CudaCache cache = cache_in(&folder, disk_system(), CUDA_CACHE_BYTES);
    store(&cache, "a", "code of a");
    struct stat about;
    assert_int_equal(stat(path_of(&folder, "a"), &about), 0);
    for (off_t i = 0; i < about.st_size; i++) {
        int fd = open(path_of(&folder, "a"), O_RDWR);
        char byte;
        assert_int_equal(pread(fd, &byte, 1, i), 1);
        byte ^= 4;
        assert_int_equal(pwrite(fd, &byte, 1, i), 1);
        close(fd);
        assert_false(finds(&cache, "a", "code of a"));
        store(&cache, "a", "code of a");
        assert_true(finds(&cache, "a", "code of a"));
        assert_int_equal(truncate(path_of(&folder, "a"), i), 0);
        assert_false(finds(&cache, "a", "code of a"));
        store(&cache, "a", "code of a");
    }
    cuda_cache_close(&cache);
    folder_remove(&folder);
}

static void what_is_another_s_is_not_found(void **state) {
    (void)state;
    Folder folder = folder_make();
    CudaCache cache = cache_in(&folder, disk_system(), CUDA_CACHE_BYTES);
    store(&cache, "a", "code of a");
    assert_int_equal(rename(path_of(&folder, "a"), path_of(&folder, "b")), 0);
    assert_false(finds(&cache, "b", "code of a"));
    assert_int_equal(unlink(path_of(&folder, "b")), 0);
    assert_int_equal(mkdir(path_of(&folder, "b"), 0700), 0);
    assert_false(finds(&cache, "b", "code of a"));
    cuda_cache_close(&cache);
    folder_remove(&folder);
}

static void a_disk_that_fails_leaves_nothing_behind(void **state) {
    (void)state;
    bool has_failed = true;
    for (long call = 0; has_failed; call++) {
        Folder folder = folder_make();
        FailingDisk disk = failing_disk(call, ENOSPC, false);
        CudaCache cache = cache_in(&folder, &disk.disk, CUDA_CACHE_BYTES);
        CudaCacheKey key = key_of("a");
        Status status = STATUS_INIT;
        bool is_stored = cuda_cache_store(&cache, &key, "code of a", 9, &status);
        has_failed = disk.failed;
        assert_int_equal(is_stored, !has_failed);
        if (has_failed)
            expect_failure(&status, STATUS_SYSTEM, "No space left on device");
        if (folder_has(&folder, "a/kernels"))
            assert_int_equal(folder_count(&folder, "a/kernels"), !has_failed);
        cuda_cache_close(&cache);
        folder_remove(&folder);
    }
}

static void set_used(Folder *folder, const char *path, time_t seconds) {
    (void)folder;
    const struct timespec times[2] = {{.tv_sec = seconds}, {.tv_sec = seconds}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

/* Finding a file is using it. */
static void what_was_not_used_for_longest_goes(void **state) {
    (void)state;
    Folder folder = folder_make();
    static const char *const names[] = {"a", "b", "c", "d"};
    CudaCache cache = cache_in(&folder, disk_system(), 260);
    for (int i = 0; i < 4; i++) {
        store(&cache, names[i], "code of some length, 50 bytes of it, which with ..");
        set_used(&folder, path_of(&folder, names[i]), 1000 + i);
    }
    assert_true(finds(&cache, "a", "code of some length, 50 bytes of it, which with .."));
    cuda_cache_trim(&cache);
    assert_true(finds(&cache, "a", "code of some length, 50 bytes of it, which with .."));
    assert_true(finds(&cache, "d", "code of some length, 50 bytes of it, which with .."));
    assert_false(finds(&cache, "b", ""));
    assert_false(finds(&cache, "c", ""));
    cuda_cache_close(&cache);
    folder_remove(&folder);
}

static void what_a_killed_process_left_goes(void **state) {
    (void)state;
    Folder folder = folder_make();
    CudaCache cache = cache_in(&folder, disk_system(), CUDA_CACHE_BYTES);
    folder_write_text(&folder, "a/kernels/old.tmp", "half");
    folder_write_text(&folder, "a/kernels/new.tmp", "half");
    folder_write_text(&folder, "a/kernels/note", "not ours");
    set_used(&folder, folder_path(&folder, "a/kernels/old.tmp"), time(NULL) - 7200);
    cuda_cache_trim(&cache);
    assert_false(folder_has(&folder, "a/kernels/old.tmp"));
    assert_true(folder_has(&folder, "a/kernels/new.tmp"));
    assert_true(folder_has(&folder, "a/kernels/note"));
    cuda_cache_close(&cache);
    folder_remove(&folder);
}

enum { PROCESSES = 4, ROUNDS = 100 };

/* Stores and finds the same few keys; whatever is found must be what belongs there. */
static void use_cache(const CudaCache *cache) {
    for (int round = 0; round < ROUNDS; round++) {
        char text[16], bytes[32];
        Status status = STATUS_INIT;
        snprintf(text, sizeof text, "%d", round % 3);
        snprintf(bytes, sizeof bytes, "code of %d", round % 3);
        CudaCacheKey key = key_of(text);
        void *found;
        size_t n;
        if (!cuda_cache_store(cache, &key, bytes, strlen(bytes), &status))
            _exit(1);
        if (round % 10 == 0)
            cuda_cache_trim(cache);
        if (!cuda_cache_find(cache, &key, &found, &n))
            continue;
        if (n != strlen(bytes) || memcmp(found, bytes, n) != 0)
            _exit(2);
        free(found);
    }
    _exit(0);
}

static void processes_share_a_cache(void **state) {
    (void)state;
    Folder folder = folder_make();
    CudaCache cache = cache_in(&folder, disk_system(), 150);
    pid_t children[PROCESSES];
    for (int i = 0; i < PROCESSES; i++) {
        children[i] = fork();
        if (children[i] == 0)
            use_cache(&cache);
    }
    for (int i = 0; i < PROCESSES; i++) {
        int result;
        assert_int_equal(waitpid(children[i], &result, 0), children[i]);
        assert_int_equal(result, 0);
    }
    cuda_cache_trim(&cache);
    assert_true(folder_count(&folder, "a/kernels") <= 2);
    cuda_cache_close(&cache);
    folder_remove(&folder);
}

static void expect_folder(const char *expected) {
    char *folder = cuda_cache_folder();
    if (expected)
        assert_string_equal(folder, expected);
    else
        assert_null(folder);
    free(folder);
}

static void the_environment_says_where(void **state) {
    (void)state;
    setenv("HOME", "/home/a", 1);
    setenv("XDG_CACHE_HOME", "/x", 1);
    setenv("MOEC_CACHE_DIR", "/m", 1);
    expect_folder("/m/kernels");
    setenv("MOEC_CACHE_DIR", "", 1);
    expect_folder("/x/moec/kernels");
    unsetenv("XDG_CACHE_HOME");
    expect_folder("/home/a/.cache/moec/kernels");
    unsetenv("HOME");
    expect_folder(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_stored_is_found),
        cmocka_unit_test(keys_tell_lists_apart),
        cmocka_unit_test(what_is_damaged_is_not_found),
        cmocka_unit_test(what_is_another_s_is_not_found),
        cmocka_unit_test(a_disk_that_fails_leaves_nothing_behind),
        cmocka_unit_test(what_was_not_used_for_longest_goes),
        cmocka_unit_test(what_a_killed_process_left_goes),
        cmocka_unit_test(processes_share_a_cache),
        cmocka_unit_test(the_environment_says_where),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
