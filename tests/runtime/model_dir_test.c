// RUN: %unit %s
/* Model directories: one file or shards, an index that nobody vouches for, side files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/model_dir.h"
#include "tests/support_runtime/tensors.h"

static const float ones[2] = {1, 1};

static void write_tensor(Folder *folder, const char *file, const char *name) {
    const TestTensor tensor = {name, "F32", "[2]", ones, sizeof ones};
    tensors_write(folder, file, &tensor, 1);
}

/* Two shards with a tensor each. */
static void write_shards(Folder *folder) {
    write_tensor(folder, "m/model-00001-of-00002.safetensors", "b");
    write_tensor(folder, "m/model-00002-of-00002.safetensors", "a");
}

static void write_index(Folder *folder, const char *map) {
    char text[512];
    snprintf(text, sizeof text, "{\"metadata\": {\"total_size\": 16}, \"weight_map\": %s}", map);
    folder_write_text(folder, "m/model.safetensors.index.json", text);
}

static void expect_refused(Folder *folder, StatusCode code, const char *message) {
    ModelDir dir;
    Status status = STATUS_INIT;
    assert_false(model_dir_open(&dir, folder_path(folder, "m"), &status));
    assert_null(dir.path);
    expect_failure(&status, code, "/m", message);
}

static void open_well(ModelDir *dir, Folder *folder) {
    Status status = STATUS_INIT;
    model_dir_open(dir, folder_path(folder, "m"), &status);
    expect_success(&status);
}

/* ---- One file -------------------------------------------------------------------------------------------------- */

static void a_single_file_is_opened(void **state) {
    (void)state;
    Folder folder = folder_make();
    ModelDir dir;
    write_tensor(&folder, "m/model.safetensors", "a");
    open_well(&dir, &folder);
    assert_non_null(model_dir_find(&dir, "a"));
    assert_null(model_dir_find(&dir, "b"));
    assert_null(dir.extras.config);
    model_dir_close(&dir);
    folder_remove(&folder);
}

static void an_empty_directory_is_refused(void **state) {
    (void)state;
    Folder folder = folder_make();
    expect_refused(&folder, STATUS_INPUT, "/m: No such file");
    folder_write_text(&folder, "m/config.json", "{}");
    expect_refused(&folder, STATUS_INPUT, "has neither model.safetensors nor model.safetensors.index.json");
    folder_write_text(&folder, "m/pytorch_model.bin", "");
    expect_refused(&folder, STATUS_INPUT, "its pytorch_model.bin must be saved as safetensors first");
    folder_remove(&folder);
}

/* ---- Shards ---------------------------------------------------------------------------------------------------- */

static void shards_are_one_table(void **state) {
    (void)state;
    Folder folder = folder_make();
    ModelDir dir;
    write_shards(&folder);
    write_index(&folder, "{\"b\": \"model-00001-of-00002.safetensors\", \"a\": \"model-00002-of-00002.safetensors\"}");
    open_well(&dir, &folder);
    assert_int_equal(dir.n_files, 2);
    assert_int_equal(dir.n_tensors, 2);
    assert_non_null(strstr(model_dir_find(&dir, "a")->file->path, "00002-of"));
    model_dir_close(&dir);
    folder_remove(&folder);
}

typedef struct {
    const char *map, *message;
} BrokenIndex;

static const BrokenIndex broken_indices[] = {
    {"[]", "has no object \"weight_map\""},
    {"{\"a\": 1}", "\"weight_map\" has a value that is no file name"},
    {"{\"a\": \"\"}", "shard \"\": expected the name of a file beside the index"},
    {"{\"a\": \"../x.safetensors\"}", "shard \"../x.safetensors\": expected the name of a file beside the index"},
    {"{\"a\": \"/etc/passwd\"}", "shard \"/etc/passwd\": expected the name of a file"},
    {"{\"a\": \"..\"}", "shard \"..\": expected the name of a file"},
    {"{\"a\": \"x\\\\y\"}", "shard \"x\\y\": expected the name of a file"},
    {"{\"a\": \"model-00003-of-00002.safetensors\"}", "model-00003-of-00002.safetensors: cannot open"},
    {"{\"a\": \"model-00001-of-00002.safetensors\"}",
     "tensor a should be in model-00001-of-00002.safetensors, which lacks it"},
    {"{\"a\": \"model-00001-of-00002.safetensors\", \"b\": \"model-00002-of-00002.safetensors\"}", "which lacks it"},
    {"{\"b\": \"model-00001-of-00002.safetensors\", \"c\": \"double.safetensors\"}", "tensor b stands in two files"},
};

static void a_broken_index_is_refused(void **state) {
    (void)state;
    Folder folder = folder_make();
    write_shards(&folder);
    write_tensor(&folder, "m/double.safetensors", "b");
    for (size_t i = 0; i < sizeof broken_indices / sizeof *broken_indices; i++) {
        ModelDir dir;
        Status status = STATUS_INIT;
        write_index(&folder, broken_indices[i].map);
        assert_false(model_dir_open(&dir, folder_path(&folder, "m"), &status));
        expect_failure(&status, status.code, broken_indices[i].message);
    }
    folder_remove(&folder);
}

static void an_index_that_is_no_object_is_refused(void **state) {
    (void)state;
    Folder folder = folder_make();
    folder_write_text(&folder, "m/model.safetensors.index.json", "[]");
    expect_refused(&folder, STATUS_INPUT, "expected an object");
    folder_remove(&folder);
}

/* ---- Side files ------------------------------------------------------------------------------------------------ */

static void side_files_outlive_the_directory(void **state) {
    (void)state;
    Folder folder = folder_make();
    ModelDir dir;
    write_tensor(&folder, "m/model.safetensors", "a");
    folder_write_text(&folder, "m/config.json", "{\"model_type\": \"llama\"}");
    folder_write(&folder, "m/tokenizer.model", "\0\1\2", 3);
    folder_write_text(&folder, "m/LICENSE", "free");
    folder_write_text(&folder, "m/README.md", "stays behind");
    open_well(&dir, &folder);
    ModelExtras extras = model_dir_take_extras(&dir);
    model_dir_close(&dir);
    folder_remove(&folder);
    assert_string_equal(json_string_value(json_object_get(extras.config, "model_type")), "llama");
    assert_int_equal(extras.n_files, 2);
    assert_string_equal(extras.files[0].name, "tokenizer.model");
    assert_int_equal(extras.files[0].n_bytes, 3);
    assert_memory_equal(extras.files[0].bytes, "\0\1\2", 3);
    assert_string_equal(extras.files[1].name, "LICENSE");
    model_extras_free(&extras);
}

static void a_config_that_is_no_object_is_refused(void **state) {
    (void)state;
    Folder folder = folder_make();
    write_tensor(&folder, "m/model.safetensors", "a");
    folder_write_text(&folder, "m/config.json", "3");
    expect_refused(&folder, STATUS_INPUT, "config.json: expected an object");
    folder_write_text(&folder, "m/config.json", "{\"a\": 1, \"a\": 2}");
    expect_refused(&folder, STATUS_INPUT, "config.json:1:12: not valid JSON: duplicate object key");
    folder_remove(&folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_single_file_is_opened),
        cmocka_unit_test(an_empty_directory_is_refused),
        cmocka_unit_test(shards_are_one_table),
        cmocka_unit_test(a_broken_index_is_refused),
        cmocka_unit_test(an_index_that_is_no_object_is_refused),
        cmocka_unit_test(side_files_outlive_the_directory),
        cmocka_unit_test(a_config_that_is_no_object_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
