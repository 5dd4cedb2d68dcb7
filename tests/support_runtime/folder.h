/* A temporary folder of a test, files in it, and what a failed Status should say. Tests of the runtime link nothing of
   the compiler, so these stand apart from tests/support. */
#ifndef MOEC_TESTS_SUPPORT_RUNTIME_FOLDER_H
#define MOEC_TESTS_SUPPORT_RUNTIME_FOLDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

enum { FOLDER_PATHS = 8, FOLDER_PATH_BYTES = 512 };

typedef struct {
    char path[FOLDER_PATH_BYTES - 128];
    char paths[FOLDER_PATHS][FOLDER_PATH_BYTES]; /* given out in turn */
    unsigned n_given;
} Folder;

Folder folder_make(void);
/* With all that is in it. */
void folder_remove(Folder *folder);

/* FOLDER/NAME; valid until FOLDER_PATHS more were asked for. */
const char *folder_path(Folder *folder, const char *name);

/* Folders on the way are made. */
void folder_write(Folder *folder, const char *name, const void *bytes, size_t n);
void folder_write_text(Folder *folder, const char *name, const char *text);

/* The whole file and a NUL; the caller frees it. The test fails where there is none. */
char *folder_read(Folder *folder, const char *name, size_t *n);

bool folder_has(Folder *folder, const char *name);

/* Names in a folder (not "." and ".."), "." for the folder itself. */
size_t folder_count(Folder *folder, const char *name);

/* The status failed with the code, its message has each of the parts (NULL ends them). */
#define expect_failure(status, code, ...) expect_failure_parts(status, code, (const char *const[]){__VA_ARGS__, NULL})
void expect_failure_parts(const Status *status, StatusCode code, const char *const *parts);

/* It did not; prints the message where it did. */
void expect_success(const Status *status);

#endif
