// RUN: %unit %s
/* Training checkpoints: what was saved comes back bit for bit, and whatever goes wrong while saving, what stood before
   still does. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/checkpoint.h"
#include "tests/support_runtime/failing_disk.h"
#include "tests/support_runtime/tiny_plan.h"

static const char data_position[] = "{\"epoch\": 1, \"window\": 9007199254740993}";

/* A run that saves: its plan with values of the step, and the folder's "run". */
typedef struct {
    Folder folder;
    TinyPlan *tiny;
    char run[FOLDER_PATH_BYTES];
} Run;

static Run run_begin(void) {
    Run run = {.folder = folder_make(), .tiny = tiny_plan_new()};
    tiny_plan_place(run.tiny);
    snprintf(run.run, sizeof run.run, "%s", folder_path(&run.folder, "run"));
    return run;
}

static void run_end(Run *run) {
    folder_remove(&run->folder);
    tiny_plan_free(run->tiny);
}

static bool run_save(Run *run, int64_t step, int keep, Disk *disk, Status *status) {
    ModelExtras extras = {0};
    CheckpointTarget target = {&run->tiny->plan, run->tiny->spaces, &extras, run->run, keep, disk, NULL};
    TrainState state = {step, 7, strdup(data_position)};
    tiny_plan_fill(run->tiny, (uint64_t)step);
    bool is_saved = checkpoint_save(&target, &state, status);
    train_state_free(&state);
    return is_saved;
}

static void run_save_well(Run *run, int64_t step, int keep) {
    Status status = STATUS_INIT;
    assert_true(run_save(run, step, keep, NULL, &status) || (expect_success(&status), false));
}

/* Loads `path` into another plan of the same kind; -1 where that fails. Fails the test where what was loaded is not
   what its step was given. */
static int64_t load_step(const Run *run, const char *path, Status *status) {
    TinyPlan *loaded = tiny_plan_new(), *expected = tiny_plan_new();
    TrainState state;
    ModelExtras extras;
    tiny_plan_place(loaded);
    tiny_plan_place(expected);
    int64_t step = -1;
    if (checkpoint_load(&run->tiny->plan, path, loaded->spaces, &state, &extras, NULL, NULL, status)) {
        tiny_plan_fill(expected, (uint64_t)state.step);
        assert_true(tiny_plan_same(loaded, expected));
        assert_int_equal(state.seed, 7);
        assert_string_equal(state.data, data_position);
        assert_non_null(extras.config);
        step = state.step;
    } else {
        assert_null(state.data);
        assert_null(extras.config);
    }
    train_state_free(&state);
    model_extras_free(&extras);
    tiny_plan_free(loaded);
    tiny_plan_free(expected);
    return step;
}

/* The step of the newest checkpoint, which has to be whole. */
static int64_t load_newest(const Run *run) {
    Status status = STATUS_INIT;
    char *path = checkpoint_find(run->run, &status);
    expect_success(&status);
    int64_t step = load_step(run, path, &status);
    expect_success(&status);
    free(path);
    return step;
}

/* ---- Saving ---------------------------------------------------------------------------------------------------- */

static void a_checkpoint_comes_back_bit_for_bit(void **state) {
    (void)state;
    Run run = run_begin();
    run_save_well(&run, 120, 1);
    assert_int_equal(load_newest(&run), 120);
    run_end(&run);
}

static void a_checkpoint_is_a_model_directory(void **state) {
    (void)state;
    Run run = run_begin();
    ModelDir dir;
    Status status = STATUS_INIT;
    run_save_well(&run, 120, 1);
    assert_true(model_dir_open(&dir, folder_path(&run.folder, "run/latest"), &status));
    assert_int_equal(dir.n_tensors, 3 + 3 * TINY_EXPERTS); /* no moments among them */
    WeightsReport report;
    TinyPlan *loaded = tiny_plan_new();
    tiny_plan_place(loaded);
    weights_load(&loaded->plan, &dir, 0, loaded->spaces[MOEC_SPACE_WEIGHT], NULL, NULL, &report, &status);
    expect_success(&status);
    assert_int_equal(report.layout, WEIGHTS_EXPORTED);
    assert_memory_equal(loaded->spaces[MOEC_SPACE_WEIGHT], run.tiny->spaces[MOEC_SPACE_WEIGHT],
                        loaded->plan.space_bytes[MOEC_SPACE_WEIGHT]);
    tiny_plan_free(loaded);
    model_dir_close(&dir);
    run_end(&run);
}

static void latest_is_a_relative_link(void **state) {
    (void)state;
    char target[64] = "";
    Run run = run_begin();
    run_save_well(&run, 5, 0);
    run_save_well(&run, 120, 0);
    assert_true(readlink(folder_path(&run.folder, "run/latest"), target, sizeof target - 1) > 0);
    assert_string_equal(target, "step-00000120");
    run_end(&run);
}

static void only_the_newest_stay(void **state) {
    (void)state;
    Run run = run_begin();
    for (int64_t step = 10; step <= 50; step += 10)
        run_save_well(&run, step, 2);
    assert_int_equal(folder_count(&run.folder, "run"), 3);
    assert_true(folder_has(&run.folder, "run/step-00000040"));
    assert_true(folder_has(&run.folder, "run/step-00000050"));
    run_end(&run);
}

static void keep_zero_keeps_all(void **state) {
    (void)state;
    Run run = run_begin();
    for (int64_t step = 1; step <= 4; step++)
        run_save_well(&run, step, 0);
    assert_int_equal(folder_count(&run.folder, "run"), 5);
    run_end(&run);
}

/* A run that was resumed further back must not lose what it writes to checkpoints of later steps. */
static void later_steps_do_not_push_a_new_checkpoint_out(void **state) {
    (void)state;
    Run run = run_begin();
    run_save_well(&run, 100, 1);
    run_save_well(&run, 20, 1);
    assert_true(folder_has(&run.folder, "run/step-00000100"));
    assert_int_equal(load_newest(&run), 20);
    run_end(&run);
}

static void a_step_is_replaced_by_the_same_step(void **state) {
    (void)state;
    Run run = run_begin();
    run_save_well(&run, 3, 1);
    folder_write_text(&run.folder, "run/step-00000003/mark", "of the first one");
    run_save_well(&run, 3, 1);
    assert_false(folder_has(&run.folder, "run/step-00000003/mark"));
    assert_int_equal(folder_count(&run.folder, "run"), 2);
    run_end(&run);
}

static void what_a_killed_run_left_is_removed(void **state) {
    (void)state;
    Run run = run_begin();
    folder_write_text(&run.folder, "run/.step-00000002.tmp/model.safetensors", "half");
    folder_write_text(&run.folder, "run/.step-00000001.tmp.old/training/state.json", "{");
    folder_write_text(&run.folder, "run/.step-notes.tmp", "of somebody");
    run_save_well(&run, 3, 1);
    assert_false(folder_has(&run.folder, "run/.step-00000002.tmp"));
    assert_false(folder_has(&run.folder, "run/.step-00000001.tmp.old"));
    assert_true(folder_has(&run.folder, "run/.step-notes.tmp"));
    run_end(&run);
}

/* ---- Finding --------------------------------------------------------------------------------------------------- */

static void expect_found(const char *directory, const char *end) {
    Status status = STATUS_INIT;
    char *path = checkpoint_find(directory, &status);
    expect_success(&status);
    assert_string_equal(path + strlen(path) - strlen(end), end);
    free(path);
}

static void the_newest_is_found(void **state) {
    (void)state;
    Run run = run_begin();
    run_save_well(&run, 100, 0);
    run_save_well(&run, 20, 0);
    expect_found(run.run, "run/step-00000020");
    expect_found(folder_path(&run.folder, "run/latest"), "run/latest");
    expect_found(folder_path(&run.folder, "run/step-00000100"), "run/step-00000100");
    run_end(&run);
}

static void without_latest_the_highest_step_is_found(void **state) {
    (void)state;
    Run run = run_begin();
    run_save_well(&run, 20, 0);
    run_save_well(&run, 100, 0);
    folder_write_text(&run.folder, "run/step-00000300/config.json", "{}"); /* a model, but no checkpoint */
    assert_int_equal(unlink(folder_path(&run.folder, "run/latest")), 0);
    expect_found(run.run, "run/step-00000100");
    run_end(&run);
}

static void a_directory_without_checkpoints_is_refused(void **state) {
    (void)state;
    Status status = STATUS_INIT;
    Folder folder = folder_make();
    assert_null(checkpoint_find(folder.path, &status));
    expect_failure(&status, STATUS_INPUT, folder.path, "holds no checkpoint");
    status = STATUS_INIT;
    assert_null(checkpoint_find(folder_path(&folder, "none"), &status));
    expect_failure(&status, STATUS_INPUT, "none: holds no checkpoint: there is no such directory");
    folder_remove(&folder);
}

/* ---- Refusing -------------------------------------------------------------------------------------------------- */

static void a_checkpoint_of_another_plan_is_refused(void **state) {
    (void)state;
    Run run = run_begin();
    Status status = STATUS_INIT;
    run_save_well(&run, 1, 1);
    run.tiny->plan.hash = "fedcba9876543210";
    run.tiny->plan.model = "tiny_dense";
    assert_int_equal(load_step(&run, folder_path(&run.folder, "run/latest"), &status), -1);
    expect_failure(&status, STATUS_INPUT, "run/latest/training/state.json", "tiny_e4t2, plan 0123456789abcdef",
                   "tiny_dense, plan fedcba9876543210", "--weights");
    run_end(&run);
}

typedef struct {
    const char *file, *text; /* replaces the file; NULL: it goes */
    const char *message;
} Damage;

static const Damage damages[] = {
    {"training/state.json", NULL, "state.json: cannot open"},
    {"training/state.json", "{\"format\": 1,", "not valid JSON"},
    {"training/state.json", "[]", "no training state of format 1"},
    {"training/state.json", "{\"format\": 2}", "no training state of format 1"},
    {"training/state.json", "{\"format\": 1, \"model\": \"tiny_e4t2\"}", "lacks \"plan\" or \"model\""},
    {"training/state.json", "{\"format\": 1, \"model\": \"m\", \"plan\": \"0123456789abcdef\", \"step\": -1}",
     "expected \"step\" and \"seed\""},
    {"training/optimizer.safetensors", NULL, "optimizer.safetensors: cannot open"},
    {"training/optimizer.safetensors", "short", "too few for a safetensors file"},
    {"training/optimizer.safetensors", "\x02\0\0\0\0\0\0\0{}", "12 tensors are not what the program needs"},
    {"model.safetensors", NULL, "has neither model.safetensors"},
    {"model.safetensors", "short", "too few for a safetensors file"},
    {"config.json", "{", "config.json:1:"},
};

static void a_damaged_checkpoint_is_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        const Damage *damage = &damages[i];
        Run run = run_begin();
        Status status = STATUS_INIT;
        char name[128];
        run_save_well(&run, 1, 1);
        snprintf(name, sizeof name, "run/latest/%s", damage->file);
        assert_int_equal(unlink(folder_path(&run.folder, name)), 0);
        size_t n = !damage->text ? 0 : damage->text[0] == '\x02' ? 10 : strlen(damage->text);
        if (damage->text)
            folder_write(&run.folder, name, damage->text, n);
        assert_int_equal(load_step(&run, folder_path(&run.folder, "run/latest"), &status), -1);
        expect_failure(&status, status.code, run.run, damage->message);
        run_end(&run);
    }
}

/* Cut off anywhere, a file of tensors says so. */
static void a_cut_off_file_is_refused(void **state) {
    (void)state;
    static const char *const files[] = {"run/latest/model.safetensors", "run/latest/training/optimizer.safetensors"};
    for (size_t f = 0; f < 2; f++) {
        Run run = run_begin();
        size_t n;
        run_save_well(&run, 1, 1);
        char *bytes = folder_read(&run.folder, files[f], &n);
        for (size_t cut = 1; cut < n; cut = cut * 2 + 1) {
            Status status = STATUS_INIT;
            folder_write(&run.folder, files[f], bytes, n - cut);
            assert_int_equal(load_step(&run, folder_path(&run.folder, "run/latest"), &status), -1);
            expect_failure(&status, STATUS_INPUT, strrchr(files[f], '/') + 1);
        }
        free(bytes);
        run_end(&run);
    }
}

/* ---- Failures of the disk -------------------------------------------------------------------------------------- */

/* Saves step 1 well, then step `step` with a disk that fails at call `at`. False where no call was left to fail. */
static bool save_with_failure(long at, int error, bool stays, int64_t step) {
    Run run = run_begin();
    Status status = STATUS_INIT;
    run_save_well(&run, 1, 1);
    FailingDisk failing = failing_disk(at, error, stays);
    bool is_saved = run_save(&run, step, 1, &failing.disk, &status);
    assert_int_equal(is_saved, !failing.failed);
    if (failing.failed) {
        expect_failure(&status, STATUS_SYSTEM, strerror(error));
        int64_t newest = load_newest(&run);
        assert_true(newest == 1 || newest == step);
        bool cannot_clean = strcmp(failing.failed, "unlink") == 0 || strcmp(failing.failed, "rmdir") == 0;
        assert_true(cannot_clean || !folder_has(&run.folder, "run/.step-00000002.tmp"));
        /* What is left over does not keep the next one from being saved. */
        run_save_well(&run, 3, 1);
        assert_int_equal(load_newest(&run), 3);
        assert_int_equal(folder_count(&run.folder, "run"), 2);
    }
    run_end(&run);
    return failing.failed;
}

static void expect_all_failures_harmless(int error, bool stays, int64_t step) {
    long n = 0;
    while (save_with_failure(n, error, stays, step))
        n++;
    assert_true(n > (stays ? 10 : 20));
}

static void any_call_may_fail(void **state) {
    (void)state;
    expect_all_failures_harmless(EIO, false, 2);
}

static void any_call_may_fail_while_a_step_is_replaced(void **state) {
    (void)state;
    expect_all_failures_harmless(EIO, false, 1);
}

static void the_disk_may_be_full_from_any_call_on(void **state) {
    (void)state;
    expect_all_failures_harmless(ENOSPC, true, 2);
}

/* The first checkpoint of a run: nothing stands before it. */
static void a_first_checkpoint_that_fails_leaves_nothing(void **state) {
    (void)state;
    Run run = run_begin();
    Status status = STATUS_INIT;
    FailingDisk failing = failing_disk(4, ENOSPC, true);
    assert_false(run_save(&run, 1, 1, &failing.disk, &status));
    expect_failure(&status, STATUS_SYSTEM, "No space left on device");
    assert_int_equal(folder_count(&run.folder, "run"), 0);
    run_end(&run);
}

/* ---- Being killed ---------------------------------------------------------------------------------------------- */

static void save_for_ever(Run *run, int64_t first_step) {
    for (int64_t step = first_step;; step++) {
        Status status = STATUS_INIT;
        if (!run_save(run, step, 2, NULL, &status))
            _exit(1);
    }
}

/* Whenever the process is killed, what is found loads, and is not older than what was found before. */
static void a_killed_run_leaves_a_whole_checkpoint(void **state) {
    (void)state;
    enum { N_KILLS = 20 };
    Run run = run_begin();
    run_save_well(&run, 1, 2);
    int64_t newest = 1;
    for (int i = 0; i < N_KILLS; i++) {
        int how;
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
            save_for_ever(&run, newest + 1);
        usleep((useconds_t)(500 + 1733 * i % 20000));
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, &how, 0), child);
        assert_true(WIFSIGNALED(how));
        int64_t found = load_newest(&run);
        assert_true(found >= newest);
        newest = found;
    }
    run_save_well(&run, newest + 1, 2);
    assert_int_equal(folder_count(&run.folder, "run"), 3);
    run_end(&run);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_checkpoint_comes_back_bit_for_bit),
        cmocka_unit_test(a_checkpoint_is_a_model_directory),
        cmocka_unit_test(latest_is_a_relative_link),
        cmocka_unit_test(only_the_newest_stay),
        cmocka_unit_test(keep_zero_keeps_all),
        cmocka_unit_test(later_steps_do_not_push_a_new_checkpoint_out),
        cmocka_unit_test(a_step_is_replaced_by_the_same_step),
        cmocka_unit_test(what_a_killed_run_left_is_removed),
        cmocka_unit_test(the_newest_is_found),
        cmocka_unit_test(without_latest_the_highest_step_is_found),
        cmocka_unit_test(a_directory_without_checkpoints_is_refused),
        cmocka_unit_test(a_checkpoint_of_another_plan_is_refused),
        cmocka_unit_test(a_damaged_checkpoint_is_refused),
        cmocka_unit_test(a_cut_off_file_is_refused),
        cmocka_unit_test(any_call_may_fail),
        cmocka_unit_test(any_call_may_fail_while_a_step_is_replaced),
        cmocka_unit_test(the_disk_may_be_full_from_any_call_on),
        cmocka_unit_test(a_first_checkpoint_that_fails_leaves_nothing),
        cmocka_unit_test(a_killed_run_leaves_a_whole_checkpoint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
