#include "ir/view.h"

#include <assert.h>

bool op_reads_affine(OpKind op) {
    return op_info(op)->class == OP_CLASS_MAP || op == OP_reduce_sum;
}

bool op_reads_vectors(OpKind op) {
    return op == OP_attention || op == OP_attention_grad;
}

/* Result i of an update is operand i. */
Value *view_source(const Value *value) {
    const Node *node = value->def;
    OpClass class = op_info(node->op)->class;
    if (class == OP_CLASS_VIEW)
        return node->operands[0];
    if (class == OP_CLASS_UPDATE)
        return node->operands[value->result];
    return NULL;
}

Value *view_owner(Value *value) {
    for (Value *next; (next = view_source(value)) != NULL;)
        value = next;
    return value;
}

bool view_has_vectors(const View *view, const Type *type) {
    int last = type->rank - 1;
    return type->rank == 0 || type->dims[last].extent == 1 || view->strides[last] == 1;
}

bool view_is_dense(const View *view, const Type *type) {
    int64_t stride = 1;
    for (int dim = type->rank - 1; dim >= 0; dim--) {
        if (type->dims[dim].extent > 1 && view->strides[dim] != stride)
            return false;
        stride *= type->dims[dim].extent;
    }
    return true;
}

/* ---- One view each: `view` maps the operand's index on entry and the result's on return ------------------------ */

/* Splits both shapes into the shortest runs of dims with equal products; a run keeps an affine map if the operand's
   dims in it follow each other. Extents of 1 take part in no run. */
static bool reshape_view(View *view, const Type *from, const Type *to) {
    int64_t strides[MAX_RANK] = {0};
    int i = 0, j = 0;
    while (i < from->rank && j < to->rank) {
        if (from->dims[i].extent == 1) {
            i++;
            continue;
        }
        if (to->dims[j].extent == 1) {
            j++;
            continue;
        }
        int i_end = i + 1, j_end = j + 1;
        int64_t n_from = from->dims[i].extent, n_to = to->dims[j].extent;
        while (n_from != n_to) {
            if (n_from < n_to)
                n_from *= from->dims[i_end++].extent;
            else
                n_to *= to->dims[j_end++].extent;
        }
        int last = i; /* the run's last dim of extent above 1 */
        for (int next = i + 1; next < i_end; next++) {
            if (from->dims[next].extent == 1)
                continue;
            if (view->strides[last] != view->strides[next] * from->dims[next].extent)
                return false;
            last = next;
        }
        int64_t stride = view->strides[last];
        for (int dim = j_end - 1; dim >= j; dim--) {
            strides[dim] = stride;
            stride *= to->dims[dim].extent;
        }
        i = i_end;
        j = j_end;
    }
    for (int dim = 0; dim < to->rank; dim++)
        view->strides[dim] = strides[dim];
    return true;
}

static void broadcast_view(View *view, const Node *node) {
    int64_t strides[MAX_RANK] = {0};
    int n;
    const int64_t *dims = attrs_ints(&node->attrs, "dims", &n);
    for (int i = 0; i < n; i++)
        strides[dims[i]] = view->strides[i];
    for (int dim = 0; dim < node->results[0].type.rank; dim++)
        view->strides[dim] = strides[dim];
}

static void transpose_view(View *view, const Node *node) {
    const View before = *view;
    int n;
    const int64_t *perm = attrs_ints(&node->attrs, "perm", &n);
    for (int dim = 0; dim < n; dim++)
        view->strides[dim] = before.strides[perm[dim]];
}

bool view_on(Value *value, Value *base, View *out) {
    const Node *node = value->def;
    if (value == base) {
        *out = (View){.owner = value};
        type_strides(&value->type, out->strides);
        return true;
    }
    Value *source = view_source(value);
    if (!view_on(source, base, out))
        return false;
    switch (node->op) {
    case OP_reshape:
        return reshape_view(out, &source->type, &value->type);
    case OP_broadcast:
        broadcast_view(out, node);
        return true;
    case OP_transpose:
        transpose_view(out, node);
        return true;
    case OP_slice:
        out->offset += attrs_int(&node->attrs, "start", 0) * out->strides[attrs_int(&node->attrs, "dim", 0)];
        return true;
    default:
        assert(op_info(node->op)->class == OP_CLASS_UPDATE);
        return true;
    }
}

bool view_of(Value *value, View *out) {
    return view_on(value, view_owner(value), out);
}
