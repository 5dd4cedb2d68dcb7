/* Source files in memory, and ranges in them. */
#ifndef MOEC_FRONTEND_SOURCE_H
#define MOEC_FRONTEND_SOURCE_H

#include "ir/ir.h"

typedef struct {
    const char *path;
    const char *text; /* n_bytes of it, then a NUL */
    size_t n_bytes;
} Source;

/* All files of one compilation; Loc.file counts them. */
typedef struct {
    Source *items;
    size_t n, capacity;
} Sources;

/* From `begin` up to, but not including, end_line:end_column. */
typedef struct {
    Loc begin;
    uint32_t end_line, end_column;
} Range;

/* Adds a file with this text, which is copied; its index. */
uint32_t sources_add(Arena *arena, Sources *sources, const char *path, const char *text, size_t n_bytes);

/* No model, nor its IR as text, is larger; what is, is neither. */
enum { SOURCE_MAX_BYTES = 1 << 26 };

/* Reads a file. False with errno set. */
bool sources_read(Arena *arena, const char *path, char **text, size_t *n_bytes);

/* Line `line`, from 1, without its newline; "" past the end. */
const char *source_line(Arena *arena, const Source *source, uint32_t line);

/* From the start of `a` to the end of `b`. */
Range range_join(Range a, Range b);

#endif
