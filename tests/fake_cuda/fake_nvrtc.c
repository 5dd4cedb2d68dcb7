/* libnvrtc: the cubin of a text is the text. "#error" in it is an error. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cuda_api.h"
#include "tests/fake_cuda/fake_cuda.h"

#define PROTOTYPE(name, symbol, result, parameters) result symbol parameters;
NVRTC_FUNCTIONS(PROTOTYPE)

enum { INVALID = 3, INJECTED = 11 };

struct NvrtcProgram {
    char *text, *name;
    char log[FAKE_TEXT_BYTES];
    bool is_compiled;
};

NvrtcResult nvrtcVersion(int *major, int *minor) {
    if (fake_fails(__func__))
        return INJECTED;
    *major = fake_cuda()->nvrtc_major;
    *minor = fake_cuda()->nvrtc_minor;
    return NVRTC_RESULT_SUCCESS;
}

const char *nvrtcGetErrorString(NvrtcResult result) {
    return result == INJECTED                   ? "NVRTC_ERROR_INTERNAL_ERROR"
           : result == NVRTC_RESULT_COMPILATION ? "NVRTC_ERROR_COMPILATION"
                                                : "NVRTC_ERROR unknown";
}

NvrtcResult nvrtcGetNumSupportedArchs(int *n) {
    if (fake_fails(__func__))
        return INJECTED;
    *n = 0;
    while (*n < FAKE_ARCHITECTURES && fake_cuda()->architectures[*n])
        ++*n;
    return NVRTC_RESULT_SUCCESS;
}

NvrtcResult nvrtcGetSupportedArchs(int *architectures) {
    if (fake_fails(__func__))
        return INJECTED;
    for (int i = 0; i < FAKE_ARCHITECTURES && fake_cuda()->architectures[i]; i++)
        architectures[i] = fake_cuda()->architectures[i];
    return NVRTC_RESULT_SUCCESS;
}

NvrtcResult nvrtcCreateProgram(NvrtcProgram *program, const char *text, const char *name, int n_headers,
                               const char *const *headers, const char *const *header_names) {
    if (fake_fails(__func__))
        return INJECTED;
    if (n_headers != 0 || headers || header_names)
        return INVALID;
    *program = calloc(1, sizeof **program);
    (*program)->text = strdup(text);
    (*program)->name = strdup(name);
    fake_cuda()->alive[FAKE_PROGRAM]++;
    return NVRTC_RESULT_SUCCESS;
}

NvrtcResult nvrtcDestroyProgram(NvrtcProgram *program) {
    free((*program)->text);
    free((*program)->name);
    free(*program);
    *program = NULL;
    fake_cuda()->alive[FAKE_PROGRAM]--;
    return fake_fails(__func__) ? INJECTED : NVRTC_RESULT_SUCCESS;
}

NvrtcResult nvrtcCompileProgram(NvrtcProgram program, int n_options, const char *const *options) {
    if (fake_fails(__func__))
        return INJECTED;
    for (int i = 0; i < n_options; i++) {
        if (options[i][0] != '-')
            return INVALID;
    }
    atomic_fetch_add(&fake_cuda()->n_compiled, 1);
    const char *error = strstr(program->text, "#error");
    if (error) {
        int line = 1;
        for (const char *c = program->text; c < error; c++)
            line += *c == '\n';
        snprintf(program->log, sizeof program->log, "%s(%d): error: #error\n\n1 error detected.\n", program->name,
                 line);
        return NVRTC_RESULT_COMPILATION;
    }
    program->is_compiled = true;
    return NVRTC_RESULT_SUCCESS;
}

/* Either is the text behind a mark. */
static NvrtcResult size_of(NvrtcProgram program, const char *mark, size_t *n_bytes) {
    *n_bytes = strlen(mark) + strlen(program->text) + 1;
    return program->is_compiled ? NVRTC_RESULT_SUCCESS : INVALID;
}

static NvrtcResult get(NvrtcProgram program, const char *mark, char *bytes) {
    strcpy(bytes, mark);
    strcat(bytes, program->text);
    return program->is_compiled ? NVRTC_RESULT_SUCCESS : INVALID;
}

NvrtcResult nvrtcGetCUBINSize(NvrtcProgram program, size_t *n_bytes) {
    return fake_fails(__func__) ? INJECTED : size_of(program, "\177FAKE", n_bytes);
}

NvrtcResult nvrtcGetCUBIN(NvrtcProgram program, char *bytes) {
    return fake_fails(__func__) ? INJECTED : get(program, "\177FAKE", bytes);
}

NvrtcResult nvrtcGetPTXSize(NvrtcProgram program, size_t *n_bytes) {
    return fake_fails(__func__) ? INJECTED : size_of(program, "// ptx\n", n_bytes);
}

NvrtcResult nvrtcGetPTX(NvrtcProgram program, char *bytes) {
    return fake_fails(__func__) ? INJECTED : get(program, "// ptx\n", bytes);
}

NvrtcResult nvrtcGetProgramLogSize(NvrtcProgram program, size_t *n_bytes) {
    if (fake_fails(__func__))
        return INJECTED;
    *n_bytes = strlen(program->log) + 1;
    return NVRTC_RESULT_SUCCESS;
}

NvrtcResult nvrtcGetProgramLog(NvrtcProgram program, char *bytes) {
    if (fake_fails(__func__))
        return INJECTED;
    strcpy(bytes, program->log);
    return NVRTC_RESULT_SUCCESS;
}
