/* Megatron's pair of files: .bin holds the ids of all sequences, .idx says how they lie in it. Little-endian:

     "MMIDIDX\0\0", version u64 = 1, dtype u8, n_sequences u64, n_documents u64 (one more than there are documents),
     length i32[n_sequences], pointer i64[n_sequences] (bytes), document i64[n_documents]

   Training reads the ids as one stream, so the sequences must follow each other without gaps. */
#include "runtime/data_file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char magic[9] = "MMIDIDX\0";

enum { HEADER_BYTES = 34, SEQUENCE_BYTES = sizeof(int32_t) + sizeof(int64_t), LARGEST_CODE = 8 };

/* By dtype code; TOKEN_DTYPES: not one of ids. */
static const TokenDtype dtype_codes[LARGEST_CODE + 1] = {
    TOKEN_DTYPES, TOKEN_U8, TOKEN_I8, TOKEN_I16, TOKEN_I32, TOKEN_I64, TOKEN_DTYPES, TOKEN_DTYPES, TOKEN_U16,
};

typedef struct {
    const char *path;
    int descriptor;
    uint64_t n_bytes;
    TokenDtype dtype;
    uint64_t n_sequences, n_documents;
} Index;

static uint64_t read_u64(const unsigned char *bytes) {
    uint64_t value;
    memcpy(&value, bytes, sizeof value);
    return value;
}

static bool read_header(Index *index, Status *status) {
    unsigned char header[HEADER_BYTES];
    int64_t n_read = data_read_at(index->descriptor, header, sizeof header, 0);
    if (n_read < 0)
        return status_fail_errno(status, "%s: cannot read", index->path);
    if (n_read < HEADER_BYTES || memcmp(header, magic, sizeof magic) != 0)
        return status_fail(status, STATUS_INPUT, "%s: is not the index of a Megatron data set: it should begin with %s",
                           index->path, magic);
    uint64_t version = read_u64(header + 9);
    unsigned code = header[17];
    index->n_sequences = read_u64(header + 18);
    index->n_documents = read_u64(header + 26);
    if (version != 1)
        return status_fail(status, STATUS_INPUT, "%s: has version %" PRIu64 "; version 1 can be read", index->path,
                           version);
    if (code > LARGEST_CODE || dtype_codes[code] == TOKEN_DTYPES)
        return status_fail(status, STATUS_INPUT, "%s: has dtype code %u, which is not one of token ids", index->path,
                           code);
    index->dtype = dtype_codes[code];
    return true;
}

/* The tables fill the rest of the file. The counts are anything until this holds, so the sum must not overflow. */
static bool check_size(const Index *index, Status *status) {
    uint64_t left = index->n_bytes - HEADER_BYTES;
    if (index->n_sequences <= left / SEQUENCE_BYTES && index->n_documents <= left / sizeof(int64_t) &&
        index->n_sequences * SEQUENCE_BYTES + index->n_documents * sizeof(int64_t) == left)
        return true;
    return status_fail(status, STATUS_INPUT,
                       "%s: says %" PRIu64 " sequences and %" PRIu64 " documents, which its %" PRIu64
                       " bytes do not hold. Was it cut off while copying?",
                       index->path, index->n_sequences, index->n_documents, index->n_bytes);
}

static bool read_exactly(const Index *index, void *values, uint64_t n, uint64_t offset, Status *status) {
    int64_t n_read = data_read_at(index->descriptor, values, n, offset);
    if (n_read < 0)
        return status_fail_errno(status, "%s: cannot read", index->path);
    return (uint64_t)n_read == n ||
           status_fail(status, STATUS_INPUT, "%s: ends at byte %" PRIu64 ": something shortened it", index->path,
                       offset + (uint64_t)n_read);
}

/* Adds up the lengths, and checks that each sequence begins where the one before ends. */
static bool count_tokens(const Index *index, uint64_t *n_tokens, Status *status) {
    enum { CHUNK = 512 };
    int32_t lengths[CHUNK];
    int64_t pointers[CHUNK];
    uint64_t first_pointer = HEADER_BYTES + index->n_sequences * sizeof(int32_t);
    *n_tokens = 0;
    for (uint64_t first = 0; first < index->n_sequences; first += CHUNK) {
        uint64_t n = index->n_sequences - first < CHUNK ? index->n_sequences - first : CHUNK;
        if (!read_exactly(index, lengths, n * sizeof *lengths, HEADER_BYTES + first * sizeof *lengths, status) ||
            !read_exactly(index, pointers, n * sizeof *pointers, first_pointer + first * sizeof *pointers, status))
            return false;
        for (uint64_t i = 0; i < n; i++) {
            uint64_t expected = *n_tokens * token_dtype_bytes(index->dtype);
            if (lengths[i] < 0 || pointers[i] < 0 || (uint64_t)pointers[i] != expected)
                return status_fail(status, STATUS_INPUT,
                                   "%s: sequence %" PRIu64 " has length %" PRId32 " and begins at byte %" PRId64
                                   "; expected it at byte %" PRIu64 ", where the one before ends",
                                   index->path, first + i, lengths[i], pointers[i], expected);
            *n_tokens += (uint64_t)lengths[i];
        }
    }
    return true;
}

static bool read_index(Index *index, uint64_t *n_tokens, Status *status) {
    index->descriptor = data_open_regular(index->path, &index->n_bytes, status);
    if (index->descriptor < 0)
        return false;
    bool is_read = read_header(index, status) && check_size(index, status) && count_tokens(index, n_tokens, status);
    close(index->descriptor);
    return is_read;
}

bool megatron_file_open(TokenFile *file, const char *index_path, const char *bin_path, Status *status) {
    Index index = {.path = index_path};
    uint64_t n_bytes;
    if (!read_index(&index, &file->n_tokens, status))
        return false;
    file->format = "Megatron";
    file->dtype = index.dtype;
    file->first_byte = 0;
    file->path = strdup(bin_path);
    if (!file->path)
        return status_fail_errno(status, "%s", bin_path);
    file->descriptor = data_open_regular(bin_path, &n_bytes, status);
    if (file->descriptor < 0)
        return false;
    uint64_t expected = file->n_tokens * token_dtype_bytes(index.dtype);
    return n_bytes == expected ||
           status_fail(status, STATUS_INPUT,
                       "%s: has %" PRIu64 " bytes; its index says %" PRIu64 " tokens of %s, %" PRIu64 " bytes",
                       bin_path, n_bytes, file->n_tokens, token_dtype_name(index.dtype), expected);
}
