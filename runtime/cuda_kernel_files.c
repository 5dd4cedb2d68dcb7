#include "runtime/cuda_kernel_files.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/output.h"

static const char suffix[] = ".cu";

enum { NAME_BYTES = 128 };

/* ---- The line about the launch ----------------------------------------------------------------------------------- */

static void print_launches(FILE *out, const CudaKernelSource *source) {
    for (uint32_t i = 0; i < source->n_functions; i++) {
        const MoecCudaFunction *function = &source->functions[i];
        fprintf(out, "// launch: %s blocks %" PRIu32 " threads %" PRIu32 " shared %" PRIu32, function->name,
                function->n_blocks, function->n_threads, function->n_shared_bytes);
        if (function->n_resident > 0)
            fprintf(out, " resident %" PRIu32, function->n_resident);
        fputc('\n', out);
    }
}

/* Reads such a line about the function that is in it; what follows, or NULL. */
static const char *read_launch(const char *text, MoecCudaFunction *function) {
    char name[NAME_BYTES];
    int length = 0, end = 0;
    int n = sscanf(text, "// launch: %127s blocks %" SCNu32 " threads %" SCNu32 " shared %" SCNu32 "%n", name,
                   &function->n_blocks, &function->n_threads, &function->n_shared_bytes, &length);
    if (n != 4 || strcmp(name, function->name) != 0 || function->n_blocks == 0 || function->n_threads == 0)
        return NULL;
    if (function->n_resident > 0 && sscanf(text + length, " resident %" SCNu32 "%n", &function->n_resident, &end) < 1)
        return NULL;
    bool is_right = text[length + end] == '\n' && (end == 0 || function->n_resident > 0);
    return is_right ? text + length + end + 1 : NULL;
}

/* Changes `functions`, those of the kernel, as the lines say; what follows these. A file without any leaves them. */
static const char *read_launches(const char *path, const char *text, MoecCudaFunction *functions, uint32_t n,
                                 Status *status) {
    static const char begin[] = "// launch:";
    if (strncmp(text, begin, sizeof begin - 1) != 0)
        return text;
    for (uint32_t i = 0; i < n && text; i++) {
        text = read_launch(text, &functions[i]);
        if (!text)
            status_fail(status, STATUS_INPUT,
                        "%s: line %" PRIu32
                        " should be \"// launch: %s blocks N threads N shared BYTES%s\", with at least "
                        "one block and thread",
                        path, i + 1, functions[i].name, functions[i].n_resident > 0 ? " resident N" : "");
    }
    return text;
}

/* ---- Edited texts ------------------------------------------------------------------------------------------------ */

/* The file's content and a NUL. NULL where there is none, which is no failure. */
static char *read_file(const char *path, Status *status) {
    FILE *file = fopen(path, "re");
    char *content = NULL;
    size_t n = 0;
    if (!file) {
        if (errno != ENOENT)
            status_fail_errno(status, "%s: cannot read", path);
        return NULL;
    }
    errno = 0;
    if (getdelim(&content, &n, '\0', file) < 0) {
        if (errno != 0)
            status_fail_errno(status, "%s: cannot read", path);
        else
            status_fail(status, STATUS_INPUT, "%s: is empty", path);
        free(content);
        content = NULL;
    }
    fclose(file);
    return content;
}

static bool is_same(const MoecCudaFunction *a, const MoecCudaFunction *b, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        if (a[i].n_blocks != b[i].n_blocks || a[i].n_threads != b[i].n_threads ||
            a[i].n_shared_bytes != b[i].n_shared_bytes || a[i].n_resident != b[i].n_resident)
            return false;
    }
    return true;
}

/* Puts the file's kernel in the place of the executable's. */
static bool take_file(CudaKernelSource *source, CudaKernelFile *file, const char *path, Status *status) {
    size_t n_bytes = source->n_functions * sizeof *file->functions;
    file->functions = malloc(n_bytes);
    if (!file->functions)
        return status_fail_errno(status, "%s", path);
    memcpy(file->functions, source->functions, n_bytes);
    const char *text = read_launches(path, file->content, file->functions, source->n_functions, status);
    if (!text)
        return false;
    if (strcmp(text, source->text.text) != 0 || !is_same(source->functions, file->functions, source->n_functions)) {
        source->text.text = text;
        source->functions = file->functions;
        return true;
    }
    free(file->content);
    free(file->functions);
    *file = (CudaKernelFile){0};
    return true;
}

static bool read_edited(CudaKernelFiles *files, size_t i, const char *folder, Status *status) {
    CudaKernelSource *source = &files->sources[i];
    char *path;
    if (asprintf(&path, "%s/%s%s", folder, source->text.name, suffix) < 0)
        return status_fail_errno(status, "kernels in %s", folder);
    files->files[i].content = read_file(path, status);
    if (files->files[i].content)
        take_file(source, &files->files[i], path, status);
    free(path);
    return !status->failed;
}

/* That of the name, or NULL. */
static const CudaKernelSource *find_source(const CudaKernelSource *sources, size_t n, const char *name, size_t length) {
    for (size_t i = 0; i < n; i++) {
        const char *kernel = sources[i].text.name;
        if (strncmp(kernel, name, length) == 0 && kernel[length] == '\0')
            return &sources[i];
    }
    return NULL;
}

/* A file of a kernel that does not run matters only if it was edited. */
static void check_library_kernel(const CudaKernelSource *kernel, const char *folder, Log *log, Status *status) {
    CudaKernelSource edited = *kernel;
    CudaKernelFile file = {0};
    char *path;
    if (asprintf(&path, "%s/%s%s", folder, kernel->text.name, suffix) < 0) {
        status_fail_errno(status, "kernels in %s", folder);
        return;
    }
    file.content = read_file(path, status);
    if (file.content && take_file(&edited, &file, path, status) && file.content)
        log_warning(log, "%s: cuBLASLt does this product; with --matmul own the file is used", path);
    free(file.content);
    free(file.functions);
    free(path);
}

/* Names in the folder that no kernel has: the plan is another one, or it was misspelt. */
static bool check_names(const CudaKernelFiles *files, const CudaKernelSource *of_library, size_t n_of_library,
                        const char *folder, Log *log, Status *status) {
    DIR *entries = opendir(folder);
    if (!entries)
        return status_fail_errno(status, "kernels in %s: cannot read the folder", folder);
    const struct dirent *entry;
    while (!status->failed && (entry = readdir(entries))) {
        const char *name = entry->d_name;
        size_t n = strlen(name), n_suffix = sizeof suffix - 1;
        if (n <= n_suffix || strcmp(name + n - n_suffix, suffix) != 0 ||
            find_source(files->sources, files->n, name, n - n_suffix))
            continue;
        const CudaKernelSource *kernel = find_source(of_library, n_of_library, name, n - n_suffix);
        if (kernel)
            check_library_kernel(kernel, folder, log, status);
        else
            log_warning(log, "%s/%s: this executable has no such kernel; the file is not used", folder, name);
    }
    closedir(entries);
    return !status->failed;
}

static void say(const CudaKernelFiles *files, const char *folder, Log *log) {
    size_t n = 0, last = 0;
    for (size_t i = 0; i < files->n; i++) {
        if (files->files[i].content) {
            n++;
            last = i;
        }
    }
    if (n == 1)
        log_line(log, "kernels", "%s is the one in %s", files->sources[last].text.name, folder);
    else
        log_line(log, "kernels", "%zu of %zu are those in %s", n, files->n, folder);
}

bool cuda_kernel_files_open(CudaKernelFiles *files, const CudaKernelSource *sources, size_t n, size_t n_of_library,
                            const char *folder, Log *log, Status *status) {
    *files = (CudaKernelFiles){
        .n = n, .sources = calloc(n + 1, sizeof *files->sources), .files = calloc(n + 1, sizeof *files->files)};
    if (!files->sources || !files->files) {
        status_fail_errno(status, "%zu kernels", n);
        cuda_kernel_files_close(files);
        return false;
    }
    memcpy(files->sources, sources, n * sizeof *sources);
    if (!folder)
        return true;
    check_names(files, sources + n, n_of_library, folder, log, status);
    for (size_t i = 0; i < n && !status->failed; i++)
        read_edited(files, i, folder, status);
    if (status->failed)
        cuda_kernel_files_close(files);
    else
        say(files, folder, log);
    return !status->failed;
}

void cuda_kernel_files_close(CudaKernelFiles *files) {
    for (size_t i = 0; files->files && i < files->n; i++) {
        free(files->files[i].content);
        free(files->files[i].functions);
    }
    free(files->files);
    free(files->sources);
    *files = (CudaKernelFiles){0};
}

/* ---- Writing ----------------------------------------------------------------------------------------------------- */

static bool write_file(Disk *disk, const char *folder, const char *name, const char *end, const void *bytes, size_t n,
                       Status *status) {
    char *path;
    if (asprintf(&path, "%s/%s%s", folder, name, end) < 0)
        return status_fail_errno(status, "kernels in %s", folder);
    OutputFile *file = output_file_begin(disk, path, status);
    if (file) {
        output_file_write(file, bytes, n, status);
        output_file_publish(file, path, status);
    }
    free(path);
    return !status->failed;
}

static bool write_text(Disk *disk, const char *folder, const CudaKernelSource *source, Status *status) {
    char *text = NULL;
    size_t n;
    FILE *out = open_memstream(&text, &n);
    if (!out)
        return status_fail_errno(status, "kernels in %s", folder);
    print_launches(out, source);
    fputs(source->text.text, out);
    if (fclose(out) == 0)
        write_file(disk, folder, source->text.name, suffix, text, n, status);
    else
        status_fail_errno(status, "kernels in %s", folder);
    free(text);
    return !status->failed;
}

static void print_row(FILE *out, const MoecCudaFunction *source, const CudaFunction *function) {
    fprintf(out, "%-32s %9d %11d %12" PRIu32 " %9" PRIu32 " %9d %10" PRIu32 "\n", source->name, function->n_registers,
            function->n_local_bytes, source->n_shared_bytes + (uint32_t)function->n_shared_bytes, source->n_threads,
            function->max_threads, source->n_blocks);
}

static bool write_table(Disk *disk, const char *folder, const CudaKernels *kernels, Status *status) {
    char *text = NULL;
    size_t n;
    FILE *out = open_memstream(&text, &n);
    if (!out)
        return status_fail_errno(status, "kernels in %s", folder);
    fprintf(out, "%-32s %9s %11s %12s %9s %9s %10s\n", "function", "registers", "local bytes", "shared bytes",
            "threads", "allowed", "blocks");
    for (size_t i = 0; i < kernels->n; i++) {
        for (uint32_t j = 0; j < kernels->kernels[i].source->n_functions; j++)
            print_row(out, &kernels->kernels[i].source->functions[j], &kernels->kernels[i].functions[j]);
    }
    if (fclose(out) == 0)
        write_file(disk, folder, "resources", ".txt", text, n, status);
    else
        status_fail_errno(status, "kernels in %s", folder);
    free(text);
    return !status->failed;
}

bool cuda_kernel_files_write(Disk *disk, const char *folder, const CudaKernels *kernels, const NvrtcOutput *outputs,
                             Status *status) {
    if (disk->mkdir(disk, folder, 0777) != 0 && errno != EEXIST)
        return status_fail_errno(status, "%s: cannot create the directory", folder);
    for (size_t i = 0; i < kernels->n; i++) {
        const CudaKernelSource *source = kernels->kernels[i].source;
        const char *name = source->text.name;
        if (!write_text(disk, folder, source, status) ||
            !write_file(disk, folder, name, ".ptx", outputs[i].ptx, strlen(outputs[i].ptx), status) ||
            !write_file(disk, folder, name, ".cubin", outputs[i].cubin, outputs[i].n_cubin, status))
            return false;
    }
    return write_table(disk, folder, kernels, status);
}
