/* Text to token ids and back, as a model's tokenizer.json says: byte-level BPE, the kind that GPT-2, SmolLM2, Llama 3
   and Qwen have (spec/checkpoints.md, "Tokenizers"). A model without one, and with at most 256 ids, reads bytes. */
#ifndef MOEC_RUNTIME_TOKENIZER_H
#define MOEC_RUNTIME_TOKENIZER_H

#include "runtime/model_dir.h"

typedef struct Tokenizer Tokenizer;

/* Reads tokenizer.json of the side files, and from config.json and generation_config.json which ids end a text.
   `vocab`: ids of the model. NULL after a failure. Keeps nothing of `extras`. */
Tokenizer *tokenizer_new(const ModelExtras *extras, int64_t vocab, Status *status);
void tokenizer_free(Tokenizer *tokenizer);

/* The ids of `text`, UTF-8, with those that the tokenizer sets around every text; the caller frees `ids`. */
bool tokenizer_encode(const Tokenizer *tokenizer, const char *text, int32_t **ids, size_t *n, Status *status);

/* The bytes that the ids stand for, which need not end at the end of a character; NUL bytes come as U+FFFD. NULL after
   a failure; the caller frees the text. */
char *tokenizer_decode(const Tokenizer *tokenizer, const int32_t *ids, size_t n, Status *status);

/* Whether a text that is being generated ends with this id. */
bool tokenizer_ends_text(const Tokenizer *tokenizer, int32_t id);

#endif
