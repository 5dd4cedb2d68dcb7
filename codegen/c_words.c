#include "codegen/c_words.h"

#include <ctype.h>
#include <stddef.h>
#include <string.h>

bool c_is_identifier(const char *name) {
    if (isdigit((unsigned char)name[0]) || name[0] == '\0')
        return false;
    for (const char *at = name; *at != '\0'; at++) {
        if (!isalnum((unsigned char)*at) && *at != '_')
            return false;
    }
    return true;
}

static const char *const words[] = {
    "args",   "auto",    "break",    "case",     "char",   "const",    "continue", "default", "do",
    "double", "else",    "enum",     "extern",   "float",  "for",      "goto",     "if",      "inline",
    "int",    "long",    "register", "return",   "short",  "signed",   "sizeof",   "static",  "struct",
    "switch", "typedef", "union",    "unsigned", "void",   "restrict", "volatile", "while",   "asm",
    "typeof", "bool",    "true",     "false",    "unix",   "linux",    "int64_t",  "int32_t", "logf",
    "sqrtf",  "fabsf",   "NAN",      "INFINITY", "INLINE", "NULL",     "I",        NULL};

bool c_is_word(const char *name) {
    if (strncmp(name, "moec_", 5) == 0 || strncmp(name, "Moec", 4) == 0 || strncmp(name, "__", 2) == 0)
        return true;
    for (int i = 0; words[i] != NULL; i++) {
        if (strcmp(name, words[i]) == 0)
            return true;
    }
    return false;
}
