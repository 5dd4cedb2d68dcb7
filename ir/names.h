/* A table from names to indices, for the reader and the verifier: lookups stay constant-time in modules with thousands
   of values. Nothing is ever iterated, so the order of hashes shows nowhere. */
#ifndef MOEC_IR_NAMES_H
#define MOEC_IR_NAMES_H

#include <stdbool.h>
#include <stddef.h>

#include "ir/arena.h"

typedef struct {
    const char *name; /* NULL: free */
    size_t index;
} NameSlot;

typedef struct {
    Arena *arena;
    NameSlot *slots;
    size_t n, n_slots; /* n_slots: a power of two, or 0 */
} Names;

/* The index that `name` was added with; false if it was not. */
bool names_find(const Names *names, const char *name, size_t *index);

/* Adds a name, which must outlive the table; false if it is there already. */
bool names_add(Names *names, const char *name, size_t index);

#endif
