/* What is said of a kernel: the attributes of its block. */
#include <math.h>

#include "passes/fuse.h"

static const char *form_of(const FuseGroup *group) {
    const char *form = group->has_products ? "product" : "rows";
    for (size_t i = 0; i < group->n_nodes; i++) {
        OpKind op = group->nodes[i]->op;
        form = op == OP_attention || op == OP_attention_grad ? "attention" : form;
        form = op == OP_top_k || op == OP_histogram || op == OP_route ? "route" : form;
    }
    return form;
}

void fuse_describe(Arena *arena, const FuseGroup *group, Block *block, const char *apart) {
    const FuseCost *cost = &group->cost;
    double n_bytes = cost->bytes_in + cost->bytes_out;
    attrs_set_string(arena, &block->attrs, "form", form_of(group));
    attrs_set_int(arena, &block->attrs, "bytes_in", (int64_t)cost->bytes_in);
    attrs_set_int(arena, &block->attrs, "bytes_out", (int64_t)cost->bytes_out);
    attrs_set_float(arena, &block->attrs, "flops", cost->flops);
    attrs_set_float(arena, &block->attrs, "intensity", n_bytes > 0 ? round(100 * cost->flops / n_bytes) / 100 : 0);
    if (apart[0] != '\0')
        attrs_set_string(arena, &block->attrs, "apart", apart);
}
