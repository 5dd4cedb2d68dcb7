/* Added tokens: texts that are one token wherever they stand, found before anything else is done to a text. */
#ifndef MOEC_RUNTIME_TOKENIZER_ADDED_H
#define MOEC_RUNTIME_TOKENIZER_ADDED_H

#include "runtime/json.h"

typedef struct {
    const char *text; /* owned by the list */
    size_t n;
    int32_t id;
    bool is_normalized; /* looked for after those that are not, in what they leave */
} AddedToken;

typedef struct {
    AddedToken *tokens; /* longer ones first */
    size_t n;
} AddedTokens;

/* "added_tokens" of tokenizer.json, which may be absent. On failure `added` still has to be freed. */
bool added_read(AddedTokens *added, const json_t *list, int64_t n_ids, Status *status);
void added_free(AddedTokens *added);

/* The first token in text [at, n), the longest of those that begin there, of the given kind; NULL: there is none. */
const AddedToken *added_find(const AddedTokens *added, bool is_normalized, const char *text, size_t at, size_t n,
                             size_t *start);

#endif
