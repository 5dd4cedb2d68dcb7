#include "tests/support_runtime/folder.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/output.h"

Folder folder_make(void) {
    Folder folder = {.n_given = 0};
    const char *in_memory = "/dev/shm"; /* where fsync takes no time */
    const char *base = access(in_memory, W_OK) == 0 ? in_memory : "/tmp";
    snprintf(folder.path, sizeof folder.path, "%s/moec-test-XXXXXX", base);
    assert_non_null(mkdtemp(folder.path));
    return folder;
}

void folder_remove(Folder *folder) {
    assert_true(output_remove_tree(disk_system(), folder->path));
}

const char *folder_path(Folder *folder, const char *name) {
    char *path = folder->paths[folder->n_given++ % FOLDER_PATHS];
    size_t n_folder = strlen(folder->path), n_name = strlen(name);
    assert_true(n_folder + 1 + n_name < FOLDER_PATH_BYTES);
    memcpy(path, folder->path, n_folder);
    path[n_folder] = '/';
    memcpy(path + n_folder + 1, name, n_name + 1);
    return path;
}

void folder_write(Folder *folder, const char *name, const void *bytes, size_t n) {
    char path[FOLDER_PATH_BYTES];
    snprintf(path, sizeof path, "%s", folder_path(folder, name));
    for (char *slash = strchr(path + strlen(folder->path) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0777);
        *slash = '/';
    }
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

void folder_write_text(Folder *folder, const char *name, const char *text) {
    folder_write(folder, name, text, strlen(text));
}

char *folder_read(Folder *folder, const char *name, size_t *n) {
    FILE *file = fopen(folder_path(folder, name), "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    size_t length = (size_t)ftell(file);
    rewind(file);
    char *bytes = malloc(length + 1);
    assert_int_equal(fread(bytes, 1, length, file), length);
    bytes[length] = '\0';
    fclose(file);
    if (n)
        *n = length;
    return bytes;
}

bool folder_has(Folder *folder, const char *name) {
    struct stat about;
    return lstat(folder_path(folder, name), &about) == 0;
}

size_t folder_count(Folder *folder, const char *name) {
    DIR *entries = opendir(folder_path(folder, name));
    assert_non_null(entries);
    size_t n = 0;
    const struct dirent *entry;
    while ((entry = readdir(entries)))
        n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(entries);
    return n;
}

void expect_failure_parts(const Status *status, StatusCode code, const char *const *parts) {
    if (!status->failed)
        fail_msg("expected a failure that says \"%s\"", parts[0]);
    for (; *parts; parts++) {
        if (!strstr(status->message, *parts))
            fail_msg("expected \"%s\" in:\n%s", *parts, status->message);
    }
    assert_int_equal(status->code, code);
}

void expect_success(const Status *status) {
    if (status->failed)
        fail_msg("%s", status->message);
}
