#include "runtime/data_file.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct {
    const char *name;
    uint64_t n_bytes;
} TokenDtypeRow;

static const TokenDtypeRow dtype_rows[TOKEN_DTYPES] = {
    [TOKEN_U8] = {"u8", 1},   [TOKEN_I8] = {"i8", 1},   [TOKEN_U16] = {"u16", 2}, [TOKEN_I16] = {"i16", 2},
    [TOKEN_U32] = {"u32", 4}, [TOKEN_I32] = {"i32", 4}, [TOKEN_I64] = {"i64", 8},
};

bool token_dtype_find(const char *name, TokenDtype *dtype) {
    static const TokenDtype allowed[] = {TOKEN_U16, TOKEN_U32};
    for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++) {
        if (strcmp(name, dtype_rows[allowed[i]].name) == 0) {
            *dtype = allowed[i];
            return true;
        }
    }
    return false;
}

const char *token_dtype_name(TokenDtype dtype) {
    return dtype_rows[dtype].name;
}

uint64_t token_dtype_bytes(TokenDtype dtype) {
    return dtype_rows[dtype].n_bytes;
}

int data_open_regular(const char *path, uint64_t *n_bytes, Status *status) {
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0) {
        status_fail_errno(status, "%s: cannot open", path);
        return -1;
    }
    struct stat about;
    if (fstat(descriptor, &about) != 0)
        status_fail_errno(status, "%s: cannot examine", path);
    else if (!S_ISREG(about.st_mode))
        status_fail(status, STATUS_INPUT, "%s: is not a regular file; token files are read at random places", path);
    if (status->failed) {
        close(descriptor);
        return -1;
    }
    *n_bytes = (uint64_t)about.st_size;
    return descriptor;
}

int64_t data_read_at(int descriptor, void *bytes, uint64_t n, uint64_t offset) {
    uint64_t n_read = 0;
    while (n_read < n) {
        ssize_t got = pread(descriptor, (char *)bytes + n_read, n - n_read, (off_t)(offset + n_read));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        n_read += (uint64_t)got;
    }
    return (int64_t)n_read;
}

/* llm.c: 256 little-endian i32, of which magic, version and token count are used, then the ids. The sibling formats of
   that project are known so that a wrong file is named for what it is. */
enum { LLMC_HEADER_BYTES = 1024 };

typedef struct {
    int32_t magic, version;
    TokenDtype dtype; /* TOKEN_DTYPES: not a token file */
    const char *what;
} LlmcKind;

static const LlmcKind llmc_kinds[] = {
    {20240520, 1, TOKEN_U16, "u16 tokens"},
    {20240801, 7, TOKEN_U32, "u32 tokens"},
    {20240522, 0, TOKEN_DTYPES, "an evaluation set of llm.c"},
    {20240326, 0, TOKEN_DTYPES, "a GPT-2 model of llm.c"},
    {20240803, 0, TOKEN_DTYPES, "a Llama 3 model of llm.c"},
    {20240327, 0, TOKEN_DTYPES, "a debug state of llm.c"},
    {20240328, 0, TOKEN_DTYPES, "a tokenizer of llm.c"},
    {20240527, 0, TOKEN_DTYPES, "an optimizer state of llm.c"},
};

static const LlmcKind *llmc_find_kind(int32_t magic) {
    for (size_t i = 0; i < sizeof llmc_kinds / sizeof *llmc_kinds; i++) {
        if (llmc_kinds[i].magic == magic)
            return &llmc_kinds[i];
    }
    return NULL;
}

static bool llmc_open(TokenFile *file, const LlmcKind *kind, const int32_t header[3], uint64_t n_bytes,
                      Status *status) {
    if (kind->dtype == TOKEN_DTYPES)
        return status_fail(status, STATUS_INPUT, "%s: is %s, not a file of training tokens", file->path, kind->what);
    if (header[1] != kind->version)
        return status_fail(status, STATUS_INPUT, "%s: llm.c header says version %" PRId32 "; %s have version %" PRId32,
                           file->path, header[1], kind->what, kind->version);
    if (header[2] < 0 || n_bytes < LLMC_HEADER_BYTES ||
        n_bytes - LLMC_HEADER_BYTES != (uint64_t)header[2] * token_dtype_bytes(kind->dtype))
        return status_fail(status, STATUS_INPUT,
                           "%s: llm.c header says %" PRId32 " %s, so the file should have %" PRId64
                           " bytes; it has %" PRIu64 ". Was it cut off while copying?",
                           file->path, header[2], kind->what,
                           LLMC_HEADER_BYTES + (int64_t)header[2] * (int64_t)token_dtype_bytes(kind->dtype), n_bytes);
    file->format = "llm.c";
    file->dtype = kind->dtype;
    file->first_byte = LLMC_HEADER_BYTES;
    file->n_tokens = (uint64_t)header[2];
    return true;
}

/* Whether the start of a file reads as text: as ids, letters would be plausible numbers, and training would run on
   nonsense. Streams of ids as short as this hold a byte that no text has. */
static bool looks_like_text(const TokenFile *file, uint64_t n_bytes) {
    enum { SAMPLE = 512, ENOUGH = 64 };
    unsigned char sample[SAMPLE];
    int64_t n = data_read_at(file->descriptor, sample, SAMPLE, 0);
    if (n < ENOUGH && (uint64_t)(n < 0 ? 0 : n) < n_bytes)
        return false;
    if (n < ENOUGH)
        return false;
    for (int64_t i = 0; i < n; i++) {
        if (sample[i] < ' ' && !isspace(sample[i]))
            return false;
    }
    return true;
}

static bool headerless_open(TokenFile *file, TokenDtype dtype, uint64_t n_bytes, Status *status) {
    uint64_t width = token_dtype_bytes(dtype);
    if (n_bytes % width != 0)
        return status_fail(status, STATUS_INPUT,
                           "%s: has no header that moec knows, so it is read as %s ids, but its %" PRIu64
                           " bytes are not a multiple of %" PRIu64 " (see --token-dtype)",
                           file->path, token_dtype_name(dtype), n_bytes, width);
    if (looks_like_text(file, n_bytes))
        return status_fail(status, STATUS_INPUT,
                           "%s: looks like text. Training reads token ids: tokenise it first, with the model's "
                           "tokenizer, into a file of u16 ids",
                           file->path);
    file->format = "headerless";
    file->dtype = dtype;
    file->first_byte = 0;
    file->n_tokens = n_bytes / width;
    return true;
}

static bool ends_with(const char *text, const char *suffix) {
    size_t n = strlen(text), n_suffix = strlen(suffix);
    return n >= n_suffix && strcmp(text + n - n_suffix, suffix) == 0;
}

/* `path` with its last n_cut characters replaced by `suffix`; NULL without memory. */
static char *path_with_suffix(const char *path, size_t n_cut, const char *suffix) {
    char *result = NULL;
    if (asprintf(&result, "%.*s%s", (int)(strlen(path) - n_cut), path, suffix) < 0)
        return NULL;
    return result;
}

static bool file_exists(const char *path) {
    struct stat about;
    return stat(path, &about) == 0;
}

/* A Megatron pair is named by its prefix or by either file. *is_pair says whether `path` is one; if so it is opened. */
static bool megatron_try_open(TokenFile *file, const char *path, bool *is_pair, Status *status) {
    bool names_file = ends_with(path, ".idx") || ends_with(path, ".bin");
    size_t n_cut = names_file ? strlen(".idx") : 0;
    char *index_path = path_with_suffix(path, n_cut, ".idx");
    char *bin_path = path_with_suffix(path, n_cut, ".bin");
    if (index_path == NULL || bin_path == NULL)
        status_fail(status, STATUS_SYSTEM, "no memory to open %s", path);
    else if (ends_with(path, ".idx") || (file_exists(index_path) && (names_file || !file_exists(path)))) {
        *is_pair = true;
        megatron_file_open(file, index_path, bin_path, status);
    }
    free(index_path);
    free(bin_path);
    return !status->failed;
}

/* A file with a header of llm.c, or without any. */
static bool single_file_open(TokenFile *file, TokenDtype headerless, Status *status) {
    uint64_t n_bytes;
    file->descriptor = data_open_regular(file->path, &n_bytes, status);
    if (file->descriptor < 0)
        return false;
    int32_t header[3] = {0};
    if (data_read_at(file->descriptor, header, sizeof header, 0) < 0)
        return status_fail_errno(status, "%s: cannot read", file->path);
    const LlmcKind *kind = n_bytes >= sizeof header ? llmc_find_kind(header[0]) : NULL;
    return kind ? llmc_open(file, kind, header, n_bytes, status) : headerless_open(file, headerless, n_bytes, status);
}

bool token_file_open(TokenFile *file, const char *path, TokenDtype headerless, Status *status) {
    *file = (TokenFile){.descriptor = -1};
    bool is_pair = false;
    if (!megatron_try_open(file, path, &is_pair, status)) {
        token_file_close(file);
        return false;
    }
    if (is_pair)
        return true;
    file->path = strdup(path);
    if (file->path == NULL)
        return status_fail(status, STATUS_SYSTEM, "no memory to open %s", path);
    if (!single_file_open(file, headerless, status)) {
        token_file_close(file);
        return false;
    }
    return true;
}

void token_file_close(TokenFile *file) {
    if (file->descriptor >= 0)
        close(file->descriptor);
    free(file->path);
    *file = (TokenFile){.descriptor = -1};
}

/* Little-endian ids, as all three formats store them; hosts are little-endian too. */
static int64_t decode_id(TokenDtype dtype, const unsigned char *bytes) {
    switch (dtype) {
#define DECODE(tag, type)                                                                                              \
    case tag: {                                                                                                        \
        type value;                                                                                                    \
        memcpy(&value, bytes, sizeof value);                                                                           \
        return (int64_t)value;                                                                                         \
    }
        DECODE(TOKEN_U8, uint8_t)
        DECODE(TOKEN_I8, int8_t)
        DECODE(TOKEN_U16, uint16_t)
        DECODE(TOKEN_I16, int16_t)
        DECODE(TOKEN_U32, uint32_t)
        DECODE(TOKEN_I32, int32_t)
        DECODE(TOKEN_I64, int64_t)
#undef DECODE
    case TOKEN_DTYPES:
        break;
    }
    assert(false && "no such dtype");
    return -1;
}

static bool fail_id(const TokenFile *file, uint64_t position, int64_t id, int64_t vocab, Status *status) {
    bool is_headerless = file->first_byte == 0 && strcmp(file->format, "headerless") == 0;
    return status_fail(status, STATUS_INPUT,
                       "%s: token %" PRIu64 " is %" PRId64 ", but the model's vocabulary has ids 0 to %" PRId64
                       ". Was the file made with this model's tokenizer%s?",
                       file->path, position, id, vocab - 1, is_headerless ? ", and is --token-dtype right" : "");
}

bool token_file_read(const TokenFile *file, uint64_t first, uint64_t n, int64_t vocab, int32_t *tokens,
                     Status *status) {
    enum { CHUNK = 1024 };
    unsigned char bytes[CHUNK * sizeof(int64_t)];
    uint64_t width = token_dtype_bytes(file->dtype);
    for (uint64_t done = 0; done < n;) {
        uint64_t count = n - done < CHUNK ? n - done : CHUNK;
        int64_t n_read =
            data_read_at(file->descriptor, bytes, count * width, file->first_byte + (first + done) * width);
        if (n_read < 0)
            return status_fail_errno(status, "%s: cannot read tokens at %" PRIu64, file->path, first + done);
        if ((uint64_t)n_read < count * width)
            return status_fail(status, STATUS_INPUT,
                               "%s: ends at token %" PRIu64 ", but had %" PRIu64
                               " tokens when it was opened: something shortened it meanwhile",
                               file->path, first + done + (uint64_t)n_read / width, file->n_tokens);
        for (uint64_t i = 0; i < count; i++) {
            int64_t id = decode_id(file->dtype, bytes + i * width);
            if (id < 0 || id >= vocab)
                return fail_id(file, first + done + i, id, vocab, status);
            tokens[done + i] = (int32_t)id;
        }
        done += count;
    }
    return true;
}
