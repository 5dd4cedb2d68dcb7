/* The code of a text is the text, behind a mark. "#error" in it is an error. */
#include "tests/fake_cuda/fake_code.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fake_cuda/fake_names.h"

struct FakeCode {
    char *text;
};

static const char mark[] = "\177FAKE";

void fake_code_set_up(FakeCuda *fake) {
    fake->device = "Fake GPU";
    fake->free_bytes = fake->total_bytes = (size_t)1 << 26;
}

void *fake_code_compile(const char *text, const char *name, size_t *n_bytes, char **log) {
    const char *error = strstr(text, "#error");
    *log = calloc(1, FAKE_TEXT_BYTES);
    if (error) {
        int line = 1;
        for (const char *c = text; c < error; c++)
            line += *c == '\n';
        snprintf(*log, FAKE_TEXT_BYTES, "%s(%d): error: #error\n\n1 error detected.\n", name, line);
        return NULL;
    }
    *n_bytes = strlen(mark) + strlen(text) + 1;
    char *code = malloc(*n_bytes);
    snprintf(code, *n_bytes, "%s%s", mark, text);
    return code;
}

FakeCode *fake_code_open(const void *image) {
    if (memcmp(image, mark, sizeof mark - 1) != 0)
        return NULL;
    FakeCode *code = malloc(sizeof *code);
    code->text = strdup((const char *)image + sizeof mark - 1);
    return code;
}

void fake_code_close(FakeCode *code) {
    free(code->text);
    free(code);
}

/* Functions of unknown names do nothing. */
bool fake_code_find(const FakeCode *code, const char *name, CUfunction function) {
    const FakeName *known = fake_name_find(name);
    char call[FAKE_TEXT_BYTES];
    snprintf(call, sizeof call, "%s(", name);
    if (!strstr(code->text, call))
        return false;
    snprintf(function->name, sizeof function->name, "%s", name);
    function->n_parameters = known ? known->n_parameters : 0;
    function->max_threads = 512;
    function->declared_shared_bytes = 1024;
    function->entry = known;
    return true;
}

CudaResult fake_code_run(const FakeLaunch *launch) {
    const FakeName *known = launch->function->entry;
    return known ? known->run(launch->arguments) : CUDA_RESULT_SUCCESS;
}
