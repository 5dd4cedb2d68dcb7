/* A dense matrix product on a GPU by cuBLASLt: out[rows, cols] = [added[rows, cols] +] lhs[rows, k] rhs[cols, k]^T, as
   in gemm.h. Sums are f32. Which of its kernels is used is measured once and remembered in the cache. */
#ifndef MOEC_RUNTIME_CUDA_PRODUCT_H
#define MOEC_RUNTIME_CUDA_PRODUCT_H

#include "runtime/cuda_cache.h"
#include "runtime/cuda_cublas.h"
#include "runtime/cuda_device.h"
#include "runtime/plan.h"

/* Memory that all products of a stream work in, in turn: what NVIDIA advises for Hopper. */
#define CUDA_PRODUCT_WORKSPACE_BYTES ((size_t)32 << 20)

/* What products share. */
typedef struct {
    const Cublas *cublas;
    const CudaDevice *device;
    const CudaCache *cache; /* NULL: choices are not remembered */
    CUdeviceptr workspace;  /* 256-byte aligned */
    size_t n_workspace_bytes;
} CudaProducts;

/* Element (i, k) of an operand is at i * stride + k * k_stride, one of which is 1. */
typedef struct {
    int64_t stride, k_stride;
} CudaProductOperand;

typedef struct {
    int64_t n_rows, n_cols, k;
    CudaProductOperand lhs, rhs;
    int64_t out_stride;      /* of rows of the result */
    MoecDtype operand_dtype; /* f32 or bf16, of lhs and rhs */
    MoecDtype result_dtype;  /* the same */
    bool adds;               /* to another matrix, or to what is in the result */
    uint32_t alignment;      /* bytes: all three start at multiples of it */
} CudaProductShape;

typedef struct {
    CUdeviceptr lhs, rhs, out;
    CUdeviceptr added; /* of a product that adds: what to, with out's stride; 0: what is in out */
} CudaProductArgs;

typedef struct {
    CudaProductShape shape;
    CublasProduct description;
    CublasLayout lhs, rhs, out;
    CublasAlgorithm algorithm;
    size_t n_workspace_bytes;
    bool is_remembered; /* the choice came from the cache */
} CudaProduct;

/* Without `scratch`, the kernel that cuBLASLt's heuristics put first. With it, the fastest of those they propose: they
   are timed on these addresses, what is there changes. On failure nothing is open. */
bool cuda_product_open(CudaProduct *product, const CudaProducts *products, const CudaProductShape *shape,
                       const CudaProductArgs *scratch, Status *status);
void cuda_product_close(CudaProduct *product, const CudaProducts *products, Status *status);

/* Gives it to the device's stream of work. */
bool cuda_product_launch(const CudaProduct *product, const CudaProducts *products, const CudaProductArgs *args,
                         const CudaPurpose *purpose, Status *status);

#endif
