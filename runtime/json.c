#include "runtime/json.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- Reading --------------------------------------------------------------------------------------------------- */

/* Deepest nesting of brackets outside of strings. Text that isn't JSON gets some number; the parser refuses it. */
static int nesting_depth(const char *text, size_t length) {
    int depth = 0, deepest = 0;
    bool in_string = false;
    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        if (in_string && c == '\\')
            i++;
        else if (c == '"')
            in_string = !in_string;
        else if (!in_string && (c == '{' || c == '['))
            deepest = ++depth > deepest ? depth : deepest;
        else if (!in_string && (c == '}' || c == ']'))
            depth--;
        if (deepest > JSON_MAX_DEPTH)
            break;
    }
    return deepest;
}

json_t *json_parse(const char *text, size_t length, const char *what, Status *status) {
    if (nesting_depth(text, length) > JSON_MAX_DEPTH) {
        status_fail(status, STATUS_INPUT, "%s: nested deeper than %d levels; no file of a model is", what,
                    (int)JSON_MAX_DEPTH);
        return NULL;
    }
    json_error_t error;
    json_t *value = json_loadb(text, length, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (!value)
        status_fail(status, STATUS_INPUT, "%s:%d:%d: not valid JSON: %s", what, error.line, error.column, error.text);
    return value;
}

/* Reads to the end of the file or to the end of `bytes`; the number read, or -1 and errno. */
static ssize_t read_fully(int fd, char *bytes, size_t n) {
    size_t n_read = 0;
    while (n_read < n) {
        ssize_t got = read(fd, bytes + n_read, n - n_read);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        n_read += (size_t)got;
    }
    return (ssize_t)n_read;
}

static char *read_open_file(int fd, const char *path, size_t *length, Status *status) {
    struct stat about;
    if (fstat(fd, &about) != 0) {
        status_fail_errno(status, "%s: cannot examine", path);
        return NULL;
    }
    if (!S_ISREG(about.st_mode)) {
        status_fail(status, STATUS_INPUT, "%s: is not a regular file", path);
        return NULL;
    }
    if (about.st_size > JSON_MAX_FILE_BYTES) {
        status_fail(status, STATUS_INPUT, "%s: has %lld bytes; expected at most %d, is this the right file?", path,
                    (long long)about.st_size, (int)JSON_MAX_FILE_BYTES);
        return NULL;
    }
    char *text = malloc((size_t)about.st_size + 1);
    ssize_t n_read = text ? read_fully(fd, text, (size_t)about.st_size) : -1;
    if (n_read < 0) {
        status_fail_errno(status, "%s: cannot read", path);
        free(text);
        return NULL;
    }
    text[n_read] = '\0';
    if (length)
        *length = (size_t)n_read;
    return text;
}

char *json_read_text(const char *path, size_t *length, Status *status) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO is refused, not waited for */
    if (fd < 0) {
        status_fail_errno(status, "%s: cannot open", path);
        return NULL;
    }
    char *text = read_open_file(fd, path, length, status);
    close(fd);
    return text;
}

/* ---- Printing -------------------------------------------------------------------------------------------------- */

enum { ONE_LINE = -1 };

/* Starts a new line at `level`, or leaves a blank where everything stands on one line. */
static void print_break(FILE *out, int level, bool is_first) {
    if (level != ONE_LINE)
        fprintf(out, "\n%*s", 2 * level, "");
    else if (!is_first)
        fputc(' ', out);
}

/* Shortest digits that read back to the same double, spelled as Python does: with a point, with an exponent only where
   it is below -4 or above 15. */
static void print_real(FILE *out, double value) {
    char text[400];
    int digits = 0;
    do
        snprintf(text, sizeof text, "%.*e", digits, value);
    while (strtod(text, NULL) != value && digits++ < 17);
    int exponent = atoi(strchr(text, 'e') + 1);
    if (exponent >= -4 && exponent <= 15)
        snprintf(text, sizeof text, "%.*f", digits > exponent ? digits - exponent : 0, value);
    else
        snprintf(text, sizeof text, "%.*g", digits + 1, value);
    fprintf(out, "%s%s", text, strpbrk(text, ".e") ? "" : ".0");
}

/* Strings, integers, true, false, null: as jansson prints them. False when out of memory. */
static bool print_scalar(FILE *out, const json_t *value) {
    char *text = json_dumps(value, JSON_ENCODE_ANY);
    if (!text)
        return false;
    fputs(text, out);
    free(text);
    return true;
}

static bool is_flat(const json_t *array) {
    size_t i;
    json_t *element;
    json_array_foreach((json_t *)array, i, element) {
        if (!json_is_number(element))
            return false;
    }
    return true;
}

static bool print_value(FILE *out, const json_t *value, int level);

static bool print_array(FILE *out, const json_t *array, int level) {
    int inner = level == ONE_LINE || is_flat(array) ? ONE_LINE : level + 1;
    size_t i;
    json_t *element;
    fputc('[', out);
    json_array_foreach((json_t *)array, i, element) {
        fputs(i ? "," : "", out);
        print_break(out, inner, i == 0);
        if (!print_value(out, element, inner))
            return false;
    }
    if (inner != ONE_LINE)
        print_break(out, level, true);
    fputc(']', out);
    return true;
}

static bool print_key(FILE *out, const char *key) {
    json_t *text = json_string(key);
    bool is_printed = text && print_scalar(out, text);
    json_decref(text);
    fputs(": ", out);
    return is_printed;
}

static bool print_object(FILE *out, const json_t *object, int level) {
    int inner = level == ONE_LINE || json_object_size(object) == 0 ? ONE_LINE : level + 1;
    bool is_first = true;
    const char *key;
    json_t *member;
    fputc('{', out);
    json_object_foreach((json_t *)object, key, member) {
        fputs(is_first ? "" : ",", out);
        print_break(out, inner, is_first);
        if (!print_key(out, key) || !print_value(out, member, inner))
            return false;
        is_first = false;
    }
    if (inner != ONE_LINE)
        print_break(out, level, true);
    fputc('}', out);
    return true;
}

static bool print_value(FILE *out, const json_t *value, int level) {
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return print_object(out, value, level);
    case JSON_ARRAY:
        return print_array(out, value, level);
    case JSON_REAL:
        print_real(out, json_real_value(value));
        return true;
    default:
        return print_scalar(out, value);
    }
}

static char *print_to_string(const json_t *value, int level) {
    char *text = NULL;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    if (!out)
        return NULL;
    bool is_printed = print_value(out, value, level);
    if (level != ONE_LINE)
        fputc('\n', out);
    is_printed &= !ferror(out);
    if (fclose(out) == 0 && is_printed)
        return text;
    free(text);
    return NULL;
}

char *json_print(const json_t *value) {
    return print_to_string(value, 0);
}

char *json_print_line(const json_t *value) {
    return print_to_string(value, ONE_LINE);
}

/* ---- Comparing ------------------------------------------------------------------------------------------------- */

/* 2^63 is the first double above all 64-bit integers; below it the conversion to an integer is exact. */
static bool same_integer_real(json_int_t integer, double real) {
    return real >= -0x1p63 && real < 0x1p63 && (double)(json_int_t)real == real && (json_int_t)real == integer;
}

static bool same_number(const json_t *a, const json_t *b) {
    if (json_is_integer(a) && json_is_integer(b))
        return json_integer_value(a) == json_integer_value(b);
    if (json_is_integer(a))
        return same_integer_real(json_integer_value(a), json_real_value(b));
    if (json_is_integer(b))
        return same_integer_real(json_integer_value(b), json_real_value(a));
    return json_real_value(a) == json_real_value(b);
}

static bool same_array(const json_t *a, const json_t *b) {
    if (json_array_size(a) != json_array_size(b))
        return false;
    for (size_t i = 0; i < json_array_size(a); i++) {
        if (!json_same(json_array_get(a, i), json_array_get(b, i)))
            return false;
    }
    return true;
}

static bool same_object(const json_t *a, const json_t *b) {
    if (json_object_size(a) != json_object_size(b))
        return false;
    const char *key;
    json_t *member;
    json_object_foreach((json_t *)a, key, member) {
        const json_t *other = json_object_get(b, key);
        if (!other || !json_same(member, other))
            return false;
    }
    return true;
}

bool json_same(const json_t *a, const json_t *b) {
    if (json_is_number(a) && json_is_number(b))
        return same_number(a, b);
    if (json_typeof(a) != json_typeof(b))
        return false;
    if (json_is_array(a))
        return same_array(a, b);
    if (json_is_object(a))
        return same_object(a, b);
    return json_equal(a, b);
}
