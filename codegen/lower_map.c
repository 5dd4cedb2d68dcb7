/* Maps: one expression a result element. */
#include <assert.h>
#include <string.h>

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

/* `expression` with its $x and $y, the elements of operands 0 and 1, put in. */
static const char *filled(CPrinter *c, const char *expression, const char *const *elements) {
    const char *text = "";
    for (const char *next; (next = strchr(expression, '$')) != NULL; expression = next + 2)
        text = arena_printf(c->arena, "%s%.*s%s", text, (int)(next - expression), expression, elements[next[1] - 'x']);
    return arena_printf(c->arena, "%s%s", text, expression);
}

static void print_map(CPrinter *c, const Node *node, const char *expression) {
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

    const char *texts[2];
    for (int i = 0; i < node->n_operands; i++)
        texts[i] = lower_element_text(c, &nest, elements[i]);
    const char *statement =
        arena_printf(c->arena, "%s = %s;", nest_element(c, &nest, out), filled(c, expression, texts));
    double n_elements = (double)type_n_elements(type), flops = node_flops(node);
    nest_print_map(c, &nest, flops > n_elements ? flops : n_elements, statement);
}

/* op, expression of the elements $x, $y of its operands. Calls are to codegen/prelude.c. */
#define MAPS(X)                                                                                                        \
    X(copy, "$x")                                                                                                      \
    X(neg, "-$x")                                                                                                      \
    X(exp, "moec_exp($x)")                                                                                             \
    X(log, "logf($x)")                                                                                                 \
    X(sqrt, "sqrtf($x)")                                                                                               \
    X(rsqrt, "1.0f / sqrtf($x)")                                                                                       \
    X(tanh, "moec_tanh($x)")                                                                                           \
    X(sigmoid, "moec_sigmoid($x)")                                                                                     \
    X(relu, "$x < 0.0f ? 0.0f : $x")                                                                                   \
    X(silu, "$x * moec_sigmoid($x)")                                                                                   \
    X(gelu, "$x * moec_normal_cdf($x)")                                                                                \
    X(gelu_tanh, "moec_gelu_tanh($x)")                                                                                 \
    X(add, "$x + $y")                                                                                                  \
    X(sub, "$x - $y")                                                                                                  \
    X(mul, "$x * $y")                                                                                                  \
    X(div, "$x / $y")                                                                                                  \
    X(relu_grad, "moec_relu_grad($x, $y)")                                                                             \
    X(silu_grad, "moec_silu_grad($x, $y)")                                                                             \
    X(gelu_grad, "moec_gelu_grad($x, $y)")                                                                             \
    X(gelu_tanh_grad, "moec_gelu_tanh_grad($x, $y)")

#define X(op, expression)                                                                                              \
    void lower_##op(CPrinter *c, const Node *node) {                                                                   \
        print_map(c, node, expression);                                                                                \
    }
MAPS(X)
#undef X
