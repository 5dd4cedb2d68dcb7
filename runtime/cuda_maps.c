#include "runtime/cuda_maps.h"

static CudaEnum swizzle_of(uint32_t n_bytes) {
    return n_bytes == 128  ? CUDA_MAP_SWIZZLED_128
           : n_bytes == 64 ? CUDA_MAP_SWIZZLED_64
           : n_bytes == 32 ? CUDA_MAP_SWIZZLED_32
                           : CUDA_MAP_NOT_SWIZZLED;
}

/* The driver takes no stride of the innermost index: its elements follow each other. */
bool cuda_map_encode(const CudaDriver *driver, const MoecCudaMap *map, CUdeviceptr at, const char *kernel,
                     CudaTensorMap *encoded, Status *status) {
    const CudaPurpose purpose = {.action = "to describe an argument of", .kernel = kernel};
    unsigned every[MOEC_MAP_RANK], box[MOEC_MAP_RANK];
    for (uint32_t i = 0; i < map->rank; i++) {
        every[i] = 1;
        box[i] = map->box[i];
    }
    void *address = (void *)(uintptr_t)(at + map->offset); /* of the device */
    return CUDA_CALL(driver, &purpose, status, cuTensorMapEncodeTiled, encoded,
                     map->dtype == MOEC_DTYPE_BF16 ? CUDA_MAP_BF16 : CUDA_MAP_F32, map->rank, address, map->extents,
                     map->strides + 1, box, every, CUDA_MAP_NOT_INTERLEAVED, swizzle_of(map->swizzle),
                     CUDA_MAP_FETCHES_256, CUDA_MAP_ZEROS_BEYOND);
}
