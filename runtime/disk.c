#include "runtime/disk.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static int system_open(Disk *self, const char *path, int flags, mode_t mode) {
    (void)self;
    return open(path, flags | O_CLOEXEC, mode);
}

static ssize_t system_write(Disk *self, int fd, const void *bytes, size_t n) {
    (void)self;
    return write(fd, bytes, n);
}

static int system_fsync(Disk *self, int fd) {
    (void)self;
    return fsync(fd);
}

static int system_close(Disk *self, int fd) {
    (void)self;
    return close(fd);
}

static int system_mkdir(Disk *self, const char *path, mode_t mode) {
    (void)self;
    return mkdir(path, mode);
}

static int system_rename(Disk *self, const char *from, const char *to) {
    (void)self;
    return rename(from, to);
}

static int system_exchange(Disk *self, const char *a, const char *b) {
    (void)self;
    return renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE);
}

static int system_symlink(Disk *self, const char *target, const char *path) {
    (void)self;
    return symlink(target, path);
}

static int system_unlink(Disk *self, const char *path) {
    (void)self;
    return unlink(path);
}

static int system_rmdir(Disk *self, const char *path) {
    (void)self;
    return rmdir(path);
}

Disk *disk_system(void) {
    static Disk disk = {
        .open = system_open,
        .write = system_write,
        .fsync = system_fsync,
        .close = system_close,
        .mkdir = system_mkdir,
        .rename = system_rename,
        .exchange = system_exchange,
        .symlink = system_symlink,
        .unlink = system_unlink,
        .rmdir = system_rmdir,
    };
    return &disk;
}
