/* What the runtime uses of CUDA: the binary interface of libcuda, libnvrtc and libcublasLt, declared here, so that moec
   builds where no CUDA is, and every executable can use a GPU where one is found. The libraries are opened at run time
   (cuda_library.h).

   Most handles have the toolkit's own names. Enumerations are integers here, and their values have names of ours, as do
   the structures, so that this header and the toolkit's can be read together: tests/runtime/cuda_abi.c compares the
   two. The interface of a symbol never changes: what would change it gets another name (cuMemAlloc_v2). All of these
   are in CUDA 12 and 13. */
#ifndef MOEC_RUNTIME_CUDA_API_H
#define MOEC_RUNTIME_CUDA_API_H

#include <stddef.h>
#include <stdint.h>

/* ---- Types ------------------------------------------------------------------------------------------------------- */

typedef int CUdevice;
typedef unsigned long long CUdeviceptr; /* an address in the device's memory */
typedef struct CUctx_st *CUcontext;
typedef struct CUmod_st *CUmodule;
typedef struct CUfunc_st *CUfunction;
typedef struct CUstream_st *CUstream;
typedef struct CUevent_st *CUevent;
typedef struct CUgraph_st *CUgraph;
typedef struct CUgraphNode_st *CUgraphNode;
typedef struct CUgraphExec_st *CUgraphExec;
typedef struct NvrtcProgram *NvrtcProgram;
typedef struct cublasLtContext *cublasLtHandle_t;

typedef unsigned CudaResult;
typedef unsigned CudaEnum; /* of the driver: attributes, modes */
typedef unsigned NvrtcResult;
typedef unsigned CublasResult;
typedef unsigned CublasEnum; /* types of elements and sums, attributes */

/* A tensor in the device's memory and a tile of it, for kernels; its insides are the driver's. */
typedef struct {
    _Alignas(128) uint64_t words[16];
} CudaTensorMap;

/* Descriptions of products of matrices; their insides are cuBLASLt's. */
typedef struct CublasProduct *CublasProduct;
typedef struct CublasLayout *CublasLayout;
typedef struct CublasPreference *CublasPreference;

typedef struct {
    uint64_t data[8];
} CublasAlgorithm;

/* What the heuristics propose. */
typedef struct {
    CublasAlgorithm algorithm;
    size_t n_workspace_bytes;
    CublasResult state;
    float waves;
    int reserved[4];
} CublasCandidate;

/* ---- Values: our name, the toolkit's, the number -------------------------------------------------------------- */

#define CUDA_VALUES(X)                                                                                                 \
    X(CUDA_RESULT_SUCCESS, CUDA_SUCCESS, 0)                                                                            \
    X(CUDA_RESULT_OUT_OF_MEMORY, CUDA_ERROR_OUT_OF_MEMORY, 2)                                                          \
    X(CUDA_RESULT_NO_DEVICE, CUDA_ERROR_NO_DEVICE, 100)                                                                \
    X(CUDA_RESULT_NOT_FOUND, CUDA_ERROR_NOT_FOUND, 500)                                                                \
    X(CUDA_DEVICE_MULTIPROCESSORS, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 16)                                       \
    X(CUDA_DEVICE_MAJOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 75)                                             \
    X(CUDA_DEVICE_MINOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 76)                                             \
    X(CUDA_DEVICE_SHARED_BYTES, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, 97)                             \
    X(CUDA_FUNCTION_MAX_THREADS, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, 0)                                           \
    X(CUDA_FUNCTION_SHARED_BYTES, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, 1)                                              \
    X(CUDA_FUNCTION_LOCAL_BYTES, CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES, 3)                                                \
    X(CUDA_FUNCTION_REGISTERS, CU_FUNC_ATTRIBUTE_NUM_REGS, 4)                                                          \
    X(CUDA_FUNCTION_DYNAMIC_SHARED_BYTES, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 8)                          \
    X(CUDA_STREAM_ASIDE, CU_STREAM_NON_BLOCKING, 1)                                                                    \
    X(CUDA_EVENT_WITHOUT_TIME, CU_EVENT_DISABLE_TIMING, 2)                                                             \
    X(CUDA_CAPTURE_OF_THREAD, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL, 1)                                                  \
    X(CUDA_MAP_F32, CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 7)                                                                \
    X(CUDA_MAP_BF16, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 9)                                                              \
    X(CUDA_MAP_NOT_INTERLEAVED, CU_TENSOR_MAP_INTERLEAVE_NONE, 0)                                                      \
    X(CUDA_MAP_NOT_SWIZZLED, CU_TENSOR_MAP_SWIZZLE_NONE, 0)                                                            \
    X(CUDA_MAP_SWIZZLED_32, CU_TENSOR_MAP_SWIZZLE_32B, 1)                                                              \
    X(CUDA_MAP_SWIZZLED_64, CU_TENSOR_MAP_SWIZZLE_64B, 2)                                                              \
    X(CUDA_MAP_SWIZZLED_128, CU_TENSOR_MAP_SWIZZLE_128B, 3)                                                            \
    X(CUDA_MAP_FETCHES_128, CU_TENSOR_MAP_L2_PROMOTION_L2_128B, 2)                                                     \
    X(CUDA_MAP_FETCHES_256, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, 3)                                                     \
    X(CUDA_MAP_ZEROS_BEYOND, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE, 0)                                                     \
    X(NVRTC_RESULT_SUCCESS, NVRTC_SUCCESS, 0)                                                                          \
    X(NVRTC_RESULT_COMPILATION, NVRTC_ERROR_COMPILATION, 6)                                                            \
    X(CUBLAS_RESULT_SUCCESS, CUBLAS_STATUS_SUCCESS, 0)                                                                 \
    X(CUBLAS_F32, CUDA_R_32F, 0)                                                                                       \
    X(CUBLAS_BF16, CUDA_R_16BF, 14)                                                                                    \
    X(CUBLAS_SUM_F32, CUBLAS_COMPUTE_32F, 68)                                                                          \
    X(CUBLAS_AS_IS, CUBLAS_OP_N, 0)                                                                                    \
    X(CUBLAS_TRANSPOSED, CUBLAS_OP_T, 1)                                                                               \
    X(CUBLAS_PRODUCT_TRANSPOSES_A, CUBLASLT_MATMUL_DESC_TRANSA, 3)                                                     \
    X(CUBLAS_PRODUCT_TRANSPOSES_B, CUBLASLT_MATMUL_DESC_TRANSB, 4)                                                     \
    X(CUBLAS_PREFERS_WORKSPACE_BYTES, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, 1)                                     \
    X(CUBLAS_PREFERS_REDUCTIONS, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, 3)                                        \
    X(CUBLAS_PREFERS_ALIGNMENT_A, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, 5)                                       \
    X(CUBLAS_PREFERS_ALIGNMENT_B, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, 6)                                       \
    X(CUBLAS_PREFERS_ALIGNMENT_C, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, 7)                                       \
    X(CUBLAS_PREFERS_ALIGNMENT_D, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, 8)                                       \
    X(CUBLAS_REDUCES_IN_ORDER, CUBLASLT_REDUCTION_SCHEME_NONE, 0)

#define CUDA_VALUE(ours, theirs, number) ours = number,
enum { CUDA_VALUES(CUDA_VALUE) };
#undef CUDA_VALUE

/* ---- Functions: name, symbol in the library, result, parameters ----------------------------------------------- */

/* Of libcuda. */
#define CUDA_DRIVER_FUNCTIONS(X)                                                                                       \
    X(cuInit, cuInit, CudaResult, (unsigned flags))                                                                    \
    X(cuDriverGetVersion, cuDriverGetVersion, CudaResult, (int *version))                                              \
    X(cuGetErrorName, cuGetErrorName, CudaResult, (CudaResult result, const char **name))                              \
    X(cuGetErrorString, cuGetErrorString, CudaResult, (CudaResult result, const char **text))                          \
    X(cuDeviceGetCount, cuDeviceGetCount, CudaResult, (int *n))                                                        \
    X(cuDeviceGet, cuDeviceGet, CudaResult, (CUdevice * device, int ordinal))                                          \
    X(cuDeviceGetName, cuDeviceGetName, CudaResult, (char *name, int size, CUdevice device))                           \
    X(cuDeviceGetAttribute, cuDeviceGetAttribute, CudaResult, (int *value, CudaEnum attribute, CUdevice device))       \
    X(cuDevicePrimaryCtxRetain, cuDevicePrimaryCtxRetain, CudaResult, (CUcontext * context, CUdevice device))          \
    X(cuDevicePrimaryCtxRelease, cuDevicePrimaryCtxRelease_v2, CudaResult, (CUdevice device))                          \
    X(cuCtxSetCurrent, cuCtxSetCurrent, CudaResult, (CUcontext context))                                               \
    X(cuMemGetInfo, cuMemGetInfo_v2, CudaResult, (size_t * n_free, size_t * n_all))                                    \
    X(cuMemAlloc, cuMemAlloc_v2, CudaResult, (CUdeviceptr * at, size_t n_bytes))                                       \
    X(cuMemFree, cuMemFree_v2, CudaResult, (CUdeviceptr at))                                                           \
    X(cuMemHostAlloc, cuMemHostAlloc, CudaResult, (void **bytes, size_t n_bytes, unsigned flags))                      \
    X(cuMemFreeHost, cuMemFreeHost, CudaResult, (void *bytes))                                                         \
    X(cuMemcpyHtoDAsync, cuMemcpyHtoDAsync_v2, CudaResult,                                                             \
      (CUdeviceptr to, const void *from, size_t n_bytes, CUstream stream))                                             \
    X(cuMemcpyDtoHAsync, cuMemcpyDtoHAsync_v2, CudaResult,                                                             \
      (void *to, CUdeviceptr from, size_t n_bytes, CUstream stream))                                                   \
    X(cuMemcpyDtoDAsync, cuMemcpyDtoDAsync_v2, CudaResult,                                                             \
      (CUdeviceptr to, CUdeviceptr from, size_t n_bytes, CUstream stream))                                             \
    X(cuMemsetD8Async, cuMemsetD8Async, CudaResult,                                                                    \
      (CUdeviceptr at, unsigned char byte, size_t n_bytes, CUstream stream))                                           \
    X(cuStreamCreate, cuStreamCreate, CudaResult, (CUstream * stream, unsigned flags))                                 \
    X(cuStreamDestroy, cuStreamDestroy_v2, CudaResult, (CUstream stream))                                              \
    X(cuStreamSynchronize, cuStreamSynchronize, CudaResult, (CUstream stream))                                         \
    X(cuStreamWaitEvent, cuStreamWaitEvent, CudaResult, (CUstream stream, CUevent event, unsigned flags))              \
    X(cuEventCreate, cuEventCreate, CudaResult, (CUevent * event, unsigned flags))                                     \
    X(cuEventDestroy, cuEventDestroy_v2, CudaResult, (CUevent event))                                                  \
    X(cuEventRecord, cuEventRecord, CudaResult, (CUevent event, CUstream stream))                                      \
    X(cuEventSynchronize, cuEventSynchronize, CudaResult, (CUevent event))                                             \
    X(cuModuleLoadData, cuModuleLoadData, CudaResult, (CUmodule * module, const void *image))                          \
    X(cuModuleUnload, cuModuleUnload, CudaResult, (CUmodule module))                                                   \
    X(cuModuleGetFunction, cuModuleGetFunction, CudaResult,                                                            \
      (CUfunction * function, CUmodule module, const char *name))                                                      \
    X(cuFuncGetAttribute, cuFuncGetAttribute, CudaResult, (int *value, CudaEnum attribute, CUfunction function))       \
    X(cuFuncSetAttribute, cuFuncSetAttribute, CudaResult, (CUfunction function, CudaEnum attribute, int value))        \
    X(cuLaunchKernel, cuLaunchKernel, CudaResult,                                                                      \
      (CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,     \
       unsigned block_z, unsigned n_shared_bytes, CUstream stream, void **arguments, void **extra))                    \
    X(cuStreamBeginCapture, cuStreamBeginCapture_v2, CudaResult, (CUstream stream, CudaEnum mode))                     \
    X(cuStreamEndCapture, cuStreamEndCapture, CudaResult, (CUstream stream, CUgraph * graph))                          \
    X(cuGraphGetNodes, cuGraphGetNodes, CudaResult, (CUgraph graph, CUgraphNode * nodes, size_t * n))                  \
    X(cuGraphInstantiate, cuGraphInstantiateWithFlags, CudaResult,                                                     \
      (CUgraphExec * instance, CUgraph graph, unsigned long long flags))                                               \
    X(cuGraphDestroy, cuGraphDestroy, CudaResult, (CUgraph graph))                                                     \
    X(cuGraphExecDestroy, cuGraphExecDestroy, CudaResult, (CUgraphExec instance))                                      \
    X(cuGraphLaunch, cuGraphLaunch, CudaResult, (CUgraphExec instance, CUstream stream))                               \
    X(cuTensorMapEncodeTiled, cuTensorMapEncodeTiled, CudaResult,                                                      \
      (CudaTensorMap * map, CudaEnum type, unsigned rank, void *address, const uint64_t *extents,                      \
       const uint64_t *strides, const unsigned *box, const unsigned *element_strides, CudaEnum interleave,             \
       CudaEnum swizzle, CudaEnum promotion, CudaEnum fill))

/* Of libnvrtc. */
#define NVRTC_FUNCTIONS(X)                                                                                             \
    X(nvrtcVersion, nvrtcVersion, NvrtcResult, (int *major, int *minor))                                               \
    X(nvrtcGetErrorString, nvrtcGetErrorString, const char *, (NvrtcResult result))                                    \
    X(nvrtcGetNumSupportedArchs, nvrtcGetNumSupportedArchs, NvrtcResult, (int *n))                                     \
    X(nvrtcGetSupportedArchs, nvrtcGetSupportedArchs, NvrtcResult, (int *architectures))                               \
    X(nvrtcCreateProgram, nvrtcCreateProgram, NvrtcResult,                                                             \
      (NvrtcProgram * program, const char *text, const char *name, int n_headers, const char *const *headers,          \
       const char *const *header_names))                                                                               \
    X(nvrtcDestroyProgram, nvrtcDestroyProgram, NvrtcResult, (NvrtcProgram * program))                                 \
    X(nvrtcCompileProgram, nvrtcCompileProgram, NvrtcResult,                                                           \
      (NvrtcProgram program, int n_options, const char *const *options))                                               \
    X(nvrtcGetCUBINSize, nvrtcGetCUBINSize, NvrtcResult, (NvrtcProgram program, size_t * n_bytes))                     \
    X(nvrtcGetCUBIN, nvrtcGetCUBIN, NvrtcResult, (NvrtcProgram program, char *bytes))                                  \
    X(nvrtcGetPTXSize, nvrtcGetPTXSize, NvrtcResult, (NvrtcProgram program, size_t * n_bytes))                         \
    X(nvrtcGetPTX, nvrtcGetPTX, NvrtcResult, (NvrtcProgram program, char *bytes))                                      \
    X(nvrtcGetProgramLogSize, nvrtcGetProgramLogSize, NvrtcResult, (NvrtcProgram program, size_t * n_bytes))           \
    X(nvrtcGetProgramLog, nvrtcGetProgramLog, NvrtcResult, (NvrtcProgram program, char *bytes))

/* Of libcublasLt. */
#define CUBLAS_FUNCTIONS(X)                                                                                            \
    X(cublasLtGetVersion, cublasLtGetVersion, size_t, (void))                                                          \
    X(cublasLtGetStatusName, cublasLtGetStatusName, const char *, (CublasResult result))                               \
    X(cublasLtGetStatusString, cublasLtGetStatusString, const char *, (CublasResult result))                           \
    X(cublasLtCreate, cublasLtCreate, CublasResult, (cublasLtHandle_t * handle))                                       \
    X(cublasLtDestroy, cublasLtDestroy, CublasResult, (cublasLtHandle_t handle))                                       \
    X(cublasLtMatmulDescCreate, cublasLtMatmulDescCreate, CublasResult,                                                \
      (CublasProduct * product, CublasEnum sum, CublasEnum scale))                                                     \
    X(cublasLtMatmulDescDestroy, cublasLtMatmulDescDestroy, CublasResult, (CublasProduct product))                     \
    X(cublasLtMatmulDescSetAttribute, cublasLtMatmulDescSetAttribute, CublasResult,                                    \
      (CublasProduct product, CublasEnum attribute, const void *value, size_t n_bytes))                                \
    X(cublasLtMatrixLayoutCreate, cublasLtMatrixLayoutCreate, CublasResult,                                            \
      (CublasLayout * layout, CublasEnum type, uint64_t n_rows, uint64_t n_columns, int64_t stride))                   \
    X(cublasLtMatrixLayoutDestroy, cublasLtMatrixLayoutDestroy, CublasResult, (CublasLayout layout))                   \
    X(cublasLtMatmulPreferenceCreate, cublasLtMatmulPreferenceCreate, CublasResult, (CublasPreference * preference))   \
    X(cublasLtMatmulPreferenceDestroy, cublasLtMatmulPreferenceDestroy, CublasResult, (CublasPreference preference))   \
    X(cublasLtMatmulPreferenceSetAttribute, cublasLtMatmulPreferenceSetAttribute, CublasResult,                        \
      (CublasPreference preference, CublasEnum attribute, const void *value, size_t n_bytes))                          \
    X(cublasLtMatmulAlgoGetHeuristic, cublasLtMatmulAlgoGetHeuristic, CublasResult,                                    \
      (cublasLtHandle_t handle, CublasProduct product, CublasLayout a, CublasLayout b, CublasLayout c, CublasLayout d, \
       CublasPreference preference, int n_wanted, CublasCandidate *candidates, int *n_found))                          \
    X(cublasLtMatmul, cublasLtMatmul, CublasResult,                                                                    \
      (cublasLtHandle_t handle, CublasProduct product, const void *alpha, const void *a, CublasLayout a_layout,        \
       const void *b, CublasLayout b_layout, const void *beta, const void *c, CublasLayout c_layout, void *d,          \
       CublasLayout d_layout, const CublasAlgorithm *algorithm, void *workspace, size_t n_workspace_bytes,             \
       CUstream stream))

#define CUDA_FIELD(name, symbol, result, parameters) result(*name) parameters;
typedef struct {
    CUDA_DRIVER_FUNCTIONS(CUDA_FIELD)
} CudaDriverFunctions;

typedef struct {
    NVRTC_FUNCTIONS(CUDA_FIELD)
} NvrtcFunctions;

typedef struct {
    CUBLAS_FUNCTIONS(CUDA_FIELD)
} CublasFunctions;
#undef CUDA_FIELD

#endif
