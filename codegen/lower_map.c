/* Maps: one expression a result element. */
#include <assert.h>

#include "codegen/c_map.h"
#include "codegen/lower.h"

LowerElement lower_element(CPrinter *c, Nest *nest, const Node *node, int operand, const char *name) {
    View view;
    bool is_affine = view_of(node->operands[operand], &view);
    assert(is_affine);
    (void)is_affine;
    const Node *owner = view.owner->def;
    if (owner->op == OP_constant)
        return (LowerElement){c_literal(c, view.owner->type.dtype, attrs_float(&owner->attrs, "value", 0)), -1};
    return (LowerElement){NULL, nest_add(nest, name, 0, view.strides)};
}

const char *lower_element_text(CPrinter *c, const Nest *nest, LowerElement element) {
    return element.literal != NULL ? element.literal : nest_element(c, nest, element.tensor);
}

static void print_map(CPrinter *c, const Node *node) {
    static const char *const operand_names[] = {"x", "y"};
    c_pointers(c, node, (const char *const[]){"out", "x", "y"});
    const Type *type = &node->results[0].type;
    Nest nest = nest_new(type);
    int64_t dense[MAX_RANK];
    type_strides(type, dense);
    int out = nest_add(&nest, "out", 0, dense);
    LowerElement elements[2];
    assert(node->n_operands <= 2);
    for (int i = 0; i < node->n_operands; i++)
        elements[i] = lower_element(c, &nest, node, i, operand_names[i]);
    nest_merge(&nest, c->arena);

    const char *texts[2] = {NULL, NULL};
    for (int i = 0; i < node->n_operands; i++)
        texts[i] = lower_element_text(c, &nest, elements[i]);
    const char *statement =
        arena_printf(c->arena, "%s = %s;", nest_element(c, &nest, out), c_map(c, node->op, texts[0], texts[1]));
    double n_elements = (double)type_n_elements(type), flops = node_flops(node);
    nest_print_map(c, &nest, flops > n_elements ? flops : n_elements, statement);
}

#define X(op, expression, cost)                                                                                        \
    void lower_##op(CPrinter *c, const Node *node) {                                                                   \
        print_map(c, node);                                                                                            \
    }
C_MAPS(X)
#undef X
