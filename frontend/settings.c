#include "frontend/settings.h"

#include <math.h>
#include <string.h>

#include "frontend/expression.h"

static const char *row_attr(const SettingRow *row) {
    return row->attr != NULL ? row->attr : row->key;
}

static size_t count_rows(const SettingRow *rows) {
    size_t n = 0;
    while (rows != NULL && rows[n].key != NULL)
        n++;
    return n;
}

static const SettingRow *find_row(const SettingRow *rows, const char *key) {
    for (size_t i = 0; i < count_rows(rows); i++) {
        if (strcmp(rows[i].key, key) == 0)
            return &rows[i];
    }
    return NULL;
}

static const char **row_keys(Arena *arena, const SettingRow *rows, size_t *n) {
    *n = count_rows(rows);
    const char **keys = arena_array_of(arena, const char *, *n + 1);
    for (size_t i = 0; i < *n; i++)
        keys[i] = rows[i].key;
    return keys;
}

/* "a, b or c", with `last` for "or". */
static const char *join(Arena *arena, const char *const *words, size_t n, const char *last) {
    const char *text = "";
    for (size_t i = 0; i < n; i++)
        text = arena_printf(arena, "%s%s%s", text, i == 0 ? "" : i + 1 == n ? last : ", ", words[i]);
    return text;
}

/* ---- Numbers ------------------------------------------------------------------------------------------------------
 */

static bool is_within(const Limits *limits, double value) {
    bool is_low = limits->excludes_least ? !(value > limits->least) : !(value >= limits->least);
    bool is_high = limits->excludes_most ? !(value < limits->most) : !(value <= limits->most);
    return isfinite(value) && !is_low && !is_high;
}

/* "at least 1", "more than 0 and at most 1"; the bound of all integers only for a number that passes it. */
static const char *limits_text(Arena *arena, const Limits *limits, double number) {
    const char *text =
        arena_printf(arena, "%s %.15g", limits->excludes_least ? "more than" : "at least", limits->least);
    if (limits->most < MAX_ELEMENTS || number > limits->most)
        text =
            arena_printf(arena, "%s and %s %.15g", text, limits->excludes_most ? "less than" : "at most", limits->most);
    return text;
}

static bool check_limits(SettingReader *reader, const SettingRow *row, const Expr *value, double number) {
    if (is_within(&row->limits, number))
        return true;
    Arena *arena = reader->program->arena;
    diagnostics_error(reader->program->diagnostics, value->range, "%s must be %s, and this is %.15g", row->key,
                      limits_text(arena, &row->limits, number), number);
    return false;
}

/* Strings and such are no expressions: one message for all of them. */
static bool read_scalar(SettingReader *reader, const SettingRow *row, const Expr *value, Scalar *out) {
    bool is_expression = value->kind != EXPR_STRING && value->kind != EXPR_LIST && value->kind != EXPR_RANGE &&
                         value->kind != EXPR_BLOCK && value->kind != EXPR_ELLIPSIS;
    if (!is_expression)
        diagnostics_error(reader->program->diagnostics, value->range, "%s must be a number", row->key);
    return is_expression && expression_scalar(reader->program, value, out);
}

/* An integer within the row's limits. */
static bool read_integer(SettingReader *reader, const SettingRow *row, const Expr *value, int64_t *out) {
    Scalar scalar;
    if (!read_scalar(reader, row, value, &scalar))
        return false;
    if (!scalar.is_integer) {
        diagnostics_error(reader->program->diagnostics, value->range, "%s must be an integer, and this is %s", row->key,
                          expression_number_text(reader->program->arena, scalar.number));
        return false;
    }
    *out = scalar.size.value;
    return check_limits(reader, row, value, (double)scalar.size.value);
}

bool setting_integer(SettingReader *reader, const SettingRow *row, const Expr *value) {
    int64_t integer;
    if (!read_integer(reader, row, value, &integer))
        return false;
    attrs_set_int(reader->program->arena, reader->attrs, row_attr(row), integer);
    return true;
}

bool setting_number(SettingReader *reader, const SettingRow *row, const Expr *value) {
    Scalar scalar;
    if (!read_scalar(reader, row, value, &scalar) || !check_limits(reader, row, value, scalar.number))
        return false;
    attrs_set_float(reader->program->arena, reader->attrs, row_attr(row), scalar.number);
    return true;
}

bool setting_number_or_word(SettingReader *reader, const SettingRow *row, const Expr *value) {
    Program *program = reader->program;
    const char *word = row->choices[0].word;
    bool is_name = value->kind == EXPR_NAME, is_word = is_name && strcmp(value->text, word) == 0;
    if (is_name && !is_word && program_find(program, value->text) == NULL) {
        diagnostics_error(program->diagnostics, value->range, "%s must be a number or '%s'%s", row->key, word,
                          spelling_hint(program->arena, value->text, &word, 1));
        return false;
    }
    if (!is_word)
        return setting_number(reader, row, value);
    attrs_set_float(program->arena, reader->attrs, row_attr(row), 0.0);
    return true;
}

/* ---- One setting --------------------------------------------------------------------------------------------------
 */

static bool read_value(SettingReader *reader, const SettingRow *row, const Expr *value) {
    if (!row->read(reader, row, value))
        return false;
    attrs_set_loc(reader->attrs, row_attr(row), value->range.begin);
    return true;
}

/* What the rows say of settings that were not given; `owner` is what needs them. */
static bool read_defaults(SettingReader *reader, const SettingRow *rows, const bool *is_given, const char *owner,
                          Range range) {
    bool is_good = true;
    for (size_t i = 0; i < count_rows(rows); i++) {
        if (is_given[i])
            continue;
        if (rows[i].is_required) {
            diagnostics_error(reader->program->diagnostics, range, "%s needs '%s'", owner, rows[i].key);
            is_good = false;
        } else if (rows[i].otherwise != NULL) {
            Expr value = *rows[i].otherwise;
            value.range = range;
            is_good = read_value(reader, &rows[i], &value) && is_good;
        }
    }
    return is_good;
}

/* ---- Words --------------------------------------------------------------------------------------------------------
 */

/* The row of argument `i` of a call; NULL after an error. */
static const SettingRow *argument_row(SettingReader *reader, const Expr *call, size_t i, const SettingRow *rows) {
    Program *program = reader->program;
    size_t n;
    const char **keys = row_keys(program->arena, rows, &n);
    const SettingRow *row = NULL;
    if (call->keywords[i] != NULL)
        row = find_row(rows, call->keywords[i]);
    else if (i < n)
        row = &rows[i];
    if (row != NULL)
        return row;
    if (n == 0)
        diagnostics_error(program->diagnostics, call->items[i]->range, "'%s' takes no arguments", call->text);
    else if (call->keywords[i] != NULL)
        diagnostics_error(program->diagnostics, call->items[i]->range, "'%s' has no argument '%s'; it has %s",
                          call->text, call->keywords[i], join(program->arena, keys, n, " and "));
    else
        diagnostics_error(program->diagnostics, call->items[i]->range, "'%s' takes at most %zu arguments", call->text,
                          n);
    return NULL;
}

/* The arguments of a word, which may stand without any. */
static bool read_arguments(SettingReader *reader, const Expr *value, const SettingRow *rows) {
    Program *program = reader->program;
    bool *is_given = arena_array_of(program->arena, bool, count_rows(rows) + 1);
    bool is_good = true;
    if (value->kind == EXPR_CALL && value->path != NULL) {
        diagnostics_error(program->diagnostics, value->path_range, "a setting has no path");
        is_good = false;
    }
    for (size_t i = 0; value->kind == EXPR_CALL && i < value->n_items; i++) {
        const SettingRow *row = argument_row(reader, value, i, rows);
        if (row == NULL)
            return false;
        if (is_given[row - rows]) {
            diagnostics_error(program->diagnostics, value->items[i]->range, "'%s' is given twice", row->key);
            return false;
        }
        is_given[row - rows] = true;
        is_good = read_value(reader, row, value->items[i]) && is_good;
    }
    return read_defaults(reader, rows, is_given, arena_printf(program->arena, "'%s'", value->text), value->range) &&
           is_good;
}

/* The choice whose word `value` is, called or not; NULL after an error. */
static const Choice *find_choice(SettingReader *reader, const SettingRow *row, const Expr *value) {
    Arena *arena = reader->program->arena;
    bool is_word = value->kind == EXPR_NAME || value->kind == EXPR_CALL;
    const char **words = NULL;
    size_t n = 0, capacity = 0;
    for (const Choice *choice = row->choices; choice->word != NULL; choice++) {
        if (is_word && strcmp(choice->word, value->text) == 0)
            return choice;
        arena_push(arena, words, n, capacity, choice->word);
    }
    diagnostics_error(reader->program->diagnostics, value->range, "%s must be %s%s", row->key,
                      join(arena, words, n, " or "), is_word ? spelling_hint(arena, value->text, words, n) : "");
    return NULL;
}

bool setting_word(SettingReader *reader, const SettingRow *row, const Expr *value) {
    const Choice *choice = find_choice(reader, row, value);
    if (choice == NULL)
        return false;
    attrs_set_string(reader->program->arena, reader->attrs, row_attr(row), choice->word);
    return read_arguments(reader, value, choice->arguments);
}

bool setting_string(SettingReader *reader, const SettingRow *row, const Expr *value) {
    if (value->kind != EXPR_STRING || value->text[0] == '\0') {
        diagnostics_error(reader->program->diagnostics, value->range, "%s must be a string that is not empty",
                          row->key);
        return false;
    }
    attrs_set_string(reader->program->arena, reader->attrs, row_attr(row), value->text);
    return true;
}

bool setting_size(SettingReader *reader, const SettingRow *row, const Expr *value) {
    Scalar scalar;
    if (!read_scalar(reader, row, value, &scalar))
        return false;
    const char *name = scalar.is_integer ? size_name(&reader->program->atoms, &scalar.size) : NULL;
    if (name == NULL) {
        diagnostics_error(reader->program->diagnostics, value->range,
                          "%s must name a dim, as the model's sizes do, and this is the number %s", row->key,
                          expression_number_text(reader->program->arena, scalar.number));
        return false;
    }
    attrs_set_string(reader->program->arena, reader->attrs, row_attr(row), name);
    return true;
}

/* ---- Layers -------------------------------------------------------------------------------------------------------
 */

static const SettingRow every_arguments[] = {
    {"step", setting_integer, .limits = {.least = 1, .most = MAX_ELEMENTS}, .is_required = true},
    {"from", setting_integer, .limits = {.least = 0, .most = MAX_ELEMENTS}, .otherwise = SETTING_INTEGER_IS(0)},
    {0},
};

static const Choice layer_choices[] = {{"all", NULL}, {"every", every_arguments}, {0}};

/* A .. B as FIRST, END, STEP. */
static bool read_layer_range(SettingReader *reader, const Expr *value, int64_t *layers) {
    static const SettingRow first = {"the first layer", .limits = {.least = 0, .most = MAX_ELEMENTS}};
    SettingRow end = {"the end of the layers", .limits = {.least = 0, .most = MAX_ELEMENTS}};
    if (!read_integer(reader, &first, value->items[0], &layers[0]))
        return false;
    end.limits.least = (double)layers[0] + 1;
    return read_integer(reader, &end, value->items[1], &layers[1]);
}

bool setting_layers(SettingReader *reader, const SettingRow *row, const Expr *value) {
    int64_t layers[] = {0, -1, 1};
    if (value->kind == EXPR_RANGE) {
        if (!read_layer_range(reader, value, layers))
            return false;
    } else if (value->kind == EXPR_NAME || value->kind == EXPR_CALL) {
        SettingRow words = *row;
        words.choices = layer_choices;
        const Choice *choice = find_choice(reader, &words, value);
        Attrs arguments = {0};
        SettingReader inner = {.program = reader->program, .attrs = &arguments};
        if (choice == NULL || !read_arguments(&inner, value, choice->arguments))
            return false;
        layers[0] = attrs_int(&arguments, "from", layers[0]);
        layers[2] = attrs_int(&arguments, "step", layers[2]);
    } else {
        diagnostics_error(reader->program->diagnostics, value->range,
                          "%s must be `all`, a range such as `4 .. 8`, or `every(2, from = 1)`", row->key);
        return false;
    }
    attrs_set_ints(reader->program->arena, reader->attrs, row_attr(row), layers, 3);
    return true;
}

/* ---- Clauses ------------------------------------------------------------------------------------------------------
 */

bool settings_are_unique(Program *program, Setting *const *settings, size_t n) {
    Names names = {.arena = program->arena};
    bool is_good = true;
    for (size_t i = 0; i < n; i++) {
        const Word *key = &settings[i]->key;
        const char *name = arena_printf(program->arena, "%s%s", settings[i]->is_string_key ? "\"" : "", key->text);
        size_t first;
        if (names_add(&names, name, i))
            continue;
        names_find(&names, name, &first);
        diagnostics_error(program->diagnostics, key->range, "'%s' is set twice", key->text);
        diagnostics_note(program->diagnostics, settings[first]->key.range, "it is set here first");
        is_good = false;
    }
    return is_good;
}

Range settings_range(const Clause *clause, const char *key) {
    for (size_t i = 0; i < clause->n_settings; i++) {
        if (!clause->settings[i]->is_string_key && strcmp(clause->settings[i]->key.text, key) == 0)
            return clause->settings[i]->value->range;
    }
    return clause->kind.range;
}

/* The row of a setting; NULL after an error. */
static const SettingRow *setting_row(SettingReader *reader, const Clause *clause, const Setting *setting,
                                     const SettingRow *rows) {
    Program *program = reader->program;
    const SettingRow *row = find_row(rows, setting->key.text);
    if (row != NULL && !setting->is_string_key)
        return row;
    size_t n;
    const char **keys = row_keys(program->arena, rows, &n);
    const char *hint =
        row != NULL ? "; its name stands without quotes" : spelling_hint(program->arena, setting->key.text, keys, n);
    diagnostics_error(program->diagnostics, setting->key.range, "%s has no setting '%s'%s", clause->kind.text,
                      setting->key.text, hint);
    if (hint[0] == '\0')
        diagnostics_note(program->diagnostics, setting->key.range, "it has %s", join(program->arena, keys, n, " and "));
    return NULL;
}

bool settings_read(SettingReader *reader, const Clause *clause, const SettingRow *rows, bool takes_quoted_keys) {
    Program *program = reader->program;
    bool *is_given = arena_array_of(program->arena, bool, count_rows(rows) + 1);
    bool is_good = settings_are_unique(program, clause->settings, clause->n_settings), is_understood = true;
    for (size_t i = 0; i < clause->n_settings; i++) {
        const Setting *setting = clause->settings[i];
        if (setting->is_string_key && takes_quoted_keys)
            continue;
        const SettingRow *row = setting_row(reader, clause, setting, rows);
        if (row != NULL)
            is_given[row - rows] = true;
        is_understood = row != NULL && is_understood;
        is_good = row != NULL && read_value(reader, row, setting->value) && is_good;
    }
    if (!is_understood)
        return false; /* what seems to be missing may be what was misspelt */
    return read_defaults(reader, rows, is_given, clause->kind.text, clause->kind.range) && is_good;
}

void settings_default(SettingReader *reader, const SettingRow *rows) {
    bool *is_given = arena_array_of(reader->program->arena, bool, count_rows(rows) + 1);
    read_defaults(reader, rows, is_given, "", (Range){0});
}
