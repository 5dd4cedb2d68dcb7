/* How long kernels take that have choices, among the launches of a program. */
#include "runtime/gpu_internal.h"
#include "runtime/meter.h"

enum { RUNS = 7 };

static double least(double a, double b) {
    return a < b ? a : b;
}

static bool wait(const Gpu *gpu, Status *status) {
    return cuda_device_wait(&gpu->device, gpu->device.work, CUDA_TO("time a kernel"), status);
}

/* In a row, on what its operands are by then. */
static bool time_launch(Gpu *gpu, const MoecProgram *program, uint32_t number, double *seconds, Status *status) {
    for (int run = 0; run < RUNS; run++) {
        if (!wait(gpu, status))
            return false;
        double start = meter_clock();
        if (!gpu_run_launch(gpu, program, number, status) || !wait(gpu, status))
            return false;
        double taken = meter_clock() - start;
        *seconds = run == 0 ? taken : least(*seconds, taken);
    }
    return true;
}

bool gpu_time(Gpu *gpu, const MoecProgram *program, const Memory *memory, double *seconds, Status *status) {
    const GpuProgram *on_device = &gpu->programs[program - gpu->plan->programs];
    if (!gpu_prepare(gpu, program, status) || !gpu_send(gpu, program, memory, status))
        return false;
    for (uint32_t i = 0; i < program->n_launches; i++) {
        uint32_t kernel = program->launches[i].kernel;
        bool is_timed = seconds[kernel] == 0.0 && gpu_choice(gpu, kernel) && !on_device->launches[i].is_of_library;
        if (!gpu_run_launch(gpu, program, i, status) ||
            (is_timed && !time_launch(gpu, program, i, &seconds[kernel], status)))
            return false;
    }
    return wait(gpu, status);
}
