// RUN: %unit %s
/* Safetensors files: each rule of the format is checked, by a file that breaks it and nothing else. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/safetensors.h"
#include "tests/support_runtime/tensors.h"

/* ---- Sound files ----------------------------------------------------------------------------------------------- */

static void open_well(SafetensorsFile *file, Folder *folder) {
    Status status = STATUS_INIT;
    safetensors_open(file, folder_path(folder, "a"), &status);
    expect_success(&status);
}

static void tensors_are_listed_in_the_order_of_their_data(void **state) {
    (void)state;
    Folder folder = folder_make();
    SafetensorsFile file;
    /* Leading blanks, as page-aligning writers have them, trailing ones, a scalar, an empty tensor, metadata. */
    tensors_write_raw(
        &folder, "a",
        "  {\"__metadata__\": {\"format\": \"pt\"}, \"z\": {\"dtype\": \"F32\", \"shape\": [2, 1], "
        "\"data_offsets\": [4, 12]}, \"s\": {\"dtype\": \"I32\", \"shape\": [], \"data_offsets\": [0, 4]}, "
        "\"e\": {\"dtype\": \"F64\", \"shape\": [3, 0], \"data_offsets\": [4, 4]}, \"q\": {\"dtype\": "
        "\"F4\", \"shape\": [2], \"data_offsets\": [12, 13]}}   ",
        NULL, 13);
    open_well(&file, &folder);
    assert_int_equal(file.n_entries, 4);
    assert_string_equal(file.entries[0].name, "s");
    assert_int_equal(file.entries[0].rank, 0);
    assert_int_equal(file.entries[0].n_elements, 1);
    assert_string_equal(file.entries[1].name, "e");
    assert_int_equal(file.entries[1].n_elements, 0);
    assert_string_equal(file.entries[2].name, "z");
    assert_int_equal(file.entries[2].dims[0], 2);
    assert_string_equal(file.entries[3].name, "q");
    safetensors_close(&file);
    folder_remove(&folder);
}

static void a_file_without_tensors_is_sound(void **state) {
    (void)state;
    Folder folder = folder_make();
    SafetensorsFile file;
    tensors_write_raw(&folder, "a", "{}", NULL, 0);
    open_well(&file, &folder);
    assert_int_equal(file.n_entries, 0);
    safetensors_close(&file);
    folder_remove(&folder);
}

static void values_are_read_as_f32(void **state) {
    (void)state;
    static const uint16_t half[] = {0x3C00, 0xC000, 0x0001}, brain[] = {0x3F80, 0xC000, 0x7F80};
    static const float plain[] = {0.1f, -2.0f, 3e38f};
    const TestTensor tensors[] = {{"h", "F16", "[3]", half, sizeof half},
                                  {"b", "BF16", "[3]", brain, sizeof brain},
                                  {"f", "F32", "[3]", plain, 12}};
    Folder folder = folder_make();
    SafetensorsFile file;
    Status status = STATUS_INIT;
    float values[3];
    tensors_write(&folder, "a", tensors, 3);
    open_well(&file, &folder);
    assert_true(safetensors_read(&file, &file.entries[0], 0, 3, values, &status));
    assert_memory_equal(values, ((float[]){1.0f, -2.0f, 0x1p-24f}), sizeof values);
    assert_true(safetensors_read(&file, &file.entries[1], 1, 2, values, &status));
    assert_memory_equal(values, ((float[]){-2.0f, INFINITY}), 8);
    assert_true(safetensors_read(&file, &file.entries[2], 0, 3, values, &status));
    assert_memory_equal(values, plain, sizeof values);
    safetensors_close(&file);
    folder_remove(&folder);
}

/* ---- Broken files ---------------------------------------------------------------------------------------------- */

typedef struct {
    const char *header;
    size_t n_data;
    const char *message;
} BrokenFile;

#define ROW(name, dtype, shape, offsets)                                                                               \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static const BrokenFile broken_files[] = {
    {"", 0, "not valid JSON"},
    {"{", 0, "not valid JSON"},
    {"[]", 0, "expected an object"},
    {"{} x", 0, "not valid JSON"},
    {"{\"\xff\": 1}", 0, "not valid JSON"},
    {"{" ROW("a", "U8", "[1]", "[0,1]") "," ROW("a", "U8", "[1]", "[1,2]") "}", 2, "duplicate object key"},
    {"{\"a\":1}", 0, "tensor a: the header gives no \"dtype\""},
    {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "tensor a: the header gives no \"dtype\""},
    {"{" ROW("a", "F33", "[1]", "[0,1]") "}", 1, "tensor a: unknown dtype \"F33\""},
    {"{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1, "tensor a: the header gives no list \"shape\""},
    {"{" ROW("a", "U8", "[-1]", "[0,1]") "}", 1, "tensor a: dim 0 of its shape is not a number from 0"},
    {"{" ROW("a", "U8", "[1,1.0]", "[0,1]") "}", 1, "tensor a: dim 1 of its shape is not a number from 0"},
    {"{" ROW("a", "U8", "[4294967296,4294967296]", "[0,1]") "}", 1, "tensor a: its shape has more than 2^64 elements"},
    {"{" ROW("a", "F32", "[4611686018427387904]", "[0,0]") "}", 0, "are no whole number of bytes"},
    {"{" ROW("a", "F4", "[3]", "[0,2]") "}", 2, "tensor a: 3 elements of F4 are no whole number of bytes"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"offsets\":[0,1]}}", 1, "its \"data_offsets\" are not two numbers"},
    {"{" ROW("a", "U8", "[1]", "[0]") "}", 1, "tensor a: its \"data_offsets\" are not two numbers"},
    {"{" ROW("a", "U8", "[1]", "[-1,0]") "}", 1, "tensor a: its \"data_offsets\" are not two numbers"},
    {"{" ROW("a", "U8", "[1]", "[0,18446744073709551616]") "}", 1, "not valid JSON: too big integer"},
    {"{" ROW("a", "U8", "[1]", "[2,1]") "}", 2, "tensor a: its data ends at 1, before its begin 2"},
    {"{" ROW("a", "F32", "[2]", "[0,4]") "}", 4, "tensor a: its shape needs 8 bytes of F32, its data_offsets span 4"},
    {"{" ROW("a", "U8", "[2]", "[0,2]") "," ROW("b", "U8", "[2]", "[1,3]") "}", 3,
     "tensor b: its data begins at 1, but the tensor before it ends at 2: they overlap"},
    {"{" ROW("a", "U8", "[1]", "[0,1]") "," ROW("b", "U8", "[1]", "[2,3]") "}", 3,
     "tensor b: its data begins at 2, but the tensor before it ends at 1: there is a hole"},
    {"{" ROW("a", "U8", "[1]", "[1,2]") "}", 2, "tensor a: its data begins at 1, but the tensor before it ends at 0"},
    {"{" ROW("a", "U8", "[9]", "[0,9]") "}", 8, "tensor a: its data ends at 9, but the file has only 8 bytes of data"},
    {"{" ROW("a", "U8", "[1]", "[0,1]") "}", 3, "the tensors need 1 bytes of data, the file has 3"},
    {"{}", 1, "the tensors need 0 bytes of data, the file has 1"},
    {"{\"__metadata__\":[]}", 0, "\"__metadata__\" is not an object"},
    {"{\"__metadata__\":{\"a\":1}}", 0, "\"__metadata__\": \"a\" is not a string"},
};

static void expect_refused(Folder *folder, StatusCode code, const char *message) {
    SafetensorsFile file;
    Status status = STATUS_INIT;
    assert_false(safetensors_open(&file, folder_path(folder, "a"), &status));
    expect_failure(&status, code, folder->path, message);
}

static void a_broken_header_is_refused(void **state) {
    (void)state;
    Folder folder = folder_make();
    for (size_t i = 0; i < sizeof broken_files / sizeof *broken_files; i++) {
        tensors_write_raw(&folder, "a", broken_files[i].header, NULL, broken_files[i].n_data);
        expect_refused(&folder, STATUS_INPUT, broken_files[i].message);
    }
    folder_remove(&folder);
}

static void a_broken_length_is_refused(void **state) {
    (void)state;
    Folder folder = folder_make();
    folder_write(&folder, "a", "1234567", 7);
    expect_refused(&folder, STATUS_INPUT, "has 7 bytes, too few for a safetensors file");
    folder_write(&folder, "a", "\x03\0\0\0\0\0\0\0{}", 10);
    expect_refused(&folder, STATUS_INPUT, "its header should have 3 bytes, but the file ends after 2");
    folder_write(&folder, "a", "\x01\xE1\xF5\x05\0\0\0\0", 8); /* 100,000,001 */
    expect_refused(&folder, STATUS_INPUT, "give a header of 100000001 bytes, more than 100000000");
    folder_write(&folder, "a", "\xF8\xFF\xFF\xFF\xFF\xFF\xFF\xFF{}", 10);
    expect_refused(&folder, STATUS_INPUT, "give a header of 18446744073709551608 bytes");
    folder_remove(&folder);
}

/* json.h's bound on depth is what keeps the parser from running out of stack. */
static void deep_nesting_is_refused(void **state) {
    (void)state;
    enum { DEEP = 100000 };
    Folder folder = folder_make();
    char *header = malloc(DEEP + 1);
    memset(header, '[', DEEP);
    header[DEEP] = '\0';
    tensors_write_raw(&folder, "a", header, NULL, 0);
    expect_refused(&folder, STATUS_INPUT, "nested deeper than 32 levels");
    free(header);
    folder_remove(&folder);
}

static void what_is_no_file_is_refused(void **state) {
    (void)state;
    Folder folder = folder_make();
    expect_refused(&folder, STATUS_INPUT, "cannot open: No such file");
    assert_int_equal(mkfifo(folder_path(&folder, "a"), 0600), 0);
    expect_refused(&folder, STATUS_INPUT, "is not a regular file");
    folder_remove(&folder);
}

static void a_file_that_shrinks_is_an_error(void **state) {
    (void)state;
    static const float values[4] = {1, 2, 3, 4};
    const TestTensor tensor = {"t", "F32", "[4]", values, sizeof values};
    Folder folder = folder_make();
    SafetensorsFile file;
    Status status = STATUS_INIT;
    float read[4];
    tensors_write(&folder, "a", &tensor, 1);
    open_well(&file, &folder);
    assert_int_equal(truncate(folder_path(&folder, "a"), (off_t)file.entries[0].offset + 8), 0);
    assert_true(safetensors_read(&file, &file.entries[0], 0, 2, read, &status));
    assert_false(safetensors_read(&file, &file.entries[0], 0, 4, read, &status));
    expect_failure(&status, STATUS_INPUT, "in the middle of its data; was it changed while it was read?");
    safetensors_close(&file);
    folder_remove(&folder);
}

/* ---- Writing --------------------------------------------------------------------------------------------------- */

static void what_is_written_reads_back(void **state) {
    (void)state;
    static const float values[6] = {1.0f, -0.0f, 0x1.fffffep127f, 1e-45f, 0.1f, 2.0f};
    static const int64_t dims[] = {2, 3};
    const SafetensorsSpec specs[] = {{"a \"quoted\" name", 2, dims}, {"scalar", 0, NULL}};
    for (int d = 0; d < 2; d++) {
        Dtype dtype = d ? DTYPE_BF16 : DTYPE_F32;
        Folder folder = folder_make();
        OutputDir dir;
        SafetensorsFile file;
        Status status = STATUS_INIT;
        float read[6];
        assert_true(
            output_dir_begin(&dir, disk_system(), folder_path(&folder, "out"), folder_path(&folder, "tmp"), &status));
        OutputFile *out = output_file_open(&dir, "a", &status);
        safetensors_write_header(out, dtype, specs, 2, &status);
        safetensors_append(out, dtype, values, 6, &status);
        safetensors_append(out, dtype, values, 1, &status);
        output_file_close(out, &status);
        output_dir_publish(&dir, &status);
        safetensors_open(&file, folder_path(&folder, "out/a"), &status);
        expect_success(&status);
        assert_string_equal(file.entries[0].name, "a \"quoted\" name");
        assert_int_equal(file.entries[0].offset % 8, 0);
        assert_string_equal(json_string_value(json_object_get(json_object_get(file.header, "__metadata__"), "format")),
                            "pt");
        assert_true(safetensors_read(&file, &file.entries[0], 0, 6, read, &status));
        for (size_t i = 0; i < 6; i++) {
            uint32_t bits = (uint32_t)dtype_bf16_of(values[i]) << 16;
            float rounded;
            memcpy(&rounded, &bits, sizeof rounded);
            assert_memory_equal(&read[i], d ? &rounded : &values[i], sizeof rounded);
        }
        safetensors_close(&file);
        folder_remove(&folder);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_are_listed_in_the_order_of_their_data),
        cmocka_unit_test(a_file_without_tensors_is_sound),
        cmocka_unit_test(values_are_read_as_f32),
        cmocka_unit_test(a_broken_header_is_refused),
        cmocka_unit_test(a_broken_length_is_refused),
        cmocka_unit_test(deep_nesting_is_refused),
        cmocka_unit_test(what_is_no_file_is_refused),
        cmocka_unit_test(a_file_that_shrinks_is_an_error),
        cmocka_unit_test(what_is_written_reads_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
