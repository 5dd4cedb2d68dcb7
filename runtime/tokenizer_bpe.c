#include "runtime/tokenizer_bpe.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/utf8.h"

/* ---- Letters for bytes ----------------------------------------------------------------------------------------- */

/* Files write tokens as text in which each byte is one letter: printable bytes of Latin-1 are themselves, the others
   the letters from U+0100 on, in order. */
static bool is_own_letter(uint32_t byte) {
    return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || (byte >= 0xAE && byte <= 0xFF);
}

/* The byte of a letter, or -1. */
static int byte_of_letter(uint32_t letter) {
    if (letter < 256)
        return is_own_letter(letter) ? (int)letter : -1;
    uint32_t next = 256;
    for (uint32_t byte = 0; byte < 256; byte++) {
        if (!is_own_letter(byte) && next++ == letter)
            return (int)byte;
    }
    return -1;
}

/* Writes the bytes that `text` spells to `bytes`, which has room for as many as the text has; false where it holds a
   letter that stands for no byte. */
static bool spell_bytes(const char *text, size_t n_text, char *bytes, size_t *n) {
    uint32_t letter;
    *n = 0;
    for (size_t at = 0, length; at < n_text; at += length) {
        length = utf8_decode(text + at, n_text - at, &letter);
        int byte = length > 0 ? byte_of_letter(letter) : -1;
        if (byte < 0)
            return false;
        bytes[(*n)++] = (char)byte;
    }
    return true;
}

/* ---- Vocabulary ------------------------------------------------------------------------------------------------ */

/* FNV-1a, its upper half mixed in: tables use the low bits. */
static uint64_t hash_bytes(const char *bytes, size_t n) {
    uint64_t hash = 0xCBF29CE484222325u;
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ (unsigned char)bytes[i]) * 0x100000001B3u;
    return hash ^ hash >> 32;
}

/* A power of two at least twice `n`. */
static size_t table_size(size_t n) {
    size_t size = 16;
    while (size < 2 * n)
        size *= 2;
    return size;
}

/* The slot that has the bytes, or the empty one for them. */
static int32_t *find_token_slot(const Bpe *bpe, const char *bytes, size_t n) {
    size_t mask = bpe->n_token_slots - 1;
    for (size_t at = (size_t)hash_bytes(bytes, n) & mask;; at = (at + 1) & mask) {
        int32_t *slot = &bpe->token_slots[at];
        if (*slot < 0)
            return slot;
        const TokenBytes *token = &bpe->tokens[*slot];
        if (token->n == n && memcmp(token->bytes, bytes, n) == 0)
            return slot;
    }
}

static int32_t find_token(const Bpe *bpe, const char *bytes, size_t n) {
    return *find_token_slot(bpe, bytes, n);
}

static bool fail_memory(Status *status) {
    return status_fail(status, STATUS_SYSTEM, TOKENIZER_FILE ": out of memory");
}

static bool allocate_vocabulary(Bpe *bpe, int64_t n_ids, size_t n_tokens, Status *status) {
    bpe->n_ids = n_ids;
    bpe->tokens = calloc((size_t)n_ids + 1, sizeof *bpe->tokens);
    bpe->n_token_slots = table_size(n_tokens);
    bpe->token_slots = malloc(bpe->n_token_slots * sizeof *bpe->token_slots);
    if (!bpe->tokens || !bpe->token_slots)
        return fail_memory(status);
    memset(bpe->token_slots, 0xFF, bpe->n_token_slots * sizeof *bpe->token_slots);
    return true;
}

/* Empty tokens stay unknown to the hash table: no word is empty. */
static bool add_token(Bpe *bpe, int64_t id, const char *text, size_t n_text, Status *status) {
    size_t n;
    char *bytes = malloc(n_text + 1);
    if (!bytes)
        return fail_memory(status);
    bool is_spelled = spell_bytes(text, n_text, bytes, &n);
    if (!is_spelled) { /* some hold such tokens for decoding only */
        memcpy(bytes, text, n_text);
        n = n_text;
    }
    bpe->tokens[id] = (TokenBytes){bytes, n};
    if (is_spelled && n > 0)
        *find_token_slot(bpe, bytes, n) = (int32_t)id;
    return true;
}

static bool read_vocabulary(Bpe *bpe, const json_t *vocab, int64_t n_ids, Status *status) {
    const char *text;
    json_t *value;
    if (!json_is_object(vocab))
        return status_fail(status, STATUS_INPUT, TOKENIZER_FILE ": \"model\" has no object \"vocab\"");
    if (!allocate_vocabulary(bpe, n_ids, json_object_size(vocab), status))
        return false;
    json_object_foreach((json_t *)vocab, text, value) {
        json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
        if (id < 0 || id >= n_ids)
            return status_fail(status, STATUS_INPUT,
                               TOKENIZER_FILE ": token \"%.80s\": expected an id from 0 to %" PRId64
                                              ", the model's; is it this model's tokenizer?",
                               text, n_ids - 1);
        if (bpe->tokens[id].bytes)
            return status_fail(status, STATUS_INPUT,
                               TOKENIZER_FILE ": two tokens have id %" PRId64 "; one of them is \"%.80s\"", (int64_t)id,
                               text);
        if (!add_token(bpe, id, text, strlen(text), status))
            return false;
    }
    return true;
}

bool bpe_set_token(Bpe *bpe, int64_t id, const char *bytes, size_t n, Status *status) {
    assert(id >= 0 && id < bpe->n_ids);
    char *copy = malloc(n + 1);
    if (!copy)
        return fail_memory(status);
    memcpy(copy, bytes, n);
    free(bpe->tokens[id].bytes);
    bpe->tokens[id] = (TokenBytes){copy, n};
    return true;
}

/* ---- Merges ---------------------------------------------------------------------------------------------------- */

/* The slot that has the pair, or the empty one for it. */
static Merge *find_merge_slot(const Bpe *bpe, int32_t left, int32_t right) {
    uint64_t hash = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9E3779B97F4A7C15u;
    size_t mask = bpe->n_merge_slots - 1;
    for (size_t at = (size_t)(hash >> 32) & mask;; at = (at + 1) & mask) {
        Merge *slot = &bpe->merge_slots[at];
        if (slot->merged < 0 || (slot->left == left && slot->right == right))
            return slot;
    }
}

static bool allocate_merges(Bpe *bpe, size_t n, Status *status) {
    bpe->n_merge_slots = table_size(n);
    bpe->merge_slots = malloc(bpe->n_merge_slots * sizeof *bpe->merge_slots);
    if (!bpe->merge_slots)
        return fail_memory(status);
    memset(bpe->merge_slots, 0xFF, bpe->n_merge_slots * sizeof *bpe->merge_slots);
    return true;
}

/* A merge is "LEFT RIGHT", or ["LEFT", "RIGHT"], whose parts may hold blanks. */
typedef struct {
    const char *left, *right;
    size_t n_left, n_right;
} MergeText;

static bool split_merge(const json_t *merge, MergeText *text) {
    const char *line = json_string_value(merge);
    const char *blank = line ? strchr(line, ' ') : NULL;
    if (line) {
        if (!blank)
            return false;
        *text = (MergeText){line, blank + 1, (size_t)(blank - line), strlen(blank + 1)};
        return true;
    }
    const char *left = json_string_value(json_array_get(merge, 0)),
               *right = json_string_value(json_array_get(merge, 1));
    if (json_array_size(merge) != 2 || !left || !right)
        return false;
    *text = (MergeText){left, right, strlen(left), strlen(right)};
    return true;
}

/* Ids of the parts and of the whole; false where one is not in the vocabulary. */
static bool find_merge(const Bpe *bpe, const MergeText *text, Merge *merge, Status *status) {
    size_t n_left, n_right;
    char *bytes = malloc(text->n_left + text->n_right + 1);
    if (!bytes)
        return fail_memory(status);
    bool is_found = spell_bytes(text->left, text->n_left, bytes, &n_left) &&
                    spell_bytes(text->right, text->n_right, bytes + n_left, &n_right);
    if (is_found) {
        merge->left = find_token(bpe, bytes, n_left);
        merge->right = find_token(bpe, bytes + n_left, n_right);
        merge->merged = find_token(bpe, bytes, n_left + n_right);
        is_found = merge->left >= 0 && merge->right >= 0 && merge->merged >= 0;
    }
    free(bytes);
    return is_found;
}

static bool read_merges(Bpe *bpe, const json_t *merges, Status *status) {
    if (!json_is_array(merges))
        return status_fail(status, STATUS_INPUT, TOKENIZER_FILE ": \"model\" has no list \"merges\"");
    if (!allocate_merges(bpe, json_array_size(merges), status))
        return false;
    for (size_t i = 0; i < json_array_size(merges); i++) {
        MergeText text;
        Merge merge = {.rank = (uint32_t)i};
        if (!split_merge(json_array_get(merges, i), &text))
            return status_fail(status, STATUS_INPUT,
                               TOKENIZER_FILE ": merge %zu: expected \"LEFT RIGHT\" or [\"LEFT\", \"RIGHT\"]", i);
        if (!find_merge(bpe, &text, &merge, status))
            return status_fail(status, STATUS_INPUT,
                               TOKENIZER_FILE ": merge %zu, \"%.*s %.*s\": the parts and the whole must be tokens of "
                                              "\"vocab\"",
                               i, (int)(text.n_left < 80 ? text.n_left : 80), text.left,
                               (int)(text.n_right < 80 ? text.n_right : 80), text.right);
        *find_merge_slot(bpe, merge.left, merge.right) = merge;
    }
    return true;
}

/* ---- Reading --------------------------------------------------------------------------------------------------- */

/* Whether a key that changes what BPE does is absent or has the value that changes nothing. */
static bool is_off(const json_t *model, const char *key) {
    const json_t *value = json_object_get(model, key);
    return !value || json_is_null(value) || json_is_false(value) ||
           (json_is_string(value) && json_string_length(value) == 0) ||
           (json_is_number(value) && json_number_value(value) == 0);
}

static bool check_kind(const json_t *model, Status *status) {
    static const char *const unsupported[] = {"continuing_subword_prefix", "end_of_word_suffix", "byte_fallback",
                                              "dropout"};
    const char *type = json_string_value(json_object_get(model, "type"));
    if (type && strcmp(type, "BPE") != 0)
        return status_fail(status, STATUS_INPUT,
                           TOKENIZER_FILE ": its model is %.40s; moec reads byte-level BPE only (GPT-2, SmolLM2, Llama "
                                          "3, Qwen)",
                           type);
    for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported; i++) {
        if (!is_off(model, unsupported[i]))
            return status_fail(status, STATUS_INPUT,
                               TOKENIZER_FILE ": its model sets \"%s\"; moec reads plain byte-level BPE only (GPT-2, "
                                              "SmolLM2, Llama 3, Qwen)",
                               unsupported[i]);
    }
    return true;
}

static bool read_flags(Bpe *bpe, const json_t *model, Status *status) {
    const char *unknown = json_string_value(json_object_get(model, "unk_token"));
    const json_t *id = unknown && *unknown ? json_object_get(json_object_get(model, "vocab"), unknown) : NULL;
    if (unknown && *unknown && !id)
        return status_fail(status, STATUS_INPUT, TOKENIZER_FILE ": \"unk_token\" \"%.80s\" is not in \"vocab\"",
                           unknown);
    bpe->unknown = id ? (int32_t)json_integer_value(id) : -1;
    bpe->fuses_unknown = json_is_true(json_object_get(model, "fuse_unk"));
    bpe->ignores_merges = json_is_true(json_object_get(model, "ignore_merges"));
    return true;
}

bool bpe_read(Bpe *bpe, const json_t *model, int64_t n_ids, Status *status) {
    *bpe = (Bpe){0};
    if (!json_is_object(model))
        return status_fail(status, STATUS_INPUT, TOKENIZER_FILE ": has no object \"model\"");
    return check_kind(model, status) && read_vocabulary(bpe, json_object_get(model, "vocab"), n_ids, status) &&
           read_merges(bpe, json_object_get(model, "merges"), status) && read_flags(bpe, model, status);
}

bool bpe_of_bytes(Bpe *bpe, int64_t n_ids, Status *status) {
    *bpe = (Bpe){.unknown = -1};
    if (!allocate_vocabulary(bpe, n_ids, (size_t)n_ids, status) || !allocate_merges(bpe, 0, status))
        return false;
    for (int64_t id = 0; id < n_ids; id++) {
        char byte = (char)id;
        if (!bpe_set_token(bpe, id, &byte, 1, status))
            return false;
        *find_token_slot(bpe, &byte, 1) = (int32_t)id;
    }
    return true;
}

void bpe_free(Bpe *bpe) {
    for (int64_t id = 0; bpe->tokens && id < bpe->n_ids; id++)
        free(bpe->tokens[id].bytes);
    free(bpe->tokens);
    free(bpe->token_slots);
    free(bpe->merge_slots);
    *bpe = (Bpe){0};
}

/* ---- Encoding -------------------------------------------------------------------------------------------------- */

bool id_list_add(IdList *list, int32_t id, Status *status) {
    if (list->n == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 64;
        int32_t *ids = realloc(list->ids, capacity * sizeof *ids);
        if (!ids)
            return status_fail(status, STATUS_SYSTEM, "out of memory for the ids of a text");
        list->ids = ids;
        list->capacity = capacity;
    }
    list->ids[list->n++] = id;
    return true;
}

/* A part of the word, in a list of neighbours; id -1: it was joined to the one before it. */
typedef struct {
    int32_t id, previous, next; /* indices of neighbours, -1 at the ends */
} Symbol;

/* A pair that may be joined: the symbol at `at` and the one after it, as they were when it was found. */
typedef struct {
    uint32_t rank;
    int32_t at, merged;
} Candidate;

/* Candidates in a heap: the lowest rank on top, of equal ones the one further left. */
typedef struct {
    const Bpe *bpe;
    Symbol *symbols;
    Candidate *heap;
    size_t n_heap;
} Joining;

static bool is_before(const Candidate *a, const Candidate *b) {
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static void heap_push(Joining *joining, Candidate candidate) {
    size_t at = joining->n_heap++;
    for (size_t parent; at > 0; at = parent) {
        parent = (at - 1) / 2;
        if (!is_before(&candidate, &joining->heap[parent]))
            break;
        joining->heap[at] = joining->heap[parent];
    }
    joining->heap[at] = candidate;
}

static Candidate heap_pop(Joining *joining) {
    Candidate *heap = joining->heap;
    Candidate top = heap[0], last = heap[--joining->n_heap];
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < joining->n_heap; at = child) {
        if (child + 1 < joining->n_heap && is_before(&heap[child + 1], &heap[child]))
            child++;
        if (!is_before(&heap[child], &last))
            break;
        heap[at] = heap[child];
    }
    heap[at] = last;
    return top;
}

/* Of the symbol at `at` and the one after it, where there are such symbols and a merge for them. */
static void push_pair(Joining *joining, int32_t at) {
    if (at < 0 || joining->symbols[at].next < 0)
        return;
    const Symbol *left = &joining->symbols[at], *right = &joining->symbols[left->next];
    const Merge *merge = find_merge_slot(joining->bpe, left->id, right->id);
    if (merge->merged >= 0)
        heap_push(joining, (Candidate){merge->rank, at, merge->merged});
}

/* Whether the pair is still what it was when it was found. */
static bool is_current(const Joining *joining, const Candidate *candidate) {
    const Symbol *left = &joining->symbols[candidate->at];
    if (left->id < 0 || left->next < 0)
        return false;
    return find_merge_slot(joining->bpe, left->id, joining->symbols[left->next].id)->merged == candidate->merged;
}

static void join(Joining *joining, const Candidate *candidate) {
    Symbol *left = &joining->symbols[candidate->at], *right = &joining->symbols[left->next];
    left->id = candidate->merged;
    left->next = right->next;
    right->id = -1;
    if (left->next >= 0)
        joining->symbols[left->next].previous = candidate->at;
    push_pair(joining, left->previous);
    push_pair(joining, candidate->at);
}

/* The word's bytes as symbols. A byte that has no token becomes the one for unknown bytes, where the vocabulary has
   one, and is left out else. Returns the number of symbols. */
static size_t start_symbols(const Joining *joining, const char *word, size_t n) {
    const Bpe *bpe = joining->bpe;
    size_t n_symbols = 0;
    bool follows_unknown = false;
    for (size_t i = 0; i < n; i++) {
        int32_t id = find_token(bpe, word + i, 1);
        bool is_unknown = id < 0;
        if (!is_unknown || (bpe->unknown >= 0 && !(follows_unknown && bpe->fuses_unknown))) {
            int32_t at = (int32_t)n_symbols++;
            joining->symbols[at] = (Symbol){is_unknown ? bpe->unknown : id, at - 1, at + 1};
        }
        follows_unknown = is_unknown;
    }
    if (n_symbols > 0)
        joining->symbols[n_symbols - 1].next = -1;
    return n_symbols;
}

static bool join_all(Joining *joining, size_t n_symbols, IdList *list, Status *status) {
    for (size_t i = 0; i < n_symbols; i++)
        push_pair(joining, (int32_t)i);
    while (joining->n_heap > 0) {
        Candidate candidate = heap_pop(joining);
        if (is_current(joining, &candidate))
            join(joining, &candidate);
    }
    for (int32_t at = n_symbols > 0 ? 0 : -1; at >= 0 && !status->failed; at = joining->symbols[at].next)
        id_list_add(list, joining->symbols[at].id, status);
    return !status->failed;
}

bool bpe_encode(const Bpe *bpe, const char *word, size_t n, IdList *list, Status *status) {
    assert(n < INT32_MAX);
    int32_t whole = n == 1 || bpe->ignores_merges ? find_token(bpe, word, n) : -1;
    if (n == 0 || whole >= 0)
        return n == 0 || id_list_add(list, whole, status);
    /* Each byte but the last starts one pair, each join finds at most two more. */
    Joining joining = {.bpe = bpe, .symbols = malloc(n * sizeof(Symbol)), .heap = malloc(3 * n * sizeof(Candidate))};
    if (!joining.symbols || !joining.heap)
        status_fail(status, STATUS_SYSTEM, "out of memory for a word of %zu bytes", n);
    else
        join_all(&joining, start_symbols(&joining, word, n), list, status);
    free(joining.symbols);
    free(joining.heap);
    return !status->failed;
}
