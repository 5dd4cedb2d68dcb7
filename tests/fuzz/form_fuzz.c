// REQUIRES: fuzz
// RUN: %fuzz
/* Any bytes as a form's text: a form or an error, never a crash, a leak or a hang. What is read prints as text that
   reads back and prints the same, also once its indices are joined. */
#include <stdlib.h>
#include <string.h>

#include "codegen/form.h"
#include "codegen/form_c.h"
#include "codegen/form_cuda.h"

static void fail(const char *what, const char *why) {
    fprintf(stderr, "%s: %s\n", what, why);
    abort();
}

/* The caller frees it. */
static char *printed(const Form *form, size_t *n_bytes) {
    char *text;
    FILE *out = open_memstream(&text, n_bytes);
    if (out == NULL)
        abort();
    form_print(out, form);
    fclose(out);
    return text;
}

static void check_text(Arena *arena, const Form *form) {
    size_t n_bytes;
    char *text = printed(form, &n_bytes);
    const char *error;
    const Form *again = form_read(arena, text, n_bytes, &error);
    if (again == NULL)
        fail("the printed form does not read back", error);
    char *text_again = printed(again, &n_bytes);
    if (strcmp(text, text_again) != 0)
        fail("what is read back prints differently", text_again);
    free(text);
    free(text_again);
}

/* Blocks have no more nodes than about this; what to keep of more takes long to choose. */
static const size_t MAX_INSTRS = 100;

static void check_kernels(Arena *arena, const Form *form) {
    size_t n_bytes, n_instrs = form->body.n_instrs;
    for (int i = 0; i < form->n_operands; i++)
        n_instrs += form->operands[i].part != NULL ? form->operands[i].part->n_instrs : 0;
    for (int i = 0; i < ATTENTION_N_TENSORS; i++)
        n_instrs += form->attention.bodies[i] != NULL ? form->attention.bodies[i]->n_instrs : 0;
    if (n_instrs > MAX_INSTRS)
        return;
    char *text;
    FILE *out = open_memstream(&text, &n_bytes);
    if (out == NULL)
        abort();
    form_print_c(out, arena, form, "a form");
    fclose(out);
    free(text);
    const char *error;
    if (form_cuda(arena, form, CUDA_SM_80, NULL, &error) == NULL && error == NULL)
        fail("no CUDA C", "and no error");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
    Arena *arena = arena_new();
    const char *error;
    Form *form = form_read(arena, (const char *)data, n_bytes, &error);
    if (form != NULL) {
        check_text(arena, form);
        check_kernels(arena, form);
        form_merge_indices(form);
        const char *broken = form_verify(arena, form);
        if (broken != NULL)
            fail("joining indices", broken);
        check_text(arena, form);
    }
    arena_free(arena);
    return 0;
}
