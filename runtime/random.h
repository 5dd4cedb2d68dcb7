/* Random numbers without state: Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011).

   A value is a function of (seed, name of the stream, index) alone. So it does not depend on threads, on chunk sizes,
   or on what was drawn before, and there is nothing to save but the seed. */
#ifndef MOEC_RUNTIME_RANDOM_H
#define MOEC_RUNTIME_RANDOM_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint32_t key[2];    /* the seed */
    uint32_t stream[2]; /* hash of the name: the upper half of the counter */
} RandomStream;

RandomStream random_stream(uint64_t seed, const char *name);

/* The stream named PURPOSE:NAME, so that one thing can have streams for several purposes. */
RandomStream random_stream_for(uint64_t seed, const char *purpose, const char *name);

/* 64 random bits. */
uint64_t random_bits(const RandomStream *stream, uint64_t index);

/* [0, 1), all 53 bits random. */
double random_uniform(const RandomStream *stream, uint64_t index);

/* 0 .. n-1, n > 0, without bias that could be seen (2^-64 n). */
uint64_t random_below(const RandomStream *stream, uint64_t index, uint64_t n);

/* Standard normal values of indices first .. first+n-1. */
void random_normal(const RandomStream *stream, uint64_t first, size_t n, float *values);

/* The generator itself: one block of the counter under the key. */
void random_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t block[4]);

#endif
