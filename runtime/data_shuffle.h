/* A random order of 0 .. n-1 that needs no memory: element i of it is computed when asked for, so billions of windows
   can be shuffled and a run resumed anywhere. */
#ifndef MOEC_RUNTIME_DATA_SHUFFLE_H
#define MOEC_RUNTIME_DATA_SHUFFLE_H

#include <stdint.h>

typedef struct {
    uint64_t n;
    uint64_t key;
    unsigned half_bits; /* the permutation works on 2 * half_bits bits, the smallest such that n values fit */
} Shuffle;

/* Equal (n, seed, stream, epoch) give equal orders; `stream` tells files apart. n is at least 1. */
Shuffle shuffle_make(uint64_t n, uint64_t seed, uint64_t stream, uint64_t epoch);

/* Where element `index` < n goes; each value below n comes exactly once. */
uint64_t shuffle_at(const Shuffle *shuffle, uint64_t index);

#endif
