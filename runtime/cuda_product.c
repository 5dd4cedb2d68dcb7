#include "runtime/cuda_product.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/meter.h"

enum { CANDIDATES = 8, WARM_UPS = 2, RUNS = 5, TEXT_BYTES = 256 };

/* cuBLASLt counts by columns: to it, the result is [cols, rows], and so our rhs is its first operand, A, and our lhs
   its second, B. */

/* ---- Descriptions ------------------------------------------------------------------------------------------------ */

static CublasEnum type_of(MoecDtype dtype) {
    assert(dtype == MOEC_DTYPE_F32 || dtype == MOEC_DTYPE_BF16);
    return dtype == MOEC_DTYPE_BF16 ? CUBLAS_BF16 : CUBLAS_F32;
}

/* "product 16384 x 4096 x 14336 of bf16", for errors and keys. */
static const char *describe(char text[TEXT_BYTES], const CudaProductShape *shape) {
    snprintf(text, TEXT_BYTES, "product %" PRId64 " x %" PRId64 " x %" PRId64 " of %s", shape->n_rows, shape->n_cols,
             shape->k, shape->operand_dtype == MOEC_DTYPE_BF16 ? "bf16" : "f32");
    return text;
}

/* As it lies in memory: lines over k if k_stride is 1, else over the other side. A matrix of one line may have any
   stride; cuBLASLt wants one that holds the line. */
static bool make_layout(const CudaProducts *products, const CudaProductOperand *operand, int64_t n, int64_t k,
                        MoecDtype dtype, const CudaPurpose *purpose, CublasLayout *layout, Status *status) {
    bool lines_are_k = operand->k_stride == 1;
    int64_t length = lines_are_k ? k : n, n_lines = lines_are_k ? n : k;
    int64_t stride = lines_are_k ? operand->stride : operand->k_stride;
    assert(lines_are_k || operand->stride == 1);
    return CUBLAS_CALL(products->cublas, purpose, status, cublasLtMatrixLayoutCreate, layout, type_of(dtype),
                       (uint64_t)length, (uint64_t)n_lines, stride > length ? stride : length);
}

static bool set_transposition(const CudaProduct *product, const CudaProducts *products, CublasEnum attribute,
                              bool is_transposed, const CudaPurpose *purpose, Status *status) {
    int32_t value = is_transposed ? CUBLAS_TRANSPOSED : CUBLAS_AS_IS;
    return CUBLAS_CALL(products->cublas, purpose, status, cublasLtMatmulDescSetAttribute, product->description,
                       attribute, &value, sizeof value);
}

static bool make_descriptions(CudaProduct *product, const CudaProducts *products, const CudaPurpose *purpose,
                              Status *status) {
    const CudaProductShape *shape = &product->shape;
    const CudaProductOperand out = {.stride = shape->out_stride, .k_stride = 1};
    /* A is [cols, k], so lines over k are its transpose; B is [k, rows], which they are. */
    return CUBLAS_CALL(products->cublas, purpose, status, cublasLtMatmulDescCreate, &product->description,
                       CUBLAS_SUM_F32, CUBLAS_F32) &&
           set_transposition(product, products, CUBLAS_PRODUCT_TRANSPOSES_A, shape->rhs.k_stride == 1, purpose,
                             status) &&
           set_transposition(product, products, CUBLAS_PRODUCT_TRANSPOSES_B, shape->lhs.k_stride != 1, purpose,
                             status) &&
           make_layout(products, &shape->lhs, shape->n_rows, shape->k, shape->operand_dtype, purpose, &product->lhs,
                       status) &&
           make_layout(products, &shape->rhs, shape->n_cols, shape->k, shape->operand_dtype, purpose, &product->rhs,
                       status) &&
           make_layout(products, &out, shape->n_rows, shape->n_cols, shape->result_dtype, purpose, &product->out,
                       status);
}

/* ---- What cuBLASLt proposes -------------------------------------------------------------------------------------- */

static bool prefer(const CudaProducts *products, CublasPreference preference, CublasEnum attribute, const void *value,
                   size_t n_bytes, const CudaPurpose *purpose, Status *status) {
    return CUBLAS_CALL(products->cublas, purpose, status, cublasLtMatmulPreferenceSetAttribute, preference, attribute,
                       value, n_bytes);
}

/* No sum is cut into parts that are added later: its order does not depend on how busy the device is. */
static bool set_preference(const CudaProduct *product, const CudaProducts *products, CublasPreference preference,
                           const CudaPurpose *purpose, Status *status) {
    static const CublasEnum operands[] = {CUBLAS_PREFERS_ALIGNMENT_A, CUBLAS_PREFERS_ALIGNMENT_B,
                                          CUBLAS_PREFERS_ALIGNMENT_C, CUBLAS_PREFERS_ALIGNMENT_D};
    const uint64_t n_workspace_bytes = products->n_workspace_bytes;
    const uint32_t reductions = CUBLAS_REDUCES_IN_ORDER, alignment = product->shape.alignment;
    if (!prefer(products, preference, CUBLAS_PREFERS_WORKSPACE_BYTES, &n_workspace_bytes, sizeof n_workspace_bytes,
                purpose, status) ||
        !prefer(products, preference, CUBLAS_PREFERS_REDUCTIONS, &reductions, sizeof reductions, purpose, status))
        return false;
    for (size_t i = 0; i < sizeof operands / sizeof *operands; i++) {
        if (!prefer(products, preference, operands[i], &alignment, sizeof alignment, purpose, status))
            return false;
    }
    return true;
}

/* The candidates that can be used, the one that is thought best first. */
static bool propose(const CudaProduct *product, const CudaProducts *products, const CudaPurpose *purpose,
                    CublasCandidate candidates[CANDIDATES], int *n, Status *status) {
    const Cublas *cublas = products->cublas;
    CublasPreference preference = NULL;
    int n_found = 0;
    if (!CUBLAS_CALL(cublas, purpose, status, cublasLtMatmulPreferenceCreate, &preference))
        return false;
    if (set_preference(product, products, preference, purpose, status))
        CUBLAS_CALL(cublas, purpose, status, cublasLtMatmulAlgoGetHeuristic, cublas->handle, product->description,
                    product->rhs, product->lhs, product->out, product->out, preference, CANDIDATES, candidates,
                    &n_found);
    CUBLAS_CALL(cublas, purpose, status, cublasLtMatmulPreferenceDestroy, preference);
    *n = 0;
    for (int i = 0; i < n_found; i++) {
        if (candidates[i].state == CUBLAS_RESULT_SUCCESS)
            candidates[(*n)++] = candidates[i];
    }
    if (!status->failed && *n == 0)
        status_fail(status, STATUS_SYSTEM, "cuBLASLt has no kernel for %s; --matmul own multiplies without it",
                    purpose->value);
    return !status->failed;
}

/* ---- Measuring --------------------------------------------------------------------------------------------------- */

static void choose(CudaProduct *product, const CublasCandidate *candidate) {
    product->algorithm = candidate->algorithm;
    product->n_workspace_bytes = candidate->n_workspace_bytes;
}

/* The least seconds of a few runs of what is chosen. */
static bool measure(const CudaProduct *product, const CudaProducts *products, const CudaProductArgs *args,
                    const CudaPurpose *purpose, double *seconds, Status *status) {
    *seconds = INFINITY;
    for (int run = 0; run < WARM_UPS + RUNS; run++) {
        double start = meter_clock();
        if (!cuda_product_launch(product, products, args, purpose, status) ||
            !cuda_device_wait(products->device, products->device->work, purpose, status))
            return false;
        if (run >= WARM_UPS)
            *seconds = fmin(*seconds, meter_clock() - start);
    }
    return true;
}

static bool choose_fastest(CudaProduct *product, const CudaProducts *products, const CublasCandidate *candidates, int n,
                           const CudaProductArgs *scratch, const CudaPurpose *purpose, Status *status) {
    double best = INFINITY, seconds;
    int fastest = 0;
    for (int i = 0; i < n; i++) {
        choose(product, &candidates[i]);
        if (!measure(product, products, scratch, purpose, &seconds, status))
            return false;
        if (seconds < best) {
            best = seconds;
            fastest = i;
        }
    }
    choose(product, &candidates[fastest]);
    return true;
}

/* ---- Remembering ------------------------------------------------------------------------------------------------- */

typedef struct {
    CublasAlgorithm algorithm;
    uint64_t n_workspace_bytes;
} Choice;

static CudaCacheKey key_of(const CudaProduct *product, const CudaProducts *products) {
    const CudaProductShape *shape = &product->shape;
    char about[TEXT_BYTES], layout[TEXT_BYTES], library[TEXT_BYTES];
    snprintf(layout, sizeof layout, "%" PRId64 " %" PRId64 ", %" PRId64 " %" PRId64 ", %" PRId64 " %d %d %d %" PRIu32,
             shape->lhs.stride, shape->lhs.k_stride, shape->rhs.stride, shape->rhs.k_stride, shape->out_stride,
             shape->operand_dtype, shape->result_dtype, shape->adds, shape->alignment);
    snprintf(library, sizeof library, "cuBLASLt %zu, %zu bytes", products->cublas->version,
             products->n_workspace_bytes);
    const char *const parts[] = {describe(about, shape), layout, library, products->device->name};
    return cuda_cache_key(parts, sizeof parts / sizeof *parts);
}

static bool recall(CudaProduct *product, const CudaProducts *products) {
    CudaCacheKey key = key_of(product, products);
    void *bytes;
    size_t n;
    if (!products->cache || !cuda_cache_find(products->cache, &key, &bytes, &n))
        return false;
    Choice choice;
    product->is_remembered = n == sizeof choice;
    if (product->is_remembered) {
        memcpy(&choice, bytes, sizeof choice);
        product->algorithm = choice.algorithm;
        product->n_workspace_bytes = choice.n_workspace_bytes;
    }
    free(bytes);
    return product->is_remembered;
}

/* A cache that cannot be written costs time at the next start, and no run; cuda_compile has warned of it. */
static void remember(const CudaProduct *product, const CudaProducts *products) {
    Status ignored = STATUS_INIT;
    CudaCacheKey key = key_of(product, products);
    const Choice choice = {.algorithm = product->algorithm, .n_workspace_bytes = product->n_workspace_bytes};
    if (products->cache)
        cuda_cache_store(products->cache, &key, &choice, sizeof choice, &ignored);
}

/* ---- The whole --------------------------------------------------------------------------------------------------- */

static bool choose_any(CudaProduct *product, const CudaProducts *products, const CudaProductArgs *scratch,
                       const CudaPurpose *purpose, Status *status) {
    CublasCandidate candidates[CANDIDATES] = {0};
    int n;
    if (scratch && recall(product, products))
        return true;
    if (!propose(product, products, purpose, candidates, &n, status))
        return false;
    choose(product, &candidates[0]);
    if (!scratch)
        return true;
    if (!choose_fastest(product, products, candidates, n, scratch, purpose, status))
        return false;
    remember(product, products);
    return true;
}

bool cuda_product_open(CudaProduct *product, const CudaProducts *products, const CudaProductShape *shape,
                       const CudaProductArgs *scratch, Status *status) {
    char about[TEXT_BYTES];
    const CudaPurpose purpose = {.action = "to choose how to do it", .value = describe(about, shape)};
    *product = (CudaProduct){.shape = *shape};
    if (!make_descriptions(product, products, &purpose, status) ||
        !choose_any(product, products, scratch, &purpose, status))
        cuda_product_close(product, products, status);
    return !status->failed;
}

void cuda_product_close(CudaProduct *product, const CudaProducts *products, Status *status) {
    const Cublas *cublas = products->cublas;
    const CublasLayout layouts[] = {product->lhs, product->rhs, product->out};
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
        if (layouts[i])
            CUBLAS_CALL(cublas, CUDA_TO("end a layout"), status, cublasLtMatrixLayoutDestroy, layouts[i]);
    }
    if (product->description)
        CUBLAS_CALL(cublas, CUDA_TO("end a product"), status, cublasLtMatmulDescDestroy, product->description);
    *product = (CudaProduct){0};
}

bool cuda_product_launch(const CudaProduct *product, const CudaProducts *products, const CudaProductArgs *args,
                         const CudaPurpose *purpose, Status *status) {
    const float alpha = 1, beta = product->shape.adds ? 1 : 0;
    const void *lhs = (const void *)(uintptr_t)args->lhs, *rhs = (const void *)(uintptr_t)args->rhs;
    const void *added = (const void *)(uintptr_t)(args->added ? args->added : args->out);
    void *out = (void *)(uintptr_t)args->out, *workspace = (void *)(uintptr_t)products->workspace;
    return CUBLAS_CALL(products->cublas, purpose, status, cublasLtMatmul, products->cublas->handle,
                       product->description, &alpha, rhs, product->rhs, lhs, product->lhs, &beta, added, product->out,
                       out, product->out, &product->algorithm, workspace, product->n_workspace_bytes,
                       products->device->work);
}
