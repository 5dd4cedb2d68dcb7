/* Derivatives of matrix products, dense and grouped by expert. Each gradient of a product is a product again; the modes
   nt, nn and tn are closed under it. */
#include <assert.h>
#include <string.h>

#include "passes/derive.h"

/* One factor's gradient: product(left, right) in `mode`. */
enum { A, B, DC };

typedef struct {
    const char *mode;
    int left, right; /* A, B or DC */
} Product;

/* c = a b in a mode, and the gradients of both factors. */
typedef struct {
    const char *mode;
    Product da, db;
} ProductRule;

static const ProductRule product_rules[] = {
    {"nt", {"nn", DC, B}, {"tn", DC, A}}, /* c = a bᵀ: da = dc b,  db = dcᵀ a */
    {"nn", {"nt", DC, B}, {"tn", A, DC}}, /* c = a b:  da = dc bᵀ, db = aᵀ dc */
    {"tn", {"nt", B, DC}, {"nn", A, DC}}, /* c = aᵀ b: da = b dcᵀ, db = a dc */
};

static const ProductRule *find_product_rule(const Node *node) {
    const char *mode = attrs_string(&node->attrs, "mode", "");
    for (size_t i = 0; i < sizeof product_rules / sizeof *product_rules; i++) {
        if (strcmp(product_rules[i].mode, mode) == 0)
            return &product_rules[i];
    }
    assert(false && "a mode that the op's shape rule refuses");
    return NULL;
}

/* `offsets` NULL: a dense product. */
static void derive_product(Derivation *at, Value *offsets) {
    const ProductRule *rule = find_product_rule(at->node);
    Value *const factors[] = {[A] = derive_operand(at, 0), [B] = derive_operand(at, 1), [DC] = at->d_results[0]};
    const Product *products[] = {&rule->da, &rule->db};
    for (int i = 0; i < 2; i++) {
        const Product *product = products[i];
        Value *left = factors[product->left], *right = factors[product->right];
        if (at->is_wanted[i])
            at->d_operands[i] = offsets ? build_grouped_matmul(at->builder, product->mode, left, right, offsets)
                                        : build_matmul(at->builder, product->mode, left, right);
    }
}

void derive_matmul(Derivation *at) {
    derive_product(at, NULL);
}

void derive_grouped_matmul(Derivation *at) {
    derive_product(at, derive_operand(at, 2));
}

/* ---- Per-expert vectors on ragged rows: each other's adjoint -------------------------------------------------- */

void derive_grouped_broadcast(Derivation *at) {
    Value *operands[] = {at->d_results[0], derive_operand(at, 1)};
    at->d_operands[0] = build(at->builder, OP_grouped_sum, 2, operands, NULL);
}

void derive_grouped_sum(Derivation *at) {
    Arena *arena = at->builder->graph->module->arena;
    const Dim *rows = &derive_operand(at, 0)->type.dims[0];
    Attrs attrs = {0};
    attrs_set_int(arena, &attrs, "rows", rows->extent);
    if (rows->name)
        attrs_set_string(arena, &attrs, "rows_name", rows->name);
    Value *operands[] = {at->d_results[0], derive_operand(at, 1)};
    at->d_operands[0] = build(at->builder, OP_grouped_broadcast, 2, operands, &attrs);
}
