#include "runtime/random.h"

#include <math.h>

void random_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t block[4]) {
    uint32_t a = counter[0], b = counter[1], c = counter[2], d = counter[3];
    uint32_t key0 = key[0], key1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t left = (uint64_t)0xD2511F53u * a, right = (uint64_t)0xCD9E8D57u * c;
        uint32_t next_a = (uint32_t)(right >> 32) ^ b ^ key0, next_c = (uint32_t)(left >> 32) ^ d ^ key1;
        a = next_a;
        b = (uint32_t)right;
        c = next_c;
        d = (uint32_t)left;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    block[0] = a;
    block[1] = b;
    block[2] = c;
    block[3] = d;
}

/* FNV-1a. */
static const uint64_t empty_hash = 0xCBF29CE484222325u;

static uint64_t hash_text(uint64_t hash, const char *text) {
    for (const char *c = text; *c; c++)
        hash = (hash ^ (uint8_t)*c) * 0x100000001B3u;
    return hash;
}

/* The mixing step makes names that differ in their last letter differ in all bits. */
static RandomStream stream_of_hash(uint64_t seed, uint64_t hash) {
    hash ^= hash >> 31;
    hash *= 0x9E3779B97F4A7C15u;
    hash ^= hash >> 29;
    return (RandomStream){{(uint32_t)seed, (uint32_t)(seed >> 32)}, {(uint32_t)hash, (uint32_t)(hash >> 32)}};
}

RandomStream random_stream(uint64_t seed, const char *name) {
    return stream_of_hash(seed, hash_text(empty_hash, name));
}

RandomStream random_stream_for(uint64_t seed, const char *purpose, const char *name) {
    return stream_of_hash(seed, hash_text(hash_text(hash_text(empty_hash, purpose), ":"), name));
}

static void stream_block(const RandomStream *stream, uint64_t index, uint32_t block[4]) {
    uint32_t counter[4] = {(uint32_t)index, (uint32_t)(index >> 32), stream->stream[0], stream->stream[1]};
    random_philox(counter, stream->key, block);
}

uint64_t random_bits(const RandomStream *stream, uint64_t index) {
    uint32_t block[4];
    stream_block(stream, index, block);
    return (uint64_t)block[1] << 32 | block[0];
}

double random_uniform(const RandomStream *stream, uint64_t index) {
    return (double)(random_bits(stream, index) >> 11) * 0x1p-53;
}

uint64_t random_below(const RandomStream *stream, uint64_t index, uint64_t n) {
    return (uint64_t)((unsigned __int128)random_bits(stream, index) * n >> 64);
}

/* Box and Muller: two pairs of 32-bit uniforms give the normals of indices 4b .. 4b+3. The radius takes (0, 1], so that
   the logarithm is finite. */
static void normal_block(const RandomStream *stream, uint64_t b, float normals[4]) {
    uint32_t block[4];
    stream_block(stream, b, block);
    for (int pair = 0; pair < 2; pair++) {
        double radius = sqrt(-2.0 * log(((double)block[2 * pair] + 1.0) * 0x1p-32));
        double angle = 6.283185307179586 * 0x1p-32 * (double)block[2 * pair + 1];
        normals[2 * pair] = (float)(radius * cos(angle));
        normals[2 * pair + 1] = (float)(radius * sin(angle));
    }
}

void random_normal(const RandomStream *stream, uint64_t first, size_t n, float *values) {
    float normals[4];
    for (size_t i = 0; i < n; i++) {
        uint64_t index = first + i;
        if (i == 0 || index % 4 == 0)
            normal_block(stream, index / 4, normals);
        values[i] = normals[index % 4];
    }
}
