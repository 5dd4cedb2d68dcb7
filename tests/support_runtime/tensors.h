/* Safetensors files as tests want them, sound or not: written without the runtime's own writer. */
#ifndef MOEC_TESTS_SUPPORT_RUNTIME_TENSORS_H
#define MOEC_TESTS_SUPPORT_RUNTIME_TENSORS_H

#include "tests/support_runtime/folder.h"

typedef struct {
    const char *name, *dtype, *shape; /* shape as in the file: "[2, 3]" */
    const void *bytes;
    size_t n_bytes;
} TestTensor;

/* The tensors, one behind the other in the order given. */
void tensors_write(Folder *folder, const char *file, const TestTensor *tensors, size_t n);

/* A file of this header, after its length, and n bytes of data, zeros where `data` is NULL. */
void tensors_write_raw(Folder *folder, const char *file, const char *header, const void *data, size_t n);

#endif
