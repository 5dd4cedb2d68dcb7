#include "runtime/cuda_compile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/meter.h"

enum { VERSION_BYTES = 32, FIXED_PARTS = 4 };

/* What the threads share. */
typedef struct {
    const CudaCompiler *compiler;
    const CudaText *texts;
    size_t n;
    NvrtcOutput *outputs;
    Log *log;
    size_t n_done, n_cached;
    size_t first_failed; /* n: none */
    Status *failure;     /* of that one */
    Status cache_failure;
} Batch;

/* Of all that a cubin depends on; false when out of memory, which leaves it out of the cache. */
static bool key_of(const CudaCompiler *compiler, const CudaText *text, CudaCacheKey *key) {
    char version[VERSION_BYTES];
    size_t n_parts = FIXED_PARTS + compiler->n_options;
    const char **parts = malloc(n_parts * sizeof *parts);
    if (!parts)
        return false;
    snprintf(version, sizeof version, "%d.%d", compiler->nvrtc->major, compiler->nvrtc->minor);
    parts[0] = version;
    parts[1] = compiler->architecture;
    parts[2] = text->name; /* of the file, which stands in the lines for debuggers */
    parts[3] = text->text;
    if (compiler->n_options > 0)
        memcpy(parts + FIXED_PARTS, compiler->options, compiler->n_options * sizeof *parts);
    *key = cuda_cache_key(parts, n_parts);
    free(parts);
    return true;
}

static void store(Batch *batch, const CudaCacheKey *key, const NvrtcOutput *output) {
    Status status = STATUS_INIT;
    if (cuda_cache_store(batch->compiler->cache, key, output->cubin, output->n_cubin, &status))
        return;
#pragma omp critical(cuda_compile)
    if (!batch->cache_failure.failed)
        batch->cache_failure = status;
}

static bool compile_one(Batch *batch, size_t i, bool *is_cached, Status *status) {
    const CudaCompiler *compiler = batch->compiler;
    NvrtcOutput *output = &batch->outputs[i];
    CudaCacheKey key;
    void *bytes;
    bool has_key = compiler->cache && key_of(compiler, &batch->texts[i], &key);
    *is_cached = has_key && !compiler->keeps_ptx && cuda_cache_find(compiler->cache, &key, &bytes, &output->n_cubin);
    if (*is_cached) {
        output->cubin = bytes;
        return true;
    }
    if (!nvrtc_compile(compiler->nvrtc, &batch->texts[i], compiler->architecture, compiler->options,
                       compiler->n_options, output, status))
        return false;
    if (has_key)
        store(batch, &key, output);
    return true;
}

/* Whether a text before this one failed, so that its result is of no use. */
static bool is_moot(Batch *batch, size_t i) {
    bool is_after;
#pragma omp critical(cuda_compile)
    is_after = i > batch->first_failed;
    return is_after;
}

static void compile_at(Batch *batch, size_t i) {
    Status status = STATUS_INIT;
    bool is_cached;
    if (is_moot(batch, i))
        return;
    bool is_compiled = compile_one(batch, i, &is_cached, &status);
#pragma omp critical(cuda_compile)
    {
        batch->n_done++;
        batch->n_cached += is_cached;
        if (!is_compiled && i < batch->first_failed) {
            batch->first_failed = i;
            *batch->failure = status;
        }
        log_live(batch->log, "%-9s %zu of %zu compiled, %s", "kernels", batch->n_done, batch->n, batch->texts[i].name);
    }
}

static void say(const Batch *batch, double seconds) {
    const CudaCompiler *compiler = batch->compiler;
    log_line(batch->log, "kernels", "%zu for %s: %zu from the cache, %zu compiled by NVRTC %d.%d in %.2f s", batch->n,
             compiler->architecture, batch->n_cached, batch->n - batch->n_cached, compiler->nvrtc->major,
             compiler->nvrtc->minor, seconds);
    if (batch->cache_failure.failed)
        log_warning(batch->log, "kernels are not cached, and will be compiled again: %s", batch->cache_failure.message);
}

bool cuda_compile(const CudaCompiler *compiler, const CudaText *texts, size_t n, NvrtcOutput *outputs, Log *log,
                  Status *status) {
    Status failure = STATUS_INIT;
    Batch batch = {.compiler = compiler,
                   .texts = texts,
                   .n = n,
                   .outputs = outputs,
                   .log = log,
                   .first_failed = n,
                   .failure = &failure,
                   .cache_failure = STATUS_INIT};
    double start = meter_clock();
    memset(outputs, 0, n * sizeof *outputs);
#pragma omp parallel for schedule(dynamic) num_threads(compiler->n_threads)
    for (size_t i = 0; i < n; i++)
        compile_at(&batch, i);
    log_clear(log);
    if (failure.failed) {
        cuda_compile_free(outputs, n);
        *status = failure;
        return false;
    }
    say(&batch, meter_clock() - start);
    if (compiler->cache && batch.n_cached < n)
        cuda_cache_trim(compiler->cache);
    return true;
}

void cuda_compile_free(NvrtcOutput *outputs, size_t n) {
    for (size_t i = 0; i < n; i++)
        nvrtc_output_free(&outputs[i]);
}
