/* JSON as the runtime reads and writes it: jansson, made strict, with errors that name the file.

   Reading refuses duplicate keys, invalid UTF-8, anything after the value, and nesting deeper than JSON_MAX_DEPTH. */
#ifndef MOEC_RUNTIME_JSON_H
#define MOEC_RUNTIME_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

enum { JSON_MAX_DEPTH = 32, JSON_MAX_FILE_BYTES = 256 << 20 };

/* `what` names the text in errors: a path, "header of model.safetensors". NULL after a failure; else the caller owns
   one reference. */
json_t *json_parse(const char *text, size_t length, const char *what, Status *status);

/* A whole file, NUL added; NULL after a failure. `length` may be NULL. The caller frees it. */
char *json_read_text(const char *path, size_t *length, Status *status);

/* Indented by two blanks, arrays of numbers on one line, numbers in the shortest form that reads back to the same value
   (10000.0, 1e-05), keys in the order in which they were set, a newline at the end. NULL when out of memory; the caller
   frees. */
char *json_print(const json_t *value);

/* The same on one line, for messages. */
char *json_print_line(const json_t *value);

/* Equal as values: 10000 and 10000.0 are; objects may differ in the order of their keys. */
bool json_same(const json_t *a, const json_t *b);

#endif
