/* libcublasLt: products by columns, as it counts them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/cuda_api.h"
#include "tests/fake_cuda/fake_cuda.h"
#include "tests/fake_cuda/fake_stream.h"

#define PROTOTYPE(name, symbol, result, parameters) result symbol parameters;
CUBLAS_FUNCTIONS(PROTOTYPE)

enum { NOT_INITIALIZED = 1, INVALID = 7, INJECTED = 14, NOT_SUPPORTED = 15, WORKSPACE_BYTES = 1024 };

struct CublasProduct {
    bool is_transposed[2]; /* A, B */
};

/* By columns: element (i, j) is at i + j * stride. */
struct CublasLayout {
    CublasEnum type;
    uint64_t n_rows, n_columns;
    int64_t stride;
};

struct CublasPreference {
    uint64_t n_workspace_bytes;
    uint32_t alignment;
    bool has_reductions;
};

size_t cublasLtGetVersion(void) {
    return 130100;
}

const char *cublasLtGetStatusName(CublasResult result) {
    return result == INVALID         ? "CUBLAS_STATUS_INVALID_VALUE"
           : result == NOT_SUPPORTED ? "CUBLAS_STATUS_NOT_SUPPORTED"
                                     : "CUBLAS_STATUS_INTERNAL_ERROR";
}

const char *cublasLtGetStatusString(CublasResult result) {
    return result == INJECTED ? "an internal operation failed" : "it cannot be done";
}

CublasResult cublasLtCreate(cublasLtHandle_t *handle) {
    if (fake_fails(__func__))
        return INJECTED;
    if (fake_cuda()->alive[FAKE_CONTEXT] == 0)
        return NOT_INITIALIZED;
    *handle = malloc(1);
    fake_cuda()->alive[FAKE_HANDLE]++;
    return CUBLAS_RESULT_SUCCESS;
}

CublasResult cublasLtDestroy(cublasLtHandle_t handle) {
    free(handle);
    fake_cuda()->alive[FAKE_HANDLE]--;
    return fake_fails(__func__) ? INJECTED : CUBLAS_RESULT_SUCCESS;
}

/* ---- Descriptions ------------------------------------------------------------------------------------------------ */

static CublasResult end(void *description, const char *call) {
    free(description);
    fake_cuda()->alive[FAKE_DESCRIPTION]--;
    return fake_fails(call) ? INJECTED : CUBLAS_RESULT_SUCCESS;
}

CublasResult cublasLtMatmulDescCreate(CublasProduct *product, CublasEnum sum, CublasEnum scale) {
    if (fake_fails(__func__))
        return INJECTED;
    if (sum != CUBLAS_SUM_F32 || scale != CUBLAS_F32)
        return INVALID;
    *product = calloc(1, sizeof **product);
    fake_cuda()->alive[FAKE_DESCRIPTION]++;
    return CUBLAS_RESULT_SUCCESS;
}

CublasResult cublasLtMatmulDescDestroy(CublasProduct product) {
    return end(product, __func__);
}

CublasResult cublasLtMatmulDescSetAttribute(CublasProduct product, CublasEnum attribute, const void *value,
                                            size_t n_bytes) {
    if (fake_fails(__func__))
        return INJECTED;
    int32_t transposition;
    if (n_bytes != sizeof transposition ||
        (attribute != CUBLAS_PRODUCT_TRANSPOSES_A && attribute != CUBLAS_PRODUCT_TRANSPOSES_B))
        return INVALID;
    memcpy(&transposition, value, sizeof transposition);
    product->is_transposed[attribute - CUBLAS_PRODUCT_TRANSPOSES_A] = transposition == CUBLAS_TRANSPOSED;
    return CUBLAS_RESULT_SUCCESS;
}

CublasResult cublasLtMatrixLayoutCreate(CublasLayout *layout, CublasEnum type, uint64_t n_rows, uint64_t n_columns,
                                        int64_t stride) {
    if (fake_fails(__func__))
        return INJECTED;
    if (stride < (int64_t)n_rows)
        return INVALID;
    *layout = malloc(sizeof **layout);
    **layout = (struct CublasLayout){type, n_rows, n_columns, stride};
    fake_cuda()->alive[FAKE_DESCRIPTION]++;
    return CUBLAS_RESULT_SUCCESS;
}

CublasResult cublasLtMatrixLayoutDestroy(CublasLayout layout) {
    return end(layout, __func__);
}

CublasResult cublasLtMatmulPreferenceCreate(CublasPreference *preference) {
    if (fake_fails(__func__))
        return INJECTED;
    *preference = calloc(1, sizeof **preference);
    (*preference)->has_reductions = true;
    fake_cuda()->alive[FAKE_DESCRIPTION]++;
    return CUBLAS_RESULT_SUCCESS;
}

CublasResult cublasLtMatmulPreferenceDestroy(CublasPreference preference) {
    return end(preference, __func__);
}

CublasResult cublasLtMatmulPreferenceSetAttribute(CublasPreference preference, CublasEnum attribute, const void *value,
                                                  size_t n_bytes) {
    uint32_t number = 0;
    if (fake_fails(__func__))
        return INJECTED;
    if (n_bytes != (attribute == CUBLAS_PREFERS_WORKSPACE_BYTES ? sizeof preference->n_workspace_bytes : sizeof number))
        return INVALID;
    if (attribute == CUBLAS_PREFERS_WORKSPACE_BYTES)
        memcpy(&preference->n_workspace_bytes, value, n_bytes);
    else
        memcpy(&number, value, n_bytes);
    if (attribute == CUBLAS_PREFERS_REDUCTIONS)
        preference->has_reductions = number != CUBLAS_REDUCES_IN_ORDER;
    else if (attribute != CUBLAS_PREFERS_WORKSPACE_BYTES)
        preference->alignment = number;
    return CUBLAS_RESULT_SUCCESS;
}

/* ---- Products ---------------------------------------------------------------------------------------------------- */

/* Kernel i needs i times WORKSPACE_BYTES. */
CublasResult cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, CublasProduct product, CublasLayout a,
                                            CublasLayout b, CublasLayout c, CublasLayout d, CublasPreference preference,
                                            int n_wanted, CublasCandidate *candidates, int *n_found) {
    (void)handle, (void)product, (void)a, (void)b;
    if (fake_fails(__func__))
        return INJECTED;
    if (c != d || preference->has_reductions || preference->alignment == 0)
        return INVALID;
    *n_found = 0;
    for (int i = 0; i < FAKE_CANDIDATES && i < n_wanted; i++) {
        size_t n_bytes = (size_t)i * WORKSPACE_BYTES;
        bool is_usable = fake_cuda()->microseconds[i] >= 0 && n_bytes <= preference->n_workspace_bytes;
        candidates[(*n_found)++] = (CublasCandidate){.algorithm = {{(uint64_t)i}},
                                                     .n_workspace_bytes = n_bytes,
                                                     .state = is_usable ? CUBLAS_RESULT_SUCCESS : NOT_SUPPORTED};
    }
    return CUBLAS_RESULT_SUCCESS;
}

typedef struct {
    struct CublasLayout a_layout, b_layout, d_layout;
    bool a_is_transposed, b_is_transposed;
    const void *a, *b, *c;
    void *d;
    float beta;
    int kernel;
} Work;

_Static_assert(sizeof(Work) <= FAKE_TASK_BYTES, "a product fits a task");

static float load(const void *matrix, const struct CublasLayout *layout, uint64_t row, uint64_t column) {
    uint64_t i = row + column * (uint64_t)layout->stride;
    if (layout->type == CUBLAS_F32)
        return ((const float *)matrix)[i];
    uint32_t bits = (uint32_t)((const uint16_t *)matrix)[i] << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Rounds to the nearest, even ones of two; NaN stays one. */
static void store(void *matrix, const struct CublasLayout *layout, uint64_t row, uint64_t column, float value) {
    uint64_t i = row + column * (uint64_t)layout->stride;
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (layout->type == CUBLAS_F32)
        ((float *)matrix)[i] = value;
    else
        ((uint16_t *)matrix)[i] = value != value ? 0x7fff : (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static void multiply(const void *data) {
    const Work *work = data;
    uint64_t n_k = work->a_is_transposed ? work->a_layout.n_rows : work->a_layout.n_columns;
    usleep((useconds_t)fake_cuda()->microseconds[work->kernel]);
    fake_cuda()->n_products++;
    fake_cuda()->kernel = work->kernel;
    for (uint64_t j = 0; j < work->d_layout.n_columns; j++) {
        for (uint64_t i = 0; i < work->d_layout.n_rows; i++) {
            float sum = work->beta == 0 ? 0 : work->beta * load(work->c, &work->d_layout, i, j);
            for (uint64_t k = 0; k < n_k; k++)
                sum += (work->a_is_transposed ? load(work->a, &work->a_layout, k, i)
                                              : load(work->a, &work->a_layout, i, k)) *
                       (work->b_is_transposed ? load(work->b, &work->b_layout, j, k)
                                              : load(work->b, &work->b_layout, k, j));
            store(work->d, &work->d_layout, i, j, sum);
        }
    }
}

CublasResult cublasLtMatmul(cublasLtHandle_t handle, CublasProduct product, const void *alpha, const void *a,
                            CublasLayout a_layout, const void *b, CublasLayout b_layout, const void *beta,
                            const void *c, CublasLayout c_layout, void *d, CublasLayout d_layout,
                            const CublasAlgorithm *algorithm, void *workspace, size_t n_workspace_bytes,
                            CUstream stream) {
    if (fake_fails(__func__))
        return INJECTED;
    uint64_t a_rows = product->is_transposed[0] ? a_layout->n_columns : a_layout->n_rows;
    uint64_t a_k = product->is_transposed[0] ? a_layout->n_rows : a_layout->n_columns;
    uint64_t b_columns = product->is_transposed[1] ? b_layout->n_rows : b_layout->n_columns;
    uint64_t b_k = product->is_transposed[1] ? b_layout->n_columns : b_layout->n_rows;
    if (!handle || *(const float *)alpha != 1 || c_layout != d_layout || a_k != b_k || a_rows != d_layout->n_rows ||
        b_columns != d_layout->n_columns || n_workspace_bytes < algorithm->data[0] * WORKSPACE_BYTES ||
        (n_workspace_bytes > 0 && !workspace))
        return INVALID;
    const Work work = {.a_layout = *a_layout,
                       .b_layout = *b_layout,
                       .d_layout = *d_layout,
                       .a_is_transposed = product->is_transposed[0],
                       .b_is_transposed = product->is_transposed[1],
                       .a = a,
                       .b = b,
                       .c = c,
                       .d = d,
                       .beta = *(const float *)beta,
                       .kernel = (int)algorithm->data[0]};
    return fake_stream_task(stream, multiply, &work, sizeof work) == CUDA_RESULT_SUCCESS ? CUBLAS_RESULT_SUCCESS
                                                                                         : INJECTED;
}
