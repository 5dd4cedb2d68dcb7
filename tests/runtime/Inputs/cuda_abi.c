/* runtime/cuda_api.h beside the toolkit's headers: compiles where they agree, and its program looks at the names. */
#include "runtime/cuda_api.h"

#include <cublasLt.h>
#include <cuda.h>
#include <nvrtc.h>
#include <stdio.h>
#include <string.h>

#define SAME_VALUE(ours, theirs, number) _Static_assert((long)(theirs) == (number), #theirs);
CUDA_VALUES(SAME_VALUE)

#define SAME_SIZE(ours, theirs) _Static_assert(sizeof(ours) == sizeof(theirs), #theirs)
#define SAME_PLACE(field, theirs)                                                                                      \
    _Static_assert(offsetof(CublasCandidate, field) == offsetof(cublasLtMatmulHeuristicResult_t, theirs), #theirs)
SAME_SIZE(CudaResult, CUresult);
SAME_SIZE(CudaEnum, CUdevice_attribute);
SAME_SIZE(CudaEnum, CUfunction_attribute);
SAME_SIZE(CudaEnum, CUstreamCaptureMode);
SAME_SIZE(CudaEnum, CUtensorMapDataType);
SAME_SIZE(CudaEnum, CUtensorMapSwizzle);
SAME_SIZE(CudaTensorMap, CUtensorMap);
_Static_assert(_Alignof(CudaTensorMap) >= _Alignof(CUtensorMap), "CUtensorMap");
SAME_SIZE(NvrtcResult, nvrtcResult);
SAME_SIZE(CublasResult, cublasStatus_t);
SAME_SIZE(CublasEnum, cudaDataType);
SAME_SIZE(CublasEnum, cublasComputeType_t);
SAME_SIZE(CublasEnum, cublasLtMatmulDescAttributes_t);
SAME_SIZE(CublasAlgorithm, cublasLtMatmulAlgo_t);
SAME_SIZE(CublasCandidate, cublasLtMatmulHeuristicResult_t);
SAME_PLACE(algorithm, algo);
SAME_PLACE(n_workspace_bytes, workspaceSize);
SAME_PLACE(state, state);
SAME_PLACE(waves, wavesCount);
SAME_PLACE(reserved, reserved);

/* An enumeration is compatible with the integer that it is stored as; a structure is compatible with itself only, so
   from here on the rows of functions are read with the toolkit's. */
#define CudaTensorMap CUtensorMap
#define NvrtcProgram nvrtcProgram
#define CublasProduct cublasLtMatmulDesc_t
#define CublasLayout cublasLtMatrixLayout_t
#define CublasPreference cublasLtMatmulPreference_t
#define CublasAlgorithm cublasLtMatmulAlgo_t
#define CublasCandidate cublasLtMatmulHeuristicResult_t

#define SAME_TYPE(name, symbol, result, parameters)                                                                    \
    _Static_assert(__builtin_types_compatible_p(__typeof__(symbol), result parameters), #symbol);
CUDA_DRIVER_FUNCTIONS(SAME_TYPE)
NVRTC_FUNCTIONS(SAME_TYPE)
CUBLAS_FUNCTIONS(SAME_TYPE)

/* A symbol that the headers rename is the one of an older version. */
#define TEXT(symbol) #symbol
#define TEXT_OF_EXPANDED(symbol) TEXT(symbol)
#define CHECK_NAME(name, symbol, result, parameters)                                                                   \
    if (strcmp(#symbol, TEXT_OF_EXPANDED(symbol)) != 0) {                                                              \
        printf("%s is now %s\n", #symbol, TEXT_OF_EXPANDED(symbol));                                                   \
        n_old++;                                                                                                       \
    }

int main(void) {
    int n_old = 0;
    CUDA_DRIVER_FUNCTIONS(CHECK_NAME)
    NVRTC_FUNCTIONS(CHECK_NAME)
    CUBLAS_FUNCTIONS(CHECK_NAME)
    return n_old;
}
