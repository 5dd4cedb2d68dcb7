#include "tests/support_runtime/bigram_cuda.h"

#include <string.h>

#include "tests/fake_cuda/fake_names.h"
#include "tests/support_runtime/bigram_plan.h"

static CudaResult run_kernel(uint32_t kernel, void *const *arguments) {
    bigram_plan.kernels[kernel].function(arguments);
    return CUDA_RESULT_SUCCESS;
}

/* out [2, 2] = lhs [2, 2] rhs [2, 2]^T */
static void multiply(void *const *args) {
    float *out = args[0];
    const float *lhs = args[1], *rhs = args[2];
    for (int i = 0; i < 4; i++)
        out[i] = lhs[i / 2 * 2] * rhs[i % 2 * 2] + lhs[i / 2 * 2 + 1] * rhs[i % 2 * 2 + 1];
}

static CudaResult run_multiply(void *const *arguments) {
    multiply(arguments);
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
static const FakeName names[] = {KERNELS(NAME) NAME(multiply, 4, 3)};

void bigram_cuda_add(CudaFixture *fixture) {
    fixture->fake->names = names;
    fixture->fake->n_names = sizeof names / sizeof *names;
}

#define FUNCTION(name, number, n) static const MoecCudaFunction name##_functions[] = {{"bigram_" #name, 1, 1, 0, 0}};
KERNELS(FUNCTION)
FUNCTION(multiply, 4, 3)

static const uint32_t pieces[8];

#define VARIANT(name, number, n)                                                                                       \
    static const MoecCudaVariant name##_variant = {                                                                    \
        80, true, "void bigram_" #name "();\n", name##_functions, 1, NULL, 0, 0, NULL};
KERNELS(VARIANT)
VARIANT(multiply, 4, 3)

static const MoecCudaProduct product = {.n_rows = 2,
                                        .n_cols = 2,
                                        .k = 2,
                                        .lhs = {1, 0, 2, 1},
                                        .rhs = {2, 0, 2, 1},
                                        .out = {0, 0, 2, 1},
                                        .added = {0, 0, 2, 1},
                                        .operand_dtype = MOEC_DTYPE_F32,
                                        .result_dtype = MOEC_DTYPE_F32,
                                        .alignment = 16};

#define ROW(name, number, n) {&name##_variant, 1, pieces, n, NULL, NULL},
static const MoecCudaKernel kernels[] = {KERNELS(ROW){&multiply_variant, 1, pieces, 3, &product, NULL}};

MoecPlan bigram_cuda_plan(void) {
    MoecPlan plan = bigram_plan;
    plan.cuda_kernels = kernels;
    plan.cuda_prelude = "";
    return plan;
}

enum { N_KERNELS = 5, N_PROGRAMS = 4, N_ARGS = 8 + 3 };

MoecPlan bigram_product_plan(void) {
    static MoecKernel all[N_KERNELS];
    static MoecProgram programs[N_PROGRAMS];
    static MoecLaunch launches[2];
    static MoecAddress args[N_ARGS];
    MoecPlan plan = bigram_cuda_plan();
    memcpy(all, plan.kernels, 4 * sizeof *all);
    all[4] = (MoecKernel){multiply, "multiply", 0, 0};
    memcpy(programs, plan.programs, sizeof programs);
    launches[0] = programs[0].launches[0];
    launches[1] = (MoecLaunch){.kernel = 4, .first_arg = 8, .n_args = 3, .value = "%1", .source = "bigram.moe:3:1"};
    memcpy(args, programs[0].args, 8 * sizeof *args);
    args[8] = (MoecAddress){MOEC_SPACE_ARENA, plan.space_bytes[MOEC_SPACE_ARENA]};
    args[9] = args[10] = (MoecAddress){MOEC_SPACE_WEIGHT, 0};
    plan.space_bytes[MOEC_SPACE_ARENA] += 64;
    programs[0].launches = launches;
    programs[0].n_launches = 2;
    programs[0].args = args;
    programs[0].n_args = N_ARGS;
    programs[0].arena_bytes += 64;
    plan.programs = programs;
    plan.kernels = all;
    plan.n_kernels = N_KERNELS;
    return plan;
}
