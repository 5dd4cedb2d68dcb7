#include "runtime/gpu_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cuda_maps.h"
#include "runtime/program.h"

/* ---- Addresses ----------------------------------------------------------------------------------------------------
 */

/* The parameter of a launch that is made of the kernel's arguments from `from` on. */
static CUdeviceptr parameter(Gpu *gpu, const MoecAddress *from, uint32_t n_pieces) {
    if (n_pieces == 0)
        return gpu_at(gpu, *from);
    CUdeviceptr table = gpu->memory.parts[PART_TABLES] + gpu->next_table * sizeof *gpu->tables;
    for (uint32_t i = 0; i < n_pieces; i++)
        gpu->tables[gpu->next_table++] = gpu_at(gpu, from[i]);
    return table;
}

/* The parameter that says where the launch's maps are, of its other parameters. */
static bool add_maps(Gpu *gpu, const MoecCudaVariant *variant, const CUdeviceptr *args, const char *kernel,
                     CUdeviceptr *parameter, Status *status) {
    *parameter = gpu->memory.parts[PART_MAPS] + gpu->next_map * sizeof *gpu->maps;
    for (uint32_t i = 0; i < variant->n_maps; i++) {
        const MoecCudaMap *map = &variant->maps[i];
        if (!cuda_map_encode(&gpu->driver, map, args[map->parameter], kernel, &gpu->maps[gpu->next_map++], status))
            return false;
    }
    return true;
}

/* Runs a kernel of the host, once and for all, and keeps on the device what it made. */
static bool make(Gpu *gpu, const MoecLaunch *launch, CUdeviceptr *at, Status *status) {
    const MoecKernel *kernel = &gpu->plan->kernels[launch->kernel];
    void *result = calloc(1, (size_t)kernel->bytes + 1);
    if (!result)
        return status_fail_errno(status, "%s", kernel->name);
    *at = gpu->memory.parts[PART_MADE] + gpu->next_made;
    gpu->next_made += gpu_made_bytes(gpu->plan, launch);
    kernel->function((void *const[]){result});
    gpu_copy_to_device(gpu, *at, result, (uint64_t)kernel->bytes, kernel->name, status);
    free(result);
    return !status->failed;
}

static bool set_launch(Gpu *gpu, const MoecProgram *program, const MoecLaunch *launch, GpuLaunch *out,
                       CUdeviceptr *args, Status *status) {
    const MoecCudaKernel *kernel = &gpu->plan->cuda_kernels[launch->kernel];
    const MoecCudaVariant *variant = gpu->variants[launch->kernel];
    const MoecAddress *from = program->args + launch->first_arg;
    *out = (GpuLaunch){.launch = {.args = args, .value = launch->value, .source = launch->source},
                       .is_of_library = gpu_uses_library(gpu, launch->kernel)};
    if (!variant)
        return make(gpu, launch, args, status);
    uint32_t n = 0;
    for (; n < kernel->n_parameters; n++) {
        args[n] = parameter(gpu, from, kernel->pieces[n]);
        from += kernel->pieces[n] > 0 ? kernel->pieces[n] : 1;
    }
    if (out->is_of_library) {
        out->product = gpu_product_args(gpu, launch->kernel, args);
        return true;
    }
    out->launch.kernel = &gpu->kernels.kernels[gpu->numbers[launch->kernel]];
    if (variant->scratch_bytes > 0)
        args[n++] = gpu->memory.parts[PART_SCRATCH];
    return variant->n_maps == 0 ||
           add_maps(gpu, variant, args, gpu->plan->kernels[launch->kernel].name, &args[n], status);
}

static bool set_program(Gpu *gpu, const MoecProgram *program, GpuProgram *out, Status *status) {
    enum { BESIDES = 2 }; /* scratch memory, maps */
    size_t n = 0;
    for (uint32_t i = 0; i < program->n_launches; i++)
        n += gpu->plan->cuda_kernels[program->launches[i].kernel].n_parameters + BESIDES;
    out->launches = calloc((size_t)program->n_launches + 1, sizeof *out->launches);
    out->args = calloc(n + 1, sizeof *out->args);
    if (!out->launches || !out->args)
        return status_fail_errno(status, "program \"%s\"", program->name);
    CUdeviceptr *args = out->args;
    for (uint32_t i = 0; i < program->n_launches; i++) {
        if (!set_launch(gpu, program, &program->launches[i], &out->launches[i], args, status))
            return false;
        args += gpu->plan->cuda_kernels[program->launches[i].kernel].n_parameters + BESIDES;
    }
    return true;
}

bool gpu_programs_open(Gpu *gpu, Status *status) {
    gpu->programs = calloc((size_t)gpu->plan->n_programs + 1, sizeof *gpu->programs);
    gpu->tables = calloc(gpu->n_tables + 1, sizeof *gpu->tables);
    gpu->maps = aligned_alloc(_Alignof(CudaTensorMap), (gpu->n_maps + 1) * sizeof *gpu->maps);
    if (!gpu->programs || !gpu->tables || !gpu->maps)
        return status_fail_errno(status, "programs");
    memset(gpu->maps, 0, gpu->n_maps * sizeof *gpu->maps); /* products of the library need none */
    for (uint32_t i = 0; i < gpu->plan->n_programs; i++) {
        if (!set_program(gpu, &gpu->plan->programs[i], &gpu->programs[i], status))
            return false;
    }
    return gpu_copy_to_device(gpu, gpu->memory.parts[PART_TABLES], gpu->tables, gpu->n_tables * sizeof *gpu->tables,
                              "addresses", status) &&
           gpu_copy_to_device(gpu, gpu->memory.parts[PART_MAPS], gpu->maps, gpu->n_maps * sizeof *gpu->maps,
                              "tensor maps", status);
}

/* ---- Running ----------------------------------------------------------------------------------------------------- */

static uint64_t tensor_bytes(const MoecTensor *tensor) {
    enum { BYTES = 4 }; /* of an f32 and of an i32, which all inputs and outputs are */
    return (uint64_t)tensor_elements(tensor) * BYTES;
}

/* Puts what a kernel of the host made where the launch leaves it. */
static bool place(Gpu *gpu, const MoecProgram *program, const MoecLaunch *launch, CUdeviceptr made, Status *status) {
    const MoecKernel *kernel = &gpu->plan->kernels[launch->kernel];
    return CUDA_CALL(&gpu->driver, CUDA_TO("place a table"), status, cuMemcpyDtoDAsync,
                     gpu_at(gpu, program->args[launch->first_arg]), made, (size_t)kernel->bytes, gpu->device.work);
}

bool gpu_run_launch(Gpu *gpu, const MoecProgram *program, uint32_t number, Status *status) {
    const MoecLaunch *launch = &program->launches[number];
    const GpuLaunch *on_device = &gpu->programs[program - gpu->plan->programs].launches[number];
    if (on_device->is_of_library)
        return gpu_product_run(gpu, launch->kernel, on_device, status);
    if (on_device->launch.kernel)
        return cuda_kernels_launch(&gpu->kernels, &on_device->launch, 1, gpu->waits, status);
    return place(gpu, program, launch, *on_device->launch.args, status);
}

static bool run_launches(Gpu *gpu, const MoecProgram *program, Status *status) {
    for (uint32_t i = 0; i < program->n_launches; i++) {
        if (!gpu_run_launch(gpu, program, i, status))
            return false;
    }
    return true;
}

/* The first time launch by launch; then they are recorded, and given to the device as one. */
static bool run_program(Gpu *gpu, const MoecProgram *program, GpuProgram *on_device, Status *status) {
    if (!on_device->has_run || gpu->waits) {
        on_device->has_run = true;
        return run_launches(gpu, program, status);
    }
    if (!on_device->graph.device) {
        if (!cuda_graph_begin(&gpu->device, status))
            return false;
        run_launches(gpu, program, status);
        if (!cuda_graph_end(&on_device->graph, &gpu->device, status))
            return false;
    }
    return cuda_graph_launch(&on_device->graph, program->name, status);
}

/* ---- What goes in and comes out -----------------------------------------------------------------------------------
 */

/* More than this is copied while the host waits. */
enum { MOST_MAIL_BYTES = 16 << 20 };

static bool is_mailed(const MoecTensor *tensor) {
    return tensor_bytes(tensor) <= MOST_MAIL_BYTES;
}

/* NULL after a failure; all that are not open are 0. */
static CudaMailbox *open_mailboxes(Gpu *gpu, const MoecTensor *tensors, uint32_t n, Status *status) {
    CudaMailbox *mailboxes = calloc((size_t)n + 1, sizeof *mailboxes);
    if (!mailboxes)
        status_fail_errno(status, "programs");
    for (uint32_t i = 0; i < n && !status->failed; i++) {
        if (is_mailed(&tensors[i]))
            cuda_mailbox_open(&mailboxes[i], &gpu->device, gpu_at(gpu, tensors[i].at),
                              (size_t)tensor_bytes(&tensors[i]), status);
    }
    return mailboxes;
}

static void close_mailboxes(CudaMailbox *mailboxes, uint32_t n, Status *status) {
    for (uint32_t i = 0; i < n && mailboxes; i++)
        cuda_mailbox_close(&mailboxes[i], status);
    free(mailboxes);
}

bool gpu_prepare(Gpu *gpu, const MoecProgram *program, Status *status) {
    GpuProgram *on_device = &gpu->programs[program - gpu->plan->programs];
    if (on_device->inputs)
        return true;
    for (uint32_t i = 0; i < program->n_launches; i++) {
        if (on_device->launches[i].is_of_library &&
            !gpu_product_choose(gpu, program->launches[i].kernel, &on_device->launches[i], status))
            return false;
    }
    on_device->inputs = open_mailboxes(gpu, program->inputs, program->n_inputs, status);
    if (!status->failed)
        on_device->outputs = open_mailboxes(gpu, program->outputs, program->n_outputs, status);
    return !status->failed;
}

bool gpu_send(Gpu *gpu, const MoecProgram *program, const Memory *memory, Status *status) {
    GpuProgram *on_device = &gpu->programs[program - gpu->plan->programs];
    for (uint32_t i = 0; i < program->n_inputs && !status->failed; i++) {
        const MoecTensor *input = &program->inputs[i];
        if (is_mailed(input))
            cuda_mailbox_send(&on_device->inputs[i], memory_at(memory, input->at), status);
        else if (cuda_device_wait(&gpu->device, gpu->device.work, CUDA_TO("finish before inputs change"), status))
            gpu_copy_to_device(gpu, gpu_at(gpu, input->at), memory_at(memory, input->at), tensor_bytes(input),
                               input->name, status);
    }
    return !status->failed;
}

/* Faults show in whatever call waits next. Always false. */
static bool fail_run(const Gpu *gpu, const MoecProgram *program, Status *status) {
    static const char *const faults[] = {"CUDA_ERROR_ILLEGAL_",
                                         "CUDA_ERROR_LAUNCH_",
                                         "CUDA_ERROR_MISALIGNED_",
                                         "CUDA_ERROR_INVALID_PC",
                                         "CUDA_ERROR_INVALID_ADDRESS_SPACE",
                                         "CUDA_ERROR_HARDWARE_STACK_",
                                         "CUDA_ERROR_ASSERT"};
    Status told = *status;
    bool is_fault = false;
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        is_fault = is_fault || strstr(told.message, faults[i]);
    if (!is_fault || gpu->waits)
        return false;
    *status = STATUS_INIT;
    return status_fail(
        status, told.code,
        "%s; program \"%s\", or one given before it, was running: with --check sync a run names the kernel",
        told.message, program->name);
}

bool gpu_give(Gpu *gpu, const MoecProgram *program, const Memory *memory, Status *status) {
    GpuProgram *on_device = &gpu->programs[program - gpu->plan->programs];
    assert(on_device->outputs && on_device->n_given < GPU_MOST_GIVEN);
    if (!gpu_send(gpu, program, memory, status) || !run_program(gpu, program, on_device, status))
        return fail_run(gpu, program, status);
    for (uint32_t i = 0; i < program->n_outputs; i++) {
        assert(is_mailed(&program->outputs[i]) || on_device->n_given == 0);
        if (is_mailed(&program->outputs[i]) && !cuda_mailbox_fetch(&on_device->outputs[i], status))
            return fail_run(gpu, program, status);
    }
    on_device->n_given++;
    return true;
}

bool gpu_take(Gpu *gpu, const MoecProgram *program, const Memory *memory, Status *status) {
    GpuProgram *on_device = &gpu->programs[program - gpu->plan->programs];
    assert(on_device->n_given > 0);
    on_device->n_given--;
    for (uint32_t i = 0; i < program->n_outputs && !status->failed; i++) {
        const MoecTensor *output = &program->outputs[i];
        void *to = memory_at(memory, output->at);
        if (is_mailed(output))
            cuda_mailbox_take(&on_device->outputs[i], to, status);
        else
            gpu_copy_to_host(gpu, to, gpu_at(gpu, output->at), tensor_bytes(output), output->name, status);
    }
    return !status->failed || fail_run(gpu, program, status);
}

void gpu_programs_close(Gpu *gpu, Status *status) {
    for (uint32_t i = 0; i < gpu->plan->n_programs && gpu->programs; i++) {
        if (gpu->programs[i].graph.device)
            cuda_graph_close(&gpu->programs[i].graph, status);
        close_mailboxes(gpu->programs[i].inputs, gpu->plan->programs[i].n_inputs, status);
        close_mailboxes(gpu->programs[i].outputs, gpu->plan->programs[i].n_outputs, status);
        free(gpu->programs[i].launches);
        free(gpu->programs[i].args);
    }
    free(gpu->programs);
    free(gpu->tables);
    free(gpu->maps);
}
