#include "codegen/plan_cuda.h"

#include <string.h>

static CudaKernel *list_kernels(Arena *arena, const Plan *plan) {
    size_t n = kernels_count(plan->kernels);
    CudaKernel *kernels = arena_array_of(arena, CudaKernel, n + 1);
    for (size_t i = 0; i < n; i++) {
        kernels[i].form = kernels_get(plan->kernels, i)->form;
        if (kernels[i].form)
            kernels[i].is_unaligned = arena_array_of(arena, bool, kernels[i].form->n_args + 1);
    }
    return kernels;
}

/* Arguments, or pieces of them, of a launch. */
static void find_unaligned(const CudaKernel *kernel, const PlanAddress *args) {
    const Form *form = kernel->form;
    for (size_t i = 0; i < form->n_args; i++) {
        size_t n_entries = form->args[i].is_in_pieces ? form->n_pieces : 1;
        for (size_t j = 0; j < n_entries; j++, args++)
            kernel->is_unaligned[i] = kernel->is_unaligned[i] || args->offset % PLAN_CUDA_ALIGNMENT != 0;
    }
}

static void find_all_unaligned(CudaKernel *kernels, const Plan *plan) {
    for (size_t i = 0; i < plan->n_programs; i++) {
        const PlanProgram *program = &plan->programs[i];
        for (size_t j = 0; j < program->n_launches; j++) {
            const PlanLaunch *launch = &program->launches[j];
            if (kernels[launch->kernel].form)
                find_unaligned(&kernels[launch->kernel], program->args + launch->first_arg);
        }
    }
}

static void find_product(Arena *arena, CudaKernel *kernel) {
    CudaLibraryProduct product;
    if (kernel->form && cuda_library_product(kernel->form, &product))
        *(kernel->product = arena_array_of(arena, CudaLibraryProduct, 1)) = product;
}

/* ---- Choices ----------------------------------------------------------------------------------------------------- */

typedef struct {
    Arena *arena;
    const CodegenOptions *options;
    Reporter *reporter;
    const Module *module;
    const char *error; /* why there is no CUDA C; on the arena */
    size_t n_tuned;
} Adding;

static void add_variant(Adding *at, CudaKernel *to, CudaTier tier, const FormCudaOptions *options, const char *choice) {
    const FormCuda *cuda = form_cuda(at->arena, to->form, tier, options, &at->error);
    if (cuda)
        to->variants[to->n_variants++] = (CudaVariant){tier, choice, cuda};
}

/* The number of the choice that the tuning has; the first where it has none; -1 after an error was reported. */
static int tuned_choice(Adding *at, const Kernel *kernel, CudaTier tier, const CudaProductChoice *choices, int n) {
    const Tuning *tuning = at->options->tuning;
    const TuningEntry *entry = tuning ? tuning_find(tuning, tuning_key(at->arena, kernel), tier) : NULL;
    if (!entry)
        return 0;
    at->n_tuned++;
    for (int i = 0; i < n; i++) {
        if (strcmp(tuning_choice_text(at->arena, tier, &choices[i]), entry->choice) == 0)
            return i;
    }
    report_error(at->reporter, at->module, (Loc){0},
                 "%s:%d: '%s' is no choice that this moec has for kernel %s: run `moec tune` again", tuning->path,
                 entry->line, entry->choice, kernel->name);
    return -1;
}

static void add_tier(Adding *at, const Kernel *kernel, CudaKernel *to, CudaTier tier) {
    CudaProductChoice choices[CUDA_MOST_CHOICES];
    FormCudaOptions options = {.heading = kernel->heading, .is_unaligned = to->is_unaligned};
    int n = cuda_product_choices(to->form, tier, &options, choices);
    int first = n > 0 ? tuned_choice(at, kernel, tier, choices, n) : 0;
    int end = n > 0 && at->options->has_choices ? n : first + 1;
    to->key = n > 1 ? tuning_key(at->arena, kernel) : to->key;
    for (int i = first; i >= 0 && i < end && !at->error; i++) {
        options.choice = n > 0 ? &choices[i] : NULL;
        add_variant(at, to, tier, &options, n > 1 ? tuning_choice_text(at->arena, tier, &choices[i]) : NULL);
    }
}

static void add_variants(Adding *at, const Kernel *kernel, CudaKernel *to) {
    const FormCudaOptions options = {.heading = kernel->heading, .is_unaligned = to->is_unaligned};
    for (int tier = CUDA_N_TIERS - 1; tier >= 0 && to->form && !at->error; tier--) {
        if (form_cuda_has_tier(to->form, (CudaTier)tier, &options))
            add_tier(at, kernel, to, (CudaTier)tier);
    }
}

/* A file for other sizes, or another precision, has none of the kernels. */
static bool check_tuning(const Adding *at) {
    const Tuning *tuning = at->options->tuning;
    if (tuning && at->n_tuned == 0 && !at->error)
        report_error(at->reporter, at->module, (Loc){0},
                     "%s: no kernel of this model is in it: run `moec tune` with the options of this build",
                     tuning->path);
    return at->reporter->n_errors == 0;
}

const CudaKernel *plan_cuda_kernels(Arena *arena, const Plan *plan, const CodegenOptions *options, Reporter *reporter,
                                    const char **missing) {
    CudaKernel *kernels = list_kernels(arena, plan);
    Adding at = {.arena = arena, .options = options, .reporter = reporter, .module = plan->module};
    find_all_unaligned(kernels, plan);
    for (size_t i = 0; i < kernels_count(plan->kernels) && !at.error && reporter->n_errors == 0; i++) {
        find_product(arena, &kernels[i]);
        add_variants(&at, kernels_get(plan->kernels, i), &kernels[i]);
    }
    *missing = at.error;
    return check_tuning(&at) ? kernels : NULL;
}
