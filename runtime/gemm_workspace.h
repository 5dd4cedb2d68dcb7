/* Memory that matrix products pack operands into, a set of buffers for each thread. Buffers grow at need and stay. */
#ifndef MOEC_RUNTIME_GEMM_WORKSPACE_H
#define MOEC_RUNTIME_GEMM_WORKSPACE_H

#include <stdint.h>

typedef enum {
    GEMM_BUFFER_LHS,
    GEMM_BUFFER_RHS, /* of the thread that calls, and its team reads it; or what each reads alone */
    GEMM_BUFFER_SUMS,
    GEMM_BUFFER_SCRATCH, /* of kernels: moec_gemm_scratch */
    GEMM_BUFFER_COUNT
} GemmBuffer;

/* The calling thread's buffer of at least n floats, aligned to a page; what was in it is lost when it grows. Ends the
   process with a message where there is no memory: a step cannot go on without it. */
float *gemm_workspace(GemmBuffer buffer, int64_t n);

#endif
