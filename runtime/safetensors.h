/* The safetensors format: a reader that believes nothing, and a writer that streams.

   The reader enforces all that makes a file unambiguous (spec/checkpoints.md, "safetensors"): the tensors tile the data
   exactly, sizes agree with shapes, no name occurs twice. It reads with pread, so that a file that shrinks while it is
   read gives an error rather than a signal. */
#ifndef MOEC_RUNTIME_SAFETENSORS_H
#define MOEC_RUNTIME_SAFETENSORS_H

#include "runtime/dtype.h"
#include "runtime/json.h"
#include "runtime/output.h"
#include "runtime/status.h"

typedef struct {
    const char *name; /* owned by the file's header */
    Dtype dtype;
    int rank;
    const int64_t *dims;
    uint64_t offset, n_bytes; /* offset from the start of the file */
    uint64_t n_elements;
} SafetensorsEntry;

typedef struct {
    char *path;
    int fd;
    json_t *header;
    SafetensorsEntry *entries; /* in the order of their data */
    size_t n_entries;
    int64_t *dims; /* of all entries */
} SafetensorsFile;

/* On failure `file` holds nothing and need not be closed. */
bool safetensors_open(SafetensorsFile *file, const char *path, Status *status);
void safetensors_close(SafetensorsFile *file);

/* Elements first .. first+n-1 as f32. The entry's dtype must be readable. */
bool safetensors_read(const SafetensorsFile *file, const SafetensorsEntry *entry, uint64_t first, size_t n,
                      float *values, Status *status);

/* What a file to be written holds, in the order in which its data follows. */
typedef struct {
    const char *name;
    int rank;
    const int64_t *dims;
} SafetensorsSpec;

/* Writes the header; the caller then appends each tensor's data, in order. dtype: DTYPE_F32 or DTYPE_BF16. */
bool safetensors_write_header(OutputFile *out, Dtype dtype, const SafetensorsSpec *specs, size_t n_specs,
                              Status *status);
bool safetensors_append(OutputFile *out, Dtype dtype, const float *values, uint64_t n, Status *status);

#endif
