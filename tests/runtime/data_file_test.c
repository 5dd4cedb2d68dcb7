// RUN: %unit %s
/* Token files: the formats that people have, told apart by content, and what is said of those that are damaged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/data_file.h"
#include "tests/support_runtime/folder.h"

static const int32_t ids[] = {5, 0, 65535, 17, 3, 40000, 1};
enum { N_IDS = sizeof ids / sizeof *ids, VOCAB = 65536 };

/* ---- Writing them ---------------------------------------------------------------------------------------------- */

/* Bytes of a file in the making. */
typedef struct {
    unsigned char bytes[4096];
    size_t n;
} Bytes;

static void put(Bytes *bytes, const void *value, size_t n) {
    memcpy(bytes->bytes + bytes->n, value, n);
    bytes->n += n;
}

static void put_i32(Bytes *bytes, int32_t value) {
    put(bytes, &value, sizeof value);
}

static void put_i64(Bytes *bytes, int64_t value) {
    put(bytes, &value, sizeof value);
}

static void put_ids(Bytes *bytes, size_t width) {
    for (size_t i = 0; i < N_IDS; i++) {
        int64_t value = ids[i];
        put(bytes, &value, width);
    }
}

static Bytes llmc_bytes(int32_t magic, int32_t version, int32_t n, size_t width) {
    Bytes bytes = {.n = 0};
    put_i32(&bytes, magic);
    put_i32(&bytes, version);
    put_i32(&bytes, n);
    bytes.n = 1024;
    put_ids(&bytes, width);
    return bytes;
}

/* An index of two sequences, 4 and 3 long, in two documents. */
static Bytes index_bytes(unsigned char code, int64_t width) {
    Bytes bytes = {.n = 0};
    put(&bytes, "MMIDIDX\0", 9);
    put_i64(&bytes, 1);
    put(&bytes, &code, 1);
    put_i64(&bytes, 2);
    put_i64(&bytes, 3);
    put_i32(&bytes, 4);
    put_i32(&bytes, 3);
    put_i64(&bytes, 0);
    put_i64(&bytes, 4 * width);
    for (int64_t boundary = 0; boundary <= 2; boundary++)
        put_i64(&bytes, boundary);
    return bytes;
}

static void write_bytes(Folder *folder, const char *name, const Bytes *bytes) {
    folder_write(folder, name, bytes->bytes, bytes->n);
}

/* ---- Reading them ---------------------------------------------------------------------------------------------- */

static void expect_ids(Folder *folder, const char *name, const char *format) {
    TokenFile file;
    Status status = STATUS_INIT;
    int32_t read[N_IDS];
    token_file_open(&file, folder_path(folder, name), TOKEN_U16, &status);
    expect_success(&status);
    assert_string_equal(file.format, format);
    assert_int_equal(file.n_tokens, N_IDS);
    assert_true(token_file_read(&file, 0, N_IDS, VOCAB, read, &status));
    assert_memory_equal(read, ids, sizeof ids);
    assert_true(token_file_read(&file, 3, 2, VOCAB, read, &status));
    assert_memory_equal(read, ids + 3, 2 * sizeof *read);
    token_file_close(&file);
}

/* Opens it in vain. */
static Status refusal(Folder *folder, const char *name) {
    TokenFile file;
    Status status = STATUS_INIT;
    assert_false(token_file_open(&file, folder_path(folder, name), TOKEN_U16, &status));
    return status;
}

static void expect_refused(Folder *folder, const char *name, const char *message) {
    Status status = refusal(folder, name);
    expect_failure(&status, STATUS_INPUT, folder->path, message);
}

static void llm_c_files_of_both_widths_are_read(void **state) {
    (void)state;
    Folder folder = folder_make();
    Bytes narrow = llmc_bytes(20240520, 1, N_IDS, 2), wide = llmc_bytes(20240801, 7, N_IDS, 4);
    write_bytes(&folder, "narrow.bin", &narrow);
    write_bytes(&folder, "wide.bin", &wide);
    expect_ids(&folder, "narrow.bin", "llm.c");
    expect_ids(&folder, "wide.bin", "llm.c");
    folder_remove(&folder);
}

static void a_damaged_llm_c_file_is_refused(void **state) {
    (void)state;
    Folder folder = folder_make();
    Bytes bytes = llmc_bytes(20240520, 1, N_IDS, 2);
    folder_write(&folder, "a.bin", bytes.bytes, bytes.n - 1);
    expect_refused(&folder, "a.bin", "header says 7 u16 tokens, so the file should have 1038 bytes; it has 1037");
    folder_write(&folder, "a.bin", bytes.bytes, 100);
    expect_refused(&folder, "a.bin", "should have 1038 bytes; it has 100");
    bytes = llmc_bytes(20240520, 1, -1, 2);
    write_bytes(&folder, "a.bin", &bytes);
    expect_refused(&folder, "a.bin", "header says -1 u16 tokens");
    bytes = llmc_bytes(20240520, 2, N_IDS, 2);
    write_bytes(&folder, "a.bin", &bytes);
    expect_refused(&folder, "a.bin", "header says version 2; u16 tokens have version 1");
    folder_remove(&folder);
}

static void other_files_of_llm_c_are_named(void **state) {
    (void)state;
    Folder folder = folder_make();
    Bytes bytes = llmc_bytes(20240522, 1, N_IDS, 2);
    write_bytes(&folder, "a.bin", &bytes);
    expect_refused(&folder, "a.bin", "is an evaluation set of llm.c, not a file of training tokens");
    folder_remove(&folder);
}

static void files_without_a_header_are_u16(void **state) {
    (void)state;
    Folder folder = folder_make();
    Bytes bytes = {.n = 0};
    put_ids(&bytes, 2);
    write_bytes(&folder, "train.bin", &bytes);
    expect_ids(&folder, "train.bin", "headerless");
    folder_write(&folder, "train.bin", bytes.bytes, bytes.n - 1);
    expect_refused(&folder, "train.bin", "its 13 bytes are not a multiple of 2 (see --token-dtype)");
    folder_remove(&folder);
}

static void files_without_a_header_may_be_u32(void **state) {
    (void)state;
    Folder folder = folder_make();
    TokenFile file;
    TokenDtype dtype;
    Status status = STATUS_INIT;
    Bytes bytes = {.n = 0};
    put_ids(&bytes, 4);
    write_bytes(&folder, "train.bin", &bytes);
    assert_true(token_dtype_find("u32", &dtype));
    assert_true(token_file_open(&file, folder_path(&folder, "train.bin"), dtype, &status));
    assert_int_equal(file.n_tokens, N_IDS);
    token_file_close(&file);
    assert_false(token_dtype_find("i64", &dtype));
    folder_remove(&folder);
}

static void text_is_not_taken_for_ids(void **state) {
    (void)state;
    Folder folder = folder_make();
    char text[201];
    memset(text, 'e', 200);
    text[200] = '\0';
    folder_write_text(&folder, "book.txt", text);
    expect_refused(&folder, "book.txt", "looks like text. Training reads token ids: tokenise it first");
    folder_remove(&folder);
}

/* ---- Megatron -------------------------------------------------------------------------------------------------- */

/* Codes of the dtypes that hold all the ids. */
static void megatron_pairs_are_read(void **state) {
    (void)state;
    static const struct {
        unsigned char code;
        int64_t width;
    } kinds[] = {{4, 4}, {5, 8}, {8, 2}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        Folder folder = folder_make();
        Bytes index = index_bytes(kinds[i].code, kinds[i].width), bin = {.n = 0};
        put_ids(&bin, (size_t)kinds[i].width);
        write_bytes(&folder, "t.idx", &index);
        write_bytes(&folder, "t.bin", &bin);
        expect_ids(&folder, "t", "Megatron");
        expect_ids(&folder, "t.idx", "Megatron");
        expect_ids(&folder, "t.bin", "Megatron");
        folder_remove(&folder);
    }
}

typedef struct {
    size_t at; /* byte of the index that is changed */
    unsigned char value;
    const char *message;
} Damage;

static void a_damaged_megatron_index_is_refused(void **state) {
    (void)state;
    /* The arrays begin at byte 34, aligned to nothing: lengths, then pointers at 42. Documents are not looked at. */
    static const Damage damages[] = {
        {0, 'X', "should begin with MMIDIDX"},
        {9, 2, "has version 2"},
        {17, 6, "has dtype code 6, which is not one of token ids"},
        {17, 9, "has dtype code 9"},
        {18, 3, "says 3 sequences and 3 documents, which its 82 bytes do not hold"},
        {25, 0x7F, "documents, which its 82 bytes do not hold"},
        {33, 0xFF, "documents, which its 82 bytes do not hold"},
        {34, 5, "sequence 1 has length 3 and begins at byte 8; expected it at byte 10"},
        {37, 0x80, "sequence 0 has length -2147483644"},
        {50, 9, "sequence 1 has length 3 and begins at byte 9; expected it at byte 8"},
        {57, 0x80, "sequence 1 has length 3 and begins at byte -9223372036854775800"},
        {38, 4, "t.bin: has 14 bytes; its index says 8 tokens of u16, 16 bytes"},
    };
    Folder folder = folder_make();
    Bytes bin = {.n = 0};
    put_ids(&bin, 2);
    write_bytes(&folder, "t.bin", &bin);
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        Bytes index = index_bytes(8, 2);
        index.bytes[damages[i].at] = damages[i].value;
        write_bytes(&folder, "t.idx", &index);
        expect_refused(&folder, "t", damages[i].message);
    }
    folder_remove(&folder);
}

static void a_cut_off_megatron_pair_is_refused(void **state) {
    (void)state;
    Folder folder = folder_make();
    Bytes index = index_bytes(8, 2), bin = {.n = 0};
    put_ids(&bin, 2);
    write_bytes(&folder, "t.bin", &bin);
    for (size_t n = 0; n < index.n; n++) {
        folder_write(&folder, "t.idx", index.bytes, n);
        expect_refused(&folder, "t", "t.idx");
    }
    write_bytes(&folder, "t.idx", &index);
    folder_write(&folder, "t.bin", bin.bytes, bin.n - 2);
    expect_refused(&folder, "t", "t.");
    folder_remove(&folder);
}

/* ---- Ids and errors -------------------------------------------------------------------------------------------- */

static void ids_past_the_vocabulary_are_refused(void **state) {
    (void)state;
    Folder folder = folder_make();
    TokenFile file;
    Status status = STATUS_INIT;
    int32_t read[N_IDS];
    Bytes bytes = {.n = 0};
    put_ids(&bytes, 2);
    write_bytes(&folder, "a.bin", &bytes);
    assert_true(token_file_open(&file, folder_path(&folder, "a.bin"), TOKEN_U16, &status));
    assert_true(token_file_read(&file, 0, 2, 100, read, &status));
    assert_false(token_file_read(&file, 1, 4, 100, read, &status));
    expect_failure(&status, STATUS_INPUT, "a.bin: token 2 is 65535, but the model's vocabulary has ids 0 to 99",
                   "is --token-dtype right");
    status = STATUS_INIT;
    assert_false(token_file_read(&file, 0, N_IDS, 65535, read, &status));
    expect_failure(&status, STATUS_INPUT, "token 2 is 65535");
    status = STATUS_INIT;
    assert_true(token_file_read(&file, 0, N_IDS, 65536, read, &status));
    token_file_close(&file);
    folder_remove(&folder);
}

static void negative_ids_are_refused(void **state) {
    (void)state;
    Folder folder = folder_make();
    TokenFile file;
    Status status = STATUS_INIT;
    int32_t read[N_IDS];
    Bytes index = index_bytes(4, 4), bin = {.n = 0};
    put_ids(&bin, 4);
    memset(bin.bytes + 8, 0xFF, 4);
    write_bytes(&folder, "t.idx", &index);
    write_bytes(&folder, "t.bin", &bin);
    assert_true(token_file_open(&file, folder_path(&folder, "t"), TOKEN_U16, &status));
    assert_false(token_file_read(&file, 0, N_IDS, VOCAB, read, &status));
    expect_failure(&status, STATUS_INPUT, "token 2 is -1");
    token_file_close(&file);
    folder_remove(&folder);
}

static void a_file_that_shrinks_is_an_error(void **state) {
    (void)state;
    Folder folder = folder_make();
    TokenFile file;
    Status status = STATUS_INIT;
    int32_t read[N_IDS];
    Bytes bytes = {.n = 0};
    put_ids(&bytes, 2);
    write_bytes(&folder, "a.bin", &bytes);
    assert_true(token_file_open(&file, folder_path(&folder, "a.bin"), TOKEN_U16, &status));
    assert_int_equal(truncate(folder_path(&folder, "a.bin"), 9), 0);
    assert_false(token_file_read(&file, 2, 4, VOCAB, read, &status));
    expect_failure(&status, STATUS_INPUT, "a.bin: ends at token 4, but had 7 tokens when it was opened");
    token_file_close(&file);
    folder_remove(&folder);
}

static void what_is_no_file_is_refused(void **state) {
    (void)state;
    Folder folder = folder_make();
    TokenFile file;
    Status status = STATUS_INIT;
    assert_false(token_file_open(&file, folder_path(&folder, "none.bin"), TOKEN_U16, &status));
    expect_failure(&status, STATUS_INPUT, "none.bin: cannot open: No such file");
    assert_int_equal(mkfifo(folder_path(&folder, "fifo"), 0600), 0);
    expect_refused(&folder, "fifo", "is not a regular file");
    folder_remove(&folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(llm_c_files_of_both_widths_are_read),
        cmocka_unit_test(a_damaged_llm_c_file_is_refused),
        cmocka_unit_test(other_files_of_llm_c_are_named),
        cmocka_unit_test(files_without_a_header_are_u16),
        cmocka_unit_test(files_without_a_header_may_be_u32),
        cmocka_unit_test(text_is_not_taken_for_ids),
        cmocka_unit_test(megatron_pairs_are_read),
        cmocka_unit_test(a_damaged_megatron_index_is_refused),
        cmocka_unit_test(a_cut_off_megatron_pair_is_refused),
        cmocka_unit_test(ids_past_the_vocabulary_are_refused),
        cmocka_unit_test(negative_ids_are_refused),
        cmocka_unit_test(a_file_that_shrinks_is_an_error),
        cmocka_unit_test(what_is_no_file_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
