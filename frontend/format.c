/* The formatter. It prints the tokens of a file anew; the tree only says where statements and settings begin.

   An entry (item, statement, setting) has a line of its own. Its block, if it has one, stays on that line if it stood
   on one line and all of it fits; else each entry in it has a line, indented by two. Entries that are too long break
   after commas and before operators. At most one blank line in a row is kept; comments stay on the line they end, or on
   their own. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "frontend/frontend.h"
#include "frontend/parse.h"
#include "frontend/parser.h"

enum { LIMIT = 120, INDENT = 2, CONTINUATION = 4 };

typedef struct {
    const SourceToken *token;
    bool begins_entry, is_key;
    size_t close; /* of '{': the index of its '}' */
} Mark;

typedef struct {
    FILE *out;
    Mark *marks;
    size_t n;
    size_t column;   /* characters on the line being written */
    bool is_started; /* something was written */
} Formatter;

/* ---- Where entries begin ------------------------------------------------------------------------------------------
 */

static bool is_before(Loc a, Loc b) {
    return a.line != b.line ? a.line < b.line : a.column < b.column;
}

static Mark *mark_at(const Formatter *f, Loc loc) {
    size_t low = 0, high = f->n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (is_before(f->marks[middle].token->range.begin, loc))
            low = middle + 1;
        else
            high = middle;
    }
    return &f->marks[low];
}

static void mark_settings(Formatter *f, Setting *const *settings, size_t n) {
    for (size_t i = 0; i < n; i++) {
        Mark *mark = mark_at(f, settings[i]->key.range.begin);
        mark->begins_entry = true;
        mark->is_key = !settings[i]->is_string_key;
        mark_settings(f, settings[i]->value->settings, settings[i]->value->n_settings);
    }
}

static void mark_statements(Formatter *f, Statement *const *statements, size_t n) {
    for (size_t i = 0; i < n; i++) {
        mark_at(f, statements[i]->range.begin)->begins_entry = true;
        mark_statements(f, statements[i]->body, statements[i]->n_body);
    }
}

static bool begins_item(int kind) {
    static const int kinds[] = {MODEL, IMPORT, SIZE, CONST, FN, UPCYCLE, TRAIN, MESH, CHECKPOINT, EXPORT};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (kinds[i] == kind)
            return true;
    }
    return false;
}

/* Braces, and the items: nothing inside of one begins like one. */
static void mark_tokens(Formatter *f, size_t *open) {
    size_t depth = 0;
    for (size_t i = 0; i < f->n; i++) {
        int kind = f->marks[i].token->kind;
        if (kind == '{')
            open[depth++] = i;
        else if (kind == '}')
            f->marks[open[--depth]].close = i;
        else if (depth == 0 && begins_item(kind))
            f->marks[i].begins_entry = true;
    }
}

static void mark_everything(Formatter *f, Arena *arena, const Parse *parse) {
    f->n = parse->n_tokens;
    f->marks = arena_array_of(arena, Mark, f->n + 1);
    for (size_t i = 0; i < f->n; i++)
        f->marks[i].token = &parse->tokens[i];
    mark_tokens(f, arena_array_of(arena, size_t, f->n + 1));
    for (size_t i = 0; i < parse->tree->n_functions; i++)
        mark_statements(f, parse->tree->functions[i]->body, parse->tree->functions[i]->n_body);
    for (size_t i = 0; i < parse->tree->n_clauses; i++)
        mark_settings(f, parse->tree->clauses[i]->settings, parse->tree->clauses[i]->n_settings);
}

/* ---- Tokens on a line ---------------------------------------------------------------------------------------------
 */

static int kind_at(const Formatter *f, size_t i) {
    return f->marks[i].token->kind;
}

static bool is_comment(const Formatter *f, size_t i) {
    return kind_at(f, i) == TOKEN_COMMENT;
}

static bool is_operator(int kind) {
    return kind == '+' || kind == '-' || kind == '*' || kind == '/';
}

/* Whether token `i` ends an operand, so that a sign after it is between two. */
static bool ends_operand(const Formatter *f, size_t i) {
    int kind = kind_at(f, i);
    return kind == ')' || kind == ']' || kind == INTEGER || kind == FLOAT || kind == STRING ||
           (kind == NAME && !f->marks[i].is_key);
}

static bool is_binary(const Formatter *f, size_t i) {
    return is_operator(kind_at(f, i)) && i > 0 && ends_operand(f, i - 1);
}

/* Whether "(" or "[" at `i` belongs to what stands before it: a call, an index, the dims of a dtype. */
static bool is_attached(const Formatter *f, size_t i) {
    int before = kind_at(f, i - 1);
    return (before == NAME && !f->marks[i - 1].is_key) || before == ')' || before == ']';
}

/* Blanks before token `i`, which is not the first of its line. */
static int blanks_before(const Formatter *f, size_t i) {
    int before = kind_at(f, i - 1), kind = kind_at(f, i);
    if (f->marks[i].begins_entry && before != '{')
        return 2;
    if (before == '(' || before == '[' || kind == ')' || kind == ']' || kind == ',' || kind == ':')
        return 0;
    if (before == '{' && kind == '}')
        return 0;
    if ((kind == '(' || kind == '[') && is_attached(f, i))
        return 0;
    return is_operator(before) && !is_binary(f, i - 1) ? 0 : 1;
}

/* Whether a long line may break before token `i`. */
static bool can_break(const Formatter *f, size_t i) {
    return kind_at(f, i - 1) == ',' || is_binary(f, i) || kind_at(f, i) == INIT;
}

static size_t text_width(const Formatter *f, size_t i) {
    return strlen(f->marks[i].token->text);
}

/* Columns of tokens begin .. end-1 on one line. */
static size_t width(const Formatter *f, size_t begin, size_t end) {
    size_t n = 0;
    for (size_t i = begin; i < end; i++)
        n += text_width(f, i) + (i > begin ? (size_t)blanks_before(f, i) : 0);
    return n;
}

static void begin_line(Formatter *f, size_t indent, bool with_blank_line) {
    if (f->is_started)
        fputs(with_blank_line ? "\n\n" : "\n", f->out);
    fprintf(f->out, "%*s", (int)indent, "");
    f->column = indent;
    f->is_started = true;
}

static void put_token(Formatter *f, size_t i, int blanks) {
    const char *text = f->marks[i].token->text;
    size_t n = text_width(f, i);
    while (is_comment(f, i) && n > 0 && strchr(" \t\r", text[n - 1]) != NULL)
        n--;
    fprintf(f->out, "%*s%.*s", blanks, "", (int)n, text);
    f->column += (size_t)blanks + n;
}

/* Whether token `i`, a comment, stands on the line that what is before it ends. */
static bool is_trailing(const Formatter *f, size_t i) {
    return i > 0 && f->marks[i - 1].token->range.end_line == f->marks[i].token->range.begin.line;
}

/* Columns up to the next place to break. */
static size_t unbroken_width(const Formatter *f, size_t i, size_t end) {
    size_t stop = i + 1;
    while (stop < end && !is_comment(f, stop) && !can_break(f, stop))
        stop++;
    return (size_t)blanks_before(f, i) + width(f, i, stop);
}

/* Tokens begin .. end-1 as one entry, or as its part before the block, on a line that has been begun. */
static void put_line(Formatter *f, size_t begin, size_t end, size_t indent) {
    put_token(f, begin, 0);
    for (size_t i = begin + 1; i < end; i++) {
        if (is_comment(f, i) && is_trailing(f, i)) {
            put_token(f, i, 2);
            continue;
        }
        bool is_too_long = can_break(f, i) && f->column + unbroken_width(f, i, end) > LIMIT;
        bool breaks = is_comment(f, i) || is_comment(f, i - 1) || is_too_long;
        if (breaks)
            begin_line(f, indent + CONTINUATION, false);
        put_token(f, i, breaks ? 0 : blanks_before(f, i));
    }
}

/* ---- Entries ------------------------------------------------------------------------------------------------------
 */

/* The block that ends the entry of tokens begin .. end-1: the index of its '{'; false if it has none. */
static bool find_block(const Formatter *f, size_t begin, size_t end, size_t *open) {
    for (size_t i = begin; i < end; i++) {
        if (kind_at(f, i) == '{') {
            *open = i;
            return true;
        }
    }
    return false;
}

/* Where the entry that begins at token `begin` ends; comments after it are not part of it. */
static size_t entry_end(const Formatter *f, size_t begin, size_t end) {
    size_t i = begin;
    do
        i = kind_at(f, i) == '{' ? f->marks[i].close + 1 : i + 1;
    while (i < end && !f->marks[i].begins_entry);
    while (is_comment(f, i - 1))
        i--;
    return i;
}

static bool stays_on_one_line(const Formatter *f, size_t begin, size_t open, size_t end, size_t indent) {
    uint32_t line = f->marks[open].token->range.begin.line, last = f->marks[end - 1].token->range.begin.line;
    for (size_t i = begin; i < open; i++) {
        if (is_comment(f, i))
            return false;
    }
    return open + 2 == end || (line == last && indent + width(f, begin, end) <= LIMIT);
}

static void put_entries(Formatter *f, size_t begin, size_t end, size_t indent);

/* Nesting is as deep as the parser's limit at most. */
static void put_entry(Formatter *f, size_t begin, size_t end, size_t indent) {
    size_t open;
    if (!find_block(f, begin, end, &open) || stays_on_one_line(f, begin, open, end, indent)) {
        put_line(f, begin, end, indent);
        return;
    }
    put_line(f, begin, open + 1, indent);
    put_entries(f, open + 1, end - 1, indent + INDENT);
    begin_line(f, indent, false);
    put_token(f, end - 1, 0);
}

/* Tokens begin .. end-1: the whole file, or what stands between two braces. */
static void put_entries(Formatter *f, size_t begin, size_t end, size_t indent) {
    for (size_t i = begin, next; i < end; i = next) {
        next = is_comment(f, i) ? i + 1 : entry_end(f, i, end);
        if (is_comment(f, i) && is_trailing(f, i)) {
            put_token(f, i, 2);
            continue;
        }
        const SourceToken *token = f->marks[i].token;
        bool has_blank_line = i > begin && token->range.begin.line > f->marks[i - 1].token->range.end_line + 1;
        begin_line(f, indent, has_blank_line);
        if (is_comment(f, i))
            put_token(f, i, 0);
        else
            put_entry(f, i, next, indent);
    }
}

/* ---- Files --------------------------------------------------------------------------------------------------------
 */

/* The canonical text, and what the file has now; NULL after an error. */
static const char *format_file(const char *path, Diagnostics *diagnostics, const Source **source, size_t *n_bytes) {
    Arena *arena = diagnostics_arena(diagnostics);
    char *text;
    if (!sources_read(arena, path, &text, n_bytes)) {
        diagnostics_error(diagnostics, (Range){0}, "cannot read %s: %s", path, strerror(errno));
        return NULL;
    }
    uint32_t file = sources_add(arena, diagnostics_sources(diagnostics), path, text, *n_bytes);
    Parse parse = {.keeps_tokens = true};
    if (!parse_source(&parse, arena, diagnostics, file))
        return NULL;
    char *out = NULL;
    Formatter f = {.out = open_memstream(&out, n_bytes)};
    if (f.out == NULL) {
        diagnostics_error(diagnostics, (Range){0}, "cannot format %s: %s", path, strerror(errno));
        return NULL;
    }
    mark_everything(&f, arena, &parse);
    put_entries(&f, 0, f.n, 0);
    if (f.is_started)
        fputc('\n', f.out);
    fclose(f.out);
    const char *copy = arena_strndup(arena, out, *n_bytes);
    free(out);
    *source = &diagnostics_sources(diagnostics)->items[file];
    return copy;
}

bool frontend_format(FILE *out, const char *path, Diagnostics *diagnostics) {
    const Source *source;
    size_t n_bytes;
    const char *text = format_file(path, diagnostics, &source, &n_bytes);
    if (text != NULL)
        fwrite(text, 1, n_bytes, out);
    return text != NULL;
}

/* Writes a sibling of the file, with its permissions, and renames it; errno on failure. */
static bool replace_file(Arena *arena, const char *path, const char *text, size_t n_bytes) {
    struct stat about;
    const char *temporary = arena_printf(arena, "%s.tmp-%ld", path, (long)getpid());
    FILE *file = stat(path, &about) == 0 ? fopen(temporary, "wx") : NULL;
    if (file == NULL)
        return false;
    bool is_written = fwrite(text, 1, n_bytes, file) == n_bytes && fchmod(fileno(file), about.st_mode) == 0 &&
                      fflush(file) == 0 && fsync(fileno(file)) == 0;
    is_written = fclose(file) == 0 && is_written;
    if (is_written && rename(temporary, path) == 0)
        return true;
    int code = errno;
    unlink(temporary);
    errno = code;
    return false;
}

bool frontend_format_in_place(const char *path, Diagnostics *diagnostics) {
    const Source *source;
    size_t n_bytes;
    const char *text = format_file(path, diagnostics, &source, &n_bytes);
    if (text == NULL)
        return false;
    if (source->n_bytes == n_bytes && memcmp(source->text, text, n_bytes) == 0)
        return true;
    char *target = realpath(path, NULL); /* a link stays one */
    bool is_replaced = target != NULL && replace_file(diagnostics_arena(diagnostics), target, text, n_bytes);
    if (!is_replaced)
        diagnostics_error(diagnostics, (Range){0}, "cannot write %s: %s", path, strerror(errno));
    free(target);
    return is_replaced;
}
