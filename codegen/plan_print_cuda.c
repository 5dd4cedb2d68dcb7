/* Kernels as CUDA C, beside the C of the same plan. */
#include <stdlib.h>
#include <string.h>

#include "codegen/cuda_library.h"
#include "codegen/form_cuda.h"
#include "codegen/plan_print.h"

/* Where arguments start, but for those that kernels are told of: they read 16 bytes at a time. */
enum { ALIGNMENT = 16 };

/* A kernel's texts; none: it has no form. */
typedef struct {
    const Form *form;
    bool *is_unaligned; /* of the form's arguments, in some launch */
    const FormCuda *variants[CUDA_N_TIERS];
    CudaLibraryProduct *product; /* NULL: it is none */
} CudaKernel;

static const struct {
    const char *architecture;
    int capability;
    bool is_of_later;
} tiers[] = {
#define X(id, architecture, capability, is_of_later) {architecture, capability, is_of_later},
    CUDA_TIERS(X)
#undef X
};

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
            kernel->is_unaligned[i] = kernel->is_unaligned[i] || args->offset % ALIGNMENT != 0;
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

/* NULL, or what is wrong, on the arena. */
static const char *add_variants(Arena *arena, const Kernel *kernel, CudaKernel *to) {
    const char *error = NULL;
    const FormCudaOptions options = {.heading = kernel->heading, .is_unaligned = to->is_unaligned};
    for (int tier = CUDA_N_TIERS - 1; tier >= 0 && to->form && !error; tier--) {
        if (form_cuda_has_tier(to->form, (CudaTier)tier, &options))
            to->variants[tier] = form_cuda(arena, to->form, (CudaTier)tier, &options, &error);
    }
    return error;
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

/* ", {a, b, c}" */
static void print_numbers(FILE *out, const int64_t *numbers, int n, int64_t factor) {
    fputs(", {", out);
    for (int i = 0; i < n; i++)
        fprintf(out, "%s%lld", i > 0 ? ", " : "", (long long)(numbers[i] * factor));
    fputs("}", out);
}

static void print_map(FILE *out, const Form *form, const FormCudaMap *map) {
    DType dtype = map->arg < form->n_args ? form->args[map->arg].dtype : DTYPE_BF16;
    int64_t size = (int64_t)dtype_size(dtype), box[CUDA_MAP_RANK];
    for (int i = 0; i < map->rank; i++)
        box[i] = map->box[i];
    fprintf(out, "    {%u, %lld, MOEC_DTYPE_%s, %d", map->arg, (long long)(map->offset * size),
            dtype == DTYPE_BF16 ? "BF16" : "F32", map->rank);
    print_numbers(out, map->extents, map->rank, 1);
    print_numbers(out, map->strides, map->rank, size);
    print_numbers(out, box, map->rank, 1);
    fprintf(out, ", %d},\n", map->swizzle);
}

/* `name` stands behind the names of a variant's tables: "3_sm_80" */
static void print_variant(FILE *out, Arena *arena, const char *name, const Form *form, const FormCuda *cuda) {
    print_text(out, arena_printf(arena, "cuda_text_%s", name), cuda->text);
    fprintf(out, "\nstatic const MoecCudaFunction cuda_functions_%s[] = {\n", name);
    for (int i = 0; i < cuda->n_launches; i++) {
        const FormCudaLaunch *launch = &cuda->launches[i];
        fprintf(out, "    {\"%s\", %lld, %d, %lld, %d},\n", launch->kernel, (long long)launch->n_blocks,
                launch->n_threads, (long long)launch->shared_bytes, launch->n_resident);
    }
    fputs("};\n", out);
    if (cuda->n_maps == 0)
        return;
    fprintf(out, "\nstatic const MoecCudaMap cuda_maps_%s[] = {\n", name);
    for (size_t i = 0; i < cuda->n_maps; i++)
        print_map(out, form, &cuda->maps[i]);
    fputs("};\n", out);
}

static void print_variant_row(FILE *out, Arena *arena, const char *name, int tier, const FormCuda *cuda) {
    fprintf(out, "    {%d, %d, cuda_text_%s, cuda_functions_%s, %d, %s, %zu, %lld},\n", tiers[tier].capability,
            tiers[tier].is_of_later, name, name, cuda->n_launches,
            cuda->n_maps > 0 ? arena_printf(arena, "cuda_maps_%s", name) : "NULL", cuda->n_maps,
            (long long)cuda->scratch_bytes);
}

static void print_kernel(FILE *out, Arena *arena, size_t number, const CudaKernel *kernel) {
    const char *names[CUDA_N_TIERS];
    for (int tier = 0; tier < CUDA_N_TIERS; tier++) {
        names[tier] = arena_printf(arena, "%zu_%s", number, tiers[tier].architecture);
        if (kernel->variants[tier])
            print_variant(out, arena, names[tier], kernel->form, kernel->variants[tier]);
    }
    fprintf(out, "\nstatic const MoecCudaVariant cuda_variants_%zu[] = {\n", number);
    for (int tier = CUDA_N_TIERS - 1; tier >= 0; tier--) {
        if (kernel->variants[tier])
            print_variant_row(out, arena, names[tier], tier, kernel->variants[tier]);
    }
    fprintf(out, "};\n\nstatic const uint32_t cuda_pieces_%zu[] = {", number);
    const Form *form = kernel->form;
    for (size_t i = 0; i < form->n_args; i++)
        fprintf(out, "%s%zu", i > 0 ? ", " : "", form->args[i].is_in_pieces ? form->n_pieces : 0);
    fputs(form->n_args == 0 ? "0};\n" : "};\n", out);
}

/* ---- Products ---------------------------------------------------------------------------------------------------- */

static const char *dtype_word(const Form *form, const CudaLibraryMatrix *matrix) {
    return form->args[matrix->arg].dtype == DTYPE_BF16 ? "BF16" : "F32";
}

static int64_t offset_of(const Form *form, const CudaLibraryMatrix *matrix) {
    return matrix->offset * (int64_t)dtype_size(form->args[matrix->arg].dtype);
}

static void print_matrix(FILE *out, const Form *form, const CudaLibraryMatrix *matrix) {
    fprintf(out, "    {%u, %lld, %lld, %lld},\n", matrix->arg, (long long)offset_of(form, matrix),
            (long long)matrix->stride, (long long)matrix->k_stride);
}

static void print_product(FILE *out, size_t number, const CudaKernel *kernel) {
    const CudaLibraryProduct *product = kernel->product;
    const CudaLibraryMatrix *const matrices[] = {&product->lhs, &product->rhs, &product->out, &product->added};
    int alignment = ALIGNMENT;
    fprintf(out, "\nstatic const MoecCudaProduct cuda_product_%zu = {\n    %lld, %lld, %lld,\n", number,
            (long long)product->n_rows, (long long)product->n_cols, (long long)product->k);
    for (size_t i = 0; i < sizeof matrices / sizeof *matrices; i++) {
        const FormArg *arg = &kernel->form->args[matrices[i]->arg];
        bool is_aligned =
            !kernel->is_unaligned[matrices[i]->arg] && offset_of(kernel->form, matrices[i]) % ALIGNMENT == 0;
        if (!is_aligned && (int)dtype_size(arg->dtype) < alignment)
            alignment = (int)dtype_size(arg->dtype);
        print_matrix(out, kernel->form, matrices[i]);
    }
    fprintf(out, "    MOEC_DTYPE_%s, MOEC_DTYPE_%s, %d, %d};\n", dtype_word(kernel->form, &product->lhs),
            dtype_word(kernel->form, &product->out), product->adds, alignment);
}

/* ---- The table --------------------------------------------------------------------------------------------------- */

/* A row of the table; of what has no form, one that says so. */
static void print_row(FILE *out, size_t number, const CudaKernel *kernel) {
    int n_variants = 0;
    for (int tier = 0; tier < CUDA_N_TIERS; tier++)
        n_variants += kernel->variants[tier] != NULL;
    if (kernel->form)
        fprintf(out, "    /* %zu */ {cuda_variants_%zu, %d, cuda_pieces_%zu, %zu, ", number, number, n_variants, number,
                kernel->form->n_args);
    else
        fprintf(out, "    /* %zu */ {NULL, 0, NULL, 0, ", number);
    if (kernel->product)
        fprintf(out, "&cuda_product_%zu},\n", number);
    else
        fputs("NULL},\n", out);
}

void plan_print_cuda(FILE *out, Arena *arena, const Plan *plan) {
    size_t n = kernels_count(plan->kernels);
    CudaKernel *kernels = list_kernels(arena, plan);
    const char *missing = NULL;
    find_all_unaligned(kernels, plan);
    for (size_t i = 0; i < n && !missing; i++)
        missing = add_variants(arena, kernels_get(plan->kernels, i), &kernels[i]);
    for (size_t i = 0; i < n; i++)
        find_product(arena, &kernels[i]);
    fputs("\n/* ---- Kernels as CUDA C ---- */\n", out);
    if (missing) {
        fputs("\nstatic const char cuda_missing[] = ", out);
        plan_print_string(out, missing);
        fputs(";\n#define CUDA_FIELDS .cuda_missing = cuda_missing\n", out);
        return;
    }
    print_prelude(out);
    for (size_t i = 0; i < n; i++) {
        if (kernels[i].form)
            print_kernel(out, arena, i, &kernels[i]);
        if (kernels[i].product)
            print_product(out, i, &kernels[i]);
    }
    fputs("\nstatic const MoecCudaKernel cuda_kernels[] = {\n", out);
    for (size_t i = 0; i < n; i++)
        print_row(out, i, &kernels[i]);
    fputs("    {NULL, 0, NULL, 0, NULL},\n};\n", out);
    fputs("#define CUDA_FIELDS .cuda_kernels = cuda_kernels, .cuda_prelude = cuda_prelude\n", out);
}
