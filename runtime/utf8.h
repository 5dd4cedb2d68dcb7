/* UTF-8, strictly: no overlong forms, no surrogates, nothing above U+10FFFF. */
#ifndef MOEC_RUNTIME_UTF8_H
#define MOEC_RUNTIME_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Bytes of the character at the start of `text`, its code point to `code`; 0: there is none. */
size_t utf8_decode(const char *text, size_t n, uint32_t *code);

/* Bytes of the valid text at the start of `text`: n where all of it is valid. */
size_t utf8_valid(const char *text, size_t n);

#endif
