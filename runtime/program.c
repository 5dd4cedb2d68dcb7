#include "runtime/program.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/gpu.h"
#include "runtime/meter.h"

static const MoecProgram *find_program(const MoecPlan *plan, const char *name) {
    for (uint32_t i = 0; i < plan->n_programs; i++) {
        if (strcmp(plan->programs[i].name, name) == 0)
            return &plan->programs[i];
    }
    return NULL;
}

uint64_t program_arena_bytes(const MoecPlan *plan, const char *name) {
    const MoecProgram *program = find_program(plan, name);
    return program ? program->arena_bytes : 0;
}

size_t program_launches(const MoecPlan *plan, const char *name) {
    const MoecProgram *program = find_program(plan, name);
    return program ? program->n_launches : 0;
}

bool program_open(Program *program, const MoecPlan *plan, const char *name, const Memory *memory, Status *status) {
    *program = (Program){.plan = plan, .program = find_program(plan, name), .memory = memory};
    if (!program->program)
        return status_fail(status, STATUS_INTERNAL, "the plan of %s has no program \"%s\"; please report this",
                           plan->model, name);
    program->args = calloc((size_t)program->program->n_args + 1, sizeof *program->args);
    if (!program->args)
        return status_fail_errno(status, "program \"%s\"", name);
    for (uint32_t i = 0; i < program->program->n_args; i++)
        program->args[i] = memory_at(memory, program->program->args[i]);
    return !memory->gpu || gpu_prepare(memory->gpu, program->program, status);
}

void program_close(Program *program) {
    free(program->args);
    *program = (Program){0};
}

static const MoecTensor *find_tensor(const MoecTensor *tensors, uint32_t n, const char *name) {
    for (uint32_t i = 0; i < n; i++) {
        if (strcmp(tensors[i].name, name) == 0)
            return &tensors[i];
    }
    return NULL;
}

void *program_input(const Program *program, const char *name) {
    const MoecTensor *tensor = find_tensor(program->program->inputs, program->program->n_inputs, name);
    return tensor ? memory_at(program->memory, tensor->at) : NULL;
}

const MoecTensor *program_output_tensor(const Program *program, const char *name) {
    return find_tensor(program->program->outputs, program->program->n_outputs, name);
}

const float *program_output(const Program *program, const char *name) {
    const MoecTensor *tensor = program_output_tensor(program, name);
    return tensor ? memory_at(program->memory, tensor->at) : NULL;
}

static void run_launch(const Program *program, const MoecLaunch *launch) {
    program->plan->kernels[launch->kernel].function(program->args + launch->first_arg);
}

static void run_timed(const Program *program, const MoecLaunch *launch) {
    double start = meter_clock();
    run_launch(program, launch);
    profile_launch(program->profile, launch, start, meter_clock() - start);
}

/* All bits set: a NaN as a float, -1 as an integer. */
static void fill_ends(const Program *program, const MoecLaunch *launch) {
    for (uint32_t i = 0; i < launch->n_ends; i++) {
        MoecRange range = program->program->ends[launch->first_end + i];
        memset(memory_at(program->memory, (MoecAddress){MOEC_SPACE_ARENA, range.offset}), 0xff, range.n_bytes);
    }
}

static void run_here(const Program *program) {
    const MoecProgram *code = program->program;
    for (uint32_t i = 0; i < code->n_launches; i++) {
        if (program->profile)
            run_timed(program, &code->launches[i]);
        else
            run_launch(program, &code->launches[i]);
        if (program->memory->fills_ends)
            fill_ends(program, &code->launches[i]);
    }
}

bool program_give(const Program *program, Status *status) {
    if (program->memory->gpu)
        return gpu_give(program->memory->gpu, program->program, program->memory, status);
    run_here(program);
    return true;
}

bool program_take(const Program *program, Status *status) {
    return !program->memory->gpu || gpu_take(program->memory->gpu, program->program, program->memory, status);
}

int program_most_given(const Program *program) {
    return program->memory->gpu ? GPU_MOST_GIVEN : 1;
}

bool program_run(const Program *program, Status *status) {
    return program_give(program, status) && program_take(program, status);
}

int64_t tensor_elements(const MoecTensor *tensor) {
    int64_t n = 1;
    for (int i = 0; i < tensor->rank; i++)
        n *= tensor->dims[i];
    return n;
}
