#include "passes/fuse_pairs.h"

static FusePair **find_slot(FusePair **slots, size_t n_slots, uint32_t a, uint32_t b) {
    uint64_t hash = ((uint64_t)a << 32 | b) * 0x9e3779b97f4a7c15U;
    size_t i = (size_t)(hash >> 32) & (n_slots - 1);
    while (slots[i] && (slots[i]->a_id != a || slots[i]->b_id != b))
        i = (i + 1) & (n_slots - 1);
    return &slots[i];
}

/* Four times the room, at most half of it taken. */
static void grow(FusePairs *pairs) {
    size_t n_slots = pairs->n_slots > 0 ? 4 * pairs->n_slots : 1024;
    FusePair **slots = arena_array_of(pairs->arena, FusePair *, n_slots);
    for (size_t i = 0; i < pairs->n_slots; i++) {
        if (pairs->slots[i])
            *find_slot(slots, n_slots, pairs->slots[i]->a_id, pairs->slots[i]->b_id) = pairs->slots[i];
    }
    pairs->slots = slots;
    pairs->n_slots = n_slots;
}

FusePair *fuse_pairs_get(FusePairs *pairs, uint32_t a, uint32_t b) {
    if (2 * pairs->n >= pairs->n_slots)
        grow(pairs);
    FusePair **slot = find_slot(pairs->slots, pairs->n_slots, a, b);
    if (!*slot) {
        *slot = arena_new_of(pairs->arena, FusePair);
        **slot = (FusePair){.a_id = a, .b_id = b};
        pairs->n++;
    }
    return *slot;
}

const FusePair *fuse_pairs_find(const FusePairs *pairs, uint32_t a, uint32_t b) {
    return pairs->n_slots > 0 ? *find_slot(pairs->slots, pairs->n_slots, a, b) : NULL;
}
