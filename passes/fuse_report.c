/* What is said of a kernel: the attributes of its block. */
#include <math.h>

#include "passes/fuse.h"

void fuse_describe(Arena *arena, const FuseGroup *group, Block *block, const char *apart) {
    const FuseCost *cost = &group->cost;
    double n_bytes = cost->bytes_in + cost->bytes_out;
    attrs_set_string(arena, &block->attrs, "form", group->has_products ? "product" : "rows");
    attrs_set_int(arena, &block->attrs, "bytes_in", (int64_t)cost->bytes_in);
    attrs_set_int(arena, &block->attrs, "bytes_out", (int64_t)cost->bytes_out);
    attrs_set_float(arena, &block->attrs, "flops", cost->flops);
    attrs_set_float(arena, &block->attrs, "intensity", n_bytes > 0 ? round(100 * cost->flops / n_bytes) / 100 : 0);
    if (apart[0] != '\0')
        attrs_set_string(arena, &block->attrs, "apart", apart);
}
