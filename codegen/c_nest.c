/* Loop nests: merging of loops, names of loop variables, index expressions. */
#include <assert.h>
#include <ctype.h>
#include <string.h>

#include "codegen/c_print.h"
#include "codegen/c_words.h"

Nest nest_new(const Type *type) {
    Nest nest = {.n_loops = type->rank};
    for (int i = 0; i < type->rank; i++)
        nest.loops[i] = (NestLoop){.variable = type->dims[i].name, .extent = type->dims[i].extent};
    return nest;
}

int nest_add(Nest *nest, const char *name, int64_t offset, const int64_t *strides) {
    assert(nest->n_tensors < NEST_MAX_TENSORS);
    int tensor = nest->n_tensors++;
    nest->tensors[tensor] = name;
    nest->offsets[tensor] = offset;
    for (int i = 0; i < nest->n_loops; i++)
        nest->loops[i].strides[tensor] = strides[i];
    return tensor;
}

/* ---- Names ---------------------------------------------------------------------------------------------------- */

enum { MAX_VARIABLE_LENGTH = 16 };

/* What a loop variable may not be: other variables of kernels. */
static const char *const reserved[] = {"out", "x", "y", "sum", "chunk", "partial", "first", "end", NULL};

static bool is_reserved(const char *name) {
    for (int i = 0; reserved[i] != NULL; i++) {
        if (strcmp(name, reserved[i]) == 0)
            return true;
    }
    return c_is_word(name);
}

/* The lower-case form of a dim's name; NULL if it is none or no identifier. */
static const char *variable_of(Arena *arena, const char *name) {
    if (name == NULL || strlen(name) > MAX_VARIABLE_LENGTH || !(isalpha((unsigned char)name[0]) || name[0] == '_'))
        return NULL;
    char *variable = arena_strdup(arena, name);
    for (char *at = variable; *at != '\0'; at++) {
        if (!isalnum((unsigned char)*at) && *at != '_')
            return NULL;
        *at = (char)tolower((unsigned char)*at);
    }
    return variable;
}

static const char *joined(Arena *arena, const char *a, const char *b) {
    if (a == NULL || b == NULL || strlen(a) + strlen(b) >= MAX_VARIABLE_LENGTH)
        return NULL;
    return arena_printf(arena, "%s_%s", a, b);
}

/* Loops without a usable name, and a lone loop, are called by their position: i, j, k, .. */
static void name_loops(Nest *nest) {
    static const char *const positions[MAX_RANK] = {"i", "j", "k", "l", "m", "o"};
    bool is_usable = nest->n_loops > 1;
    for (int i = 0; i < nest->n_loops && is_usable; i++) {
        const char *variable = nest->loops[i].variable;
        is_usable = variable != NULL && !is_reserved(variable);
        for (int tensor = 0; tensor < nest->n_tensors && is_usable; tensor++)
            is_usable = strcmp(variable, nest->tensors[tensor]) != 0;
        for (int other = 0; other < i && is_usable; other++)
            is_usable = strcmp(variable, nest->loops[other].variable) != 0;
    }
    for (int i = 0; i < nest->n_loops && !is_usable; i++)
        nest->loops[i].variable = positions[i];
}

/* ---- Merging -------------------------------------------------------------------------------------------------- */

/* Whether one loop over both steps through every tensor as the two did. */
static bool can_merge(const Nest *nest, const NestLoop *outer, const NestLoop *inner) {
    bool can = true;
    for (int tensor = 0; tensor < nest->n_tensors; tensor++)
        can = can && outer->strides[tensor] == inner->strides[tensor] * inner->extent;
    return can;
}

void nest_merge(Nest *nest, Arena *arena) {
    int n = 0;
    for (int i = 0; i < nest->n_loops; i++) {
        NestLoop loop = nest->loops[i];
        if (loop.extent == 1)
            continue;
        loop.variable = variable_of(arena, loop.variable);
        NestLoop *last = n > 0 ? &nest->loops[n - 1] : NULL;
        if (last != NULL && can_merge(nest, last, &loop)) {
            loop.variable = joined(arena, last->variable, loop.variable);
            loop.extent *= last->extent;
            *last = loop;
        } else {
            nest->loops[n++] = loop;
        }
    }
    nest->n_loops = n;
    name_loops(nest);
}

/* ---- Text ----------------------------------------------------------------------------------------------------- */

const char *nest_element(CPrinter *c, const Nest *nest, int tensor) {
    const char *index = "";
    for (int i = 0; i < nest->n_loops; i++) {
        const NestLoop *loop = &nest->loops[i];
        int64_t stride = loop->strides[tensor];
        if (stride == 0)
            continue;
        const char *plus = index[0] == '\0' ? "" : " + ";
        index = stride == 1 ? arena_printf(c->arena, "%s%s%s", index, plus, loop->variable)
                            : arena_printf(c->arena, "%s%s%s * %lld", index, plus, loop->variable, (long long)stride);
    }
    int64_t offset = nest->offsets[tensor];
    if (index[0] == '\0' || offset != 0)
        index = arena_printf(c->arena, "%s%s%lld", index, index[0] == '\0' ? "" : " + ", (long long)offset);
    return arena_printf(c->arena, "%s[%s]", nest->tensors[tensor], index);
}

static int64_t n_iterations(const Nest *nest) {
    int64_t n = 1;
    for (int i = 0; i < nest->n_loops; i++)
        n *= nest->loops[i].extent;
    return n;
}

void nest_open_part(CPrinter *c, const NestLoop *loop, const char *first, const char *end) {
    const char *variable = loop->variable;
    c_open(c, "for (int64_t %s = %s; %s < %s; %s++)", variable, first, variable, end, variable);
}

void nest_open_loop(CPrinter *c, const NestLoop *loop) {
    nest_open_part(c, loop, "0", arena_printf(c->arena, "%lld", (long long)loop->extent));
}

/* ---- Maps ----------------------------------------------------------------------------------------------------- */

/* Outer iterations are shared out if there are as many as this; below it, a long inner loop is. */
static const int64_t MANY_ITERATIONS = 64;

/* Elements of a line of the cache. */
enum { TILE = 16 };

/* The loop that steps through some tensor one by one, where the inner loop steps through that tensor in leaps: a
   transposition. -1: none. */
static int transposed_loop(const Nest *nest) {
    const NestLoop *inner = &nest->loops[nest->n_loops - 1];
    for (int i = 0; i < nest->n_loops - 1; i++) {
        const NestLoop *loop = &nest->loops[i];
        for (int tensor = 0; tensor < nest->n_tensors; tensor++) {
            if (loop->strides[tensor] == 1 && inner->strides[tensor] >= TILE && loop->extent >= TILE &&
                inner->extent >= TILE)
                return i;
        }
    }
    return -1;
}

static void open_outer_loops(CPrinter *c, const Nest *nest, int except) {
    for (int i = 0; i < nest->n_loops - 1; i++) {
        if (i != except)
            nest_open_loop(c, &nest->loops[i]);
    }
}

/* The lines of the transposed tensor are read from end to end, as many side by side as fill a line of the result. */
static void print_transposition(CPrinter *c, const Nest *nest, int transposed, double work, const char *statement) {
    int n_outer = nest->n_loops - 1;
    const NestLoop *inner = &nest->loops[n_outer];
    long long extent = inner->extent;
    c_parallel(c, work, n_outer > 1 ? arena_printf(c->arena, "collapse(%d)", n_outer) : "");
    open_outer_loops(c, nest, transposed);
    c_open(c, "for (int64_t first = 0; first < %lld; first += %d)", extent, TILE);
    c_line(c, "int64_t end = first + %d < %lld ? first + %d : %lld;", TILE, extent, TILE, extent);
    nest_open_loop(c, &nest->loops[transposed]);
    c_line(c, "#pragma omp simd");
    nest_open_part(c, inner, "first", "end");
    c_line(c, "%s", statement);
    for (int i = 0; i < nest->n_loops + 1; i++)
        c_close(c);
}

static void print_outer_shared(CPrinter *c, const Nest *nest, double work, const char *statement) {
    int n_outer = nest->n_loops - 1;
    if (n_outer > 0)
        c_parallel(c, work, n_outer > 1 ? arena_printf(c->arena, "collapse(%d)", n_outer) : "");
    open_outer_loops(c, nest, -1);
    c_line(c, "#pragma omp simd");
    nest_open_loop(c, &nest->loops[n_outer]);
    c_line(c, "%s", statement);
    for (int i = 0; i < nest->n_loops; i++)
        c_close(c);
}

static void print_inner_shared(CPrinter *c, const Nest *nest, const char *statement) {
    open_outer_loops(c, nest, -1);
    c_line(c, "#pragma omp parallel for simd");
    nest_open_loop(c, &nest->loops[nest->n_loops - 1]);
    c_line(c, "%s", statement);
    for (int i = 0; i < nest->n_loops; i++)
        c_close(c);
}

void nest_print_map(CPrinter *c, const Nest *nest, double work, const char *statement) {
    if (nest->n_loops == 0) {
        c_line(c, "%s", statement);
        return;
    }
    int transposed = transposed_loop(nest);
    int64_t inner = nest->loops[nest->n_loops - 1].extent, outer = n_iterations(nest) / inner;
    bool is_long = nest->n_loops == 1 || (outer < MANY_ITERATIONS && c_is_parallel((double)inner));
    if (transposed >= 0)
        print_transposition(c, nest, transposed, work, statement);
    else if (c_is_parallel(work) && is_long)
        print_inner_shared(c, nest, statement);
    else
        print_outer_shared(c, nest, work, statement);
}
