/* A file of token ids in one of the formats that people have: llm.c, nanoGPT, Megatron (spec/training.md, "Token
   files"). The format is told by the content; after opening, all of them are one stream of ids.

   Files are read with pread, never mapped: a file that shrinks under us is an error message, not a SIGBUS. */
#ifndef MOEC_RUNTIME_DATA_FILE_H
#define MOEC_RUNTIME_DATA_FILE_H

#include "runtime/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum { TOKEN_U8, TOKEN_I8, TOKEN_U16, TOKEN_I16, TOKEN_U32, TOKEN_I32, TOKEN_I64, TOKEN_DTYPES } TokenDtype;

typedef struct {
    char *path; /* of the file that holds the ids; owned */
    int descriptor;
    const char *format; /* "llm.c", "headerless", "Megatron" */
    TokenDtype dtype;
    uint64_t first_byte; /* where token 0 stands */
    uint64_t n_tokens;
} TokenFile;

/* "u16" and "u32", the names of --token-dtype. */
bool token_dtype_find(const char *name, TokenDtype *dtype);
const char *token_dtype_name(TokenDtype dtype);

/* `path`: a .bin file, or the prefix, .bin or .idx of a Megatron pair. Files without a header are read as `headerless`.
   After an error nothing is left open. */
bool token_file_open(TokenFile *file, const char *path, TokenDtype headerless, Status *status);
void token_file_close(TokenFile *file);

/* Reads ids [first, first + n) of the file; each must be in [0, vocab). Allocates nothing. */
bool token_file_read(const TokenFile *file, uint64_t first, uint64_t n, int64_t vocab, int32_t *tokens, Status *status);

/* Fills `file` from the index at `index_path` and the ids at `bin_path`; takes over neither string. */
bool megatron_file_open(TokenFile *file, const char *index_path, const char *bin_path, Status *status);

/* What the formats' openers share: opens a regular file for reading and finds its size. */
int data_open_regular(const char *path, uint64_t *n_bytes, Status *status);
/* pread of exactly n bytes; the number of bytes there are, or -1 with errno set. */
int64_t data_read_at(int descriptor, void *bytes, uint64_t n, uint64_t offset);
uint64_t token_dtype_bytes(TokenDtype dtype);

#endif
