#include <assert.h>
#include <ctype.h>
#include <string.h>

#include "codegen/c_words.h"
#include "codegen/form_route.h"
#include "codegen/lower_block_internal.h"
#include "ir/block.h"
#include "ir/in_place.h"
#include "ir/scalar.h"

/* ---- Names ------------------------------------------------------------------------------------------------------ */

/* The text in lower case where it is a C identifier, else NULL. What C has taken already, the printer avoids. */
static const char *identifier_of(Arena *arena, const char *text) {
    enum { MAX_LENGTH = 16 };
    if (!text || strlen(text) > MAX_LENGTH || !c_is_identifier(text))
        return NULL;
    char *name = arena_strdup(arena, text);
    for (char *at = name; *at; at++)
        *at = (char)tolower((unsigned char)*at);
    return name;
}

static bool is_taken(const Form *form, const char *name) {
    for (size_t i = 0; i < form->n_args; i++) {
        if (strcmp(form->args[i].name, name) == 0)
            return true;
    }
    return false;
}

/* The hint with a number where another argument has it; by number alone where there is none. */
static const char *argument_name(const Lowering *at, const Value *owner, FormAccess access) {
    const char *hint = at->is_named ? identifier_of(at->arena, owner->hint) : NULL;
    const char *otherwise = access == FORM_IN ? "x" : access == FORM_OUT ? "y" : "sum";
    if (hint && !is_taken(at->form, hint))
        return hint;
    return arena_printf(at->arena, "%s%s%zu", hint ? hint : otherwise, hint ? "_" : "", at->form->n_args);
}

/* ---- Storage ---------------------------------------------------------------------------------------------------- */

static bool is_stored(const Lowering *at, const Value *result) {
    return value_has_storage(result, at->storage->escapes);
}

/* What lies where the result is to be, and may. */
static const Value *find_replaced(const Lowering *at, Value *result) {
    const int64_t *offsets = at->storage->offsets;
    for (size_t i = 0; i < at->space->n_nodes; i++) {
        const Node *node = at->space->nodes[i];
        for (int j = 0; j < node->n_operands; j++) {
            const Value *owner = view_owner(node->operands[j]);
            if (owner != result && offsets[owner->number] == offsets[result->number] &&
                space_can_replace(at->space, result, owner))
                return owner;
        }
    }
    return NULL;
}

static void find_all_replaced(Lowering *at) {
    for (size_t i = 0; i < at->space->n_nodes && at->storage->offsets; i++) {
        Value *result = &at->space->nodes[i]->results[0];
        if (is_stored(at, result))
            at->replaced[i] = find_replaced(at, result);
    }
}

static const Value *replaced_by(const Lowering *at, const Value *result) {
    int i = space_find(at->space, result->def);
    return i >= 0 && result->result == 0 ? at->replaced[i] : NULL;
}

static bool starts_state(const Node *node) {
    return node->op == OP_accumulate && attrs_bool(&node->attrs, "starts", false);
}

/* Of the state that the update has as that operand. */
static FormAccess state_access(const Node *update, int operand) {
    bool keeps = operand == 1 && attrs_bool(&update->attrs, "keeps", false);
    return starts_state(update) ? FORM_OUT : keeps ? FORM_IN : FORM_INOUT;
}

/* ---- Arguments -------------------------------------------------------------------------------------------------- */

/* The argument that starts at the place, or FORM_NONE. */
static uint32_t find_argument(const Lowering *at, const View *view, bool is_in_pieces) {
    for (size_t i = 0; i < at->form->n_args; i++) {
        assert(at->arguments);
        const LoweredArgument *known = &at->arguments[form_arg_entry(at->form, i)];
        bool is_same = known->owner == view->owner || known->replaced == view->owner;
        if (is_same && known->offset == view->offset && at->form->args[i].is_in_pieces == is_in_pieces)
            return (uint32_t)i;
    }
    return FORM_NONE;
}

static uint32_t add_argument(Lowering *at, const View *view, FormAccess access, int64_t n_elements) {
    Form *form = at->form;
    FormArg arg = {.name = argument_name(at, view->owner, access),
                   .dtype = view->owner->type.dtype,
                   .n_elements = n_elements,
                   .access = access};
    LoweredArgument place = {.owner = view->owner, .offset = view->offset, .replaced = replaced_by(at, view->owner)};
    arena_push(at->arena, form->args, form->n_args, form->args_capacity, arg);
    arena_push(at->arena, at->arguments, at->n_arguments, at->capacity, place);
    return (uint32_t)form->n_args - 1;
}

uint32_t lowering_argument(Lowering *at, const View *view, FormAccess access, int64_t n_elements) {
    uint32_t known = find_argument(at, view, false);
    if (known == FORM_NONE)
        return add_argument(at, view, access, n_elements);
    FormArg *arg = &at->form->args[known];
    assert(arg->access == (at->arguments[form_arg_entry(at->form, known)].replaced ? FORM_INOUT : access));
    arg->n_elements = n_elements > arg->n_elements ? n_elements : arg->n_elements;
    return known;
}

/* How many elements from the first the strides reach. */
static int64_t n_reached(const Space *space, const int64_t *strides) {
    int64_t last = 0;
    for (int i = 0; i < space->n_row_indices + space->n_col_indices; i++)
        last += (space->extents[i] - 1) * strides[i];
    return last + 1;
}

FormAccessMap body_access(BodyLowering *at, Value *value, Role role, FormAccess access) {
    View view;
    FormAccessMap map = {.gather = FORM_NONE};
    bool has_map = space_map(at->space, value, role, &view, map.strides);
    assert(has_map);
    (void)has_map;
    map.arg = lowering_argument(at->lowering, &view, access, n_reached(at->space, map.strides));
    return map;
}

static View view_of_piece(const Space *space, int operand, int piece) {
    View view;
    bool has_map = view_of(space_piece(space, operand, piece), &view); /* dense: passes/layout.c */
    assert(has_map);
    (void)has_map;
    return view;
}

/* The pieces of an operand as one argument. */
static FormAccessMap piece_access(BodyLowering *at, int operand, FormAccess access) {
    Lowering *lowering = at->lowering;
    FormAccessMap map = {.strides = {1}, .gather = FORM_NONE};
    View view = view_of_piece(at->space, operand, 0);
    map.arg = find_argument(lowering, &view, true);
    if (map.arg != FORM_NONE)
        return map;
    map.arg = add_argument(lowering, &view, access, at->space->n_cols);
    lowering->form->args[map.arg].is_in_pieces = true;
    for (int i = 1; i < at->space->n_pieces; i++) {
        view = view_of_piece(at->space, operand, i);
        LoweredArgument place = {.owner = view.owner, .offset = view.offset};
        arena_push(lowering->arena, lowering->arguments, lowering->n_arguments, lowering->capacity, place);
    }
    return map;
}

FormAccessMap body_state_access(BodyLowering *at, size_t i, int operand) {
    Node *node = at->space->nodes[i];
    FormAccess access = state_access(node, operand);
    return at->space->n_pieces > 0 ? piece_access(at, operand, access)
                                   : body_access(at, node->operands[operand], at->space->roles[i], access);
}

/* ---- Instructions ----------------------------------------------------------------------------------------------- */

uint32_t body_add(BodyLowering *at, FormInstr instr) {
    return form_add(at->lowering->arena, at->body, instr);
}

uint32_t body_add_map(BodyLowering *at, OpKind op, uint32_t a, uint32_t b) {
    return body_add(at, (FormInstr){.op = FORM_MAP, .map_op = op, .a = a, .b = b, .map.gather = FORM_NONE});
}

uint32_t body_add_reduction(BodyLowering *at, FormOp op, uint32_t a) {
    return body_add(at, (FormInstr){.op = op, .a = a, .b = FORM_NONE, .map.gather = FORM_NONE});
}

uint32_t body_add_binary(BodyLowering *at, FormOp op, uint32_t a, uint32_t b) {
    return body_add(at, (FormInstr){.op = op, .a = a, .b = b, .map.gather = FORM_NONE});
}

uint32_t body_add_select(BodyLowering *at, uint32_t truth, uint32_t x, uint32_t otherwise) {
    return body_add(at, (FormInstr){.op = FORM_SELECT, .a = truth, .b = x, .c = otherwise, .map.gather = FORM_NONE});
}

uint32_t body_add_constant(BodyLowering *at, double value) {
    return body_add(at, (FormInstr){.op = FORM_CONST, .value = value, .map.gather = FORM_NONE});
}

uint32_t body_element(BodyLowering *at, Value *value, Role role) {
    const Value *shown = view_owner(value);
    Node *owner = shown->def;
    int source = space_find(at->space, owner);
    if (source >= 0 && owner->op == OP_to_bf16)
        return body_add_map(at, OP_to_bf16, at->instrs[source][0], FORM_NONE);
    if (source >= 0)
        return at->instrs[source][shown->result];
    if (shown == at->space->given)
        return body_given(at);
    FormInstr instr = {.op = FORM_CONST, .a = FORM_NONE, .b = FORM_NONE, .map.gather = FORM_NONE};
    if (owner->op == OP_constant) {
        instr.value = attrs_float(&owner->attrs, "value", 0);
        if (value->type.dtype == DTYPE_BF16)
            instr.value = scalar_round_bf16(instr.value);
    } else {
        instr.op = FORM_LOAD;
        instr.map = body_access(at, value, role, FORM_IN);
    }
    return body_add(at, instr);
}

static uint32_t piece_element(BodyLowering *at) {
    return body_add(at, (FormInstr){.op = FORM_LOAD, .map = piece_access(at, 0, FORM_IN)});
}

/* Rows of `table`, of `width` elements each, at positions: row p / divisor of it, zero where p is negative. The
   positions have the map `positions`. */
static uint32_t add_gathered(BodyLowering *at, Value *table, int64_t width, FormAccessMap positions, int64_t divisor) {
    const Space *space = at->space;
    uint32_t position = body_add(
        at, (FormInstr){.op = FORM_POSITION, .a = FORM_NONE, .b = FORM_NONE, .map = positions, .divisor = divisor});
    View view;
    bool has_map = view_of(table, &view); /* dense: passes/layout.c */
    assert(has_map);
    (void)has_map;
    FormAccessMap map = {.gather = position, .gather_stride = width};
    map.arg = lowering_argument(at->lowering, &view, FORM_IN, type_n_elements(&table->type));
    int64_t stride = 1;
    for (int i = space->n_row_indices + space->n_col_indices - 1; i >= space->n_row_indices && width > 1; i--) {
        map.strides[i] = stride;
        stride *= space->extents[i];
    }
    return body_add(at, (FormInstr){.op = FORM_LOAD, .a = FORM_NONE, .b = FORM_NONE, .map = map});
}

/* Row r is the row of x of slot slot_of_row[r]'s token. */
static uint32_t lower_dispatch_rows(BodyLowering *at, const Node *node, Role role) {
    const Type *result = &node->results[0].type;
    bool is_per_slot = attrs_bool(&node->attrs, "per_slot", false);
    FormAccessMap positions = body_access(at, node->operands[1], result->rank > 1 ? ROLE_ROW : role, FORM_IN);
    return add_gathered(at, node->operands[0], type_span(result, 1, result->rank), positions,
                        is_per_slot ? 1 : type_extent(&node->operands[2]->type, -1));
}

/* The sum of a token's rows, in the order of its slots. */
static uint32_t lower_combine_rows(BodyLowering *at, const Node *node) {
    const Type *rows = &node->operands[0]->type, *slots = &node->operands[2]->type;
    int64_t n_slots = type_extent(slots, -1), width = type_span(rows, 1, rows->rank);
    View view;
    bool has_map = view_of(node->operands[2], &view); /* dense: passes/layout.c */
    assert(has_map);
    (void)has_map;
    uint32_t sum = FORM_NONE;
    for (int64_t slot = 0; slot < n_slots; slot++) {
        FormAccessMap positions = {.offset = slot, .gather = FORM_NONE};
        positions.arg = lowering_argument(at->lowering, &view, FORM_IN, type_n_elements(slots));
        int64_t stride = n_slots;
        for (int i = at->space->n_row_indices - 1; i >= 0; stride *= at->space->extents[i--])
            positions.strides[i] = stride;
        uint32_t row = add_gathered(at, node->operands[0], width, positions, 1);
        sum = sum == FORM_NONE ? row : body_add_map(at, OP_add, sum, row);
    }
    return sum;
}

/* exp(x - max) / sum */
static uint32_t lower_softmax(BodyLowering *at, const Node *node) {
    uint32_t x = body_element(at, node->operands[0], ROLE_FULL);
    uint32_t maximum = body_add_reduction(at, FORM_MAX_COLS, x);
    uint32_t power = body_add_map(at, OP_exp, body_add_map(at, OP_sub, x, maximum), FORM_NONE);
    uint32_t sum = body_add_reduction(at, FORM_SUM_COLS, power);
    return body_add_map(at, OP_div, power, sum);
}

/* ---- Nodes ----------------------------------------------------------------------------------------------------- */

static uint32_t lower_sum(BodyLowering *at, size_t i) {
    const Node *node = at->space->nodes[i];
    bool is_summing = type_n_elements(&node->operands[0]->type) > type_n_elements(&node->results[0].type);
    if (!is_summing)
        return body_element(at, node->operands[0], at->space->roles[i]);
    uint32_t x = body_element(at, node->operands[0], ROLE_FULL);
    return body_add_reduction(at, at->space->roles[i] == ROLE_COL ? FORM_SUM_ROWS : FORM_SUM_COLS, x);
}

static uint32_t lower_map(BodyLowering *at, const Node *node, Role role) {
    uint32_t elements[2] = {FORM_NONE, FORM_NONE};
    assert(op_info(node->op)->class == OP_CLASS_MAP && node->n_operands <= 2);
    for (int j = 0; j < node->n_operands; j++)
        elements[j] = body_element(at, node->operands[j], role);
    return body_add_map(at, node->op, elements[0], elements[1]);
}

/* Sets the instructions of the node's results; an update has none. */
static void lower_node(BodyLowering *at, size_t i) {
    const Node *node = at->space->nodes[i];
    Role role = at->space->roles[i];
    uint32_t x;
    switch (node->op) {
    case OP_reduce_sum:
        at->instrs[i][0] = lower_sum(at, i);
        break;
    case OP_sum_squares:
        x = at->space->n_pieces > 0 ? piece_element(at) : body_element(at, node->operands[0], ROLE_FULL);
        at->instrs[i][0] = body_add_reduction(at, FORM_SUM_COLS, body_add_map(at, OP_mul, x, x));
        break;
    case OP_softmax:
        at->instrs[i][0] = lower_softmax(at, node);
        break;
    case OP_logsumexp:
        at->instrs[i][0] = body_add_reduction(at, FORM_LOGSUMEXP_COLS, body_element(at, node->operands[0], ROLE_FULL));
        break;
    case OP_cross_entropy:
        body_lower_cross_entropy(at, i);
        break;
    case OP_cross_entropy_grad:
        at->instrs[i][0] = body_lower_cross_entropy_grad(at, node);
        break;
    case OP_dispatch:
        at->instrs[i][0] = lower_dispatch_rows(at, node, role);
        break;
    case OP_combine:
        at->instrs[i][0] = lower_combine_rows(at, node);
        break;
    case OP_accumulate:
        body_add(at, (FormInstr){.op = starts_state(node) ? FORM_STORE : FORM_ADD,
                                 .a = body_element(at, node->operands[1], role),
                                 .map = body_state_access(at, i, 0)});
        break;
    case OP_adamw:
        body_lower_adamw(at, i);
        break;
    case OP_rope:
        at->instrs[i][0] = body_lower_rope(at, node);
        break;
    case OP_to_bf16: /* rounded where it is stored, or read */
    case OP_to_f32:  /* elements are floats as soon as they are loaded */
        at->instrs[i][0] = body_element(at, node->operands[0], role);
        break;
    default:
        at->instrs[i][0] = lower_map(at, node, role);
    }
}

static void store(BodyLowering *at, size_t i, int result) {
    Node *node = at->space->nodes[i];
    body_add(at, (FormInstr){.op = FORM_STORE,
                             .a = at->instrs[i][result],
                             .map = body_access(at, &node->results[result], at->space->roles[i], FORM_OUT)});
}

/* ---- Bodies ----------------------------------------------------------------------------------------------------- */

/* The name of the type's dim that is the index alone: what lies behind both has as many elements. */
static const char *dim_name(const Space *space, const Type *type, int index) {
    int64_t n_behind = 1, stride = 1;
    for (int i = index + 1; i < space->n_row_indices + space->n_col_indices; i++)
        n_behind *= space->extents[i];
    for (int dim = type->rank - 1; dim >= 0 && stride <= n_behind; dim--) {
        if (stride == n_behind && type->dims[dim].extent == space->extents[index])
            return type->dims[dim].name;
        stride *= type->dims[dim].extent;
    }
    return NULL;
}

/* Of the first value with an element for each row and column that has one. */
static const char *index_name(const Lowering *at, const Space *space, int index) {
    for (size_t i = 0; i < space->n_nodes; i++) {
        const Node *node = space->nodes[i];
        for (int j = -1; j < node->n_operands; j++) {
            const Type *type = j < 0 ? &node->results[0].type : &node->operands[j]->type;
            bool is_full = type_n_elements(type) == space->n_rows * space->n_cols;
            const char *name = is_full ? identifier_of(at->arena, dim_name(space, type, index)) : NULL;
            if (name)
                return name;
        }
    }
    if (space->top_k)
        return identifier_of(at->arena, dim_name(space, &space->top_k->operands[0]->type, index));
    return NULL;
}

void body_set_indices(const Lowering *at, const Space *space, FormBody *body) {
    static const char *const positions[SPACE_MAX_INDICES] = {"i", "j", "k", "l", "m", "n", "o", "p"};
    body->n_indices = space->n_row_indices + space->n_col_indices;
    for (int i = 0; i < body->n_indices; i++) {
        const char *name = index_name(at, space, i);
        for (int j = 0; j < i && name; j++)
            name = strcmp(body->indices[j].name, name) == 0 ? NULL : name;
        body->indices[i] = (FormIndex){
            .name = name ? name : positions[i], .extent = space->extents[i], .is_col = i >= space->n_row_indices};
    }
}

/* Arguments that the block writes come before those that it reads. */
void body_add_results(BodyLowering *at) {
    for (size_t i = 0; i < at->space->n_nodes; i++) {
        Node *node = at->space->nodes[i];
        bool is_update = op_info(node->op)->class == OP_CLASS_UPDATE;
        for (int j = 0; j < node->n_results; j++) {
            if (is_update)
                body_state_access(at, i, j);
            else if (is_stored(at->lowering, &node->results[j]))
                body_access(at, &node->results[j], at->space->roles[i],
                            replaced_by(at->lowering, &node->results[j]) ? FORM_INOUT : FORM_OUT);
        }
    }
}

/* What of the block's results must be stored, of those that are written over something, or of all others. */
static void store_results(BodyLowering *at, size_t i, bool is_over) {
    const Node *node = at->space->nodes[i];
    for (int j = 0; j < node->n_results; j++) {
        const Value *result = &node->results[j];
        if (is_stored(at->lowering, result) && (replaced_by(at->lowering, result) != NULL) == is_over)
            store(at, i, j);
    }
}

/* The nodes that are not done yet. What is written over something is written when all have read that. */
void body_lower_nodes(BodyLowering *at, const bool *is_done) {
    for (size_t i = 0; i < at->space->n_nodes; i++) {
        if (op_info(at->space->nodes[i]->op)->class != OP_CLASS_CONTRACT && !is_done[i])
            lower_node(at, i);
        store_results(at, i, false);
    }
    for (size_t i = 0; i < at->space->n_nodes; i++)
        store_results(at, i, true);
}

/* ---- Products --------------------------------------------------------------------------------------------------- */

static bool is_mode(const Node *product, const char *mode) {
    return strcmp(attrs_string(&product->attrs, "mode", ""), mode) == 0;
}

/* Whether rows of the operand are just gathered, and rows and columns are told apart by their strides. */
static bool is_gather_only(const Space *part) {
    return part && part->n_nodes == 1 && part->nodes[0]->op == OP_dispatch && part->n_rows > 1 && part->n_cols > 1;
}

/* Strides of the operand's tensor [major, minor] with `width` minor elements. */
static void set_strides(FormOperand *operand, const Node *product, bool is_lhs, int64_t width) {
    operand->k_is_major = is_mode(product, "tn") || (!is_lhs && is_mode(product, "nn"));
    operand->stride = operand->k_is_major ? 1 : width;
    operand->k_stride = operand->k_is_major ? width : 1;
}

FormBody *body_lower_part(Lowering *at, const Space *space, Value *value) {
    FormBody *body = arena_new_of(at->arena, FormBody);
    BodyLowering part = {.lowering = at, .space = space, .body = body};
    body_set_indices(at, space, body);
    for (size_t i = 0; i < space->n_nodes; i++)
        lower_node(&part, i);
    body->yield = part.instrs[space_find(space, view_owner(value)->def)][0];
    return body;
}

static void set_memory(Lowering *at, FormOperand *operand, Value *value) {
    View view;
    bool has_map = view_of(value, &view); /* dense: passes/layout.c */
    assert(has_map);
    (void)has_map;
    operand->arg = lowering_argument(at, &view, FORM_IN, type_n_elements(&value->type));
}

static void lower_operand(Lowering *at, int index, const Node *product, bool is_lhs) {
    const SpaceOperand *source = &at->space->operands[index];
    FormOperand *operand = &at->form->operands[index];
    int64_t width = type_extent(&source->value->type, -1);
    if (operand->name)
        return;
    *operand = (FormOperand){
        .name = arena_printf(at->arena, "%c", 'a' + index), .arg = FORM_NONE, .gather = FORM_NONE, .gather_divisor = 1};
    set_strides(operand, product, is_lhs, width);
    if (is_gather_only(source->part)) {
        const Node *dispatch = source->part->nodes[0];
        View view;
        set_memory(at, operand, dispatch->operands[0]);
        view_of(dispatch->operands[1], &view);
        operand->gather = lowering_argument(at, &view, FORM_IN, type_n_elements(&dispatch->operands[1]->type));
        if (!attrs_bool(&dispatch->attrs, "per_slot", false))
            operand->gather_divisor = type_extent(&dispatch->operands[2]->type, -1);
    } else if (source->part) {
        operand->part = body_lower_part(at, source->part, source->value);
    } else {
        set_memory(at, operand, source->value);
        bool is_of_experts = product->op == OP_grouped_matmul && !is_lhs && !is_mode(product, "tn");
        if (is_of_experts)
            operand->group_stride = type_span(&source->value->type, 1, source->value->type.rank);
    }
}

/* The number of terms of the sum: the operand's other dim. */
static int64_t n_terms(const Node *product) {
    const Type *a = &product->operands[0]->type;
    return is_mode(product, "tn") ? type_n_elements(a) / type_extent(a, -1) : type_extent(a, -1);
}

static void lower_ragged(Lowering *at) {
    const Node *first = at->space->products[0].node;
    Form *form = at->form;
    form->n_groups = 1;
    form->offsets = FORM_NONE;
    if (first->op != OP_grouped_matmul)
        return;
    View view;
    view_of(first->operands[2], &view);
    form->ragged = is_mode(first, "tn") ? FORM_RAGGED_K : FORM_RAGGED_ROWS;
    form->n_groups = first->operands[2]->type.dims[0].extent - 1;
    form->offsets = lowering_argument(at, &view, FORM_IN, form->n_groups + 1);
}

/* How often the block's nodes read what node i makes. */
static int n_uses(const Space *space, size_t i) {
    int n = 0;
    for (size_t j = 0; j < space->n_nodes; j++) {
        for (int k = 0; k < space->nodes[j]->n_operands; k++)
            n += view_owner(space->nodes[j]->operands[k]) == &space->nodes[i]->results[0];
    }
    return n;
}

/* Products that are only added to each other are one sum: sets the result of each product, and is_sum for the adds. */
static void join_results(Lowering *at, bool *is_sum) {
    const Space *space = at->space;
    int results[SPACE_MAX_NODES]; /* of a node that is a product or a sum of them; -1 */
    for (size_t i = 0; i < space->n_nodes; i++) {
        const Node *node = space->nodes[i];
        results[i] = -1;
        is_sum[i] = false;
        for (int j = 0; j < space->n_products; j++)
            results[i] = space->products[j].node == node ? j : results[i];
        if (node->op != OP_add)
            continue;
        int sources[2];
        bool is_joined = true;
        for (int j = 0; j < 2; j++) {
            sources[j] = space_find(space, view_owner(node->operands[j])->def);
            is_joined = is_joined && sources[j] >= 0 && results[sources[j]] >= 0 &&
                        n_uses(space, (size_t)sources[j]) == 1 && !is_stored(at, &space->nodes[sources[j]]->results[0]);
        }
        if (!is_joined)
            continue;
        int left = at->form->products[results[sources[0]]].result;
        int right = at->form->products[results[sources[1]]].result;
        for (int j = 0; j < space->n_products; j++) { /* the lower number stands for both */
            if (at->form->products[j].result == (left < right ? right : left))
                at->form->products[j].result = left < right ? left : right;
        }
        results[i] = results[sources[0]];
        is_sum[i] = true;
    }
}

/* Results count from 0 without gaps, in the order of the products. */
static void number_results(Form *form) {
    int numbers[FORM_MAX_PRODUCTS], n = 0;
    for (int i = 0; i < form->n_products; i++) {
        int result = form->products[i].result;
        if (result == i) /* the first of its sum */
            numbers[i] = n++;
        form->products[i].result = numbers[result];
    }
    form->n_results = n;
}

/* The form's products, and the instructions of their results and of sums of them. */
static void lower_products(BodyLowering *body, bool *is_sum) {
    Lowering *at = body->lowering;
    const Space *space = at->space;
    Form *form = at->form;
    lower_ragged(at);
    form->n_operands = space->n_operands;
    form->n_products = space->n_products;
    for (int i = 0; i < space->n_products; i++) {
        const SpaceProduct *product = &space->products[i];
        lower_operand(at, product->lhs, product->node, true);
        lower_operand(at, product->rhs, product->node, false);
        form->products[i] = (FormProduct){product->lhs, product->rhs, n_terms(product->node), i};
    }
    join_results(at, is_sum);
    number_results(form);
    for (int i = 0; i < space->n_products; i++) {
        FormInstr sum = {.op = FORM_SUM,
                         .a = FORM_NONE,
                         .b = FORM_NONE,
                         .map.gather = FORM_NONE,
                         .result = form->products[i].result};
        body->instrs[space_find(space, space->products[i].node)][0] = body_add(body, sum);
    }
    for (size_t i = 0; i < space->n_nodes; i++) {
        if (is_sum[i])
            body->instrs[i][0] = body->instrs[space_find(space, view_owner(space->nodes[i]->operands[0])->def)][0];
    }
}

static void set_pieces(Lowering *at) {
    const Space *space = at->space;
    at->form->n_pieces = (size_t)space->n_pieces;
    at->form->pieces = arena_array_of(at->arena, int64_t, at->form->n_pieces);
    for (int i = 0; i < space->n_pieces; i++)
        at->form->pieces[i] = type_n_elements(&space_piece(space, 0, i)->type);
}

LoweredBlock lower_block(Arena *arena, const Space *space, const LoweredStorage *storage, const char *name,
                         bool is_named) {
    Form *form = form_new(arena, name);
    Lowering at = {.arena = arena, .space = space, .storage = storage, .is_named = is_named, .form = form};
    BodyLowering body = {.lowering = &at, .space = space, .body = &form->body};
    bool is_done[SPACE_MAX_NODES] = {false}; /* sums of products */
    if (space->kind == SPACE_ATTENTION) {
        lower_attention(&at);
        form_merge_indices(form);
        return (LoweredBlock){form, at.arguments, at.n_arguments};
    }
    find_all_replaced(&at);
    set_pieces(&at);
    body_set_indices(&at, space, &form->body);
    body_add_results(&body);
    if (space->kind == SPACE_PRODUCT) {
        form->kind = FORM_KIND_PRODUCT;
        lower_products(&body, is_done);
    }
    if (space->kind == SPACE_ROUTE)
        body_add_route_results(&body);
    body_lower_nodes(&body, is_done);
    if (space->kind == SPACE_ROUTE)
        body_lower_scores(&body);
    form_merge_indices(form);
    if (form->kind == FORM_KIND_PRODUCT)
        lowering_add_packed(&at);
    return (LoweredBlock){form, at.arguments, at.n_arguments};
}
