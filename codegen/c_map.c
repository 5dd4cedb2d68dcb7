#include "codegen/c_map.h"

#include <assert.h>
#include <string.h>

typedef struct {
    const char *expression;
    int cost;
} MapRow;

static const MapRow rows[OP_COUNT] = {
#define X(op, expression, cost) [OP_##op] = {expression, cost},
    C_MAPS(X)
#undef X
};

const char *c_map(CPrinter *c, OpKind op, const char *x, const char *y) {
    const char *text = "", *expression = rows[op].expression;
    assert(expression != NULL);
    for (const char *next; (next = strchr(expression, '$')) != NULL; expression = next + 2)
        text = arena_printf(c->arena, "%s%.*s%s", text, (int)(next - expression), expression, next[1] == 'x' ? x : y);
    return arena_printf(c->arena, "%s%s", text, expression);
}

int c_map_cost(OpKind op) {
    return rows[op].cost;
}
