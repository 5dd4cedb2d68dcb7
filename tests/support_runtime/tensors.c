#include "tests/support_runtime/tensors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

void tensors_write_raw(Folder *folder, const char *file, const char *header, const void *data, size_t n) {
    uint64_t length = strlen(header);
    char *bytes = calloc(1, sizeof length + length + n + 1);
    assert_non_null(bytes);
    memcpy(bytes, &length, sizeof length);
    memcpy(bytes + sizeof length, header, length);
    if (data)
        memcpy(bytes + sizeof length + length, data, n);
    folder_write(folder, file, bytes, sizeof length + length + n);
    free(bytes);
}

void tensors_write(Folder *folder, const char *file, const TestTensor *tensors, size_t n) {
    char *header, *data;
    size_t n_header, n_data;
    FILE *header_out = open_memstream(&header, &n_header), *data_out = open_memstream(&data, &n_data);
    assert_true(header_out && data_out);
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        size_t end = at + tensors[i].n_bytes;
        fprintf(header_out, "%c\"%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%zu,%zu]}", i ? ',' : '{',
                tensors[i].name, tensors[i].dtype, tensors[i].shape, at, end);
        fwrite(tensors[i].bytes, 1, tensors[i].n_bytes, data_out);
        at = end;
    }
    fputs(n ? "}" : "{}", header_out);
    fclose(header_out);
    fclose(data_out);
    tensors_write_raw(folder, file, header, data, n_data);
    free(header);
    free(data);
}
