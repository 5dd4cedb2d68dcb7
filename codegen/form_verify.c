/* The invariants of a form, in the order in which spec/kernels.md lists them. */
#include <math.h>
#include <string.h>

#include "codegen/c_words.h"
#include "codegen/form_internal.h"
#include "codegen/form_route.h"

typedef struct {
    Arena *arena;
    const Form *form;
    const FormBody *body;   /* being checked: the kernel's, that of an operand, or that of a result of attention */
    const char *where;      /* "" or "part h: " */
    bool is_of_result;      /* the body is that of a result of attention */
    const FormInstr *instr; /* being checked */
    const char *tensor;     /* of attention, that is being checked, or NULL */
} Verifier;

__attribute__((format(printf, 2, 3))) static const char *broken(const Verifier *v, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    const char *reason = arena_vprintf(v->arena, format, arguments);
    va_end(arguments);
    const char *what = "";
    if (v->tensor != NULL)
        what = arena_printf(v->arena, "tensor %s: ", v->tensor);
    else if (v->instr != NULL)
        what = arena_printf(v->arena, "instruction %zu, %s: ", (size_t)(v->instr - v->body->instrs),
                            form_instr_word(v->instr));
    return arena_printf(v->arena, "form %s: %s%s%s", v->form->name, v->where, what, reason);
}

/* ---- Arguments and indices ------------------------------------------------------------------------------------- */

static bool holds_route_result(const Form *form, size_t arg) {
    bool holds = false;
    for (int i = 0; i < FORM_ROUTE_RESULT_COUNT && form->kind == FORM_KIND_ROUTE; i++)
        holds = holds || form->route.results[i] == arg;
    return holds;
}

static const char *check_args(const Verifier *v) {
    const Form *form = v->form;
    if (!c_is_identifier(form->name))
        return broken(v, "its name is no identifier of C");
    for (size_t i = 0; i < form->n_args; i++) {
        const FormArg *arg = &form->args[i];
        if (!c_is_identifier(arg->name) || form_find_arg(form, arg->name) != (int64_t)i)
            return broken(v, "argument '%s': a name must be an identifier of C, and no two are equal", arg->name);
        if (arg->dtype != DTYPE_F32 && arg->dtype != DTYPE_BF16 && arg->dtype != DTYPE_I32)
            return broken(v, "argument %s is of %s; it can be of f32, bf16 or i32", arg->name, dtype_name(arg->dtype));
        bool can_be_written = arg->dtype != DTYPE_I32 || holds_route_result(form, i) ||
                              (form->kind == FORM_KIND_ROWS && arg->access == FORM_OUT);
        if (arg->access != FORM_IN && !can_be_written)
            return broken(v, "argument %s of integers can be no more than `out`, and that of rows", arg->name);
        if (arg->n_elements < 1 || arg->n_elements > MAX_ELEMENTS)
            return broken(v, "argument %s has %lld elements; it can have from 1 to 2^48", arg->name,
                          (long long)arg->n_elements);
    }
    return NULL;
}

static const char *check_indices(const Verifier *v) {
    const FormBody *body = v->body;
    int64_t n_elements = 1;
    for (int i = 0; i < body->n_indices; i++) {
        const FormIndex *index = &body->indices[i];
        if (!c_is_identifier(index->name))
            return broken(v, "index '%s': a name must be an identifier of C", index->name);
        for (int j = 0; j < i; j++) {
            if (strcmp(index->name, body->indices[j].name) == 0)
                return broken(v, "two indices have the name %s", index->name);
        }
        if (i > 0 && body->indices[i - 1].is_col && !index->is_col)
            return broken(v, "row index %s stands behind a column's", index->name);
        if (index->extent < 1 || index->extent > MAX_ELEMENTS / n_elements)
            return broken(v, "index %s runs to %lld; an extent is at least 1, and all together at most 2^48",
                          index->name, (long long)index->extent);
        n_elements *= index->extent;
    }
    return NULL;
}

/* ---- Pieces ---------------------------------------------------------------------------------------------------- */

/* Of each argument that the instruction names: in pieces, it is stepped through one by one; else it stays. */
static const char *check_piece_access(Verifier *v, const FormInstr *instr) {
    v->instr = instr;
    const FormAccessMap *map = &instr->map;
    bool is_in_pieces = map->arg != FORM_NONE && v->form->args[map->arg].is_in_pieces;
    if (is_in_pieces && (map->offset != 0 || map->strides[0] != 1 || map->gather != FORM_NONE))
        return broken(v, "what is in pieces is read and written column by column");
    if (!is_in_pieces && form_map_varies(v->body, map, true))
        return broken(v, "what is not in pieces is the same for all columns");
    v->instr = NULL;
    return NULL;
}

static const char *check_pieces(Verifier *v) {
    const Form *form = v->form;
    const FormBody *body = v->body;
    int64_t n_columns = 0;
    for (size_t i = 0; i < form->n_pieces && n_columns <= MAX_ELEMENTS; i++)
        n_columns += form->pieces[i];
    bool is_list = form->n_pieces > 0 && form->kind == FORM_KIND_ROWS && body->n_indices == 1 &&
                   body->indices[0].is_col && body->indices[0].extent == n_columns;
    if (form->n_pieces > 0 && !is_list)
        return broken(v, "of a form in pieces, one column index counts through all %lld columns of these",
                      (long long)n_columns);
    for (size_t i = 0; i < form->n_args; i++) {
        const FormArg *arg = &form->args[i];
        if (arg->is_in_pieces && (!is_list || arg->n_elements != n_columns))
            return broken(v, "argument %s is not in the form's pieces", arg->name);
    }
    const char *error = NULL;
    for (size_t i = 0; i < body->n_instrs && is_list && error == NULL; i++) {
        if (form_instr_has_map(&body->instrs[i]))
            error = check_piece_access(v, &body->instrs[i]);
        if (error == NULL && body->instrs[i].op == FORM_SUM_ROWS)
            error = broken(v, "a form in pieces has no sums over rows");
    }
    return error;
}

/* ---- Maps ------------------------------------------------------------------------------------------------------ */

/* How many elements after `from` the steps can reach; -1: more than `room`. */
static int64_t take_room(int64_t room, int64_t stride, int64_t extent) {
    if (room < 0 || extent == 1)
        return room;
    return stride > room / (extent - 1) ? -1 : room - stride * (extent - 1);
}

/* Whether the map gives a number, and names no element. */
static bool is_number(const FormInstr *instr) {
    return instr->op == FORM_INDEX || instr->op == FORM_GROUP || instr->op == FORM_RESULT ||
           (instr->op == FORM_POSITION && instr->map.arg == FORM_NONE);
}

/* How many numbers there are for what gives one. */
static int64_t n_numbers(const Verifier *v) {
    return v->instr->op == FORM_INDEX    ? FORM_INDEX_END
           : v->instr->op == FORM_RESULT ? v->form->body.indices[ATTENTION_COLUMN].extent
                                         : MAX_ELEMENTS;
}

static const char *check_gather_map(const Verifier *v, const FormAccessMap *map) {
    FormOp op = v->instr->op;
    bool gathers = map->gather != FORM_NONE;
    if (op == FORM_SCATTER && !gathers)
        return broken(v, "it has no position to scatter to");
    if (!gathers)
        return NULL;
    if (is_number(v->instr) || (op != FORM_LOAD && op != FORM_POSITION && op != FORM_SCATTER))
        return broken(v, "only loads, positions that are read, and scatters gather");
    if (map->gather >= (size_t)(v->instr - v->body->instrs) || !form_instr_is_position(&v->body->instrs[map->gather]))
        return broken(v, "what it gathers by is no position from above");
    if (map->gather_stride < 1 || map->gather_stride > MAX_ELEMENTS)
        return broken(v, "a gather steps by 1 to 2^48 elements");
    return NULL;
}

static const char *check_map(const Verifier *v, const FormAccessMap *map) {
    const FormBody *body = v->body;
    bool is_index = v->instr->op == FORM_INDEX, is_result = v->instr->op == FORM_RESULT;
    bool gives_number = is_number(v->instr);
    bool has_arg = !is_index && !is_result && !(v->instr->op == FORM_POSITION && map->arg == FORM_NONE);
    if (has_arg ? map->arg >= v->form->n_args : map->arg != FORM_NONE)
        return broken(v, has_arg ? "it has no argument" : "it is of no argument");
    const FormArg *arg = gives_number ? NULL : &v->form->args[map->arg];
    int64_t room = (gives_number ? n_numbers(v) : arg->n_elements) - 1;
    bool counts_back = v->instr->op == FORM_POSITION && gives_number;
    bool is_negative = map->offset < (counts_back ? -MAX_ELEMENTS : 0);
    room = map->offset > room ? -1 : room - map->offset;
    for (int i = 0; i < body->n_indices && !is_negative; i++) {
        is_negative = map->strides[i] < 0;
        room = take_room(room, map->strides[i], body->indices[i].extent);
    }
    if (is_negative)
        return broken(v, "offsets and strides are not negative");
    if (room < 0 && is_index)
        return broken(v, "it reaches past 2^24 - 1, and floats hold no more whole numbers");
    if (room < 0 && is_result)
        return broken(v, "it reaches past the %lld columns of a result", (long long)n_numbers(v));
    if (is_result && form_map_varies(body, map, false))
        return broken(v, "a result's element in the row is told by its column alone");
    if (room < 0 && gives_number)
        return broken(v, "it reaches past 2^48");
    if (room < 0)
        return broken(v, "it reaches past the %lld elements of %s", (long long)arg->n_elements, arg->name);
    return check_gather_map(v, map);
}

/* The indices of the body with more than one value that a write runs over, largest stride first. */
typedef struct {
    int n;
    int64_t extents[FORM_MAX_INDICES], strides[FORM_MAX_INDICES];
} Span;

static Span span_of(const Verifier *v, const FormInstr *write) {
    const FormBody *body = v->body;
    Span span = {0};
    bool has_rows = write->level != FORM_LEVEL_COL;
    bool has_cols = write->level != FORM_LEVEL_ROW || body->instrs[write->a].level == FORM_LEVEL_FULL;
    for (int i = 0; i < body->n_indices; i++) {
        const FormIndex *index = &body->indices[i];
        if (index->extent == 1 || !(index->is_col ? has_cols : has_rows))
            continue;
        int64_t stride = write->map.strides[i];
        int at = span.n++;
        for (; at > 0 && span.strides[at - 1] < stride; at--) {
            span.strides[at] = span.strides[at - 1];
            span.extents[at] = span.extents[at - 1];
        }
        span.strides[at] = stride;
        span.extents[at] = index->extent;
    }
    return span;
}

/* Steps of one index never reach as far as one step of the next larger stride. */
static bool is_injective(const Span *span) {
    int64_t reached = 0;
    for (int i = span->n - 1; i >= 0; i--) {
        if (span->strides[i] <= reached)
            return false;
        reached += span->strides[i] * (span->extents[i] - 1);
    }
    return true;
}

/* Whether two index vectors of an injective span, from index i on, are `distance` elements apart. */
static bool is_distance(const Span *span, int i, int64_t distance) {
    if (i == span->n)
        return distance == 0;
    int64_t stride = span->strides[i], steps = distance / stride - (distance % stride < 0 ? 1 : 0);
    for (int more = 0; more <= 1; more++, steps++) {
        if (steps < span->extents[i] && -steps < span->extents[i] &&
            is_distance(span, i + 1, distance - steps * stride))
            return true;
    }
    return false;
}

static int64_t last_of(const Span *span, int64_t offset) {
    for (int i = 0; i < span->n; i++)
        offset += span->strides[i] * (span->extents[i] - 1);
    return offset;
}

static bool writes_overlap(const Verifier *v, const FormInstr *a, const FormInstr *b) {
    Span of_a = span_of(v, a), of_b = span_of(v, b);
    bool same = of_a.n == of_b.n;
    for (int i = 0; i < of_a.n && same; i++)
        same = of_a.strides[i] == of_b.strides[i] && of_a.extents[i] == of_b.extents[i];
    if (same)
        return is_distance(&of_a, 0, a->map.offset - b->map.offset);
    return a->map.offset <= last_of(&of_b, b->map.offset) && b->map.offset <= last_of(&of_a, a->map.offset);
}

/* It is all that the form does, so that rows can be gone through in order. */
static const char *check_scatter(const Verifier *v) {
    const FormBody *body = v->body;
    int n_col_indices = 0;
    for (int i = 0; i < body->n_indices; i++)
        n_col_indices += body->indices[i].is_col;
    if (v->form->kind != FORM_KIND_ROWS || v->form->n_pieces > 0 || n_col_indices > 1)
        return broken(v, "a form of rows, with one index of columns, scatters");
    if (body->instrs[v->instr->map.gather].level != FORM_LEVEL_ROW || form_map_varies(body, &v->instr->map, false))
        return broken(v, "where a row is scattered to, its position alone says");
    if (form_n_cols(body) > 1 && !form_map_varies(body, &v->instr->map, true))
        return broken(v, "all columns of a row are scattered to one element");
    for (size_t i = 0; i < body->n_instrs; i++) {
        const FormInstr *other = &body->instrs[i];
        if (other != v->instr && (form_instr_writes(other) || form_instr_is_reduction(other)))
            return broken(v, "instruction %zu adds up or writes something, beside a scatter", i);
    }
    return NULL;
}

static const char *check_write(const Verifier *v) {
    const FormBody *body = v->body;
    const FormInstr *write = v->instr;
    const FormArg *arg = &v->form->args[write->map.arg];
    if (arg->access == FORM_IN)
        return broken(v, "argument %s is only read", arg->name);
    if (write->op == FORM_ADD && arg->access == FORM_OUT)
        return broken(v, "argument %s is not inout", arg->name);
    bool is_position = form_instr_is_position(&body->instrs[write->a]);
    if (is_position != (arg->dtype == DTYPE_I32) || (is_position && write->op != FORM_STORE))
        return broken(v, "positions, and nothing else, are stored as integers");
    if (arg->dtype == DTYPE_BF16 && write->op != FORM_STORE)
        return broken(v, "argument %s of bf16 is stored to; sums are of f32", arg->name);
    if (write->level == FORM_LEVEL_COL && form_map_varies(body, &write->map, false))
        return broken(v, "a value of columns has no rows to be written to");
    if ((v->form->kind == FORM_KIND_PRODUCT || v->is_of_result) && write->level != FORM_LEVEL_FULL &&
        form_n_cols(body) > 1)
        return broken(v, "what %s writes has an element for each row and column",
                      v->is_of_result ? "a result's body" : "a product");
    if (write->op == FORM_SCATTER)
        return check_scatter(v);
    Span span = span_of(v, write);
    if (!is_injective(&span))
        return broken(v, "it writes elements of %s more than once", arg->name);
    for (const FormInstr *other = body->instrs; other < write; other++) {
        if (form_instr_writes(other) && other->map.arg == write->map.arg && writes_overlap(v, other, write))
            return broken(v, "it writes elements of %s that instruction %zu writes", arg->name,
                          (size_t)(other - body->instrs));
    }
    return NULL;
}

/* ---- Instructions ---------------------------------------------------------------------------------------------- */

static const char *check_operands(const Verifier *v) {
    const FormInstr *instr = v->instr;
    size_t number = (size_t)(instr - v->body->instrs);
    for (int i = 0; i < form_instr_n_operands(instr); i++) {
        uint32_t operand = form_instr_operand(instr, i);
        if (operand >= number)
            return broken(v, "an operand does not come before it");
        const FormInstr *source = &v->body->instrs[operand];
        if (form_instr_writes(source))
            return broken(v, "%%%u has no value", operand);
        bool takes_position = instr->op == FORM_POSITION || instr->op == FORM_STORE;
        if (form_instr_is_position(source) && !takes_position)
            return broken(v, "%%%u is a position, which only gathers and stores of integers take", operand);
        if (instr->op == FORM_POSITION && !form_instr_is_position(source))
            return broken(v, "%%%u is no position", operand);
        if (source->level == FORM_LEVEL_COL && !form_instr_writes(instr))
            return broken(v, "%%%u is a sum over rows, which only a store or an add reads", operand);
    }
    return NULL;
}

static const char *check_place(const Verifier *v) {
    const FormInstr *instr = v->instr;
    bool is_kernel = v->body == &v->form->body, is_product = v->form->kind == FORM_KIND_PRODUCT;
    if ((is_product || form_is_attention(v->form)) && form_instr_is_reduction(instr))
        return broken(v, "%s has no reductions", is_product ? "a product" : "attention");
    if (!is_kernel && !v->is_of_result && form_instr_writes(instr))
        return broken(v, "a part writes nothing");
    if (instr->op == FORM_RESULT && !v->is_of_result)
        return broken(v, "only the body of a result of attention has its elements");
    if (instr->op == FORM_SUM && (!is_kernel || !is_product))
        return broken(v, "only the body of a product has its results");
    if (instr->op == FORM_SUM && (instr->result < 0 || instr->result >= v->form->n_results))
        return broken(v, "there is no result %d", instr->result);
    return NULL;
}

static const char *check_instr(const Verifier *v) {
    const FormInstr *instr = v->instr;
    if (instr->op == FORM_MAP && (instr->map_op >= OP_COUNT || op_info(instr->map_op)->class != OP_CLASS_MAP))
        return broken(v, "it is no map");
    const char *error = check_operands(v);
    if (error == NULL)
        error = check_place(v);
    if (error == NULL && form_instr_has_map(instr))
        error = check_map(v, &instr->map);
    if (error != NULL)
        return error;
    if (instr->level != form_level(v->body, instr))
        return broken(v, "its level does not follow from those of its operands");
    if (form_instr_writes(instr))
        return check_write(v);
    if (form_instr_is_position(instr) && (instr->divisor < 1 || instr->limit < 0))
        return broken(v, "a position is divided by 1 or more");
    if (!form_instr_has_map(instr) || instr->map.arg == FORM_NONE)
        return NULL;
    const FormArg *arg = &v->form->args[instr->map.arg];
    if (arg->access == FORM_OUT)
        return broken(v, "argument %s is only written", arg->name);
    bool can_update = v->body == &v->form->body || v->is_of_result;
    if (arg->access == FORM_INOUT && (instr->map.gather != FORM_NONE || !can_update))
        return broken(v, "argument %s is written, and elements of it are read only where they are", arg->name);
    if (form_instr_is_position(instr) && arg->dtype != DTYPE_I32)
        return broken(v, "positions are of i32");
    if (instr->op == FORM_GROUP && (arg->access != FORM_IN || arg->n_elements < instr->divisor + 1))
        return broken(v, "the offsets of %lld groups are %lld integers that are only read", (long long)instr->divisor,
                      (long long)instr->divisor + 1);
    return NULL;
}

static const char *check_body(Verifier *v, const FormBody *body, const char *where) {
    v->body = body;
    v->where = where;
    const char *error = check_indices(v);
    for (size_t i = 0; i < body->n_instrs && error == NULL; i++) {
        v->instr = &body->instrs[i];
        error = check_instr(v);
    }
    v->instr = NULL;
    if (error != NULL)
        return error;
    bool is_part = body != &v->form->body && !v->is_of_result, yields = body->yield != FORM_NONE;
    bool has_scores = v->form->kind == FORM_KIND_ROUTE && v->form->route.given == FORM_NONE;
    if ((is_part || has_scores) != yields)
        return broken(v, "a part yields a value, a route its scores, and no other body does");
    if (!yields)
        return NULL;
    if (body->yield >= body->n_instrs)
        return broken(v, "what it yields is no value");
    const FormInstr *yield = &body->instrs[body->yield];
    if (form_instr_is_position(yield) || yield->level == FORM_LEVEL_COL || form_instr_writes(yield))
        return broken(v, "what it yields is no value of rows");
    return NULL;
}

/* Of what is loaded and written, an element is loaded where it is written, and before that. */
static const char *check_updates(Verifier *v) {
    const FormBody *body = v->body;
    const char *error = NULL;
    for (size_t i = 0; i < body->n_instrs && error == NULL; i++) {
        v->instr = &body->instrs[i];
        bool is_load = v->instr->op == FORM_LOAD && v->form->args[v->instr->map.arg].access == FORM_INOUT;
        for (size_t j = 0; j < body->n_instrs && is_load && error == NULL; j++) {
            const FormInstr *write = &body->instrs[j];
            if (!form_instr_writes(write) || write->map.arg != v->instr->map.arg)
                continue;
            if (j < i || !form_maps_equal(&v->instr->map, &write->map))
                error = broken(v, "instruction %zu writes %s %s", j, v->form->args[write->map.arg].name,
                               j < i ? "before" : "elsewhere");
        }
    }
    v->instr = NULL;
    return error;
}

static int64_t n_written_by(const Verifier *v, const FormInstr *write) {
    Span span = span_of(v, write);
    int64_t n = 1;
    for (int i = 0; i < span.n; i++)
        n *= span.extents[i];
    return n;
}

/* Elements of the argument that the body writes. */
static int64_t n_written_in_body(const Verifier *v, size_t arg) {
    int64_t n_written = 0;
    for (size_t i = 0; i < v->body->n_instrs; i++) {
        const FormInstr *instr = &v->body->instrs[i];
        if (form_instr_writes(instr) && instr->map.arg == arg)
            n_written += instr->op == FORM_SCATTER ? v->form->args[arg].n_elements : n_written_by(v, instr);
    }
    return n_written;
}

/* Every element of what is to be written. */
static const char *check_coverage(const Verifier *v) {
    for (size_t i = 0; i < v->form->n_args; i++) {
        const FormArg *arg = &v->form->args[i];
        int64_t n_written = n_written_in_body(v, i) + (holds_route_result(v->form, i) ? arg->n_elements : 0);
        if (arg->access == FORM_OUT && n_written != arg->n_elements)
            return broken(v, "%lld of the %lld elements of %s are written", (long long)n_written,
                          (long long)arg->n_elements, arg->name);
    }
    return NULL;
}

/* ---- Products -------------------------------------------------------------------------------------------------- */

static const char *check_ragged(const Verifier *v) {
    const Form *form = v->form;
    if (form->ragged == FORM_DENSE)
        return form->n_groups == 1 && form->offsets == FORM_NONE ? NULL : broken(v, "a dense product has no groups");
    if (form->n_groups < 1 || form->offsets >= form->n_args)
        return broken(v, "a ragged product has groups, and offsets that say where they start");
    const FormArg *offsets = &form->args[form->offsets];
    if (offsets->dtype != DTYPE_I32 || offsets->access != FORM_IN || offsets->n_elements < form->n_groups + 1)
        return broken(v, "the offsets of %lld groups are %lld integers that are only read", (long long)form->n_groups,
                      (long long)form->n_groups + 1);
    if (form->ragged == FORM_RAGGED_K && form_n_rows(&form->body) % form->n_groups != 0)
        return broken(v, "%lld groups do not have %lld rows together", (long long)form->n_groups,
                      (long long)form_n_rows(&form->body));
    return NULL;
}

static const char *check_gather(const Verifier *v, const FormOperand *operand, int64_t extent) {
    if (operand->gather >= v->form->n_args || operand->gather_divisor < 1)
        return broken(v, "operand %s has no argument to gather by, or no divisor", operand->name);
    const FormArg *gather = &v->form->args[operand->gather];
    if (gather->dtype != DTYPE_I32 || gather->access != FORM_IN || gather->n_elements < extent)
        return broken(v, "operand %s is gathered by %lld integers that are only read", operand->name,
                      (long long)extent);
    return NULL;
}

/* Operand of `side` rows, as one product takes it. */
static const char *check_array(const Verifier *v, const FormOperand *operand, int64_t side, int64_t k) {
    if (operand->arg >= v->form->n_args)
        return broken(v, "operand %s has no argument", operand->name);
    const FormArg *arg = &v->form->args[operand->arg];
    if ((arg->dtype != DTYPE_F32 && arg->dtype != DTYPE_BF16) || arg->access != FORM_IN)
        return broken(v, "operand %s: argument %s is not of f32 or bf16 and only read", operand->name, arg->name);
    if (operand->stride != 1 && operand->k_stride != 1)
        return broken(v, "operand %s has no stride of 1", operand->name);
    if (operand->offset < 0 || operand->stride < 0 || operand->k_stride < 0 || operand->group_stride < 0)
        return broken(v, "operand %s: offsets and strides are not negative", operand->name);
    bool is_gathered = operand->gather != FORM_NONE, gathers_k = form_gathers_k(v->form, operand);
    int64_t room = arg->n_elements - 1;
    room = operand->offset > room ? -1 : room - operand->offset;
    room = take_room(room, operand->stride, is_gathered && !gathers_k ? 1 : side);
    room = take_room(room, operand->k_stride, is_gathered && gathers_k ? 1 : k);
    room = take_room(room, operand->group_stride, v->form->n_groups);
    if (room < 0)
        return broken(v, "operand %s reaches past the %lld elements of %s", operand->name, (long long)arg->n_elements,
                      arg->name);
    return is_gathered ? check_gather(v, operand, gathers_k ? k : side) : NULL;
}

static const char *check_part(Verifier *v, const FormOperand *operand, int64_t side, int64_t k) {
    const FormBody *part = operand->part;
    const char *error = check_body(v, part, arena_printf(v->arena, "part %s: ", operand->name));
    if (error == NULL && (form_n_rows(part) != (operand->k_is_major ? k : side) ||
                          form_n_cols(part) != (operand->k_is_major ? side : k)))
        error =
            broken(v, "it is [%lld, %lld], and its product's operand [%lld, %lld], k %s", (long long)form_n_rows(part),
                   (long long)form_n_cols(part), (long long)(operand->k_is_major ? k : side),
                   (long long)(operand->k_is_major ? side : k), operand->k_is_major ? "first" : "last");
    v->body = &v->form->body;
    v->where = "";
    return error;
}

static const char *check_operand(Verifier *v, int index, bool is_lhs, int64_t k) {
    if (index < 0 || index >= v->form->n_operands)
        return broken(v, "there is no operand %d", index);
    const FormOperand *operand = &v->form->operands[index];
    int64_t side = form_operand_side(v->form, is_lhs);
    if (operand->is_packed && (is_lhs || operand->gather != FORM_NONE || v->form->ragged == FORM_RAGGED_K))
        return broken(
            v, "operand %s can't be packed: it is not the second of its products, or is gathered, or ragged in k",
            operand->name);
    return operand->part != NULL ? check_part(v, operand, side, k) : check_array(v, operand, side, k);
}

static const char *check_products(Verifier *v) {
    const Form *form = v->form;
    for (int i = 0; i < form->n_operands; i++) {
        if (!c_is_identifier(form->operands[i].name))
            return broken(v, "operand '%s': a name must be an identifier of C", form->operands[i].name);
        for (int j = 0; j < i; j++) {
            if (strcmp(form->operands[i].name, form->operands[j].name) == 0)
                return broken(v, "two operands have the name %s", form->operands[i].name);
        }
    }
    bool is_made[FORM_MAX_RESULTS] = {false}, is_used[FORM_MAX_OPERANDS] = {false};
    for (int i = 0; i < form->n_products; i++) {
        const FormProduct *product = &form->products[i];
        if (product->result < 0 || product->result >= form->n_results || product->k < 1 || product->k > MAX_ELEMENTS)
            return broken(v, "product %d has the result %d and k %lld", i, product->result, (long long)product->k);
        is_made[product->result] = true;
        const char *error = check_operand(v, product->lhs, true, product->k);
        if (error == NULL)
            error = check_operand(v, product->rhs, false, product->k);
        if (error != NULL)
            return error;
        is_used[product->lhs] = is_used[product->rhs] = true;
    }
    for (int i = 0; i < form->n_operands; i++) {
        if (!is_used[i])
            return broken(v, "operand %s is in no product", form->operands[i].name);
        if (form_operand_dtype(form, &form->operands[i]) != form_operand_dtype(form, &form->operands[0]))
            return broken(v, "operands %s and %s: one is of bf16 in memory, the other is not", form->operands[0].name,
                          form->operands[i].name);
    }
    for (int i = 0; i < form->n_results; i++) {
        if (!is_made[i])
            return broken(v, "no product makes result %d", i);
    }
    return form->n_products > 0 ? NULL : broken(v, "it has no products");
}

/* ---- Attention ------------------------------------------------------------------------------------------------- */

static const char *check_sizes(const Verifier *v) {
    const FormBody *body = v->body;
    const FormAttention *attention = &v->form->attention;
    if (body->n_indices != ATTENTION_N_INDICES || body->indices[ATTENTION_HEAD].is_col ||
        !body->indices[ATTENTION_COLUMN].is_col)
        return broken(v, "attention has three row indices, of sequences, positions and heads, and one of columns");
    if (body->n_instrs > 0)
        return broken(v, "attention has no instructions");
    int64_t n_positions = body->indices[ATTENTION_POSITION].extent, n_heads = body->indices[ATTENTION_HEAD].extent;
    if (attention->n_shared < 1 || n_heads % attention->n_shared != 0)
        return broken(v, "%lld heads are no multiple of the %lld that share keys", (long long)n_heads,
                      (long long)attention->n_shared);
    if (attention->window < 1 || attention->window > n_positions)
        return broken(v, "a window of %lld; it is of 1 to all %lld positions", (long long)attention->window,
                      (long long)n_positions);
    if (!isfinite(attention->scale))
        return broken(v, "its scale is not finite");
    if (attention->tile_queries < 1 || attention->tile_queries > ATTENTION_MAX_TILE || attention->tile_keys < 1 ||
        attention->tile_keys > ATTENTION_MAX_TILE)
        return broken(v, "a tile has from 1 to %d queries, and as many keys", ATTENTION_MAX_TILE);
    return NULL;
}

/* As what loads or stores an element for each index of the tensor. */
static const char *check_tensor(const Verifier *of_form, int tensor) {
    Verifier of_tensor = *of_form, *v = &of_tensor;
    const FormAccessMap *map = &v->form->attention.maps[tensor];
    bool is_result = tensor >= form_attention_first_result(v->form), has_vectors = tensor != ATTENTION_LOGSUMEXP;
    FormInstr instrs[] = {{.op = FORM_CONST, .level = FORM_LEVEL_FULL},
                          {.op = is_result ? FORM_STORE : FORM_LOAD, .map = *map, .level = FORM_LEVEL_FULL}};
    const FormInstr *access = &instrs[1];
    FormBody indices = form_attention_indices(v->form, tensor);
    indices.instrs = instrs;
    v->body = &indices;
    v->instr = access;
    v->tensor = form_attention_name(tensor);
    const char *error = check_map(v, map);
    if (error != NULL)
        return error;
    const FormArg *arg = &v->form->args[map->arg];
    bool may_be_bf16 = tensor != ATTENTION_LOGSUMEXP;
    if ((arg->dtype != DTYPE_F32 && (arg->dtype != DTYPE_BF16 || !may_be_bf16)) ||
        arg->access != (is_result ? FORM_OUT : FORM_IN))
        return broken(v, "argument %s is not of f32%s and `%s`", arg->name, may_be_bf16 ? " or bf16" : "",
                      is_result ? "out" : "in");
    if (map->strides[ATTENTION_COLUMN] != has_vectors)
        return broken(v, has_vectors ? "elements of a vector follow each other" : "it does not vary by column");
    if (!is_result)
        return NULL;
    Span span = span_of(v, access);
    if (!is_injective(&span))
        return broken(v, "it writes elements of %s more than once", arg->name);
    if (n_written_by(v, access) != arg->n_elements)
        return broken(v, "%lld of the %lld elements of %s are written", (long long)n_written_by(v, access),
                      (long long)arg->n_elements, arg->name);
    return NULL;
}

/* The body of a tensor: over its rows and columns. */
static const char *check_tensor_body(const Verifier *of_form, int tensor) {
    Verifier of_body = *of_form, *v = &of_body;
    const FormBody *body = v->form->attention.bodies[tensor], indices = form_attention_indices(v->form, tensor);
    v->is_of_result = form_attention_is_result(v->form, tensor);
    if (tensor == ATTENTION_LOGSUMEXP)
        return broken(v, "a logsumexp has no body");
    const char *what =
        arena_printf(v->arena, "%s %s: ", v->is_of_result ? "body" : "part", form_attention_name(tensor));
    const char *error = check_body(v, body, what);
    if (error == NULL)
        error = check_updates(v);
    if (error == NULL && (form_n_rows(body) != form_n_rows(&indices) || form_n_cols(body) != form_n_cols(&indices)))
        error =
            broken(v, "it is [%lld, %lld], and the tensor [%lld, %lld]", (long long)form_n_rows(body),
                   (long long)form_n_cols(body), (long long)form_n_rows(&indices), (long long)form_n_cols(&indices));
    return error;
}

static bool touches(const FormBody *body, size_t arg, bool only_writes) {
    bool does = false;
    for (size_t i = 0; i < body->n_instrs && !does; i++)
        does = form_instr_has_map(&body->instrs[i]) && body->instrs[i].map.arg == arg &&
               (!only_writes || form_instr_writes(&body->instrs[i]));
    return does;
}

/* Every argument that is written is that of one result, and whole where it is only written; no other's body reads it.
 */
static const char *check_result_arg(const Verifier *of_form, size_t arg) {
    Verifier of_body = *of_form, *v = &of_body;
    const Form *form = v->form;
    int n_results = 0, n_bodies = 0;
    int64_t n_written = 0;
    for (int i = form_attention_first_result(form); i < form_attention_n_tensors(form); i++) {
        const FormBody *body = form->attention.bodies[i];
        n_results += body != NULL ? touches(body, arg, true) : form->attention.maps[i].arg == arg;
        n_bodies += body != NULL && touches(body, arg, false);
        v->body = body;
        if (body != NULL)
            n_written += n_written_in_body(v, arg);
        else if (form->attention.maps[i].arg == arg) /* check_tensor */
            n_written = form->args[arg].n_elements;
    }
    const FormArg *checked = &form->args[arg];
    v->body = &form->body;
    if (n_results != (checked->access != FORM_IN))
        return broken(v, "%d results are in argument %s", n_results, checked->name);
    if (checked->access != FORM_IN && n_bodies > 1)
        return broken(v, "a result's body reads argument %s, which another one writes", checked->name);
    if (checked->access == FORM_OUT && n_written != checked->n_elements)
        return broken(v, "%lld of the %lld elements of %s are written", (long long)n_written,
                      (long long)checked->n_elements, checked->name);
    return NULL;
}

static const char *check_attention(const Verifier *of_form) {
    const Form *form = of_form->form;
    const char *error = check_sizes(of_form);
    for (int i = 0; i < form_attention_n_tensors(form) && error == NULL; i++)
        error = form->attention.bodies[i] != NULL ? check_tensor_body(of_form, i) : check_tensor(of_form, i);
    for (size_t i = 0; i < form->n_args && error == NULL; i++)
        error = check_result_arg(of_form, i);
    return error;
}

const char *form_verify(Arena *arena, const Form *form) {
    Verifier v = {.arena = arena, .form = form, .body = &form->body, .where = ""};
    const char *error = check_args(&v);
    if (error == NULL)
        error = check_indices(&v);
    if (error == NULL)
        error = check_ragged(&v);
    if (error == NULL)
        error = check_body(&v, &form->body, "");
    if (error == NULL)
        error = check_pieces(&v);
    if (error == NULL)
        error = check_updates(&v);
    if (error == NULL)
        error = form_is_attention(form) ? check_attention(&v) : check_coverage(&v);
    if (error != NULL)
        return error;
    bool has_products = form->n_operands > 0 || form->n_products > 0 || form->ragged != FORM_DENSE;
    if (form->kind == FORM_KIND_ROUTE && !has_products) {
        error = form_check_route(arena, form);
        return error ? broken(&v, "%s", error) : NULL;
    }
    if (form->kind != FORM_KIND_PRODUCT)
        return has_products ? broken(&v, "only a form of kind product has products") : NULL;
    return check_products(&v);
}
