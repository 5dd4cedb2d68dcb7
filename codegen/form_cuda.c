/* A form's kernels: their names and parameters, and how they are launched. */
#include "codegen/form_cuda.h"

#include <assert.h>
#include <stdlib.h>

#include "codegen/form_cuda_internal.h"

/* What names of arguments and indices must not be: words of C++ and CUDA, and variables of all kernels. */
static const char *const taken[] = {
    "alignas",     "alignof",
    "and",         "asm",
    "bitand",      "bitor",
    "catch",       "class",
    "compl",       "concept",
    "consteval",   "constexpr",
    "export",      "delete",
    "decltype",    "dynamic_cast",
    "explicit",    "final",
    "friend",      "mutable",
    "namespace",   "new",
    "noexcept",    "not",
    "nullptr",     "operator",
    "or",          "override",
    "private",     "protected",
    "public",      "reinterpret_cast",
    "requires",    "static_assert",
    "static_cast", "template",
    "this",        "throw",
    "try",         "typeid",
    "typename",    "using",
    "virtual",     "wchar_t",
    "xor",         "uint32_t",
    "uint64_t",    "float4",
    "int4",        "threadIdx",
    "blockIdx",    "blockDim",
    "gridDim",     "warpSize",
    "expf",        "tanhf",
    "fmaxf",       "normcdff",
    "rsqrtf",      "FLT_MAX",
    "lane",        "warp",
    "thread",      "block",
    "vector",      "element",
    "is_row",      "scratch",
    "stop_",       "MOEC_",
    "simt_",       "Simt",
    "loaded_",     "stored_",
    "shared_",     "pieces_",
    "cuda_",       "i_",
    "place_",      "sum_",
    "next",        "places",
    "is_first",    "next_row",
    "is_there",    "leads",
    "zeros",       "stored",
    "maps",        NULL,
};

/* The same, and variables of kernels of the form's kind. */
static const char *const *taken_names(Arena *arena, const Form *form) {
    static const char *const none[] = {NULL};
    const char *const *of_kind = form->kind == FORM_KIND_PRODUCT                           ? cuda_product_names
                                 : form_is_attention(form) && cuda_attention_is_bf16(form) ? cuda_attention_tensor_names
                                 : form_is_attention(form)                                 ? cuda_attention_names
                                 : form->kind == FORM_KIND_ROUTE                           ? cuda_route_names
                                                                                           : none;
    size_t n = 0;
    while (of_kind[n] != NULL)
        n++;
    const char **names = arena_array_of(arena, const char *, n + sizeof taken / sizeof *taken);
    for (size_t i = 0; i < n; i++)
        names[i] = of_kind[i];
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
        names[n + i] = taken[i];
    return names;
}

/* Bytes of scratch memory; what is more may be counted as one more of these, and is refused. */
static const int64_t MAX_SCRATCH = (int64_t)1 << 48;

/* ---- Kernels ---------------------------------------------------------------------------------------------------- */

/* const float *__restrict__ x */
static const char *parameter_text(const CudaPrinter *at, size_t i) {
    const FormArg *arg = &at->base.form->args[i];
    Arena *arena = at->base.c->arena;
    const char *type = c_type(arg->dtype), *constant = arg->access == FORM_IN ? "const " : "";
    return arg->is_in_pieces
               ? arena_printf(arena, "%s%s *const *__restrict__ pieces_%s", constant, type, at->base.arg_names[i])
               : arena_printf(arena, "%s%s *__restrict__ %s", constant, type, at->base.arg_names[i]);
}

const char *cuda_parameters_text(const CudaPrinter *at) {
    Arena *arena = at->base.c->arena;
    const char *text = "";
    for (size_t i = 0; i < at->base.form->n_args; i++)
        text = arena_printf(arena, "%s%s%s", text, i > 0 ? ", " : "", parameter_text(at, i));
    if (at->out->scratch_bytes > 0)
        text = arena_printf(arena, "%s%sfloat *__restrict__ scratch", text, text[0] != '\0' ? ", " : "");
    if (at->out->n_maps > 0)
        text = arena_printf(arena, "%s%sconst MoecTensorMap *maps", text, text[0] != '\0' ? ", " : "");
    return text[0] == '\0' ? "void" : text;
}

const char *cuda_arguments_text(const CudaPrinter *at) {
    Arena *arena = at->base.c->arena;
    const char *text = "";
    for (size_t i = 0; i < at->base.form->n_args; i++)
        text = arena_printf(arena, "%s%s%s", text, i > 0 ? ", " : "", at->base.arg_names[i]);
    return text;
}

void cuda_open_kernel(CudaPrinter *at, int64_t n_blocks, int n_threads) {
    const Form *form = at->base.form;
    int number = at->out->n_launches;
    const char *name = number == 0 ? form->name : arena_printf(at->base.c->arena, "%s_%d", form->name, number);
    FormCudaLaunch launch = {.kernel = name, .n_blocks = n_blocks, .n_threads = n_threads};
    size_t n_launches = (size_t)number;
    arena_push(at->base.c->arena, at->out->launches, n_launches, at->launches_capacity, launch);
    at->out->n_launches = (int)n_launches;
    if (number > 0)
        c_text(at->base.c, "\n");
    c_open(at->base.c, "MOEC_KERNEL(%d) void %s(%s)", n_threads, name, cuda_parameters_text(at));
}

int64_t cuda_add_scratch(CudaPrinter *at, int64_t n) {
    int64_t first = at->out->scratch_bytes / (int64_t)sizeof(float);
    int64_t n_bytes = n < MAX_SCRATCH ? (n + 3) / 4 * 4 * (int64_t)sizeof(float) : MAX_SCRATCH;
    at->out->scratch_bytes += n_bytes < MAX_SCRATCH ? n_bytes : MAX_SCRATCH;
    return first;
}

size_t cuda_add_map(CudaPrinter *at, FormCudaMap map) {
    assert(at->out->n_launches == 0 && map.rank <= CUDA_MAP_RANK);
    arena_push(at->base.c->arena, at->out->maps, at->out->n_maps, at->maps_capacity, map);
    return at->out->n_maps - 1;
}

bool cuda_is_aligned(const CudaPrinter *at, uint32_t arg) {
    return !at->is_unaligned || !at->is_unaligned[arg];
}

/* ---- Forms ------------------------------------------------------------------------------------------------------ */

/* Numbers of elements, and of threads a little beyond them, fit in 32 bits. */
static bool is_small(const Form *form) {
    enum { BEYOND = 1 << 16 };
    int64_t limit = INT32_MAX - BEYOND;
    bool is = form_n_rows(&form->body) <= limit / form_n_cols(&form->body);
    for (size_t i = 0; i < form->n_args; i++)
        is = is && form->args[i].n_elements <= limit;
    return is;
}

static CudaPrinter printer_new(CPrinter *c, const Form *form, FormCuda *out, const bool *is_unaligned) {
    return (CudaPrinter){.base = form_printer_with(c, form, &form->body, taken_names(c->arena, form)),
                         .out = out,
                         .is_unaligned = is_unaligned,
                         .is_needed = arena_array_of(c->arena, bool, form->body.n_instrs),
                         .int_type = is_small(form) ? "int" : "int64_t",
                         .n_threads = CUDA_THREADS};
}

void cuda_print_form_of_rows(CudaPrinter *at, Form *rows) {
    assert(at->out->scratch_bytes == 0 && at->out->n_launches == 0);
    CudaPrinter printer = printer_new(at->base.c, rows, at->out, at->is_unaligned);
    cuda_print_rows(&printer, rows);
    at->launches_capacity = printer.launches_capacity;
    assert(at->out->scratch_bytes == 0 && "rows of scores have no parts");
}

size_t form_cuda_n_parameters(const Form *form, const FormCuda *cuda) {
    return form->n_args + (cuda->scratch_bytes > 0) + (cuda->n_maps > 0);
}

/* NULL, or what no GPU has. */
static const char *too_large(Arena *arena, const Form *form, const FormCuda *cuda) {
    enum { MOST_PARAMETERS = 512, MOST_FACTORS = 3 };
    if (form_cuda_n_parameters(form, cuda) > MOST_PARAMETERS)
        return arena_printf(arena, "form %s has %zu arguments, and a launch at most %d with scratch memory", form->name,
                            form->n_args, MOST_PARAMETERS);
    if (form->n_products > MOST_FACTORS)
        return arena_printf(arena, "form %s has %d products, and the CUDA C of one kernel at most %d", form->name,
                            form->n_products, MOST_FACTORS);
    if (cuda->scratch_bytes >= MAX_SCRATCH)
        return arena_printf(arena, "form %s needs 2^48 bytes of scratch memory or more", form->name);
    for (int i = 0; i < cuda->n_launches; i++) {
        if (cuda->launches[i].n_blocks > INT32_MAX)
            return arena_printf(arena, "form %s needs %lld blocks, and a grid has at most %d", form->name,
                                (long long)cuda->launches[i].n_blocks, INT32_MAX);
    }
    return NULL;
}

bool form_cuda_has_tier(const Form *form, CudaTier tier, const FormCudaOptions *options) {
    static const FormCudaOptions none = {0};
    CudaProductChoice choices[CUDA_MOST_CHOICES];
    options = options ? options : &none;
    return tier == CUDA_SM_80 || (form_is_attention(form) ? cuda_attention_has_maps(form, options->is_unaligned)
                                                          : cuda_product_choices(form, tier, options, choices) > 0);
}

static void print_kernels(CudaPrinter *at, Form *form, CudaTier tier, const FormCudaOptions *options) {
    if (form->kind == FORM_KIND_PRODUCT)
        cuda_print_product(at, form, tier, options);
    else if (form_is_attention(form) && tier == CUDA_SM_90A)
        cuda_print_attention_wgmma(at);
    else if (form_is_attention(form))
        cuda_print_attention(at);
    else if (form->kind == FORM_KIND_ROUTE)
        cuda_print_route(at, form);
    else if (form_scatter_of(&form->body))
        cuda_print_scatter(at, form);
    else
        cuda_print_rows(at, form);
}

const FormCuda *form_cuda(Arena *arena, const Form *given, CudaTier tier, const FormCudaOptions *options,
                          const char **error) {
    static const FormCudaOptions none = {0};
    options = options ? options : &none;
    *error = form_is_attention(given) ? cuda_refuse_attention(arena, given) : NULL;
    if (*error)
        return NULL;
    char *buffer = NULL;
    size_t n_bytes = 0;
    CPrinter c = {.arena = arena, .out = open_memstream(&buffer, &n_bytes)};
    assert(c.out != NULL && form_cuda_has_tier(given, tier, options));
    Form *form = form_joined(arena, given);
    if (options->heading)
        c_comment(&c, options->heading);
    FormCuda *out = arena_new_of(arena, FormCuda);
    CudaPrinter at = printer_new(&c, form, out, options->is_unaligned);
    print_kernels(&at, form, tier, options);
    fclose(c.out);
    out->text = arena_strndup(arena, buffer, n_bytes);
    free(buffer);
    *error = too_large(arena, form, out);
    return *error ? NULL : out;
}
