#include "runtime/utf8.h"

/* The first code point that needs this many bytes. */
static const uint32_t first_code[] = {0, 0, 0x80, 0x800, 0x10000};

static size_t sequence_length(unsigned char lead) {
    if (lead < 0x80)
        return 1;
    if (lead < 0xC0)
        return 0;
    if (lead < 0xE0)
        return 2;
    if (lead < 0xF0)
        return 3;
    return lead < 0xF8 ? 4 : 0;
}

size_t utf8_decode(const char *text, size_t n, uint32_t *code) {
    size_t length = n > 0 ? sequence_length((unsigned char)text[0]) : 0;
    if (length == 0 || length > n)
        return 0;
    uint32_t value = (unsigned char)text[0];
    if (length > 1)
        value &= 0x7Fu >> length;
    for (size_t i = 1; i < length; i++) {
        unsigned char byte = (unsigned char)text[i];
        if ((byte & 0xC0) != 0x80)
            return 0;
        value = value << 6 | (byte & 0x3F);
    }
    if (value < first_code[length] || value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF))
        return 0;
    *code = value;
    return length;
}

size_t utf8_valid(const char *text, size_t n) {
    size_t at = 0, length;
    uint32_t code;
    while (at < n && (length = utf8_decode(text + at, n - at, &code)) > 0)
        at += length;
    return at;
}
