/* Bump allocation with one lifetime per arena: source, module, pass. Nothing is freed singly. */
#ifndef MOEC_IR_ARENA_H
#define MOEC_IR_ARENA_H

#include <stdarg.h>
#include <stddef.h>

typedef struct Arena Arena;

/* A new, empty arena. The caller ends it with arena_free. Memory exhaustion ends the process with exit code 70
   (nothing in the compiler can go on without memory), so no allocation below returns NULL. */
Arena *arena_new(void);
void arena_free(Arena *arena);

/* `n_bytes` of zeroed memory, aligned for any type. */
void *arena_alloc(Arena *arena, size_t n_bytes);
char *arena_strdup(Arena *arena, const char *text);
char *arena_strndup(Arena *arena, const char *text, size_t n_bytes);
char *arena_printf(Arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));
char *arena_vprintf(Arena *arena, const char *format, va_list arguments) __attribute__((format(printf, 2, 0)));

/* Bytes handed out so far. */
size_t arena_used(const Arena *arena);

#define arena_new_of(arena, type) ((type *)arena_alloc((arena), sizeof(type)))
#define arena_array_of(arena, type, n) ((type *)arena_alloc((arena), sizeof(type) * (size_t)(n)))

/* Appends `item` to the array `items` of `n` elements with room for `capacity`, growing it on the arena. */
#define arena_push(arena, items, n, capacity, item)                                                                    \
    do {                                                                                                               \
        if ((n) == (capacity)) {                                                                                       \
            (items) = arena_grow((arena), (items), (size_t)(n), sizeof *(items), &(capacity));                         \
        }                                                                                                              \
        (items)[(n)++] = (item);                                                                                       \
    } while (0)

/* A copy of `items` (`n` elements of `size` bytes) with twice the room (at least 8); `*capacity` is set to it. */
void *arena_grow(Arena *arena, const void *items, size_t n, size_t size, size_t *capacity);

#endif
