/* CUDA C text on the CPU: what a kernel's text needs to be C11, and a simulator that runs it.

   In: text as codegen/form_cuda.c prints it, compiled behind this header with -fsanitize=thread, which calls a
   function at each access to memory; buffers. Out: what the kernel writes, or what is wrong with it. Never
   here: speed, or what a GPU's memory model allows beyond the interleavings of threads.

   A thread of the kernel is a fiber. Those of a block take turns in a random order, from one rendezvous to the next:
   barriers, warp barriers, shuffles. Blocks run one after the other, in a random order too. Shared memory is NaN when a
   block starts. Found are

     - threads that meet at different barriers, or exit where others wait for them; shuffles of lanes that are not there
     - accesses outside of the launch's buffers, misaligned ones, writes to what is read only
     - races: two accesses to one word, one of which writes, by threads that no barrier orders; of blocks, any two

   The simulator is one, in a process; it is of x86-64. */
#ifndef MOEC_TESTS_SIMT_SIMT_H
#define MOEC_TESTS_SIMT_SIMT_H

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- Running a kernel ------------------------------------------------------------------------------------------ */

/* Calls a kernel with the arguments, which are pointers. */
typedef void SimtKernel(void *const *args);

typedef struct {
    const char *name;
    void *data;
    size_t n_bytes;
    bool is_read_only;
} SimtBuffer;

/* Where compiled text has its shared memory, of all kernels, and its constants. */
typedef struct {
    char *shared, *shared_end;
    char *constants, *constants_end;
} SimtModule;

/* A kernel in a table that compiled text may have. */
typedef struct {
    const char *name;
    SimtKernel *call;
    int n_parameters, n_threads;
} SimtEntry;

typedef struct {
    const char *name;
    SimtKernel *kernel;
    void *const *args;
    int64_t n_blocks;
    int n_threads; /* of a block */
    const SimtModule *module;
    const SimtBuffer *buffers; /* all that it may touch */
    size_t n_buffers;
    uint64_t seed;       /* of the order */
    size_t shared_bytes; /* besides what the text declares */
} SimtLaunch;

/* NULL, or what is wrong, until the next call. */
const char *simt_launch(const SimtLaunch *launch);

/* ---- What the text calls ---------------------------------------------------------------------------------------- */

typedef struct {
    unsigned x, y, z;
} SimtIndex;

SimtIndex simt_thread_index(void);
SimtIndex simt_block_index(void);
SimtIndex simt_grid_size(void);
/* The address, which must be a multiple of 16. */
void *simt_aligned(const void *address);
void simt_sync_threads(int line);
void simt_sync_warp(unsigned mask, int line);
uint32_t simt_shuffle(unsigned mask, uint32_t value, int lane, int line);
float simt_shuffle_xor(unsigned mask, float value, int offset, int line);
int simt_shuffle_up(unsigned mask, int value, int distance, int line);
unsigned simt_ballot(unsigned mask, int predicate, int line);
/* mma.m16n8k16 of bf16, as the PTX ISA has it. */
void simt_product(float *sums, const uint32_t *lhs, const uint32_t *rhs, int line);

#ifdef SIMT_TEXT /* the text, not the simulator */

#define MOEC_KERNEL(n_threads)
#define MOEC_DEVICE static inline __attribute__((always_inline, unused))
#define MOEC_CONSTANT static __attribute__((section("simt_constants")))
#define MOEC_ALIGN(n) __attribute__((aligned(n)))
#define MOEC_SHARED static __attribute__((section("simt_shared")))
#define MOEC_ALIGNED(address) simt_aligned(address)
#define threadIdx simt_thread_index()
#define blockIdx simt_block_index()
#define gridDim simt_grid_size()
#define __syncthreads() simt_sync_threads(__LINE__)
#define __syncwarp() simt_sync_warp(0xffffffffu, __LINE__)
#define __shfl_sync(mask, value, lane) simt_shuffle(mask, value, lane, __LINE__)
#define __shfl_xor_sync(mask, value, offset) simt_shuffle_xor(mask, value, offset, __LINE__)
#define __shfl_up_sync(mask, value, distance) simt_shuffle_up(mask, value, distance, __LINE__)
#define __ballot_sync(mask, predicate) simt_ballot(mask, predicate, __LINE__)
#define __popc(bits) __builtin_popcount(bits)
#define normcdff(x) (0.5f * erfcf(-(x)*0.70710678f))
#define __fdividef(x, y) ((x) / (y))

typedef struct {
    float x, y, z, w;
} __attribute__((aligned(16))) float4;

typedef struct {
    int x, y, z, w;
} __attribute__((aligned(16))) int4;

typedef struct {
    float x, y;
} __attribute__((aligned(8))) float2;

typedef struct {
    uint32_t x, y;
} __attribute__((aligned(8))) uint2;

typedef struct {
    uint32_t x, y, z, w;
} __attribute__((aligned(16))) uint4;

#include "tests/simt/simt_async.h"
#include "tests/simt/simt_products.h"

/* The bounds of a section that may be empty. */
#define SIMT_BOUNDS(section)                                                                                           \
    extern char __start_##section[] __attribute__((weak, visibility("hidden")));                                       \
    extern char __stop_##section[] __attribute__((weak, visibility("hidden")))

/* Defines `simt_module`; once in a text. */
#define SIMT_MODULE                                                                                                    \
    SIMT_BOUNDS(simt_shared);                                                                                          \
    SIMT_BOUNDS(simt_constants);                                                                                       \
    const SimtModule simt_module = {__start_simt_shared, __stop_simt_shared, __start_simt_constants,                   \
                                    __stop_simt_constants}

/* Of functions that are no part of a kernel. */
#define SIMT_HOST __attribute__((no_sanitize("thread")))

#endif
#endif
