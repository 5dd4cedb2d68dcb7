#include "runtime/tokenizer_split.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/tokenizer_bpe.h"
#include "runtime/utf8.h"

/* ---- Patterns -------------------------------------------------------------------------------------------------- */

/* Far more than the patterns of tokenizers take. */
enum { MAX_MATCH_STEPS = 1000000, MAX_HEAP_KIB = 65536, MAX_PATTERN_BYTES = 1 << 16 };

pcre2_code *pattern_compile(const char *pattern, uint32_t options, Status *status) {
    int error;
    size_t at, n = strlen(pattern);
    if (n > MAX_PATTERN_BYTES) {
        status_fail(status, STATUS_INPUT, TOKENIZER_FILE ": a pattern has %zu bytes; expected at most %d", n,
                    (int)MAX_PATTERN_BYTES);
        return NULL;
    }
    options |= PCRE2_UTF | PCRE2_NO_UTF_CHECK;
    options |= options & PCRE2_LITERAL ? 0 : PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C;
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)pattern, n, options, &error, &at, NULL);
    if (!code) {
        char reason[128] = "";
        pcre2_get_error_message(error, (PCRE2_UCHAR *)reason, sizeof reason);
        status_fail(status, STATUS_INPUT, TOKENIZER_FILE ": pattern \"%.200s\", at byte %zu: %s", pattern, at, reason);
    }
    return code;
}

bool matcher_begin(Matcher *matcher, const pcre2_code *pattern, const char *text, size_t n, Status *status) {
    *matcher = (Matcher){pattern, pcre2_match_data_create_from_pattern(pattern, NULL), pcre2_match_context_create(NULL),
                         text, n};
    if (!matcher->data || !matcher->limits)
        return status_fail(status, STATUS_SYSTEM, "out of memory to split a text into words");
    pcre2_set_match_limit(matcher->limits, MAX_MATCH_STEPS);
    pcre2_set_heap_limit(matcher->limits, MAX_HEAP_KIB);
    return true;
}

void matcher_end(Matcher *matcher) {
    pcre2_match_data_free(matcher->data);
    pcre2_match_context_free(matcher->limits);
}

bool matcher_next(Matcher *matcher, size_t at, size_t *start, size_t *end, Status *status) {
    int found = pcre2_match(matcher->pattern, (PCRE2_SPTR)matcher->text, matcher->n, at, PCRE2_NO_UTF_CHECK,
                            matcher->data, matcher->limits);
    if (found == PCRE2_ERROR_NOMATCH)
        return false;
    if (found < 0) {
        char reason[128] = "";
        pcre2_get_error_message(found, (PCRE2_UCHAR *)reason, sizeof reason);
        return status_fail(status, STATUS_INPUT, TOKENIZER_FILE ": splitting a text by its pattern failed: %s", reason);
    }
    const size_t *bounds = pcre2_get_ovector_pointer(matcher->data);
    *start = bounds[0];
    *end = bounds[1];
    return *start >= at && *end >= *start; /* \K could say otherwise */
}

/* ---- Reading --------------------------------------------------------------------------------------------------- */

/* What GPT-2 splits by: English endings, letters, numbers, others, each with a blank before it; runs of blanks. */
static const char gpt2_pattern[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/* Takes over the pattern, which is NULL for a blank to be set before the text. */
static bool add_step(Splitter *splitter, SplitStep step, Status *status) {
    SplitStep *steps = realloc(splitter->steps, (splitter->n_steps + 1) * sizeof *steps);
    if (!steps) {
        pcre2_code_free(step.pattern);
        return status_fail(status, STATUS_SYSTEM, TOKENIZER_FILE ": out of memory");
    }
    splitter->steps = steps;
    splitter->steps[splitter->n_steps++] = step;
    return true;
}

static bool add_pattern(Splitter *splitter, const char *pattern, Status *status) {
    pcre2_code *code = pattern_compile(pattern, 0, status);
    return code && add_step(splitter, (SplitStep){.pattern = code}, status);
}

/* What is not said is taken as `otherwise`. */
static bool read_flag(const json_t *object, const char *key, bool otherwise) {
    const json_t *value = json_object_get(object, key);
    return json_is_boolean(value) ? json_is_true(value) : otherwise;
}

static bool read_byte_level(Splitter *splitter, const json_t *kind, Status *status) {
    splitter->is_byte_level = true;
    if (read_flag(kind, "add_prefix_space", true) && !add_step(splitter, (SplitStep){.pattern = NULL}, status))
        return false;
    return !read_flag(kind, "use_regex", true) || add_pattern(splitter, gpt2_pattern, status);
}

static bool read_digits(Splitter *splitter, const json_t *kind, Status *status) {
    return add_pattern(splitter, read_flag(kind, "individual_digits", false) ? "\\p{N}" : "\\p{N}+", status);
}

static bool read_split(Splitter *splitter, const json_t *kind, Status *status) {
    const json_t *pattern = json_object_get(kind, "pattern");
    const char *regex = json_string_value(json_object_get(pattern, "Regex"));
    const char *literal = json_string_value(json_object_get(pattern, "String"));
    const char *behavior = json_string_value(json_object_get(kind, "behavior"));
    bool drops = behavior && strcmp(behavior, "Removed") == 0;
    if (!regex && !literal)
        return status_fail(status, STATUS_INPUT,
                           TOKENIZER_FILE ": a Split: expected \"pattern\" with a \"Regex\" or a \"String\"");
    if (!drops && (!behavior || strcmp(behavior, "Isolated") != 0))
        return status_fail(status, STATUS_INPUT,
                           TOKENIZER_FILE ": a Split: \"behavior\" is \"%.40s\"; moec knows Isolated and Removed",
                           behavior ? behavior : "");
    SplitStep step = {.pattern = pattern_compile(regex ? regex : literal, regex ? 0 : PCRE2_LITERAL, status),
                      .drops = drops,
                      .is_inverted = read_flag(kind, "invert", false)};
    return step.pattern && add_step(splitter, step, status);
}

static bool read_sequence(Splitter *splitter, const json_t *kind, Status *status) {
    size_t i;
    json_t *part;
    json_array_foreach(json_object_get(kind, "pretokenizers"), i, part) {
        if (!splitter_read(splitter, part, status))
            return false;
    }
    return true;
}

typedef struct {
    const char *type;
    bool (*read)(Splitter *splitter, const json_t *kind, Status *status);
} SplitKind;

static const SplitKind split_kinds[] = {
    {"ByteLevel", read_byte_level}, {"Digits", read_digits}, {"Split", read_split}, {"Sequence", read_sequence}};

bool splitter_read(Splitter *splitter, const json_t *pre_tokenizer, Status *status) {
    const char *type = json_string_value(json_object_get(pre_tokenizer, "type"));
    if (splitter->is_byte_level)
        return status_fail(status, STATUS_INPUT, TOKENIZER_FILE ": ByteLevel must be the last of the pre_tokenizers");
    for (size_t i = 0; type && i < sizeof split_kinds / sizeof *split_kinds; i++) {
        if (strcmp(type, split_kinds[i].type) == 0)
            return split_kinds[i].read(splitter, pre_tokenizer, status);
    }
    return status_fail(status, STATUS_INPUT,
                       TOKENIZER_FILE ": its pre_tokenizer is %.40s; moec knows ByteLevel, Digits, Split and Sequence",
                       type ? type : "not given");
}

void splitter_free(Splitter *splitter) {
    for (size_t i = 0; i < splitter->n_steps; i++)
        pcre2_code_free(splitter->steps[i].pattern);
    free(splitter->steps);
    *splitter = (Splitter){0};
}

/* ---- Splitting ------------------------------------------------------------------------------------------------- */

static bool add_word(Words *words, size_t start, size_t end, Status *status) {
    if (start == end)
        return true;
    if (words->n == words->capacity) {
        size_t capacity = words->capacity ? 2 * words->capacity : 64;
        size_t *starts = realloc(words->starts, capacity * sizeof *starts);
        words->starts = starts ? starts : words->starts;
        size_t *ends = realloc(words->ends, capacity * sizeof *ends);
        words->ends = ends ? ends : words->ends;
        if (!starts || !ends)
            return status_fail(status, STATUS_SYSTEM, "out of memory to split a text into words");
        words->capacity = capacity;
    }
    words->starts[words->n] = start;
    words->ends[words->n++] = end;
    return true;
}

void words_free(Words *words) {
    free(words->text);
    free(words->starts);
    free(words->ends);
    *words = (Words){0};
}

/* The matches in the word, and what stands between them, as words of `out`. */
static bool split_word(const SplitStep *step, const char *text, size_t start, size_t end, Words *out, Status *status) {
    Matcher matcher;
    size_t done = start, at = 0, match = 0, match_end = 0;
    bool keeps_matches = !step->drops || step->is_inverted, keeps_gaps = !step->drops || !step->is_inverted;
    if (matcher_begin(&matcher, step->pattern, text + start, end - start, status)) {
        while (at <= end - start && matcher_next(&matcher, at, &match, &match_end, status)) {
            bool is_added = (!keeps_gaps || add_word(out, done, start + match, status)) &&
                            (!keeps_matches || add_word(out, start + match, start + match_end, status));
            if (!is_added)
                break;
            done = start + match_end;
            /* After an empty match the next one is looked for a character further. */
            uint32_t code;
            at = match_end + (match_end > match ? 0 : utf8_decode(text + done, end - done, &code));
            if (done == end)
                break;
        }
        if (keeps_gaps && !status->failed)
            add_word(out, done, end, status);
    }
    matcher_end(&matcher);
    return !status->failed;
}

/* A copy of the text in which each word that begins without a blank gets one. */
static bool set_blanks(const Words *words, Words *out, Status *status) {
    size_t length = words->n;
    for (size_t i = 0; i < words->n; i++)
        length += words->ends[i] - words->starts[i];
    out->text = malloc(length + 1);
    if (!out->text)
        return status_fail(status, STATUS_SYSTEM, "out of memory to split a text into words");
    size_t end = 0;
    for (size_t i = 0; i < words->n && !status->failed; i++) {
        size_t start = end, n = words->ends[i] - words->starts[i];
        if (words->text[words->starts[i]] != ' ')
            out->text[end++] = ' ';
        memcpy(out->text + end, words->text + words->starts[i], n);
        end += n;
        add_word(out, start, end, status);
    }
    return !status->failed;
}

static bool run_step(const SplitStep *step, Words *words, Status *status) {
    Words out = {0};
    if (!step->pattern) {
        set_blanks(words, &out, status);
    } else {
        for (size_t i = 0; i < words->n && !status->failed; i++)
            split_word(step, words->text, words->starts[i], words->ends[i], &out, status);
        out.text = words->text;
        words->text = NULL;
    }
    words_free(words);
    *words = out;
    return !status->failed;
}

bool splitter_split(const Splitter *splitter, const char *text, size_t n, Words *words, Status *status) {
    *words = (Words){.text = malloc(n + 1)};
    if (!words->text)
        return status_fail(status, STATUS_SYSTEM, "out of memory to split a text into words");
    memcpy(words->text, text, n);
    add_word(words, 0, n, status);
    for (size_t i = 0; i < splitter->n_steps && !status->failed; i++)
        run_step(&splitter->steps[i], words, status);
    return !status->failed;
}
