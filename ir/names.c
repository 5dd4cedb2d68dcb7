#include "ir/names.h"

#include <stdint.h>
#include <string.h>

/* FNV-1a, 64 bits. */
static uint64_t hash_name(const char *name) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (; *name != '\0'; name++)
        hash = (hash ^ (unsigned char)*name) * 0x100000001b3u;
    return hash ^ hash >> 32;
}

/* The slot that holds `name`, or the free one where it belongs. */
static NameSlot *slot_of(const Names *names, const char *name) {
    size_t i = (size_t)hash_name(name) & (names->n_slots - 1);
    while (names->slots[i].name != NULL && strcmp(names->slots[i].name, name) != 0)
        i = (i + 1) & (names->n_slots - 1);
    return &names->slots[i];
}

bool names_find(const Names *names, const char *name, size_t *index) {
    if (names->n_slots == 0)
        return false;
    const NameSlot *slot = slot_of(names, name);
    if (slot->name == NULL)
        return false;
    *index = slot->index;
    return true;
}

static void grow(Names *names) {
    NameSlot *old = names->slots;
    size_t n_old = names->n_slots;
    names->n_slots = n_old == 0 ? 64 : 2 * n_old;
    names->slots = arena_array_of(names->arena, NameSlot, names->n_slots);
    for (size_t i = 0; i < n_old; i++) {
        if (old[i].name != NULL)
            *slot_of(names, old[i].name) = old[i];
    }
}

bool names_add(Names *names, const char *name, size_t index) {
    if (2 * names->n >= names->n_slots)
        grow(names);
    NameSlot *slot = slot_of(names, name);
    if (slot->name != NULL)
        return false;
    *slot = (NameSlot){.name = name, .index = index};
    names->n++;
    return true;
}
