#include "runtime/tokenizer_added.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/tokenizer_bpe.h"

static bool read_token(const json_t *row, int64_t n_ids, AddedToken *token, Status *status) {
    static const char *const unsupported[] = {"single_word", "lstrip", "rstrip"};
    const char *text = json_string_value(json_object_get(row, "content"));
    const json_t *id = json_object_get(row, "id");
    if (!text || !*text || !json_is_integer(id))
        return status_fail(status, STATUS_INPUT,
                           TOKENIZER_FILE ": an added token lacks its text \"content\" or its number \"id\"");
    if (json_integer_value(id) < 0 || json_integer_value(id) >= n_ids)
        return status_fail(status, STATUS_INPUT,
                           TOKENIZER_FILE ": added token \"%.80s\" has id %" PRId64
                                          "; the model's ids are 0 to %" PRId64,
                           text, (int64_t)json_integer_value(id), n_ids - 1);
    for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported; i++) {
        if (json_is_true(json_object_get(row, unsupported[i])))
            return status_fail(status, STATUS_INPUT,
                               TOKENIZER_FILE ": added token \"%.80s\" sets \"%s\", which moec doesn't know", text,
                               unsupported[i]);
    }
    token->id = (int32_t)json_integer_value(id);
    token->is_normalized = json_is_true(json_object_get(row, "normalized"));
    token->n = strlen(text);
    token->text = strdup(text);
    return token->text || status_fail(status, STATUS_SYSTEM, TOKENIZER_FILE ": out of memory");
}

static int compare_falling(const void *left, const void *right) {
    const AddedToken *a = left, *b = right;
    if (a->n != b->n)
        return a->n > b->n ? -1 : 1;
    return strcmp(a->text, b->text);
}

bool added_read(AddedTokens *added, const json_t *list, int64_t n_ids, Status *status) {
    *added = (AddedTokens){.tokens = calloc(json_array_size(list) + 1, sizeof *added->tokens)};
    if (!added->tokens)
        return status_fail(status, STATUS_SYSTEM, TOKENIZER_FILE ": out of memory");
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (!read_token(json_array_get(list, i), n_ids, &added->tokens[added->n], status))
            return false;
        added->n++;
    }
    qsort(added->tokens, added->n, sizeof *added->tokens, compare_falling);
    return true;
}

void added_free(AddedTokens *added) {
    for (size_t i = 0; i < added->n; i++)
        free((char *)added->tokens[i].text);
    free(added->tokens);
    *added = (AddedTokens){0};
}

const AddedToken *added_find(const AddedTokens *added, bool is_normalized, const char *text, size_t at, size_t n,
                             size_t *start) {
    const AddedToken *found = NULL;
    size_t end = n; /* a token that begins at or after it is of no interest */
    for (size_t i = 0; i < added->n && at < end; i++) {
        const AddedToken *token = &added->tokens[i];
        if (token->is_normalized != is_normalized)
            continue;
        size_t within = n - end < token->n ? n : end + token->n - 1;
        const char *match = memmem(text + at, within - at, token->text, token->n);
        if (match) { /* further left than those before; of equally far ones the longer came first */
            found = token;
            *start = end = (size_t)(match - text);
        }
    }
    return found;
}
