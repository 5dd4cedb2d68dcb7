/* Byte-pair encoding (Sennrich, Haddow and Birch 2016) over bytes (Radford et al. 2019): a word starts as its bytes,
   and the pair of neighbours with the lowest rank is joined until no pair has one. */
#ifndef MOEC_RUNTIME_TOKENIZER_BPE_H
#define MOEC_RUNTIME_TOKENIZER_BPE_H

#include "runtime/json.h"
#include "runtime/status.h"

/* Named in messages; the side file that it is, has no path any more. */
#define TOKENIZER_FILE "tokenizer.json"

typedef struct {
    char *bytes; /* owned; NULL: no token has this id */
    size_t n;
} TokenBytes;

/* A pair of neighbours and what it becomes. */
typedef struct {
    int32_t left, right, merged; /* merged -1: an empty slot */
    uint32_t rank;
} Merge;

typedef struct {
    TokenBytes *tokens; /* by id */
    int64_t n_ids;
    int32_t *token_slots; /* hash table of ids by bytes, -1: empty; size a power of two */
    size_t n_token_slots;
    Merge *merge_slots; /* the same of merges by pair */
    size_t n_merge_slots;
    int32_t unknown;     /* what a byte without a token becomes; -1: it is left out */
    bool fuses_unknown;  /* several such bytes in a row become one */
    bool ignores_merges; /* a word that is a token is that token, whatever the merges say (Llama 3) */
} Bpe;

/* Ids of a text, growing. */
typedef struct {
    int32_t *ids;
    size_t n, capacity;
} IdList;

bool id_list_add(IdList *list, int32_t id, Status *status);

/* "model" of tokenizer.json, for a model with ids below `n_ids`. On failure `bpe` still has to be freed. */
bool bpe_read(Bpe *bpe, const json_t *model, int64_t n_ids, Status *status);
/* The 256 bytes, each its own id. */
bool bpe_of_bytes(Bpe *bpe, int64_t n_ids, Status *status);
void bpe_free(Bpe *bpe);

/* Appends the ids of one word, less than 2^31 bytes. */
bool bpe_encode(const Bpe *bpe, const char *word, size_t n, IdList *list, Status *status);

/* Gives the id other bytes than the vocabulary did, for decoding only. */
bool bpe_set_token(Bpe *bpe, int64_t id, const char *bytes, size_t n, Status *status);

#endif
