/* One function for each thing that the prelude names and that only a GPU has, but for products of warpgroups; what
   each becomes stands in cuda_primitives.test. */
#define PRIMITIVE(name, body)                                                                                           \
    MOEC_KERNEL(128) void name(const MoecTensorMap *map, float *device, int n) {                                        \
        MOEC_SHARED MOEC_ALIGN(1024) unsigned char shared[16384];                                                       \
        MOEC_SHARED uint64_t barrier[1];                                                                                \
        uint32_t v[4] = {1, 2, 3, (uint32_t)n};                                                                         \
        (void)v;                                                                                                        \
        (void)barrier;                                                                                                  \
        (void)shared;                                                                                                   \
        body;                                                                                                           \
    }

PRIMITIVE(bf16x2, device[0] = (float)moec_bf16x2(device[1], device[2]))
PRIMITIVE(ldmatrix, moec_ldmatrix(v, (const uint16_t *)shared, n); device[0] = (float)v[3])
PRIMITIVE(ldmatrix_transposed, moec_ldmatrix_transposed(v, (const uint16_t *)shared, n); device[0] = (float)v[3])
PRIMITIVE(mma, moec_mma(device, v, v))
PRIMITIVE(copy_async16, moec_copy_async16(shared, device, n))
PRIMITIVE(copy_async_commit, moec_copy_async_commit())
PRIMITIVE(copy_async_wait, MOEC_COPY_ASYNC_WAIT(2))
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
PRIMITIVE(copy_async_arrive, moec_copy_async_arrive(barrier))
PRIMITIVE(barrier_init, moec_barrier_init(barrier, n))
PRIMITIVE(barrier_init_fence, moec_barrier_init_fence())
PRIMITIVE(barrier_expect, moec_barrier_expect(barrier, n))
PRIMITIVE(barrier_arrive, moec_barrier_arrive(barrier))
PRIMITIVE(barrier_wait, moec_barrier_wait(barrier, n))
PRIMITIVE(named_barrier, moec_named_barrier(n, 64))
PRIMITIVE(fence_async, moec_fence_async())
PRIMITIVE(registers_dec, MOEC_REGISTERS_DEC(24))
PRIMITIVE(registers_inc, MOEC_REGISTERS_INC(240))
PRIMITIVE(tma_load_2d, moec_tma_load_2d(shared, map, n, n + 1, barrier))
PRIMITIVE(tma_load_3d, moec_tma_load_3d(shared, map, n, n + 1, n + 2, barrier))
PRIMITIVE(tma_store_2d, moec_tma_store_2d(map, shared, n, n + 1))
PRIMITIVE(tma_store_3d, moec_tma_store_3d(map, shared, n, n + 1, n + 2))
PRIMITIVE(tma_store_commit, moec_tma_store_commit())
PRIMITIVE(tma_store_wait, MOEC_TMA_STORE_WAIT(1))
PRIMITIVE(tma_prefetch, moec_tma_prefetch(map))
PRIMITIVE(stmatrix4, moec_stmatrix4(shared, v))
PRIMITIVE(stmatrix4_transposed, moec_stmatrix4_transposed(shared, v))
PRIMITIVE(wgmma_fence, moec_wgmma_fence())
PRIMITIVE(wgmma_commit, moec_wgmma_commit())
PRIMITIVE(wgmma_wait, MOEC_WGMMA_WAIT(1))
#endif
