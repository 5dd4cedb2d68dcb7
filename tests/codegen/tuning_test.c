// RUN: %unit
/* Files of `moec tune`: what is read from them, and what is said of wrong ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "codegen/tuning.h"

static const char good[] = "moec tuning 1\n"
                           "device NVIDIA H100 80GB HBM3\n"
                           "# grouped_matmul_0: 0.5000 ms, the first choice 0.6000 ms\n"
                           "kernel 0123456789abcdef sm_90a rows 128 columns 256 stages 4 band 8\n"
                           "\n"
                           "kernel fedcba9876543210 sm_80 rows 128 columns 64 stages 3 band 16\n";

static void lines_become_entries(void **state) {
    (void)state;
    Arena *arena = arena_new();
    const char *error;
    const Tuning *tuning = tuning_read(arena, "a.tuning", good, strlen(good), &error);
    if (!tuning)
        fail_msg("%s", error);
    assert_string_equal(tuning->device, "NVIDIA H100 80GB HBM3");
    assert_int_equal(tuning->n, 2);
    const TuningEntry *entry = tuning_find(tuning, "0123456789abcdef", CUDA_SM_90A);
    const CudaProductChoice choice = {.n_tile_rows = 128, .n_tile_cols = 256, .n_stages = 4, .n_band = 8};
    assert_non_null(entry);
    assert_string_equal(entry->choice, tuning_choice_text(arena, CUDA_SM_90A, &choice));
    assert_int_equal(entry->line, 4);
    assert_null(tuning_find(tuning, "0123456789abcdef", CUDA_SM_80));
    assert_null(tuning_find(tuning, "0000000000000000", CUDA_SM_90A));
    arena_free(arena);
}

static void keys_tell_kernels_apart(void **state) {
    (void)state;
    Arena *arena = arena_new();
    const char *one = tuning_key(arena, &(Kernel){.key = "a"}), *other = tuning_key(arena, &(Kernel){.key = "b"});
    assert_string_not_equal(one, other);
    assert_string_equal(one, tuning_key(arena, &(Kernel){.key = "a"}));
    assert_int_equal(strlen(one), 16);
    arena_free(arena);
}

static void expect_error(const char *text, const char *expected) {
    Arena *arena = arena_new();
    const char *error;
    assert_null(tuning_read(arena, "a.tuning", text, strlen(text), &error));
    if (!strstr(error, expected))
        fail_msg("expected \"%s\" in: %s", expected, error);
    arena_free(arena);
}

static void wrong_files_are_told(void **state) {
    (void)state;
    expect_error("", "a.tuning:1: expected a file that `moec tune` has written");
    expect_error("model m\n", "a.tuning:1: expected a file that `moec tune` has written");
    expect_error("moec tuning 1 or so\n", "a.tuning:1: expected a file");
    expect_error("moec tuning 2\ndevice x\n", "a.tuning:1: found version 2, and this moec reads 1");
    expect_error("moec tuning 1\n", "there is no line \"device NAME\"");
    expect_error("moec tuning 1\ndevice x\nkernels\n", "a.tuning:3: expected a line that begins with");
    expect_error("moec tuning 1\ndevice x\nkernel 0123 sm_80 rows 1 columns 1 stages 1 band 1\n",
                 "a.tuning:3: expected \"kernel\", 16 hexadecimal digits");
    expect_error("moec tuning 1\ndevice x\nkernel 0123456789abcdef sm_80 rows 1 columns 1 stages 1\n",
                 "a.tuning:3: expected \"kernel\"");
    expect_error("moec tuning 1\ndevice x\nkernel 0123456789abcdef sm_80 rows 1 columns 1 stages 1 band 1 more\n",
                 "a.tuning:3: expected \"kernel\"");
    expect_error("moec tuning 1\ndevice x\nkernel ", "a.tuning:3: expected \"kernel\"");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_become_entries),
        cmocka_unit_test(keys_tell_kernels_apart),
        cmocka_unit_test(wrong_files_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
