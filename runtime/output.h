/* Files and directories that appear whole or not at all: written under a temporary name, fsynced, renamed. */
#ifndef MOEC_RUNTIME_OUTPUT_H
#define MOEC_RUNTIME_OUTPUT_H

#include <stdint.h>

#include "runtime/disk.h"
#include "runtime/json.h"
#include "runtime/status.h"

/* Whether a directory could be made at `path`, as far as can be told without making it: so that a name that cannot be
   written is found before hours of work. */
bool output_check(const char *path, Status *status);

/* Whether output_file_begin can write `path`, as far as can be told without doing it. What stands there must be a file:
   a device, say, would be removed. `option` is what errors name. */
bool output_check_file(const char *option, const char *path, Status *status);

/* A directory in the making. */
typedef struct {
    Disk *disk;
    char *path;      /* where it will stand */
    char *temporary; /* where it is written: a sibling */
} OutputDir;

/* Creates the temporary directory (parents of `path` too). On failure there is nothing to abandon. */
bool output_dir_begin(OutputDir *dir, Disk *disk, const char *path, const char *temporary, Status *status);

/* Gives the directory its name; one that stood there is replaced and removed. Ends `dir`: on failure what was written
   is removed. Every file in it must be closed. */
bool output_dir_publish(OutputDir *dir, Status *status);

/* Removes what was written; ends `dir`. */
void output_dir_abandon(OutputDir *dir);

/* A file being written, buffered. */
typedef struct {
    Disk *disk;
    int fd;
    char *path;
    uint64_t n_bytes; /* written so far, buffered bytes included */
    size_t n_buffered;
    char buffer[1 << 16];
} OutputFile;

/* Opening allocates; each opened file must be closed. */
OutputFile *output_file_open(const OutputDir *dir, const char *name, Status *status);
bool output_file_write(OutputFile *file, const void *bytes, size_t n, Status *status);

/* Flushes, fsyncs, closes and frees; after a failure closes and frees only. */
bool output_file_close(OutputFile *file, Status *status);

/* A file by itself that appears whole or not at all, in place of one that stood there: written beside it, as
   .NAME.tmp. NULL after a failure. */
OutputFile *output_file_begin(Disk *disk, const char *path, Status *status);
/* output_file_close, and the file gets its name, `path` of output_file_begin; after a failure, of something before too,
   what was written is removed. */
bool output_file_publish(OutputFile *file, const char *path, Status *status);

/* A whole small file inside `dir`. */
bool output_dir_add(const OutputDir *dir, const char *name, const void *bytes, size_t n, Status *status);
/* The same of a value, whose reference it takes over; NULL: out of memory. */
bool output_dir_add_json(const OutputDir *dir, const char *name, json_t *value, Status *status);

/* A folder inside `dir`, for files named NAME/FILE; synced once they are closed. */
bool output_folder_begin(const OutputDir *dir, const char *name, Status *status);
bool output_folder_sync(const OutputDir *dir, const char *name, Status *status);

/* Makes DIRECTORY/NAME a symbolic link to `target`, in one step where another link stood there. */
bool output_link(Disk *disk, const char *directory, const char *name, const char *target, Status *status);

/* Removes a directory tree; false and errno where something could not be removed. Links are removed, not followed. */
bool output_remove_tree(Disk *disk, const char *path);

#endif
