/* Attention and its gradient as forms, with what makes their operands and what follows their results. */
#include <assert.h>

#include "codegen/form_internal.h"
#include "codegen/lower_block_internal.h"
#include "ir/block.h"
#include "ir/view.h"

enum { SEQUENCE, POSITION, HEAD, COLUMN, RANK }; /* dims of q, k and v, and the form's indices */

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
static int64_t set_strides(FormAccessMap *map, Value *value, int tensor, View *view) {
    static const int vector_dims[] = {SEQUENCE, POSITION, HEAD, COLUMN}, number_dims[] = {SEQUENCE, HEAD, POSITION};
    bool has_map = view_of(value, view);
    assert(has_map);
    (void)has_map;
    bool has_columns = tensor != ATTENTION_LOGSUMEXP;
    int64_t last = 0;
    for (int dim = 0; dim < (has_columns ? 4 : 3); dim++) {
        int index = has_columns ? vector_dims[dim] : number_dims[dim];
        map->strides[index] = index == COLUMN ? 1 : extent_of(value, dim) > 1 ? view->strides[dim] : 0;
        last += (extent_of(value, dim) - 1) * map->strides[index];
    }
    return last + 1;
}

static void add_tensor(Lowering *at, Value *value, int tensor, FormAccess access) {
    View view;
    FormAccessMap map = {.gather = FORM_NONE};
    int64_t n_elements = set_strides(&map, value, tensor, &view);
    map.arg = lowering_argument(at, &view, access, n_elements);
    at->form->attention.maps[tensor] = map;
}

/* What follows the result, and the result itself where it is stored, too. */
static void add_body(Lowering *at, const Space *space, int tensor) {
    static const bool is_done[SPACE_MAX_NODES] = {false};
    FormBody *body = arena_new_of(at->arena, FormBody);
    BodyLowering lowering = {.lowering = at, .space = space, .body = body};
    bool is_stored = value_has_storage(space->given, at->storage->escapes);
    FormAccessMap map = {.gather = FORM_NONE};
    body->yield = FORM_NONE;
    body_set_indices(at, space, body);
    if (is_stored)
        map = body_access(&lowering, space->given, ROLE_FULL, FORM_OUT);
    body_add_results(&lowering);
    if (is_stored)
        body_add(&lowering, (FormInstr){.op = FORM_STORE, .a = body_given(&lowering), .map = map});
    body_lower_nodes(&lowering, is_done);
    at->form->attention.bodies[tensor] = body;
}

/* A result that nobody reads. */
static void add_empty_body(Lowering *at, int tensor) {
    FormBody *body = arena_new_of(at->arena, FormBody);
    *body = form_attention_indices(at->form, tensor);
    at->form->attention.bodies[tensor] = body;
}

static void add_tensors(Lowering *at) {
    const Space *space = at->space;
    Node *node = space->attention;
    for (int i = 0; i < node->n_results; i++) {
        int tensor = (node->n_operands + i);
        if (space->bodies[i])
            add_body(at, space->bodies[i], tensor);
        else if (!value_has_storage(&node->results[i], at->storage->escapes))
            add_empty_body(at, tensor);
        else
            add_tensor(at, &node->results[i], tensor, FORM_OUT);
    }
    for (int i = 0; i < space->n_operands; i++) {
        const SpaceOperand *operand = &space->operands[i];
        if (operand->part)
            at->form->attention.bodies[i] = body_lower_part(at, operand->part, operand->value);
        else
            add_tensor(at, operand->value, i, FORM_IN);
    }
}

void lower_attention(Lowering *at) {
    static const char *const index_names[RANK] = {"b", "t", "h", "d"};
    const Node *node = at->space->attention;
    const Value *q = node->operands[0], *k = node->operands[1];
    int64_t n_positions = extent_of(q, POSITION), window = attrs_int(&node->attrs, "window", 0);
    Form *form = at->form;
    form->kind = node->op == OP_attention ? FORM_KIND_ATTENTION : FORM_KIND_ATTENTION_GRAD;
    for (int dim = 0; dim < RANK; dim++)
        form->body.indices[form->body.n_indices++] = (FormIndex){index_names[dim], extent_of(q, dim), dim == COLUMN};
    form->attention = (FormAttention){.n_shared = extent_of(q, HEAD) / extent_of(k, HEAD),
                                      .window = window > 0 && window < n_positions ? window : n_positions,
                                      .scale = attrs_float(&node->attrs, "scale", 1),
                                      .tile_queries = n_tile_queries(node),
                                      .tile_keys = n_tile_keys(node)};
    add_tensors(at);
}

/* ---- Halves of columns ------------------------------------------------------------------------------------------ */

/* The map as it is in half number `half`, whose index is the last but one; -1: as it is. */
static FormAccessMap map_in_half(const BodyLowering *at, FormAccessMap map, int half) {
    int index = at->body->n_indices - 2;
    if (half < 0)
        return map;
    map.offset += half * map.strides[index];
    map.strides[index] = 0;
    return map;
}

static uint32_t given_in_half(BodyLowering *at, int half) {
    const Space *space = at->space;
    FormInstr result = {.op = FORM_RESULT, .map = {.arg = FORM_NONE, .gather = FORM_NONE}};
    int64_t stride = 1;
    for (int i = space->n_row_indices + space->n_col_indices - 1; i >= space->n_row_indices; i--) {
        result.map.strides[i] = stride;
        stride *= space->extents[i];
    }
    result.map = map_in_half(at, result.map, half);
    return body_add(at, result);
}

uint32_t body_given(BodyLowering *at) {
    return given_in_half(at, -1);
}

static uint32_t turned(BodyLowering *at, const Node *rope, int half);

/* The value at the row, and in one half at the column's place in its own. */
static uint32_t element_in_half(BodyLowering *at, Value *value, Role role, int half) {
    const Value *shown = view_owner(value);
    int source = space_find(at->space, shown->def);
    if (shown == at->space->given)
        return given_in_half(at, half);
    if (source < 0) {
        uint32_t instr = body_element(at, value, role);
        if (at->body->instrs[instr].op != FORM_LOAD)
            return instr;
        FormInstr load = at->body->instrs[instr];
        load.map = map_in_half(at, load.map, half);
        return body_add(at, load);
    }
    if (at->space->roles[source] != ROLE_FULL)
        return at->instrs[source][0];
    uint32_t *known = &at->in_half[half][source];
    if (*known > 0)
        return *known - 1;
    const Node *node = at->space->nodes[source];
    uint32_t elements[2] = {FORM_NONE, FORM_NONE}, made;
    if (node->op == OP_rope) {
        made = turned(at, node, half);
    } else {
        for (int i = 0; i < node->n_operands; i++)
            elements[i] = element_in_half(at, node->operands[i], ROLE_FULL, half);
        made = body_add_map(at, node->op, elements[0], elements[1]);
    }
    *known = made + 1;
    return made;
}

/* A number of the angle of the row's position and the column's pair; rows count positions, then heads. */
static uint32_t angle(BodyLowering *at, const Node *rope, int64_t number) {
    const Space *space = at->space;
    const Type *type = &rope->results[0].type;
    int64_t n_heads = type->dims[HEAD].extent, n_positions = type->dims[POSITION].extent, n_behind = 1;
    int64_t n_pairs = space->n_cols / 2;
    View view;
    bool has_map = view_of(rope->operands[1], &view); /* dense: passes/layout.c */
    assert(has_map);
    (void)has_map;
    FormAccessMap map = {.offset = number, .gather = FORM_NONE};
    for (int i = space->n_row_indices - 1; i >= 0; i--) {
        if (n_behind >= n_heads && n_behind < n_heads * n_positions)
            map.strides[i] = n_behind / n_heads * n_pairs * 2;
        n_behind *= space->extents[i];
    }
    map.strides[space->n_row_indices + 1] = 2;
    map.arg = lowering_argument(at->lowering, &view, FORM_IN, type_n_elements(&rope->operands[1]->type));
    return body_add(at, (FormInstr){.op = FORM_LOAD, .a = FORM_NONE, .b = FORM_NONE, .map = map});
}

/* An element of a half and that of the other are turned together. */
static uint32_t turned(BodyLowering *at, const Node *rope, int half) {
    uint32_t a = element_in_half(at, rope->operands[0], ROLE_FULL, 0);
    uint32_t b = element_in_half(at, rope->operands[0], ROLE_FULL, 1);
    uint32_t cosine = angle(at, rope, 0), sine = angle(at, rope, 1);
    bool is_minus = (half == 0) != attrs_bool(&rope->attrs, "inverse", false);
    uint32_t kept = body_add_map(at, OP_mul, half == 0 ? a : b, cosine);
    uint32_t taken = body_add_map(at, OP_mul, half == 0 ? b : a, sine);
    return body_add_map(at, is_minus ? OP_sub : OP_add, kept, taken);
}

uint32_t body_lower_rope(BodyLowering *at, const Node *node) {
    FormInstr half = {.op = FORM_INDEX, .map = {.arg = FORM_NONE, .gather = FORM_NONE}};
    half.map.strides[at->space->n_row_indices] = 1;
    uint32_t first = turned(at, node, 0), second = turned(at, node, 1);
    return body_add_select(at, body_add(at, half), second, first);
}
