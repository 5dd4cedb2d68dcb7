/* Kernels as CUDA C, beside the C of the same plan. */
#include <stdlib.h>
#include <string.h>

#include "codegen/form_cuda.h"
#include "codegen/plan_print.h"

/* Where arguments must start: kernels read four floats at a time. */
enum { ALIGNMENT = 16 };

/* Of each kernel: whether all launches have arguments that start where they must. */
static bool *find_aligned(Arena *arena, const Plan *plan) {
    size_t n = kernels_count(plan->kernels);
    bool *are_aligned = arena_array_of(arena, bool, n + 1);
    memset(are_aligned, true, n * sizeof *are_aligned);
    for (size_t i = 0; i < plan->n_programs; i++) {
        const PlanProgram *program = &plan->programs[i];
        for (size_t j = 0; j < program->n_launches; j++) {
            const PlanLaunch *launch = &program->launches[j];
            for (size_t arg = 0; arg < launch->n_args; arg++) {
                bool is_aligned = program->args[launch->first_arg + arg].offset % ALIGNMENT == 0;
                are_aligned[launch->kernel] = are_aligned[launch->kernel] && is_aligned;
            }
        }
    }
    return are_aligned;
}

/* Line by line, each a literal of its own. */
static void print_text(FILE *out, const char *name, const char *text) {
    fprintf(out, "\nstatic const char %s[] =\n", name);
    while (*text) {
        const char *end = strchr(text, '\n');
        size_t n = end ? (size_t)(end - text) : strlen(text);
        fputs("    \"", out);
        for (size_t i = 0; i < n; i++)
            fprintf(out, text[i] == '"' || text[i] == '\\' ? "\\%c" : "%c", text[i]);
        fputs(end ? "\\n\"\n" : "\"\n", out);
        text += n + (end != NULL);
    }
    fputs("    \"\";\n", out);
}

static void print_prelude(FILE *out) {
    char *text = NULL;
    size_t n_bytes = 0;
    FILE *stream = open_memstream(&text, &n_bytes);
    form_cuda_print_prelude(stream);
    fclose(stream);
    print_text(out, "cuda_prelude", text);
    free(text);
}

static void print_kernel(FILE *out, Arena *arena, size_t number, const Form *form, const FormCuda *cuda) {
    print_text(out, arena_printf(arena, "cuda_text_%zu", number), cuda->text);
    fprintf(out, "\nstatic const MoecCudaFunction cuda_functions_%zu[] = {\n", number);
    for (int i = 0; i < cuda->n_launches; i++) {
        const FormCudaLaunch *launch = &cuda->launches[i];
        fprintf(out, "    {\"%s\", %lld, %d, %lld},\n", launch->kernel, (long long)launch->n_blocks, launch->n_threads,
                (long long)launch->shared_bytes);
    }
    fprintf(out, "};\n\nstatic const uint32_t cuda_pieces_%zu[] = {", number);
    for (size_t i = 0; i < form->n_args; i++)
        fprintf(out, "%s%zu", i > 0 ? ", " : "", form->args[i].is_in_pieces ? form->n_pieces : 0);
    fputs(form->n_args == 0 ? "0};\n" : "};\n", out);
}

/* A row of the table; of what has no form, one that says so. */
static void print_row(FILE *out, size_t number, const Form *form, const FormCuda *cuda) {
    fprintf(out, "    /* %zu */ ", number);
    if (!cuda) {
        fputs("{NULL, NULL, 0, NULL, 0, 0},\n", out);
        return;
    }
    fprintf(out, "{cuda_text_%zu, cuda_functions_%zu, %d, cuda_pieces_%zu, %zu, %lld},\n", number, number,
            cuda->n_launches, number, form->n_args, (long long)cuda->scratch_bytes);
}

void plan_print_cuda(FILE *out, Arena *arena, const Plan *plan) {
    size_t n = kernels_count(plan->kernels);
    const bool *are_aligned = find_aligned(arena, plan);
    const FormCuda **all = arena_array_of(arena, const FormCuda *, n + 1);
    const char *missing = NULL;
    for (size_t i = 0; i < n && !missing; i++) {
        const Kernel *kernel = kernels_get(plan->kernels, i);
        if (!kernel->form)
            continue;
        all[i] = form_cuda(arena, kernel->form, kernel->heading, &missing);
        if (!are_aligned[i])
            missing = arena_printf(arena, "kernel %s has arguments that do not start at multiples of %d bytes",
                                   kernel->name, ALIGNMENT);
    }
    fputs("\n/* ---- Kernels as CUDA C ---- */\n", out);
    if (missing) {
        fputs("\nstatic const char cuda_missing[] = ", out);
        plan_print_string(out, missing);
        fputs(";\n#define CUDA_FIELDS .cuda_missing = cuda_missing\n", out);
        return;
    }
    print_prelude(out);
    for (size_t i = 0; i < n; i++) {
        if (all[i])
            print_kernel(out, arena, i, kernels_get(plan->kernels, i)->form, all[i]);
    }
    fputs("\nstatic const MoecCudaKernel cuda_kernels[] = {\n", out);
    for (size_t i = 0; i < n; i++)
        print_row(out, i, kernels_get(plan->kernels, i)->form, all[i]);
    fputs("    {NULL, NULL, 0, NULL, 0, 0},\n};\n", out);
    fputs("#define CUDA_FIELDS .cuda_kernels = cuda_kernels, .cuda_prelude = cuda_prelude\n", out);
}
