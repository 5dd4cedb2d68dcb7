#include "runtime/cuda_watch.h"

#include <assert.h>
#include <inttypes.h>

enum { BLOCKS = 1024, THREADS = 256 };

/* What is to be done, and the answer. */
typedef struct {
    uint64_t n_elements;
    uint64_t first_nan; /* UINT64_MAX: none */
} Job;

_Static_assert(sizeof(Job) == CUDA_WATCH_BYTES, "the size that is told");

/* A NaN has all bits of the exponent and some of the fraction. */
#define FIND_NAN(name, type, magnitude, infinity)                                                                      \
    "/* Of job[0] elements, the index of the first NaN goes to job[1]. */\n"                                           \
    "extern \"C\" __global__ void " name "(const " type " *x, unsigned long long *job) {\n"                            \
    "    unsigned long long step = (unsigned long long)gridDim.x * blockDim.x;\n"                                      \
    "    unsigned long long first = (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x;\n"                      \
    "    for (unsigned long long i = first; i < job[0]; i += step) {\n"                                                \
    "        if ((x[i] & " magnitude ") > " infinity ")\n"                                                             \
    "            atomicMin(&job[1], i);\n"                                                                             \
    "    }\n"                                                                                                          \
    "}\n"

static const MoecCudaFunction find_f32 = {"find_nan_f32", BLOCKS, THREADS, 0, 0};
static const MoecCudaFunction find_bf16 = {"find_nan_bf16", BLOCKS, THREADS, 0, 0};

const CudaKernelSource cuda_watch_sources[CUDA_WATCH_KERNELS] = {
    {.text = {.name = "find_nan_f32", .text = FIND_NAN("find_nan_f32", "unsigned", "0x7fffffffu", "0x7f800000u")},
     .functions = &find_f32,
     .n_functions = 1,
     .n_args = 2},
    {.text = {.name = "find_nan_bf16", .text = FIND_NAN("find_nan_bf16", "unsigned short", "0x7fff", "0x7f80")},
     .functions = &find_bf16,
     .n_functions = 1,
     .n_args = 2},
};

bool cuda_watch_open(CudaWatch *watch, const CudaDevice *device, const CudaCompiler *compiler, CUdeviceptr job,
                     Log *log, Status *status) {
    CudaText texts[CUDA_WATCH_KERNELS];
    for (int i = 0; i < CUDA_WATCH_KERNELS; i++)
        texts[i] = cuda_watch_sources[i].text;
    *watch = (CudaWatch){.job = job};
    if (!cuda_compile(compiler, texts, CUDA_WATCH_KERNELS, watch->outputs, log, status) ||
        !cuda_kernels_open(&watch->kernels, device, cuda_watch_sources, watch->outputs, CUDA_WATCH_KERNELS, status) ||
        !cuda_mailbox_open(&watch->jobs, device, job, sizeof(Job), status) ||
        !cuda_mailbox_open(&watch->answers, device, job, sizeof(Job), status))
        cuda_watch_close(watch, status);
    return !status->failed;
}

void cuda_watch_close(CudaWatch *watch, Status *status) {
    cuda_mailbox_close(&watch->answers, status);
    cuda_mailbox_close(&watch->jobs, status);
    if (watch->kernels.device)
        cuda_kernels_close(&watch->kernels, status);
    cuda_compile_free(watch->outputs, CUDA_WATCH_KERNELS);
    *watch = (CudaWatch){0};
}

static bool fail_nan(const CudaLaunch *launch, const Job *job, Status *status) {
    const CudaKernelSource *source = launch->kernel->source;
    return status_fail(status, STATUS_DIVERGED,
                       "the first NaN was made by kernel %s in %s (%s): element %" PRIu64 " of %" PRIu64,
                       source->text.name, launch->value ? launch->value : "a value",
                       launch->source ? launch->source : "of no line", job->first_nan, job->n_elements);
}

bool cuda_watch_check(CudaWatch *watch, const CudaLaunch *launch, const CudaWatched *watched, Status *status) {
    Job job = {.n_elements = watched->n_elements, .first_nan = UINT64_MAX};
    const CUdeviceptr args[] = {watched->at, watch->job};
    const CudaLaunch look = {.kernel = &watch->kernels.kernels[watched->dtype == MOEC_DTYPE_BF16],
                             .args = args,
                             .value = launch->value,
                             .source = launch->source};
    if (watched->dtype == MOEC_DTYPE_I32)
        return true;
    assert(watched->dtype == MOEC_DTYPE_F32 || watched->dtype == MOEC_DTYPE_BF16);
    if (!cuda_mailbox_send(&watch->jobs, &job, status) ||
        !cuda_kernels_launch(&watch->kernels, &look, 1, false, status) ||
        !cuda_mailbox_fetch(&watch->answers, status) || !cuda_mailbox_take(&watch->answers, &job, status))
        return false;
    return job.first_nan == UINT64_MAX || fail_nan(launch, &job, status);
}
