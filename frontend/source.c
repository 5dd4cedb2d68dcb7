#include "frontend/source.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

uint32_t sources_add(Arena *arena, Sources *sources, const char *path, const char *text, size_t n_bytes) {
    Source source = {.path = arena_strdup(arena, path), .n_bytes = n_bytes};
    source.text = arena_strndup(arena, text, n_bytes);
    arena_push(arena, sources->items, sources->n, sources->capacity, source);
    return (uint32_t)sources->n - 1;
}

bool sources_read(Arena *arena, const char *path, char **text, size_t *n_bytes) {
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return false;
    struct stat status;
    if (fstat(fileno(file), &status) == 0 && S_ISDIR(status.st_mode)) {
        fclose(file);
        errno = EISDIR;
        return false;
    }
    char *bytes = NULL;
    size_t n = 0, capacity = 0;
    for (int c; n <= SOURCE_MAX_BYTES && (c = getc(file)) != EOF;)
        arena_push(arena, bytes, n, capacity, (char)c);
    int code = ferror(file) ? errno : n > SOURCE_MAX_BYTES ? EFBIG : 0;
    fclose(file);
    errno = code;
    *text = bytes != NULL ? bytes : arena_strdup(arena, "");
    *n_bytes = n;
    return code == 0;
}

const char *source_line(Arena *arena, const Source *source, uint32_t line) {
    const char *at = source->text, *end = source->text + source->n_bytes;
    for (uint32_t i = 1; i < line && at < end; i++) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        at = newline != NULL ? newline + 1 : end;
    }
    const char *newline = memchr(at, '\n', (size_t)(end - at));
    return arena_strndup(arena, at, (size_t)((newline != NULL ? newline : end) - at));
}

Range range_join(Range a, Range b) {
    return (Range){.begin = a.begin, .end_line = b.end_line, .end_column = b.end_column};
}
