/* libnvrtc: cubins are what fake_code.h says. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cuda_api.h"
#include "tests/fake_cuda/fake_code.h"

#define PROTOTYPE(name, symbol, result, parameters) result symbol parameters;
NVRTC_FUNCTIONS(PROTOTYPE)

enum { INVALID = 3, INJECTED = 11 };

struct NvrtcProgram {
    char *text, *name;
    char *log;  /* NULL before it is compiled */
    char *code; /* NULL: it isn't, or it does not compile */
    size_t n_code_bytes;
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
    free((*program)->log);
    free((*program)->code);
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
    free(program->log);
    free(program->code);
    program->code = fake_code_compile(program->text, program->name, &program->n_code_bytes, &program->log);
    return program->code ? NVRTC_RESULT_SUCCESS : NVRTC_RESULT_COMPILATION;
}

NvrtcResult nvrtcGetCUBINSize(NvrtcProgram program, size_t *n_bytes) {
    if (fake_fails(__func__))
        return INJECTED;
    *n_bytes = program->n_code_bytes;
    return program->code ? NVRTC_RESULT_SUCCESS : INVALID;
}

NvrtcResult nvrtcGetCUBIN(NvrtcProgram program, char *bytes) {
    if (fake_fails(__func__))
        return INJECTED;
    if (!program->code)
        return INVALID;
    memcpy(bytes, program->code, program->n_code_bytes);
    return NVRTC_RESULT_SUCCESS;
}

/* The text behind a mark. */
static const char ptx_mark[] = "// ptx\n";

NvrtcResult nvrtcGetPTXSize(NvrtcProgram program, size_t *n_bytes) {
    if (fake_fails(__func__))
        return INJECTED;
    *n_bytes = strlen(ptx_mark) + strlen(program->text) + 1;
    return program->code ? NVRTC_RESULT_SUCCESS : INVALID;
}

NvrtcResult nvrtcGetPTX(NvrtcProgram program, char *bytes) {
    if (fake_fails(__func__))
        return INJECTED;
    strcpy(bytes, ptx_mark);
    strcat(bytes, program->text);
    return program->code ? NVRTC_RESULT_SUCCESS : INVALID;
}

NvrtcResult nvrtcGetProgramLogSize(NvrtcProgram program, size_t *n_bytes) {
    if (fake_fails(__func__))
        return INJECTED;
    *n_bytes = strlen(program->log ? program->log : "") + 1;
    return NVRTC_RESULT_SUCCESS;
}

NvrtcResult nvrtcGetProgramLog(NvrtcProgram program, char *bytes) {
    if (fake_fails(__func__))
        return INJECTED;
    strcpy(bytes, program->log ? program->log : "");
    return NVRTC_RESULT_SUCCESS;
}
