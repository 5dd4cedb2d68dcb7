// REQUIRES: fuzz
// RUN: %fuzz %s
/* Any text as tokenizer.json, up to a NUL, and what follows it as a text to encode: refused, or the ids are the model's
   and decode. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/tokenizer.h"

/* The text is short: a pattern may take up to a million steps at each of its places. */
enum { VOCAB = 400, MAX_TEXT = 32 };

static void encode(const Tokenizer *tokenizer, const char *text) {
    Status status = STATUS_INIT;
    int32_t *ids;
    size_t n;
    if (!tokenizer_encode(tokenizer, text, &ids, &n, &status)) {
        assert(status.failed && *status.message && !ids);
        return;
    }
    for (size_t i = 0; i < n; i++)
        assert(ids[i] >= 0 && ids[i] < VOCAB);
    char *decoded = tokenizer_decode(tokenizer, ids, n, &status);
    assert(decoded);
    free(decoded);
    free(ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *nul = size > 0 ? memchr(data, 0, size) : NULL;
    size_t n_json = nul ? (size_t)(nul - data) : size, n_text = nul ? size - n_json - 1 : 0;
    char text[MAX_TEXT + 1] = "";
    if (n_text > 0)
        memcpy(text, nul + 1, n_text < MAX_TEXT ? n_text : MAX_TEXT);
    SideFile file = {"tokenizer.json", (char *)data, n_json};
    ModelExtras extras = {NULL, &file, 1};
    Status status = STATUS_INIT;
    Tokenizer *tokenizer = tokenizer_new(&extras, VOCAB, &status);
    if (tokenizer)
        encode(tokenizer, text);
    else
        assert(status.failed && *status.message);
    tokenizer_free(tokenizer);
    return 0;
}
