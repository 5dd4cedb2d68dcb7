/* Attention and its gradient as forms. */
#include "codegen/lower.h"

#include <assert.h>

#include "ir/view.h"

enum { SEQUENCE, POSITION, HEAD, COLUMN, RANK }; /* dims of q, k and v */

static int64_t extent_of(const Value *value, int dim) {
    return value->type.dims[dim].extent;
}

/* ---- Tiles ------------------------------------------------------------------------------------------------------ */

/* There are tasks for many threads: tiles of so many positions, for each pair of a sequence and a head of keys. */
static bool is_many_tasks(const Value *q, const Value *k, int64_t n_tile) {
    int64_t n_positions = extent_of(q, POSITION), n_pairs = extent_of(k, SEQUENCE) * extent_of(k, HEAD);
    return n_pairs * ((n_positions + n_tile - 1) / n_tile) >= 64;
}

/* Keys that a core copies at a time: fewer where the sequence is that short. Backward, more where they are short and
   their tiles are the tasks: what queries need is read again for each. */
static int64_t n_tile_keys(const Node *node) {
    const Value *q = node->operands[0], *k = node->operands[1];
    if (extent_of(q, POSITION) <= 48)
        return 48;
    return node->op == OP_attention_grad && extent_of(q, COLUMN) <= 64 && is_many_tasks(q, k, 192) ? 192 : 96;
}

/* Queries that share a tile of keys: as many while their results stay in a core's cache and there are tasks for many
   threads. */
static int64_t n_tile_queries(const Node *node) {
    enum { MAX_FLOATS = 1 << 15 };
    const Value *q = node->operands[0], *k = node->operands[1];
    int64_t n_floats = extent_of(q, HEAD) / extent_of(k, HEAD) * extent_of(q, COLUMN); /* of a query's results */
    if (node->op == OP_attention_grad)
        return extent_of(q, POSITION) <= 48 ? 48 : 96;
    return is_many_tasks(q, k, 96) && 96 * n_floats <= MAX_FLOATS ? 96 : 48;
}

/* ---- Tensors ---------------------------------------------------------------------------------------------------- */

/* The map to the value's elements from its first on; returns how far they reach. A logsumexp, [B, H, T], has no
   columns. */
static int64_t set_strides(FormAccessMap *map, Value *value, FormAttentionTensor tensor) {
    static const int vector_dims[] = {SEQUENCE, POSITION, HEAD, COLUMN}, number_dims[] = {SEQUENCE, HEAD, POSITION};
    View view;
    bool has_map = view_of(value, &view);
    assert(has_map);
    (void)has_map;
    bool has_columns = tensor != ATTENTION_LOGSUMEXP;
    int64_t last = 0;
    for (int dim = 0; dim < (has_columns ? 4 : 3); dim++) {
        int index = has_columns ? vector_dims[dim] : number_dims[dim];
        map->strides[index] = index == COLUMN ? 1 : extent_of(value, dim) > 1 ? view.strides[dim] : 0;
        last += (extent_of(value, dim) - 1) * map->strides[index];
    }
    return last + 1;
}

static void add_tensor(NodeLowering *at, Value *value, FormAttentionTensor tensor, const char *name, bool is_result) {
    Form *form = at->lowered->form;
    FormAccessMap *map = &form->attention.maps[tensor];
    *map = (FormAccessMap){.arg = (uint32_t)form->n_args, .gather = FORM_NONE};
    int64_t n_elements = set_strides(map, value, tensor);
    lower_argument(at, name, value, n_elements, is_result ? FORM_OUT : FORM_IN);
}

static void add_tensors(NodeLowering *at) {
    static const char *const names[] = {
#define X(id, name, has_kv_heads) [ATTENTION_##id] = name,
        FORM_ATTENTION_TENSORS(X)
#undef X
    };
    Node *node = at->node;
    for (int i = 0; i < node->n_results; i++) {
        int tensor = node->n_operands + i;
        add_tensor(at, &node->results[i], (FormAttentionTensor)tensor, names[tensor], true);
    }
    for (int i = 0; i < node->n_operands; i++)
        add_tensor(at, node->operands[i], (FormAttentionTensor)i, names[i], false);
}

/* ---- Nodes ------------------------------------------------------------------------------------------------------ */

void lower_attention(NodeLowering *at) {
    static const char *const index_names[RANK] = {"b", "t", "h", "d"};
    const Node *node = at->node;
    const Value *q = node->operands[0], *k = node->operands[1];
    int64_t n_positions = extent_of(q, POSITION), window = attrs_int(&node->attrs, "window", 0);
    Form *form = at->lowered->form;
    form->kind = node->op == OP_attention ? FORM_KIND_ATTENTION : FORM_KIND_ATTENTION_GRAD;
    for (int dim = 0; dim < RANK; dim++)
        lower_index(at, index_names[dim], extent_of(q, dim), dim == COLUMN);
    form->attention = (FormAttention){.n_shared = extent_of(q, HEAD) / extent_of(k, HEAD),
                                      .window = window > 0 && window < n_positions ? window : n_positions,
                                      .scale = attrs_float(&node->attrs, "scale", 1),
                                      .tile_queries = n_tile_queries(node),
                                      .tile_keys = n_tile_keys(node)};
    add_tensors(at);
}
