#include "frontend/diagnostics.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    ReportKind kind;
    Range range;
    const char *text;
    size_t order; /* of the error or warning that it is or belongs to */
} Message;

struct Diagnostics {
    Reporter reporter; /* first, so that a Reporter of ours is a Diagnostics */
    Arena *arena;
    FILE *out;
    bool is_colored;
    Sources sources;
    Message *messages;
    size_t n, capacity;
    bool is_dropping; /* the last message was a repetition: its notes go too */
};

/* Errors after these are only counted: a file that is no model at all has one on every line. */
enum { MAX_GATHERED = 1000 };

static const struct {
    const char *name, *color;
} kinds[] = {
    [REPORT_ERROR] = {"error", "\033[1;31m"},
    [REPORT_WARNING] = {"warning", "\033[1;35m"},
    [REPORT_NOTE] = {"note", "\033[1;36m"},
};

/* ---- Gathering ----------------------------------------------------------------------------------------------------
 */

/* Whether one of the messages from `first` on says this about the same place. */
static bool is_repetition(const Diagnostics *d, size_t first, Range range, const char *text) {
    for (size_t i = first; i < d->n; i++) {
        const Range *other = &d->messages[i].range;
        if (other->begin.file == range.begin.file && other->begin.line == range.begin.line &&
            other->begin.column == range.begin.column && strcmp(d->messages[i].text, text) == 0)
            return true;
    }
    return false;
}

static void gather(Diagnostics *d, ReportKind kind, Range range, const char *text) {
    if (d->reporter.n_errors >= MAX_GATHERED) {
        d->reporter.n_errors += kind == REPORT_ERROR;
        return;
    }
    Message message = {.kind = kind, .range = range, .text = text, .order = d->n};
    if (kind == REPORT_NOTE && d->n > 0)
        message.order = d->messages[d->n - 1].order;
    bool repeats = is_repetition(d, kind == REPORT_NOTE ? message.order : 0, range, text);
    if (kind != REPORT_NOTE)
        d->is_dropping = repeats;
    if (d->is_dropping || repeats)
        return;
    arena_push(d->arena, d->messages, d->n, d->capacity, message);
    d->reporter.n_errors += kind == REPORT_ERROR;
}

#define GATHER(kind)                                                                                                   \
    va_list arguments;                                                                                                 \
    va_start(arguments, format);                                                                                       \
    gather(diagnostics, kind, range, arena_vprintf(diagnostics->arena, format, arguments));                            \
    va_end(arguments)

void diagnostics_error(Diagnostics *diagnostics, Range range, const char *format, ...) {
    GATHER(REPORT_ERROR);
}

void diagnostics_warning(Diagnostics *diagnostics, Range range, const char *format, ...) {
    GATHER(REPORT_WARNING);
}

void diagnostics_note(Diagnostics *diagnostics, Range range, const char *format, ...) {
    GATHER(REPORT_NOTE);
}

static bool is_word_character(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.';
}

/* The range of the token at `loc`: a string up to its quote, a word, or one character. */
static Range token_at(Diagnostics *d, Loc loc) {
    Range range = {.begin = loc, .end_line = loc.line, .end_column = loc.column + 1};
    if (loc.line == 0 || loc.file >= d->sources.n)
        return range;
    const char *line = source_line(d->arena, &d->sources.items[loc.file], loc.line);
    if (loc.column == 0 || loc.column > strlen(line))
        return range;
    const char *start = line + loc.column - 1, *end = start + 1;
    if (*start == '"')
        end = strchr(end, '"') != NULL ? strchr(end, '"') + 1 : end;
    else
        while (is_word_character(*start) && is_word_character(*end))
            end++;
    range.end_column = loc.column + (uint32_t)(end - start);
    return range;
}

static void emit(Reporter *self, ReportKind kind, const Module *module, Loc loc, const char *message) {
    (void)module; /* its files are ours */
    Diagnostics *d = (Diagnostics *)self;
    d->reporter.n_errors -= kind == REPORT_ERROR; /* gather counts too */
    gather(d, kind, token_at(d, loc), arena_strdup(d->arena, message));
}

Diagnostics *diagnostics_new(Arena *arena, FILE *out, DiagnosticsColor color) {
    Diagnostics *d = arena_new_of(arena, Diagnostics);
    d->reporter.emit = emit;
    d->arena = arena;
    d->out = out;
    bool is_wanted = isatty(fileno(out)) != 0 && getenv("NO_COLOR") == NULL;
    d->is_colored = color == DIAGNOSTICS_COLOR_ALWAYS || (color == DIAGNOSTICS_COLOR_AUTO && is_wanted);
    return d;
}

Arena *diagnostics_arena(const Diagnostics *diagnostics) {
    return diagnostics->arena;
}

Sources *diagnostics_sources(Diagnostics *diagnostics) {
    return &diagnostics->sources;
}

int diagnostics_errors(const Diagnostics *diagnostics) {
    return diagnostics->reporter.n_errors;
}

Reporter *diagnostics_reporter(Diagnostics *diagnostics) {
    return &diagnostics->reporter;
}

/* ---- Printing -----------------------------------------------------------------------------------------------------
 */

static void print_colored(const Diagnostics *d, const char *color, const char *text) {
    if (d->is_colored)
        fprintf(d->out, "%s%s\033[0m", color, text);
    else
        fputs(text, d->out);
}

static bool is_inside_character(char c) {
    return ((unsigned char)c & 0xc0) == 0x80;
}

/* The part of a line that a message shows, and the columns of its place in it, counted from 1. */
typedef struct {
    const char *before, *text, *after; /* `before` and `after`: "..." where there is more */
    uint32_t column, end_column;
} Excerpt;

enum { MAX_EXCERPT = 200, MAX_BEFORE = 80 };

/* All of the line, or of a longer one what stands around the place. */
static Excerpt excerpt_of(Arena *arena, const char *line, uint32_t column, uint32_t end_column) {
    size_t n = strlen(line), start = 0;
    Excerpt excerpt = {.before = "", .text = line, .after = "", .column = column, .end_column = end_column};
    if (n <= MAX_EXCERPT)
        return excerpt;
    if (column > MAX_BEFORE)
        start = column - MAX_BEFORE < n ? column - MAX_BEFORE : n; /* a NUL in the line ends its text early */
    while (start > 0 && start < n && is_inside_character(line[start]))
        start--;
    size_t end = start + MAX_EXCERPT < n ? start + MAX_EXCERPT : n;
    while (end < n && is_inside_character(line[end]))
        end++;
    excerpt.before = start > 0 ? "..." : "";
    excerpt.text = arena_strndup(arena, line + start, end - start);
    excerpt.after = end < n ? "..." : "";
    excerpt.column = column - (uint32_t)start;
    excerpt.end_column = end_column - (uint32_t)start;
    return excerpt;
}

/* The caret line below an excerpt: tabs stay tabs and the bytes of one UTF-8 character take one column. */
static void print_caret(const Diagnostics *d, const Excerpt *excerpt) {
    size_t n = strlen(excerpt->text);
    char *text = arena_alloc(d->arena, n + (size_t)excerpt->column + 2), *to = text;
    uint32_t i = 1;
    for (; i < excerpt->column; i++) {
        char c = ' ';
        if (i <= n)
            c = excerpt->text[i - 1];
        if (!is_inside_character(c))
            *to++ = c == '\t' ? '\t' : ' ';
    }
    fprintf(d->out, "%*s%s", (int)strlen(excerpt->before), "", text);
    to = text;
    *to++ = '^';
    for (i = excerpt->column + 1; i < excerpt->end_column && i <= n; i++) {
        if (!is_inside_character(excerpt->text[i - 1]))
            *to++ = '~';
    }
    *to = '\0';
    print_colored(d, "\033[1;32m", text);
    putc('\n', d->out);
}

static void print_message(Diagnostics *d, const Message *message) {
    Loc loc = message->range.begin;
    bool has_place = loc.line > 0 && loc.file < d->sources.n;
    if (has_place)
        fprintf(d->out, "%s:%u:%u: ", d->sources.items[loc.file].path, loc.line, loc.column);
    else
        fputs("moec: ", d->out);
    print_colored(d, kinds[message->kind].color, kinds[message->kind].name);
    fprintf(d->out, ": %s\n", message->text);
    if (!has_place)
        return;
    const char *line = source_line(d->arena, &d->sources.items[loc.file], loc.line);
    bool ends_here = message->range.end_line == loc.line;
    uint32_t end_column = ends_here ? message->range.end_column : (uint32_t)strlen(line) + 1;
    Excerpt excerpt = excerpt_of(d->arena, line, loc.column, end_column);
    fprintf(d->out, "%s%s%s\n", excerpt.before, excerpt.text, excerpt.after);
    print_caret(d, &excerpt);
}

/* The order of the source: the place of the error, then the order in which they were found. */
typedef struct {
    Loc loc;
    size_t order; /* the index of the message, which its notes follow */
} Key;

static int compare_keys(const void *a_pointer, const void *b_pointer) {
    const Key *a = a_pointer, *b = b_pointer;
    if (a->loc.file != b->loc.file)
        return a->loc.file < b->loc.file ? -1 : 1;
    if (a->loc.line != b->loc.line)
        return a->loc.line < b->loc.line ? -1 : 1;
    if (a->loc.column != b->loc.column)
        return a->loc.column < b->loc.column ? -1 : 1;
    return a->order < b->order ? -1 : a->order > b->order;
}

void diagnostics_flush(Diagnostics *diagnostics) {
    Diagnostics *d = diagnostics;
    Key *keys = arena_array_of(d->arena, Key, d->n + 1);
    size_t n_keys = 0;
    for (size_t i = 0; i < d->n; i++) {
        if (d->messages[i].order == i)
            keys[n_keys++] = (Key){.loc = d->messages[i].range.begin, .order = i};
    }
    qsort(keys, n_keys, sizeof *keys, compare_keys);
    int n_errors = 0;
    for (size_t k = 0; k < n_keys; k++) {
        size_t i = keys[k].order;
        n_errors += d->messages[i].kind == REPORT_ERROR;
        if (n_errors > DIAGNOSTICS_MAX_ERRORS)
            break;
        for (size_t j = i; j < d->n && (j == i || d->messages[j].order == i); j++)
            print_message(d, &d->messages[j]);
    }
    if (d->reporter.n_errors > DIAGNOSTICS_MAX_ERRORS)
        fprintf(d->out, "moec: %d more errors are not shown\n", d->reporter.n_errors - DIAGNOSTICS_MAX_ERRORS);
    d->n = 0;
}

/* ---- Spelling -----------------------------------------------------------------------------------------------------
 */

enum { MAX_SPELLING = 64 };

/* Edits (insert, delete, replace, swap of neighbours) from `a` to `b`: Damerau's distance, restricted. */
static size_t edit_distance(const char *a, const char *b) {
    size_t n = strlen(a), m = strlen(b);
    if (n > MAX_SPELLING || m > MAX_SPELLING)
        return SIZE_MAX;
    size_t rows[3][MAX_SPELLING + 1];
    for (size_t j = 0; j <= m; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t *row = rows[i % 3], *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t best = above[j - 1] + (a[i - 1] != b[j - 1]);
            best = above[j] + 1 < best ? above[j] + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            bool is_swap = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            row[j] = is_swap && above2[j - 2] + 1 < best ? above2[j - 2] + 1 : best;
        }
    }
    return rows[n % 3][m];
}

/* The candidate that is most like `name`, if one is near enough; else NULL. */
static const char *spelling_suggest(const char *name, const char *const *candidates, size_t n) {
    const char *best = NULL;
    size_t limit = strlen(name) / 3 + 1, best_distance = limit + 1;
    for (size_t i = 0; i < n; i++) {
        size_t distance = edit_distance(name, candidates[i]);
        if (distance < best_distance && distance < strlen(name)) {
            best = candidates[i];
            best_distance = distance;
        }
    }
    return best;
}

const char *spelling_hint(Arena *arena, const char *name, const char *const *candidates, size_t n) {
    const char *best = spelling_suggest(name, candidates, n);
    return best != NULL ? arena_printf(arena, "; did you mean '%s'?", best) : "";
}
