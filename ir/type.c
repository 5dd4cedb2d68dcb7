/* Element types and tensor types. */
#include "ir/ir.h"

#include <assert.h>
#include <string.h>

static const struct {
    const char *name;
    size_t n_bytes;
} dtype_table[DTYPE_COUNT] = {
#define X(id, name, size) [DTYPE_##id] = {name, size},
    DTYPES(X)
#undef X
};

const char *dtype_name(DType dtype) {
    return dtype_table[dtype].name;
}

size_t dtype_size(DType dtype) {
    return dtype_table[dtype].n_bytes;
}

bool dtype_parse(const char *name, DType *out) {
    for (int i = 0; i < DTYPE_COUNT; i++) {
        if (strcmp(name, dtype_table[i].name) == 0) {
            *out = (DType)i;
            return true;
        }
    }
    return false;
}

bool dtype_is_float(DType dtype) {
    return dtype != DTYPE_I32;
}

int64_t type_extent(const Type *type, int i) {
    return type->dims[i < 0 ? type->rank + i : i].extent;
}

int64_t type_span(const Type *type, int first, int end) {
    int64_t span = 1;
    for (int i = first; i < end; i++)
        span *= type->dims[i].extent;
    return span;
}

int64_t type_n_elements(const Type *type) {
    return type_span(type, 0, type->rank);
}

int64_t type_n_bytes(const Type *type) {
    return type_n_elements(type) * (int64_t)dtype_size(type->dtype);
}

void type_strides(const Type *type, int64_t *strides) {
    int64_t stride = 1;
    for (int i = type->rank - 1; i >= 0; i--) {
        strides[i] = stride;
        stride *= type->dims[i].extent;
    }
}

bool dim_equal(const Dim *a, const Dim *b) {
    return a->extent == b->extent && a->is_ragged == b->is_ragged;
}

bool type_equal(const Type *a, const Type *b) {
    if (a->dtype != b->dtype || a->rank != b->rank)
        return false;
    for (int i = 0; i < a->rank; i++) {
        if (!dim_equal(&a->dims[i], &b->dims[i]))
            return false;
    }
    return true;
}

bool type_is_ragged(const Type *type) {
    return type->rank > 0 && type->dims[0].is_ragged;
}

char *dim_format(Arena *arena, const Dim *dim) {
    const char *mark = dim->is_ragged ? "~" : "";
    if (dim->name)
        return arena_printf(arena, "%s%s=%lld", mark, dim->name, (long long)dim->extent);
    return arena_printf(arena, "%s%lld", mark, (long long)dim->extent);
}

char *type_format(Arena *arena, const Type *type) {
    char *text = arena_printf(arena, "%s[", dtype_name(type->dtype));
    for (int i = 0; i < type->rank; i++)
        text = arena_printf(arena, "%s%s%s", text, i > 0 ? ", " : "", dim_format(arena, &type->dims[i]));
    return arena_printf(arena, "%s]", text);
}

const char *type_check(Arena *arena, const Type *type) {
    assert(type->dtype < DTYPE_COUNT);
    if (type->rank < 0 || type->rank > MAX_RANK)
        return arena_printf(arena, "has %d dims; at most %d are possible", type->rank, MAX_RANK);
    int64_t n_elements = 1;
    for (int i = 0; i < type->rank; i++) {
        const Dim *dim = &type->dims[i];
        if (dim->extent < 1)
            return arena_printf(arena, "dim %d is %s; an extent must be at least 1", i, dim_format(arena, dim));
        if (dim->extent > MAX_ELEMENTS / n_elements)
            return arena_printf(arena, "has more than 2^%d elements", MAX_ELEMENTS_LOG2);
        if (dim->is_ragged && i > 0)
            return arena_printf(arena, "dim %d is ragged; only dim 0 can be", i);
        n_elements *= dim->extent;
    }
    return NULL;
}
