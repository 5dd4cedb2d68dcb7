#include "runtime/packed.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "runtime/gemm.h"
#include "runtime/gemm_blas.h"
#include "runtime/gradients.h"

enum { HUGE_PAGE = 2 << 20, ALIGNMENT = 64 };

/* Of the available memory the part, one of so many, that is left for what products pack into, saves and the system. */
enum { PARTS = 8 };

static MoecGemmPacked shape_of(const MoecPacked *packed, const void *data) {
    return (MoecGemmPacked){.precision = (MoecGemmPrecision)packed->precision,
                            .n_groups = packed->n_groups,
                            .n_cols = packed->n_cols,
                            .k = packed->k,
                            .data = data,
                            .stride = packed->stride,
                            .k_stride = packed->k_stride,
                            .group_stride = packed->group_stride};
}

/* In training one packing a step is that which makes the copy. */
static bool pays(const MoecPacked *packed, PackedUse use, int64_t n_micro_batches) {
    double n_spared = (double)packed->n_trained - 1.0 / (double)n_micro_batches;
    switch (use) {
    case PACKED_FOR_TRAINING:
        return n_spared > 0.0 && n_spared >= packed->least_spared;
    case PACKED_FOR_EVALUATION:
        return packed->n_evaluated > 0;
    case PACKED_FOR_GENERATION:
        return packed->n_generated > 0;
    default:
        return false;
    }
}

/* Of the plan's limit, what the gradients of these micro-batches leave, where those of the train clause's have no space
   of their own. */
static uint64_t limit_of(const MoecPlan *plan, PackedUse use, int64_t n_micro_batches) {
    int64_t n_counted = plan->micro_batch > 0 ? plan->train.global_batch / plan->micro_batch : 1;
    uint64_t counted = gradients_bytes(plan, n_counted);
    uint64_t needed = use == PACKED_FOR_TRAINING ? gradients_bytes(plan, n_micro_batches) : 0;
    uint64_t more = needed > counted ? needed - counted : 0;
    return plan->packed_limit > more ? plan->packed_limit - more : 0;
}

/* Lays out the copies that pay, in the order of the plan; where each is goes to `offsets`, or -1. Those of a processor
   whose kernels need more than the plan has counted are not made. */
static uint64_t lay_out(const MoecPlan *plan, PackedUse use, int64_t n_micro_batches, int64_t *offsets) {
    uint64_t n_bytes = 0, n_counted = 0, limit = limit_of(plan, use, n_micro_batches);
    for (uint32_t i = 0; i < plan->n_packed; i++) {
        const MoecPacked *packed = &plan->packed[i];
        MoecGemmPacked shape = shape_of(packed, NULL);
        uint64_t n = (moec_gemm_packed_bytes(&shape) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        bool is_made =
            pays(packed, use, n_micro_batches) && n <= packed->n_bytes && n_counted + packed->n_bytes <= limit;
        if (offsets)
            offsets[i] = is_made ? (int64_t)n_bytes : -1;
        n_counted += is_made ? packed->n_bytes : 0;
        n_bytes += is_made ? n : 0;
    }
    return n_bytes;
}

uint64_t packed_count_bytes(const MoecPlan *plan, PackedUse use, int64_t n_micro_batches) {
    return gemm_is_on_blas() ? 0 : lay_out(plan, use, n_micro_batches, NULL);
}

bool packed_has_room(uint64_t n_bytes, uint64_t available) {
    return n_bytes <= available - available / PARTS;
}

bool packed_open(Packed *packed, const MoecPlan *plan, PackedUse use, int64_t n_micro_batches, Status *status) {
    *packed = (Packed){.plan = plan, .copies = calloc((size_t)plan->n_packed + 1, sizeof *packed->copies)};
    int64_t *offsets = calloc((size_t)plan->n_packed + 1, sizeof *offsets);
    uint64_t n_bytes = packed_count_bytes(plan, use, n_micro_batches);
    if (!packed->copies || !offsets) {
        free(offsets);
        return status_fail_errno(status, "packed weights");
    }
    if (n_bytes > 0 && packed_has_room(n_bytes, memory_available()))
        packed->block = aligned_alloc(HUGE_PAGE, (n_bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE);
    if (packed->block) {
        madvise(packed->block, n_bytes, MADV_HUGEPAGE); /* only faster where it works */
        packed->n_bytes = n_bytes;
        lay_out(plan, use, n_micro_batches, offsets);
        for (uint32_t i = 0; i < plan->n_packed; i++)
            packed->copies[i] = offsets[i] < 0 ? NULL : packed->block + offsets[i];
    }
    free(offsets);
    return true;
}

void packed_close(Packed *packed) {
    free(packed->copies);
    free(packed->block);
    *packed = (Packed){0};
}

void packed_make(const Packed *packed, const Memory *memory) {
    for (uint32_t i = 0; packed->block && i < packed->plan->n_packed; i++) {
        const MoecPacked *copy = &packed->plan->packed[i];
        MoecGemmPacked shape = shape_of(copy, memory_at(memory, copy->from));
        if (packed->copies[i])
            moec_gemm_pack(&shape, packed->copies[i]);
    }
}
