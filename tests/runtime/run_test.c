// RUN: %unit %s
/* A training executable as people run it, on a plan written by hand: what it trains, saves, says, and how it ends. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/json.h"
#include "runtime/safetensors.h"
#include "tests/support_runtime/bigram_plan.h"
#include "tests/support_runtime/folder.h"
#include "tests/support_runtime/run.h"
#include "tests/support_runtime/tensors.h"

enum { T = BIGRAM_T, V = BIGRAM_VOCAB };

/* ---- Running ---------------------------------------------------------------------------------------------------- */

static int run(Folder *folder, const char *arguments) {
    return run_plan(folder, &bigram_plan, arguments);
}

/* ---- Data ------------------------------------------------------------------------------------------------------- */

static Folder folder_with_data(void) {
    Folder folder = folder_make();
    write_tokens(&folder, "train.bin", 201);
    write_tokens(&folder, "val.bin", 41);
    return folder;
}

static bool files_are_same(Folder *folder, const char *a, const char *b) {
    size_t n_a, n_b;
    char *left = folder_read(folder, a, &n_a), *right = folder_read(folder, b, &n_b);
    bool is_same = n_a == n_b && memcmp(left, right, n_a) == 0;
    free(left);
    free(right);
    return is_same;
}

/* ---- Training --------------------------------------------------------------------------------------------------- */

static void training_learns_and_says_so(void **state) {
    (void)state;
    Folder folder = folder_with_data();
    int code = run(&folder, "--data %/train.bin --val %/val.bin --steps 60 --eval-every 30 --log %/log.jsonl");
    expect_code(&folder, code, 0);
    expect_text(&folder, "out.txt", "validate  loss 4.8520"); /* log 128: nothing is known yet */
    expect_text(&folder, "out.txt", "(after step 30;");
    expect_text(&folder, "out.txt", "step      60/60  loss 0.0");
    expect_text(&folder, "out.txt", "no checkpoints: --out DIR saves them");
    expect_text(&folder, "err.txt", "");

    size_t n, n_steps = 0;
    char *log = folder_read(&folder, "log.jsonl", &n);
    double first = NAN, last = NAN;
    for (char *line = strtok(log, "\n"); line; line = strtok(NULL, "\n")) {
        Status status = STATUS_INIT;
        json_t *object = json_parse(line, strlen(line), "log", &status);
        expect_success(&status);
        if (strcmp(json_string_value(json_object_get(object, "event")), "step") == 0) {
            assert_int_equal(json_integer_value(json_object_get(object, "step")), ++n_steps);
            last = json_number_value(json_object_get(object, "nll"));
            first = n_steps == 1 ? last : first;
            assert_true(json_number_value(json_array_get(json_object_get(object, "expert_load"), 0)) >= 1.0);
        }
        json_decref(object);
    }
    free(log);
    assert_int_equal(n_steps, 60);
    assert_true(fabs(first - log2(V) * M_LN2) < 1e-5 && last < 0.1);
    folder_remove(&folder);
}

static void quiet_is_quiet(void **state) {
    (void)state;
    Folder folder = folder_with_data();
    expect_code(&folder, run(&folder, "--data %/train.bin --steps 3 --quiet"), 0);
    size_t n;
    free(folder_read(&folder, "out.txt", &n));
    assert_int_equal(n, 0);
    folder_remove(&folder);
}

static void the_seed_decides_everything(void **state) {
    (void)state;
    Folder folder = folder_with_data();
    expect_code(&folder, run(&folder, "--data %/train.bin --steps 5 --quiet --export %/a"), 0);
    expect_code(&folder, run(&folder, "--data %/train.bin --steps 5 --quiet --export %/b"), 0);
    expect_code(&folder, run(&folder, "--data %/train.bin --steps 5 --quiet --export %/c --seed 2"), 0);
    expect_same_files(&folder, "a/model.safetensors", "b/model.safetensors");
    assert_false(files_are_same(&folder, "a/model.safetensors", "c/model.safetensors"));
    folder_remove(&folder);
}

/* ---- Gradients -------------------------------------------------------------------------------------------------- */

/* The tensor's values; the caller frees them. */
static float *read_tensor(Folder *folder, const char *file, const char *name, uint64_t n) {
    Status status = STATUS_INIT;
    SafetensorsFile tensors;
    float *values = NULL;
    safetensors_open(&tensors, folder_path(folder, file), &status);
    expect_success(&status);
    for (size_t i = 0; i < tensors.n_entries; i++) {
        if (strcmp(tensors.entries[i].name, name) != 0)
            continue;
        assert_int_equal(tensors.entries[i].n_elements, n);
        values = malloc(n * sizeof *values);
        assert_true(safetensors_read(&tensors, &tensors.entries[i], 0, n, values, &status));
    }
    assert_non_null(values);
    safetensors_close(&tensors);
    return values;
}

/* With a table of zeros the gradient of row t is (count of t / V - counts of the targets that follow t) / all tokens.
 */
static void accumulation_gives_the_mean_of_the_whole_batch(void **state) {
    (void)state;
    enum { WINDOWS = 6, TOKENS = WINDOWS * T };
    Folder folder = folder_make();
    write_tokens(&folder, "train.bin", TOKENS + 1);
    int code = run(&folder, "--data %/train.bin --global-batch 6 --steps 2 --dump %/dump.safetensors --quiet");
    expect_code(&folder, code, 0);
    float *gradient = read_tensor(&folder, "dump.safetensors", "grad:table.weight", BIGRAM_ELEMENTS);
    double expected[BIGRAM_ELEMENTS] = {0};
    for (int i = 0; i < TOKENS; i++) {
        int token = 1 + i % 9, target = 1 + (i + 1) % 9;
        for (int j = 0; j < V; j++)
            expected[token * V + j] += (1.0 / V - (j == target)) / TOKENS;
    }
    for (int i = 0; i < BIGRAM_ELEMENTS; i++)
        assert_true(fabs(expected[i] - (double)gradient[i]) < 1e-7);
    static const char *const losses[] = {"nll", "loss.0", "loss.1"};
    for (int i = 0; i < 3; i++) {
        float *loss = read_tensor(&folder, "dump.safetensors", losses[i], 1);
        assert_true(i == 2 ? *loss < 4.8f : fabsf(*loss - 4.85203f) < 1e-5f);
        free(loss);
    }
    free(read_tensor(&folder, "dump.safetensors", "logits", BIGRAM_WINDOW * V));
    free(gradient);
    folder_remove(&folder);
}

/* ---- Checkpoints ------------------------------------------------------------------------------------------------ */

/* After one step m / (1 - beta1) and v / (1 - beta2) are g and g^2, however near to 1 the betas are. */
static void the_first_update_is_the_rate(void **state) {
    (void)state;
    Folder folder = folder_with_data();
    int code = run(&folder, "--data %/train.bin --steps 1 --lr 0.125 --clip 0 --beta1 0.99999 --beta2 0.99999 "
                            "--epsilon 1e-20 --weight-decay 0 --export %/export --quiet");
    expect_code(&folder, code, 0);
    float *table = read_tensor(&folder, "export/model.safetensors", "table.weight", BIGRAM_ELEMENTS);
    int n_moved = 0;
    for (int i = 0; i < BIGRAM_ELEMENTS; i++) {
        n_moved += table[i] != 0.0f;
        assert_true(table[i] == 0.0f || fabsf(fabsf(table[i]) - 0.125f) < 1e-6f);
    }
    assert_true(n_moved > 0);
    free(table);
    folder_remove(&folder);
}

/* 50 windows, so that the second part goes on into another epoch. */
static void a_resumed_run_is_the_same_bit_for_bit(void **state) {
    (void)state;
    Folder folder = folder_with_data();
    expect_code(&folder, run(&folder, "--data %/train.bin --global-batch 4 --steps 20 --out %/whole --quiet"), 0);
    expect_code(&folder, run(&folder, "--data %/train.bin --global-batch 4 --steps 7 --out %/part --quiet"), 0);
    int code = run(&folder, "--data %/train.bin --global-batch 4 --steps 20 --out %/part --resume --log %/log.jsonl");
    expect_code(&folder, code, 0);
    expect_text(&folder, "out.txt", "step-00000007: after step 7");
    expect_text(&folder, "out.txt", "step       8/20");
    expect_same_checkpoints(&folder, "whole/step-00000020", "part/step-00000020");
    folder_remove(&folder);
}

/* What kill -9 leaves of a line stays; what a resumed run says begins on the next. */
static void a_resumed_run_begins_a_line_of_the_log(void **state) {
    (void)state;
    static const struct {
        const char *log, *begins;
    } cases[] = {{"{\"event\": \"st", "{\"event\": \"st\n{\"event\": \"start\""},
                 {"{}\n", "{}\n{\"event\": \"start\""},
                 {"", "{\"event\": \"start\""}};
    Folder folder = folder_with_data();
    expect_code(&folder, run(&folder, "--data %/train.bin --steps 1 --out %/run --quiet"), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        folder_write_text(&folder, "log.jsonl", cases[i].log);
        expect_code(&folder,
                    run(&folder, "--data %/train.bin --steps 1 --out %/run --resume --log %/log.jsonl --quiet"), 0);
        size_t n;
        char *log = folder_read(&folder, "log.jsonl", &n);
        assert_memory_equal(log, cases[i].begins, strlen(cases[i].begins));
        free(log);
    }
    folder_remove(&folder);
}

static void tokens_are_those_that_were_read(void **state) {
    (void)state;
    Folder folder = folder_with_data();
    expect_code(&folder, run(&folder, "--data %/train.bin --global-batch 4 --steps 5 --out %/run --quiet"), 0);
    int code = run(&folder, "--data %/train.bin --global-batch 10 --steps 6 --out %/run --resume --log %/log.jsonl");
    expect_code(&folder, code, 0);
    expect_text(&folder, "log.jsonl", "\"step\": 6, \"tokens\": 120,"); /* (5 * 4 + 10) * T */
    folder_remove(&folder);
}

static void checkpoints_come_when_due_and_old_ones_go(void **state) {
    (void)state;
    Folder folder = folder_with_data();
    int code = run(&folder, "--data %/train.bin --steps 10 --out %/run --save-every 3 --keep-last 2 --quiet");
    expect_code(&folder, code, 0);
    assert_true(folder_has(&folder, "run/step-00000010") && folder_has(&folder, "run/step-00000009"));
    assert_false(folder_has(&folder, "run/step-00000006"));
    assert_true(folder_has(&folder, "run/latest"));
    folder_remove(&folder);
}

static void a_directory_with_checkpoints_is_not_written_over(void **state) {
    (void)state;
    Folder folder = folder_with_data();
    expect_code(&folder, run(&folder, "--data %/train.bin --steps 2 --out %/run --quiet"), 0);
    expect_code(&folder, run(&folder, "--data %/train.bin --steps 2 --out %/run --quiet"), STATUS_USAGE);
    expect_text(&folder, "err.txt", "holds checkpoints of an earlier run");
    expect_code(&folder, run(&folder, "--data %/train.bin --steps 2 --resume %/none"), STATUS_INPUT);
    expect_text(&folder, "err.txt", "none: holds no checkpoint");
    folder_remove(&folder);
}

static void an_export_that_exists_is_refused_before_training(void **state) {
    (void)state;
    Folder folder = folder_with_data();
    folder_write_text(&folder, "export/notes.txt", "mine");
    expect_code(&folder, run(&folder, "--data %/train.bin --export %/export --log %/log.jsonl"), STATUS_USAGE);
    expect_text(&folder, "err.txt", "exists already");
    assert_false(folder_has(&folder, "log.jsonl"));
    folder_remove(&folder);
}

/* The dump comes after the last step: by then it would be late to find that it cannot be written. */
static void a_dump_that_cannot_be_written_is_refused_before_training(void **state) {
    (void)state;
    Folder folder = folder_with_data();
    expect_code(&folder, run(&folder, "--data %/train.bin --dump %/none/dump.safetensors"), STATUS_INPUT);
    expect_text(&folder, "err.txt", "cannot write in ");
    assert_int_equal(mkfifo(folder_path(&folder, "pipe"), 0666), 0);
    expect_code(&folder, run(&folder, "--data %/train.bin --dump %/pipe"), STATUS_USAGE);
    expect_text(&folder, "err.txt", "is not a file that can be replaced");
    assert_true(folder_has(&folder, "pipe"));
    folder_remove(&folder);
}

static void no_steps_convert_without_training(void **state) {
    (void)state;
    Folder folder = folder_make();
    expect_code(&folder, run(&folder, "--steps 0 --export %/export"), 0);
    float *table = read_tensor(&folder, "export/model.safetensors", "table.weight", BIGRAM_ELEMENTS);
    assert_true(table[0] == 0.0f);
    free(table);
    folder_remove(&folder);
}

/* ---- Early ends ------------------------------------------------------------------------------------------------- */

static void a_nan_stops_training(void **state) {
    (void)state;
    Folder folder = folder_make();
    write_tokens_with(&folder, "train.bin", 201, 77, BIGRAM_NAN);
    int code = run(&folder, "--data %/train.bin --steps 100 --out %/run --save-every 1 --keep-last 0 --quiet");
    expect_code(&folder, code, STATUS_DIVERGED);
    expect_text(&folder, "err.txt", "bigram: error: step ");
    expect_text(&folder, "err.txt", ": the loss is nan, so training stops");
    expect_text(&folder, "err.txt", "The newest checkpoint in --out is from before this step");
    assert_true(folder_has(&folder, "run/latest"));
    folder_remove(&folder);
}

static void an_infinite_gradient_stops_training(void **state) {
    (void)state;
    Folder folder = folder_make();
    write_tokens_with(&folder, "train.bin", 201, 77, BIGRAM_INFINITE);
    expect_code(&folder, run(&folder, "--data %/train.bin --steps 100 --quiet"), STATUS_DIVERGED);
    expect_text(&folder, "err.txt", ": the norm of the gradient is infinite, so training stops");
    expect_text(&folder, "err.txt", "Nothing is saved: there is no --out");
    folder_remove(&folder);
}

static void a_signal_ends_a_run_that_has_saved(void **state) {
    (void)state;
    Folder folder = folder_make();
    write_tokens_with(&folder, "train.bin", 201, 77, BIGRAM_STOP);
    int code = run(&folder, "--data %/train.bin --global-batch 4 --steps 50 --out %/run --export %/export");
    expect_code(&folder, code, 0);
    expect_text(&folder, "out.txt", "stopped   by SIGTERM after step ");
    expect_text(&folder, "out.txt", "of 50; saved, --resume goes on");
    assert_true(folder_has(&folder, "run/latest"));
    assert_false(folder_has(&folder, "export"));
    folder_remove(&folder);
}

/* The signal comes in one of the 25 micro-batches of the first step, whose sequences are drawn again after resuming. */
static void a_step_cut_short_is_done_again(void **state) {
    (void)state;
    Folder folder = folder_make();
    write_tokens(&folder, "train.bin", 201);
    expect_code(&folder, run(&folder, "--data %/train.bin --global-batch 50 --steps 3 --out %/whole --quiet"), 0);
    write_tokens_with(&folder, "train.bin", 201, 77, BIGRAM_STOP);
    expect_code(&folder, run(&folder, "--data %/train.bin --global-batch 50 --steps 3 --out %/part --quiet"), 0);
    assert_true(folder_has(&folder, "part/step-00000000"));
    write_tokens(&folder, "train.bin", 201);
    int code = run(&folder, "--data %/train.bin --global-batch 50 --steps 3 --out %/part --resume --quiet");
    expect_code(&folder, code, 0);
    expect_same_checkpoints(&folder, "part/step-00000003", "whole/step-00000003");
    folder_remove(&folder);
}

static void a_second_signal_kills(void **state) {
    (void)state;
    Folder folder = folder_make();
    write_tokens_with(&folder, "train.bin", 201, 77, BIGRAM_KILL);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0)
        _exit(run(&folder, "--data %/train.bin --steps 50 --quiet --threads 1"));
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFSIGNALED(how) && WTERMSIG(how) == SIGTERM);
    folder_remove(&folder);
}

/* ---- Validation, generation ------------------------------------------------------------------------------------- */

/* A table in which each of 'a' to 'y' is followed by the next letter. */
static void write_alphabet(Folder *folder) {
    static float table[BIGRAM_ELEMENTS];
    for (int i = 'a'; i < 'z'; i++)
        table[i * V + i + 1] = 20.0f;
    TestTensor tensor = {"table.weight", "F32", "[128, 128]", table, sizeof table};
    tensors_write(folder, "model/model.safetensors", &tensor, 1);
}

static void generation_continues_the_text(void **state) {
    (void)state;
    Folder folder = folder_make();
    write_alphabet(&folder);
    expect_code(&folder, run(&folder, "--weights %/model --generate xfghij --tokens 8"), 0);
    size_t n;
    char *text = folder_read(&folder, "out.txt", &n);
    assert_string_equal(text, "xfghijklmnopqr\n");
    free(text);
    folder_remove(&folder);
}

static void temperature_draws_by_the_seed(void **state) {
    (void)state;
    Folder folder = folder_make();
    write_alphabet(&folder);
    const char *lines[] = {"--weights %/model --generate a --temperature 100 --tokens 9 --seed 4",
                           "--weights %/model --generate a --temperature 100 --tokens 9 --seed 4",
                           "--weights %/model --generate a --temperature 100 --tokens 9 --seed 5"};
    char *texts[3];
    for (int i = 0; i < 3; i++) {
        size_t n;
        expect_code(&folder, run(&folder, lines[i]), 0);
        texts[i] = folder_read(&folder, "out.txt", &n);
    }
    assert_string_equal(texts[0], texts[1]);
    assert_string_not_equal(texts[0], texts[2]);
    for (int i = 0; i < 3; i++)
        free(texts[i]);
    folder_remove(&folder);
}

static void evaluation_prints_what_validation_does(void **state) {
    (void)state;
    Folder folder = folder_with_data();
    expect_code(&folder, run(&folder, "--data %/train.bin --val %/val.bin --steps 9 --export %/export"), 0);
    size_t n;
    char *text = folder_read(&folder, "out.txt", &n), loss[32];
    char *last = strstr(text, "validate  loss");
    last = strstr(last + 1, "validate  loss");
    snprintf(loss, sizeof loss, "eval      loss %.6s", last + strlen("validate  loss "));
    free(text);
    expect_code(&folder, run(&folder, "--weights %/export --val %/val.bin --eval"), 0);
    expect_text(&folder, "out.txt", loss);
    expect_text(&folder, "out.txt", "(40 tokens,");
    write_tokens(&folder, "small.bin", 5);
    expect_code(&folder, run(&folder, "--weights %/export --val %/small.bin --eval"), STATUS_INPUT);
    expect_text(&folder, "err.txt", "has 1 sequences of 4 tokens; validation needs at least 2");
    folder_remove(&folder);
}

/* ---- Refusals --------------------------------------------------------------------------------------------------- */

static void too_much_memory_is_refused_before_loading(void **state) {
    (void)state;
    Folder folder = folder_with_data();
    MoecPlan plan = bigram_plan;
    plan.space_bytes[MOEC_SPACE_ARENA] = UINT64_C(1) << 46;
    int code = run_plan(&folder, &plan, "--data %/train.bin --weights %/none");
    expect_code(&folder, code, STATUS_SYSTEM);
    expect_text(&folder, "err.txt", "needs 65536.00 GiB of memory (weights 0.00, ");
    expect_text(&folder, "err.txt", "activations 65536.00), ");
    folder_remove(&folder);
}

static void a_plan_of_another_version_is_refused(void **state) {
    (void)state;
    Folder folder = folder_make();
    MoecPlan plan = bigram_plan;
    plan.version = MOEC_PLAN_VERSION + 1;
    expect_code(&folder, run_plan(&folder, &plan, "--help"), STATUS_INTERNAL);
    plan = bigram_plan;
    plan.cpu_features = "avx1024 ";
    expect_code(&folder, run_plan(&folder, &plan, "--steps 0"), STATUS_INTERNAL);
    expect_text(&folder, "err.txt", "\"avx1024\"");
    folder_remove(&folder);
}

static void a_log_that_cannot_be_written_is_refused(void **state) {
    (void)state;
    Folder folder = folder_with_data();
    expect_code(&folder, run(&folder, "--data %/train.bin --log %/none/log.jsonl"), STATUS_INPUT);
    expect_text(&folder, "err.txt", "--log");
    folder_remove(&folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(training_learns_and_says_so),
        cmocka_unit_test(quiet_is_quiet),
        cmocka_unit_test(the_seed_decides_everything),
        cmocka_unit_test(accumulation_gives_the_mean_of_the_whole_batch),
        cmocka_unit_test(the_first_update_is_the_rate),
        cmocka_unit_test(a_resumed_run_is_the_same_bit_for_bit),
        cmocka_unit_test(a_resumed_run_begins_a_line_of_the_log),
        cmocka_unit_test(tokens_are_those_that_were_read),
        cmocka_unit_test(checkpoints_come_when_due_and_old_ones_go),
        cmocka_unit_test(a_directory_with_checkpoints_is_not_written_over),
        cmocka_unit_test(an_export_that_exists_is_refused_before_training),
        cmocka_unit_test(a_dump_that_cannot_be_written_is_refused_before_training),
        cmocka_unit_test(no_steps_convert_without_training),
        cmocka_unit_test(a_nan_stops_training),
        cmocka_unit_test(an_infinite_gradient_stops_training),
        cmocka_unit_test(a_signal_ends_a_run_that_has_saved),
        cmocka_unit_test(a_step_cut_short_is_done_again),
        cmocka_unit_test(a_second_signal_kills),
        cmocka_unit_test(generation_continues_the_text),
        cmocka_unit_test(temperature_draws_by_the_seed),
        cmocka_unit_test(evaluation_prints_what_validation_does),
        cmocka_unit_test(too_much_memory_is_refused_before_loading),
        cmocka_unit_test(a_plan_of_another_version_is_refused),
        cmocka_unit_test(a_log_that_cannot_be_written_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
