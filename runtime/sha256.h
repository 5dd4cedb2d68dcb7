/* SHA-256 (FIPS 180-4): names for what is cached, and checks that it is whole. */
#ifndef MOEC_RUNTIME_SHA256_H
#define MOEC_RUNTIME_SHA256_H

#include <stddef.h>
#include <stdint.h>

enum { SHA256_BYTES = 32 };

typedef struct {
    uint32_t state[8];
    uint64_t n_bytes;
    unsigned char block[64];
} Sha256;

Sha256 sha256_begin(void);
void sha256_add(Sha256 *sum, const void *bytes, size_t n);
void sha256_end(Sha256 *sum, unsigned char digest[SHA256_BYTES]);

#endif
