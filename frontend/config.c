#include "frontend/config.h"

#include <math.h>
#include <string.h>

#include "frontend/expression.h"
#include "frontend/lower.h"
#include "frontend/settings.h"

/* ---- JSON ---------------------------------------------------------------------------------------------------------
 */

/* Where one value becomes text; NULL results follow an error. */
typedef struct {
    Lowering lowering; /* no graph: numbers alone, and the variables that values may name */
    Arena *arena;
    Diagnostics *diagnostics;
} Config;

static Config config_new(Program *program) {
    return (Config){.lowering = {.program = program}, .arena = program->arena, .diagnostics = program->diagnostics};
}

static const char *json_string(Arena *arena, const char *text) {
    char *out = arena_alloc(arena, 6 * strlen(text) + 3), *to = out;
    *to++ = '"';
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c < 0x20) {
            to += sprintf(to, "\\u%04x", c);
        } else {
            if (c == '"' || c == '\\')
                *to++ = '\\';
            *to++ = (char)c;
        }
    }
    *to = '"';
    return out;
}

static const char *json_value(Config *config, const Expr *value);

static const char *json_list(Config *config, const Expr *value) {
    const char *text = "[";
    for (size_t i = 0; i < value->n_items; i++) {
        const char *item = json_value(config, value->items[i]);
        if (item == NULL)
            return NULL;
        text = arena_printf(config->arena, "%s%s%s", text, i > 0 ? ", " : "", item);
    }
    return arena_printf(config->arena, "%s]", text);
}

static const char *json_object(Config *config, const Expr *value) {
    const char *text = "{";
    if (!settings_are_unique(config->lowering.program, value->settings, value->n_settings))
        return NULL;
    for (size_t i = 0; i < value->n_settings; i++) {
        const Setting *setting = value->settings[i];
        const char *item = json_value(config, setting->value);
        if (item == NULL)
            return NULL;
        text = arena_printf(config->arena, "%s%s%s: %s", text, i > 0 ? ", " : "",
                            json_string(config->arena, setting->key.text), item);
    }
    return arena_printf(config->arena, "%s}", text);
}

static const char *json_number(Config *config, const Expr *value) {
    Scalar scalar;
    if (!lower_scalar(&config->lowering, value, &scalar))
        return NULL;
    if (scalar.is_integer)
        return arena_printf(config->arena, "%lld", (long long)scalar.size.value);
    if (isfinite(scalar.number)) { /* "8.0", so that it stays a real number */
        const char *text = expression_number_text(config->arena, scalar.number);
        return strpbrk(text, ".e") != NULL ? text : arena_printf(config->arena, "%s.0", text);
    }
    diagnostics_error(config->diagnostics, value->range, "the value is %g, which JSON cannot write", scalar.number);
    return NULL;
}

static bool is_json_word(const Expr *value) {
    return value->kind == EXPR_NAME &&
           (strcmp(value->text, "true") == 0 || strcmp(value->text, "false") == 0 || strcmp(value->text, "null") == 0);
}

static const char *json_value(Config *config, const Expr *value) {
    if (is_json_word(value))
        return value->text;
    switch (value->kind) {
    case EXPR_STRING:
        return json_string(config->arena, value->text);
    case EXPR_LIST:
        return json_list(config, value);
    case EXPR_BLOCK:
        return json_object(config, value);
    case EXPR_RANGE:
    case EXPR_ELLIPSIS:
        diagnostics_error(config->diagnostics, value->range, "config.json has no ranges");
        return NULL;
    default:
        return json_number(config, value);
    }
}

/* ---- Checkpoints --------------------------------------------------------------------------------------------------
 */

static bool read_key(Config *config, const Setting *setting, Attrs *attrs) {
    const char *text = json_value(config, setting->value);
    if (text == NULL)
        return false;
    attrs_set_string(config->arena, attrs, setting->key.text, text);
    attrs_set_loc(attrs, setting->key.text, setting->value->range.begin);
    return true;
}

bool config_read_checkpoint(Program *program, const Clause *clause, Attrs *attrs) {
    Config config = config_new(program);
    bool is_good = settings_are_unique(program, clause->settings, clause->n_settings);
    for (size_t i = 0; i < clause->n_settings; i++)
        is_good = read_key(&config, clause->settings[i], attrs) && is_good;
    return is_good;
}

/* ---- Exports ------------------------------------------------------------------------------------------------------
 */

/* "SUFFIX" = "SUFFIX" */
static bool read_rename(Config *config, const Setting *setting, Attrs *attrs) {
    const Expr *value = setting->value;
    if (setting->key.text[0] == '\0') {
        diagnostics_error(config->diagnostics, setting->key.range,
                          "an empty string ends every name; write the suffix "
                          "that is to be replaced");
        return false;
    }
    if (value->kind != EXPR_STRING) {
        diagnostics_error(config->diagnostics, value->range,
                          "a rename is \"SUFFIX\" = \"SUFFIX\"; a key of config.json stands without quotes");
        return false;
    }
    const char *key = arena_printf(config->arena, "rename:%s", setting->key.text);
    attrs_set_string(config->arena, attrs, key, value->text);
    attrs_set_loc(attrs, key, value->range.begin);
    return true;
}

static const Choice features[] = {{"softmax_then_topk", NULL}, {"shared", NULL}, {"partial_layers", NULL}, {0}};

/* `holds shared` or `holds [shared, partial_layers]`, as blank-separated words. */
static bool read_holds(Config *config, const Setting *setting, Attrs *attrs) {
    static const SettingRow feature = {"holds", setting_word, .choices = features};
    const Expr *value = setting->value;
    size_t n = value->kind == EXPR_LIST ? value->n_items : 1;
    const char *text = "";
    for (size_t i = 0; i < n; i++) {
        Attrs word = {0};
        SettingReader reader = {.program = config->lowering.program, .attrs = &word};
        if (!setting_word(&reader, &feature, value->kind == EXPR_LIST ? value->items[i] : value))
            return false;
        text = arena_printf(config->arena, "%s%s%s", text, i > 0 ? " " : "", attrs_string(&word, "holds", ""));
    }
    attrs_set_string(config->arena, attrs, "holds", text);
    attrs_set_loc(attrs, "holds", value->range.begin);
    return true;
}

/* What the upcycle clause says, as variables; there are none without one. */
static void define_upcycle_names(Config *config, const Attrs *upcycle, bool is_known) {
    static const char *const names[] = {"experts", "top_k", "segments"};
    if (upcycle == NULL)
        return;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        int64_t value = is_known ? attrs_int(upcycle, names[i], 1) : 1;
        Operand operand = operand_number((double)value);
        operand.scalar.is_integer = true;
        operand.scalar.size = size_number(value);
        lower_define(&config->lowering, names[i], (Range){0}, is_known ? operand : operand_poison());
    }
    lower_define(&config->lowering, "balance", (Range){0},
                 is_known ? operand_number(attrs_float(upcycle, "balance", 0.0)) : operand_poison());
}

bool config_read_export(Program *program, const Clause *clause, const Attrs *upcycle, bool is_known, Attrs *attrs) {
    Config config = config_new(program);
    define_upcycle_names(&config, upcycle, is_known);
    bool is_good = settings_are_unique(program, clause->settings, clause->n_settings);
    for (size_t i = 0; i < clause->n_settings; i++) {
        const Setting *setting = clause->settings[i];
        bool is_holds = strcmp(setting->key.text, "holds") == 0;
        is_good = (setting->is_string_key ? read_rename(&config, setting, attrs)
                   : is_holds             ? read_holds(&config, setting, attrs)
                                          : read_key(&config, setting, attrs)) &&
                  is_good;
    }
    return is_good;
}
