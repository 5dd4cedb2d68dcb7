/* The names of codegen/prelude_cuda_async.c and prelude_cuda_wgmma.c for the simulator.

   Copies, tiles and products come as late as what waits for them allows; what they are to overwrite is NaN until then.
   Found is, besides what simt.h names,

     - what is read or written while something is on its way there, or before a wait that says it has come
     - what is overwritten while a copy or a product may still read it; sums, and registers instead of a, of products
       that were not waited for
     - a missing moec_fence_async between what threads have written and what TMA or wgmma read of it
     - barriers: begun again, not fenced, with more arrivals or bytes than they count; threads that wait for ever
     - tiles, descriptors and maps that are not aligned, do not fit, or are not what was prefetched
     - threads of a warpgroup that do not come, or come with other descriptors; registers touched without a fence

   Known: agents' clocks (simt_internal.h). Not simulated: clusters, and swizzles of matrices but that of 128 bytes. */
#ifndef MOEC_TESTS_SIMT_SIMT_ASYNC_H
#define MOEC_TESTS_SIMT_SIMT_ASYNC_H

#include "tests/simt/simt.h"

enum { SIMT_A_TRANSPOSED = 1, SIMT_B_TRANSPOSED = 2, SIMT_A_IN_REGISTERS = 4 };

void *simt_dynamic_shared(void);

void simt_copy_async16(void *shared, const void *global, int n_bytes, int line);
void simt_copy_async_commit(int line);
void simt_copy_async_wait(int n, int line);
void simt_copy_async_arrive(uint64_t *barrier, int line);

void simt_barrier_init(uint64_t *barrier, int n_arrivals, int line);
void simt_barrier_init_fence(int line);
void simt_barrier_expect(uint64_t *barrier, int n_bytes, int line);
void simt_barrier_arrive(uint64_t *barrier, int line);
void simt_barrier_wait(uint64_t *barrier, int parity, int line);
void simt_named_barrier(int id, int n_threads, int line);
void simt_fence_async(int line);
void simt_set_registers(int n, bool is_more, int line);

void simt_tma_prefetch(const void *map, int line);
void simt_tma_load(void *shared, const void *map, int rank, const int *at, uint64_t *barrier, int line);
void simt_tma_store(const void *map, const void *shared, int rank, const int *at, int line);
void simt_tma_store_commit(int line);
void simt_tma_store_wait(int n, int line);

uint64_t simt_matrix_descriptor(const void *tile, int leading_bytes, int stride_bytes, int line);
void simt_wgmma_fence(int line);
void simt_wgmma_commit(int line);
void simt_wgmma_wait(int n, int line);
void simt_wgmma_hold(const float *sums, int n, int line);
/* `registers`: of a, or NULL. */
void simt_wgmma(int n_columns, int flags, float *sums, uint64_t a, const uint32_t *registers, uint64_t b, int is_added,
                int line);

#ifdef SIMT_TEXT

typedef struct {
    uint64_t words[16];
} __attribute__((aligned(128))) MoecTensorMap;

#define MOEC_DYNAMIC_SHARED(name) unsigned char *const name = simt_dynamic_shared()

#define moec_copy_async16(shared, global, n_bytes) simt_copy_async16(shared, global, n_bytes, __LINE__)
#define moec_copy_async_commit() simt_copy_async_commit(__LINE__)
#define MOEC_COPY_ASYNC_WAIT(n) simt_copy_async_wait(n, __LINE__)
#define moec_copy_async_arrive(barrier) simt_copy_async_arrive(barrier, __LINE__)

#define moec_barrier_init(barrier, n_arrivals) simt_barrier_init(barrier, n_arrivals, __LINE__)
#define moec_barrier_init_fence() simt_barrier_init_fence(__LINE__)
#define moec_barrier_expect(barrier, n_bytes) simt_barrier_expect(barrier, n_bytes, __LINE__)
#define moec_barrier_arrive(barrier) simt_barrier_arrive(barrier, __LINE__)
#define moec_barrier_wait(barrier, parity) simt_barrier_wait(barrier, parity, __LINE__)
#define moec_named_barrier(id, n_threads) simt_named_barrier(id, n_threads, __LINE__)
#define moec_fence_async() simt_fence_async(__LINE__)
#define MOEC_REGISTERS_DEC(n) simt_set_registers(n, false, __LINE__)
#define MOEC_REGISTERS_INC(n) simt_set_registers(n, true, __LINE__)

#define moec_tma_prefetch(map) simt_tma_prefetch(map, __LINE__)
#define moec_tma_load_2d(shared, map, x, y, barrier)                                                                   \
    simt_tma_load(shared, map, 2, (const int[]){x, y}, barrier, __LINE__)
#define moec_tma_load_3d(shared, map, x, y, z, barrier)                                                                \
    simt_tma_load(shared, map, 3, (const int[]){x, y, z}, barrier, __LINE__)
#define moec_tma_load_4d(shared, map, x, y, z, w, barrier)                                                             \
    simt_tma_load(shared, map, 4, (const int[]){x, y, z, w}, barrier, __LINE__)
#define moec_tma_store_2d(map, shared, x, y) simt_tma_store(map, shared, 2, (const int[]){x, y}, __LINE__)
#define moec_tma_store_3d(map, shared, x, y, z) simt_tma_store(map, shared, 3, (const int[]){x, y, z}, __LINE__)
#define moec_tma_store_commit() simt_tma_store_commit(__LINE__)
#define MOEC_TMA_STORE_WAIT(n) simt_tma_store_wait(n, __LINE__)

/* Where lane l's row of a matrix begins. */
MOEC_DEVICE char *simt_row_of(const void *shared, int l) {
    uint64_t address = (uint64_t)(uintptr_t)MOEC_ALIGNED(shared);
    uint64_t low = __shfl_sync(0xffffffffu, (uint32_t)address, l);
    return (char *)(uintptr_t)((uint64_t)__shfl_sync(0xffffffffu, (uint32_t)(address >> 32), l) << 32 | low);
}

/* Of matrix m, lane l has columns l % 4 * 2 and the next of row l / 4, the start of which lane 8 m + l / 4 knows. */
MOEC_DEVICE void moec_stmatrix4(void *shared, const uint32_t *v) {
    int lane = (int)threadIdx.x % 32;
    for (int m = 0; m < 4; m++)
        *(uint32_t *)(simt_row_of(shared, 8 * m + lane / 4) + lane % 4 * 4) = v[m];
}

/* The same of the matrix's transpose. */
MOEC_DEVICE void moec_stmatrix4_transposed(void *shared, const uint32_t *v) {
    int lane = (int)threadIdx.x % 32;
    for (int m = 0; m < 4; m++) {
        char *first = simt_row_of(shared, 8 * m + lane % 4 * 2),
             *second = simt_row_of(shared, 8 * m + lane % 4 * 2 + 1);
        *(uint16_t *)(first + lane / 4 * 2) = (uint16_t)v[m];
        *(uint16_t *)(second + lane / 4 * 2) = (uint16_t)(v[m] >> 16);
    }
}

#define moec_matrix_descriptor(tile, leading_bytes, stride_bytes)                                                      \
    simt_matrix_descriptor(tile, leading_bytes, stride_bytes, __LINE__)
#define moec_wgmma_fence() simt_wgmma_fence(__LINE__)
#define moec_wgmma_commit() simt_wgmma_commit(__LINE__)
#define MOEC_WGMMA_WAIT(n) simt_wgmma_wait(n, __LINE__)
#define moec_wgmma_hold(sums, n) simt_wgmma_hold(sums, n, __LINE__)

#define SIMT_WGMMA(n, sums, a, b, is) simt_wgmma(n, 0, sums, a, NULL, b, is, __LINE__)
#define SIMT_WGMMA_TA(n, sums, a, b, is) simt_wgmma(n, SIMT_A_TRANSPOSED, sums, a, NULL, b, is, __LINE__)
#define SIMT_WGMMA_TB(n, sums, a, b, is) simt_wgmma(n, SIMT_B_TRANSPOSED, sums, a, NULL, b, is, __LINE__)
#define SIMT_WGMMA_TATB(n, sums, a, b, is)                                                                             \
    simt_wgmma(n, SIMT_A_TRANSPOSED | SIMT_B_TRANSPOSED, sums, a, NULL, b, is, __LINE__)
#define SIMT_WGMMA_RA(n, sums, a, b, is) simt_wgmma(n, SIMT_A_IN_REGISTERS, sums, 0, a, b, is, __LINE__)
#define SIMT_WGMMA_RA_TB(n, sums, a, b, is)                                                                            \
    simt_wgmma(n, SIMT_A_IN_REGISTERS | SIMT_B_TRANSPOSED, sums, 0, a, b, is, __LINE__)

#define moec_wgmma_n8(sums, a, b, is) SIMT_WGMMA(8, sums, a, b, is)
#define moec_wgmma_n8_ta(sums, a, b, is) SIMT_WGMMA_TA(8, sums, a, b, is)
#define moec_wgmma_n8_tb(sums, a, b, is) SIMT_WGMMA_TB(8, sums, a, b, is)
#define moec_wgmma_n8_tatb(sums, a, b, is) SIMT_WGMMA_TATB(8, sums, a, b, is)
#define moec_wgmma_n8_ra(sums, a, b, is) SIMT_WGMMA_RA(8, sums, a, b, is)
#define moec_wgmma_n8_ra_tb(sums, a, b, is) SIMT_WGMMA_RA_TB(8, sums, a, b, is)
#define moec_wgmma_n16(sums, a, b, is) SIMT_WGMMA(16, sums, a, b, is)
#define moec_wgmma_n16_ta(sums, a, b, is) SIMT_WGMMA_TA(16, sums, a, b, is)
#define moec_wgmma_n16_tb(sums, a, b, is) SIMT_WGMMA_TB(16, sums, a, b, is)
#define moec_wgmma_n16_tatb(sums, a, b, is) SIMT_WGMMA_TATB(16, sums, a, b, is)
#define moec_wgmma_n16_ra(sums, a, b, is) SIMT_WGMMA_RA(16, sums, a, b, is)
#define moec_wgmma_n16_ra_tb(sums, a, b, is) SIMT_WGMMA_RA_TB(16, sums, a, b, is)
#define moec_wgmma_n32(sums, a, b, is) SIMT_WGMMA(32, sums, a, b, is)
#define moec_wgmma_n32_ta(sums, a, b, is) SIMT_WGMMA_TA(32, sums, a, b, is)
#define moec_wgmma_n32_tb(sums, a, b, is) SIMT_WGMMA_TB(32, sums, a, b, is)
#define moec_wgmma_n32_tatb(sums, a, b, is) SIMT_WGMMA_TATB(32, sums, a, b, is)
#define moec_wgmma_n32_ra(sums, a, b, is) SIMT_WGMMA_RA(32, sums, a, b, is)
#define moec_wgmma_n32_ra_tb(sums, a, b, is) SIMT_WGMMA_RA_TB(32, sums, a, b, is)
#define moec_wgmma_n64(sums, a, b, is) SIMT_WGMMA(64, sums, a, b, is)
#define moec_wgmma_n64_ta(sums, a, b, is) SIMT_WGMMA_TA(64, sums, a, b, is)
#define moec_wgmma_n64_tb(sums, a, b, is) SIMT_WGMMA_TB(64, sums, a, b, is)
#define moec_wgmma_n64_tatb(sums, a, b, is) SIMT_WGMMA_TATB(64, sums, a, b, is)
#define moec_wgmma_n64_ra(sums, a, b, is) SIMT_WGMMA_RA(64, sums, a, b, is)
#define moec_wgmma_n64_ra_tb(sums, a, b, is) SIMT_WGMMA_RA_TB(64, sums, a, b, is)
#define moec_wgmma_n96(sums, a, b, is) SIMT_WGMMA(96, sums, a, b, is)
#define moec_wgmma_n96_ta(sums, a, b, is) SIMT_WGMMA_TA(96, sums, a, b, is)
#define moec_wgmma_n96_tb(sums, a, b, is) SIMT_WGMMA_TB(96, sums, a, b, is)
#define moec_wgmma_n96_tatb(sums, a, b, is) SIMT_WGMMA_TATB(96, sums, a, b, is)
#define moec_wgmma_n96_ra(sums, a, b, is) SIMT_WGMMA_RA(96, sums, a, b, is)
#define moec_wgmma_n96_ra_tb(sums, a, b, is) SIMT_WGMMA_RA_TB(96, sums, a, b, is)
#define moec_wgmma_n128(sums, a, b, is) SIMT_WGMMA(128, sums, a, b, is)
#define moec_wgmma_n128_ta(sums, a, b, is) SIMT_WGMMA_TA(128, sums, a, b, is)
#define moec_wgmma_n128_tb(sums, a, b, is) SIMT_WGMMA_TB(128, sums, a, b, is)
#define moec_wgmma_n128_tatb(sums, a, b, is) SIMT_WGMMA_TATB(128, sums, a, b, is)
#define moec_wgmma_n128_ra(sums, a, b, is) SIMT_WGMMA_RA(128, sums, a, b, is)
#define moec_wgmma_n128_ra_tb(sums, a, b, is) SIMT_WGMMA_RA_TB(128, sums, a, b, is)
#define moec_wgmma_n160(sums, a, b, is) SIMT_WGMMA(160, sums, a, b, is)
#define moec_wgmma_n160_ta(sums, a, b, is) SIMT_WGMMA_TA(160, sums, a, b, is)
#define moec_wgmma_n160_tb(sums, a, b, is) SIMT_WGMMA_TB(160, sums, a, b, is)
#define moec_wgmma_n160_tatb(sums, a, b, is) SIMT_WGMMA_TATB(160, sums, a, b, is)
#define moec_wgmma_n160_ra(sums, a, b, is) SIMT_WGMMA_RA(160, sums, a, b, is)
#define moec_wgmma_n160_ra_tb(sums, a, b, is) SIMT_WGMMA_RA_TB(160, sums, a, b, is)
#define moec_wgmma_n192(sums, a, b, is) SIMT_WGMMA(192, sums, a, b, is)
#define moec_wgmma_n192_ta(sums, a, b, is) SIMT_WGMMA_TA(192, sums, a, b, is)
#define moec_wgmma_n192_tb(sums, a, b, is) SIMT_WGMMA_TB(192, sums, a, b, is)
#define moec_wgmma_n192_tatb(sums, a, b, is) SIMT_WGMMA_TATB(192, sums, a, b, is)
#define moec_wgmma_n192_ra(sums, a, b, is) SIMT_WGMMA_RA(192, sums, a, b, is)
#define moec_wgmma_n192_ra_tb(sums, a, b, is) SIMT_WGMMA_RA_TB(192, sums, a, b, is)
#define moec_wgmma_n224(sums, a, b, is) SIMT_WGMMA(224, sums, a, b, is)
#define moec_wgmma_n224_ta(sums, a, b, is) SIMT_WGMMA_TA(224, sums, a, b, is)
#define moec_wgmma_n224_tb(sums, a, b, is) SIMT_WGMMA_TB(224, sums, a, b, is)
#define moec_wgmma_n224_tatb(sums, a, b, is) SIMT_WGMMA_TATB(224, sums, a, b, is)
#define moec_wgmma_n224_ra(sums, a, b, is) SIMT_WGMMA_RA(224, sums, a, b, is)
#define moec_wgmma_n224_ra_tb(sums, a, b, is) SIMT_WGMMA_RA_TB(224, sums, a, b, is)
#define moec_wgmma_n256(sums, a, b, is) SIMT_WGMMA(256, sums, a, b, is)
#define moec_wgmma_n256_ta(sums, a, b, is) SIMT_WGMMA_TA(256, sums, a, b, is)
#define moec_wgmma_n256_tb(sums, a, b, is) SIMT_WGMMA_TB(256, sums, a, b, is)
#define moec_wgmma_n256_tatb(sums, a, b, is) SIMT_WGMMA_TATB(256, sums, a, b, is)
#define moec_wgmma_n256_ra(sums, a, b, is) SIMT_WGMMA_RA(256, sums, a, b, is)
#define moec_wgmma_n256_ra_tb(sums, a, b, is) SIMT_WGMMA_RA_TB(256, sums, a, b, is)

#endif
#endif
