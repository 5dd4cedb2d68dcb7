#include "runtime/safetensors.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A file is 8 bytes with the length N of the header, N bytes of JSON, and the tensors' data. */
enum { LENGTH_BYTES = 8, MAX_HEADER_BYTES = 100 * 1000 * 1000, DATA_ALIGNMENT = 8 };

static const char metadata_key[] = "__metadata__";

/* ---- Reading the header ---------------------------------------------------------------------------------------- */

/* False where the file ends before `n` bytes, or on an error. */
static bool read_at(const SafetensorsFile *file, void *bytes, size_t n, uint64_t offset, Status *status) {
    char *next = bytes;
    while (n > 0) {
        ssize_t got = pread(file->fd, next, n, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return status_fail_errno(status, "%s: cannot read at byte %" PRIu64, file->path, offset);
        if (got == 0)
            return status_fail(status, STATUS_INPUT,
                               "%s: ends at byte %" PRIu64
                               ", in the middle of its data; was it changed while it was read?",
                               file->path, offset);
        next += got;
        offset += (uint64_t)got;
        n -= (size_t)got;
    }
    return true;
}

/* A fault of the tensor `name`. */
#define FAIL_TENSOR(status, file, name, format, ...)                                                                   \
    status_fail(status, STATUS_INPUT, "%s: tensor %.200s: " format, (file)->path, name, __VA_ARGS__)

static bool read_unsigned(const json_t *value, uint64_t *number) {
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *number = (uint64_t)json_integer_value(value);
    return true;
}

static bool read_dtype(const SafetensorsFile *file, const json_t *row, SafetensorsEntry *entry, Status *status) {
    const char *dtype = json_string_value(json_object_get(row, "dtype"));
    if (!dtype)
        return FAIL_TENSOR(status, file, entry->name, "%s", "the header gives no \"dtype\" in quotes");
    if (!dtype_find(dtype, &entry->dtype))
        return FAIL_TENSOR(status, file, entry->name, "unknown dtype \"%.40s\"", dtype);
    return true;
}

/* The shape goes to `dims`; its product, which must not overflow, to the entry. */
static bool read_shape(const SafetensorsFile *file, const json_t *row, SafetensorsEntry *entry, int64_t *dims,
                       Status *status) {
    const json_t *shape = json_object_get(row, "shape");
    if (!json_is_array(shape))
        return FAIL_TENSOR(status, file, entry->name, "%s", "the header gives no list \"shape\"");
    entry->rank = (int)json_array_size(shape); /* below 2^31: the header has at most 10^8 bytes */
    entry->dims = dims;
    entry->n_elements = 1;
    for (int i = 0; i < entry->rank; i++) {
        uint64_t extent;
        if (!read_unsigned(json_array_get(shape, (size_t)i), &extent))
            return FAIL_TENSOR(status, file, entry->name, "dim %d of its shape is not a number from 0", i);
        if (__builtin_mul_overflow(entry->n_elements, extent, &entry->n_elements))
            return FAIL_TENSOR(status, file, entry->name, "%s", "its shape has more than 2^64 elements");
        dims[i] = (int64_t)extent;
    }
    return true;
}

/* Offsets in the header count from the start of the data. */
static bool read_extent(const SafetensorsFile *file, const json_t *row, SafetensorsEntry *entry, Status *status) {
    const json_t *offsets = json_object_get(row, "data_offsets");
    uint64_t begin, end, n_bits;
    if (json_array_size(offsets) != 2 || !read_unsigned(json_array_get(offsets, 0), &begin) ||
        !read_unsigned(json_array_get(offsets, 1), &end))
        return FAIL_TENSOR(status, file, entry->name, "%s", "its \"data_offsets\" are not two numbers from 0");
    if (end < begin)
        return FAIL_TENSOR(status, file, entry->name, "its data ends at %" PRIu64 ", before its begin %" PRIu64, end,
                           begin);
    if (__builtin_mul_overflow(entry->n_elements, dtype_bits(entry->dtype), &n_bits) || n_bits % 8 != 0)
        return FAIL_TENSOR(status, file, entry->name, "%" PRIu64 " elements of %s are no whole number of bytes",
                           entry->n_elements, dtype_name(entry->dtype));
    if (n_bits / 8 != end - begin)
        return FAIL_TENSOR(status, file, entry->name,
                           "its shape needs %" PRIu64 " bytes of %s, its data_offsets span %" PRIu64, n_bits / 8,
                           dtype_name(entry->dtype), end - begin);
    entry->offset = begin;
    entry->n_bytes = end - begin;
    return true;
}

static bool check_metadata(const SafetensorsFile *file, const json_t *metadata, Status *status) {
    const char *key;
    json_t *value;
    if (!json_is_object(metadata))
        return status_fail(status, STATUS_INPUT, "%s: \"__metadata__\" is not an object", file->path);
    json_object_foreach((json_t *)metadata, key, value) {
        if (!json_is_string(value))
            return status_fail(status, STATUS_INPUT, "%s: \"__metadata__\": \"%.40s\" is not a string", file->path,
                               key);
    }
    return true;
}

/* By place; empty tensors, which share places, by name. */
static int compare_entries(const void *left, const void *right) {
    const SafetensorsEntry *a = left, *b = right;
    if (a->offset != b->offset)
        return a->offset < b->offset ? -1 : 1;
    if (a->n_bytes != b->n_bytes)
        return a->n_bytes < b->n_bytes ? -1 : 1;
    return strcmp(a->name, b->name);
}

/* The tensors must tile the data: no byte belongs to two of them or to none. Turns offsets into places in the file. */
static bool check_tiling(SafetensorsFile *file, uint64_t data_start, uint64_t data_bytes, Status *status) {
    uint64_t end = 0;
    qsort(file->entries, file->n_entries, sizeof *file->entries, compare_entries);
    for (size_t i = 0; i < file->n_entries; i++) {
        SafetensorsEntry *entry = &file->entries[i];
        if (entry->offset != end)
            return FAIL_TENSOR(status, file, entry->name,
                               "its data begins at %" PRIu64 ", but the tensor before it ends at %" PRIu64 ": %s",
                               entry->offset, end, entry->offset < end ? "they overlap" : "there is a hole");
        end += entry->n_bytes;
        if (end > data_bytes)
            return FAIL_TENSOR(status, file, entry->name,
                               "its data ends at %" PRIu64 ", but the file has only %" PRIu64
                               " bytes of data: it is truncated, fetch it again",
                               end, data_bytes);
        entry->offset += data_start;
    }
    if (end != data_bytes)
        return status_fail(status, STATUS_INPUT,
                           "%s: the tensors need %" PRIu64 " bytes of data, the file has %" PRIu64, file->path, end,
                           data_bytes);
    return true;
}

/* Room for all entries and dims. False when out of memory. */
static bool allocate_entries(SafetensorsFile *file) {
    size_t n_dims = 0;
    const char *key;
    json_t *row;
    json_object_foreach(file->header, key, row) n_dims += json_array_size(json_object_get(row, "shape"));
    file->entries = calloc(json_object_size(file->header) + 1, sizeof *file->entries);
    file->dims = calloc(n_dims + 1, sizeof *file->dims);
    return file->entries && file->dims;
}

static bool read_entries(SafetensorsFile *file, Status *status) {
    if (!allocate_entries(file))
        return status_fail_errno(status, "%s", file->path);
    int64_t *dims = file->dims;
    const char *name;
    json_t *row;
    json_object_foreach(file->header, name, row) {
        if (strcmp(name, metadata_key) == 0) {
            if (!check_metadata(file, row, status))
                return false;
            continue;
        }
        SafetensorsEntry *entry = &file->entries[file->n_entries];
        entry->name = name;
        if (!read_dtype(file, row, entry, status) || !read_shape(file, row, entry, dims, status) ||
            !read_extent(file, row, entry, status))
            return false;
        dims += entry->rank;
        file->n_entries++;
    }
    return true;
}

static bool parse_header(SafetensorsFile *file, const char *text, size_t length, Status *status) {
    char *what = NULL;
    if (asprintf(&what, "header of %s", file->path) < 0)
        return status_fail_errno(status, "%s", file->path);
    file->header = json_parse(text, length, what, status);
    if (file->header && !json_is_object(file->header))
        status_fail(status, STATUS_INPUT, "%s: expected an object { }", what);
    free(what);
    return !status->failed;
}

static bool read_header(SafetensorsFile *file, uint64_t n_file_bytes, Status *status) {
    uint64_t length;
    if (n_file_bytes < LENGTH_BYTES)
        return status_fail(status, STATUS_INPUT, "%s: has %" PRIu64 " bytes, too few for a safetensors file",
                           file->path, n_file_bytes);
    if (!read_at(file, &length, sizeof length, 0, status))
        return false;
    if (length > MAX_HEADER_BYTES)
        return status_fail(status, STATUS_INPUT,
                           "%s: is no safetensors file: its first 8 bytes give a header of %" PRIu64
                           " bytes, more than %d",
                           file->path, length, (int)MAX_HEADER_BYTES);
    if (length > n_file_bytes - LENGTH_BYTES)
        return status_fail(status, STATUS_INPUT,
                           "%s: its header should have %" PRIu64 " bytes, but the file ends after %" PRIu64
                           ": it is truncated, fetch it again",
                           file->path, length, n_file_bytes - LENGTH_BYTES);
    char *text = malloc(length + 1);
    if (!text)
        return status_fail_errno(status, "%s: header of %" PRIu64 " bytes", file->path, length);
    bool is_read = read_at(file, text, length, LENGTH_BYTES, status) && parse_header(file, text, length, status) &&
                   read_entries(file, status) &&
                   check_tiling(file, LENGTH_BYTES + length, n_file_bytes - LENGTH_BYTES - length, status);
    free(text);
    return is_read;
}

bool safetensors_open(SafetensorsFile *file, const char *path, Status *status) {
    struct stat about;
    *file = (SafetensorsFile){.path = strdup(path), .fd = -1};
    if (!file->path)
        status_fail_errno(status, "%s", path);
    else if ((file->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)) < 0) /* a FIFO is refused, not waited for */
        status_fail_errno(status, "%s: cannot open", path);
    else if (fstat(file->fd, &about) != 0)
        status_fail_errno(status, "%s: cannot examine", path);
    else if (!S_ISREG(about.st_mode))
        status_fail(status, STATUS_INPUT, "%s: is not a regular file", path);
    else
        read_header(file, (uint64_t)about.st_size, status);
    if (status->failed)
        safetensors_close(file);
    return !status->failed;
}

void safetensors_close(SafetensorsFile *file) {
    if (file->fd >= 0)
        close(file->fd);
    json_decref(file->header);
    free(file->entries);
    free(file->dims);
    free(file->path);
    *file = (SafetensorsFile){.fd = -1};
}

bool safetensors_read(const SafetensorsFile *file, const SafetensorsEntry *entry, uint64_t first, size_t n,
                      float *values, Status *status) {
    assert(dtype_is_readable(entry->dtype) && first <= entry->n_elements && n <= entry->n_elements - first);
    size_t element_bytes = dtype_bits(entry->dtype) / 8;
    char *tail = (char *)values + n * (sizeof *values - element_bytes);
    if (!read_at(file, tail, n * element_bytes, entry->offset + first * element_bytes, status))
        return false;
    dtype_widen(entry->dtype, values, n);
    return true;
}

/* ---- Writing --------------------------------------------------------------------------------------------------- */

static uint64_t spec_elements(const SafetensorsSpec *spec) {
    uint64_t n = 1;
    for (int i = 0; i < spec->rank; i++)
        n *= (uint64_t)spec->dims[i];
    return n;
}

/* One row of the header; advances `offset` past the tensor's data. False when out of memory. */
static bool print_row(FILE *out, Dtype dtype, const SafetensorsSpec *spec, uint64_t *offset) {
    json_t *name = json_string(spec->name);
    char *quoted = name ? json_dumps(name, JSON_ENCODE_ANY) : NULL;
    json_decref(name);
    if (!quoted)
        return false;
    uint64_t end = *offset + spec_elements(spec) * dtype_bits(dtype) / 8;
    fprintf(out, ",%s:{\"dtype\":\"%s\",\"shape\":[", quoted, dtype_name(dtype));
    for (int i = 0; i < spec->rank; i++)
        fprintf(out, "%s%" PRId64, i ? "," : "", spec->dims[i]);
    fprintf(out, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", *offset, end);
    *offset = end;
    free(quoted);
    return true;
}

/* The header's text, padded with blanks so that the data begins at a multiple of 8. Some readers want to be told who
   wrote the file: "pt". NULL when out of memory. */
static char *print_header(Dtype dtype, const SafetensorsSpec *specs, size_t n_specs, size_t *length) {
    char *text = NULL;
    FILE *out = open_memstream(&text, length);
    if (!out)
        return NULL;
    uint64_t offset = 0;
    bool is_printed = true;
    fprintf(out, "{\"%s\":{\"format\":\"pt\"}", metadata_key);
    for (size_t i = 0; i < n_specs && is_printed; i++)
        is_printed = print_row(out, dtype, &specs[i], &offset);
    fputc('}', out);
    for (long at = ftell(out); at % DATA_ALIGNMENT != 0; at++)
        fputc(' ', out);
    is_printed = is_printed && !ferror(out);
    if (fclose(out) == 0 && is_printed)
        return text;
    free(text);
    return NULL;
}

bool safetensors_write_header(OutputFile *out, Dtype dtype, const SafetensorsSpec *specs, size_t n_specs,
                              Status *status) {
    assert(dtype == DTYPE_F32 || dtype == DTYPE_BF16);
    size_t length;
    char *text = print_header(dtype, specs, n_specs, &length);
    if (!text)
        return status_fail_errno(status, "%s: header", out->path);
    uint64_t n_header_bytes = length;
    bool is_written = output_file_write(out, &n_header_bytes, sizeof n_header_bytes, status) &&
                      output_file_write(out, text, length, status);
    free(text);
    return is_written;
}

enum { NARROW_BLOCK = 32768 };

static bool append_bf16(OutputFile *out, const float *values, uint64_t n, Status *status) {
    uint16_t narrow[NARROW_BLOCK];
    for (uint64_t first = 0; first < n; first += NARROW_BLOCK) {
        size_t count = n - first < NARROW_BLOCK ? (size_t)(n - first) : NARROW_BLOCK;
        dtype_narrow(values + first, count, narrow);
        if (!output_file_write(out, narrow, count * sizeof *narrow, status))
            return false;
    }
    return true;
}

bool safetensors_append(OutputFile *out, Dtype dtype, const float *values, uint64_t n, Status *status) {
    assert(dtype == DTYPE_F32 || dtype == DTYPE_BF16);
    if (dtype == DTYPE_BF16)
        return append_bf16(out, values, n, status);
    return output_file_write(out, values, n * sizeof *values, status);
}
