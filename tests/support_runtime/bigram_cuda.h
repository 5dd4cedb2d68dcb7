/* The plan of bigram_plan.h with CUDA C, which the fake driver (tests/fake_cuda) knows by its functions' names: they
   call the plan's kernels. */
#ifndef MOEC_TESTS_SUPPORT_RUNTIME_BIGRAM_CUDA_H
#define MOEC_TESTS_SUPPORT_RUNTIME_BIGRAM_CUDA_H

#include "runtime/plan.h"
#include "tests/support_runtime/cuda_fixture.h"

MoecPlan bigram_cuda_plan(void);

/* The same, with a matrix product in "train" that a library may do and nothing reads: valid until the next call. */
MoecPlan bigram_product_plan(void);

/* Makes the functions known; again after each reset of the fake. */
void bigram_cuda_add(CudaFixture *fixture);

#endif
