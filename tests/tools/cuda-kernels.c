/* cuda-kernels FILE.ir: the CUDA C of a module's kernels for sm_80, without the prelude.
   cuda-kernels --for-sm_90a FILE.ir: their CUDA C for sm_90a, of those that have one.
   cuda-kernels --choices ARCHITECTURE FILE.form: has NVRTC compile each of the ways that a form can be cut, but for
   bands, and prints a row for each.
   cuda-kernels --form ARCHITECTURE FILE.form: the CUDA C of a form.
   cuda-kernels --compile ARCHITECTURES FILE.ir: has NVRTC compile it for those of sm_80, sm_89, sm_90a and sm_100a that
   the list with commas names and NVRTC knows, or for all, and prints a table: how each kernel is launched, and with
   --registers instead, how many of these it needs, which differ from one NVRTC to the next. Fails where a kernel spills
   registers, has a stack or does not fit on a processor.
   What there is no CUDA C of yet stands at the end. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/form_cuda.h"
#include "runtime/cuda_nvrtc.h"
#include "tests/support/module_kernels.h"

static const struct { int major, minor; } capabilities[] = {{8, 0}, {8, 9}, {9, 0}, {10, 0}};

enum { N_CAPABILITIES = sizeof capabilities / sizeof capabilities[0], MAX_TEXTS = 1024 };

/* Of a kernel, on each tier the best that it has. */
typedef struct {
    const Kernel *kernel;
    const FormCuda *tiers[CUDA_N_TIERS];
} Text;

typedef struct {
    Arena *arena;
    Text texts[MAX_TEXTS];
    size_t n_texts;
    const char *missing; /* lines */
} Texts;

static bool add_texts(Texts *at, const Kernels *kernels) {
    at->missing = "";
    for (size_t i = 0; i < kernels_count(kernels); i++) {
        const Kernel *kernel = kernels_get(kernels, i);
        const char *error = arena_printf(at->arena, "%s: it has no form", kernel->name);
        const FormCudaOptions options = {.heading = kernel->heading};
        Text text = {.kernel = kernel};
        for (int tier = 0; tier < CUDA_N_TIERS && kernel->form; tier++) {
            bool has_own = form_cuda_has_tier(kernel->form, (CudaTier)tier, &options);
            text.tiers[tier] =
                has_own ? form_cuda(at->arena, kernel->form, (CudaTier)tier, &options, &error) : text.tiers[CUDA_SM_80];
        }
        if (!text.tiers[CUDA_SM_80] || !text.tiers[CUDA_SM_90A])
            at->missing = arena_printf(at->arena, "%s%s\n", at->missing, error);
        else if (at->n_texts < MAX_TEXTS)
            at->texts[at->n_texts++] = text;
        else
            return false;
    }
    return true;
}

static CudaTier tier_of(const char *architecture) {
    return strcmp(architecture, "sm_90a") == 0 ? CUDA_SM_90A : CUDA_SM_80;
}

static char *all_text(const Texts *at, CudaTier tier) {
    char *text = NULL;
    size_t n_bytes = 0;
    FILE *out = open_memstream(&text, &n_bytes);
    form_cuda_print_prelude(out);
    for (size_t i = 0; i < at->n_texts; i++)
        fprintf(out, "\n%s", at->texts[i].tiers[tier]->text);
    fclose(out);
    return text;
}

/* ---- What ptxas says --------------------------------------------------------------------------------------------- */

typedef struct {
    long registers, spilled, stack, shared;
} Resources;

/* The number in front of the word, in the lines from `from` on to the next kernel's; 0 where there is none. */
static long number_before(const char *from, const char *end, const char *word) {
    const char *found = strstr(from, word);
    if (!found || found >= end)
        return 0;
    while (found > from && found[-1] >= '0' && found[-1] <= '9')
        found--;
    return strtol(found, NULL, 10);
}

static bool find_resources(Arena *arena, const char *log, const char *kernel, Resources *found) {
    const char *from = strstr(log, arena_printf(arena, "entry function '%s'", kernel));
    if (!from)
        return false;
    const char *end = strstr(from + 1, "entry function");
    end = end ? end : from + strlen(from);
    *found = (Resources){.registers = number_before(from, end, " registers"),
                         .spilled = number_before(from, end, " bytes spill stores"),
                         .stack = number_before(from, end, " bytes stack frame"),
                         .shared = number_before(from, end, " bytes smem")};
    return found->registers > 0;
}

/* What is wrong with it, or NULL. Registers are given out by eight, 65536 to a processor. */
static const char *broken_budget(const Resources *found, const FormCudaLaunch *launch) {
    enum { REGISTERS = 65536, SHARED = 48 * 1024 };
    if (found->spilled > 0 || found->stack > 0)
        return "it spills registers, or has a stack";
    if ((found->registers + 7) / 8 * 8 * launch->n_threads > REGISTERS)
        return "its block needs more registers than a processor has";
    return found->shared > SHARED ? "it declares more than 48 KiB of shared memory" : NULL;
}

static bool print_launches(const Texts *at, const char *log, const char *architecture, bool shows_registers) {
    bool is_good = true;
    for (size_t i = 0; i < at->n_texts; i++) {
        const FormCuda *cuda = at->texts[i].tiers[tier_of(architecture)];
        for (int j = 0; j < cuda->n_launches; j++) {
            const FormCudaLaunch *launch = &cuda->launches[j];
            Resources found = {0};
            bool is_there = find_resources(at->arena, log, launch->kernel, &found);
            const char *broken = is_there ? broken_budget(&found, launch) : "the log does not say what it needs";
            if (shows_registers)
                printf("%-28s %-8s %4ld registers\n", launch->kernel, architecture, found.registers);
            if (broken)
                printf("%s on %s: %s: %ld registers, %ld bytes spilled, %ld of stack, %ld of shared memory\n",
                       launch->kernel, architecture, broken, found.registers, found.spilled, found.stack, found.shared);
            is_good = is_good && !broken;
        }
    }
    return is_good;
}

/* ---- Compiling --------------------------------------------------------------------------------------------------- */

/* Those of ptxas about products that it does one after the other, for lack of registers: C7510 and so on. */
static bool print_warnings(const char *log) {
    const char *warning = strstr(log, "(C75");
    if (warning)
        printf("%.*s\n", (int)strcspn(warning, "\n"), warning);
    return warning != NULL;
}

static bool compile_for(const Nvrtc *nvrtc, const Texts *at, const char *architecture, bool shows_registers,
                        Status *status) {
    static const char *const options[] = {"--ptxas-options=-v", "--std=c++17", "--diag-suppress=177"};
    char *text = all_text(at, tier_of(architecture));
    const CudaText source = {.name = "kernels", .text = text, .value = "all", .source = "a module"};
    NvrtcOutput output;
    bool is_good =
        nvrtc_compile(nvrtc, &source, architecture, options, sizeof options / sizeof *options, &output, status);
    if (is_good) {
        is_good = print_launches(at, output.log, architecture, shows_registers) && !print_warnings(output.log);
        nvrtc_output_free(&output);
    }
    free(text);
    return is_good;
}

static bool is_wanted(const char *list, const char *architecture) {
    size_t n = strlen(architecture);
    for (const char *found = list; (found = strstr(found, architecture)) != NULL; found += n) {
        if (found[n] == ',' || found[n] == '\0')
            return true;
    }
    return strcmp(list, "all") == 0;
}

static bool compile_all(const Texts *at, const char *architectures, bool shows_registers) {
    Status status = STATUS_INIT;
    CudaPlaces places;
    Nvrtc nvrtc;
    bool is_open = cuda_places_open(&places, &status) && nvrtc_open(&nvrtc, &places, 0, &status);
    bool is_good = is_open;
    for (int i = 0; i < N_CAPABILITIES && is_open; i++) {
        char architecture[NVRTC_ARCHITECTURE_BYTES];
        Status unknown = STATUS_INIT;
        if (nvrtc_architecture(&nvrtc, capabilities[i].major, capabilities[i].minor, architecture, &unknown) &&
            is_wanted(architectures, architecture))
            is_good = compile_for(&nvrtc, at, architecture, shows_registers, &status) && is_good;
    }
    if (status.failed)
        fprintf(stderr, "cuda-kernels: %s\n", status.message);
    if (is_open)
        nvrtc_close(&nvrtc);
    cuda_places_close(&places);
    return is_good && !status.failed;
}

/* ---- Kernels of a module ----------------------------------------------------------------------------------------- */

static void print_table(const Texts *at) {
    printf("%-28s %9s %8s %13s\n", "kernel", "blocks", "threads", "scratch bytes");
    for (size_t i = 0; i < at->n_texts; i++) {
        const FormCuda *cuda = at->texts[i].tiers[CUDA_SM_80];
        for (int j = 0; j < cuda->n_launches; j++)
            printf("%-28s %9lld %8d %13lld\n", cuda->launches[j].kernel, (long long)cuda->launches[j].n_blocks,
                   cuda->launches[j].n_threads, j == 0 ? (long long)cuda->scratch_bytes : 0);
    }
}

static void print_texts(const Texts *at, CudaTier tier) {
    int n = 0;
    for (size_t i = 0; i < at->n_texts; i++) {
        const Text *text = &at->texts[i];
        if (tier == CUDA_SM_80 || text->tiers[tier] != text->tiers[CUDA_SM_80])
            printf("%s%s", n++ > 0 ? "\n" : "", text->tiers[tier]->text);
    }
}

/* architectures NULL: prints the text. */
static bool run(Arena *arena, const char *path, CudaTier tier, const char *architectures, bool shows_registers) {
    Texts *at = arena_new_of(arena, Texts);
    at->arena = arena;
    Module *module = module_read_file(arena, path);
    Kernels *kernels = module ? module_kernels(arena, module) : NULL;
    if (!kernels || !add_texts(at, kernels))
        return false;
    if (architectures)
        print_table(at);
    else
        print_texts(at, tier);
    printf("%s%s", at->n_texts > 0 && at->missing[0] != '\0' ? "\n" : "", at->missing);
    return !architectures || compile_all(at, architectures, shows_registers);
}

/* ---- Ways to cut a form ------------------------------------------------------------------------------------------ */

static Form *read_form(Arena *arena, const char *path) {
    char *text = NULL;
    size_t n_bytes = 0;
    const char *error = "it cannot be read";
    FILE *file = fopen(path, "r");
    Form *form = NULL;
    if (file && getdelim(&text, &n_bytes, '\0', file) > 0)
        form = form_read(arena, text, strlen(text), &error);
    if (!form)
        fprintf(stderr, "cuda-kernels: %s: %s\n", path, error);
    if (file)
        fclose(file);
    free(text);
    return form;
}

static bool run_choices(Arena *arena, const char *path, const char *architecture) {
    CudaProductChoice choices[CUDA_MOST_CHOICES];
    CudaTier tier = tier_of(architecture);
    Form *form = read_form(arena, path);
    int n = form ? cuda_product_choices(form, tier, &(FormCudaOptions){0}, choices) : 0;
    bool is_good = n > 0;
    for (int i = 0; i < n; i++) {
        if (choices[i].n_band != choices[0].n_band)
            continue;
        const FormCudaOptions options = {.choice = &choices[i]};
        const char *error = NULL;
        Texts *at = arena_new_of(arena, Texts);
        *at = (Texts){.arena = arena, .n_texts = 1};
        at->texts[0].tiers[tier] = form_cuda(arena, form, tier, &options, &error);
        if (error)
            fprintf(stderr, "cuda-kernels: %s\n", error);
        printf("%s %d x %d, %d stages\n", form->name, choices[i].n_tile_rows, choices[i].n_tile_cols,
               choices[i].n_stages);
        fflush(stdout);
        is_good = !error && compile_all(at, architecture, false) && is_good;
    }
    return is_good;
}

/* ---- A form ------------------------------------------------------------------------------------------------------ */

static bool print_form(Arena *arena, const char *path, const char *architecture) {
    const char *error = NULL;
    Form *form = read_form(arena, path);
    const FormCuda *cuda = form ? form_cuda(arena, form, tier_of(architecture), &(FormCudaOptions){0}, &error) : NULL;
    if (error)
        fprintf(stderr, "cuda-kernels: %s\n", error);
    if (cuda)
        printf("%s", cuda->text);
    return cuda != NULL;
}

/* ---- The command ------------------------------------------------------------------------------------------------- */

int main(int n_arguments, char **arguments) {
    const char *option = n_arguments > 2 ? arguments[1] : "", *path = arguments[n_arguments - 1];
    bool shows_registers = strcmp(option, "--registers") == 0, is_hopper = strcmp(option, "--for-sm_90a") == 0;
    bool cuts = strcmp(option, "--choices") == 0, is_form = strcmp(option, "--form") == 0;
    bool compiles = shows_registers || cuts || strcmp(option, "--compile") == 0;
    if (n_arguments != (compiles || is_form ? 4 : is_hopper ? 3 : 2)) {
        fputs("usage: cuda-kernels [--for-sm_90a | --compile|--registers ARCHITECTURES] FILE.ir\n"
              "       cuda-kernels --choices|--form ARCHITECTURE FILE.form\n",
              stderr);
        return 2;
    }
    Arena *arena = arena_new();
    bool is_done = is_form ? print_form(arena, path, arguments[2])
                   : cuts  ? run_choices(arena, path, arguments[2])
                           : run(arena, path, is_hopper ? CUDA_SM_90A : CUDA_SM_80, compiles ? arguments[2] : NULL,
                                 shows_registers);
    arena_free(arena);
    return is_done ? 0 : 1;
}
