#include "tests/fake_cuda/fake_names.h"

#include <string.h>

/* accumulate(y, x): y += x */
static CudaResult accumulate(void *const *arguments) {
    *(float *)arguments[0] += *(const float *)arguments[1];
    return CUDA_RESULT_SUCCESS;
}

/* twice(y, ..): y *= 2 */
static CudaResult twice(void *const *arguments) {
    *(float *)arguments[0] *= 2;
    return CUDA_RESULT_SUCCESS;
}

/* find_nan_f32(x, job), find_nan_bf16(x, job): as the runtime's. */
static CudaResult find_nan(const void *x, uint64_t *job, bool is_bf16) {
    for (uint64_t i = 0; i < job[0] && job[1] == UINT64_MAX; i++) {
        uint32_t bits = is_bf16 ? (uint32_t)((const uint16_t *)x)[i] << 16 : ((const uint32_t *)x)[i];
        if ((bits & 0x7fffffff) > 0x7f800000)
            job[1] = i;
    }
    return CUDA_RESULT_SUCCESS;
}

static CudaResult find_nan_f32(void *const *arguments) {
    return find_nan(arguments[0], arguments[1], false);
}

static CudaResult find_nan_bf16(void *const *arguments) {
    return find_nan(arguments[0], arguments[1], true);
}

/* What the device does not survive. */
static CudaResult fault(void *const *arguments) {
    (void)arguments;
    return FAKE_FAULT;
}

static const FakeName names[] = {{"accumulate", accumulate, 2},
                                 {"twice", twice, 2},
                                 {"find_nan_f32", find_nan_f32, 2},
                                 {"find_nan_bf16", find_nan_bf16, 2},
                                 {"fault", fault, 0}};

static const FakeName *find(const FakeName *all, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++) {
        if (strcmp(all[i].name, name) == 0)
            return &all[i];
    }
    return NULL;
}

const FakeName *fake_name_find(const char *name) {
    const FakeName *found = find(fake_cuda()->names, fake_cuda()->n_names, name);
    return found ? found : find(names, sizeof names / sizeof *names, name);
}
