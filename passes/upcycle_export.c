/* Names in the exported checkpoint: the export directive's renames, where its layout can hold the model. */
#include <string.h>

#include "passes/upcycle.h"

/* What a model may need beyond topk_then_softmax in every layer; the words of `holds`. */
typedef struct {
    const char *feature;
    bool is_needed;
} Need;

static bool holds(const char *features, const char *feature) {
    size_t n = strlen(feature);
    for (const char *word = features; *word;) {
        size_t n_word = strcspn(word, " ");
        if (n_word == n && strncmp(word, feature, n) == 0)
            return true;
        word += n_word;
        word += strspn(word, " ");
    }
    return false;
}

static bool check_layout(const Upcycle *at, const Directive *layout, bool is_partial) {
    const Attr *attr = attrs_find(&layout->attrs, "holds");
    const char *features = attr && attr->kind == ATTR_STRING ? attr->as.s : "";
    const Need needs[] = {{"softmax_then_topk", at->settings.is_softmax_first},
                          {"shared", at->settings.has_shared},
                          {"partial_layers", is_partial}};
    const char *lacking = NULL;
    for (size_t i = 0; i < sizeof needs / sizeof *needs; i++) {
        if (needs[i].is_needed && !holds(features, needs[i].feature))
            lacking = lacking ? arena_printf(at->arena, "%s, %s", lacking, needs[i].feature) : needs[i].feature;
    }
    if (lacking)
        report_warning(at->reporter, at->module, layout->loc,
                       "export \"%s\" can't hold this model, which needs: %s; the export has moec's own names, and "
                       "nothing else may load it",
                       layout->name, lacking);
    return !lacking;
}

static const char rename_prefix[] = "rename:";

/* The name with the first rule that fits applied. */
static const char *renamed(const Upcycle *at, const Directive *layout, const char *name) {
    size_t n_prefix = sizeof rename_prefix - 1, n_name = strlen(name);
    for (size_t i = 0; i < layout->attrs.n; i++) {
        const Attr *attr = &layout->attrs.items[i];
        if (strncmp(attr->key, rename_prefix, n_prefix) != 0 || attr->kind != ATTR_STRING)
            continue;
        const char *left = attr->key + n_prefix;
        size_t n_left = strlen(left);
        if (n_name >= n_left && strcmp(name + n_name - n_left, left) == 0)
            return arena_printf(at->module->arena, "%.*s%s", (int)(n_name - n_left), name, attr->as.s);
    }
    return name;
}

void upcycle_name_exports(const Upcycle *at, bool is_partial) {
    Module *module = at->module;
    Directive *layout = module_find_directive(module, "export");
    if (!layout)
        return;
    if (!check_layout(at, layout, is_partial)) {
        attrs_set_bool(module->arena, &layout->attrs, "used", false);
        return;
    }
    for (size_t i = 0; i < module->n_states; i++) {
        State *state = module->states[i];
        const Attr *attr = attrs_find(&state->attrs, "export");
        const char *name = attr && attr->kind == ATTR_STRING ? attr->as.s : state->name;
        if (strcmp(state->kind, "weight") == 0)
            attrs_set_string(module->arena, &state->attrs, "export", renamed(at, layout, name));
    }
}
