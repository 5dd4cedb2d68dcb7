#include "tests/support_runtime/failing_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* Counts a call; whether it is to fail. */
static bool fails(Disk *self, const char *name, bool needs_room) {
    FailingDisk *failing = (FailingDisk *)(void *)self;
    long call = failing->n_calls++;
    bool is_failing = failing->at >= 0 && (failing->stays ? call >= failing->at && needs_room : call == failing->at);
    bool is_never = failing->never && strcmp(name, failing->never) == 0;
    if (!is_failing && !is_never)
        return false;
    failing->failed = name;
    errno = is_failing ? failing->error : EINVAL;
    return true;
}

static int failing_open(Disk *self, const char *path, int flags, mode_t mode) {
    return fails(self, "open", flags & O_CREAT) ? -1 : disk_system()->open(self, path, flags, mode);
}

/* Half of it may be written. */
static ssize_t failing_write(Disk *self, int fd, const void *bytes, size_t n) {
    if (!fails(self, "write", true))
        return disk_system()->write(self, fd, bytes, n);
    int error = errno;
    if (disk_system()->write(self, fd, bytes, n / 2) < 0)
        return -1;
    errno = error;
    return -1;
}

static int failing_fsync(Disk *self, int fd) {
    return fails(self, "fsync", false) ? -1 : disk_system()->fsync(self, fd);
}

/* Closes even so, as the real one does. */
static int failing_close(Disk *self, int fd) {
    int closed = disk_system()->close(self, fd);
    return fails(self, "close", false) ? -1 : closed;
}

static int failing_mkdir(Disk *self, const char *path, mode_t mode) {
    return fails(self, "mkdir", true) ? -1 : disk_system()->mkdir(self, path, mode);
}

static int failing_rename(Disk *self, const char *from, const char *to) {
    return fails(self, "rename", false) ? -1 : disk_system()->rename(self, from, to);
}

static int failing_exchange(Disk *self, const char *a, const char *b) {
    return fails(self, "exchange", false) ? -1 : disk_system()->exchange(self, a, b);
}

static int failing_symlink(Disk *self, const char *target, const char *path) {
    return fails(self, "symlink", true) ? -1 : disk_system()->symlink(self, target, path);
}

static int failing_unlink(Disk *self, const char *path) {
    return fails(self, "unlink", false) ? -1 : disk_system()->unlink(self, path);
}

static int failing_rmdir(Disk *self, const char *path) {
    return fails(self, "rmdir", false) ? -1 : disk_system()->rmdir(self, path);
}

FailingDisk failing_disk(long at, int error, bool stays) {
    return (FailingDisk){
        .disk =
            {
                .open = failing_open,
                .write = failing_write,
                .fsync = failing_fsync,
                .close = failing_close,
                .mkdir = failing_mkdir,
                .rename = failing_rename,
                .exchange = failing_exchange,
                .symlink = failing_symlink,
                .unlink = failing_unlink,
                .rmdir = failing_rmdir,
            },
        .at = at,
        .error = error,
        .stays = stays,
    };
}
