#include "runtime/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Writes the message with `reserve` bytes left at its end. */
static void status_format(Status *status, StatusCode code, size_t reserve, const char *format, va_list args) {
    size_t size = sizeof status->message - reserve;
    status->failed = true;
    status->code = code;
    int length = vsnprintf(status->message, size, format, args);
    if (length >= (int)size)
        memcpy(status->message + size - sizeof "...", "...", sizeof "...");
    /* Messages quote names from files that nobody has vetted: they must not steer the terminal. */
    for (char *c = status->message; *c; c++) {
        if ((unsigned char)*c < ' ' && *c != '\n' && *c != '\t')
            *c = '?';
    }
}

bool status_fail(Status *status, StatusCode code, const char *format, ...) {
    if (status->failed)
        return false;
    va_list args;
    va_start(args, format);
    status_format(status, code, 0, format, args);
    va_end(args);
    return false;
}

bool status_fail_errno(Status *status, const char *format, ...) {
    char reason[128];
    StatusCode code = errno == ENOENT || errno == ENOTDIR ? STATUS_INPUT : STATUS_SYSTEM;
    snprintf(reason, sizeof reason, ": %s", strerror(errno));
    if (status->failed)
        return false;
    va_list args;
    va_start(args, format);
    status_format(status, code, strlen(reason), format, args);
    va_end(args);
    size_t used = strlen(status->message);
    snprintf(status->message + used, sizeof status->message - used, "%s", reason);
    return false;
}

const char *status_path_end(const char *path, size_t n) {
    size_t length = strlen(path);
    if (length <= n)
        return path;
    const char *end = path + length - n, *slash = strchr(end, '/');
    return slash ? slash + 1 : end;
}
