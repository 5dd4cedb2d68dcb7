/* A GPU in software: the fake driver with kernels that run. A cubin is a shared object for the CPU, compiled from the
   text as codegen/form_cuda.h gives it, prelude and kernels; its functions run under tests/simt. A fault ends up on
   stderr, and as one of the device.

   MOEC_SIM_CHECK=1 has all accesses to memory checked, which takes several times as long: it must be in some block of
   the device's, and no two threads may race. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/fake_cuda/fake_code.h"
#include "tests/fake_cuda/fake_names.h"
#include "tests/simt/simt.h"
#include "tests/simt/simt_source.h"

static const char mark[8] = "\177SIM\n";

/* What a cubin begins with. */
typedef struct {
    char mark[sizeof mark];
    size_t n_bytes; /* of the shared object behind it */
} Header;

struct FakeCode {
    void *object;
    const SimtModule *module;
    const SimtEntry *entries; /* one without a name ends them */
};

static bool checks(void) {
    const char *value = getenv("MOEC_SIM_CHECK");
    return value && strcmp(value, "1") == 0;
}

/* Caches tell compilers apart by their versions. */
void fake_code_set_up(FakeCuda *fake) {
    fake->device = "Software GPU";
    fake->free_bytes = fake->total_bytes = (size_t)16 << 30;
    fake->nvrtc_minor = checks();
}

/* The runtime does not look at what a driver alone can see. */
__attribute__((destructor)) static void tell_misuse(void) {
    if (*fake_cuda()->misuse)
        fprintf(stderr, "software GPU: %s\n", fake_cuda()->misuse);
}

/* ---- Compiling --------------------------------------------------------------------------------------------------- */

/* How many parameters stand before the parenthesis that closes: none has one of its own. */
static int count_parameters(const char *text) {
    int n = *text != ')';
    for (; *text && *text != ')'; text++)
        n += *text == ',';
    return n;
}

/* Functions that call the text's kernels, and a table of these:  MOEC_KERNEL(256) void name(const float *x) */
static void print_entries(FILE *out, const char *text) {
    static const char word[] = "MOEC_KERNEL(";
    char *table = NULL, name[64];
    size_t n_bytes;
    FILE *entries = open_memstream(&table, &n_bytes);
    int n_threads, n = 0, length;
    for (const char *at = text; (at = strstr(at, word)); at += sizeof word - 1) {
        if (sscanf(at, "MOEC_KERNEL(%d) void %63[A-Za-z0-9_](%n", &n_threads, name, &length) != 2)
            continue;
        int n_parameters = count_parameters(at + length);
        fprintf(out, "\nstatic SIMT_HOST void simt_call_%d(void *const *args) {\n    %s(", n, name);
        for (int i = 0; i < n_parameters; i++)
            fprintf(out, "%sargs[%d]", i > 0 ? ", " : "", i);
        fputs(");\n}\n", out);
        fprintf(entries, "    {\"%s\", simt_call_%d, %d, %d},\n", name, n++, n_parameters, n_threads);
    }
    fclose(entries);
    fprintf(out, "\nSIMT_MODULE;\nconst SimtEntry simt_entries[] = {\n%s    {0},\n};\n", table);
    free(table);
}

/* In memory to be freed, with room for `n_before` bytes before and a NUL behind; NULL if it cannot be read. */
static char *read_file(const char *path, size_t n_before, size_t *n_bytes) {
    FILE *file = fopen(path, "rb");
    if (!file)
        return NULL;
    fseek(file, 0, SEEK_END);
    *n_bytes = (size_t)ftell(file);
    rewind(file);
    char *bytes = calloc(1, n_before + *n_bytes + 1);
    size_t n_read = fread(bytes + n_before, 1, *n_bytes, file);
    fclose(file);
    if (n_read == *n_bytes)
        return bytes;
    free(bytes);
    return NULL;
}

/* Text without kernels of ours, as tests have it, is CUDA C++: its functions are known by their names. */
static bool has_kernels(const char *text) {
    return strstr(text, "\nMOEC_KERNEL(");
}

/* gcc's errors as NVRTC writes them, "name(4): error: ..", to be freed. */
static char *errors_of(const char *log) {
    char *errors = NULL, name[128];
    size_t n_bytes;
    FILE *out = open_memstream(&errors, &n_bytes);
    for (const char *line = log; line; line = strchr(line, '\n')) {
        int number, length = 0;
        line += *line == '\n';
        if (sscanf(line, "%127[^:\n]:%d:%*d: error:%n", name, &number, &length) == 2 && length > 0)
            fprintf(out, "%s(%d): error:%.*s\n", name, number, (int)strcspn(line + length, "\n"), line + length);
    }
    fclose(out);
    return errors;
}

void *fake_code_compile(const char *text, const char *name, size_t *n_bytes, char **log) {
    SimtSource source;
    Header header = {.n_bytes = 0};
    char *code = NULL;
    size_t n_log;
    const char *error = simt_source_open(&source);
    if (!error) {
        if (has_kernels(text))
            fprintf(source.out, "#line 1 \"%s\"\n%s", name, text);
        print_entries(source.out, text);
        error = simt_source_compile(&source, checks());
    }
    char *said = read_file(source.log, 0, &n_log);
    *log = errors_of(said);
    free(said);
    if (!error && (code = read_file(source.object, sizeof header, &header.n_bytes))) {
        memcpy(header.mark, mark, sizeof mark);
        memcpy(code, &header, sizeof header);
        *n_bytes = sizeof header + header.n_bytes;
    }
    simt_source_close(&source);
    return code;
}

/* ---- Loading ----------------------------------------------------------------------------------------------------- */

/* Shared objects of kernels call the simulator: its names, which were opened for their opener alone, are for all. */
static void be_global(void) {
    Dl_info own;
    if (!dladdr(mark, &own))
        return;
    void *handle = dlopen(own.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_GLOBAL);
    if (handle)
        dlclose(handle); /* counts what has opened it, and stays global */
}

static void *load(const char *bytes, size_t n_bytes) {
    char path[] = "/tmp/moec-sim-XXXXXX";
    int file = mkstemp(path);
    if (file < 0)
        return NULL;
    bool is_written = write(file, bytes, n_bytes) == (ssize_t)n_bytes;
    close(file);
    void *object = is_written ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    if (!object)
        fprintf(stderr, "software GPU: %s\n", is_written ? dlerror() : "a module cannot be written");
    unlink(path);
    return object;
}

FakeCode *fake_code_open(const void *image) {
    Header header;
    memcpy(&header, image, sizeof header);
    if (memcmp(header.mark, mark, sizeof mark) != 0)
        return NULL;
    be_global();
    void *object = load((const char *)image + sizeof header, header.n_bytes);
    if (!object)
        return NULL;
    FakeCode *code = malloc(sizeof *code);
    *code = (FakeCode){object, dlsym(object, "simt_module"), dlsym(object, "simt_entries")};
    return code;
}

void fake_code_close(FakeCode *code) {
    dlclose(code->object);
    free(code);
}

bool fake_code_find(const FakeCode *code, const char *name, CUfunction function) {
    const SimtEntry *entry = code->entries;
    const FakeName *known = fake_name_find(name);
    while (entry->name && strcmp(entry->name, name) != 0)
        entry++;
    if (!entry->name && !known)
        return false;
    snprintf(function->name, sizeof function->name, "%s", name);
    function->n_parameters = entry->name ? entry->n_parameters : known->n_parameters;
    function->max_threads = entry->name ? entry->n_threads : 1024;
    function->entry = entry->name ? entry : NULL;
    return true;
}

/* ---- Running ----------------------------------------------------------------------------------------------------- */

enum { MAX_BLOCKS = 64 };

static size_t list_memory(SimtBuffer buffers[MAX_BLOCKS]) {
    size_t n = 0;
    for (const FakeBlock *block = NULL; n < MAX_BLOCKS && (block = fake_block_next(block)); n++) {
        buffers[n] = (SimtBuffer){.name = "the device's memory"};
        buffers[n].data = fake_block_bytes(block, &buffers[n].n_bytes);
    }
    return n;
}

CudaResult fake_code_run(const FakeLaunch *launch) {
    const SimtEntry *entry = launch->function->entry;
    SimtBuffer buffers[MAX_BLOCKS];
    if (!entry)
        return fake_name_find(launch->function->name)->run(launch->arguments);
    const char *error = simt_launch(&(SimtLaunch){.name = entry->name,
                                                  .kernel = entry->call,
                                                  .args = launch->arguments,
                                                  .n_blocks = launch->n_blocks,
                                                  .n_threads = (int)launch->n_threads,
                                                  .module = launch->function->code->module,
                                                  .buffers = buffers,
                                                  .n_buffers = checks() ? list_memory(buffers) : 0,
                                                  .shared_bytes = launch->n_shared_bytes,
                                                  .seed = 1});
    if (error)
        fprintf(stderr, "software GPU: %s\n", error);
    return error ? FAKE_FAULT : CUDA_RESULT_SUCCESS;
}
