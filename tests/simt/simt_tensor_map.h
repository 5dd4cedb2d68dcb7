/* Tensor maps of the simulator: what cuTensorMapEncodeTiled of the software GPU writes, and TMA of the simulator reads.

   In: what the driver is given. Out: 128 bytes, or what the driver would not take. */
#ifndef MOEC_TESTS_SIMT_SIMT_TENSOR_MAP_H
#define MOEC_TESTS_SIMT_SIMT_TENSOR_MAP_H

#include <stdint.h>

enum { SIMT_MAP_RANKS = 5, SIMT_MAP_BYTES = 128, SIMT_MAP_MARK = 0x4d414d54 };

/* Index 0 is the innermost one, which has no stride. */
typedef struct {
    uint32_t mark;
    uint8_t rank, element_bytes;
    uint16_t swizzle_bytes; /* 0: none */
    uint64_t address;
    uint64_t extents[SIMT_MAP_RANKS], strides[SIMT_MAP_RANKS - 1]; /* of elements, of bytes */
    uint16_t box[SIMT_MAP_RANKS];
} SimtTensorMap;

/* As the driver has them: values of CUtensorMapDataType and so on. */
typedef struct {
    unsigned type, rank;
    const void *address;
    const uint64_t *extents, *strides;
    const uint32_t *box, *element_strides;
    unsigned interleave, swizzle, promotion, fill;
} SimtTensor;

/* NULL, or what is wrong with it. */
const char *simt_tensor_map_encode(void *map, const SimtTensor *tensor);

#endif
