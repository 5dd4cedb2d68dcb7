// REQUIRES: fuzz
// RUN: %fuzz %s
/* Any bytes as a safetensors file: refused with a message, or every value that it promises can be read. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime/safetensors.h"

static void read_entry(const SafetensorsFile *file, const SafetensorsEntry *entry) {
    enum { CHUNK = 256 };
    float values[CHUNK];
    Status status = STATUS_INIT;
    if (!dtype_is_readable(entry->dtype))
        return;
    for (uint64_t first = 0; first < entry->n_elements; first += CHUNK) {
        uint64_t left = entry->n_elements - first;
        if (!safetensors_read(file, entry, first, left < CHUNK ? (size_t)left : CHUNK, values, &status))
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char path[64];
    int fd = memfd_create("fuzz", 0);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    SafetensorsFile file;
    Status status = STATUS_INIT;
    if (safetensors_open(&file, path, &status)) {
        for (size_t i = 0; i < file.n_entries; i++)
            read_entry(&file, &file.entries[i]);
        safetensors_close(&file);
    } else {
        assert(status.failed && *status.message);
    }
    close(fd);
    return 0;
}
