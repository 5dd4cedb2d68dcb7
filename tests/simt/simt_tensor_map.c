/* What cuda.h says of cuTensorMapEncodeTiled, for maps without interleaving whose every element is taken. */
#include "tests/simt/simt_tensor_map.h"

#include <stddef.h>
#include <string.h>

_Static_assert(sizeof(SimtTensorMap) <= SIMT_MAP_BYTES, "a map has room for it");

enum { MOST_BOX = 256, ALIGNMENT = 16, MOST_PROMOTION = 3 };

/* By CUtensorMapDataType: integers, f16, f32, f64, bf16. */
static const uint8_t element_bytes[] = {1, 2, 4, 4, 8, 8, 2, 4, 8, 2};
/* By CUtensorMapSwizzle. */
static const uint16_t swizzle_bytes[] = {0, 32, 64, 128};

static const char *wrong_index(const SimtTensor *tensor, unsigned i) {
    if (tensor->extents[i] == 0 || tensor->extents[i] > (uint64_t)1 << 32)
        return "an extent is 0 or above 2^32";
    if (tensor->box[i] == 0 || tensor->box[i] > MOST_BOX)
        return "an extent of the box is 0 or above 256";
    if (tensor->element_strides[i] != 1)
        return "a stride of elements is not 1";
    if (i + 1 == tensor->rank)
        return NULL;
    if (tensor->strides[i] % ALIGNMENT != 0 || tensor->strides[i] >= (uint64_t)1 << 40)
        return "a stride is no multiple of 16 bytes, or 2^40 or more";
    return NULL;
}

static const char *wrong_box(const SimtTensor *tensor) {
    uint32_t n_bytes = tensor->box[0] * element_bytes[tensor->type];
    if (n_bytes % ALIGNMENT != 0)
        return "a row of the box is no multiple of 16 bytes";
    if (tensor->swizzle > 0 && n_bytes > swizzle_bytes[tensor->swizzle])
        return "a row of the box is longer than what is swizzled";
    return NULL;
}

static const char *what_is_wrong(const void *map, const SimtTensor *tensor) {
    if ((uintptr_t)map % 64 != 0)
        return "the map's address is no multiple of 64";
    if (tensor->type >= sizeof element_bytes)
        return "there is no such type";
    if (tensor->rank == 0 || tensor->rank > SIMT_MAP_RANKS)
        return "the rank is not 1 to 5";
    if (!tensor->address || (uintptr_t)tensor->address % ALIGNMENT != 0)
        return "the tensor's address is no multiple of 16";
    if (tensor->interleave != 0 || tensor->fill != 0 || tensor->promotion > MOST_PROMOTION)
        return "it is interleaved, filled with NaN, or has no such promotion";
    if (tensor->swizzle >= sizeof swizzle_bytes / sizeof *swizzle_bytes)
        return "there is no such swizzle";
    const char *wrong = NULL;
    for (unsigned i = 0; i < tensor->rank && !wrong; i++)
        wrong = wrong_index(tensor, i);
    return wrong ? wrong : wrong_box(tensor);
}

const char *simt_tensor_map_encode(void *map, const SimtTensor *tensor) {
    const char *wrong = what_is_wrong(map, tensor);
    if (wrong)
        return wrong;
    SimtTensorMap encoded = {.mark = SIMT_MAP_MARK,
                             .rank = (uint8_t)tensor->rank,
                             .element_bytes = element_bytes[tensor->type],
                             .swizzle_bytes = swizzle_bytes[tensor->swizzle],
                             .address = (uintptr_t)tensor->address};
    for (unsigned i = 0; i < tensor->rank; i++) {
        encoded.extents[i] = tensor->extents[i];
        encoded.box[i] = (uint16_t)tensor->box[i];
        if (i + 1 < tensor->rank)
            encoded.strides[i] = tensor->strides[i];
    }
    memset(map, 0, SIMT_MAP_BYTES);
    memcpy(map, &encoded, sizeof encoded);
    return NULL;
}
