#include "runtime/gradients.h"

#include <string.h>

static bool is_in_arena(const MoecWeight *weight) {
    return weight->gradient.space == MOEC_SPACE_ARENA;
}

static int64_t elements_of(const MoecWeight *weight) {
    int64_t n = 1;
    for (int i = 0; i < weight->rank; i++)
        n *= weight->dims[i];
    return n;
}

uint64_t gradients_bytes(const MoecPlan *plan, int64_t n_micro_batches) {
    bool is_needed = n_micro_batches > 1;
    for (uint32_t i = 0; i < plan->n_weights && !is_needed; i++)
        is_needed = !is_in_arena(&plan->weights[i]);
    return is_needed ? plan->space_bytes[MOEC_SPACE_GRAD] : 0;
}

bool gradients_are_added(const MoecPlan *plan, int64_t n_micro_batches) {
    bool are = false;
    for (uint32_t i = 0; i < plan->n_weights && n_micro_batches > 1; i++)
        are = are || is_in_arena(&plan->weights[i]);
    return are;
}

static void add(float *restrict sums, const float *restrict terms, int64_t n) {
#pragma omp parallel for simd
    for (int64_t i = 0; i < n; i++)
        sums[i] += terms[i];
}

static void copy(float *restrict to, const float *restrict from, int64_t n) {
#pragma omp parallel for simd
    for (int64_t i = 0; i < n; i++)
        to[i] = from[i];
}

void gradients_add(const MoecPlan *plan, const Memory *memory, int64_t i, int64_t n_micro_batches) {
    for (uint32_t j = 0; j < plan->n_weights && n_micro_batches > 1; j++) {
        const MoecWeight *weight = &plan->weights[j];
        if (!is_in_arena(weight))
            continue;
        float *gradient = memory_at(memory, weight->gradient);
        float *sum = memory_at(memory, (MoecAddress){MOEC_SPACE_GRAD, weight->offset});
        if (i == 0)
            copy(sum, gradient, elements_of(weight));
        else if (i < n_micro_batches - 1)
            add(sum, gradient, elements_of(weight));
        else
            add(gradient, sum, elements_of(weight));
    }
}

bool gradients_copy(const MoecPlan *plan, const Memory *memory, Passage *passage, char *to, Status *status) {
    for (uint32_t i = 0; i < plan->n_weights && !status->failed; i++) {
        const MoecWeight *weight = &plan->weights[i];
        const void *from = memory_at(memory, weight->gradient);
        uint64_t n_bytes = (uint64_t)elements_of(weight) * sizeof(float);
        if (passage_get(passage, from, n_bytes, weight->name, status))
            memcpy(to + weight->offset, from, (size_t)n_bytes);
        passage_drop(passage, from, n_bytes);
    }
    return !status->failed;
}
