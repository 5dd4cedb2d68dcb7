/* Text to tree: what scanner.l, parser.y and their callers share. */
#ifndef MOEC_FRONTEND_PARSE_H
#define MOEC_FRONTEND_PARSE_H

#include "frontend/ast.h"
#include "frontend/diagnostics.h"

/* A token or a comment, for the formatter. */
typedef struct {
    int kind; /* of the grammar; TOKEN_COMMENT */
    Range range;
    const char *text;
} SourceToken;

enum { TOKEN_COMMENT = -1 };

/* The state of one parse. */
typedef struct {
    Arena *arena;
    Diagnostics *diagnostics;
    uint32_t file;
    uint32_t line, column; /* of the next character */
    int depth;             /* of nested brackets */
    bool is_cut;           /* the scanner has refused the rest of the text, and said why */
    File *tree;
    /* All tokens and comments in order, where they are asked for. */
    bool keeps_tokens;
    SourceToken *tokens;
    size_t n_tokens, tokens_capacity;
} Parse;

/* Brackets nested deeper than this are refused: the stacks of the parser and of everything after it are finite. So are
   longer names, which everything after it compares. */
enum { PARSE_MAX_DEPTH = 200, PARSE_MAX_NAME = 200 };

/* Parses source `file` of the diagnostics' sources into parse->tree. False after an error; the tree then holds what
   could be understood. */
bool parse_source(Parse *parse, Arena *arena, Diagnostics *diagnostics, uint32_t file);

#endif
