// RUN: %unit %s
/* Exports: what is written loads again, rounded where it should be, whole or not at all. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/export.h"
#include "runtime/weights.h"
#include "tests/support_runtime/failing_disk.h"
#include "tests/support_runtime/tiny_plan.h"

/* A plan with values of all kinds, to be exported to the folder's "out". */
typedef struct {
    Folder folder;
    TinyPlan *tiny;
    ModelExtras extras;
} Fixture;

static Fixture begin(void) {
    Fixture fixture = {.folder = folder_make(), .tiny = tiny_plan_new()};
    tiny_plan_place(fixture.tiny);
    tiny_plan_fill(fixture.tiny, 3);
    return fixture;
}

static void end(Fixture *fixture) {
    folder_remove(&fixture->folder);
    tiny_plan_free(fixture->tiny);
}

static bool export_to(Fixture *fixture, const char *path, ExportOptions options, Status *status) {
    return export_model(&fixture->tiny->plan, fixture->tiny->spaces[MOEC_SPACE_WEIGHT], &fixture->extras, &options,
                        path, status);
}

static void export_well(Fixture *fixture, ExportOptions options) {
    Status status = STATUS_INIT;
    export_to(fixture, folder_path(&fixture->folder, "out"), options, &status);
    expect_success(&status);
}

/* Loads "out" into another plan; the caller frees it. */
static TinyPlan *load_again(Fixture *fixture) {
    TinyPlan *loaded = tiny_plan_new();
    ModelDir dir;
    WeightsReport report;
    Status status = STATUS_INIT;
    tiny_plan_place(loaded);
    model_dir_open(&dir, folder_path(&fixture->folder, "out"), &status);
    expect_success(&status);
    weights_load(&loaded->plan, &dir, 0, loaded->spaces[MOEC_SPACE_WEIGHT], NULL, NULL, &report, &status);
    expect_success(&status);
    assert_int_equal(report.layout, WEIGHTS_EXPORTED);
    assert_int_equal(report.n_unused, 0);
    model_dir_close(&dir);
    return loaded;
}

static void f32_comes_back_bit_for_bit(void **state) {
    (void)state;
    Fixture fixture = begin();
    export_well(&fixture, (ExportOptions){.dtype = DTYPE_F32});
    TinyPlan *loaded = load_again(&fixture);
    assert_memory_equal(loaded->spaces[MOEC_SPACE_WEIGHT], fixture.tiny->spaces[MOEC_SPACE_WEIGHT],
                        loaded->plan.space_bytes[MOEC_SPACE_WEIGHT]);
    tiny_plan_free(loaded);
    end(&fixture);
}

static void bf16_is_rounded_to_nearest(void **state) {
    (void)state;
    Fixture fixture = begin();
    export_well(&fixture, (ExportOptions){.dtype = DTYPE_BF16});
    TinyPlan *loaded = load_again(&fixture);
    for (TinyWeight weight = 0; weight < TINY_WEIGHTS; weight++) {
        const float *before = tiny_plan_values(fixture.tiny, MOEC_SPACE_WEIGHT, weight);
        const float *after = tiny_plan_values(loaded, MOEC_SPACE_WEIGHT, weight);
        for (uint64_t i = 0; i < tiny_plan_elements(loaded, weight); i++) {
            uint32_t bits = (uint32_t)dtype_bf16_of(before[i]) << 16;
            assert_memory_equal(&after[i], &bits, sizeof bits);
        }
    }
    tiny_plan_free(loaded);
    end(&fixture);
}

/* Shards as small as they get: one tensor each. */
static void shards_are_listed_in_an_index(void **state) {
    (void)state;
    Fixture fixture = begin();
    export_well(&fixture, (ExportOptions){.dtype = DTYPE_F32, .shard_bytes = 1});
    assert_true(folder_has(&fixture.folder, "out/model-00001-of-00015.safetensors"));
    assert_true(folder_has(&fixture.folder, "out/model-00015-of-00015.safetensors"));
    assert_false(folder_has(&fixture.folder, "out/model.safetensors"));
    char *index = folder_read(&fixture.folder, "out/model.safetensors.index.json", NULL);
    assert_non_null(strstr(index, "\"total_size\": 2664")); /* 4 (60 + 24 + 12 * 48 + 6) */
    free(index);
    TinyPlan *loaded = load_again(&fixture);
    assert_memory_equal(loaded->spaces[MOEC_SPACE_WEIGHT], fixture.tiny->spaces[MOEC_SPACE_WEIGHT],
                        loaded->plan.space_bytes[MOEC_SPACE_WEIGHT]);
    tiny_plan_free(loaded);
    end(&fixture);
}

static void shards_are_filled(void **state) {
    (void)state;
    Fixture fixture = begin();
    export_well(&fixture, (ExportOptions){.dtype = DTYPE_F32, .shard_bytes = 1000});
    assert_true(folder_has(&fixture.folder, "out/model-00003-of-00003.safetensors"));
    tiny_plan_free(load_again(&fixture));
    end(&fixture);
}

static void config_and_side_files_go_along(void **state) {
    (void)state;
    Fixture fixture = begin();
    SideFile side = {"tokenizer.json", "{}", 2};
    fixture.extras = (ModelExtras){json_pack("{s: i}", "bos_token_id", 1), &side, 1};
    export_well(&fixture, (ExportOptions){.dtype = DTYPE_BF16});
    char *config = folder_read(&fixture.folder, "out/config.json", NULL);
    assert_string_equal(config, "{\n  \"bos_token_id\": 1,\n  \"model_type\": \"mixtral\",\n  \"hidden_size\": 6,\n  "
                                "\"rms_norm_eps\": 1e-05,\n  \"rope_theta\": 10000.0,\n  \"num_local_experts\": 4,\n  "
                                "\"num_experts_per_tok\": 2,\n  \"torch_dtype\": \"bfloat16\",\n  \"dtype\": "
                                "\"bfloat16\"\n}\n");
    assert_true(folder_has(&fixture.folder, "out/tokenizer.json"));
    json_decref(fixture.extras.config);
    free(config);
    end(&fixture);
}

static void what_exists_is_not_replaced(void **state) {
    (void)state;
    Fixture fixture = begin();
    Status status = STATUS_INIT;
    folder_write_text(&fixture.folder, "out/precious", "x");
    assert_false(
        export_to(&fixture, folder_path(&fixture.folder, "out"), (ExportOptions){.dtype = DTYPE_F32}, &status));
    expect_failure(&status, STATUS_INPUT, "/out: exists already; choose another name");
    assert_true(folder_has(&fixture.folder, "out/precious"));
    assert_int_equal(folder_count(&fixture.folder, "."), 1);
    end(&fixture);
}

static void slashes_at_the_end_do_not_matter(void **state) {
    (void)state;
    Fixture fixture = begin();
    Status status = STATUS_INIT;
    export_to(&fixture, folder_path(&fixture.folder, "a/out//"), (ExportOptions){.dtype = DTYPE_F32}, &status);
    expect_success(&status);
    assert_true(folder_has(&fixture.folder, "a/out/model.safetensors"));
    assert_int_equal(folder_count(&fixture.folder, "a"), 1);
    end(&fixture);
}

static bool export_with_failure(long at) {
    Fixture fixture = begin();
    Status status = STATUS_INIT;
    FailingDisk failing = failing_disk(at, ENOSPC, false);
    ExportOptions options = {.dtype = DTYPE_F32, .shard_bytes = 1000, .disk = &failing.disk};
    bool is_written = export_to(&fixture, folder_path(&fixture.folder, "out"), options, &status);
    assert_int_equal(is_written, !failing.failed);
    if (failing.failed) {
        expect_failure(&status, STATUS_SYSTEM, "No space left on device");
        assert_int_equal(folder_count(&fixture.folder, "."), 0);
    }
    end(&fixture);
    return failing.failed;
}

static void whatever_call_fails_nothing_is_left(void **state) {
    (void)state;
    long n = 0;
    while (export_with_failure(n))
        n++;
    assert_true(n > 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f32_comes_back_bit_for_bit),       cmocka_unit_test(bf16_is_rounded_to_nearest),
        cmocka_unit_test(shards_are_listed_in_an_index),    cmocka_unit_test(shards_are_filled),
        cmocka_unit_test(config_and_side_files_go_along),   cmocka_unit_test(what_exists_is_not_replaced),
        cmocka_unit_test(slashes_at_the_end_do_not_matter), cmocka_unit_test(whatever_call_fails_nothing_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
