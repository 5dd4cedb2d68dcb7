#include "codegen/tuning.h"

#include <inttypes.h>
#include <string.h>

enum { VERSION = 1 };

static const char *const architectures[] = {
#define X(id, architecture, capability, is_of_later) architecture,
    CUDA_TIERS(X)
#undef X
};

/* ---- Words ------------------------------------------------------------------------------------------------------- */

/* FNV-1a of 64 bits: the key is a text of some kilobytes. */
const char *tuning_key(Arena *arena, const Kernel *kernel) {
    uint64_t hash = 0xcbf29ce484222325;
    for (const char *at = kernel->key; *at; at++)
        hash = (hash ^ (unsigned char)*at) * 0x100000001b3;
    return arena_printf(arena, "%016" PRIx64, hash);
}

const char *tuning_choice_text(Arena *arena, CudaTier tier, const CudaProductChoice *choice) {
    return arena_printf(arena, "%s rows %d columns %d stages %d band %d", architectures[tier], choice->n_tile_rows,
                        choice->n_tile_cols, choice->n_stages, choice->n_band);
}

const TuningEntry *tuning_find(const Tuning *tuning, const char *key, CudaTier tier) {
    size_t n = strlen(architectures[tier]);
    for (size_t i = 0; i < tuning->n; i++) {
        const TuningEntry *entry = &tuning->entries[i];
        if (strcmp(entry->key, key) == 0 && strncmp(entry->choice, architectures[tier], n) == 0 &&
            entry->choice[n] == ' ')
            return entry;
    }
    return NULL;
}

/* ---- Reading ----------------------------------------------------------------------------------------------------- */

typedef struct {
    Arena *arena;
    Tuning *tuning;
    const char *error;
} Reading;

static bool fail(Reading *at, int line, const char *message) {
    at->error = arena_printf(at->arena, "%s:%d: %s", at->tuning->path, line, message);
    return false;
}

static bool read_version(Reading *at, const char *line) {
    int version = 0, end = 0;
    if (sscanf(line, "moec tuning %d%n", &version, &end) != 1 || line[end] != '\0')
        return fail(at, 1, "expected a file that `moec tune` has written, which begins with \"moec tuning 1\"");
    return version == VERSION ||
           fail(at, 1,
                arena_printf(at->arena, "found version %d, and this moec reads %d: run `moec tune` again", version,
                             VERSION));
}

/* "kernel 0123456789abcdef sm_90a rows .." */
static bool read_kernel(Reading *at, const char *line, int number) {
    enum { KEY_DIGITS = 16 };
    const char *key = line + strlen("kernel ");
    size_t n = strspn(key, "0123456789abcdef");
    int sizes[4], end = 0;
    char architecture[16];
    if (n != KEY_DIGITS || key[n] != ' ' ||
        sscanf(key + n + 1, "%15s rows %d columns %d stages %d band %d%n", architecture, &sizes[0], &sizes[1],
               &sizes[2], &sizes[3], &end) != 5 ||
        key[n + 1 + (size_t)end] != '\0')
        return fail(
            at, number,
            "expected \"kernel\", 16 hexadecimal digits, and \"ARCHITECTURE rows N columns N stages N band N\"");
    const TuningEntry entry = {arena_strndup(at->arena, key, n), arena_strdup(at->arena, key + n + 1), number};
    arena_push(at->arena, at->tuning->entries, at->tuning->n, at->tuning->capacity, entry);
    return true;
}

static bool read_line(Reading *at, const char *line, int number) {
    if (number == 1)
        return read_version(at, line);
    if (line[0] == '\0' || line[0] == '#')
        return true;
    if (strncmp(line, "device ", strlen("device ")) == 0) {
        at->tuning->device = arena_strdup(at->arena, line + strlen("device "));
        return true;
    }
    if (strncmp(line, "kernel ", strlen("kernel ")) == 0)
        return read_kernel(at, line, number);
    return fail(at, number, "expected a line that begins with \"device\", \"kernel\" or \"#\"");
}

const Tuning *tuning_read(Arena *arena, const char *path, const char *text, size_t n_bytes, const char **error) {
    Reading at = {.arena = arena, .tuning = arena_new_of(arena, Tuning)};
    int number = 0;
    at.tuning->path = path;
    for (size_t first = 0; (first < n_bytes || number == 0) && !at.error;) {
        const char *end = memchr(text + first, '\n', n_bytes - first);
        size_t n = end ? (size_t)(end - text) - first : n_bytes - first;
        read_line(&at, arena_strndup(arena, text + first, n), ++number);
        first += n + 1;
    }
    if (!at.error && !at.tuning->device)
        fail(&at, number, "there is no line \"device NAME\"");
    *error = at.error;
    return at.error ? NULL : at.tuning;
}
