/* How functions of the runtime fail: they return false and leave one message in a Status.

   The message is built where the cause is known and carried up unchanged: what failed, where (file, tensor, line of the
   .moe), what was found, what was expected, what to do. It is printed once, by main. A Status that has failed stays as
   it is, so that cleaning up after an error cannot replace the cause. */
#ifndef MOEC_RUNTIME_STATUS_H
#define MOEC_RUNTIME_STATUS_H

#include <stdbool.h>
#include <stddef.h>

/* What a failure is about; also the exit code of the executable. */
typedef enum {
    STATUS_OK = 0,
    STATUS_INPUT = 1,    /* a file, tensor or value given by the user is not what it should be */
    STATUS_USAGE = 2,    /* the command line */
    STATUS_SYSTEM = 3,   /* the operating system refused: full disk, permission, memory */
    STATUS_DIVERGED = 4, /* training produced NaN or infinity */
    STATUS_INTERNAL = 70 /* a fault of moec itself */
} StatusCode;

typedef struct {
    bool failed;
    StatusCode code;
    char message[1024]; /* one line or more, without a final newline; too long a text ends in "..." */
} Status;

#define STATUS_INIT ((Status){.failed = false})

/* Always false, so that a function can end with `return status_fail(...)`. */
bool status_fail(Status *status, StatusCode code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The same, with ": " and the text of errno at the end of the message. A path that leads nowhere is bad input, the rest
   the system's. */
bool status_fail_errno(Status *status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The end of a path for a message that has no room for all of it: from after a slash, at most n bytes. */
const char *status_path_end(const char *path, size_t n);

#endif
