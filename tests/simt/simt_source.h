/* Text for the simulator on its way through the compiler, in a folder of its own. */
#ifndef MOEC_TESTS_SIMT_SIMT_SOURCE_H
#define MOEC_TESTS_SIMT_SIMT_SOURCE_H

#include <stdbool.h>
#include <stdio.h>

enum { SIMT_PATH_BYTES = 64 };

typedef struct {
    char folder[SIMT_PATH_BYTES / 2];
    char object[SIMT_PATH_BYTES], log[SIMT_PATH_BYTES]; /* files: what it became, what the compiler says */
    FILE *out;                                          /* what is printed here is compiled behind simt.h */
} SimtSource;

/* All return NULL, or what failed. */
const char *simt_source_open(SimtSource *source);
/* `checks`: accesses to memory are looked at, which takes time. MOEC_ROOT names the root of the sources. */
const char *simt_source_compile(SimtSource *source, bool checks);
/* Removes the folder, unless MOEC_KEEP_TEXT is set. */
void simt_source_close(SimtSource *source);

#endif
