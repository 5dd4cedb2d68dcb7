#include "ir/lex.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "ir/text.h"

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_name_character(char c) {
    return c != '\0' && strchr(TEXT_NAME_CHARACTERS, c) != NULL;
}

void lexer_fail(Lexer *lexer, const char *format, ...) {
    if (lexer->error == NULL) {
        va_list arguments;
        va_start(arguments, format);
        lexer->error = arena_printf(lexer->arena, "%u:%u: %s", lexer->token.line, lexer->token.column,
                                    arena_vprintf(lexer->arena, format, arguments));
        va_end(arguments);
    }
    lexer->at = lexer->end;
    lexer->token.kind = TOKEN_END;
}

const char *lexer_describe(const Lexer *lexer) {
    const Token *token = &lexer->token;
    switch (token->kind) {
    case TOKEN_END:
        return "the end of the text";
    case TOKEN_VALUE:
        return arena_printf(lexer->arena, "'%%%s'", token->text);
    case TOKEN_STRING:
        return arena_printf(lexer->arena, "the string \"%s\"", token->text);
    default:
        return arena_printf(lexer->arena, "'%s'", token->text);
    }
}

static void skip_comment(Lexer *lexer) {
    while (lexer->at < lexer->end && *lexer->at != '\n')
        lexer->at++;
}

static void skip_blanks(Lexer *lexer) {
    while (lexer->at < lexer->end) {
        char c = *lexer->at;
        if (c == '#') {
            skip_comment(lexer);
        } else if (c == '\n') {
            lexer->line++;
            lexer->line_start = ++lexer->at;
        } else if (c == ' ' || c == '\t' || c == '\r') {
            lexer->at++;
        } else {
            return;
        }
    }
}

/* The longest run of name characters (and of those in `more`) from the current place on. */
static const char *take_run(Lexer *lexer, const char *more) {
    const char *start = lexer->at;
    while (lexer->at < lexer->end &&
           (is_name_character(*lexer->at) || (*lexer->at != '\0' && strchr(more, *lexer->at) != NULL)))
        lexer->at++;
    return arena_strndup(lexer->arena, start, (size_t)(lexer->at - start));
}

static void lex_number(Lexer *lexer) {
    const char *start = lexer->at;
    lexer->at += *start == '-';
    while (lexer->at < lexer->end && (is_name_character(*lexer->at) || *lexer->at == '.' ||
                                      ((*lexer->at == '-' || *lexer->at == '+') && lexer->at[-1] == 'e')))
        lexer->at++;
    char *text = arena_strndup(lexer->arena, start, (size_t)(lexer->at - start)), *rest;
    Token *token = &lexer->token;
    token->text = text;
    bool is_float = strpbrk(text, ".en") != NULL;
    errno = 0;
    if (is_float)
        token->number = strtod(text, &rest);
    else
        token->integer = strtoll(text, &rest, 10);
    token->kind = is_float ? TOKEN_FLOAT : TOKEN_INT;
    if (*rest != '\0' || strpbrk(text, "xX") != NULL)
        lexer_fail(lexer, "'%s' is not a number", text);
    else if (!is_float && errno == ERANGE)
        lexer_fail(lexer, "%s does not fit 64 bits", text);
}

static int hex_digit(char c) {
    static const char digits[] = "0123456789abcdef";
    const char *found = c != '\0' ? strchr(digits, c) : NULL;
    return found != NULL ? (int)(found - digits) : -1;
}

/* The character after a backslash at `at`; moves past it. -1: none such. */
static int take_escape(Lexer *lexer) {
    char c = '\0';
    if (lexer->at < lexer->end)
        c = *lexer->at++;
    if (c == 'n')
        return '\n';
    if (c == 't')
        return '\t';
    if (c == '"' || c == '\\')
        return c;
    if (c == 'x' && lexer->end - lexer->at >= 2) {
        int high = hex_digit(lexer->at[0]), low = hex_digit(lexer->at[1]);
        lexer->at += 2;
        return high >= 0 && low >= 0 && high + low > 0 ? high * 16 + low : -1;
    }
    return -1;
}

static void lex_string(Lexer *lexer) {
    const char *close = ++lexer->at;
    while (close < lexer->end && *close != '"' && *close != '\n')
        close += *close == '\\' && close + 1 < lexer->end ? 2 : 1;
    char *text = arena_alloc(lexer->arena, (size_t)(close - lexer->at) + 2), *to = text;
    while (lexer->at < lexer->end && *lexer->at != '"' && *lexer->at != '\n') {
        int c = (unsigned char)*lexer->at++;
        if (c == '\\')
            c = take_escape(lexer);
        if (c <= 0) {
            lexer_fail(lexer, "the string has an escape or a zero byte that strings can't have");
            return;
        }
        *to++ = (char)c;
    }
    if (lexer->at >= lexer->end || *lexer->at != '"') {
        lexer_fail(lexer, "the string has no closing quote on its line");
        return;
    }
    lexer->at++;
    lexer->token.kind = TOKEN_STRING;
    lexer->token.text = text;
}

void lexer_next(Lexer *lexer) {
    if (lexer->error != NULL)
        return;
    skip_blanks(lexer);
    Token *token = &lexer->token;
    *token = (Token){.kind = TOKEN_END, .text = "", .line = lexer->line};
    token->column = (uint32_t)(lexer->at - lexer->line_start) + 1;
    if (lexer->at >= lexer->end)
        return;
    char c = *lexer->at;
    bool is_negative = c == '-' && lexer->end - lexer->at >= 2;
    if (is_digit(c) || (is_negative && (is_digit(lexer->at[1]) || lexer->at[1] == 'i'))) {
        lex_number(lexer);
    } else if (is_name_character(c)) {
        token->kind = TOKEN_NAME;
        token->text = take_run(lexer, "");
    } else if (c == '%') {
        lexer->at++;
        token->kind = TOKEN_VALUE;
        token->text = take_run(lexer, ".");
    } else if (c == '"') {
        lex_string(lexer);
    } else {
        token->kind = TOKEN_PUNCTUATION;
        token->text = arena_strndup(lexer->arena, lexer->at++, 1);
    }
}

void lexer_init(Lexer *lexer, Arena *arena, const char *text, size_t n_bytes) {
    *lexer = (Lexer){.arena = arena, .at = text, .end = text + n_bytes, .line_start = text, .line = 1};
    lexer_next(lexer);
}

const char *lexer_take_word(Lexer *lexer) {
    if (lexer->error != NULL)
        return "";
    const char *start = lexer->line_start + lexer->token.column - 1;
    const char *end = start;
    while (end < lexer->end && *end != ',' && *end != ']' && *end != ' ' && *end != '\n' && *end != '\0')
        end++;
    const char *word = arena_strndup(lexer->arena, start, (size_t)(end - start));
    lexer->at = end;
    lexer_next(lexer);
    return word;
}
