/* Layout: copies where a kernel can't read through a view. The rule stands in spec/ir.md, "Layout".

   In: any graph. Out: the same values, every operand as its kernel needs it. A use that is not so gets another value
   that equals the one it had: a copy of some link of the chain of views behind it, with the views after that link
   rebuilt on the copy (views cost nothing). Of the links that do, the one with the fewest elements is copied, and of
   equals the innermost, which more uses can share. Uses that were right stay as they are, so no copy breaks another
   use. A copy stands right after what it copies: a view of a state is read where it stood. Sums over dims between
   others become sums over the last dims of a transpose. */
#include <assert.h>

#include "ir/view.h"
#include "passes/passes.h"
#include "passes/simplify.h"

typedef enum {
    NEED_AFFINE,  /* maps, reduce_sum: any affine map, constants too */
    NEED_VECTORS, /* attention: storage whose elements along the last dim follow each other */
    NEED_DENSE,   /* the other kernels: row-major storage */
    NEED_OWN,     /* outputs: row-major storage that a kernel of this graph has filled */
    NEED_COUNT
} Need;

/* What stands for a value of the graph as it was (Node.scratch, one a result; NULL for nodes that the pass adds). */
typedef struct {
    Value *copy;
    Value *rebuilt;             /* the view again, on another operand; the last one made */
    Value *fitting[NEED_COUNT]; /* the value to use where the need is */
} Record;

typedef struct {
    Builder builder;
    Arena *arena; /* the pass's own */
} Layout;

static Record *record_of(const Value *value) {
    return (Record *)value->def->scratch + value->result;
}

/* Storage that updates may write: reading it later is another read. */
static bool is_state_storage(const Value *value) {
    return value->def->op == OP_state || op_info(value->def->op)->class == OP_CLASS_UPDATE;
}

/* ---- Which values do ------------------------------------------------------------------------------------------- */

/* Whether `value` serves the need if `base`, some link of its chain, holds dense storage of its own. */
static bool fits_on_copy(Value *value, Value *base, Need need) {
    View view;
    if (!view_on(value, base, &view))
        return false;
    return need == NEED_AFFINE || (need == NEED_VECTORS && view_has_vectors(&view, &value->type)) ||
           view_is_dense(&view, &value->type);
}

static bool fits(Value *value, Need need) {
    Value *owner = view_owner(value);
    OpKind op = owner->def->op;
    if (need != NEED_AFFINE && op == OP_constant)
        return false;
    if (need == NEED_OWN && op_info(op)->class == OP_CLASS_LEAF)
        return false;
    return fits_on_copy(value, owner, need);
}

/* ---- Making others --------------------------------------------------------------------------------------------- */

/* A node with the type and the place of `like`, right after `after`, or last where that is NULL. */
static Value *build_after(Node *after, Builder *builder, OpKind op, Value *operand, const Attrs *attrs,
                          const Value *like) {
    builder->before = after ? after->next : NULL;
    builder->loc = like->def->loc;
    builder->scope = like->def->scope;
    const char *error;
    Node *node = build_typed(builder, op, 1, &operand, attrs, &like->type, &error);
    assert(node && "a copy and a view made again have the type of the first");
    node->results[0].hint = like->hint;
    return &node->results[0];
}

/* State storage itself is copied for outputs only, which show what it holds at the end. */
static Value *build_copy(Layout *layout, Value *value) {
    Node *after = is_state_storage(value) ? NULL : value->def;
    return build_after(after, &layout->builder, OP_copy, value, NULL, value);
}

static Value *copy_of(Layout *layout, Value *value) {
    Record *record = record_of(value);
    if (!record->copy)
        record->copy = build_copy(layout, value);
    return record->copy;
}

/* The view `value` of another operand. */
static Value *view_again(Layout *layout, Value *value, Value *operand) {
    Record *record = record_of(value);
    if (record->rebuilt && record->rebuilt->def->operands[0] == operand)
        return record->rebuilt;
    Node *node = value->def;
    record->rebuilt = build_after(node, &layout->builder, node->op, operand, &node->attrs, value);
    return record->rebuilt;
}

/* `value` with `copy` in place of the link `base` of its chain. */
static Value *rebuild_on(Layout *layout, Value *value, Value *base, Value *copy) {
    return value == base ? copy : view_again(layout, value, rebuild_on(layout, view_source(value), base, copy));
}

/* The link of the chain whose copy serves the need at the least cost, or NULL. */
static Value *find_link(Value *value, Need need) {
    Value *best = NULL;
    for (Value *link = value; link; link = view_source(link)) {
        if (is_state_storage(link) && link != value)
            break;
        bool is_better = !best || type_n_elements(&link->type) <= type_n_elements(&best->type);
        if (is_better && fits(link, NEED_AFFINE) && fits_on_copy(value, link, need))
            best = link;
    }
    return best;
}

/* A value equal to `value` that serves the need. */
static Value *fitting_value(Layout *layout, Value *value, Need need) {
    if (fits(value, need))
        return value;
    Record *record = record_of(value);
    if (record->fitting[need])
        return record->fitting[need];
    Value *link = find_link(value, need), *fitting;
    if (link)
        fitting = rebuild_on(layout, value, link, copy_of(layout, link));
    else if (need == NEED_AFFINE) /* no one copy does: first the view below, then one view of dense storage */
        fitting = view_again(layout, value, fitting_value(layout, view_source(value), NEED_DENSE));
    else { /* first any affine map, then a copy through it */
        Value *affine = fitting_value(layout, value, NEED_AFFINE);
        fitting = build_copy(layout, affine);
    }
    record->fitting[need] = fitting;
    return fitting;
}

/* ---- The walk -------------------------------------------------------------------------------------------------- */

static Need need_of(OpKind op) {
    return op_reads_affine(op) ? NEED_AFFINE : op_reads_vectors(op) ? NEED_VECTORS : NEED_DENSE;
}

static void fit_operands(Layout *layout, Node *node) {
    OpClass class = op_info(node->op)->class;
    if (class == OP_CLASS_LEAF || class == OP_CLASS_VIEW)
        return;
    int first = class == OP_CLASS_UPDATE ? node->n_results : 0; /* those before are states, written in place */
    for (int i = first; i < node->n_operands; i++)
        node->operands[i] = fitting_value(layout, node->operands[i], need_of(node->op));
}

/* ---- Sums ------------------------------------------------------------------------------------------------------ */

/* How often the dims change from such that are summed to others, or back; dims of one element are either. */
static int count_changes(const Type *type, const bool *is_reduced) {
    int n_changes = 0, last = -1;
    for (int dim = 0; dim < type->rank; dim++) {
        if (type->dims[dim].extent == 1)
            continue;
        n_changes += last >= 0 && is_reduced[dim] != is_reduced[last];
        last = dim;
    }
    return n_changes;
}

/* Sums go over the first dims or the last: others are moved to the end. Where all dims are summed their order means
   nothing. */
static void move_reduced_dims(Graph *graph, Node *node) {
    while (node->results[0].type.rank == 0 && node->operands[0]->def->op == OP_transpose)
        node->operands[0] = node->operands[0]->def->operands[0];
    const Type *type = &node->operands[0]->type;
    Arena *arena = graph->module->arena;
    int n_reduced, n = 0;
    const int64_t *dims = attrs_ints(&node->attrs, "dims", &n_reduced);
    bool is_reduced[MAX_RANK] = {false};
    for (int i = 0; i < n_reduced; i++)
        is_reduced[dims[i]] = true;
    if (count_changes(type, is_reduced) < 2)
        return;
    int64_t perm[MAX_RANK], last[MAX_RANK];
    for (int reduced = 0; reduced < 2; reduced++) {
        for (int dim = 0; dim < type->rank; dim++) {
            if (is_reduced[dim] == reduced)
                perm[n++] = dim;
        }
    }
    for (int i = 0; i < n_reduced; i++)
        last[i] = type->rank - n_reduced + i;
    Builder builder = {.graph = graph, .before = node, .loc = node->loc, .scope = node->scope};
    Attrs attrs = {0};
    attrs_set_ints(arena, &attrs, "perm", perm, type->rank);
    node->operands[0] = build(&builder, OP_transpose, 1, node->operands, &attrs);
    attrs_set_ints(arena, &node->attrs, "dims", last, n_reduced);
}

/* ---- Graphs ---------------------------------------------------------------------------------------------------- */

static void lay_out_graph(Graph *graph) {
    Layout layout = {.builder = {.graph = graph}, .arena = arena_new()};
    for (Node *node = graph->first; node; node = node->next) {
        if (node->op == OP_reduce_sum)
            move_reduced_dims(graph, node);
    }
    for (Node *node = graph->first; node; node = node->next)
        node->scratch = arena_array_of(layout.arena, Record, node->n_results);
    for (Node *node = graph->first; node; node = node->next) {
        if (node->scratch)
            fit_operands(&layout, node);
    }
    for (size_t i = 0; i < graph->n_outputs; i++)
        graph->outputs[i].value = fitting_value(&layout, graph->outputs[i].value, NEED_OWN);
    graph_remove_dead(graph);
    arena_free(layout.arena);
}

bool layout_run(Module *module, Reporter *reporter) {
    (void)reporter; /* any graph can be laid out */
    for (size_t i = 0; i < module->n_graphs; i++)
        lay_out_graph(module->graphs[i]);
    return true;
}
