/* Text to module: recursive descent over the tokens of ir/lex.h. The grammar stands in spec/ir.md, "Text form".

   The first error ends the reading. Memory is bounded by a multiple of the text: nothing allocates by a number that the
   text only claims. */
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "ir/block.h"
#include "ir/lex.h"
#include "ir/names.h"
#include "ir/text.h"

typedef struct {
    Lexer lexer;
    Module *module;
    Names values; /* of the graph being read, by the text of the value */
    Value **by_index;
    size_t n_values, values_capacity;
} Reader;

static bool failed(const Reader *reader) {
    return reader->lexer.error != NULL;
}

/* ---- Tokens -------------------------------------------------------------------------------------------------------
 */

static bool at_punctuation(const Reader *reader, char c) {
    return reader->lexer.token.kind == TOKEN_PUNCTUATION && reader->lexer.token.text[0] == c;
}

static bool at_name(const Reader *reader, const char *name) {
    return reader->lexer.token.kind == TOKEN_NAME && strcmp(reader->lexer.token.text, name) == 0;
}

static bool take_punctuation(Reader *reader, char c) {
    bool is_there = at_punctuation(reader, c);
    if (is_there)
        lexer_next(&reader->lexer);
    return is_there;
}

static bool take_name(Reader *reader, const char *name) {
    bool is_there = at_name(reader, name);
    if (is_there)
        lexer_next(&reader->lexer);
    return is_there;
}

static void expect_punctuation(Reader *reader, char c) {
    if (!take_punctuation(reader, c))
        lexer_fail(&reader->lexer, "expected '%c', found %s", c, lexer_describe(&reader->lexer));
}

static void expect_name(Reader *reader, const char *name) {
    if (!take_name(reader, name))
        lexer_fail(&reader->lexer, "expected '%s', found %s", name, lexer_describe(&reader->lexer));
}

/* The text of a token of `kind`, of which `what` is the name in messages; "" after a failure. */
static const char *expect_text(Reader *reader, TokenKind kind, const char *what) {
    if (reader->lexer.token.kind != kind) {
        lexer_fail(&reader->lexer, "expected %s, found %s", what, lexer_describe(&reader->lexer));
        return "";
    }
    const char *text = reader->lexer.token.text;
    lexer_next(&reader->lexer);
    return text;
}

/* Fails at a token that was read before. */
__attribute__((format(printf, 3, 4))) static void fail_at(Reader *reader, Token token, const char *format, ...) {
    if (failed(reader))
        return;
    va_list arguments;
    va_start(arguments, format);
    reader->lexer.token = token;
    lexer_fail(&reader->lexer, "%s", arena_vprintf(reader->module->arena, format, arguments));
    va_end(arguments);
}

/* An integer in [0, limit); 0 after a failure. */
static uint32_t expect_index(Reader *reader, const char *what, uint64_t limit) {
    const Token *token = &reader->lexer.token;
    if (token->kind != TOKEN_INT || token->integer < 0 || (uint64_t)token->integer >= limit) {
        const char *found = lexer_describe(&reader->lexer);
        if (limit > 0)
            lexer_fail(&reader->lexer, "expected %s below %llu, found %s", what, (unsigned long long)limit, found);
        else
            lexer_fail(&reader->lexer, "found %s as %s, and there is none", found, what);
        return 0;
    }
    uint32_t index = (uint32_t)token->integer;
    lexer_next(&reader->lexer);
    return index;
}

/* "@file:line:column", or nothing. */
static Loc read_loc(Reader *reader) {
    Loc loc = {0};
    if (!take_punctuation(reader, '@'))
        return loc;
    loc.file = expect_index(reader, "a file's number", reader->module->n_files);
    expect_punctuation(reader, ':');
    loc.line = expect_index(reader, "a line", UINT32_MAX);
    expect_punctuation(reader, ':');
    loc.column = expect_index(reader, "a column", UINT32_MAX);
    if (!failed(reader) && loc.line == 0)
        lexer_fail(&reader->lexer, "line 0: lines count from 1");
    return loc;
}

/* ---- Attributes ---------------------------------------------------------------------------------------------------
 */

static void read_ints(Reader *reader, Attrs *attrs, const char *key) {
    Arena *arena = reader->module->arena;
    int64_t *items = NULL;
    size_t n = 0, capacity = 0;
    expect_punctuation(reader, '[');
    while (!failed(reader) && !at_punctuation(reader, ']')) {
        if (n > 0)
            expect_punctuation(reader, ',');
        if (reader->lexer.token.kind != TOKEN_INT) {
            lexer_fail(&reader->lexer, "expected an integer, found %s", lexer_describe(&reader->lexer));
            return;
        }
        arena_push(arena, items, n, capacity, reader->lexer.token.integer);
        lexer_next(&reader->lexer);
    }
    expect_punctuation(reader, ']');
    attrs_set_ints(arena, attrs, key, items, (int)n);
}

/* true, false, nan, inf. False: none of them. */
static bool read_word_value(Reader *reader, Attrs *attrs, const char *key) {
    Arena *arena = reader->module->arena;
    if (take_name(reader, "true"))
        attrs_set_bool(arena, attrs, key, true);
    else if (take_name(reader, "false"))
        attrs_set_bool(arena, attrs, key, false);
    else if (take_name(reader, "nan"))
        attrs_set_float(arena, attrs, key, (double)NAN);
    else if (take_name(reader, "inf"))
        attrs_set_float(arena, attrs, key, (double)INFINITY);
    else
        return false;
    return true;
}

static void read_attr_value(Reader *reader, Attrs *attrs, const char *key) {
    Arena *arena = reader->module->arena;
    Token token = reader->lexer.token;
    if (at_punctuation(reader, '[')) {
        read_ints(reader, attrs, key);
    } else if (token.kind == TOKEN_INT) {
        attrs_set_int(arena, attrs, key, token.integer);
        lexer_next(&reader->lexer);
    } else if (token.kind == TOKEN_FLOAT) {
        attrs_set_float(arena, attrs, key, token.number);
        lexer_next(&reader->lexer);
    } else if (token.kind == TOKEN_STRING) {
        attrs_set_string(arena, attrs, key, token.text);
        lexer_next(&reader->lexer);
    } else if (!read_word_value(reader, attrs, key)) {
        lexer_fail(&reader->lexer, "expected a value of '%s', found %s", key, lexer_describe(&reader->lexer));
    }
}

/* "{key = value, ...}", or nothing. */
static Attrs read_attrs(Reader *reader) {
    Attrs attrs = {0};
    if (!take_punctuation(reader, '{'))
        return attrs;
    while (!failed(reader) && !at_punctuation(reader, '}')) {
        if (attrs.n > 0)
            expect_punctuation(reader, ',');
        Token start = reader->lexer.token;
        const char *key = expect_text(reader, start.kind == TOKEN_STRING ? TOKEN_STRING : TOKEN_NAME, "an attribute");
        if (attrs_find(&attrs, key) != NULL)
            fail_at(reader, start, "attribute '%s' is there twice", key);
        expect_punctuation(reader, '=');
        if (failed(reader))
            break;
        read_attr_value(reader, &attrs, key);
        if (at_punctuation(reader, '@'))
            attrs_set_loc(&attrs, key, read_loc(reader));
    }
    expect_punctuation(reader, '}');
    return attrs;
}

/* ---- Types --------------------------------------------------------------------------------------------------------
 */

/* "[~][NAME=]EXTENT", one word. */
static Dim read_dim(Reader *reader) {
    Dim dim = {0};
    Token start = reader->lexer.token;
    const char *word = lexer_take_word(&reader->lexer);
    const char *rest = word + (word[0] == '~');
    dim.is_ragged = word[0] == '~';
    const char *equals = strrchr(rest, '=');
    if (equals != NULL && equals > rest)
        dim.name = arena_strndup(reader->module->arena, rest, (size_t)(equals - rest));
    const char *digits = equals != NULL ? equals + 1 : rest;
    size_t n_digits = strspn(digits, "0123456789");
    bool has_quote = strchr(word, '"') != NULL; /* it would start a string that ends who knows where */
    if (n_digits == 0 || n_digits > 18 || digits[n_digits] != '\0' || equals == rest || has_quote)
        fail_at(reader, start, "expected a dim such as 4, d=64 or ~rows=32, found '%s'", word);
    dim.extent = strtoll(digits, NULL, 10);
    return dim;
}

static Type read_type(Reader *reader) {
    Type type = {0};
    Token start = reader->lexer.token;
    const char *name = expect_text(reader, TOKEN_NAME, "a type");
    if (!dtype_parse(name, &type.dtype))
        fail_at(reader, start, "expected a type, found '%s'", name);
    expect_punctuation(reader, '[');
    while (!failed(reader) && !at_punctuation(reader, ']')) {
        if (type.rank > 0)
            expect_punctuation(reader, ',');
        if (type.rank == MAX_RANK)
            lexer_fail(&reader->lexer, "a tensor has at most %d dims", MAX_RANK);
        else
            type.dims[type.rank++] = read_dim(reader);
    }
    expect_punctuation(reader, ']');
    Arena *arena = reader->module->arena;
    const char *problem = failed(reader) ? NULL : type_check(arena, &type);
    if (problem != NULL)
        fail_at(reader, start, "%s %s", type_format(arena, &type), problem);
    return type;
}

/* ---- Graphs -------------------------------------------------------------------------------------------------------
 */

/* "x.12" -> "x", "12" -> NULL, "x" -> "x". */
static const char *hint_of(Reader *reader, const char *text) {
    const char *number = strrchr(text, '.');
    number = number != NULL ? number + 1 : text;
    bool is_number = number[0] != '\0' && number[strspn(number, "0123456789")] == '\0';
    if (!is_number)
        return text;
    return number > text ? arena_strndup(reader->module->arena, text, (size_t)(number - text) - 1) : NULL;
}

static Value *read_value(Reader *reader) {
    Token token = reader->lexer.token;
    const char *text = expect_text(reader, TOKEN_VALUE, "a value");
    size_t index;
    if (failed(reader))
        return NULL;
    if (!names_find(&reader->values, text, &index)) {
        fail_at(reader, token, "%%%s is used before it is defined", text);
        return NULL;
    }
    return reader->by_index[index];
}

typedef struct {
    const char **names;
    size_t n, capacity;
} ResultNames;

static ResultNames read_result_names(Reader *reader) {
    ResultNames results = {0};
    do {
        const char *name = expect_text(reader, TOKEN_VALUE, "a value");
        arena_push(reader->module->arena, results.names, results.n, results.capacity, name);
    } while (!failed(reader) && take_punctuation(reader, ','));
    return results;
}

static void define_results(Reader *reader, Node *node, const ResultNames *names, Token start) {
    for (size_t i = 0; i < names->n && !failed(reader); i++) {
        if (!names_add(&reader->values, names->names[i], reader->n_values)) {
            fail_at(reader, start, "%%%s is defined twice", names->names[i]);
            return;
        }
        Value *value = &node->results[i];
        value->hint = hint_of(reader, names->names[i]);
        arena_push(reader->module->arena, reader->by_index, reader->n_values, reader->values_capacity, value);
    }
}

typedef struct {
    Value **items;
    size_t n, capacity;
} Operands;

static Operands read_operands(Reader *reader) {
    Operands operands = {0};
    while (!failed(reader) &&
           (operands.n == 0 ? reader->lexer.token.kind == TOKEN_VALUE : take_punctuation(reader, ','))) {
        Value *value = read_value(reader);
        arena_push(reader->module->arena, operands.items, operands.n, operands.capacity, value);
    }
    return operands;
}

typedef struct {
    Type *items;
    size_t n, capacity;
} Types;

static Types read_types(Reader *reader) {
    Types types = {0};
    do {
        Type type = read_type(reader);
        arena_push(reader->module->arena, types.items, types.n, types.capacity, type);
    } while (!failed(reader) && take_punctuation(reader, ','));
    return types;
}

/* "%a, %b = op %c, %d {attributes} : types @loc in scope"; in `block`, which may be NULL, if it computes. */
static void read_node(Reader *reader, Graph *graph, Block *block) {
    Token start = reader->lexer.token;
    ResultNames names = read_result_names(reader);
    expect_punctuation(reader, '=');
    Token op_token = reader->lexer.token;
    const char *op_name = expect_text(reader, TOKEN_NAME, "an op");
    OpKind op = OP_input;
    if (!op_parse(op_name, &op))
        fail_at(reader, op_token, "there is no op '%s'", op_name);
    Operands operands = read_operands(reader);
    Attrs attrs = read_attrs(reader);
    expect_punctuation(reader, ':');
    Types types = read_types(reader);
    Builder builder = {.graph = graph, .loc = read_loc(reader)};
    if (take_name(reader, "in"))
        builder.scope = expect_index(reader, "a scope's number", reader->module->n_scopes);
    if (failed(reader))
        return;
    size_t n_results = (size_t)op_info(op)->n_results;
    if (names.n != n_results || types.n != n_results) {
        fail_at(reader, start, "%s: it has %zu result%s; named here: %zu, with a type: %zu", op_name, n_results,
                n_results == 1 ? "" : "s", names.n, types.n);
        return;
    }
    const char *error;
    Node *node = build_typed(&builder, op, (int)operands.n, operands.items, &attrs, types.items, &error);
    if (node == NULL) {
        fail_at(reader, start, "%s", error);
        return;
    }
    if (node_computes(node))
        node->block = block;
    define_results(reader, node, &names, start);
}

/* "attrs {attributes} { nodes }" after the word kernel. */
static void read_block(Reader *reader, Graph *graph) {
    Token start = reader->lexer.token;
    Block *block = block_new(graph);
    if (take_name(reader, "attrs"))
        block->attrs = read_attrs(reader);
    expect_punctuation(reader, '{');
    bool computes = false;
    while (!failed(reader) && !at_punctuation(reader, '}')) {
        read_node(reader, graph, block);
        computes = computes || (graph->last != NULL && graph->last->block == block);
    }
    expect_punctuation(reader, '}');
    if (!computes)
        fail_at(reader, start, "the kernel computes nothing: it needs a node that is neither leaf nor view");
}

static void read_graph(Reader *reader) {
    const char *name = expect_text(reader, TOKEN_NAME, "a graph's name");
    if (failed(reader))
        return;
    Graph *graph = module_add_graph(reader->module, name);
    if (take_name(reader, "attrs"))
        graph->attrs = read_attrs(reader);
    reader->values = (Names){.arena = reader->module->arena};
    reader->n_values = 0;
    expect_punctuation(reader, '{');
    while (!failed(reader) && !at_punctuation(reader, '}')) {
        if (take_name(reader, "output")) {
            const char *output = expect_text(reader, TOKEN_STRING, "an output's name");
            expect_punctuation(reader, '=');
            Value *value = read_value(reader);
            if (!failed(reader))
                graph_add_output(graph, output, value);
        } else if (take_name(reader, "kernel")) {
            read_block(reader, graph);
        } else {
            read_node(reader, graph, NULL);
        }
    }
    expect_punctuation(reader, '}');
}

/* ---- The rest of a module -----------------------------------------------------------------------------------------
 */

static void read_file(Reader *reader) {
    Token start = reader->lexer.token;
    uint32_t number = expect_index(reader, "a file's number", UINT32_MAX);
    const char *path = expect_text(reader, TOKEN_STRING, "a file's path");
    if (!failed(reader) && (number != reader->module->n_files || module_add_file(reader->module, path) != number))
        fail_at(reader, start, "files count from 0 in order, and no path is there twice");
}

static void read_scope(Reader *reader) {
    Token start = reader->lexer.token;
    uint32_t number = expect_index(reader, "a scope's number", UINT32_MAX);
    Scope scope = {.function = expect_text(reader, TOKEN_STRING, "a function's name")};
    expect_name(reader, "path");
    scope.path = expect_text(reader, TOKEN_STRING, "a path");
    expect_name(reader, "ordinal");
    scope.ordinal = expect_index(reader, "an ordinal", UINT32_MAX);
    expect_name(reader, "parent");
    scope.parent = expect_index(reader, "a parent", (uint64_t)number + (number == 0));
    scope.loc = read_loc(reader);
    if (number != reader->module->n_scopes)
        fail_at(reader, start, "scopes count from 0 in order");
    if (!failed(reader))
        module_add_scope(reader->module, scope);
}

static void read_directive(Reader *reader) {
    const char *kind = expect_text(reader, TOKEN_NAME, "a directive's kind");
    const char *name = expect_text(reader, TOKEN_STRING, "a directive's name");
    Attrs attrs = read_attrs(reader);
    Loc loc = read_loc(reader);
    if (!failed(reader))
        module_add_directive(reader->module, kind, name, loc)->attrs = attrs;
}

static void read_state(Reader *reader) {
    const char *name = expect_text(reader, TOKEN_STRING, "a state's name");
    const char *kind = expect_text(reader, TOKEN_NAME, "a state's kind");
    expect_punctuation(reader, ':');
    Type type = read_type(reader);
    Attrs attrs = read_attrs(reader);
    Loc loc = read_loc(reader);
    if (!failed(reader))
        module_add_state(reader->module, name, kind, &type, loc)->attrs = attrs;
}

static const struct {
    const char *word;
    void (*read)(Reader *);
} parts[] = {
    {"file", read_file},   {"scope", read_scope}, {"directive", read_directive},
    {"state", read_state}, {"graph", read_graph},
};

static void read_part(Reader *reader) {
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (take_name(reader, parts[i].word)) {
            parts[i].read(reader);
            return;
        }
    }
    lexer_fail(&reader->lexer, "expected file, scope, directive, state or graph, found %s",
               lexer_describe(&reader->lexer));
}

Module *module_read(Arena *arena, const char *path, const char *text, size_t n_bytes, const char **error) {
    (void)path;
    Reader reader = {.module = module_new(arena, "")};
    lexer_init(&reader.lexer, arena, text, n_bytes);
    expect_name(&reader, "module");
    reader.module->name = expect_text(&reader, TOKEN_NAME, "the module's name");
    while (!failed(&reader) && reader.lexer.token.kind != TOKEN_END)
        read_part(&reader);
    *error = reader.lexer.error;
    if (*error == NULL) {
        const char *broken = module_verify(reader.module);
        *error = broken != NULL ? arena_printf(arena, "1:1: %s", broken) : NULL;
    }
    return *error == NULL ? reader.module : NULL;
}
