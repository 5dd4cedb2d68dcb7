/* Text to form: recursive descent over the tokens of ir/lex.h. The first error ends the reading. */
#include <math.h>
#include <string.h>

#include "codegen/form_internal.h"
#include "codegen/form_route.h"
#include "ir/lex.h"
#include "ir/names.h"

typedef struct {
    Lexer lexer;
    Arena *arena;
    Form *form;
} Reader;

/* A body being read: what its %NAMEs are. */
typedef struct {
    FormBody *body;
    Names values; /* name -> instruction */
} BodyReader;

static bool failed(const Reader *reader) {
    return reader->lexer.error != NULL;
}

/* ---- Tokens ---------------------------------------------------------------------------------------------------- */

static bool at_punctuation(const Reader *reader, char c) {
    return reader->lexer.token.kind == TOKEN_PUNCTUATION && reader->lexer.token.text[0] == c;
}

static bool take_punctuation(Reader *reader, char c) {
    bool is_there = at_punctuation(reader, c);
    if (is_there)
        lexer_next(&reader->lexer);
    return is_there;
}

static bool take_word(Reader *reader, const char *word) {
    bool is_there = reader->lexer.token.kind == TOKEN_NAME && strcmp(reader->lexer.token.text, word) == 0;
    if (is_there)
        lexer_next(&reader->lexer);
    return is_there;
}

static void fail_expected(Reader *reader, const char *what) {
    lexer_fail(&reader->lexer, "expected %s, found %s", what, lexer_describe(&reader->lexer));
}

static void expect_punctuation(Reader *reader, char c) {
    if (!take_punctuation(reader, c))
        fail_expected(reader, (const char[]){'\'', c, '\'', '\0'});
}

static void expect_word(Reader *reader, const char *word) {
    if (!take_word(reader, word))
        fail_expected(reader, arena_printf(reader->arena, "'%s'", word));
}

/* "" after a failure. */
static const char *expect_name(Reader *reader, const char *what) {
    const char *text = reader->lexer.token.text;
    if (reader->lexer.token.kind != TOKEN_NAME) {
        fail_expected(reader, what);
        return "";
    }
    lexer_next(&reader->lexer);
    return text;
}

/* `low` after a failure. */
static int64_t expect_integer(Reader *reader, const char *what, int64_t low, int64_t high) {
    const Token *token = &reader->lexer.token;
    if (token->kind != TOKEN_INT || token->integer < low || token->integer > high) {
        fail_expected(reader, what);
        return low;
    }
    int64_t integer = token->integer;
    lexer_next(&reader->lexer);
    return integer;
}

static int64_t expect_extent(Reader *reader) {
    return expect_integer(reader, "a number of elements from 1 to 2^48", 1, MAX_ELEMENTS);
}

static int64_t expect_stride(Reader *reader) {
    return expect_integer(reader, "an integer from 0 to 2^48", 0, MAX_ELEMENTS);
}

/* A position can be counted from before the first. */
static int64_t expect_offset(Reader *reader) {
    return expect_integer(reader, "an integer from -2^48 to 2^48", -MAX_ELEMENTS, MAX_ELEMENTS);
}

/* ---- Names of arguments and indices -------------------------------------------------------------------------------
 */

static uint32_t expect_arg(Reader *reader) {
    int64_t arg = reader->lexer.token.kind == TOKEN_NAME ? form_find_arg(reader->form, reader->lexer.token.text) : -1;
    if (arg < 0) {
        fail_expected(reader, "an argument");
        return FORM_NONE;
    }
    lexer_next(&reader->lexer);
    return (uint32_t)arg;
}

static int find_index(const FormBody *body, const char *name) {
    for (int i = 0; i < body->n_indices; i++) {
        if (strcmp(body->indices[i].name, name) == 0)
            return i;
    }
    return -1;
}

static uint32_t expect_value(Reader *reader, const BodyReader *at) {
    size_t value;
    if (reader->lexer.token.kind != TOKEN_VALUE || !names_find(&at->values, reader->lexer.token.text, &value)) {
        fail_expected(reader, "a value from above");
        return FORM_NONE;
    }
    lexer_next(&reader->lexer);
    return (uint32_t)value;
}

/* "*576", or 1. */
static int64_t read_factor(Reader *reader) {
    return take_punctuation(reader, '*') ? expect_stride(reader) : 1;
}

/* ---- Bodies ------------------------------------------------------------------------------------------------------ */

/* name[offset + %n*stride + index*stride], the name left out where the number itself is meant. */
static void read_map(Reader *reader, const BodyReader *at, bool has_arg, FormAccessMap *map) {
    *map = (FormAccessMap){.gather = FORM_NONE};
    map->arg = has_arg ? expect_arg(reader) : FORM_NONE;
    expect_punctuation(reader, '[');
    do {
        const Token *token = &reader->lexer.token;
        int index = token->kind == TOKEN_NAME ? find_index(at->body, token->text) : -1;
        if (token->kind == TOKEN_INT) {
            map->offset = expect_offset(reader);
        } else if (token->kind == TOKEN_VALUE && map->gather == FORM_NONE) {
            map->gather = expect_value(reader, at);
            map->gather_stride = read_factor(reader);
        } else if (index >= 0 && map->strides[index] == 0) {
            lexer_next(&reader->lexer);
            map->strides[index] = read_factor(reader);
        } else {
            fail_expected(reader, "an offset, or an index that the map does not have yet");
        }
    } while (take_punctuation(reader, '+'));
    expect_punctuation(reader, ']');
}

static void read_operands(Reader *reader, const BodyReader *at, FormInstr *instr) {
    int n = form_instr_n_operands(instr);
    if (n > 0)
        instr->a = expect_value(reader, at);
    if (n > 1) {
        expect_punctuation(reader, ',');
        instr->b = expect_value(reader, at);
    }
    if (n > 2) {
        expect_punctuation(reader, ',');
        instr->c = expect_value(reader, at);
    }
}

static double expect_number(Reader *reader) {
    const Token *token = &reader->lexer.token;
    double number = token->kind == TOKEN_INT ? (double)token->integer : token->number;
    if (take_word(reader, "nan"))
        return (double)NAN;
    if (take_word(reader, "inf"))
        return (double)INFINITY;
    if (token->kind != TOKEN_INT && token->kind != TOKEN_FLOAT)
        fail_expected(reader, "a number");
    else
        lexer_next(&reader->lexer);
    return number;
}

/* What stands right of "%n =". */
static FormInstr read_expression(Reader *reader, const BodyReader *at) {
    FormInstr instr = {.op = FORM_MAP, .a = FORM_NONE, .b = FORM_NONE, .map.gather = FORM_NONE, .divisor = 1};
    static const struct {
        const char *word;
        FormOp op;
    } words[] = {
#define X(id, word, n_operands, has_map) {word, FORM_##id},
        FORM_OPS(X)
#undef X
    };
    bool is_known = reader->lexer.token.kind == TOKEN_NAME && op_parse(reader->lexer.token.text, &instr.map_op) &&
                    op_info(instr.map_op)->class == OP_CLASS_MAP;
    for (size_t i = 0; !is_known && i < sizeof words / sizeof *words; i++) {
        bool is_op = reader->lexer.token.kind == TOKEN_NAME && strcmp(words[i].word, reader->lexer.token.text) == 0;
        is_known = is_op && words[i].op != FORM_MAP && !form_instr_writes(&(FormInstr){.op = words[i].op});
        instr.op = is_known ? words[i].op : FORM_MAP;
    }
    if (!is_known) {
        fail_expected(reader, "an instruction with a value");
        return instr;
    }
    lexer_next(&reader->lexer);
    if (instr.op == FORM_CONST)
        instr.value = expect_number(reader);
    if (instr.op == FORM_SUM)
        instr.result = (int)expect_integer(reader, "a result", 0, FORM_MAX_RESULTS - 1);
    bool is_number =
        instr.op == FORM_INDEX || instr.op == FORM_RESULT || (instr.op == FORM_POSITION && at_punctuation(reader, '['));
    if (form_instr_has_map(&instr))
        read_map(reader, at, !is_number, &instr.map);
    if (instr.op == FORM_POSITION && take_punctuation(reader, '/'))
        instr.divisor = expect_integer(reader, "a divisor", 1, INT32_MAX);
    if (instr.op == FORM_POSITION && take_word(reader, "below"))
        instr.limit = expect_extent(reader);
    if (instr.op == FORM_GROUP) {
        expect_word(reader, "of");
        instr.divisor = expect_extent(reader);
    }
    if (instr.map.gather != FORM_NONE && take_word(reader, "else"))
        instr.a = expect_value(reader, at);
    else
        read_operands(reader, at, &instr);
    return instr;
}

/* After the word: "out[t*576 + d] = %9". */
static FormInstr read_write(Reader *reader, const BodyReader *at, FormOp op) {
    FormInstr instr = {.op = op, .b = FORM_NONE};
    read_map(reader, at, true, &instr.map);
    if (op != FORM_STORE)
        expect_punctuation(reader, '+');
    expect_punctuation(reader, '=');
    read_operands(reader, at, &instr);
    return instr;
}

static void read_value(Reader *reader, BodyReader *at) {
    const char *name = reader->lexer.token.text;
    size_t found;
    if (names_find(&at->values, name, &found)) {
        lexer_fail(&reader->lexer, "%%%s is there twice", name);
        return;
    }
    lexer_next(&reader->lexer);
    expect_punctuation(reader, '=');
    FormInstr instr = read_expression(reader, at);
    if (!failed(reader))
        names_add(&at->values, name, form_add(reader->arena, at->body, instr));
}

/* Instructions up to the '}', which stays. */
static void read_instrs(Reader *reader, FormBody *body) {
    BodyReader at = {.body = body, .values.arena = reader->arena};
    body->yield = FORM_NONE;
    while (!failed(reader) && !at_punctuation(reader, '}') && body->yield == FORM_NONE) {
        bool is_store = take_word(reader, "store"), is_add = !is_store && take_word(reader, "add");
        bool is_scatter = !is_store && !is_add && take_word(reader, "scatter");
        if (is_store || is_add || is_scatter) {
            FormInstr instr = read_write(reader, &at, is_store ? FORM_STORE : is_add ? FORM_ADD : FORM_SCATTER);
            if (!failed(reader))
                form_add(reader->arena, body, instr);
        } else if (reader->lexer.token.kind == TOKEN_VALUE) {
            read_value(reader, &at);
        } else if (take_word(reader, "yield")) {
            body->yield = expect_value(reader, &at);
        } else {
            fail_expected(reader, "an instruction");
        }
    }
}

/* "row t 4096" and "col d 576" lines. */
static void read_indices(Reader *reader, FormBody *body) {
    while (!failed(reader)) {
        bool is_row = take_word(reader, "row"), is_col = !is_row && take_word(reader, "col");
        if (!is_row && !is_col)
            return;
        if (body->n_indices == FORM_MAX_INDICES) {
            lexer_fail(&reader->lexer, "a body has at most %d indices", FORM_MAX_INDICES);
            return;
        }
        FormIndex index = {.name = expect_name(reader, "the index's name"), .is_col = is_col};
        index.extent = expect_extent(reader);
        body->indices[body->n_indices++] = index;
    }
}

/* ---- Products ---------------------------------------------------------------------------------------------------- */

static void read_ragged(Reader *reader) {
    Form *form = reader->form;
    form->ragged = take_word(reader, "rows") ? FORM_RAGGED_ROWS : FORM_RAGGED_K;
    if (form->ragged == FORM_RAGGED_K)
        expect_word(reader, "k");
    expect_word(reader, "groups");
    form->n_groups = expect_extent(reader);
    expect_word(reader, "offsets");
    form->offsets = expect_arg(reader);
}

/* data[offset + g*group_stride + i*stride + k*k_stride] gather positions / divisor packed */
static void read_array(Reader *reader, FormOperand *operand) {
    operand->arg = expect_arg(reader);
    expect_punctuation(reader, '[');
    do {
        int64_t *stride = NULL;
        if (reader->lexer.token.kind == TOKEN_INT)
            operand->offset = expect_stride(reader);
        else if (take_word(reader, "g"))
            stride = &operand->group_stride;
        else if (take_word(reader, "i"))
            stride = &operand->stride;
        else if (take_word(reader, "k"))
            stride = &operand->k_stride;
        else
            fail_expected(reader, "an offset, g, i or k");
        if (stride != NULL)
            *stride = read_factor(reader);
    } while (take_punctuation(reader, '+'));
    expect_punctuation(reader, ']');
    if (take_word(reader, "gather")) {
        operand->gather = expect_arg(reader);
        if (take_punctuation(reader, '/'))
            operand->gather_divisor = expect_integer(reader, "a divisor", 1, INT32_MAX);
    }
    operand->is_packed = take_word(reader, "packed");
}

/* A new operand; NULL after a failure. */
static FormOperand *add_operand(Reader *reader) {
    Form *form = reader->form;
    if (form->n_operands == FORM_MAX_OPERANDS) {
        lexer_fail(&reader->lexer, "a form has at most %d operands", FORM_MAX_OPERANDS);
        return NULL;
    }
    FormOperand *operand = &form->operands[form->n_operands++];
    *operand = (FormOperand){.arg = FORM_NONE, .gather = FORM_NONE, .gather_divisor = 1};
    operand->name = expect_name(reader, "the operand's name");
    return operand;
}

static void read_operand(Reader *reader) {
    FormOperand *operand = add_operand(reader);
    if (operand == NULL)
        return;
    expect_punctuation(reader, '=');
    read_array(reader, operand);
}

/* { row t 64 col n 30 %0 = .. } */
static FormBody *read_inner_body(Reader *reader) {
    FormBody *body = arena_new_of(reader->arena, FormBody);
    expect_punctuation(reader, '{');
    read_indices(reader, body);
    read_instrs(reader, body);
    expect_punctuation(reader, '}');
    return body;
}

static void read_part(Reader *reader) {
    FormOperand *operand = add_operand(reader);
    if (operand == NULL)
        return;
    operand->k_is_major = take_word(reader, "k_major");
    if (!operand->k_is_major)
        expect_word(reader, "k_minor");
    operand->part = read_inner_body(reader);
    operand->stride = operand->k_is_major ? 1 : form_n_cols(operand->part); /* those of the tensor it stands for */
    operand->k_stride = operand->k_is_major ? form_n_cols(operand->part) : 1;
}

static int expect_operand(Reader *reader) {
    const Form *form = reader->form;
    for (int i = 0; i < form->n_operands; i++) {
        if (take_word(reader, form->operands[i].name))
            return i;
    }
    fail_expected(reader, "an operand");
    return 0;
}

static void read_product(Reader *reader) {
    Form *form = reader->form;
    if (form->n_products == FORM_MAX_PRODUCTS) {
        lexer_fail(&reader->lexer, "a form has at most %d products", FORM_MAX_PRODUCTS);
        return;
    }
    FormProduct product = {.result = (int)expect_integer(reader, "a result", 0, FORM_MAX_RESULTS - 1)};
    expect_punctuation(reader, '=');
    product.lhs = expect_operand(reader);
    expect_punctuation(reader, ',');
    product.rhs = expect_operand(reader);
    expect_word(reader, "k");
    product.k = expect_extent(reader);
    if (product.result >= form->n_results)
        form->n_results = product.result + 1;
    form->products[form->n_products++] = product;
}

static void read_products(Reader *reader) {
    if (take_word(reader, "ragged"))
        read_ragged(reader);
    while (!failed(reader)) {
        if (take_word(reader, "operand"))
            read_operand(reader);
        else if (take_word(reader, "part"))
            read_part(reader);
        else
            break;
    }
    while (take_word(reader, "product"))
        read_product(reader);
}

/* ---- Attention --------------------------------------------------------------------------------------------------- */

static int64_t read_size(Reader *reader, const char *word) {
    expect_word(reader, word);
    return expect_extent(reader);
}

static void read_attention(Reader *reader) {
    Form *form = reader->form;
    FormAttention *attention = &form->attention;
    const BodyReader at = {.body = &form->body, .values.arena = reader->arena};
    attention->n_shared = read_size(reader, "shared");
    attention->window = read_size(reader, "window");
    expect_word(reader, "scale");
    attention->scale = expect_number(reader);
    expect_word(reader, "tile");
    attention->tile_queries = read_size(reader, "queries");
    attention->tile_keys = read_size(reader, "keys");
    for (int i = 0; i < form_attention_n_tensors(form) && !failed(reader); i++) {
        bool has_body = take_word(reader, form_attention_is_result(form, i) ? "body" : "part");
        if (!has_body)
            expect_word(reader, "tensor");
        expect_word(reader, form_attention_name(i));
        if (has_body) {
            attention->bodies[i] = read_inner_body(reader);
            continue;
        }
        expect_punctuation(reader, '=');
        read_map(reader, &at, true, &attention->maps[i]);
    }
}

/* ---- Routes ------------------------------------------------------------------------------------------------------ */

static void read_route_result(Reader *reader, FormRouteResult result) {
    uint32_t *arg = &reader->form->route.results[result];
    if (*arg != FORM_NONE)
        lexer_fail(&reader->lexer, "%s is there twice", form_route_word(result));
    *arg = expect_arg(reader);
}

static void read_route_line(Reader *reader) {
    for (int i = 0; i < FORM_ROUTE_RESULT_COUNT; i++) {
        if (take_word(reader, form_route_word((FormRouteResult)i))) {
            read_route_result(reader, (FormRouteResult)i);
            return;
        }
    }
    fail_expected(reader, "a result of a route");
}

/* The body, "top_k 2" or "given experts", "capacity 64", and lines such as "offsets offsets". */
static void read_route(Reader *reader) {
    FormRoute *route = &reader->form->route;
    route->k = 1;
    if (take_word(reader, "given")) {
        route->given = expect_arg(reader);
    } else {
        read_instrs(reader, &reader->form->body);
        expect_word(reader, "top_k");
        route->k = expect_extent(reader);
    }
    if (take_word(reader, "capacity"))
        route->capacity = expect_extent(reader);
    while (!failed(reader) && !at_punctuation(reader, '}'))
        read_route_line(reader);
}

/* ---- Forms ------------------------------------------------------------------------------------------------------- */

static void read_arg(Reader *reader) {
    Form *form = reader->form;
    FormArg arg = {.name = expect_name(reader, "the argument's name")};
    if (reader->lexer.token.kind != TOKEN_NAME || !dtype_parse(reader->lexer.token.text, &arg.dtype))
        fail_expected(reader, "a dtype");
    lexer_next(&reader->lexer);
    expect_punctuation(reader, '[');
    arg.n_elements = expect_extent(reader);
    expect_punctuation(reader, ']');
    if (take_word(reader, "out"))
        arg.access = FORM_OUT;
    else if (take_word(reader, "inout"))
        arg.access = FORM_INOUT;
    else if (!take_word(reader, "in"))
        fail_expected(reader, "in, out or inout");
    arg.is_in_pieces = take_word(reader, "in_pieces");
    arena_push(reader->arena, form->args, form->n_args, form->args_capacity, arg);
}

/* "pieces 4096, 64, 64" */
static void read_pieces(Reader *reader) {
    Form *form = reader->form;
    size_t capacity = 0;
    do
        arena_push(reader->arena, form->pieces, form->n_pieces, capacity, expect_extent(reader));
    while (!failed(reader) && take_punctuation(reader, ','));
}

static void read_form(Reader *reader) {
    Form *form = reader->form;
    expect_word(reader, "form");
    form->name = expect_name(reader, "the form's name");
    form->kind = FORM_KIND_ROWS;
    for (FormKind kind = FORM_KIND_PRODUCT; kind < FORM_N_KINDS && form->kind == FORM_KIND_ROWS; kind++)
        form->kind = take_word(reader, form_kind_word(kind)) ? kind : FORM_KIND_ROWS;
    if (form->kind == FORM_KIND_ROWS)
        expect_word(reader, form_kind_word(form->kind));
    expect_punctuation(reader, '{');
    while (take_word(reader, "arg"))
        read_arg(reader);
    if (take_word(reader, "pieces"))
        read_pieces(reader);
    read_indices(reader, &form->body);
    if (form->kind == FORM_KIND_PRODUCT)
        read_products(reader);
    if (form_is_attention(form))
        read_attention(reader);
    if (form->kind == FORM_KIND_ROUTE)
        read_route(reader);
    else
        read_instrs(reader, &form->body);
    expect_punctuation(reader, '}');
    if (!failed(reader) && reader->lexer.token.kind != TOKEN_END)
        fail_expected(reader, "the end of the text");
}

Form *form_read(Arena *arena, const char *text, size_t n_bytes, const char **error) {
    Reader reader = {.arena = arena, .form = form_new(arena, "")};
    lexer_init(&reader.lexer, arena, text, n_bytes);
    read_form(&reader);
    *error = reader.lexer.error;
    if (*error != NULL)
        return NULL;
    const char *broken = form_verify(arena, reader.form);
    if (broken != NULL)
        *error = arena_printf(arena, "1:1: %s", broken);
    return broken == NULL ? reader.form : NULL;
}
