/* What took time to make (compiled kernels, measured choices) on disk, each in a file named by the hash of all that it
   was made from. Processes share a cache: a file gets its name when it is whole, and one that is damaged even so is
   known by its sum, and not used. */
#ifndef MOEC_RUNTIME_CUDA_CACHE_H
#define MOEC_RUNTIME_CUDA_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/disk.h"
#include "runtime/sha256.h"
#include "runtime/status.h"

typedef struct {
    Disk *disk;
    char *folder;
    uint64_t max_bytes; /* of all files; the ones that were not used for longest go */
} CudaCache;

/* Of a cache: 1 GiB holds the kernels of some hundred models. */
#define CUDA_CACHE_BYTES ((uint64_t)1 << 30)

/* Where it is: "kernels" in MOEC_CACHE_DIR, or in moec in XDG_CACHE_HOME, or in .cache/moec in HOME. The caller frees
   it; NULL where none of them is set, or out of memory. */
char *cuda_cache_folder(void);

/* The folder is made when something is stored. */
bool cuda_cache_open(CudaCache *cache, Disk *disk, const char *folder, uint64_t max_bytes, Status *status);
void cuda_cache_close(CudaCache *cache);

/* In hexadecimal digits. */
typedef struct {
    char text[2 * SHA256_BYTES + 1];
} CudaCacheKey;

/* Of a list of texts; no two lists have the same. */
CudaCacheKey cuda_cache_key(const char *const *parts, size_t n);

/* What is stored under a key, in memory that the caller frees. False where there is none, or none that is whole. */
bool cuda_cache_find(const CudaCache *cache, const CudaCacheKey *key, void **bytes, size_t *n);

bool cuda_cache_store(const CudaCache *cache, const CudaCacheKey *key, const void *bytes, size_t n, Status *status);

/* Removes what is too much, and what a killed process left. */
void cuda_cache_trim(const CudaCache *cache);

#endif
