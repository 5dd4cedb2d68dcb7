/* The upcycle directive: its settings, checked. Text of any origin comes through here, so kinds are checked too. */
#include <math.h>
#include <string.h>

#include "passes/upcycle.h"

typedef struct {
    const char *key;
    AttrKind kind; /* an integer is taken where a float is asked for */
    bool is_required;
} SettingRow;

static const SettingRow setting_rows[] = {
    {"experts", ATTR_INT, true},         {"top_k", ATTR_INT, true},         {"router", ATTR_STRING, false},
    {"router_init", ATTR_STRING, false}, {"router_std", ATTR_FLOAT, false}, {"router_name", ATTR_STRING, false},
    {"capacity", ATTR_FLOAT, false},     {"balance", ATTR_FLOAT, false},    {"z_loss", ATTR_FLOAT, false},
    {"layers", ATTR_INTS, false},        {"init", ATTR_STRING, false},      {"noise", ATTR_FLOAT, false},
    {"drop", ATTR_FLOAT, false},         {"segments", ATTR_INT, false},     {"hidden", ATTR_STRING, false},
    {"shared", ATTR_INT, false},         {"applied", ATTR_BOOL, false},
};

enum { N_SETTING_ROWS = sizeof setting_rows / sizeof *setting_rows };

static const char *const kind_names[] = {
    [ATTR_INT] = "an integer",  [ATTR_FLOAT] = "a number",          [ATTR_BOOL] = "true or false",
    [ATTR_STRING] = "a string", [ATTR_INTS] = "a list of integers",
};

Loc upcycle_setting_loc(const Upcycle *at, const char *key) {
    const Attr *attr = attrs_find(&at->directive->attrs, key);
    return attr && attr->loc.line > 0 ? attr->loc : at->directive->loc;
}

/* Reports an error at a setting; returns false. */
static bool fail(const Upcycle *at, const char *key, const char *format, ...) __attribute__((format(printf, 3, 4)));

static bool fail(const Upcycle *at, const char *key, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    const char *message = arena_vprintf(at->arena, format, arguments);
    va_end(arguments);
    report_error(at->reporter, at->module, upcycle_setting_loc(at, key), "upcycle: %s", message);
    return false;
}

static const SettingRow *find_row(const char *key) {
    for (size_t i = 0; i < N_SETTING_ROWS; i++) {
        if (strcmp(setting_rows[i].key, key) == 0)
            return &setting_rows[i];
    }
    return NULL;
}

static bool check_kinds(const Upcycle *at) {
    const Attrs *attrs = &at->directive->attrs;
    for (size_t i = 0; i < attrs->n; i++) {
        const Attr *attr = &attrs->items[i];
        const SettingRow *row = find_row(attr->key);
        if (!row)
            return fail(at, attr->key, "there is no setting '%s'", attr->key);
        if (attr->kind != row->kind && !(row->kind == ATTR_FLOAT && attr->kind == ATTR_INT))
            return fail(at, attr->key, "%s must be %s, and is %s", attr->key, kind_names[row->kind],
                        kind_names[attr->kind]);
    }
    for (size_t i = 0; i < N_SETTING_ROWS; i++) {
        if (setting_rows[i].is_required && !attrs_find(attrs, setting_rows[i].key))
            return fail(at, "", "%s is missing", setting_rows[i].key);
    }
    return true;
}

/* Whether the setting is absent or one of two words; *is_second says which. */
static bool read_word(const Upcycle *at, const char *key, const char *first, const char *second, bool *is_second) {
    const char *word = attrs_string(&at->directive->attrs, key, first);
    *is_second = strcmp(word, second) == 0;
    return *is_second || strcmp(word, first) == 0 ||
           fail(at, key, "%s is \"%s\"; it can be \"%s\" or \"%s\"", key, word, first, second);
}

/* A number from 0 to `most`. */
static bool read_share(const Upcycle *at, const char *key, double otherwise, double most, double *out) {
    *out = attrs_float(&at->directive->attrs, key, otherwise);
    if (*out >= 0 && *out <= most && isfinite(*out))
        return true;
    return isfinite(most) ? fail(at, key, "%s is %g; it must be from 0 to %g", key, *out, most)
                          : fail(at, key, "%s is %g; it must be at least 0", key, *out);
}

static bool read_experts(Upcycle *at) {
    const Attrs *attrs = &at->directive->attrs;
    UpcycleSettings *settings = &at->settings;
    settings->n_experts = attrs_int(attrs, "experts", 0);
    settings->top_k = attrs_int(attrs, "top_k", 0);
    settings->n_segments = attrs_int(attrs, "segments", 1);
    int64_t n_experts = settings->n_experts, top_k = settings->top_k, n_segments = settings->n_segments;
    int64_t shared = attrs_int(attrs, "shared", 0);
    settings->has_shared = shared == 1;
    settings->hidden = attrs_string(attrs, "hidden", NULL);
    if (n_experts < 1 || n_experts > INT32_MAX)
        return fail(at, "experts", "experts is %lld; it must be at least 1", (long long)n_experts);
    if (top_k < 1 || top_k > n_experts)
        return fail(at, "top_k", "top_k is %lld; it must be from 1 to the %lld experts", (long long)top_k,
                    (long long)n_experts);
    if (n_segments < 1)
        return fail(at, "segments", "segments is %lld; it must be at least 1", (long long)n_segments);
    if (n_experts % n_segments != 0 || top_k % n_segments != 0)
        return fail(at, "segments",
                    "experts (%lld) and top_k (%lld) must be multiples of segments (%lld), so that a token can visit "
                    "all segments of a copy",
                    (long long)n_experts, (long long)top_k, (long long)n_segments);
    if (shared != 0 && shared != 1)
        return fail(at, "shared", "shared is %lld; it can be 0 or 1", (long long)shared);
    return true;
}

static bool read_router(Upcycle *at) {
    const Attrs *attrs = &at->directive->attrs;
    UpcycleSettings *settings = &at->settings;
    bool is_zeros;
    settings->router_init = attrs_string(attrs, "router_init", "normal");
    settings->router_name = attrs_string(attrs, "router_name", "gate.weight");
    return read_word(at, "router", "topk_then_softmax", "softmax_then_topk", &settings->is_softmax_first) &&
           read_word(at, "router_init", "normal", "zeros", &is_zeros) &&
           read_share(at, "router_std", 0.02, INFINITY, &settings->router_std) &&
           (settings->router_name[0] || fail(at, "router_name", "router_name is empty")) &&
           read_share(at, "capacity", 0, INFINITY, &settings->capacity) &&
           read_share(at, "balance", 0, INFINITY, &settings->balance) &&
           read_share(at, "z_loss", 0, INFINITY, &settings->z_loss);
}

static bool read_init(Upcycle *at) {
    UpcycleSettings *settings = &at->settings;
    const char *init = attrs_string(&at->directive->attrs, "init", "replicate");
    bool is_noise = strcmp(init, "noise") == 0, is_drop = strcmp(init, "drop") == 0;
    if (!is_noise && !is_drop && strcmp(init, "replicate") != 0)
        return fail(at, "init", "init is \"%s\"; it can be \"replicate\", \"noise\" or \"drop\"", init);
    if (!read_share(at, "noise", 0, INFINITY, &settings->noise) || !read_share(at, "drop", 0, 1, &settings->drop))
        return false;
    if (!is_noise)
        settings->noise = 0;
    if (!is_drop)
        settings->drop = 0;
    return true;
}

static bool read_layers(Upcycle *at) {
    static const int64_t all[] = {0, -1, 1};
    UpcycleSettings *settings = &at->settings;
    int n;
    const int64_t *given = attrs_ints(&at->directive->attrs, "layers", &n);
    const int64_t *layers = given && n == 3 ? given : all;
    settings->first_layer = layers[0];
    settings->end_layer = layers[1];
    settings->layer_step = layers[2];
    bool is_good = (!given || n == 3) && layers[0] >= 0 && layers[1] >= -1 && layers[2] >= 1;
    return is_good || fail(at, "layers",
                           "layers must be [FIRST, END, STEP]: FIRST at least 0, END -1 for no end, STEP "
                           "at least 1");
}

bool upcycle_read_settings(Upcycle *at) {
    return check_kinds(at) && read_experts(at) && read_router(at) && read_init(at) && read_layers(at);
}
