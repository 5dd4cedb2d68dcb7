#include "tests/support_runtime/run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/run.h"

enum { MAX_ARGS = 32, LINE_BYTES = 2048 };

/* Sends a stream to a file until restore. */
static int redirect(FILE *stream, Folder *folder, const char *name) {
    fflush(stream);
    int saved = dup(fileno(stream));
    FILE *file = fopen(folder_path(folder, name), "w");
    assert_non_null(file);
    dup2(fileno(file), fileno(stream));
    fclose(file);
    return saved;
}

static void restore(FILE *stream, int saved) {
    fflush(stream);
    dup2(saved, fileno(stream));
    close(saved);
}

static int run_words(Folder *folder, const MoecPlan *plan, int argc, char **argv) {
    int out = redirect(stdout, folder, "out.txt"), err = redirect(stderr, folder, "err.txt");
    int code = run_executable(plan, argc, argv);
    restore(stdout, out);
    restore(stderr, err);
    return code;
}

int run_plan(Folder *folder, const MoecPlan *plan, const char *arguments) {
    char line[LINE_BYTES], *argv[MAX_ARGS + 2] = {"bigram"};
    size_t length = 0;
    for (const char *c = arguments; *c; c++)
        length += (size_t)snprintf(line + length, sizeof line - length, *c == '%' ? "%s" : "%.1s",
                                   *c == '%' ? folder->path : c);
    int argc = 1;
    for (char *word = strtok(line, " "); word; word = strtok(NULL, " ")) {
        assert_true(argc < MAX_ARGS);
        argv[argc++] = word;
    }
    return run_words(folder, plan, argc, argv);
}

void expect_text(Folder *folder, const char *file, const char *part) {
    size_t n;
    char *text = folder_read(folder, file, &n);
    if (!strstr(text, part))
        fail_msg("%s lacks '%s':\n%s", file, part, text);
    free(text);
}

void expect_code(Folder *folder, int code, int expected) {
    size_t n;
    char *text = folder_read(folder, "err.txt", &n);
    if (code != expected)
        fail_msg("exit code %d, expected %d: %s", code, expected, text);
    free(text);
}

void write_tokens(Folder *folder, const char *name, size_t n) {
    uint16_t *ids = malloc(n * sizeof *ids);
    assert_non_null(ids);
    for (size_t i = 0; i < n; i++)
        ids[i] = (uint16_t)(1 + i % 9);
    folder_write(folder, name, ids, n * sizeof *ids);
    free(ids);
}

void write_tokens_with(Folder *folder, const char *name, size_t n, size_t at, uint16_t id) {
    size_t n_bytes;
    write_tokens(folder, name, n);
    char *bytes = folder_read(folder, name, &n_bytes);
    memcpy(bytes + at * sizeof id, &id, sizeof id);
    folder_write(folder, name, bytes, n_bytes);
    free(bytes);
}

void expect_same_files(Folder *folder, const char *a, const char *b) {
    size_t n_a, n_b;
    char *left = folder_read(folder, a, &n_a), *right = folder_read(folder, b, &n_b);
    assert_int_equal(n_a, n_b);
    assert_memory_equal(left, right, n_a);
    free(left);
    free(right);
}

void expect_same_checkpoints(Folder *folder, const char *a, const char *b) {
    static const char *const names[] = {"model.safetensors", "training/optimizer.safetensors", "training/state.json"};
    for (int i = 0; i < 3; i++) {
        char left[128], right[128];
        snprintf(left, sizeof left, "%s/%s", a, names[i]);
        snprintf(right, sizeof right, "%s/%s", b, names[i]);
        expect_same_files(folder, left, right);
    }
}
