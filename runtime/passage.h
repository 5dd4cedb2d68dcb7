/* What weights and moments pass through on their way between files and where programs run. On a CPU they stay in the
   host's memory, and there is no passage: NULL. With a GPU, the host's memory holds each of them only while it is read,
   drawn or written: a weight, or what one tensor of a file becomes. */
#ifndef MOEC_RUNTIME_PASSAGE_H
#define MOEC_RUNTIME_PASSAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/status.h"

typedef struct Passage Passage;
struct Passage {
    /* All n bytes at `at`, a place in a space of the host's memory, are written: they go on, and are dropped. `name`:
       of what they are, for errors. */
    bool (*put)(Passage *self, void *at, uint64_t n_bytes, const char *name, Status *status);
    /* Brings them. */
    bool (*get)(Passage *self, void *at, uint64_t n_bytes, const char *name, Status *status);
    /* They are not needed any more. */
    void (*drop)(Passage *self, void *at, uint64_t n_bytes);
};

/* The same of a passage that may be NULL. */
static inline bool passage_put(Passage *passage, void *at, uint64_t n_bytes, const char *name, Status *status) {
    return !passage || passage->put(passage, at, n_bytes, name, status);
}

static inline bool passage_get(Passage *passage, const void *at, uint64_t n_bytes, const char *name, Status *status) {
    return !passage || passage->get(passage, (void *)(uintptr_t)at, n_bytes, name, status);
}

static inline void passage_drop(Passage *passage, const void *at, uint64_t n_bytes) {
    if (passage)
        passage->drop(passage, (void *)(uintptr_t)at, n_bytes);
}

#endif
