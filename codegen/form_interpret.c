/* What a form means: each instruction over the whole of its rows and columns, one after the other. */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "codegen/form_internal.h"
#include "codegen/form_route.h"
#include "ir/scalar.h"

typedef struct {
    Arena *arena;
    const Form *form;
    double *const *args;
    const char *error; /* the first thing that is wrong with the data, or NULL */
    /* Of a form of kind PRODUCT; of attention, the first is the result that a body is of: */
    double *results[FORM_MAX_RESULTS]; /* [n_rows, n_cols] */
} Run;

/* The values of a body's instructions: an element for each of its rows and columns, rows or columns. */
typedef struct {
    const FormBody *body;
    int64_t n_rows, n_cols; /* n_rows: those in use */
    double **values;
} Values;

__attribute__((format(printf, 2, 3))) static void fail(Run *run, const char *format, ...) {
    if (run->error != NULL)
        return;
    va_list arguments;
    va_start(arguments, format);
    run->error = arena_printf(run->arena, "form %s: %s", run->form->name, arena_vprintf(run->arena, format, arguments));
    va_end(arguments);
}

/* ---- Places ---------------------------------------------------------------------------------------------------- */

/* How many elements the index `i` of one side is from the map's first. */
static int64_t steps(const FormBody *body, const FormAccessMap *map, bool is_col, int64_t i) {
    int64_t n = 0;
    for (int j = body->n_indices - 1; j >= 0; j--) {
        const FormIndex *index = &body->indices[j];
        if (index->is_col != is_col)
            continue;
        n += i % index->extent * map->strides[j];
        i /= index->extent;
    }
    return n;
}

static double value_at(const Values *values, uint32_t instr, int64_t row, int64_t col) {
    assert(values->values && values->values[instr] && "form_verify: operands come first");
    const double *value = values->values[instr];
    switch (values->body->instrs[instr].level) {
    case FORM_LEVEL_ROW:
        return value[row];
    case FORM_LEVEL_COL:
        return value[col];
    default:
        return value[row * values->n_cols + col];
    }
}

/* Without regard to a gather. */
static int64_t place_of_map(const Values *values, const FormAccessMap *map, int64_t row, int64_t col) {
    return map->offset + steps(values->body, map, false, row) + steps(values->body, map, true, col);
}

/* The element's number in its argument, or the number itself; -1 where a position says to read none, or after an error.
 */
static int64_t place(Run *run, const Values *values, const FormAccessMap *map, int64_t row, int64_t col) {
    int64_t at = place_of_map(values, map, row, col);
    if (map->gather == FORM_NONE)
        return at;
    double position = value_at(values, map->gather, row, col);
    if (position < 0)
        return -1;
    const FormArg *arg = &run->form->args[map->arg];
    if (position * (double)map->gather_stride + (double)at < (double)arg->n_elements)
        return at + (int64_t)position * map->gather_stride;
    fail(run, "position %.0f of %%%u is past the end of %s", position, map->gather, arg->name);
    return -1;
}

/* ---- Bodies ---------------------------------------------------------------------------------------------------- */

/* What stands for an element that a position says not to read. */
static double otherwise(const Values *values, const FormInstr *instr, int64_t row, int64_t col, double missing) {
    return form_instr_n_operands(instr) > 0 ? value_at(values, instr->a, row, col) : missing;
}

static double position(Run *run, const Values *values, const FormInstr *instr, int64_t row, int64_t col) {
    bool is_number = instr->map.arg == FORM_NONE;
    int64_t at = is_number ? place_of_map(values, &instr->map, row, col) : place(run, values, &instr->map, row, col);
    if (!is_number && at < 0)
        return otherwise(values, instr, row, col, -1);
    double value = is_number ? (double)at : run->args[instr->map.arg][at];
    value = value < 0 ? value : floor(value / (double)instr->divisor);
    return instr->limit > 0 && !(value >= 0 && value < (double)instr->limit) ? -1 : value;
}

/* offsets[group] <= row < offsets[group + 1] */
static double group_of_row(const double *offsets, int64_t n_groups, int64_t row) {
    int64_t group = n_groups - 1;
    while (group >= 0 && !((double)row >= offsets[group] && (double)row < offsets[group + 1]))
        group--;
    return (double)group;
}

static double element(Run *run, const Values *values, const FormInstr *instr, int64_t row, int64_t col) {
    int64_t at;
    switch (instr->op) {
    case FORM_CONST:
        return instr->value;
    case FORM_LOAD:
        at = place(run, values, &instr->map, row, col);
        return at >= 0 ? run->args[instr->map.arg][at] : otherwise(values, instr, row, col, 0);
    case FORM_POSITION:
        return position(run, values, instr, row, col);
    case FORM_GROUP:
        return group_of_row(run->args[instr->map.arg], instr->divisor, place_of_map(values, &instr->map, row, col));
    case FORM_INDEX:
        return (double)place(run, values, &instr->map, row, col);
    case FORM_SUM:
        return run->results[instr->result][row * values->n_cols + col];
    case FORM_RESULT:
        assert(run->results[0]); /* only bodies of attention read results */
        return run->results[0][row * values->n_cols + place_of_map(values, &instr->map, row, col)];
    case FORM_SELECT:
        return value_at(values, value_at(values, instr->a, row, col) != 0 ? instr->b : instr->c, row, col);
    default:
        break;
    }
    double a = value_at(values, instr->a, row, col);
    double b = instr->b != FORM_NONE ? value_at(values, instr->b, row, col) : 0;
    if (instr->op == FORM_LESS)
        return a < b;
    if (instr->op == FORM_EQUAL)
        return a >= b && a <= b;
    return scalar_function(instr->map_op)(a, b);
}

/* The terms' distances to the largest, so that none overflows. */
static double logsumexp(const Values *values, uint32_t a, int64_t row, double largest) {
    double sum = 0;
    for (int64_t col = 0; col < values->n_cols; col++)
        sum += exp(value_at(values, a, row, col) - largest);
    return largest + log(sum);
}

static void reduce_cols(const Values *values, const FormInstr *instr, double *result) {
    for (int64_t row = 0; row < values->n_rows; row++) {
        double folded = value_at(values, instr->a, row, 0);
        for (int64_t col = 1; col < values->n_cols; col++) {
            double x = value_at(values, instr->a, row, col);
            folded = instr->op == FORM_SUM_COLS ? folded + x : x > folded ? x : folded;
        }
        result[row] = instr->op == FORM_LOGSUMEXP_COLS ? logsumexp(values, instr->a, row, folded) : folded;
    }
}

static void reduce_rows(const Values *values, const FormInstr *instr, double *result) {
    for (int64_t col = 0; col < values->n_cols; col++) {
        for (int64_t row = 0; row < values->n_rows; row++)
            result[col] += value_at(values, instr->a, row, col);
    }
}

static void write(Run *run, const Values *values, const FormInstr *instr) {
    const FormArg *written = &run->form->args[instr->map.arg];
    double *arg = run->args[instr->map.arg];
    bool has_rows = instr->level != FORM_LEVEL_COL;
    for (int64_t i = 0; i < written->n_elements && instr->op == FORM_SCATTER && written->access == FORM_OUT; i++)
        arg[i] = 0;
    for (int64_t row = 0; row < (has_rows ? values->n_rows : 1); row++) {
        for (int64_t col = 0; col < (instr->level != FORM_LEVEL_ROW ? values->n_cols : 1); col++) {
            int64_t at = place(run, values, &instr->map, row, col);
            double value = value_at(values, instr->a, row, col);
            if (written->dtype == DTYPE_BF16)
                value = scalar_round_bf16(value);
            if (at >= 0)
                arg[at] = instr->op == FORM_STORE ? value : arg[at] + value;
        }
    }
}

static void run_instr(Run *run, const Values *values, size_t i) {
    const FormInstr *instr = &values->body->instrs[i];
    double *result = values->values[i];
    if (form_instr_writes(instr)) {
        write(run, values, instr);
    } else if (instr->op == FORM_SUM_ROWS) {
        reduce_rows(values, instr, result);
    } else if (form_instr_is_reduction(instr)) {
        reduce_cols(values, instr, result);
    } else {
        int64_t n_cols = instr->level == FORM_LEVEL_ROW ? 1 : values->n_cols;
        for (int64_t row = 0; row < values->n_rows; row++) {
            for (int64_t col = 0; col < n_cols; col++)
                result[row * n_cols + col] = element(run, values, instr, row, col);
        }
    }
}

/* n_rows: as many as are in use. */
static Values run_body(Run *run, const FormBody *body, int64_t n_rows) {
    Values values = {.body = body, .n_rows = n_rows, .n_cols = form_n_cols(body)};
    values.values = arena_array_of(run->arena, double *, body->n_instrs);
    for (size_t i = 0; i < body->n_instrs && run->error == NULL; i++) {
        FormLevel level = body->instrs[i].level;
        int64_t n = level == FORM_LEVEL_ROW ? n_rows : level == FORM_LEVEL_COL ? values.n_cols : n_rows * values.n_cols;
        if (!form_instr_writes(&body->instrs[i]))
            values.values[i] = arena_array_of(run->arena, double, n);
        run_instr(run, &values, i);
    }
    return values;
}

/* ---- Products -------------------------------------------------------------------------------------------------- */

/* An operand's elements [side, k] of one group, or of all where they share them. */
typedef struct {
    const FormOperand *operand;
    Values part; /* of an operand that is one */
} Operand;

static double array_element(Run *run, const FormOperand *operand, int64_t group, int64_t i, int64_t k) {
    const FormArg *arg = &run->form->args[operand->arg];
    if (operand->gather != FORM_NONE) {
        int64_t *gathered = form_gathers_k(run->form, operand) ? &k : &i;
        double position = run->args[operand->gather][*gathered];
        if (position < 0)
            return 0;
        *gathered = (int64_t)position / operand->gather_divisor;
    }
    int64_t at = operand->offset + group * operand->group_stride + i * operand->stride + k * operand->k_stride;
    if (at < arg->n_elements)
        return run->args[operand->arg][at];
    fail(run, "operand %s gathers from past the end of %s", operand->name, arg->name);
    return 0;
}

static double operand_element(Run *run, const Operand *at, int64_t group, int64_t i, int64_t k) {
    const FormOperand *operand = at->operand;
    double value;
    if (operand->part == NULL)
        value = array_element(run, operand, group, i, k);
    else if (operand->k_is_major)
        value = value_at(&at->part, operand->part->yield, k, i);
    else
        value = value_at(&at->part, operand->part->yield, i, k);
    return value;
}

/* The part of rows and of k that a group has. */
typedef struct {
    int64_t group, first_row, end_row, first_k, end_k;
} Group;

static Group group_of(const Run *run, const FormProduct *product, int64_t group) {
    const Form *form = run->form;
    int64_t n_rows = form_operand_side(form, true);
    Group all = {.group = group, .end_row = n_rows, .end_k = product->k};
    const double *offsets = form->ragged == FORM_DENSE ? NULL : run->args[form->offsets];
    if (form->ragged == FORM_RAGGED_ROWS) {
        all.first_row = (int64_t)offsets[group];
        all.end_row = (int64_t)offsets[group + 1];
    } else if (form->ragged == FORM_RAGGED_K) {
        all.first_k = (int64_t)offsets[group];
        all.end_k = (int64_t)offsets[group + 1];
    }
    return all;
}

static void run_group(Run *run, const FormProduct *product, const Operand *lhs, const Operand *rhs, int64_t group) {
    const Form *form = run->form;
    Group at = group_of(run, product, group);
    int64_t n_cols = form_n_cols(&form->body);
    int64_t before = form->ragged == FORM_RAGGED_K ? group * form_operand_side(form, true) : 0;
    for (int64_t row = at.first_row; row < at.end_row && run->error == NULL; row++) {
        for (int64_t col = 0; col < n_cols; col++) {
            double sum = 0;
            for (int64_t k = at.first_k; k < at.end_k; k++)
                sum += operand_element(run, lhs, group, row, k) * operand_element(run, rhs, group, col, k);
            run->results[product->result][(before + row) * n_cols + col] += sum;
        }
    }
}

static Operand operand_of(Run *run, int index, int64_t n_used_rows, int64_t n_used_k) {
    const FormOperand *operand = &run->form->operands[index];
    Operand at = {.operand = operand};
    if (operand->part == NULL)
        return at;
    int64_t n_rows = form_n_rows(operand->part), n_used = operand->k_is_major ? n_used_k : n_used_rows;
    at.part = run_body(run, operand->part, n_used < n_rows ? n_used : n_rows);
    return at;
}

/* How many of the ragged rows, or of the ragged k, are in use. */
static int64_t check_offsets(Run *run) {
    const Form *form = run->form;
    const double *offsets = run->args[form->offsets];
    int64_t limit = form_n_rows(&form->body);
    for (int i = 0; i < form->n_products && form->ragged == FORM_RAGGED_K; i++)
        limit = i == 0 || form->products[i].k < limit ? form->products[i].k : limit;
    for (int64_t i = 0; i <= form->n_groups; i++) {
        if (i == 0 ? offsets[0] != 0 : offsets[i] < offsets[i - 1] || offsets[i] > (double)limit) {
            fail(run, "offset %lld is %.0f; offsets rise from 0 to at most %lld", (long long)i, offsets[i],
                 (long long)limit);
            return 0;
        }
    }
    return (int64_t)offsets[form->n_groups];
}

/* The results; how many of their rows are in use. */
static int64_t run_products(Run *run) {
    const Form *form = run->form;
    int64_t n_rows = form_n_rows(&form->body), n_cols = form_n_cols(&form->body), n_used = INT64_MAX;
    if (form->ragged != FORM_DENSE)
        n_used = check_offsets(run);
    int64_t n_used_rows = form->ragged == FORM_RAGGED_ROWS ? n_used : n_rows;
    for (int i = 0; i < form->n_results; i++)
        run->results[i] = arena_array_of(run->arena, double, n_rows *n_cols);
    for (int i = 0; i < form->n_products && run->error == NULL; i++) {
        const FormProduct *product = &form->products[i];
        int64_t n_used_k = form->ragged == FORM_RAGGED_K ? n_used : product->k;
        Operand lhs = operand_of(run, product->lhs, n_used_rows, n_used_k);
        Operand rhs = operand_of(run, product->rhs, n_cols, n_used_k);
        for (int64_t group = 0; group < form->n_groups && run->error == NULL; group++)
            run_group(run, product, &lhs, &rhs, group);
    }
    return n_used_rows;
}

/* What the body yields, for each of its rows and columns. */
static void copy_yield(const Values *values, double *yields) {
    for (int64_t row = 0; row < values->n_rows; row++) {
        for (int64_t col = 0; col < values->n_cols; col++)
            yields[row * values->n_cols + col] = value_at(values, values->body->yield, row, col);
    }
}

/* What a route's body yields; NULL where experts are given. */
static const double *scores_of(Run *run, const Values *values) {
    if (values->body->yield == FORM_NONE)
        return NULL;
    double *scores = arena_array_of(run->arena, double, values->n_rows * values->n_cols);
    copy_yield(values, scores);
    return scores;
}

/* ---- Attention ------------------------------------------------------------------------------------------------- */

/* The elements of a tensor without a body, to `dense` or from there. */
static void move_tensor(const Run *run, int tensor, double *dense, bool is_read) {
    FormBody indices = form_attention_indices(run->form, tensor);
    const Values at = {.body = &indices};
    const FormAccessMap *map = &run->form->attention.maps[tensor];
    int64_t n_rows = form_n_rows(&indices), n_cols = form_n_cols(&indices);
    for (int64_t i = 0; i < n_rows * n_cols; i++) {
        double *element = &run->args[map->arg][place_of_map(&at, map, i / n_cols, i % n_cols)];
        if (is_read)
            dense[i] = *element;
        else
            *element = run->form->args[map->arg].dtype == DTYPE_BF16 ? scalar_round_bf16(dense[i]) : dense[i];
    }
}

static void run_attention(Run *run) {
    const Form *form = run->form;
    double *tensors[ATTENTION_N_TENSORS];
    int n_tensors = form_attention_n_tensors(form), first_result = form_attention_first_result(form);
    for (int i = 0; i < n_tensors && run->error == NULL; i++) {
        const FormBody *part = i < first_result ? form->attention.bodies[i] : NULL;
        FormBody indices = form_attention_indices(form, i);
        tensors[i] = arena_array_of(run->arena, double, form_n_rows(&indices) * form_n_cols(&indices));
        Values values = {0};
        if (part)
            values = run_body(run, part, form_n_rows(part));
        if (part && run->error == NULL)
            copy_yield(&values, tensors[i]);
        else if (i < first_result && run->error == NULL)
            move_tensor(run, i, tensors[i], true);
    }
    if (run->error == NULL)
        form_interpret_attention(run->arena, form, tensors);
    for (int i = first_result; i < n_tensors && run->error == NULL; i++) {
        const FormBody *body = form->attention.bodies[i];
        run->results[0] = tensors[i];
        if (body)
            run_body(run, body, form_n_rows(body));
        else
            move_tensor(run, i, tensors[i], false);
    }
}

const char *form_interpret(Arena *arena, const Form *form, double *const *args) {
    Run run = {.arena = arena, .form = form, .args = args};
    if (form_is_attention(form)) {
        run_attention(&run);
        return run.error;
    }
    int64_t n_rows = form->kind == FORM_KIND_PRODUCT ? run_products(&run) : form_n_rows(&form->body);
    Values values = {0};
    if (run.error == NULL)
        values = run_body(&run, &form->body, n_rows);
    if (run.error == NULL && form->kind == FORM_KIND_ROUTE)
        form_interpret_route(arena, form, args, scores_of(&run, &values));
    return run.error;
}
