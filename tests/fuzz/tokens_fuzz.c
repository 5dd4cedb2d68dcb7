// REQUIRES: fuzz
// RUN: %fuzz %s
/* Any bytes as token files: refused with a message, or all ids can be read. The first byte says how the rest becomes
   files: as many bytes times 2 are a Megatron index, and what follows is its .bin; 0: one file. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "runtime/data_file.h"

enum { VOCAB = 50000 };

static void write_file(const char *path, const uint8_t *data, size_t size) {
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(data, 1, size, file) != size || fclose(file) != 0)
        abort();
}

/* False where an id is past the vocabulary. */
static bool read_all(const TokenFile *file, Status *status) {
    enum { CHUNK = 1024 };
    int32_t tokens[CHUNK];
    for (uint64_t first = 0; first < file->n_tokens; first += CHUNK) {
        uint64_t left = file->n_tokens - first;
        if (!token_file_read(file, first, left < CHUNK ? left : CHUNK, VOCAB, tokens, status))
            return false;
    }
    return true;
}

static void read_tokens(const char *path) {
    TokenFile file;
    Status status = STATUS_INIT;
    if (!token_file_open(&file, path, TOKEN_U16, &status)) {
        assert(status.failed && *status.message);
        return;
    }
    if (!read_all(&file, &status))
        assert(status.code == STATUS_INPUT);
    token_file_close(&file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char index[64], bin[64];
    snprintf(index, sizeof index, "/dev/shm/moec-fuzz-%d.idx", (int)getpid());
    snprintf(bin, sizeof bin, "/dev/shm/moec-fuzz-%d.bin", (int)getpid());
    size_t n_index = size > 0 ? 2u * data[0] : 0;
    if (size < 1 + n_index)
        return 0;
    if (n_index > 0)
        write_file(index, data + 1, n_index);
    write_file(bin, data + 1 + n_index, size - 1 - n_index);
    read_tokens(bin);
    if (n_index > 0)
        unlink(index);
    unlink(bin);
    return 0;
}
