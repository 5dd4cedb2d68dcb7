/* The bump allocator: a list of chunks, the newest first; only the newest is filled. */
#include "ir/arena.h"

#include <assert.h>
#include <stdalign.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define ARENA_POISONS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_POISONS 1
#endif
#endif

/* Under AddressSanitizer, what was not handed out is poisoned and allocations stand apart, so that running over the end
   of one is caught as it would be with malloc. */
#ifdef ARENA_POISONS
#include <sanitizer/asan_interface.h>
enum { GAP_BYTES = 16 };
#else
#define ASAN_POISON_MEMORY_REGION(address, n_bytes) ((void)(address), (void)(n_bytes))
#define ASAN_UNPOISON_MEMORY_REGION(address, n_bytes) ((void)(address), (void)(n_bytes))
enum { GAP_BYTES = 0 };
#endif

enum {
    ALIGNMENT = alignof(max_align_t),
    FIRST_CHUNK_BYTES = 16 << 10,
    LARGEST_CHUNK_BYTES = 1 << 20, /* chunks double up to here; a larger allocation gets a chunk of its own size */
    EXIT_OUT_OF_MEMORY = 70,
};

typedef struct Chunk Chunk;
struct Chunk {
    Chunk *older;
    size_t n_bytes, n_used;
    alignas(max_align_t) unsigned char bytes[];
};

struct Arena {
    Chunk *newest;
    size_t next_chunk_bytes;
    size_t n_used;
};

static void *allocate_or_exit(size_t n_bytes) {
    void *memory = calloc(1, n_bytes);
    if (!memory) {
        fprintf(stderr, "moec: error: out of memory (asked for %zu bytes)\n", n_bytes);
        exit(EXIT_OUT_OF_MEMORY);
    }
    return memory;
}

Arena *arena_new(void) {
    Arena *arena = allocate_or_exit(sizeof(Arena));
    arena->next_chunk_bytes = FIRST_CHUNK_BYTES;
    return arena;
}

void arena_free(Arena *arena) {
    if (!arena)
        return;
    for (Chunk *chunk = arena->newest; chunk;) {
        Chunk *older = chunk->older;
        ASAN_UNPOISON_MEMORY_REGION(chunk->bytes, chunk->n_bytes);
        free(chunk);
        chunk = older;
    }
    free(arena);
}

static void add_chunk(Arena *arena, size_t n_bytes_needed) {
    size_t n_bytes = arena->next_chunk_bytes;
    if (n_bytes < LARGEST_CHUNK_BYTES)
        arena->next_chunk_bytes *= 2;
    if (n_bytes < n_bytes_needed)
        n_bytes = n_bytes_needed;
    Chunk *chunk = allocate_or_exit(sizeof(Chunk) + n_bytes);
    chunk->n_bytes = n_bytes;
    chunk->older = arena->newest;
    arena->newest = chunk;
    ASAN_POISON_MEMORY_REGION(chunk->bytes, chunk->n_bytes);
}

void *arena_alloc(Arena *arena, size_t n_bytes) {
    assert(n_bytes < SIZE_MAX / 2);
    size_t n_taken = (n_bytes + GAP_BYTES + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    Chunk *chunk = arena->newest;
    if (!chunk || chunk->n_bytes - chunk->n_used < n_taken) {
        add_chunk(arena, n_taken);
        chunk = arena->newest;
    }
    unsigned char *memory = chunk->bytes + chunk->n_used;
    chunk->n_used += n_taken;
    arena->n_used += n_bytes;
    ASAN_UNPOISON_MEMORY_REGION(memory, n_bytes);
    return memory;
}

char *arena_strndup(Arena *arena, const char *text, size_t n_bytes) {
    char *copy = arena_alloc(arena, n_bytes + 1);
    memcpy(copy, text, n_bytes);
    return copy;
}

char *arena_strdup(Arena *arena, const char *text) {
    return arena_strndup(arena, text, strlen(text));
}

char *arena_vprintf(Arena *arena, const char *format, va_list arguments) {
    va_list again;
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    assert(length >= 0);
    char *text = arena_alloc(arena, (size_t)length + 1);
    vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    return text;
}

char *arena_printf(Arena *arena, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    char *text = arena_vprintf(arena, format, arguments);
    va_end(arguments);
    return text;
}

size_t arena_used(const Arena *arena) {
    return arena->n_used;
}

void *arena_grow(Arena *arena, const void *items, size_t n, size_t size, size_t *capacity) {
    size_t room = *capacity < 4 ? 8 : *capacity * 2;
    void *grown = arena_alloc(arena, room * size);
    if (n > 0)
        memcpy(grown, items, n * size);
    *capacity = room;
    return grown;
}
