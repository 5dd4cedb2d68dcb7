/* cuda-ptx ARCHITECTURE FILE.cu: has NVRTC compile the text behind the prelude of kernels, to a cubin, and prints the
   PTX that this was made from. */
#include <stdio.h>
#include <stdlib.h>

#include "codegen/form_cuda.h"
#include "runtime/cuda_nvrtc.h"

static char *text_of(const char *path) {
    char *text = NULL;
    size_t n_bytes = 0;
    FILE *file = fopen(path, "r"), *out = open_memstream(&text, &n_bytes);
    form_cuda_print_prelude(out);
    for (int c; file && (c = fgetc(file)) != EOF;)
        fputc(c, out);
    fclose(out);
    if (file)
        fclose(file);
    else
        fprintf(stderr, "cuda-ptx: %s cannot be read\n", path);
    return text;
}

static void compile(const Nvrtc *nvrtc, const char *architecture, const char *path, Status *status) {
    static const char *const options[] = {"--std=c++17", "--diag-suppress=177"};
    char *text = text_of(path);
    const CudaText source = {.name = "text", .text = text, .value = "all", .source = path};
    NvrtcOutput output;
    if (nvrtc_compile(nvrtc, &source, architecture, options, sizeof options / sizeof *options, &output, status)) {
        fputs(output.ptx, stdout);
        nvrtc_output_free(&output);
    }
    free(text);
}

int main(int n_arguments, char **arguments) {
    Status status = STATUS_INIT;
    CudaPlaces places;
    Nvrtc nvrtc;
    if (n_arguments != 3) {
        fputs("usage: cuda-ptx ARCHITECTURE FILE.cu\n", stderr);
        return 2;
    }
    if (cuda_places_open(&places, &status) && nvrtc_open(&nvrtc, &places, 0, &status)) {
        compile(&nvrtc, arguments[1], arguments[2], &status);
        nvrtc_close(&nvrtc);
    }
    cuda_places_close(&places);
    if (status.failed)
        fprintf(stderr, "cuda-ptx: %s\n", status.message);
    return status.failed ? 1 : 0;
}
