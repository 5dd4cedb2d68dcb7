/* Pre-tokenizing: cuts a text into the words in which BPE joins bytes. */
#ifndef MOEC_RUNTIME_TOKENIZER_SPLIT_H
#define MOEC_RUNTIME_TOKENIZER_SPLIT_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "runtime/json.h"

/* A pattern, or (NULL) a blank set before a text that does not begin with one. */
typedef struct {
    pcre2_code *pattern;
    bool drops, is_inverted; /* what matches is left out; inverted: all else is */
} SplitStep;

typedef struct {
    SplitStep *steps;
    size_t n_steps;
    bool is_byte_level; /* a step of this kind was among those read, as the last one */
} Splitter;

/* Words, one behind the other in `text`. */
typedef struct {
    char *text;
    size_t *starts, *ends;
    size_t n, capacity;
} Words;

/* "pre_tokenizer" of tokenizer.json. On failure `splitter` still has to be freed. */
bool splitter_read(Splitter *splitter, const json_t *pre_tokenizer, Status *status);
void splitter_free(Splitter *splitter);

/* `text` must be valid UTF-8. `words` has to be freed, also after a failure. */
bool splitter_split(const Splitter *splitter, const char *text, size_t n, Words *words, Status *status);
void words_free(Words *words);

/* A pattern of Unicode text; NULL after a failure. `options`: of PCRE2, besides those. */
pcre2_code *pattern_compile(const char *pattern, uint32_t options, Status *status);

/* Looks for a pattern in a text, with bounded effort: both may come from files that nobody has vetted. */
typedef struct {
    const pcre2_code *pattern;
    pcre2_match_data *data;
    pcre2_match_context *limits;
    const char *text;
    size_t n;
} Matcher;

/* End it also after a failure. */
bool matcher_begin(Matcher *matcher, const pcre2_code *pattern, const char *text, size_t n, Status *status);
void matcher_end(Matcher *matcher);

/* The next match at or after `at`; false: there is none, or it failed. */
bool matcher_next(Matcher *matcher, size_t at, size_t *start, size_t *end, Status *status);

#endif
