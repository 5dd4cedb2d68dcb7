/* Building and joining of indices. */
#include "codegen/form.h"

#include <assert.h>
#include <string.h>

#include "codegen/form_internal.h"
#include "codegen/form_route.h"

/* ---- What there is -------------------------------------------------------------------------------------------- */

typedef struct {
    const char *word;
    int n_operands;
    bool has_map;
} OpRow;

static const OpRow rows[] = {
#define X(id, word, n_operands, has_map) [FORM_##id] = {word, n_operands, has_map},
    FORM_OPS(X)
#undef X
};

const char *form_instr_word(const FormInstr *instr) {
    return instr->op == FORM_MAP ? op_info(instr->map_op)->name : rows[instr->op].word;
}

int form_instr_n_operands(const FormInstr *instr) {
    if (instr->op == FORM_LOAD || instr->op == FORM_POSITION)
        return instr->map.gather != FORM_NONE && instr->a != FORM_NONE;
    return instr->op == FORM_MAP ? op_info(instr->map_op)->n_operands : rows[instr->op].n_operands;
}

bool form_instr_has_map(const FormInstr *instr) {
    return rows[instr->op].has_map;
}

bool form_instr_writes(const FormInstr *instr) {
    return instr->op == FORM_STORE || instr->op == FORM_ADD || instr->op == FORM_SCATTER;
}

bool form_instr_is_position(const FormInstr *instr) {
    return instr->op == FORM_POSITION || instr->op == FORM_GROUP;
}

const FormInstr *form_scatter_of(const FormBody *body) {
    for (size_t i = 0; i < body->n_instrs; i++) {
        if (body->instrs[i].op == FORM_SCATTER)
            return &body->instrs[i];
    }
    return NULL;
}

bool form_instr_reduces_cols(const FormInstr *instr) {
    return instr->op == FORM_SUM_COLS || instr->op == FORM_MAX_COLS || instr->op == FORM_LOGSUMEXP_COLS;
}

bool form_instr_is_reduction(const FormInstr *instr) {
    return form_instr_reduces_cols(instr) || instr->op == FORM_SUM_ROWS;
}

static int64_t extent_of(const FormBody *body, bool is_col) {
    int64_t n = 1;
    for (int i = 0; i < body->n_indices; i++) {
        if (body->indices[i].is_col == is_col)
            n *= body->indices[i].extent;
    }
    return n;
}

size_t form_arg_entry(const Form *form, size_t arg) {
    size_t entry = 0;
    for (size_t i = 0; i < arg; i++)
        entry += form->args[i].is_in_pieces ? form->n_pieces : 1;
    return entry;
}

const char *form_kind_word(FormKind kind) {
    static const char *const words[FORM_N_KINDS] = {[FORM_KIND_ROWS] = "rows",
                                                    [FORM_KIND_PRODUCT] = "product",
                                                    [FORM_KIND_ATTENTION] = "attention",
                                                    [FORM_KIND_ATTENTION_GRAD] = "attention_grad",
                                                    [FORM_KIND_ROUTE] = "route"};
    return words[kind];
}

int64_t form_n_rows(const FormBody *body) {
    return extent_of(body, false);
}

int64_t form_n_cols(const FormBody *body) {
    return extent_of(body, true);
}

int64_t form_operand_side(const Form *form, bool is_lhs) {
    if (!is_lhs)
        return form_n_cols(&form->body);
    int64_t n_rows = form_n_rows(&form->body);
    return form->ragged == FORM_RAGGED_K ? n_rows / form->n_groups : n_rows;
}

DType form_operand_dtype(const Form *form, const FormOperand *operand) {
    bool is_array = operand->part == NULL && operand->arg < form->n_args;
    return is_array ? form->args[operand->arg].dtype : DTYPE_F32;
}

bool form_gathers_k(const Form *form, const FormOperand *operand) {
    return operand->k_stride != 1 || (operand->stride == 1 && form->ragged == FORM_RAGGED_K);
}

int64_t form_find_arg(const Form *form, const char *name) {
    for (size_t i = 0; i < form->n_args; i++) {
        if (strcmp(form->args[i].name, name) == 0)
            return (int64_t)i;
    }
    return -1;
}

Form *form_new(Arena *arena, const char *name) {
    Form *form = arena_new_of(arena, Form);
    *form = (Form){.name = name,
                   .kind = FORM_KIND_ROWS,
                   .offsets = FORM_NONE,
                   .n_groups = 1,
                   .body.yield = FORM_NONE,
                   .route = form_route_new()};
    return form;
}

/* ---- Instructions --------------------------------------------------------------------------------------------- */

bool form_map_varies(const FormBody *body, const FormAccessMap *map, bool by_col) {
    for (int i = 0; i < body->n_indices; i++) {
        if (body->indices[i].is_col == by_col && body->indices[i].extent > 1 && map->strides[i] != 0)
            return true;
    }
    return false;
}

FormLevel form_level(const FormBody *body, const FormInstr *instr) {
    FormLevel level = FORM_LEVEL_ROW;
    if (form_instr_has_map(instr)) {
        bool is_full = form_map_varies(body, &instr->map, true);
        if (instr->map.gather != FORM_NONE && instr->map.gather < body->n_instrs)
            is_full = is_full || body->instrs[instr->map.gather].level == FORM_LEVEL_FULL;
        level = is_full ? FORM_LEVEL_FULL : FORM_LEVEL_ROW;
    }
    switch (instr->op) {
    case FORM_SUM:
        return FORM_LEVEL_FULL;
    case FORM_SUM_ROWS:
        return FORM_LEVEL_COL;
    case FORM_STORE:
    case FORM_ADD:
    case FORM_SCATTER:
        return body->instrs[instr->a].level == FORM_LEVEL_ROW ? level : body->instrs[instr->a].level;
    case FORM_LOAD:
    case FORM_POSITION:
    case FORM_MAP:
    case FORM_EQUAL:
    case FORM_LESS:
    case FORM_SELECT:
        for (int i = 0; i < form_instr_n_operands(instr); i++) {
            if (body->instrs[form_instr_operand(instr, i)].level == FORM_LEVEL_FULL)
                level = FORM_LEVEL_FULL;
        }
        return level;
    default:
        return level;
    }
}

/* Only the fields that the op has; the rest as if left out. */
static FormInstr canonical(const FormBody *body, const FormInstr *instr) {
    FormInstr clean = {.op = instr->op, .a = FORM_NONE, .b = FORM_NONE, .c = FORM_NONE, .divisor = 1};
    clean.map = (FormAccessMap){.arg = FORM_NONE, .gather = FORM_NONE};
    int n_operands = form_instr_n_operands(instr);
    if (instr->op == FORM_MAP)
        clean.map_op = instr->map_op;
    if (n_operands > 0)
        clean.a = instr->a;
    if (n_operands > 1)
        clean.b = instr->b;
    if (n_operands > 2)
        clean.c = instr->c;
    if (instr->op == FORM_CONST)
        clean.value = instr->value;
    if (instr->op == FORM_SUM)
        clean.result = instr->result;
    if (form_instr_is_position(instr))
        clean.divisor = instr->divisor;
    if (instr->op == FORM_POSITION)
        clean.limit = instr->limit;
    if (!form_instr_has_map(instr))
        return clean;
    if (instr->op != FORM_INDEX && instr->op != FORM_RESULT)
        clean.map.arg = instr->map.arg;
    clean.map.offset = instr->map.offset;
    memcpy(clean.map.strides, instr->map.strides, sizeof(int64_t) * (size_t)body->n_indices);
    clean.map.gather = instr->map.gather;
    if (instr->map.gather != FORM_NONE)
        clean.map.gather_stride = instr->map.gather_stride;
    return clean;
}

bool form_maps_equal(const FormAccessMap *a, const FormAccessMap *b) {
    return a->arg == b->arg && a->offset == b->offset && a->gather == b->gather &&
           a->gather_stride == b->gather_stride && memcmp(a->strides, b->strides, sizeof a->strides) == 0;
}

static bool is_commutative(const FormInstr *instr) {
    return instr->op == FORM_EQUAL || (instr->op == FORM_MAP && (instr->map_op == OP_add || instr->map_op == OP_mul));
}

/* To the bit: NaN equals itself, and 0 is not -0. */
static bool numbers_equal(double a, double b) {
    union {
        double number;
        uint64_t bits;
    } left = {a}, right = {b};
    return left.bits == right.bits;
}

static bool instrs_equal(const FormInstr *a, const FormInstr *b) {
    bool same = a->op == b->op && a->map_op == b->map_op && numbers_equal(a->value, b->value) &&
                form_maps_equal(&a->map, &b->map) && a->divisor == b->divisor && a->limit == b->limit &&
                a->result == b->result;
    bool straight = a->a == b->a && a->b == b->b && a->c == b->c, crossed = a->a == b->b && a->b == b->a;
    return same && (straight || (is_commutative(a) && crossed));
}

uint32_t form_add(Arena *arena, FormBody *body, FormInstr instr) {
    for (int i = 0; i < form_instr_n_operands(&instr); i++)
        assert(form_instr_operand(&instr, i) < body->n_instrs);
    FormInstr clean = canonical(body, &instr);
    clean.level = form_level(body, &clean);
    for (size_t i = 0; i < body->n_instrs && !form_instr_writes(&clean); i++) {
        if (instrs_equal(&body->instrs[i], &clean))
            return (uint32_t)i;
    }
    arena_push(arena, body->instrs, body->n_instrs, body->capacity, clean);
    return (uint32_t)body->n_instrs - 1;
}

/* ---- Joining indices ------------------------------------------------------------------------------------------ */

static void remove_index(FormBody *body, int index) {
    size_t n_after = (size_t)(body->n_indices - index - 1);
    memmove(&body->indices[index], &body->indices[index + 1], n_after * sizeof(FormIndex));
    for (size_t i = 0; i < body->n_instrs; i++) {
        int64_t *strides = body->instrs[i].map.strides;
        memmove(&strides[index], &strides[index + 1], n_after * sizeof(int64_t));
        strides[body->n_indices - 1] = 0;
    }
    body->n_indices--;
}

/* Whether one index over both steps through every array as the two do. */
static bool can_join(const FormBody *body, int outer, int inner) {
    bool can = body->indices[outer].is_col == body->indices[inner].is_col;
    for (size_t i = 0; i < body->n_instrs && can; i++) {
        const int64_t *strides = body->instrs[i].map.strides;
        if (form_instr_has_map(&body->instrs[i]))
            can = strides[outer] == strides[inner] * body->indices[inner].extent;
    }
    return can;
}

/* A joined index has the name of the inner one. */
static void merge_body(FormBody *body) {
    for (int i = body->n_indices - 1; i >= 0; i--) {
        if (body->indices[i].extent == 1)
            remove_index(body, i);
    }
    for (int i = body->n_indices - 2; i >= 0; i--) {
        if (!can_join(body, i, i + 1))
            continue;
        FormIndex joined = body->indices[i + 1];
        joined.extent *= body->indices[i].extent;
        body->indices[i + 1] = joined;
        remove_index(body, i);
    }
}

void form_merge_indices(Form *form) {
    for (int i = 0; i < ATTENTION_N_TENSORS && form_is_attention(form); i++) {
        if (form->attention.bodies[i])
            merge_body(form->attention.bodies[i]);
    }
    if (form_is_attention(form)) /* each of its own indices has a meaning */
        return;
    merge_body(&form->body);
    for (int i = 0; i < form->n_operands; i++) {
        if (form->operands[i].part != NULL)
            merge_body(form->operands[i].part);
    }
}
