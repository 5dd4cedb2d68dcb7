#include "runtime/tokenizer.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/tokenizer_added.h"
#include "runtime/tokenizer_bpe.h"
#include "runtime/tokenizer_split.h"
#include "runtime/utf8.h"

struct Tokenizer {
    AddedTokens added;
    pcre2_code *not_nfc; /* what text in normalisation form C lacks; NULL: any text will do */
    Splitter splitter;
    Bpe bpe;
    IdList before, after; /* set around every text */
    IdList ends;          /* ids that end a text */
    bool takes_utf8;      /* else any bytes */
};

/* ---- Normalisation --------------------------------------------------------------------------------------------- */

/* The characters of Unicode 14 that form C may change: those that it replaces, and those that it may join to the one
   before. Two marks in a row may have to change places. Text without any of this is in form C. */
static const char not_nfc_pattern[] =
    "\\p{Mn}{2}|[\\x{300}-\\x{304}\\x{306}-\\x{30c}\\x{30f}\\x{311}\\x{313}-\\x{314}\\x{31b}\\x{323}-\\x{328}\\x{32d}-"
    "\\x{32e}\\x{330}-\\x{331}\\x{338}\\x{340}-\\x{345}\\x{374}\\x{37e}\\x{387}\\x{653}-\\x{655}\\x{93c}\\x{958}-"
    "\\x{95f}\\x{9be}\\x{9d7}\\x{9dc}-\\x{9dd}\\x{9df}\\x{a33}\\x{a36}\\x{a59}-\\x{a5b}\\x{a5e}\\x{b3e}\\x{b56}-"
    "\\x{b57}\\x{b5c}-\\x{b5d}\\x{bbe}\\x{bd7}\\x{c56}\\x{cc2}\\x{cd5}-\\x{cd6}\\x{d3e}\\x{d57}\\x{dca}\\x{dcf}"
    "\\x{ddf}\\x{f43}\\x{f4d}\\x{f52}\\x{f57}\\x{f5c}\\x{f69}\\x{f73}\\x{f75}-\\x{f76}\\x{f78}\\x{f81}\\x{f93}\\x{f9d}"
    "\\x{fa2}\\x{fa7}\\x{fac}\\x{fb9}\\x{102e}\\x{1161}-\\x{1175}\\x{11a8}-\\x{11c2}\\x{1b35}\\x{1f71}\\x{1f73}"
    "\\x{1f75}\\x{1f77}\\x{1f79}\\x{1f7b}\\x{1f7d}\\x{1fbb}\\x{1fbe}\\x{1fc9}\\x{1fcb}\\x{1fd3}\\x{1fdb}\\x{1fe3}"
    "\\x{1feb}\\x{1fee}-\\x{1fef}\\x{1ff9}\\x{1ffb}\\x{1ffd}\\x{2000}-\\x{2001}\\x{2126}\\x{212a}-\\x{212b}\\x{2329}-"
    "\\x{232a}\\x{2adc}\\x{3099}-\\x{309a}\\x{f900}-\\x{fa0d}\\x{fa10}\\x{fa12}\\x{fa15}-\\x{fa1e}\\x{fa20}\\x{fa22}"
    "\\x{fa25}-\\x{fa26}\\x{fa2a}-\\x{fa6d}\\x{fa70}-\\x{fad9}\\x{fb1d}\\x{fb1f}\\x{fb2a}-\\x{fb36}\\x{fb38}-"
    "\\x{fb3c}\\x{fb3e}\\x{fb40}-\\x{fb41}\\x{fb43}-\\x{fb44}\\x{fb46}-\\x{fb4e}\\x{110ba}\\x{11127}\\x{1133e}"
    "\\x{11357}\\x{114b0}\\x{114ba}\\x{114bd}\\x{115af}\\x{11930}\\x{1d15e}-\\x{1d164}\\x{1d1bb}-\\x{1d1c0}\\x{2f800}-"
    "\\x{2fa1d}]";

static bool read_normalizer(Tokenizer *tokenizer, const json_t *normalizer, Status *status) {
    if (!normalizer || json_is_null(normalizer))
        return true;
    const char *type = json_string_value(json_object_get(normalizer, "type"));
    if (!type || strcmp(type, "NFC") != 0)
        return status_fail(status, STATUS_INPUT, TOKENIZER_FILE ": its normalizer is %.40s; moec knows NFC, and none",
                           type ? type : "not a known kind");
    tokenizer->not_nfc = pattern_compile(not_nfc_pattern, 0, status);
    return tokenizer->not_nfc;
}

/* Text is not brought into form C, only known to be in it. */
static bool check_normal(const Tokenizer *tokenizer, const char *text, size_t n, Status *status) {
    Matcher matcher;
    size_t start, end;
    if (!tokenizer->not_nfc)
        return true;
    if (matcher_begin(&matcher, tokenizer->not_nfc, text, n, status) && matcher_next(&matcher, 0, &start, &end, status))
        status_fail(status, STATUS_INPUT,
                    "this tokenizer reads Unicode normalisation form C, which moec can't make; near \"%.*s\" the text "
                    "has other characters: give it in form C, without marks in characters of their own",
                    (int)(end - start), text + start);
    matcher_end(&matcher);
    return !status->failed;
}

/* ---- Reading --------------------------------------------------------------------------------------------------- */

static const SideFile *find_side_file(const ModelExtras *extras, const char *name) {
    for (size_t i = 0; i < extras->n_files; i++) {
        if (strcmp(extras->files[i].name, name) == 0)
            return &extras->files[i];
    }
    return NULL;
}

/* The ids of a special token of a template: its table gives them. */
static bool read_template_ids(const json_t *table, const char *name, int64_t n_ids, IdList *list, Status *status) {
    const json_t *ids = json_object_get(json_object_get(table, name), "ids");
    if (json_array_size(ids) == 0)
        return status_fail(status, STATUS_INPUT, TOKENIZER_FILE ": its template has \"%.80s\", but gives no ids for it",
                           name);
    for (size_t i = 0; i < json_array_size(ids); i++) {
        const json_t *id = json_array_get(ids, i);
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= n_ids)
            return status_fail(status, STATUS_INPUT,
                               TOKENIZER_FILE ": its template's \"%.80s\" is not an id from 0 to %" PRId64, name,
                               n_ids - 1);
        if (!id_list_add(list, (int32_t)json_integer_value(id), status))
            return false;
    }
    return true;
}

/* "single": what stands before and after the text, which is the part "Sequence". */
static bool read_template(Tokenizer *tokenizer, const json_t *template, int64_t n_ids, Status *status) {
    size_t i;
    json_t *part;
    IdList *list = &tokenizer->before;
    json_array_foreach(json_object_get(template, "single"), i, part) {
        const char *name = json_string_value(json_object_get(json_object_get(part, "SpecialToken"), "id"));
        if (!name)
            list = &tokenizer->after;
        else if (!read_template_ids(json_object_get(template, "special_tokens"), name, n_ids, list, status))
            return false;
    }
    return true;
}

static bool read_post_processor(Tokenizer *tokenizer, const json_t *kind, int64_t n_ids, Status *status) {
    const char *type = json_string_value(json_object_get(kind, "type"));
    if (!kind || json_is_null(kind) || (type && strcmp(type, "ByteLevel") == 0)) /* which changes no ids */
        return true;
    if (type && strcmp(type, "TemplateProcessing") == 0)
        return read_template(tokenizer, kind, n_ids, status);
    if (!type || strcmp(type, "Sequence") != 0)
        return status_fail(status, STATUS_INPUT,
                           TOKENIZER_FILE ": its post_processor is %.40s; moec knows ByteLevel, TemplateProcessing and "
                                          "Sequence",
                           type ? type : "not a known kind");
    size_t i;
    json_t *part;
    json_array_foreach(json_object_get(kind, "processors"), i, part) {
        if (!read_post_processor(tokenizer, part, n_ids, status))
            return false;
    }
    return true;
}

static bool check_decoder(const json_t *decoder, Status *status) {
    const char *type = json_string_value(json_object_get(decoder, "type"));
    if (!decoder || json_is_null(decoder) || (type && strcmp(type, "ByteLevel") == 0))
        return true;
    return status_fail(status, STATUS_INPUT, TOKENIZER_FILE ": its decoder is %.40s; moec knows ByteLevel",
                       type ? type : "not a known kind");
}

/* Added tokens stand for their text, letter by letter. */
static bool read_added(Tokenizer *tokenizer, const json_t *list, int64_t n_ids, Status *status) {
    bool is_read = added_read(&tokenizer->added, list, n_ids, status);
    for (size_t i = 0; i < tokenizer->added.n && is_read; i++) {
        const AddedToken *token = &tokenizer->added.tokens[i];
        is_read = bpe_set_token(&tokenizer->bpe, token->id, token->text, token->n, status);
    }
    return is_read;
}

static bool read_tokenizer(Tokenizer *tokenizer, const SideFile *file, int64_t n_ids, Status *status) {
    json_t *root = json_parse(file->bytes, file->n_bytes, TOKENIZER_FILE, status);
    if (!root)
        return false;
    tokenizer->takes_utf8 = true;
    bool is_read = bpe_read(&tokenizer->bpe, json_object_get(root, "model"), n_ids, status) &&
                   read_added(tokenizer, json_object_get(root, "added_tokens"), n_ids, status) &&
                   read_normalizer(tokenizer, json_object_get(root, "normalizer"), status) &&
                   splitter_read(&tokenizer->splitter, json_object_get(root, "pre_tokenizer"), status) &&
                   read_post_processor(tokenizer, json_object_get(root, "post_processor"), n_ids, status) &&
                   check_decoder(json_object_get(root, "decoder"), status);
    if (is_read && !tokenizer->splitter.is_byte_level)
        status_fail(status, STATUS_INPUT,
                    TOKENIZER_FILE ": has no pre_tokenizer ByteLevel; moec reads byte-level BPE only (GPT-2, SmolLM2, "
                                   "Llama 3, Qwen)");
    json_decref(root);
    return !status->failed;
}

/* "eos_token_id": a number, or a list of them. */
static bool add_ends(Tokenizer *tokenizer, const json_t *config, Status *status) {
    const json_t *ends = json_object_get(config, "eos_token_id");
    size_t n = json_is_array(ends) ? json_array_size(ends) : 1;
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_is_array(ends) ? json_array_get(ends, i) : ends;
        bool is_id = json_is_integer(id) && json_integer_value(id) >= 0 && json_integer_value(id) < INT32_MAX;
        if (is_id && !id_list_add(&tokenizer->ends, (int32_t)json_integer_value(id), status))
            return false;
    }
    return true;
}

static bool read_ends(Tokenizer *tokenizer, const ModelExtras *extras, Status *status) {
    static const char name[] = "generation_config.json";
    const SideFile *file = find_side_file(extras, name);
    json_t *generation = file ? json_parse(file->bytes, file->n_bytes, name, status) : NULL;
    bool is_read =
        !status->failed && add_ends(tokenizer, extras->config, status) && add_ends(tokenizer, generation, status);
    json_decref(generation);
    return is_read;
}

enum { BYTE_IDS = 256 };

static bool read_kind(Tokenizer *tokenizer, const ModelExtras *extras, int64_t vocab, Status *status) {
    const SideFile *file = find_side_file(extras, TOKENIZER_FILE);
    if (file)
        return read_tokenizer(tokenizer, file, vocab, status);
    if (vocab <= BYTE_IDS)
        return bpe_of_bytes(&tokenizer->bpe, vocab, status);
    return status_fail(status, STATUS_INPUT,
                       "the checkpoint came without " TOKENIZER_FILE ", so text can't become ids of its %" PRId64
                       "; put the file beside config.json",
                       vocab);
}

Tokenizer *tokenizer_new(const ModelExtras *extras, int64_t vocab, Status *status) {
    assert(vocab > 0 && vocab <= INT32_MAX);
    Tokenizer *tokenizer = calloc(1, sizeof *tokenizer);
    if (!tokenizer) {
        status_fail_errno(status, "tokenizer");
        return NULL;
    }
    if (read_kind(tokenizer, extras, vocab, status) && read_ends(tokenizer, extras, status))
        return tokenizer;
    tokenizer_free(tokenizer);
    return NULL;
}

void tokenizer_free(Tokenizer *tokenizer) {
    if (!tokenizer)
        return;
    added_free(&tokenizer->added);
    pcre2_code_free(tokenizer->not_nfc);
    splitter_free(&tokenizer->splitter);
    bpe_free(&tokenizer->bpe);
    free(tokenizer->before.ids);
    free(tokenizer->after.ids);
    free(tokenizer->ends.ids);
    free(tokenizer);
}

bool tokenizer_ends_text(const Tokenizer *tokenizer, int32_t id) {
    for (size_t i = 0; i < tokenizer->ends.n; i++) {
        if (tokenizer->ends.ids[i] == id)
            return true;
    }
    return false;
}

/* ---- Encoding -------------------------------------------------------------------------------------------------- */

/* Text without added tokens. */
static bool encode_words(const Tokenizer *tokenizer, const char *text, size_t n, IdList *list, Status *status) {
    Words words = {0};
    if (check_normal(tokenizer, text, n, status) && splitter_split(&tokenizer->splitter, text, n, &words, status)) {
        for (size_t i = 0; i < words.n && !status->failed; i++)
            bpe_encode(&tokenizer->bpe, words.text + words.starts[i], words.ends[i] - words.starts[i], list, status);
    }
    words_free(&words);
    return !status->failed;
}

/* Added tokens are looked for twice: those of the text as it is, then those of normal text in what is left. */
static bool encode_part(const Tokenizer *tokenizer, bool is_normalized, const char *text, size_t n, IdList *list,
                        Status *status) {
    size_t at = 0, start = n;
    while (at < n && !status->failed) {
        const AddedToken *token = added_find(&tokenizer->added, is_normalized, text, at, n, &start);
        size_t end = token ? start : n;
        if (!is_normalized)
            encode_part(tokenizer, true, text + at, end - at, list, status);
        else if (end > at)
            encode_words(tokenizer, text + at, end - at, list, status);
        if (token)
            id_list_add(list, token->id, status);
        at = token ? end + token->n : n;
    }
    return !status->failed;
}

static bool append_ids(IdList *list, const IdList *more, Status *status) {
    for (size_t i = 0; i < more->n; i++) {
        if (!id_list_add(list, more->ids[i], status))
            return false;
    }
    return true;
}

enum { MAX_TEXT_BYTES = 1 << 30 };

static bool check_text(const Tokenizer *tokenizer, const char *text, size_t n, Status *status) {
    if (n > MAX_TEXT_BYTES)
        return status_fail(status, STATUS_INPUT, "a text of %zu bytes is too long to become ids; expected at most %d",
                           n, (int)MAX_TEXT_BYTES);
    size_t n_valid = tokenizer->takes_utf8 ? utf8_valid(text, n) : n;
    return n_valid == n || status_fail(status, STATUS_INPUT, "the text is not valid UTF-8 from byte %zu on", n_valid);
}

bool tokenizer_encode(const Tokenizer *tokenizer, const char *text, int32_t **ids, size_t *n, Status *status) {
    IdList list = {0};
    size_t n_text = strlen(text);
    bool is_encoded = check_text(tokenizer, text, n_text, status) && append_ids(&list, &tokenizer->before, status) &&
                      encode_part(tokenizer, false, text, n_text, &list, status) &&
                      append_ids(&list, &tokenizer->after, status);
    if (!is_encoded) {
        free(list.ids);
        list = (IdList){0};
    }
    *ids = list.ids;
    *n = list.n;
    return is_encoded;
}

/* ---- Decoding -------------------------------------------------------------------------------------------------- */

static const char replacement[] = "\xEF\xBF\xBD"; /* U+FFFD */

static char *put_byte(char *out, char byte) {
    if (byte) {
        *out = byte;
        return out + 1;
    }
    memcpy(out, replacement, sizeof replacement - 1);
    return out + sizeof replacement - 1;
}

char *tokenizer_decode(const Tokenizer *tokenizer, const int32_t *ids, size_t n, Status *status) {
    const Bpe *bpe = &tokenizer->bpe;
    size_t n_bytes = 0;
    for (size_t i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= bpe->n_ids) {
            status_fail(status, STATUS_INPUT, "id %" PRId32 " is not one of the model's, 0 to %" PRId64, ids[i],
                        bpe->n_ids - 1);
            return NULL;
        }
        n_bytes += bpe->tokens[ids[i]].n;
    }
    char *text = malloc(n_bytes * (sizeof replacement - 1) + 1);
    if (!text) {
        status_fail_errno(status, "text of %zu ids", n);
        return NULL;
    }
    char *out = text;
    for (size_t i = 0; i < n; i++) {
        const TokenBytes *token = &bpe->tokens[ids[i]];
        for (size_t k = 0; k < token->n; k++)
            out = put_byte(out, token->bytes[k]);
    }
    *out = '\0';
    return text;
}
