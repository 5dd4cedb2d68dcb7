/* Attributes: a short list of keys and values in the order they were set. */
#include "ir/ir.h"

#include <assert.h>
#include <math.h>
#include <string.h>

const Attr *attrs_find(const Attrs *attrs, const char *key) {
    for (size_t i = 0; i < attrs->n; i++) {
        if (strcmp(attrs->items[i].key, key) == 0)
            return &attrs->items[i];
    }
    return NULL;
}

int64_t attrs_int(const Attrs *attrs, const char *key, int64_t otherwise) {
    const Attr *attr = attrs_find(attrs, key);
    assert(!attr || attr->kind == ATTR_INT);
    return attr ? attr->as.i : otherwise;
}

double attrs_float(const Attrs *attrs, const char *key, double otherwise) {
    const Attr *attr = attrs_find(attrs, key);
    assert(!attr || attr->kind == ATTR_FLOAT || attr->kind == ATTR_INT);
    if (!attr)
        return otherwise;
    return attr->kind == ATTR_INT ? (double)attr->as.i : attr->as.f;
}

bool attrs_bool(const Attrs *attrs, const char *key, bool otherwise) {
    const Attr *attr = attrs_find(attrs, key);
    assert(!attr || attr->kind == ATTR_BOOL);
    return attr ? attr->as.b : otherwise;
}

const char *attrs_string(const Attrs *attrs, const char *key, const char *otherwise) {
    const Attr *attr = attrs_find(attrs, key);
    assert(!attr || attr->kind == ATTR_STRING);
    return attr ? attr->as.s : otherwise;
}

const int64_t *attrs_ints(const Attrs *attrs, const char *key, int *n) {
    const Attr *attr = attrs_find(attrs, key);
    assert(!attr || attr->kind == ATTR_INTS);
    *n = attr ? attr->as.ints.n : 0;
    return attr ? attr->as.ints.items : NULL;
}

/* The entry of `key`, emptied if it was there, else a new one at the end. */
static Attr *attrs_entry(Arena *arena, Attrs *attrs, const char *key, AttrKind kind) {
    for (size_t i = 0; i < attrs->n; i++) {
        Attr *attr = &attrs->items[i];
        if (strcmp(attr->key, key) == 0) {
            *attr = (Attr){.key = attr->key, .kind = kind};
            return attr;
        }
    }
    Attr attr = {.key = arena_strdup(arena, key), .kind = kind};
    arena_push(arena, attrs->items, attrs->n, attrs->capacity, attr);
    return &attrs->items[attrs->n - 1];
}

void attrs_set_int(Arena *arena, Attrs *attrs, const char *key, int64_t value) {
    attrs_entry(arena, attrs, key, ATTR_INT)->as.i = value;
}

void attrs_set_float(Arena *arena, Attrs *attrs, const char *key, double value) {
    attrs_entry(arena, attrs, key, ATTR_FLOAT)->as.f = value;
}

void attrs_set_bool(Arena *arena, Attrs *attrs, const char *key, bool value) {
    attrs_entry(arena, attrs, key, ATTR_BOOL)->as.b = value;
}

void attrs_set_string(Arena *arena, Attrs *attrs, const char *key, const char *value) {
    char *copy = arena_strdup(arena, value);
    attrs_entry(arena, attrs, key, ATTR_STRING)->as.s = copy;
}

void attrs_set_ints(Arena *arena, Attrs *attrs, const char *key, const int64_t *items, int n) {
    int64_t *copy = arena_array_of(arena, int64_t, n);
    if (n > 0)
        memcpy(copy, items, sizeof *copy * (size_t)n);
    Attr *attr = attrs_entry(arena, attrs, key, ATTR_INTS);
    attr->as.ints.items = copy;
    attr->as.ints.n = n;
}

void attrs_set_loc(Attrs *attrs, const char *key, Loc loc) {
    for (size_t i = 0; i < attrs->n; i++) {
        if (strcmp(attrs->items[i].key, key) == 0)
            attrs->items[i].loc = loc;
    }
}

void attrs_remove(Attrs *attrs, const char *key) {
    size_t n_kept = 0;
    for (size_t i = 0; i < attrs->n; i++) {
        if (strcmp(attrs->items[i].key, key) != 0)
            attrs->items[n_kept++] = attrs->items[i];
    }
    attrs->n = n_kept;
}

/* Sets `key` of `attrs` to a deep copy of the value of `source`. */
static void attrs_set_copy(Arena *arena, Attrs *attrs, const Attr *source) {
    switch (source->kind) {
    case ATTR_STRING:
        attrs_set_string(arena, attrs, source->key, source->as.s);
        break;
    case ATTR_INTS:
        attrs_set_ints(arena, attrs, source->key, source->as.ints.items, source->as.ints.n);
        break;
    case ATTR_INT:
    case ATTR_FLOAT:
    case ATTR_BOOL:
        attrs_entry(arena, attrs, source->key, source->kind)->as = source->as;
        break;
    }
    attrs_set_loc(attrs, source->key, source->loc);
}

Attrs attrs_clone(Arena *arena, const Attrs *attrs) {
    Attrs copy = {.items = arena_array_of(arena, Attr, attrs->n), .capacity = attrs->n};
    for (size_t i = 0; i < attrs->n; i++)
        attrs_set_copy(arena, &copy, &attrs->items[i]);
    return copy;
}

/* All NaNs are one value; 0.0 and -0.0 differ, as they print. */
static bool float_equal(double a, double b) {
    return (isnan(a) && isnan(b)) || (a == b && !signbit(a) == !signbit(b));
}

static bool attr_equal(const Attr *a, const Attr *b) {
    if (strcmp(a->key, b->key) != 0 || a->kind != b->kind)
        return false;
    switch (a->kind) {
    case ATTR_INT:
        return a->as.i == b->as.i;
    case ATTR_FLOAT:
        return float_equal(a->as.f, b->as.f);
    case ATTR_BOOL:
        return a->as.b == b->as.b;
    case ATTR_STRING:
        return strcmp(a->as.s, b->as.s) == 0;
    case ATTR_INTS:
        return a->as.ints.n == b->as.ints.n &&
               (a->as.ints.n == 0 ||
                memcmp(a->as.ints.items, b->as.ints.items, sizeof(int64_t) * (size_t)a->as.ints.n) == 0);
    }
    return false;
}

bool attrs_equal(const Attrs *a, const Attrs *b) {
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++) {
        if (!attr_equal(&a->items[i], &b->items[i]))
            return false;
    }
    return true;
}
