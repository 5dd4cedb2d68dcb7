/* cuda-resources [--table] ARCHITECTURES NAME=FILE.ir ..: has NVRTC compile the CUDA C of all kernels of these modules,
   each distinct text once for each of sm_80, sm_89, sm_90a and sm_100a that the list with commas names and NVRTC knows;
   texts for sm_90a only for that. Prints how many functions that were, or a table of what they need of a processor.
   Fails where one spills registers, has a stack, does not fit on a processor, or ptxas says that it will be slow.

   Texts are the same if they differ in their kernels' names only. Several are compiled at once. */
#include <ctype.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "codegen/form_cuda.h"
#include "runtime/cuda_nvrtc.h"
#include "tests/support/module_kernels.h"

static const struct {
    const char *name;
    int major, minor;
    CudaTier tier;
} architectures[] = {{"sm_80", 8, 0, CUDA_SM_80},
                     {"sm_89", 8, 9, CUDA_SM_80},
                     {"sm_90a", 9, 0, CUDA_SM_90A},
                     {"sm_100a", 10, 0, CUDA_SM_80}};

enum { N_ARCHITECTURES = sizeof architectures / sizeof architectures[0], BATCH = 12, MAX_THREADS = 16 };
enum { MOST_REGISTERS = 65536, MOST_SHARED = 227 * 1024, MOST_DECLARED = 48 * 1024 };

/* The kernels of a form, in a text that calls them kernel_NUMBER instead of their name. */
typedef struct {
    const char *module, *name, *text;
    const FormCuda *cuda;
    bool is_wanted[N_ARCHITECTURES];
} Text;

/* Texts that are compiled together. */
typedef struct {
    size_t texts[BATCH], n_texts;
    int architecture;
    bool is_good;
    char *rows, *faults; /* lines */
} Job;

typedef struct {
    Arena *arena;
    Text *texts;
    size_t n_texts, texts_capacity;
    Job *jobs;
    size_t n_jobs, jobs_capacity, n_taken;
    pthread_mutex_t lock;
    Nvrtc nvrtc;
    bool are_known[N_ARCHITECTURES];
    Status status;
} Resources;

/* ---- Texts ------------------------------------------------------------------------------------------------------- */

/* Words that begin with the name begin with another one then. */
static const char *renamed(Arena *arena, const char *text, const char *name, const char *other) {
    char *buffer = NULL;
    size_t n_bytes = 0, length = strlen(name);
    FILE *out = open_memstream(&buffer, &n_bytes);
    bool is_in_word = false;
    while (*text) {
        if (!is_in_word && strncmp(text, name, length) == 0) {
            fputs(other, out);
            text += length;
        } else {
            fputc(*text++, out);
        }
        is_in_word = isalnum((unsigned char)text[-1]) || text[-1] == '_';
    }
    fclose(out);
    const char *copy = arena_strndup(arena, buffer, n_bytes);
    free(buffer);
    return copy;
}

/* The text's number, whether it is new or not. */
static size_t find_text(Resources *at, const Text *text) {
    for (size_t i = 0; i < at->n_texts; i++) {
        if (strcmp(at->texts[i].text, text->text) == 0)
            return i;
    }
    if (at->n_texts == at->texts_capacity) {
        at->texts_capacity = at->texts_capacity ? at->texts_capacity * 2 : 64;
        at->texts = realloc(at->texts, at->texts_capacity * sizeof *at->texts);
    }
    at->texts[at->n_texts] = *text;
    return at->n_texts++;
}

static bool add_kernel(Resources *at, const char *module, const Kernel *kernel, const char *list) {
    const FormCuda *tiers[CUDA_N_TIERS];
    for (int i = 0; i < CUDA_N_TIERS; i++) {
        const char *error = NULL;
        bool has_own = i == CUDA_SM_80 || form_cuda_has_tier(kernel->form, (CudaTier)i, NULL);
        tiers[i] = has_own ? form_cuda(at->arena, kernel->form, (CudaTier)i, NULL, &error) : tiers[CUDA_SM_80];
        if (!tiers[i])
            fprintf(stderr, "cuda-resources: %s: %s\n", module, error);
        if (!tiers[i])
            return false;
    }
    for (int i = 0; i < N_ARCHITECTURES; i++) {
        const char *found = strstr(list, architectures[i].name);
        const FormCuda *cuda = tiers[architectures[i].tier];
        const char *name = kernel->form->name;
        Text text = {.module = module, .name = name, .text = renamed(at->arena, cuda->text, name, "k"), .cuda = cuda};
        if (!found || !at->are_known[i])
            continue;
        size_t number = find_text(at, &text);
        at->texts[number].is_wanted[i] = true;
    }
    return true;
}

/* NAME=FILE.ir */
static bool add_module(Resources *at, const char *argument, const char *list) {
    const char *path = strchr(argument, '=');
    Module *module = path ? module_read_file(at->arena, path + 1) : NULL;
    Kernels *kernels = module ? module_kernels(at->arena, module) : NULL;
    if (!kernels)
        return false;
    const char *name = arena_strndup(at->arena, argument, (size_t)(path - argument));
    for (size_t i = 0; i < kernels_count(kernels); i++) {
        const Kernel *kernel = kernels_get(kernels, i);
        if (kernel->form && !add_kernel(at, name, kernel, list))
            return false;
    }
    return true;
}

static void add_jobs(Resources *at) {
    for (int architecture = 0; architecture < N_ARCHITECTURES; architecture++) {
        Job *job = NULL;
        for (size_t i = 0; i < at->n_texts; i++) {
            if (!at->texts[i].is_wanted[architecture])
                continue;
            if (at->n_jobs == at->jobs_capacity) {
                at->jobs_capacity = at->jobs_capacity ? at->jobs_capacity * 2 : 64;
                at->jobs = realloc(at->jobs, at->jobs_capacity * sizeof *at->jobs);
                job = job ? &at->jobs[at->n_jobs - 1] : NULL;
            }
            if (!job || job->n_texts == BATCH) {
                job = &at->jobs[at->n_jobs++];
                *job = (Job){.architecture = architecture};
            }
            job->texts[job->n_texts++] = i;
        }
    }
}

/* ---- What ptxas says --------------------------------------------------------------------------------------------- */

typedef struct {
    long registers, spilled, stack, declared;
} Needs;

/* The number in front of the word, in the lines from `from` up to `end`; 0 where there is none. */
static long number_before(const char *from, const char *end, const char *word) {
    const char *found = strstr(from, word);
    if (!found || found >= end)
        return 0;
    while (found > from && isdigit((unsigned char)found[-1]))
        found--;
    return strtol(found, NULL, 10);
}

static bool find_needs(const char *log, const char *function, Needs *needs) {
    char word[160];
    snprintf(word, sizeof word, "entry function '%s'", function);
    const char *from = strstr(log, word), *end = from ? strstr(from + 1, "entry function") : NULL;
    if (!from)
        return false;
    end = end ? end : from + strlen(from);
    *needs = (Needs){.registers = number_before(from, end, " registers"),
                     .spilled = number_before(from, end, " bytes spill stores"),
                     .stack = number_before(from, end, " bytes stack frame"),
                     .declared = number_before(from, end, " bytes smem")};
    return needs->registers > 0;
}

/* What is wrong with it, or NULL. Registers are given out by eight, and a block's shared memory comes with a KiB. */
static const char *broken_budget(const Needs *needs, const FormCudaLaunch *launch) {
    if (needs->spilled > 0)
        return "it spills registers";
    if (needs->stack > 0)
        return "it has a stack";
    if ((needs->registers + 7) / 8 * 8 * launch->n_threads > MOST_REGISTERS)
        return "its block needs more registers than a processor has";
    if (needs->declared > MOST_DECLARED)
        return "it declares more than 48 KiB of shared memory";
    return needs->declared + launch->shared_bytes > MOST_SHARED ? "its block needs more than 227 KiB of shared memory"
                                                                : NULL;
}

/* Of "matmul_3_1" what stands behind the form's name. */
static void print_function(FILE *rows, FILE *faults, Job *job, const Text *text, size_t number, const char *log,
                           const FormCudaLaunch *launch) {
    char function[128];
    Needs needs = {0};
    snprintf(function, sizeof function, "kernel_%zu_%s", number, launch->kernel + strlen(text->name));
    const char *broken =
        find_needs(log, function, &needs) ? broken_budget(&needs, launch) : "the log does not tell of it";
    const char *architecture = architectures[job->architecture].name;
    fprintf(rows, "%-20s %-32s %-8s %7d %9ld %8ld %7lld\n", text->module, launch->kernel, architecture,
            launch->n_threads, needs.registers, needs.declared, (long long)launch->shared_bytes);
    if (!broken)
        return;
    fprintf(faults, "%s of %s on %s: %s: %ld registers, %ld bytes spilled, %ld of stack, %lld of shared memory\n",
            launch->kernel, text->module, architecture, broken, needs.registers, needs.spilled, needs.stack,
            (long long)needs.declared + (long long)launch->shared_bytes);
    job->is_good = false;
}

/* As with products of warpgroups that registers are moved for, one after the other. */
static void find_losses(FILE *faults, Job *job, const char *log) {
    for (const char *at = log; (at = strstr(at, "Potential Performance Loss")); at++) {
        fprintf(faults, "%.*s\n", (int)strcspn(at, "\n"), at);
        job->is_good = false;
    }
}

/* ---- Compiling --------------------------------------------------------------------------------------------------- */

static char *text_of(const Resources *at, const Job *job) {
    char *text = NULL, name[32];
    size_t n_bytes = 0;
    Arena *arena = arena_new();
    FILE *out = open_memstream(&text, &n_bytes);
    form_cuda_print_prelude(out);
    for (size_t i = 0; i < job->n_texts; i++) {
        const Text *one = &at->texts[job->texts[i]];
        snprintf(name, sizeof name, "kernel_%zu_", job->texts[i]);
        fprintf(out, "\n%s", renamed(arena, one->cuda->text, one->name, name));
    }
    fclose(out);
    arena_free(arena);
    return text;
}

static void run_job(Resources *at, Job *job) {
    static const char *const options[] = {"--ptxas-options=-v", "--std=c++17", "--diag-suppress=177"};
    char *text = text_of(at, job);
    size_t n_bytes;
    const CudaText source = {.name = "kernels", .text = text, .value = "all", .source = "the modules"};
    Status status = STATUS_INIT;
    NvrtcOutput output;
    FILE *rows = open_memstream(&job->rows, &n_bytes), *faults = open_memstream(&job->faults, &n_bytes);
    job->is_good = nvrtc_compile(&at->nvrtc, &source, architectures[job->architecture].name, options,
                                 sizeof options / sizeof *options, &output, &status);
    if (!job->is_good) {
        fprintf(faults, "%s\n", status.message);
    } else {
        find_losses(faults, job, output.log);
        for (size_t i = 0; i < job->n_texts; i++) {
            const Text *one = &at->texts[job->texts[i]];
            for (int j = 0; j < one->cuda->n_launches; j++)
                print_function(rows, faults, job, one, job->texts[i], output.log, &one->cuda->launches[j]);
        }
        nvrtc_output_free(&output);
    }
    fclose(rows);
    fclose(faults);
    free(text);
}

static void *work(void *given) {
    Resources *at = given;
    for (;;) {
        pthread_mutex_lock(&at->lock);
        Job *job = at->n_taken < at->n_jobs ? &at->jobs[at->n_taken++] : NULL;
        pthread_mutex_unlock(&at->lock);
        if (!job)
            return NULL;
        run_job(at, job);
    }
}

static void run_jobs(Resources *at) {
    pthread_t threads[MAX_THREADS];
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    int n_threads = n < 1 ? 1 : n > MAX_THREADS ? MAX_THREADS : (int)n, n_started = 0;
    pthread_mutex_init(&at->lock, NULL);
    while (n_started < n_threads && pthread_create(&threads[n_started], NULL, work, at) == 0)
        n_started++;
    work(at);
    for (int i = 0; i < n_started; i++)
        pthread_join(threads[i], NULL);
    pthread_mutex_destroy(&at->lock);
}

/* ---- The command ------------------------------------------------------------------------------------------------- */

static bool open_nvrtc(Resources *at, CudaPlaces *places) {
    if (!cuda_places_open(places, &at->status) || !nvrtc_open(&at->nvrtc, places, 0, &at->status))
        return false;
    for (int i = 0; i < N_ARCHITECTURES; i++) {
        char name[NVRTC_ARCHITECTURE_BYTES];
        Status unknown = STATUS_INIT;
        at->are_known[i] =
            nvrtc_architecture(&at->nvrtc, architectures[i].major, architectures[i].minor, name, &unknown) &&
            strcmp(name, architectures[i].name) == 0;
    }
    return true;
}

static bool print_results(const Resources *at, bool is_table) {
    bool is_good = true;
    size_t n[N_ARCHITECTURES] = {0};
    if (is_table)
        printf("NVRTC %d.%d\n%-20s %-32s %-8s %7s %9s %8s %7s\n", at->nvrtc.major, at->nvrtc.minor, "module",
               "function", "for", "threads", "registers", "declared", "dynamic");
    for (size_t i = 0; i < at->n_jobs; i++) {
        const Job *job = &at->jobs[i];
        for (size_t j = 0; j < job->n_texts; j++)
            n[job->architecture] += (size_t)at->texts[job->texts[j]].cuda->n_launches;
        fputs(is_table ? job->rows : "", stdout);
        fputs(job->faults, stdout);
        is_good = is_good && job->is_good;
        free(job->rows);
        free(job->faults);
    }
    for (int i = 0; i < N_ARCHITECTURES && !is_table; i++) {
        if (n[i] > 0)
            printf("%zu functions for %s\n", n[i], architectures[i].name);
    }
    return is_good;
}

static bool run(Resources *at, bool is_table, char **arguments) {
    CudaPlaces places;
    bool is_good = open_nvrtc(at, &places);
    for (int i = 1; arguments[i] && is_good; i++)
        is_good = add_module(at, arguments[i], arguments[0]);
    if (is_good) {
        add_jobs(at);
        run_jobs(at);
        is_good = print_results(at, is_table);
    }
    if (at->status.failed)
        fprintf(stderr, "cuda-resources: %s\n", at->status.message);
    nvrtc_close(&at->nvrtc);
    cuda_places_close(&places);
    return is_good;
}

int main(int n_arguments, char **arguments) {
    bool is_table = n_arguments > 1 && strcmp(arguments[1], "--table") == 0;
    if (n_arguments < 3 + is_table) {
        fputs("usage: cuda-resources [--table] ARCHITECTURES NAME=FILE.ir ..\n", stderr);
        return 2;
    }
    Resources at = {.arena = arena_new(), .status = STATUS_INIT};
    bool is_good = run(&at, is_table, arguments + 1 + is_table);
    arena_free(at.arena);
    free(at.texts);
    free(at.jobs);
    return is_good ? 0 : 1;
}
