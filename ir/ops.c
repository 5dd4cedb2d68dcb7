/* The table of ops, as this layer sees it: the columns of ops.def that shapes, costs and the interpreter need. */
#include "ir/ir.h"

#include <string.h>

#include "ir/ops_internal.h"

static const OpInfo op_table[OP_COUNT] = {
#define OP(op, operands, results, op_class, attributes, infer_row, flops_row, interpret_row, rows, derive, lower)      \
    {.name = #op,                                                                                                      \
     .n_operands = operands,                                                                                           \
     .n_results = results,                                                                                             \
     .class = OP_CLASS_##op_class,                                                                                     \
     .attrs = attributes,                                                                                              \
     .infer = infer_##infer_row,                                                                                       \
     .flops = flops_##flops_row,                                                                                       \
     .interpret = interpret_##interpret_row},
#include "ir/ops.def"
#undef OP
};

const OpInfo *op_info(OpKind op) {
    return &op_table[op];
}

bool op_parse(const char *name, OpKind *out) {
    for (int i = 0; i < OP_COUNT; i++) {
        if (strcmp(op_table[i].name, name) == 0) {
            *out = (OpKind)i;
            return true;
        }
    }
    return false;
}

/* ---- The attributes a row allows: "key:kind key:kind?" ------------------------------------------------------------
 */

typedef struct {
    const char *key;
    size_t key_length;
    AttrKind kind;
    bool is_optional;
} AttrRow;

static AttrKind kind_of_letter(char letter) {
    static const char letters[] = "ifbsl"; /* in the order of AttrKind */
    return (AttrKind)(strchr(letters, letter) - letters);
}

/* The row at *text, which moves past it; false at the end. */
static bool next_attr_row(const char **text, AttrRow *row) {
    const char *at = *text + strspn(*text, " ");
    if (*at == '\0')
        return false;
    row->key = at;
    row->key_length = strcspn(at, ":");
    row->kind = kind_of_letter(at[row->key_length + 1]);
    row->is_optional = at[row->key_length + 2] == '?';
    *text = at + row->key_length + 2 + row->is_optional;
    return true;
}

static const char *const attr_kind_names[] = {
    [ATTR_INT] = "an integer",  [ATTR_FLOAT] = "a float",           [ATTR_BOOL] = "true or false",
    [ATTR_STRING] = "a string", [ATTR_INTS] = "a list of integers",
};

static const char *check_attr(Arena *arena, const char *what, const char *rows, const Attr *attr) {
    const char *text = rows;
    for (AttrRow row; next_attr_row(&text, &row);) {
        if (strlen(attr->key) != row.key_length || strncmp(attr->key, row.key, row.key_length) != 0)
            continue;
        if (attr->kind == row.kind || (row.kind == ATTR_FLOAT && attr->kind == ATTR_INT))
            return NULL;
        return arena_printf(arena, "%s: attribute '%s' must be %s, and is %s", what, attr->key,
                            attr_kind_names[row.kind], attr_kind_names[attr->kind]);
    }
    return arena_printf(arena, "%s: it has no attribute '%s'; its attributes: %s", what, attr->key,
                        rows[0] != '\0' ? rows : "none");
}

const char *attrs_check(Arena *arena, const char *what, const char *rows, const Attrs *attrs) {
    for (size_t i = 0; i < attrs->n; i++) {
        const char *error = check_attr(arena, what, rows, &attrs->items[i]);
        if (error != NULL)
            return error;
    }
    const char *text = rows;
    for (AttrRow row; next_attr_row(&text, &row);) {
        bool is_present = false;
        for (size_t i = 0; i < attrs->n && !is_present; i++)
            is_present = strlen(attrs->items[i].key) == row.key_length &&
                         strncmp(attrs->items[i].key, row.key, row.key_length) == 0;
        if (!is_present && !row.is_optional)
            return arena_printf(arena, "%s: attribute '%.*s' is missing; it is %s", what, (int)row.key_length, row.key,
                                attr_kind_names[row.kind]);
    }
    return NULL;
}

const char *node_check_form(Arena *arena, const Node *node) {
    const OpInfo *info = op_info(node->op);
    if (info->n_operands >= 0 && node->n_operands != info->n_operands)
        return arena_printf(arena, "%s: it takes %d operand%s, and has %d", info->name, info->n_operands,
                            info->n_operands == 1 ? "" : "s", node->n_operands);
    if (info->n_operands < 0 && node->n_operands == 0)
        return arena_printf(arena, "%s: it takes one operand or more, and has none", info->name);
    if (node->n_results != info->n_results)
        return arena_printf(arena, "%s: it has %d result%s, not %d", info->name, info->n_results,
                            info->n_results == 1 ? "" : "s", node->n_results);
    return attrs_check(arena, info->name, info->attrs, &node->attrs);
}

const char *node_infer(Arena *arena, const Node *node, Type *types) {
    const OpInfo *info = op_info(node->op);
    const char *error = info->infer(arena, node, types);
    for (int i = 0; i < node->n_results && error == NULL; i++)
        error = type_check(arena, &types[i]);
    return error == NULL ? NULL : arena_printf(arena, "%s: %s", info->name, error);
}
