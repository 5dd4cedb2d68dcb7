#include "runtime/output.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Text like sprintf's, allocated; NULL when out of memory. */
static char *format_text(const char *format, ...) __attribute__((format(printf, 1, 2)));
static char *format_text(const char *format, ...) {
    char *text;
    va_list args;
    va_start(args, format);
    int length = vasprintf(&text, format, args);
    va_end(args);
    return length < 0 ? NULL : text;
}

/* The directory that holds `path`, "." where it names none; NULL when out of memory. */
static char *parent_of(const char *path) {
    const char *slash = strrchr(path, '/');
    if (!slash)
        return strdup(".");
    return strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

bool output_check(const char *path, Status *status) {
    struct stat about;
    char *place = strdup(path);
    while (place && stat(place, &about) != 0 && errno == ENOENT && strcmp(place, ".") != 0) {
        char *parent = parent_of(place);
        free(place);
        place = parent;
    }
    if (!place || stat(place, &about) != 0)
        status_fail_errno(status, "%s: cannot write", path);
    else if (!S_ISDIR(about.st_mode))
        status_fail(status, STATUS_INPUT, "%s: cannot write: %s is not a directory", path, place);
    else if (access(place, W_OK | X_OK) != 0)
        status_fail_errno(status, "%s: cannot write in %s", path, place);
    free(place);
    return !status->failed;
}

bool output_check_file(const char *option, const char *path, Status *status) {
    struct stat about;
    char *folder = parent_of(path);
    if (!folder)
        status_fail_errno(status, "%s %s", option, path);
    else if (access(folder, W_OK | X_OK) != 0)
        status_fail_errno(status, "%s %s: cannot write in %s", option, path, folder);
    else if (lstat(path, &about) == 0 && !S_ISREG(about.st_mode))
        status_fail(status, STATUS_USAGE, "%s %s: exists, and is not a file that can be replaced", option, path);
    free(folder);
    return !status->failed;
}

/* ---- Directories ----------------------------------------------------------------------------------------------- */

/* Makes a directory's entries durable. */
static bool sync_directory(Disk *disk, const char *path, Status *status) {
    int fd = disk->open(disk, path, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return status_fail_errno(status, "%s: cannot open to sync", path);
    if (disk->fsync(disk, fd) != 0)
        status_fail_errno(status, "%s: cannot sync", path);
    if (disk->close(disk, fd) != 0)
        status_fail_errno(status, "%s: cannot close", path);
    return !status->failed;
}

/* mkdir -p for the directory that holds `path`. */
static bool make_parents(Disk *disk, const char *path, Status *status) {
    char *prefix = strdup(path);
    if (!prefix)
        return status_fail_errno(status, "%s", path);
    for (char *slash = strchr(prefix + 1, '/'); slash && !status->failed; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (disk->mkdir(disk, prefix, 0777) != 0 && errno != EEXIST)
            status_fail_errno(status, "%s: cannot create the directory", prefix);
        *slash = '/';
    }
    free(prefix);
    return !status->failed;
}

bool output_dir_begin(OutputDir *dir, Disk *disk, const char *path, const char *temporary, Status *status) {
    *dir = (OutputDir){.disk = disk, .path = strdup(path), .temporary = strdup(temporary)};
    if (!dir->path || !dir->temporary)
        status_fail_errno(status, "%s", path);
    else if (make_parents(disk, path, status)) {
        int made = disk->mkdir(disk, temporary, 0777);
        if (made != 0 && errno == EEXIST && output_remove_tree(disk, temporary)) /* of a run that was killed */
            made = disk->mkdir(disk, temporary, 0777);
        if (made != 0)
            status_fail_errno(status, "%s: cannot create the directory", temporary);
    }
    if (status->failed) {
        free(dir->path);
        free(dir->temporary);
        *dir = (OutputDir){0};
    }
    return !status->failed;
}

void output_dir_abandon(OutputDir *dir) {
    if (dir->temporary)
        output_remove_tree(dir->disk, dir->temporary);
    free(dir->path);
    free(dir->temporary);
    *dir = (OutputDir){0};
}

/* How a finished directory got its name, and so how that is undone. */
typedef enum { PLACED_NOT, PLACED_NEW, PLACED_EXCHANGED, PLACED_ASIDE } Placement;

/* What stood there moves aside in a step of its own: for file systems that cannot exchange two names. */
static Placement place_aside(const OutputDir *dir, const char *aside, Status *status) {
    Disk *disk = dir->disk;
    if (disk->rename(disk, dir->path, aside) != 0) {
        status_fail_errno(status, "%s: cannot move aside for its successor", dir->path);
        return PLACED_NOT;
    }
    if (disk->rename(disk, dir->temporary, dir->path) == 0)
        return PLACED_ASIDE;
    status_fail_errno(status, "%s: cannot rename to %s", dir->temporary, dir->path);
    disk->rename(disk, aside, dir->path);
    return PLACED_NOT;
}

static Placement place(const OutputDir *dir, const char *aside, Status *status) {
    Disk *disk = dir->disk;
    struct stat about;
    if (lstat(dir->path, &about) != 0) {
        if (disk->rename(disk, dir->temporary, dir->path) == 0)
            return PLACED_NEW;
        status_fail_errno(status, "%s: cannot rename to %s", dir->temporary, dir->path);
        return PLACED_NOT;
    }
    if (disk->exchange(disk, dir->temporary, dir->path) == 0)
        return PLACED_EXCHANGED;
    if (errno == EINVAL || errno == ENOSYS)
        return place_aside(dir, aside, status);
    status_fail_errno(status, "%s: cannot exchange with %s", dir->temporary, dir->path);
    return PLACED_NOT;
}

/* After a failure to make the new name durable: what was written stands at `temporary` again. */
static void unplace(const OutputDir *dir, Placement placement, const char *aside) {
    Disk *disk = dir->disk;
    if (placement == PLACED_EXCHANGED)
        disk->exchange(disk, dir->temporary, dir->path);
    else if (placement != PLACED_NOT)
        disk->rename(disk, dir->path, dir->temporary);
    if (placement == PLACED_ASIDE)
        disk->rename(disk, aside, dir->path);
}

/* What was replaced stands at `aside` or at `temporary`. The new directory is whole and durable by now. */
static void remove_replaced(const OutputDir *dir, Placement placement, const char *aside, Status *status) {
    const char *old = placement == PLACED_ASIDE ? aside : dir->temporary;
    if (placement != PLACED_NEW && !output_remove_tree(dir->disk, old))
        status_fail_errno(status, "%s was written, but what it replaces cannot be removed; remove %s", dir->path, old);
}

bool output_dir_publish(OutputDir *dir, Status *status) {
    char *aside = format_text("%s.old", dir->temporary), *parent = parent_of(dir->path);
    Placement placement = PLACED_NOT;
    if (!aside || !parent)
        status_fail_errno(status, "%s", dir->path);
    else if (sync_directory(dir->disk, dir->temporary, status))
        placement = place(dir, aside, status);
    if (placement != PLACED_NOT) {
        if (sync_directory(dir->disk, parent, status))
            remove_replaced(dir, placement, aside, status);
        else
            unplace(dir, placement, aside);
    }
    free(aside);
    free(parent);
    output_dir_abandon(dir); /* nothing stands at `temporary` after a success */
    return !status->failed;
}

/* ---- Files ----------------------------------------------------------------------------------------------------- */

/* The kernel takes at most 2^31 - 4096 bytes in one call. */
enum { LARGEST_WRITE = 1 << 30 };

/* Takes over `path`. */
static OutputFile *file_create(Disk *disk, char *path, Status *status) {
    OutputFile *file = malloc(sizeof *file);
    int fd = -1;
    if (!file)
        status_fail_errno(status, "%s", path);
    else if ((fd = disk->open(disk, path, O_WRONLY | O_CREAT | O_EXCL, 0666)) < 0)
        status_fail_errno(status, "%s: cannot create", path);
    if (fd < 0) {
        free(path);
        free(file);
        return NULL;
    }
    file->disk = disk;
    file->fd = fd;
    file->path = path;
    file->n_bytes = 0;
    file->n_buffered = 0;
    return file;
}

OutputFile *output_file_open(const OutputDir *dir, const char *name, Status *status) {
    char *path = format_text("%s/%s", dir->temporary, name);
    if (path)
        return file_create(dir->disk, path, status);
    status_fail_errno(status, "%s/%s", dir->temporary, name);
    return NULL;
}

static bool file_write_through(OutputFile *file, const void *bytes, size_t n, Status *status) {
    const char *next = bytes;
    while (n > 0) {
        ssize_t written = file->disk->write(file->disk, file->fd, next, n < LARGEST_WRITE ? n : LARGEST_WRITE);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return status_fail_errno(status, "%s: cannot write", file->path);
        next += written;
        n -= (size_t)written;
    }
    return true;
}

static bool file_flush(OutputFile *file, Status *status) {
    size_t n = file->n_buffered;
    file->n_buffered = 0;
    return file_write_through(file, file->buffer, n, status);
}

bool output_file_write(OutputFile *file, const void *bytes, size_t n, Status *status) {
    file->n_bytes += n;
    if (n > sizeof file->buffer - file->n_buffered && !file_flush(file, status))
        return false;
    if (n >= sizeof file->buffer)
        return file_write_through(file, bytes, n, status);
    if (n > 0)
        memcpy(file->buffer + file->n_buffered, bytes, n);
    file->n_buffered += n;
    return true;
}

/* All but freeing it. */
static bool file_finish(OutputFile *file, Status *status) {
    if (!status->failed && file_flush(file, status) && file->disk->fsync(file->disk, file->fd) != 0)
        status_fail_errno(status, "%s: cannot sync", file->path);
    if (file->disk->close(file->disk, file->fd) != 0)
        status_fail_errno(status, "%s: cannot close", file->path);
    return !status->failed;
}

static void file_free(OutputFile *file) {
    free(file->path);
    free(file);
}

bool output_file_close(OutputFile *file, Status *status) {
    file_finish(file, status);
    file_free(file);
    return !status->failed;
}

/* .NAME.tmp beside NAME; NULL when out of memory. */
static char *temporary_of(const char *path) {
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    return format_text("%.*s.%s.tmp", (int)(name - path), path, name);
}

OutputFile *output_file_begin(Disk *disk, const char *path, Status *status) {
    char *temporary = temporary_of(path);
    if (temporary && (disk->unlink(disk, temporary) == 0 || errno == ENOENT)) /* of a run that was killed */
        return file_create(disk, temporary, status);
    status_fail_errno(status, "%s: cannot write", path);
    free(temporary);
    return NULL;
}

bool output_file_publish(OutputFile *file, const char *path, Status *status) {
    Disk *disk = file->disk;
    if (file_finish(file, status) && disk->rename(disk, file->path, path) != 0)
        status_fail_errno(status, "%s: cannot rename to %s", file->path, path);
    if (status->failed)
        disk->unlink(disk, file->path);
    file_free(file);
    return !status->failed;
}

bool output_dir_add(const OutputDir *dir, const char *name, const void *bytes, size_t n, Status *status) {
    OutputFile *file = output_file_open(dir, name, status);
    if (!file)
        return false;
    output_file_write(file, bytes, n, status);
    return output_file_close(file, status);
}

bool output_dir_add_json(const OutputDir *dir, const char *name, json_t *value, Status *status) {
    char *text = value ? json_print(value) : NULL;
    if (text)
        output_dir_add(dir, name, text, strlen(text), status);
    else
        status_fail(status, STATUS_SYSTEM, "%s/%s: out of memory", dir->path, name);
    free(text);
    json_decref(value);
    return !status->failed;
}

bool output_folder_begin(const OutputDir *dir, const char *name, Status *status) {
    char *path = format_text("%s/%s", dir->temporary, name);
    if (!path || dir->disk->mkdir(dir->disk, path, 0777) != 0)
        status_fail_errno(status, "%s/%s: cannot create the directory", dir->temporary, name);
    free(path);
    return !status->failed;
}

bool output_folder_sync(const OutputDir *dir, const char *name, Status *status) {
    char *path = format_text("%s/%s", dir->temporary, name);
    if (path)
        sync_directory(dir->disk, path, status);
    else
        status_fail_errno(status, "%s/%s", dir->temporary, name);
    free(path);
    return !status->failed;
}

/* ---- Links ----------------------------------------------------------------------------------------------------- */

/* A link cannot be changed, but another can take its name. */
static bool swap_link(Disk *disk, const char *path, const char *temporary, const char *target, Status *status) {
    if (disk->unlink(disk, temporary) != 0 && errno != ENOENT) /* of a run that was killed */
        return status_fail_errno(status, "%s: cannot remove", temporary);
    if (disk->symlink(disk, target, temporary) != 0)
        return status_fail_errno(status, "%s: cannot create a symbolic link", temporary);
    if (disk->rename(disk, temporary, path) == 0)
        return true;
    status_fail_errno(status, "%s: cannot rename to %s", temporary, path);
    disk->unlink(disk, temporary);
    return false;
}

bool output_link(Disk *disk, const char *directory, const char *name, const char *target, Status *status) {
    char *path = format_text("%s/%s", directory, name), *temporary = format_text("%s/.%s.tmp", directory, name);
    if (!path || !temporary)
        status_fail_errno(status, "%s/%s", directory, name);
    else if (swap_link(disk, path, temporary, target, status))
        sync_directory(disk, directory, status);
    free(path);
    free(temporary);
    return !status->failed;
}

/* ---- Removing -------------------------------------------------------------------------------------------------- */

static bool remove_entries(Disk *disk, const char *path, DIR *entries) {
    const struct dirent *entry;
    bool is_removed = true;
    while ((entry = readdir(entries))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        char *child = format_text("%s/%s", path, entry->d_name);
        is_removed = child && output_remove_tree(disk, child) && is_removed;
        free(child);
    }
    return is_removed;
}

/* Goes on after a failure, so that as much room as possible is made. */
bool output_remove_tree(Disk *disk, const char *path) {
    struct stat about;
    if (lstat(path, &about) != 0)
        return false;
    if (!S_ISDIR(about.st_mode))
        return disk->unlink(disk, path) == 0;
    DIR *entries = opendir(path);
    if (!entries)
        return false;
    bool is_removed = remove_entries(disk, path, entries);
    int error = errno;
    closedir(entries);
    errno = error;
    return is_removed && disk->rmdir(disk, path) == 0;
}
