#include "runtime/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void status_format(Status *status, StatusCode code, const char *format, va_list args) {
    status->failed = true;
    status->code = code;
    int length = vsnprintf(status->message, sizeof status->message, format, args);
    if (length >= (int)sizeof status->message)
        strcpy(status->message + sizeof status->message - sizeof "...", "...");
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
    status_format(status, code, format, args);
    va_end(args);
    return false;
}

bool status_fail_errno(Status *status, const char *format, ...) {
    const char *reason = strerror(errno);
    if (status->failed)
        return false;
    va_list args;
    va_start(args, format);
    status_format(status, STATUS_SYSTEM, format, args);
    va_end(args);
    size_t length = strlen(status->message);
    snprintf(status->message + length, sizeof status->message - length, ": %s", reason);
    return false;
}
