/* Kernels as CUDA C, beside the C of the same plan. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/plan_cuda.h"
#include "codegen/plan_print.h"

static const struct {
    const char *architecture;
    int capability;
    bool is_of_later;
} tiers[] = {
#define X(id, architecture, capability, is_of_later) {architecture, capability, is_of_later},
    CUDA_TIERS(X)
#undef X
};

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
        fprintf(out, "%s%lld", i > 0 ? ", " : "", (long long)numbers[i] * factor);
    fputs("}", out);
}

static void print_map(FILE *out, const Form *form, const FormCudaMap *map) {
    DType dtype = map->arg < form->n_args ? form->args[map->arg].dtype : DTYPE_BF16;
    int64_t size = (int64_t)dtype_size(dtype), box[CUDA_MAP_RANK];
    for (int i = 0; i < map->rank; i++)
        box[i] = map->box[i];
    fprintf(out, "    {%u, %lld, MOEC_DTYPE_%s, %d", map->arg, (long long)map->offset * size,
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

static void print_variant_row(FILE *out, Arena *arena, const char *name, const CudaVariant *variant) {
    const FormCuda *cuda = variant->cuda;
    fprintf(out, "    {%d, %d, cuda_text_%s, cuda_functions_%s, %d, %s, %zu, %lld, ", tiers[variant->tier].capability,
            tiers[variant->tier].is_of_later, name, name, cuda->n_launches,
            cuda->n_maps > 0 ? arena_printf(arena, "cuda_maps_%s", name) : "NULL", cuda->n_maps,
            (long long)cuda->scratch_bytes);
    plan_print_string(out, variant->choice);
    fputs("},\n", out);
}

static const char *variant_name(Arena *arena, size_t kernel, const CudaKernel *of, int variant) {
    return arena_printf(arena, "%zu_%d_%s", kernel, variant, tiers[of->variants[variant].tier].architecture);
}

static void print_kernel(FILE *out, Arena *arena, size_t number, const CudaKernel *kernel) {
    for (int i = 0; i < kernel->n_variants; i++)
        print_variant(out, arena, variant_name(arena, number, kernel, i), kernel->form, kernel->variants[i].cuda);
    fprintf(out, "\nstatic const MoecCudaVariant cuda_variants_%zu[] = {\n", number);
    for (int i = 0; i < kernel->n_variants; i++)
        print_variant_row(out, arena, variant_name(arena, number, kernel, i), &kernel->variants[i]);
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
    int alignment = PLAN_CUDA_ALIGNMENT;
    assert(kernel->form);
    fprintf(out, "\nstatic const MoecCudaProduct cuda_product_%zu = {\n    %lld, %lld, %lld,\n", number,
            (long long)product->n_rows, (long long)product->n_cols, (long long)product->k);
    for (size_t i = 0; i < sizeof matrices / sizeof *matrices; i++) {
        const FormArg *arg = &kernel->form->args[matrices[i]->arg];
        bool is_aligned =
            !kernel->is_unaligned[matrices[i]->arg] && offset_of(kernel->form, matrices[i]) % PLAN_CUDA_ALIGNMENT == 0;
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
    if (!kernel->form)
        fprintf(out, "    /* %zu */ {NULL, 0, NULL, 0, ", number);
    else
        fprintf(out, "    /* %zu */ {cuda_variants_%zu, %d, cuda_pieces_%zu, %zu, ", number, number, kernel->n_variants,
                number, kernel->form->n_args);
    if (kernel->product)
        fprintf(out, "&cuda_product_%zu, ", number);
    else
        fputs("NULL, ", out);
    plan_print_string(out, kernel->key);
    fputs("},\n", out);
}

static void print_missing(FILE *out, const char *missing) {
    fputs("\nstatic const char cuda_missing[] = ", out);
    plan_print_string(out, missing);
    fputs(";\n#define CUDA_FIELDS .cuda_missing = cuda_missing\n", out);
}

bool plan_print_cuda(FILE *out, Arena *arena, const Plan *plan, const CodegenOptions *options, Reporter *reporter) {
    size_t n = kernels_count(plan->kernels);
    const char *missing;
    const CudaKernel *kernels = plan_cuda_kernels(arena, plan, options, reporter, &missing);
    fputs("\n/* ---- Kernels as CUDA C ---- */\n", out);
    if (missing)
        print_missing(out, missing);
    if (!kernels || missing)
        return kernels;
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
    fputs("    {NULL, 0, NULL, 0, NULL, NULL},\n};\n#define CUDA_FIELDS .cuda_kernels = cuda_kernels, .cuda_prelude = "
          "cuda_prelude, .cuda_tuned_for = ",
          out);
    plan_print_string(out, options->tuning ? options->tuning->device : NULL);
    fputs("\n", out);
    return true;
}
