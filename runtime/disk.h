/* The calls of the operating system that change files. All writing goes through such a table, so that a test can hand
   in one that fails at the n-th call. Each call does as the one of its name: -1 and errno for a failure. */
#ifndef MOEC_RUNTIME_DISK_H
#define MOEC_RUNTIME_DISK_H

#include <stddef.h>
#include <sys/types.h>

typedef struct Disk Disk;
struct Disk {
    int (*open)(Disk *self, const char *path, int flags, mode_t mode);
    ssize_t (*write)(Disk *self, int fd, const void *bytes, size_t n);
    int (*fsync)(Disk *self, int fd);
    int (*close)(Disk *self, int fd);
    int (*mkdir)(Disk *self, const char *path, mode_t mode);
    int (*rename)(Disk *self, const char *from, const char *to);
    /* The two paths change places in one step (renameat2); EINVAL or ENOSYS where the file system cannot. */
    int (*exchange)(Disk *self, const char *a, const char *b);
    int (*symlink)(Disk *self, const char *target, const char *path);
    int (*unlink)(Disk *self, const char *path);
    int (*rmdir)(Disk *self, const char *path);
};

/* The real ones. */
Disk *disk_system(void);

#endif
