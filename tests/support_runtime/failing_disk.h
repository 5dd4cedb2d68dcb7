/* A disk of which some call fails. */
#ifndef MOEC_TESTS_SUPPORT_RUNTIME_FAILING_DISK_H
#define MOEC_TESTS_SUPPORT_RUNTIME_FAILING_DISK_H

#include <stdbool.h>

#include "runtime/disk.h"

typedef struct {
    Disk disk;  /* what is handed in; first, so that the calls find the rest */
    long at;    /* the call that fails, counted from 0; -1: none */
    int error;  /* its errno */
    bool stays; /* all calls that need room fail from there on, as on a full disk */
    long n_calls;
    const char *never;  /* name of a call that always fails, with EINVAL; NULL: none */
    const char *failed; /* name of the call that failed, or NULL */
} FailingDisk;

FailingDisk failing_disk(long at, int error, bool stays);

#endif
