#include "runtime/data_shuffle.h"

#include <assert.h>

enum { FEISTEL_ROUNDS = 6 };

/* The finaliser of SplitMix64 (Steele, Lea and Flood 2014): every input bit changes every output bit. */
static uint64_t mix(uint64_t x) {
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

Shuffle shuffle_make(uint64_t n, uint64_t seed, uint64_t stream, uint64_t epoch) {
    assert(n >= 1 && n <= UINT64_C(1) << 62);
    unsigned half_bits = 1;
    while (UINT64_C(1) << (2 * half_bits) < n)
        half_bits++;
    return (Shuffle){.n = n, .key = mix(mix(mix(seed) ^ stream) ^ epoch), .half_bits = half_bits};
}

/* A Feistel network: whatever the round function, it is a bijection on 2 * half_bits bits. */
static uint64_t feistel(const Shuffle *shuffle, uint64_t x) {
    uint64_t mask = (UINT64_C(1) << shuffle->half_bits) - 1;
    uint64_t left = x >> shuffle->half_bits, right = x & mask;
    for (uint64_t round = 0; round < FEISTEL_ROUNDS; round++) {
        uint64_t next = left ^ (mix(shuffle->key ^ mix(right + (round << 56))) & mask);
        left = right;
        right = next;
    }
    return left << shuffle->half_bits | right;
}

/* Cycle walking (Black and Rogaway 2002): applied until the value falls below n, a bijection on the larger set is one
   on 0 .. n-1. The larger set has less than 4 n elements, so few rounds are expected. */
uint64_t shuffle_at(const Shuffle *shuffle, uint64_t index) {
    assert(index < shuffle->n);
    uint64_t x = feistel(shuffle, index);
    while (x >= shuffle->n)
        x = feistel(shuffle, x);
    return x;
}
