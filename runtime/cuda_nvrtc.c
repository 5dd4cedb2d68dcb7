#include "runtime/cuda_nvrtc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN_LINES = 2 /* of the text, before and after the one with the fault */, MAX_ARCHITECTURES = 64 };

#define SYMBOL(name, symbol, result, parameters) {#symbol, offsetof(NvrtcFunctions, name)},
static const CudaSymbol symbols[] = {NVRTC_FUNCTIONS(SYMBOL)};
#undef SYMBOL

/* A driver loads code of its own major version and of older ones. */
static const char *const names[] = {"libnvrtc.so.13", "libnvrtc.so.12", NULL};
static const char *const names_of_12[] = {"libnvrtc.so.12", NULL};

static bool check(const Nvrtc *nvrtc, NvrtcResult result, const char *call, const CudaPurpose *purpose,
                  Status *status) {
    return result == NVRTC_RESULT_SUCCESS ||
           cuda_fail(status, call, purpose, result, nvrtc->api.nvrtcGetErrorString(result), NULL);
}

#define NVRTC_CALL(nvrtc, purpose, status, name, ...)                                                                  \
    check(nvrtc, (nvrtc)->api.name(__VA_ARGS__), #name, purpose, status)

bool nvrtc_open(Nvrtc *nvrtc, const CudaPlaces *places, int driver_version, Status *status) {
    bool is_12 = driver_version != 0 && driver_version < 13000;
    const CudaLibraryKind kind = {
        .title = "NVRTC, which compiles the kernels",
        .names = is_12 ? names_of_12 : names,
        .symbols = symbols,
        .n_symbols = sizeof symbols / sizeof *symbols,
        .advice = is_12 ? "install a CUDA 12 toolkit, or NVRTC alone: pip install nvidia-cuda-nvrtc-cu12"
                        : "install a CUDA toolkit, or NVRTC alone: pip install nvidia-cuda-nvrtc",
    };
    *nvrtc = (Nvrtc){.major = 0};
    if (cuda_library_open(&nvrtc->library, &kind, places, &nvrtc->api, status) &&
        NVRTC_CALL(nvrtc, CUDA_TO("learn its version"), status, nvrtcVersion, &nvrtc->major, &nvrtc->minor))
        return true;
    nvrtc_close(nvrtc);
    return false;
}

void nvrtc_close(Nvrtc *nvrtc) {
    cuda_library_close(&nvrtc->library);
    *nvrtc = (Nvrtc){.major = 0};
}

/* ---- Architectures ----------------------------------------------------------------------------------------------- */

bool nvrtc_architecture(const Nvrtc *nvrtc, int major, int minor, char architecture[NVRTC_ARCHITECTURE_BYTES],
                        Status *status) {
    int known[MAX_ARCHITECTURES], n = 0, wanted = 10 * major + minor, best = 0;
    if (!NVRTC_CALL(nvrtc, CUDA_TO("count architectures"), status, nvrtcGetNumSupportedArchs, &n))
        return false;
    if (n > MAX_ARCHITECTURES)
        return status_fail(status, STATUS_INTERNAL, "NVRTC knows %d architectures, more than %d", n, MAX_ARCHITECTURES);
    if (!NVRTC_CALL(nvrtc, CUDA_TO("list architectures"), status, nvrtcGetSupportedArchs, known))
        return false;
    /* Code of one runs on all later ones of the same major. */
    for (int i = 0; i < n; i++) {
        if (known[i] / 10 == major && known[i] <= wanted && known[i] > best)
            best = known[i];
    }
    if (best == 0)
        return status_fail(status, STATUS_SYSTEM,
                           "NVRTC %d.%d (%s) cannot compile for compute capability %d.%d: install a newer one",
                           nvrtc->major, nvrtc->minor, status_path_end(nvrtc->library.path, 100), major, minor);
    /* "a": with what only this one has, wgmma among it. */
    bool has_own = best == wanted && best >= 90;
    snprintf(architecture, NVRTC_ARCHITECTURE_BYTES, "sm_%d%s", best, has_own ? "a" : "");
    return true;
}

/* ---- Compiling --------------------------------------------------------------------------------------------------- */

/* The line that a log's first error is about, from "NAME.cu(12): error: ..", and where that begins; 0: none. */
static int find_error(const char *log, const char **begin) {
    for (const char *line = log; line; line = strchr(line, '\n'), line = line ? line + 1 : NULL) {
        const char *open = strchr(line, '('), *end = strchr(line, '\n'), *error = strstr(line, ": error");
        if (!error || !open || (end && error > end) || open > error)
            continue;
        *begin = line;
        return atoi(open + 1);
    }
    *begin = log;
    return 0;
}

/* Lines of the text around one of them, numbered, "> " before it. */
static void show_lines(FILE *out, const char *text, int shown) {
    int number = 1;
    for (const char *line = text; line && number <= shown + SHOWN_LINES; number++) {
        const char *end = strchr(line, '\n');
        int length = end ? (int)(end - line) : (int)strlen(line);
        if (number >= shown - SHOWN_LINES)
            fprintf(out, "\n%s%5d | %.*s", number == shown ? ">" : " ", number, length < 90 ? length : 90, line);
        line = end ? end + 1 : NULL;
    }
}

/* A compilation under way. */
typedef struct {
    const Nvrtc *nvrtc;
    const CudaText *text;
    const char *architecture;
    CudaPurpose purpose;
    NvrtcProgram program;
} Compilation;

/* NVRTC refused the text: what it says first, and the lines about which it does. */
static bool fail_text(const Compilation *job, const char *log, Status *status) {
    const CudaText *text = job->text;
    const char *error;
    char *lines = NULL;
    size_t n_lines = 0;
    int line = find_error(log, &error), length = (int)strcspn(error, "\n");
    FILE *out = open_memstream(&lines, &n_lines);
    if (!out)
        return status_fail_errno(status, "kernel %s", text->name);
    if (line > 0)
        show_lines(out, text->text, line);
    fclose(out);
    status_fail(status, STATUS_INTERNAL, "kernel %s%s%s%s does not compile (NVRTC %d.%d, %s):\n%.*s%s", text->name,
                text->source ? " (" : "", text->source ? text->source : "", text->source ? ")" : "", job->nvrtc->major,
                job->nvrtc->minor, job->architecture, length < 300 ? length : 300, error, lines ? lines : "");
    free(lines);
    return false;
}

typedef NvrtcResult SizeFunction(NvrtcProgram program, size_t *n_bytes);
typedef NvrtcResult BytesFunction(NvrtcProgram program, char *bytes);

/* One of the results, by calls NAMESize and NAME; a NUL is behind it. */
static bool get(const Compilation *job, const char *name, SizeFunction *size, BytesFunction *bytes, char **result,
                size_t *n_bytes, Status *status) {
    char size_name[64];
    snprintf(size_name, sizeof size_name, "%sSize", name);
    if (!check(job->nvrtc, size(job->program, n_bytes), size_name, &job->purpose, status))
        return false;
    *result = calloc(*n_bytes + 1, 1);
    if (!*result)
        return status_fail_errno(status, "kernel %s", job->text->name);
    return check(job->nvrtc, bytes(job->program, *result), name, &job->purpose, status);
}

#define GET(job, name, result, n_bytes, status)                                                                        \
    get(job, #name, (job)->nvrtc->api.name##Size, (job)->nvrtc->api.name, result, n_bytes, status)

static bool run(const Compilation *job, const char *const *options, size_t n_options, NvrtcOutput *output,
                Status *status) {
    size_t n_log, n_ptx;
    NvrtcResult result = job->nvrtc->api.nvrtcCompileProgram(job->program, (int)n_options, options);
    if (result != NVRTC_RESULT_COMPILATION && !check(job->nvrtc, result, "nvrtcCompileProgram", &job->purpose, status))
        return false;
    if (!GET(job, nvrtcGetProgramLog, &output->log, &n_log, status))
        return false;
    if (result == NVRTC_RESULT_COMPILATION)
        return fail_text(job, output->log, status);
    return GET(job, nvrtcGetCUBIN, &output->cubin, &output->n_cubin, status) &&
           GET(job, nvrtcGetPTX, &output->ptx, &n_ptx, status);
}

bool nvrtc_compile(const Nvrtc *nvrtc, const CudaText *text, const char *architecture, const char *const *options,
                   size_t n_options, NvrtcOutput *output, Status *status) {
    Compilation job = {.nvrtc = nvrtc,
                       .text = text,
                       .architecture = architecture,
                       .purpose = {"to compile", text->name, text->value, text->source}};
    char file[128], first[64];
    *output = (NvrtcOutput){0};
    snprintf(file, sizeof file, "%s.cu", text->name);
    snprintf(first, sizeof first, "--gpu-architecture=%s", architecture);
    const char **all = malloc((n_options + 1) * sizeof *all);
    if (!all)
        return status_fail_errno(status, "kernel %s", text->name);
    all[0] = first;
    if (n_options > 0)
        memcpy(all + 1, options, n_options * sizeof *all);
    if (NVRTC_CALL(nvrtc, &job.purpose, status, nvrtcCreateProgram, &job.program, text->text, file, 0, NULL, NULL)) {
        run(&job, all, n_options + 1, output, status);
        NVRTC_CALL(nvrtc, &job.purpose, status, nvrtcDestroyProgram, &job.program);
    }
    free(all);
    if (status->failed)
        nvrtc_output_free(output);
    return !status->failed;
}

void nvrtc_output_free(NvrtcOutput *output) {
    free(output->cubin);
    free(output->ptx);
    free(output->log);
    *output = (NvrtcOutput){0};
}
