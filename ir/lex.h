/* Tokens of the IR's text form. */
#ifndef MOEC_IR_LEX_H
#define MOEC_IR_LEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ir/arena.h"

typedef enum { TOKEN_END, TOKEN_NAME, TOKEN_VALUE, TOKEN_INT, TOKEN_FLOAT, TOKEN_STRING, TOKEN_PUNCTUATION } TokenKind;

typedef struct {
    TokenKind kind;
    const char *text; /* of a name, a value (without its '%'), a string (unescaped); the character of punctuation */
    int64_t integer;
    double number;
    uint32_t line, column;
} Token;

typedef struct {
    Arena *arena;
    const char *at, *end, *line_start;
    uint32_t line;
    Token token;       /* the current one */
    const char *error; /* the first, "line:column: reason", or NULL; the current token is then TOKEN_END for good */
} Lexer;

/* Starts on the first token. */
void lexer_init(Lexer *lexer, Arena *arena, const char *text, size_t n_bytes);
void lexer_next(Lexer *lexer);

/* Fails at the current token. */
void lexer_fail(Lexer *lexer, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What the current token is, for messages: "'graph'", "the end of the text". */
const char *lexer_describe(const Lexer *lexer);

/* The characters of the current token (a name, an integer or '~') and all after it up to a blank, ',' or ']', as one
   word: a dim. The token that follows becomes the current one. */
const char *lexer_take_word(Lexer *lexer);

#endif
