#include "tests/support_runtime/cuda_session.h"

#include <string.h>

static bool compile(CudaSession *session, const CudaKernelSource *sources, Status *status) {
    CudaText texts[CUDA_SESSION_KERNELS];
    Log log = {0};
    const CudaCompiler compiler = {
        .nvrtc = &session->nvrtc, .architecture = "sm_90a", .keeps_ptx = true, .n_threads = 1};
    for (size_t i = 0; i < session->n_kernels; i++)
        texts[i] = sources[i].text;
    return cuda_compile(&compiler, texts, session->n_kernels, session->outputs, &log, status);
}

static bool open_device(CudaSession *session, const CudaKernelSource *sources, Status *status) {
    static const CudaPart parts[] = {{"numbers", CUDA_SESSION_BYTES}};
    return cuda_device_open(&session->device, &session->driver, 0, status) &&
           cuda_memory_open(&session->memory, &session->device, parts, 1, status) &&
           cuda_kernels_open(&session->kernels, &session->device, sources, session->outputs, session->n_kernels,
                             status);
}

bool cuda_session_open(CudaSession *session, const CudaFixture *fixture, const CudaKernelSource *sources, size_t n,
                       Status *status) {
    *session = (CudaSession){.n_kernels = n};
    if (!cuda_driver_open(&session->driver, &fixture->places, status) ||
        !nvrtc_open(&session->nvrtc, &fixture->places, session->driver.version, status) ||
        !compile(session, sources, status) || !open_device(session, sources, status))
        cuda_session_close(session, status);
    return !status->failed;
}

void cuda_session_close(CudaSession *session, Status *status) {
    if (session->kernels.device)
        cuda_kernels_close(&session->kernels, status);
    if (session->device.context)
        cuda_memory_close(&session->memory, &session->device, status);
    if (session->device.driver)
        cuda_device_close(&session->device, status);
    cuda_compile_free(session->outputs, session->n_kernels);
    nvrtc_close(&session->nvrtc);
    cuda_driver_close(&session->driver);
}
