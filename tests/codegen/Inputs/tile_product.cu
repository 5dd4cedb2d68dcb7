/* y = a b^T in bf16, of which each block has 128 x 128: a warpgroup brings tiles through three stages, two multiply them
   and store 64 rows each. Maps: a and b by 128 x 64, y by 64 x 64, all with a swizzle of 128 bytes. */
MOEC_KERNEL(384) void tile_product(const MoecTensorMap *__restrict__ maps) {
    MOEC_DYNAMIC_SHARED(tiles);
    MOEC_SHARED uint64_t full[3], empty[3];
    int thread = (int)threadIdx.x, group = thread / 128;
    int row = (int)blockIdx.x / 2 * 128, column = (int)blockIdx.x % 2 * 128;
    if (thread == 0) {
        for (int i = 0; i < 3; i++)
            moec_tma_prefetch(&maps[i]);
        for (int i = 0; i < 3; i++) {
            moec_barrier_init(&full[i], 1);
            moec_barrier_init(&empty[i], 2);
        }
        moec_barrier_init_fence();
    }
    __syncthreads();
    if (group == 2) {
        MOEC_REGISTERS_DEC(24);
        for (int step = 0; step < 5 && thread == 256; step++) {
            unsigned char *tile = tiles + step % 3 * 32768;
            moec_barrier_wait(&empty[step % 3], 1 - step / 3 % 2);
            moec_barrier_expect(&full[step % 3], 32768);
            moec_tma_load_2d(tile, &maps[0], step * 64, row, &full[step % 3]);
            moec_tma_load_2d(tile + 16384, &maps[1], step * 64, column, &full[step % 3]);
        }
        return;
    }
    MOEC_REGISTERS_INC(240);
    float sums[64];
    for (int step = 0; step < 5; step++) {
        unsigned char *tile = tiles + step % 3 * 32768;
        moec_barrier_wait(&full[step % 3], step / 3 % 2);
        moec_wgmma_fence();
        #pragma unroll
        for (int k = 0; k < 4; k++) {
            uint64_t a = moec_matrix_descriptor(tile + group * 8192 + k * 32, 0, 1024);
            uint64_t b = moec_matrix_descriptor(tile + 16384 + k * 32, 0, 1024);
            moec_wgmma_n128(sums, a, b, step + k > 0);
        }
        moec_wgmma_commit();
        MOEC_WGMMA_WAIT(0);
        moec_wgmma_hold(sums, 64);
        if (thread % 128 == 0)
            moec_barrier_arrive(&empty[step % 3]);
    }
    unsigned char *stored = tiles + 98304 + group * 8192;
    int lane = thread % 32, own_row = thread / 32 % 4 * 16 + lane % 16;
    #pragma unroll
    for (int half = 0; half < 2; half++) {
        if (thread % 128 == 0)
            MOEC_TMA_STORE_WAIT(0);
        moec_named_barrier(1 + group, 128);
        #pragma unroll
        for (int i = 0; i < 4; i++) {
            const float *from = sums + half * 32 + i * 8;
            uint32_t v[4] = {moec_bf16x2(from[0], from[1]), moec_bf16x2(from[2], from[3]),
                             moec_bf16x2(from[4], from[5]), moec_bf16x2(from[6], from[7])};
            int chunk = i * 2 + lane / 16;
            moec_stmatrix4(stored + own_row * 128 + (chunk ^ own_row % 8) * 16, v);
        }
        moec_fence_async();
        moec_named_barrier(1 + group, 128);
        if (thread % 128 == 0) {
            moec_tma_store_2d(&maps[2], stored, column + half * 64, row + group * 64);
            moec_tma_store_commit();
        }
    }
    if (thread % 128 == 0)
        MOEC_TMA_STORE_WAIT(0);
}
