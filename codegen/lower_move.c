/* Movement along a dim or an index. An index that is out of range reads NaN (-1 in i32) and writes nowhere: it comes
   from data, and a loss that is NaN is seen. */
#include <assert.h>
#include <math.h>

#include "codegen/lower.h"
#include "ir/view.h"

static uint32_t add_constant(NodeLowering *at, double value) {
    return lower_instr(at, (FormInstr){.op = FORM_CONST, .value = value, .map.gather = FORM_NONE});
}

/* The whole number that the map, of no argument, counts to; -1 where it is not below the limit, if there is one. */
static uint32_t add_number(NodeLowering *at, FormAccessMap map, int64_t limit) {
    map.arg = map.gather = FORM_NONE;
    return lower_instr(at, (FormInstr){.op = FORM_POSITION, .map = map, .divisor = 1, .limit = limit});
}

/* Whole numbers that `map` reads. */
static uint32_t add_position(NodeLowering *at, FormAccessMap map, int64_t divisor, int64_t limit) {
    map.gather = FORM_NONE;
    return lower_instr(at, (FormInstr){.op = FORM_POSITION, .map = map, .divisor = divisor, .limit = limit});
}

/* Of integers, which forms hold as positions only. */
void lower_copy(NodeLowering *at) {
    static const char *const names[MAX_RANK] = {"i", "j", "k", "l", "m", "n"};
    const Type *type = &at->node->results[0].type;
    Value *x = at->node->operands[0];
    FormAccessMap from = {.gather = FORM_NONE}, to = {.arg = lower_result(at, "y", 0), .gather = FORM_NONE};
    View view;
    bool has_map = view_of(x, &view);
    assert(has_map);
    (void)has_map;
    int64_t dense[MAX_RANK], n_reached = 1;
    type_strides(type, dense);
    for (int dim = 0; dim < type->rank; dim++) {
        lower_index(at, names[dim], type->dims[dim].extent, dim == type->rank - 1);
        to.strides[dim] = dense[dim];
        from.strides[dim] = view.strides[dim];
        n_reached += (type->dims[dim].extent - 1) * view.strides[dim];
    }
    const Node *owner = view.owner->def;
    if (owner->op == OP_constant) {
        from = (FormAccessMap){.offset = (int64_t)attrs_float(&owner->attrs, "value", 0)};
        lower_store(at, to, add_number(at, from, 0));
        return;
    }
    from.arg = lower_argument(at, "x", x, n_reached, FORM_IN);
    lower_store(at, to, lower_read(at, from, FORM_NONE));
}

/* ---- Along a dim ---------------------------------------------------------------------------------------------- */

enum { OUTER, ALONG, INNER }; /* indices: dims before the one that counts, that one, dims behind it */

static void add_indices(NodeLowering *at, int dim, int64_t extent) {
    const Type *whole = &at->node->results[0].type;
    int64_t n_inner = type_span(whole, dim + 1, whole->rank);
    lower_index(at, "o", type_span(whole, 0, dim), false);
    lower_index(at, "c", extent, n_inner == 1);
    lower_index(at, "i", n_inner, true);
}

/* The map of a dense array with `extent` elements along the dim. */
static FormAccessMap dense_map(const NodeLowering *at, uint32_t arg, int64_t extent) {
    int64_t n_inner = at->lowered->form->body.indices[INNER].extent;
    return (FormAccessMap){.arg = arg, .strides = {extent * n_inner, n_inner, 1}, .gather = FORM_NONE};
}

/* Operand `operand`, from `start` on along the dim, `extent` of it; `otherwise` elsewhere. */
static uint32_t add_part(NodeLowering *at, uint32_t arg, int64_t start, int64_t extent, uint32_t otherwise) {
    FormAccessMap place = {.offset = -start, .strides = {[ALONG] = 1}}, from = dense_map(at, arg, extent);
    from.gather = add_number(at, place, extent);
    from.gather_stride = from.strides[ALONG];
    from.strides[ALONG] = 0;
    return lower_read(at, from, otherwise);
}

static bool are_of_one_extent(const Node *node, int dim) {
    for (int i = 1; i < node->n_operands; i++) {
        if (lower_operand_type(node, i)->dims[dim].extent != lower_operand_type(node, 0)->dims[dim].extent)
            return false;
    }
    return true;
}

/* Parts that are as large as each other are copied side by side. */
void lower_concat(NodeLowering *at) {
    const Node *node = at->node;
    int dim = (int)attrs_int(&node->attrs, "dim", 0);
    int64_t whole = node->results[0].type.dims[dim].extent, start = 0;
    bool is_even = are_of_one_extent(node, dim);
    add_indices(at, dim, is_even ? whole / node->n_operands : whole);
    FormAccessMap to = dense_map(at, lower_result(at, "y", 0), whole);
    uint32_t value = FORM_NONE;
    for (int i = 0; i < node->n_operands; i++) {
        int64_t extent = lower_operand_type(node, i)->dims[dim].extent;
        uint32_t x = lower_operand(at, arena_printf(at->arena, "x%d", i), i);
        value = is_even ? lower_read(at, dense_map(at, x, extent), FORM_NONE) : add_part(at, x, start, extent, value);
        to.offset = start * to.strides[ALONG];
        if (is_even)
            lower_store(at, to, value);
        start += extent;
    }
    to.offset = 0;
    if (!is_even)
        lower_store(at, to, value);
}

void lower_pad(NodeLowering *at) {
    const Node *node = at->node;
    int dim = (int)attrs_int(&node->attrs, "dim", 0);
    const Type *x = lower_operand_type(node, 0), *whole = &node->results[0].type;
    add_indices(at, dim, whole->dims[dim].extent);
    FormAccessMap to = dense_map(at, lower_result(at, "y", 0), whole->dims[dim].extent);
    uint32_t zero = x->dtype == DTYPE_I32 ? add_number(at, (FormAccessMap){0}, 0) : add_constant(at, 0);
    lower_store(
        at, to,
        add_part(at, lower_operand(at, "x", 0), attrs_int(&node->attrs, "before", 0), x->dims[dim].extent, zero));
}

/* ---- Along an index ------------------------------------------------------------------------------------------- */

enum { ROW, COLUMN }; /* indices */

static void add_rows(NodeLowering *at, int64_t n_rows, int64_t n_columns) {
    lower_index(at, "r", n_rows, false);
    lower_index(at, "c", n_columns, true);
}

/* Column `column` of an array of rows. */
static FormAccessMap column_map(uint32_t arg, int64_t width, int64_t column) {
    return (FormAccessMap){.arg = arg, .offset = column, .strides = {[ROW] = width}, .gather = FORM_NONE};
}

/* The element at the row and column. */
static FormAccessMap element_map(uint32_t arg, int64_t width) {
    return (FormAccessMap){.arg = arg, .strides = {[ROW] = width, [COLUMN] = 1}, .gather = FORM_NONE};
}

/* The element at the column of the row that the position says. */
static FormAccessMap gathered_map(uint32_t arg, int64_t width, uint32_t position) {
    return (FormAccessMap){.arg = arg, .strides = {[COLUMN] = 1}, .gather = position, .gather_stride = width};
}

/* What an index out of range reads. */
static uint32_t missing(NodeLowering *at, DType dtype) {
    return dtype == DTYPE_I32 ? FORM_NONE : add_constant(at, (double)NAN);
}

void lower_gather(NodeLowering *at) {
    const Type *table = lower_operand_type(at->node, 0);
    int64_t width = type_span(table, 1, table->rank);
    add_rows(at, type_n_elements(lower_operand_type(at->node, 1)), width);
    uint32_t out = lower_result(at, "y", 0), rows = lower_operand(at, "table", 0);
    uint32_t position = add_position(at, column_map(lower_operand(at, "indices", 1), 1, 0), 1, table->dims[0].extent);
    uint32_t value = lower_read(at, gathered_map(rows, width, position), missing(at, table->dtype));
    lower_store(at, element_map(out, width), value);
}

/* Adds the rows of x up in those of the result that the positions say. */
static void add_scattered(NodeLowering *at, uint32_t out, uint32_t x, int64_t width, uint32_t position) {
    uint32_t value = lower_read(at, element_map(x, width), FORM_NONE);
    lower_instr(at, (FormInstr){.op = FORM_SCATTER, .a = value, .map = gathered_map(out, width, position)});
}

void lower_scatter_add(NodeLowering *at) {
    const Type *rows = &at->node->results[0].type;
    int64_t width = type_span(rows, 1, rows->rank);
    add_rows(at, type_n_elements(lower_operand_type(at->node, 1)), width);
    uint32_t out = lower_result(at, "y", 0), x = lower_operand(at, "x", 0), indices = lower_operand(at, "indices", 1);
    add_scattered(at, out, x, width, add_position(at, column_map(indices, 1, 0), 1, rows->dims[0].extent));
}

void lower_gather_last(NodeLowering *at) {
    const Type *x = lower_operand_type(at->node, 0), *indices = lower_operand_type(at->node, 1);
    int64_t n_choices = type_extent(indices, -1), width = type_extent(x, -1);
    add_rows(at, type_n_elements(indices) / n_choices, n_choices);
    uint32_t out = lower_result(at, "y", 0);
    FormAccessMap from = column_map(lower_operand(at, "x", 0), width, 0);
    from.gather = add_position(at, element_map(lower_operand(at, "indices", 1), n_choices), 1, width);
    from.gather_stride = 1;
    lower_store(at, element_map(out, n_choices), lower_read(at, from, missing(at, x->dtype)));
}

/* Each column takes what is of it among the choices of its row. */
void lower_scatter_last(NodeLowering *at) {
    const Type *result = &at->node->results[0].type;
    int64_t n_choices = type_extent(lower_operand_type(at->node, 1), -1), width = type_extent(result, -1);
    add_rows(at, type_n_elements(result) / width, width);
    uint32_t out = lower_result(at, "y", 0), x = lower_operand(at, "x", 0), indices = lower_operand(at, "indices", 1);
    FormAccessMap own = {.arg = FORM_NONE, .strides = {[COLUMN] = 1}, .gather = FORM_NONE};
    uint32_t column = lower_instr(at, (FormInstr){.op = FORM_INDEX, .map = own}), sum = FORM_NONE;
    for (int64_t choice = 0; choice < n_choices; choice++) {
        FormInstr chosen = {.op = FORM_LOAD, .map = column_map(indices, n_choices, choice)};
        FormInstr is = {.op = FORM_EQUAL, .a = column, .b = lower_instr(at, chosen), .map.gather = FORM_NONE};
        uint32_t value = lower_read(at, column_map(x, n_choices, choice), FORM_NONE), zero = add_constant(at, 0);
        FormInstr taken = {.op = FORM_SELECT, .a = lower_instr(at, is), .b = value, .c = zero, .map.gather = FORM_NONE};
        value = lower_instr(at, taken);
        sum = choice == 0 ? value : lower_map(at, OP_add, sum, value);
    }
    lower_store(at, element_map(out, width), sum);
}

/* ---- Rows of experts ------------------------------------------------------------------------------------------ */

static bool is_per_slot(const Node *node) {
    return attrs_bool(&node->attrs, "per_slot", false);
}

void lower_dispatch(NodeLowering *at) {
    const Type *result = &at->node->results[0].type;
    int64_t width = type_span(result, 1, result->rank);
    int64_t n_shared = is_per_slot(at->node) ? 1 : type_extent(lower_operand_type(at->node, 2), -1);
    add_rows(at, result->dims[0].extent, width);
    uint32_t out = lower_result(at, "y", 0), x = lower_operand(at, "x", 0);
    uint32_t position = add_position(at, column_map(lower_operand(at, "slot_of_row", 1), 1, 0), n_shared, 0);
    lower_store(at, element_map(out, width), lower_read(at, gathered_map(x, width, position), FORM_NONE));
}

/* Per slot, each of which has a row or none. */
void lower_combine(NodeLowering *at) {
    const Type *rows = lower_operand_type(at->node, 0);
    int64_t width = type_span(rows, 1, rows->rank);
    assert(is_per_slot(at->node) && "the rest have a space");
    add_rows(at, type_n_elements(&at->node->results[0].type) / width, width);
    uint32_t out = lower_result(at, "y", 0), x = lower_operand(at, "x", 0);
    uint32_t position = add_position(at, column_map(lower_operand(at, "row_of_slot", 2), 1, 0), 1, 0);
    lower_store(at, element_map(out, width), lower_read(at, gathered_map(x, width, position), FORM_NONE));
}

/* The expert whose rows the form's row is one of. */
static uint32_t add_group(NodeLowering *at, int64_t n_groups) {
    FormAccessMap row = column_map(lower_operand(at, "offsets", 1), 1, 0);
    return lower_instr(at, (FormInstr){.op = FORM_GROUP, .map = row, .divisor = n_groups});
}

void lower_grouped_broadcast(NodeLowering *at) {
    const Type *vectors = lower_operand_type(at->node, 0), *result = &at->node->results[0].type;
    int64_t width = type_span(vectors, 1, vectors->rank);
    add_rows(at, result->dims[0].extent, width);
    uint32_t out = lower_result(at, "y", 0), w = lower_operand(at, "w", 0);
    uint32_t group = add_group(at, vectors->dims[0].extent);
    lower_store(at, element_map(out, width), lower_read(at, gathered_map(w, width, group), FORM_NONE));
}

void lower_grouped_sum(NodeLowering *at) {
    const Type *result = &at->node->results[0].type;
    int64_t width = type_span(result, 1, result->rank);
    add_rows(at, lower_operand_type(at->node, 0)->dims[0].extent, width);
    uint32_t out = lower_result(at, "y", 0), x = lower_operand(at, "x", 0);
    add_scattered(at, out, x, width, add_group(at, result->dims[0].extent));
}
