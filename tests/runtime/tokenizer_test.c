// RUN: env MOEC_ROOT=%root %unit %s
/* Text to ids and back, against ids that Hugging Face's tokenizers give (Inputs/NAME_ids.json, made with its version
   0.23), and what is said of a tokenizer.json that asks for more than moec knows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/tokenizer.h"
#include "tests/support_runtime/folder.h"

enum { VOCAB = 400 };

static char *read_input(const char *name, size_t *length) {
    char path[FOLDER_PATH_BYTES];
    Status status = STATUS_INIT;
    const char *root = getenv("MOEC_ROOT");
    snprintf(path, sizeof path, "%s/tests/runtime/Inputs/%s", root ? root : ".", name);
    char *text = json_read_text(path, length, &status);
    expect_success(&status);
    return text;
}

/* Of a tokenizer.json's text, a model's config.json and generation_config.json; NULL: none. */
static Tokenizer *make_tokenizer(const char *text, const char *config, const char *generation, Status *status) {
    SideFile files[] = {{"tokenizer.json", (char *)text, text ? strlen(text) : 0},
                        {"generation_config.json", (char *)generation, generation ? strlen(generation) : 0}};
    ModelExtras extras = {.files = text ? files : files + 1, .n_files = (text ? 1u : 0u) + (generation ? 1u : 0u)};
    if (config)
        extras.config = json_parse(config, strlen(config), "config.json", status);
    Tokenizer *tokenizer = tokenizer_new(&extras, text ? VOCAB : 256, status);
    json_decref(extras.config);
    return tokenizer;
}

static Tokenizer *read_tokenizer(const char *name) {
    char file[64];
    Status status = STATUS_INIT;
    snprintf(file, sizeof file, "%s_tokenizer.json", name);
    char *text = read_input(file, NULL);
    Tokenizer *tokenizer = make_tokenizer(text, NULL, NULL, &status);
    expect_success(&status);
    free(text);
    return tokenizer;
}

/* ---- The same ids as Hugging Face's ---------------------------------------------------------------------------- */

static void expect_ids(const Tokenizer *tokenizer, const char *text, const json_t *expected) {
    Status status = STATUS_INIT;
    int32_t *ids;
    size_t n;
    assert_true(tokenizer_encode(tokenizer, text, &ids, &n, &status));
    assert_int_equal(n, json_array_size(expected));
    for (size_t i = 0; i < n; i++) {
        if (ids[i] != json_integer_value(json_array_get(expected, i)))
            fail_msg("\"%s\": id %zu is %d, expected %d", text, i, ids[i],
                     (int)json_integer_value(json_array_get(expected, i)));
    }
    free(ids);
}

static void expect_same_ids(const char *name) {
    char file[64];
    size_t length, i;
    Status status = STATUS_INIT;
    json_t *row;
    snprintf(file, sizeof file, "%s_ids.json", name);
    char *text = read_input(file, &length);
    json_t *cases = json_parse(text, length, file, &status);
    expect_success(&status);
    Tokenizer *tokenizer = read_tokenizer(name);
    assert_true(json_array_size(cases) >= 10);
    json_array_foreach(cases, i, row) {
        expect_ids(tokenizer, json_string_value(json_object_get(row, "text")), json_object_get(row, "ids"));
    }
    tokenizer_free(tokenizer);
    json_decref(cases);
    free(text);
}

static void smollm2_ids_are_those_of_tokenizers(void **state) {
    (void)state;
    expect_same_ids("smollm2");
}

static void gpt2_ids_are_those_of_tokenizers(void **state) {
    (void)state;
    expect_same_ids("gpt2");
}

static void llama3_ids_are_those_of_tokenizers(void **state) {
    (void)state;
    expect_same_ids("llama3");
}

static void qwen_ids_are_those_of_tokenizers(void **state) {
    (void)state;
    expect_same_ids("qwen");
}

/* ---- Round trips ----------------------------------------------------------------------------------------------- */

static void expect_round_trip(const Tokenizer *tokenizer, const char *text) {
    Status status = STATUS_INIT;
    int32_t *ids;
    size_t n;
    assert_true(tokenizer_encode(tokenizer, text, &ids, &n, &status));
    char *back = tokenizer_decode(tokenizer, ids, n, &status);
    expect_success(&status);
    assert_string_equal(back, text);
    free(back);
    free(ids);
}

static void decoding_gives_the_text_back(void **state) {
    (void)state;
    Tokenizer *tokenizer = read_tokenizer("smollm2");
    expect_round_trip(tokenizer, "");
    expect_round_trip(tokenizer, " The caf\u00e9 \u6771\u4eac <|im_start|> <|im_\n\n\t  12 ");
    tokenizer_free(tokenizer);
}

/* A word without end: joined in a heap, not by looking at all pairs again and again. */
static void a_long_word_is_encoded_in_time(void **state) {
    (void)state;
    enum { N = 300000 };
    Tokenizer *tokenizer = read_tokenizer("smollm2");
    char *text = malloc(N + 1);
    for (int i = 0; i < N; i++)
        text[i] = "eathero"[i % 7];
    text[N] = '\0';
    expect_round_trip(tokenizer, text);
    free(text);
    tokenizer_free(tokenizer);
}

static void a_text_that_is_not_utf8_is_refused(void **state) {
    (void)state;
    static const char *const texts[] = {"ab\xff", "ab\xc3", "ab\xc0\x80", "ab\xed\xa0\x80", "ab\xf4\x90\x80\x80",
                                        "ab\x80"};
    Tokenizer *tokenizer = read_tokenizer("smollm2");
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        Status status = STATUS_INIT;
        int32_t *ids;
        size_t n;
        assert_false(tokenizer_encode(tokenizer, texts[i], &ids, &n, &status));
        assert_null(ids);
        expect_failure(&status, STATUS_INPUT, "not valid UTF-8 from byte 2 on");
    }
    tokenizer_free(tokenizer);
}

static void text_not_in_form_c_is_refused_by_a_tokenizer_that_needs_it(void **state) {
    (void)state;
    Status status = STATUS_INIT;
    int32_t *ids;
    size_t n;
    Tokenizer *tokenizer = read_tokenizer("qwen");
    expect_round_trip(tokenizer, "caf\u00e9 \ud55c\uad6d\uc5b4");
    assert_false(tokenizer_encode(tokenizer, "cafe\u0301", &ids, &n, &status));
    expect_failure(&status, STATUS_INPUT, "normalisation form C", "near \"\u0301\"");
    tokenizer_free(tokenizer);
}

static void ids_that_the_model_lacks_are_refused(void **state) {
    (void)state;
    Tokenizer *tokenizer = read_tokenizer("smollm2");
    for (int32_t id = -1; id <= VOCAB; id += VOCAB + 1) {
        Status status = STATUS_INIT;
        assert_null(tokenizer_decode(tokenizer, &id, 1, &status));
        expect_failure(&status, STATUS_INPUT, "is not one of the model's, 0 to 399");
    }
    tokenizer_free(tokenizer);
}

/* ---- Without tokenizer.json ------------------------------------------------------------------------------------ */

static void a_model_of_bytes_reads_any_bytes(void **state) {
    (void)state;
    Status status = STATUS_INIT;
    int32_t *ids;
    size_t n;
    Tokenizer *tokenizer = make_tokenizer(NULL, NULL, NULL, &status);
    assert_true(tokenizer_encode(tokenizer, "a\xff\x01", &ids, &n, &status));
    assert_int_equal(n, 3);
    assert_int_equal(ids[0], 'a');
    assert_int_equal(ids[1], 255);
    assert_int_equal(ids[2], 1);
    ids[2] = 0;
    char *text = tokenizer_decode(tokenizer, ids, 3, &status);
    assert_string_equal(text, "a\xff\xef\xbf\xbd");
    free(text);
    free(ids);
    tokenizer_free(tokenizer);
}

static void a_model_of_more_ids_needs_a_tokenizer(void **state) {
    (void)state;
    Status status = STATUS_INIT;
    ModelExtras extras = {0};
    assert_null(tokenizer_new(&extras, 257, &status));
    expect_failure(&status, STATUS_INPUT, "came without tokenizer.json");
}

static void ends_are_those_of_both_configs(void **state) {
    (void)state;
    Status status = STATUS_INIT;
    Tokenizer *tokenizer = make_tokenizer(NULL, "{\"eos_token_id\": 2}", "{\"eos_token_id\": [7, \"x\", 9]}", &status);
    assert_true(tokenizer_ends_text(tokenizer, 2));
    assert_true(tokenizer_ends_text(tokenizer, 7));
    assert_true(tokenizer_ends_text(tokenizer, 9));
    assert_false(tokenizer_ends_text(tokenizer, 0));
    tokenizer_free(tokenizer);
}

/* ---- What is refused ------------------------------------------------------------------------------------------- */

#define MODEL "\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1, \"ab\": 2}, \"merges\": [\"a b\"]}"
#define BYTE_LEVEL "\"pre_tokenizer\": {\"type\": \"ByteLevel\"}"

typedef struct {
    const char *text, *message;
} Refusal;

static const Refusal refusals[] = {
    {"{", "tokenizer.json:1:1: not valid JSON"},
    {"{}", "has no object \"model\""},
    {"{\"model\": {\"type\": \"Unigram\"}}", "its model is Unigram; moec reads byte-level BPE only"},
    {"{\"model\": {\"byte_fallback\": true}}", "sets \"byte_fallback\""},
    {"{\"model\": {\"end_of_word_suffix\": \"</w>\"}}", "sets \"end_of_word_suffix\""},
    {"{\"model\": {\"dropout\": 0.1}}", "sets \"dropout\""},
    {"{\"model\": {\"merges\": []}}", "has no object \"vocab\""},
    {"{\"model\": {\"vocab\": {}}}", "has no list \"merges\""},
    {"{\"model\": {\"vocab\": {\"a\": 400}}}", "token \"a\": expected an id from 0 to 399"},
    {"{\"model\": {\"vocab\": {\"a\": -1}}}", "token \"a\": expected an id from 0 to 399"},
    {"{\"model\": {\"vocab\": {\"a\": 0, \"b\": 0}}}", "two tokens have id 0; one of them is \"b\""},
    {"{\"model\": {\"vocab\": {}, \"merges\": [\"ab\"]}}", "merge 0: expected \"LEFT RIGHT\""},
    {"{\"model\": {\"vocab\": {}, \"merges\": [[\"a\"]]}}", "merge 0: expected \"LEFT RIGHT\""},
    {"{\"model\": {\"vocab\": {}, \"merges\": [3]}}", "merge 0: expected \"LEFT RIGHT\""},
    {"{\"model\": {\"vocab\": {\"a\": 0, \"b\": 1}, \"merges\": [\"a b\"]}}",
     "merge 0, \"a b\": the parts and the whole"},
    {"{\"model\": {\"vocab\": {}, \"merges\": [], \"unk_token\": \"?\"}}", "\"unk_token\" \"?\" is not in \"vocab\""},
    {"{" MODEL "}", "its pre_tokenizer is not given"},
    {"{" MODEL ", \"pre_tokenizer\": {\"type\": \"Metaspace\"}}", "its pre_tokenizer is Metaspace"},
    {"{" MODEL ", \"pre_tokenizer\": {\"type\": \"Digits\"}}", "has no pre_tokenizer ByteLevel"},
    {"{" MODEL
     ", \"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"ByteLevel\"}, {\"type\": "
     "\"Digits\"}]}}",
     "ByteLevel must be the last"},
    {"{" MODEL
     ", \"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"Regex\": \"(\"}, \"behavior\": \"Isolated\"}}",
     "pattern \"(\", at byte 1: missing closing parenthesis"},
    {"{" MODEL ", \"pre_tokenizer\": {\"type\": \"Split\", \"behavior\": \"Isolated\"}}", "expected \"pattern\""},
    {"{" MODEL ", \"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"String\": \" \"}, \"behavior\": "
     "\"MergedWithNext\"}}",
     "\"behavior\" is \"MergedWithNext\""},
    {"{" MODEL ", " BYTE_LEVEL ", \"normalizer\": {\"type\": \"NFKC\"}}", "its normalizer is NFKC"},
    {"{" MODEL ", " BYTE_LEVEL ", \"decoder\": {\"type\": \"Metaspace\"}}", "its decoder is Metaspace"},
    {"{" MODEL ", " BYTE_LEVEL ", \"post_processor\": {\"type\": \"BertProcessing\"}}", "its post_processor is Bert"},
    {"{" MODEL ", " BYTE_LEVEL
     ", \"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": "
     "{\"id\": \"<s>\"}}]}}",
     "its template has \"<s>\", but gives no ids"},
    {"{" MODEL ", " BYTE_LEVEL
     ", \"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": "
     "{\"id\": \"<s>\"}}], \"special_tokens\": {\"<s>\": {\"ids\": [400]}}}}",
     "its template's \"<s>\" is not an id from 0 to 399"},
    {"{" MODEL ", " BYTE_LEVEL ", \"added_tokens\": [{\"id\": 3}]}", "an added token lacks its text"},
    {"{" MODEL ", " BYTE_LEVEL ", \"added_tokens\": [{\"id\": 400, \"content\": \"<s>\"}]}",
     "added token \"<s>\" has id 400"},
    {"{" MODEL ", " BYTE_LEVEL ", \"added_tokens\": [{\"id\": 3, \"content\": \"<s>\", \"lstrip\": true}]}",
     "added token \"<s>\" sets \"lstrip\""},
};

static void what_moec_does_not_know_is_refused_by_name(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        Status status = STATUS_INIT;
        assert_null(make_tokenizer(refusals[i].text, NULL, NULL, &status));
        expect_failure(&status, STATUS_INPUT, "tokenizer.json", refusals[i].message);
    }
}

/* A pattern that would take for ever gives up. */
static void a_pattern_of_boundless_effort_is_stopped(void **state) {
    (void)state;
    Status status = STATUS_INIT;
    int32_t *ids;
    size_t n;
    Tokenizer *tokenizer = make_tokenizer(
        "{" MODEL
        ", \"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": "
        "{\"Regex\": \"(a|aa|b)+[cd]\"}, \"behavior\": \"Isolated\"}, {\"type\": \"ByteLevel\"}]}}",
        NULL, NULL, &status);
    expect_success(&status);
    assert_false(
        tokenizer_encode(tokenizer, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!", &ids, &n, &status));
    expect_failure(&status, STATUS_INPUT, "splitting a text by its pattern failed", "match limit exceeded");
    tokenizer_free(tokenizer);
}

static void bytes_without_a_token_are_left_out_or_unknown(void **state) {
    (void)state;
    static const char *const texts[] = {"{" MODEL
                                        ", \"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false}}",
                                        "{\"model\": {\"vocab\": {\"a\": 0, \"?\": 1}, \"merges\": [], \"unk_token\": "
                                        "\"?\"}, \"pre_tokenizer\": {\"type\": "
                                        "\"ByteLevel\", \"add_prefix_space\": false}}"};
    static const size_t lengths[] = {1, 3};
    for (size_t i = 0; i < 2; i++) {
        Status status = STATUS_INIT;
        int32_t *ids;
        size_t n;
        Tokenizer *tokenizer = make_tokenizer(texts[i], NULL, NULL, &status);
        assert_true(tokenizer_encode(tokenizer, "axx", &ids, &n, &status));
        assert_int_equal(n, lengths[i]);
        free(ids);
        tokenizer_free(tokenizer);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(smollm2_ids_are_those_of_tokenizers),
        cmocka_unit_test(gpt2_ids_are_those_of_tokenizers),
        cmocka_unit_test(llama3_ids_are_those_of_tokenizers),
        cmocka_unit_test(qwen_ids_are_those_of_tokenizers),
        cmocka_unit_test(decoding_gives_the_text_back),
        cmocka_unit_test(a_long_word_is_encoded_in_time),
        cmocka_unit_test(a_text_that_is_not_utf8_is_refused),
        cmocka_unit_test(text_not_in_form_c_is_refused_by_a_tokenizer_that_needs_it),
        cmocka_unit_test(ids_that_the_model_lacks_are_refused),
        cmocka_unit_test(a_model_of_bytes_reads_any_bytes),
        cmocka_unit_test(a_model_of_more_ids_needs_a_tokenizer),
        cmocka_unit_test(ends_are_those_of_both_configs),
        cmocka_unit_test(what_moec_does_not_know_is_refused_by_name),
        cmocka_unit_test(a_pattern_of_boundless_effort_is_stopped),
        cmocka_unit_test(bytes_without_a_token_are_left_out_or_unknown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
