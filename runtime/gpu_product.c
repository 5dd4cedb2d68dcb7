#include "runtime/gpu_internal.h"

#include <stdlib.h>
#include <string.h>

static bool has_products(const MoecPlan *plan) {
    for (uint32_t i = 0; i < plan->n_kernels; i++) {
        if (plan->cuda_kernels[i].product)
            return true;
    }
    return false;
}

bool gpu_library_open(Gpu *gpu, const GpuOptions *options, Log *log, Status *status) {
    bool is_needed = strcmp(options->matmul, "blas") == 0;
    Status tried = STATUS_INIT;
    if (strcmp(options->matmul, "own") == 0 || !has_products(gpu->plan))
        return true;
    gpu->chosen = calloc((size_t)gpu->plan->n_kernels + 1, sizeof *gpu->chosen);
    if (!gpu->chosen)
        return status_fail_errno(status, "products");
    if (!cublas_open(&gpu->cublas, &gpu->places, gpu->driver.version, &tried)) {
        if (is_needed)
            return status_fail(status, tried.code, "%s", tried.message);
        log_line(log, "matmul", "moec's kernels alone: %s", tried.message);
        return true;
    }
    gpu->products = (CudaProducts){.cublas = &gpu->cublas,
                                   .device = &gpu->device,
                                   .cache = gpu_cache(gpu),
                                   .n_workspace_bytes = CUDA_PRODUCT_WORKSPACE_BYTES};
    log_line(log, "matmul", "dense products by cuBLASLt %zu.%zu.%zu", gpu->cublas.version / 10000,
             gpu->cublas.version / 100 % 100, gpu->cublas.version % 100);
    return true;
}

void gpu_library_close(Gpu *gpu, Status *status) {
    for (uint32_t i = 0; i < gpu->plan->n_kernels && gpu->chosen; i++) {
        if (gpu->chosen[i].description)
            cuda_product_close(&gpu->chosen[i], &gpu->products, status);
    }
    free(gpu->chosen);
    cublas_close(&gpu->cublas, status);
}

bool gpu_uses_library(const Gpu *gpu, uint32_t kernel) {
    return gpu->products.cublas && gpu->plan->cuda_kernels[kernel].product;
}

CudaProductArgs gpu_product_args(const Gpu *gpu, uint32_t kernel, const CUdeviceptr *parameters) {
    const MoecCudaProduct *product = gpu->plan->cuda_kernels[kernel].product;
    const MoecCudaMatrix *const matrices[] = {&product->lhs, &product->rhs, &product->out, &product->added};
    CUdeviceptr at[4];
    for (int i = 0; i < 4; i++)
        at[i] = parameters[matrices[i]->parameter] + matrices[i]->offset;
    return (CudaProductArgs){at[0], at[1], at[2], at[3]};
}

static CudaProductShape shape_of(const MoecCudaProduct *product) {
    return (CudaProductShape){.n_rows = product->n_rows,
                              .n_cols = product->n_cols,
                              .k = product->k,
                              .lhs = {product->lhs.stride, product->lhs.k_stride},
                              .rhs = {product->rhs.stride, product->rhs.k_stride},
                              .out_stride = product->out.stride,
                              .operand_dtype = product->operand_dtype,
                              .result_dtype = product->result_dtype,
                              .adds = product->adds,
                              .alignment = product->alignment};
}

bool gpu_product_choose(Gpu *gpu, uint32_t kernel, const GpuLaunch *launch, Status *status) {
    const CudaProductShape shape = shape_of(gpu->plan->cuda_kernels[kernel].product);
    gpu->products.workspace = gpu->memory.parts[PART_WORKSPACE];
    return gpu->chosen[kernel].description ||
           cuda_product_open(&gpu->chosen[kernel], &gpu->products, &shape, &launch->product, status);
}

bool gpu_product_run(const Gpu *gpu, uint32_t kernel, const GpuLaunch *launch, Status *status) {
    const CudaPurpose purpose = {.action = "to run",
                                 .kernel = gpu->plan->kernels[kernel].name,
                                 .value = launch->launch.value,
                                 .source = launch->launch.source};
    return cuda_product_launch(&gpu->chosen[kernel], &gpu->products, &launch->product, &purpose, status) &&
           (!gpu->waits || cuda_device_wait(&gpu->device, gpu->device.work, &purpose, status));
}
