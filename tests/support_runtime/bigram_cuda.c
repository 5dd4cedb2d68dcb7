#include "tests/support_runtime/bigram_cuda.h"

#include "tests/fake_cuda/fake_names.h"
#include "tests/support_runtime/bigram_plan.h"

static CudaResult run_kernel(uint32_t kernel, void *const *arguments) {
    bigram_plan.kernels[kernel].function(arguments);
    return CUDA_RESULT_SUCCESS;
}

/* Of each kernel, its number and its parameters. */
#define KERNELS(X)                                                                                                     \
    X(train, 0, 8)                                                                                                     \
    X(eval, 1, 4)                                                                                                      \
    X(generate, 2, 3)                                                                                                  \
    X(update, 3, 7)

#define RUN(name, number, n)                                                                                           \
    static CudaResult run_##name(void *const *arguments) {                                                             \
        return run_kernel(number, arguments);                                                                          \
    }
KERNELS(RUN)

#define NAME(name, number, n) {"bigram_" #name, run_##name, n},
static const FakeName names[] = {KERNELS(NAME)};

void bigram_cuda_add(CudaFixture *fixture) {
    fixture->fake->names = names;
    fixture->fake->n_names = sizeof names / sizeof *names;
}

#define FUNCTION(name, number, n) static const MoecCudaFunction name##_functions[] = {{"bigram_" #name, 1, 1, 0, 0}};
KERNELS(FUNCTION)

static const uint32_t pieces[8];

#define VARIANT(name, number, n)                                                                                       \
    static const MoecCudaVariant name##_variant = {80, true, "void bigram_" #name "();\n", name##_functions, 1, NULL,  \
                                                   0,  0};
KERNELS(VARIANT)

#define ROW(name, number, n) {&name##_variant, 1, pieces, n},
static const MoecCudaKernel kernels[] = {KERNELS(ROW)};

MoecPlan bigram_cuda_plan(void) {
    MoecPlan plan = bigram_plan;
    plan.cuda_kernels = kernels;
    plan.cuda_prelude = "";
    return plan;
}
