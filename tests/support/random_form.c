#include "tests/support/random_form.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "codegen/form_route.h"
#include "ir/scalar.h"
#include "tests/support/random.h"

enum { MAX_VALUES = 32, MAX_ARGS = 64 };

/* A form under way. */
typedef struct {
    Arena *arena;
    uint64_t state;
    RandomForm random;
    FormBody *body; /* being filled */
    size_t args_capacity;
    uint32_t values[MAX_VALUES]; /* instructions that later ones may read */
    int n_values;
    DType operand_dtype;   /* of products */
    bool is_copied;        /* operands of products have lines that start at multiples of 16 bytes */
    bool has_bodies;       /* of tensors of attention */
    bool is_bf16;          /* factors of attention are, or are computed, keys being in memory */
    int floats;            /* a factor of attention that is of f32 in memory where others may not be */
    bool has_units;        /* vectors of operands in memory start and end at multiples of 8 elements */
    FormAccessMap updated; /* of a load from what is written, too; no strides, no argument: there is none */
} Making;

static int below(Making *at, int n) {
    return (int)(random_uniform(&at->state) * n);
}

static bool chance(Making *at, double probability) {
    return random_uniform(&at->state) < probability;
}

static int64_t one_of(Making *at, const int64_t *items, int n) {
    return items[below(at, n)];
}

/* ---- Arguments ------------------------------------------------------------------------------------------------- */

static uint32_t add_arg(Making *at, DType dtype, int64_t n_elements, FormAccess access, RandomFormArg holds) {
    Form *form = at->random.form;
    assert(form->n_args < MAX_ARGS);
    static const char *const prefixes[] = {[FORM_IN] = "x", [FORM_OUT] = "y", [FORM_INOUT] = "sum"};
    FormArg arg = {.dtype = dtype, .n_elements = n_elements, .access = access};
    /* Some have names that C or the printer takes. */
    static const char *const taken[] = {"row", "end", "float", "v1", "args", "tile"};
    arg.name = arena_printf(at->arena, "%s%zu", prefixes[access], form->n_args);
    if (chance(at, 0.1) && form->n_args < sizeof taken / sizeof *taken)
        arg.name = taken[form->n_args];
    arg.is_in_pieces = form->n_pieces > 0 && n_elements > 1;
    at->random.args[form->n_args] = holds;
    arena_push(at->arena, form->args, form->n_args, form->args_capacity, arg);
    return (uint32_t)form->n_args - 1;
}

/* Strides of an array that is dense in the indices of `uses` (bit i: index i), these in the order of `order`; its
   number of elements. */
static int64_t set_strides(const FormBody *body, unsigned uses, const int *order, int64_t *strides) {
    int64_t n_elements = 1;
    memset(strides, 0, sizeof(int64_t) * FORM_MAX_INDICES);
    for (int i = body->n_indices - 1; i >= 0; i--) {
        int index = order[i];
        if (!(uses >> index & 1))
            continue;
        strides[index] = n_elements;
        n_elements *= body->indices[index].extent;
    }
    return n_elements;
}

/* The order of the indices, now and then another one. */
static void draw_order(Making *at, int *order, double shuffled) {
    int n = at->body->n_indices;
    for (int i = 0; i < n; i++)
        order[i] = i;
    for (int i = n - 1; i > 0 && chance(at, shuffled); i--) {
        int other = below(at, i + 1), kept = order[i];
        order[i] = order[other];
        order[other] = kept;
    }
}

static unsigned side_of(const FormBody *body, bool is_col) {
    unsigned indices = 0;
    for (int i = 0; i < body->n_indices; i++)
        indices |= body->indices[i].is_col == is_col ? 1u << i : 0;
    return indices;
}

/* ---- Instructions ---------------------------------------------------------------------------------------------- */

static uint32_t add(Making *at, FormInstr instr) {
    return form_add(at->arena, at->body, instr);
}

static uint32_t add_value(Making *at, uint32_t instr) {
    if (at->n_values < MAX_VALUES)
        at->values[at->n_values++] = instr;
    return instr;
}

static uint32_t map(Making *at, OpKind op, uint32_t a, uint32_t b) {
    return add(at, (FormInstr){.op = FORM_MAP, .map_op = op, .a = a, .b = b, .map.gather = FORM_NONE});
}

static uint32_t constant(Making *at, double value) {
    return add(at, (FormInstr){.op = FORM_CONST, .value = value, .map.gather = FORM_NONE});
}

/* A load that varies with some of the indices. */
static uint32_t add_load(Making *at) {
    DType dtype = chance(at, 0.2) ? DTYPE_BF16 : DTYPE_F32;
    const FormBody *body = at->body;
    unsigned all = (1u << body->n_indices) - 1;
    const unsigned choices[] = {all, all, all, side_of(body, false), side_of(body, true), 0, (unsigned)below(at, 256)};
    unsigned uses = choices[below(at, 7)] & all;
    int order[FORM_MAX_INDICES];
    draw_order(at, order, 0.2);
    bool has_offset = at->random.form->n_pieces == 0 && chance(at, 0.1);
    FormInstr load = {.op = FORM_LOAD, .map = {.gather = FORM_NONE, .offset = has_offset ? below(at, 50) : 0}};
    int64_t n_elements = set_strides(body, uses, order, load.map.strides);
    load.map.arg = add_arg(at, dtype, load.map.offset + n_elements, FORM_IN, (RandomFormArg){0});
    return add(at, load);
}

/* What is loaded is the same everywhere, and so it is when it is rounded. */
static uint32_t add_rounded(Making *at) {
    return map(at, OP_to_bf16, add_load(at), FORM_NONE);
}

/* A load of what add_update writes. */
static uint32_t add_updated_load(Making *at) {
    int order[FORM_MAX_INDICES];
    draw_order(at, order, 0.2);
    FormInstr load = {.op = FORM_LOAD, .map = {.gather = FORM_NONE}};
    int64_t n_elements = set_strides(at->body, (1u << at->body->n_indices) - 1, order, load.map.strides);
    load.map.arg = add_arg(at, DTYPE_F32, n_elements, FORM_INOUT, (RandomFormArg){0});
    at->updated = load.map;
    return add(at, load);
}

/* A position below n_table, or a negative one: read, perhaps from where another one says; counted, or the group of a
   row. Varies by the indices of `uses`. */
static uint32_t add_position(Making *at, int64_t n_table, unsigned uses) {
    const FormBody *body = at->body;
    int order[FORM_MAX_INDICES], kind = below(at, 8);
    draw_order(at, order, 0);
    FormInstr position = {
        .op = FORM_POSITION, .a = FORM_NONE, .divisor = chance(at, 0.5) ? 1 : 3, .map.gather = FORM_NONE};
    int64_t n = set_strides(body, uses, order, position.map.strides), n_read = n_table * position.divisor;
    if (kind == 0) {
        position.op = FORM_GROUP;
        position.divisor = n_table;
        position.map.arg =
            add_arg(at, DTYPE_I32, n_table + 1, FORM_IN, (RandomFormArg){.n_positions = n, .is_offsets = true});
        return add(at, position);
    }
    if (kind == 1) {
        position.map.arg = FORM_NONE;
        position.map.offset = -below(at, 5);
        position.limit = n_table;
        return add(at, position);
    }
    if (kind == 2) {
        int64_t n_others = 1 + below(at, 5);
        position.map.gather = add_position(at, n_others, uses);
        position.map.gather_stride = n;
        if (chance(at, 0.5))
            position.a = position.map.gather;
        n *= n_others;
        position.limit = n_table; /* of what stands there instead, too */
    } else if (chance(at, 0.3)) {
        position.limit = n_table;
        n_read *= 2;
    }
    position.map.arg = add_arg(at, DTYPE_I32, n, FORM_IN, (RandomFormArg){.n_positions = n_read});
    return add(at, position);
}

/* Rows of a table at positions, which vary by row, seldom by column too. */
static uint32_t add_gather(Making *at) {
    const FormBody *body = at->body;
    int order[FORM_MAX_INDICES];
    draw_order(at, order, 0);
    unsigned uses = side_of(body, false) | (chance(at, 0.15) ? side_of(body, true) : 0);
    int64_t n_table = 1 + below(at, 20);
    FormInstr load = {.op = FORM_LOAD, .a = FORM_NONE, .map = {.gather = add_position(at, n_table, uses)}};
    if (at->n_values > 0 && chance(at, 0.4))
        load.a = at->values[below(at, at->n_values)];
    load.map.gather_stride = set_strides(body, side_of(body, true), order, load.map.strides);
    DType dtype = chance(at, 0.2) ? DTYPE_BF16 : DTYPE_F32;
    load.map.arg = add_arg(at, dtype, n_table * load.map.gather_stride, FORM_IN, (RandomFormArg){0});
    return add(at, load);
}

/* A number that a choice can depend on with nothing lost to rounding: an index, or one of a position's. */
static uint32_t add_number(Making *at) {
    unsigned all = (1u << at->body->n_indices) - 1, uses = (unsigned)below(at, 256) & all;
    if (at->random.form->n_pieces > 0)
        uses = 0;
    int order[FORM_MAX_INDICES];
    draw_order(at, order, 0.2);
    FormInstr number = {.op = FORM_INDEX, .map = {.gather = FORM_NONE, .arg = FORM_NONE}};
    int64_t n = set_strides(at->body, uses, order, number.map.strides);
    if (n > FORM_INDEX_END / 2)
        return constant(at, 3);
    number.map.offset = below(at, 3);
    if (chance(at, 0.3)) {
        number.op = FORM_LOAD;
        number.map.offset = 0;
        number.map.arg = add_arg(at, DTYPE_I32, n, FORM_IN, (RandomFormArg){.n_positions = 4});
    }
    return add(at, number);
}

/* One of two values, or which. */
static uint32_t add_choice(Making *at, uint32_t a, uint32_t b) {
    uint32_t x = add_number(at), y = chance(at, 0.4) ? add_number(at) : constant(at, below(at, 20));
    uint32_t truth =
        add(at, (FormInstr){.op = chance(at, 0.5) ? FORM_EQUAL : FORM_LESS, .a = x, .b = y, .map.gather = FORM_NONE});
    if (chance(at, 0.2))
        return truth;
    return add(at, (FormInstr){.op = FORM_SELECT, .a = truth, .b = a, .c = b, .map.gather = FORM_NONE});
}

/* Each keeps values of [-2, 2] or so in it, and has no steps where values that should be equal may differ. */
static uint32_t add_map(Making *at) {
    uint32_t a = at->values[below(at, at->n_values)], b = at->values[below(at, at->n_values)];
    static const OpKind smooth[] = {OP_copy, OP_neg, OP_tanh, OP_sigmoid, OP_relu, OP_silu, OP_gelu, OP_gelu_tanh};
    static const OpKind gradients[] = {OP_silu_grad, OP_gelu_grad, OP_gelu_tanh_grad};
    uint32_t positive = FORM_NONE;
    switch (below(at, 9)) {
    case 0:
    case 1:
        return map(at, smooth[below(at, 8)], a, FORM_NONE);
    case 2:
        return map(at, OP_tanh, map(at, gradients[below(at, 3)], a, b), FORM_NONE);
    case 3:
        return map(at, OP_sub, a, b);
    case 4:
        positive = map(at, OP_add, map(at, OP_mul, a, a), constant(at, 0.5));
        return chance(at, 0.5) ? map(at, OP_div, b, positive)
                               : map(at, chance(at, 0.5) ? OP_rsqrt : OP_log, positive, FORM_NONE);
    case 5:
        return map(at, OP_exp, map(at, OP_tanh, a, FORM_NONE), FORM_NONE);
    case 6:
        return map(at, OP_mul, map(at, OP_add, a, b), constant(at, 0.5));
    case 7:
        return add_choice(at, a, b);
    default:
        return map(at, OP_mul, a, b);
    }
}

/* The mean, the largest, or the logarithm of the mean of exponentials. */
static uint32_t add_reduction(Making *at) {
    uint32_t a = at->values[below(at, at->n_values)];
    if (chance(at, 0.25))
        return map(at, OP_sub, add(at, (FormInstr){.op = FORM_LOGSUMEXP_COLS, .a = a, .map.gather = FORM_NONE}),
                   constant(at, log((double)form_n_cols(at->body))));
    FormInstr reduction = {.op = chance(at, 0.7) ? FORM_SUM_COLS : FORM_MAX_COLS, .a = a, .map.gather = FORM_NONE};
    uint32_t folded = add(at, reduction);
    return reduction.op == FORM_MAX_COLS ? folded
                                         : map(at, OP_mul, folded, constant(at, 1.0 / (double)form_n_cols(at->body)));
}

/* ---- Writes ---------------------------------------------------------------------------------------------------- */

static void add_write(Making *at, uint32_t value, unsigned uses, double shuffled) {
    int order[FORM_MAX_INDICES];
    draw_order(at, order, shuffled);
    FormInstr write = {.op = chance(at, 0.6) ? FORM_STORE : FORM_ADD, .a = value, .map.gather = FORM_NONE};
    int64_t n_elements = set_strides(at->body, uses, order, write.map.strides);
    bool is_store = write.op == FORM_STORE,
         is_second = is_store && chance(at, at->random.form->n_pieces == 0 ? 0.2 : 0);
    DType dtype = is_store && chance(at, 0.2) ? DTYPE_BF16 : DTYPE_F32;
    write.map.arg =
        add_arg(at, dtype, n_elements * (is_second ? 2 : 1), is_store ? FORM_OUT : FORM_INOUT, (RandomFormArg){0});
    add(at, write);
    write.map.offset = n_elements; /* the other half of the array */
    if (is_second)
        add(at, write);
}

static void add_update(Making *at, uint32_t value) {
    FormOp op = chance(at, 0.7) ? FORM_STORE : FORM_ADD;
    if (at->updated.arg != FORM_NONE)
        add(at, (FormInstr){.op = op, .a = value, .map = at->updated});
}

static bool is_full(const Making *at, uint32_t value) {
    return at->body->instrs[value].level == FORM_LEVEL_FULL;
}

static void add_stored_position(Making *at) {
    int order[FORM_MAX_INDICES];
    unsigned all = (1u << at->body->n_indices) - 1;
    draw_order(at, order, 0.2);
    FormInstr store = {.op = FORM_STORE, .a = add_position(at, 20, all), .map.gather = FORM_NONE};
    int64_t n_elements = set_strides(at->body, all, order, store.map.strides);
    store.map.arg = add_arg(at, DTYPE_I32, n_elements, FORM_OUT, (RandomFormArg){0});
    add(at, store);
}

static void add_writes(Making *at, bool has_row_sums) {
    unsigned all = (1u << at->body->n_indices) - 1, rows = side_of(at->body, false), cols = side_of(at->body, true);
    bool is_product = at->random.form->kind == FORM_KIND_PRODUCT || at->body != &at->random.form->body;
    uint32_t last = at->values[at->n_values - 1];
    add_update(at, at->values[below(at, at->n_values)]);
    add_write(at, last, is_full(at, last) || is_product || chance(at, 0.5) ? all : rows, 0.2);
    for (int i = 0; i < 2; i++) {
        uint32_t value = at->values[below(at, at->n_values)];
        if (chance(at, 0.3))
            add_write(at, value, is_full(at, value) || is_product ? all : rows, 0.1);
        FormInstr sum = {.op = FORM_SUM_ROWS, .a = value, .map.gather = FORM_NONE};
        if (has_row_sums)
            add_write(at, add(at, sum), cols, 0.1);
    }
}

/* ---- Forms of rows --------------------------------------------------------------------------------------------- */

static Making making_new(Arena *arena, const char *name, uint64_t seed, FormKind kind) {
    Making at = {.arena = arena, .state = seed * 2 + 1};
    at.random.form = arena_new_of(arena, Form);
    *at.random.form = (Form){.name = name,
                             .kind = kind,
                             .n_groups = 1,
                             .offsets = FORM_NONE,
                             .body.yield = FORM_NONE,
                             .route = form_route_new()};
    at.random.args = arena_array_of(arena, RandomFormArg, MAX_ARGS);
    at.random.tolerance = 2e-5;
    at.updated.arg = FORM_NONE;
    at.body = &at.random.form->body;
    return at;
}

static void add_index(FormBody *body, int64_t extent, bool is_col) {
    static const char *const names[] = {"i", "j", "for", "l", "row", "end", "x1", "y0"};
    body->indices[body->n_indices] = (FormIndex){.name = names[body->n_indices], .extent = extent, .is_col = is_col};
    body->n_indices++;
}

static RandomForm done(Making *at) {
    if (at->random.form->n_pieces == 0 && chance(at, 0.5))
        form_merge_indices(at->random.form);
    const char *broken = form_verify(at->arena, at->random.form);
    if (broken != NULL) {
        form_print(stderr, at->random.form);
        fprintf(stderr, "%s\n", broken);
    }
    assert(broken == NULL);
    return at->random;
}

/* Shapes that the printer tells apart: no indices of a side, rows of one block and of more, few long rows, many. */
static void draw_shape(Making *at) {
    static const int64_t rows[] = {1, 2, 3, 7, 70}, cols[] = {1, 3, 16, 37, 64}, wide[] = {600, 1030, 2500};
    int shape = below(at, 6), n_rows = below(at, 3), n_cols = below(at, 3);
    if (shape == 0) {
        add_index(at->body, 1 + below(at, 3), false);
        add_index(at->body, 40000 + below(at, 100), true);
        return;
    }
    if (shape == 1) {
        add_index(at->body, 20 + below(at, 40), false);
        add_index(at->body, one_of(at, wide, 3), true);
        return;
    }
    for (int i = 0; i < n_rows; i++)
        add_index(at->body, one_of(at, rows, 5), false);
    for (int i = 0; i < n_cols; i++)
        add_index(at->body, one_of(at, cols, 5), true);
}

RandomForm random_form_rows(Arena *arena, const char *name, uint64_t seed) {
    Making at = making_new(arena, name, seed, FORM_KIND_ROWS);
    draw_shape(&at);
    bool has_reductions = chance(&at, 0.6), has_row_sums = chance(&at, 0.3);
    int n_loads = 1 + below(&at, 3), n_steps = 2 + below(&at, 8);
    for (int i = 0; i < n_loads; i++)
        add_value(&at, chance(&at, 0.25) ? add_gather(&at) : chance(&at, 0.1) ? add_rounded(&at) : add_load(&at));
    if (chance(&at, 0.3))
        add_value(&at, add_updated_load(&at));
    for (int i = 0; i < n_steps; i++)
        add_value(&at, has_reductions && chance(&at, 0.25) ? add_reduction(&at) : add_map(&at));
    if (chance(&at, 0.15))
        add_stored_position(&at);
    add_writes(&at, has_row_sums);
    return done(&at);
}

RandomForm random_form_scatter(Arena *arena, const char *name, uint64_t seed) {
    static const int64_t rows[] = {1, 3, 7, 60}, cols[] = {1, 3, 64, 100, 257};
    Making at = making_new(arena, name, seed, FORM_KIND_ROWS);
    int n_rows = below(&at, 3), n_cols = below(&at, 4) > 0, n_steps = below(&at, 6);
    for (int i = 0; i < n_rows; i++)
        add_index(at.body, one_of(&at, rows, 4), false);
    for (int i = 0; i < n_cols; i++)
        add_index(at.body, one_of(&at, cols, 5), true);
    add_value(&at, add_load(&at));
    for (int i = 0; i < n_steps; i++)
        add_value(&at, chance(&at, 0.25) ? add_gather(&at) : add_map(&at));
    int64_t n_table = 1 + below(&at, 20), width = form_n_cols(at.body);
    FormInstr scatter = {.op = FORM_SCATTER, .a = at.values[at.n_values - 1], .map.gather_stride = width};
    scatter.map.gather = add_position(&at, n_table, side_of(at.body, false));
    scatter.map.strides[n_rows] = n_cols;
    FormAccess access = chance(&at, 0.5) ? FORM_OUT : FORM_INOUT;
    scatter.map.arg = add_arg(&at, DTYPE_F32, n_table * width, access, (RandomFormArg){0});
    add(&at, scatter);
    at.random.tolerance = 2e-5 * (double)form_n_rows(at.body);
    return done(&at);
}

/* Pieces of one column, of a part, of more than one. All of what varies is in pieces: gathers and numbers have no
   columns. */
RandomForm random_form_pieces(Arena *arena, const char *name, uint64_t seed) {
    static const int64_t sizes[] = {1, 7, 100, 1024, 16384, 20000, 40001};
    Making at = making_new(arena, name, seed, FORM_KIND_ROWS);
    Form *form = at.random.form;
    size_t n_pieces = 2 + (size_t)below(&at, 12);
    int64_t n_columns = 0;
    form->pieces = arena_array_of(arena, int64_t, n_pieces);
    for (size_t i = 0; i < n_pieces; i++) {
        form->pieces[i] = one_of(&at, sizes, chance(&at, 0.5) ? 4 : 7);
        n_columns += form->pieces[i];
    }
    form->n_pieces = n_pieces;
    add_index(at.body, n_columns, true);
    add_value(&at, add_load(&at));
    add_value(&at, add_updated_load(&at));
    bool has_reductions = chance(&at, 0.6);
    int n_steps = 2 + below(&at, 6);
    for (int i = 0; i < n_steps; i++) {
        double draw = random_uniform(&at.state);
        add_value(&at, has_reductions && draw < 0.25 ? add_reduction(&at) : draw < 0.5 ? add_load(&at) : add_map(&at));
    }
    add_writes(&at, false);
    return done(&at);
}

/* ---- Products -------------------------------------------------------------------------------------------------- */

/* What an operand is, [side, k]; group_elements: of the matrix of one group, or 0. */
static void add_array(Making *at, FormOperand *operand, int64_t side, int64_t k, bool has_groups) {
    const Form *form = at->random.form;
    bool k_is_major = chance(at, 0.4);
    int64_t n_major = k_is_major ? k : side, n_minor = k_is_major ? side : k,
            pad = chance(at, 0.2) ? (chance(at, 0.5) ? 3 : 8)
                  : n_minor == 1  ? 1
                                  : 0;
    operand->offset = pad;
    if (at->is_copied) {
        bool is_ragged_side = form->ragged == FORM_RAGGED_ROWS && !has_groups;
        k_is_major = form->ragged == FORM_RAGGED_K || (k_is_major && !is_ragged_side);
        n_major = k_is_major ? k : side;
        n_minor = k_is_major ? side : k;
        pad = (n_minor + 7) / 8 * 8 - n_minor + (pad > 0 ? 8 : 0);
        operand->offset = chance(at, 0.3) ? 8 : 0;
    }
    operand->stride = k_is_major ? 1 : n_minor + pad;
    operand->k_stride = k_is_major ? n_minor + pad : 1;
    bool is_gathered = !has_groups && chance(at, 0.4);
    if (is_gathered) {
        operand->gather_divisor = chance(at, 0.5) ? 1 : 2;
        int64_t n_table = 1 + below(at, 30);
        operand->gather =
            add_arg(at, DTYPE_I32, n_major, FORM_IN, (RandomFormArg){.n_positions = n_table * operand->gather_divisor});
        n_major = n_table;
    }
    operand->group_stride = has_groups ? n_major * (n_minor + pad) : 0;
    operand->arg =
        add_arg(at, at->operand_dtype, (has_groups ? form->n_groups : 1) * n_major * (n_minor + pad) + operand->offset,
                FORM_IN, (RandomFormArg){0});
}

static void add_part(Making *at, FormOperand *operand, int64_t side, int64_t k) {
    Making part = *at;
    operand->k_is_major = chance(at, 0.5);
    operand->part = arena_new_of(at->arena, FormBody);
    part.body = operand->part;
    part.n_values = 0;
    int64_t n_rows = operand->k_is_major ? k : side, n_cols = operand->k_is_major ? side : k;
    operand->stride = operand->k_is_major ? 1 : n_cols + 1; /* which side is major shows in them */
    operand->k_stride = operand->k_is_major ? n_cols + 1 : 1;
    if (n_rows % 2 == 0) {
        add_index(part.body, n_rows / 2, false);
        add_index(part.body, 2, false);
    } else {
        add_index(part.body, n_rows, false);
    }
    if (n_cols % 3 == 0) {
        add_index(part.body, 3, true);
        add_index(part.body, n_cols / 3, true);
    } else {
        add_index(part.body, n_cols, true);
    }
    add_value(&part, chance(&part, 0.4) ? add_gather(&part) : add_load(&part));
    for (int i = 0; i < 2; i++)
        add_value(&part, chance(&part, 0.3) ? add_load(&part) : add_map(&part));
    operand->part->yield = part.values[part.n_values - 1];
    at->state = part.state;
    at->args_capacity = part.args_capacity;
}

static int add_operand(Making *at, bool is_lhs, int64_t k) {
    Form *form = at->random.form;
    int64_t side = is_lhs ? form_n_rows(&form->body) : form_n_cols(&form->body);
    if (is_lhs && form->ragged == FORM_RAGGED_K)
        side /= form->n_groups;
    FormOperand *operand = &form->operands[form->n_operands];
    *operand = (FormOperand){.arg = FORM_NONE, .gather = FORM_NONE, .gather_divisor = 1};
    operand->name = arena_printf(at->arena, "%c", 'a' + form->n_operands);
    bool has_groups = form->ragged == FORM_RAGGED_ROWS && !is_lhs;
    if (!has_groups && at->operand_dtype == DTYPE_F32 && chance(at, 0.4))
        add_part(at, operand, side, k);
    else
        add_array(at, operand, side, k, has_groups);
    return form->n_operands++;
}

static void add_products(Making *at, int n_products) {
    static const int64_t depths[] = {1, 5, 16, 40, 75, 300};
    Form *form = at->random.form;
    int64_t k = one_of(at, depths, 6);
    int lhs = add_operand(at, true, k);
    for (int i = 0; i < n_products; i++) {
        FormProduct product = {.lhs = lhs, .rhs = add_operand(at, false, k), .k = k};
        product.result = i > 0 && chance(at, 0.6) ? form->n_results : 0;
        if (product.result >= form->n_results)
            form->n_results = product.result + 1;
        form->products[form->n_products++] = product;
        if (chance(at, 0.4) && i + 1 < n_products) {
            k = one_of(at, depths, 6);
            lhs = add_operand(at, true, k);
        }
    }
    if (form->ragged != FORM_DENSE) {
        int64_t limit = form_n_rows(&form->body);
        for (int i = 0; i < n_products && form->ragged == FORM_RAGGED_K; i++)
            limit = i == 0 || form->products[i].k < limit ? form->products[i].k : limit;
        form->offsets = add_arg(at, DTYPE_I32, form->n_groups + 1, FORM_IN,
                                (RandomFormArg){.n_positions = limit, .is_offsets = true});
    }
    at->random.tolerance *= (double)k;
}

/* Of which there may be packed copies. */
static void mark_packed(Making *at) {
    Form *form = at->random.form;
    for (int i = 0; i < form->n_products; i++) {
        FormOperand *rhs = &form->operands[form->products[i].rhs];
        if (!rhs->part && rhs->gather == FORM_NONE && form->ragged != FORM_RAGGED_K)
            rhs->is_packed = chance(at, 0.3);
    }
}

/* The results, scaled so that they are of the size of other values, and what is made of them. */
static void add_epilogue(Making *at) {
    const Form *form = at->random.form;
    for (int i = 0; i < form->n_results; i++) {
        uint32_t sum = add(at, (FormInstr){.op = FORM_SUM, .result = i, .map.gather = FORM_NONE});
        add_value(at, form->n_results == 1 && chance(at, 0.3) ? sum : map(at, OP_mul, sum, constant(at, 0.0625)));
    }
    int n_steps = below(at, 5);
    if (chance(at, 0.3))
        add_value(at, add_updated_load(at));
    for (int i = 0; i < n_steps; i++) {
        double draw = random_uniform(&at->state);
        add_value(at, draw < 0.15 ? add_gather(at) : draw < 0.4 ? add_load(at) : add_map(at));
    }
    add_writes(at, false);
}

/* Indices, products and the body. */
static RandomForm product_of(Making *at, const int64_t *extents, int n_extents) {
    Form *form = at->random.form;
    form->n_groups = form->ragged == FORM_DENSE ? 1 : 1 + below(at, 5);
    if (form->ragged == FORM_RAGGED_K && form->n_groups > 1)
        add_index(&form->body, form->n_groups, false);
    add_index(&form->body, one_of(at, extents, n_extents), false);
    if (chance(at, 0.3))
        add_index(&form->body, 2 + below(at, 3), false);
    add_index(&form->body, one_of(at, extents, n_extents), true);
    if (chance(at, 0.3))
        add_index(&form->body, 2 + below(at, 3), true);
    add_products(at, 1 + below(at, 3));
    add_epilogue(at);
    if (!at->is_copied)
        mark_packed(at);
    return done(at);
}

RandomForm random_form_product(Arena *arena, const char *name, uint64_t seed) {
    static const int64_t extents[] = {1, 2, 7, 16, 31, 66, 130};
    Making at = making_new(arena, name, seed, FORM_KIND_PRODUCT);
    Form *form = at.random.form;
    form->ragged = (FormRagged)below(&at, 3);
    at.operand_dtype = chance(&at, 0.4) ? DTYPE_BF16 : DTYPE_F32;
    return product_of(&at, extents, 7);
}

RandomForm random_form_tiles(Arena *arena, const char *name, uint64_t seed) {
    static const int64_t extents[] = {1, 7, 16, 66, 100, 136, 200};
    Making at = making_new(arena, name, seed, FORM_KIND_PRODUCT);
    at.random.form->ragged = (FormRagged)(seed % 3);
    at.operand_dtype = DTYPE_BF16;
    at.is_copied = true;
    return product_of(&at, extents, 7);
}

/* ---- Attention ------------------------------------------------------------------------------------------------- */

/* An element of the result, of the column itself or of one of two halves. */
static uint32_t add_result(Making *at) {
    FormInstr result = {.op = FORM_RESULT, .map = {.arg = FORM_NONE, .gather = FORM_NONE}};
    const FormBody *body = at->body;
    int last = body->n_indices - 1;
    result.map.strides[last] = 1;
    if (body->indices[last - 1].is_col && chance(at, 0.7))
        result.map.offset = below(at, 2) * body->indices[last].extent;
    else if (body->indices[last - 1].is_col)
        result.map.strides[last - 1] = body->indices[last].extent;
    return map(at, OP_mul, add(at, result), constant(at, 0.25));
}

/* What makes an operand, or is made of a result. */
static void add_tensor_body(Making *at, const FormBody *indices, int tensor, bool is_result) {
    Making part = *at;
    FormBody *body = at->random.form->attention.bodies[tensor] = arena_new_of(at->arena, FormBody);
    part.body = body;
    part.n_values = 0;
    part.updated = (FormAccessMap){.arg = FORM_NONE};
    body->yield = FORM_NONE;
    for (int i = 0; i < 3; i++)
        add_index(body, indices->indices[i].extent, false);
    int64_t n_columns = indices->indices[3].extent, n_halves = n_columns % 2 == 0 && chance(&part, 0.6) ? 2 : 1;
    if (n_halves == 2)
        add_index(body, 2, true);
    add_index(body, n_columns / n_halves, true);
    if (is_result && chance(&part, 0.3))
        add_value(&part, add_updated_load(&part));
    for (int i = 0; i < 2; i++)
        add_value(&part, is_result ? add_result(&part) : chance(&part, 0.3) ? add_gather(&part) : add_load(&part));
    for (int i = below(&part, 4); i > 0; i--)
        add_value(&part, chance(&part, 0.3) ? add_load(&part) : add_map(&part));
    if (is_result)
        add_writes(&part, false);
    else
        body->yield = map(&part, OP_tanh, part.values[part.n_values - 1], FORM_NONE);
    at->state = part.state;
    at->args_capacity = part.args_capacity;
}

/* Whether it is a factor of attention's products. */
static bool is_factor(int tensor) {
    return tensor < ATTENTION_OUT || tensor == ATTENTION_DOUT;
}

static bool may_have_body(const Making *at, int tensor) {
    bool is_in_memory = tensor == (at->is_bf16 ? (int)ATTENTION_K : at->floats);
    return at->has_bodies && tensor != ATTENTION_LOGSUMEXP && !is_in_memory;
}

static DType attention_dtype(Making *at, int tensor) {
    bool may_be_bf16 = at->has_bodies && tensor != ATTENTION_LOGSUMEXP && (at->is_bf16 || tensor != at->floats);
    bool must_be = at->is_bf16 && is_factor(tensor);
    return must_be || (may_be_bf16 && chance(at, 0.4)) ? DTYPE_BF16 : DTYPE_F32;
}

/* A new argument; some that are read are parts of a larger one. Or a body. */
static void add_tensor(Making *at, int tensor, bool is_result) {
    static const int of_keys[] = {ATTENTION_K, ATTENTION_V, ATTENTION_DK, ATTENTION_DV};
    Form *form = at->random.form;
    FormBody indices = form->body;
    for (int i = 0; i < 4; i++)
        indices.indices[2].extent /= tensor == of_keys[i] ? form->attention.n_shared : 1;
    if (may_have_body(at, tensor) && chance(at, at->is_bf16 ? 0.3 : 0.5)) {
        add_tensor_body(at, &indices, tensor, is_result);
        return;
    }
    unsigned uses = tensor == ATTENTION_LOGSUMEXP ? 7 : 15;
    int order[FORM_MAX_INDICES] = {0, 1, 2, 3}, unit = at->has_units ? 8 : 1;
    if (chance(at, 0.5)) { /* heads before positions */
        order[1] = 2;
        order[2] = 1;
    }
    if (!is_result && uses == 15 && chance(at, 0.3))
        indices.indices[3].extent += below(at, 20) * unit; /* vectors are parts of longer ones */
    FormAccessMap *map = &form->attention.maps[tensor];
    *map = (FormAccessMap){.gather = FORM_NONE, .offset = is_result ? 0 : below(at, 2) * below(at, 10) * unit};
    int64_t n_elements = set_strides(&indices, uses, order, map->strides);
    DType dtype = attention_dtype(at, tensor);
    map->arg = add_arg(at, dtype, map->offset + n_elements, is_result ? FORM_OUT : FORM_IN, (RandomFormArg){0});
    if (is_result && dtype == DTYPE_BF16 && !at->is_bf16)
        at->random.tolerance = 0.01; /* sums may round to the next one */
}

static RandomForm random_attention(Making at, const int64_t widths[5]) {
    static const int64_t positions[] = {1, 2, 11, 47, 97, 150, 150, 200};
    Form *form = at.random.form;
    bool is_gradient = chance(&at, 0.5), has_bodies = at.has_bodies;
    int first_result = is_gradient ? ATTENTION_DQ : ATTENTION_OUT;
    form->kind = is_gradient ? FORM_KIND_ATTENTION_GRAD : FORM_KIND_ATTENTION;
    form->attention.n_shared = 1 + below(&at, at.is_bf16 ? 2 : 3);
    add_index(&form->body, 1 + below(&at, 2), false);
    add_index(&form->body, one_of(&at, positions + 2 * has_bodies, 6), false);
    add_index(&form->body, form->attention.n_shared * (1 + below(&at, 2)), false);
    add_index(&form->body, one_of(&at, widths, 5), true);
    int64_t n_positions = form->body.indices[1].extent;
    form->attention.window = chance(&at, 0.5) ? n_positions : 1 + below(&at, (int)n_positions);
    form->attention.scale = chance(&at, 0.2) ? -0.3 : 0.3;
    form->attention.tile_queries = 1 + below(&at, has_bodies ? 50 : 100); /* many tiles compute a part again */
    form->attention.tile_keys = 1 + below(&at, has_bodies ? 50 : 100);
    at.random.tolerance = has_bodies ? 5e-4 : 1e-4;
    for (int i = first_result; i <= (is_gradient ? ATTENTION_DV : ATTENTION_LOGSUMEXP); i++)
        add_tensor(&at, i, true);
    for (int i = 0; i < first_result; i++)
        add_tensor(&at, i, false);
    return done(&at);
}

static const int64_t attention_widths[] = {1, 5, 16, 33, 64};

RandomForm random_form_attention(Arena *arena, const char *name, uint64_t seed) {
    return random_attention(making_new(arena, name, seed, FORM_KIND_ATTENTION), attention_widths);
}

RandomForm random_form_attention_slots(Arena *arena, const char *name, uint64_t seed) {
    Making at = making_new(arena, name, seed, FORM_KIND_ATTENTION);
    at.has_bodies = true;
    at.floats = ATTENTION_Q + below(&at, 3);
    return random_attention(at, attention_widths);
}

RandomForm random_form_attention_bf16(Arena *arena, const char *name, uint64_t seed) {
    static const int64_t any[] = {5, 16, 40, 100, 129}, in_units[] = {64, 72, 128, 160, 256};
    Making at = making_new(arena, name, seed, FORM_KIND_ATTENTION);
    at.has_bodies = at.is_bf16 = true;
    at.has_units = chance(&at, 0.5);
    RandomForm random = random_attention(at, at.has_units ? in_units : any);
    random.tolerance = 0.01; /* weights are rounded to bf16 on their way, in any order */
    return random;
}

/* ---- Routes ---------------------------------------------------------------------------------------------------- */

/* Exact in floats, so that the order of scores is; relu makes equal ones. */
static void add_scores(Making *at) {
    uint32_t score = add_load(at);
    for (int i = below(at, 3); i > 0; i--) {
        uint32_t half = map(at, OP_mul, score, constant(at, -0.5));
        FormInstr largest = {.op = FORM_MAX_COLS, .a = score, .map.gather = FORM_NONE};
        score = chance(at, 0.4) ? map(at, OP_relu, score, FORM_NONE) : chance(at, 0.5) ? half : score;
        add_value(at, chance(at, 0.3) ? add(at, largest) : score);
    }
    add_value(at, score);
    if (chance(at, 0.5))
        add_writes(at, false);
    at->body->yield = score;
}

static void add_route_result(Making *at, FormRouteResult result, DType dtype, int64_t n_elements) {
    at->random.form->route.results[result] = add_arg(at, dtype, n_elements, FORM_OUT, (RandomFormArg){0});
}

/* As many experts as a row chooses, one, none full and all full among them. */
RandomForm random_form_route(Arena *arena, const char *name, uint64_t seed) {
    static const int64_t rows[] = {1, 2, 7, 16, 33, 700, 2500}, experts[] = {1, 2, 3, 8, 31, 70, 130};
    Making at = making_new(arena, name, seed, FORM_KIND_ROUTE);
    Form *form = at.random.form;
    FormRoute *route = &form->route;
    int64_t n_rows = one_of(&at, rows, 7), n_experts = one_of(&at, experts, 7), n_slots;
    bool is_given = chance(&at, 0.3);
    add_index(at.body, n_rows, false);
    if (chance(&at, 0.2) && !is_given)
        add_index(at.body, 2, false);
    add_index(at.body, n_experts, true);
    route->k = is_given ? 1 : chance(&at, 0.2) ? n_experts : 1 + below(&at, (int)(n_experts < 8 ? n_experts : 8));
    n_slots = form_n_rows(at.body) * route->k;
    if (is_given)
        route->given =
            add_arg(&at, DTYPE_I32, n_slots, FORM_IN, (RandomFormArg){.n_positions = chance(&at, 0.2) ? 1 : n_experts});
    else
        add_scores(&at);
    route->capacity = chance(&at, 0.4) ? 1 + below(&at, (int)n_slots) : 0;
    if (!is_given && chance(&at, 0.7))
        add_route_result(&at, FORM_ROUTE_VALUES, DTYPE_F32, n_slots);
    if (!is_given && chance(&at, 0.6))
        add_route_result(&at, FORM_ROUTE_EXPERTS, DTYPE_I32, n_slots);
    if (chance(&at, 0.6))
        add_route_result(&at, FORM_ROUTE_COUNTS, DTYPE_F32, n_experts);
    if (chance(&at, 0.7))
        add_route_result(&at, FORM_ROUTE_SLOT_OF_ROW, DTYPE_I32, n_slots);
    if (route->results[FORM_ROUTE_SLOT_OF_ROW] != FORM_NONE || chance(&at, 0.3))
        add_route_result(&at, FORM_ROUTE_ROW_OF_SLOT, DTYPE_I32, n_slots);
    add_route_result(&at, FORM_ROUTE_OFFSETS, DTYPE_I32, n_experts + 1);
    return done(&at);
}

/* ---- Data ------------------------------------------------------------------------------------------------------ */

/* Now and then one group has everything, and some have nothing. */
static void fill_offsets(double *values, int64_t n_groups, int64_t limit, uint64_t *state) {
    int64_t n_used = random_uniform(state) < 0.5 ? limit : (int64_t)(random_uniform(state) * (double)(limit + 1));
    bool is_lopsided = random_uniform(state) < 0.3;
    int64_t owner = (int64_t)(random_uniform(state) * (double)n_groups), previous = 0;
    for (int64_t group = 0; group < n_groups; group++) {
        int64_t left = n_used - previous, n = (int64_t)(random_uniform(state) * (double)(left + 1));
        if (is_lopsided)
            n = group == owner ? n_used : 0;
        else if (group == n_groups - 1)
            n = left;
        previous += n;
        values[group + 1] = (double)previous;
    }
}

void random_form_write(const FormArg *arg, void *elements, int64_t i, double value) {
    float single = (float)value;
    uint32_t bits;
    memcpy(&bits, &single, sizeof bits);
    if (arg->dtype == DTYPE_I32)
        ((int32_t *)elements)[i] = (int32_t)value;
    else if (arg->dtype == DTYPE_BF16)
        ((uint16_t *)elements)[i] = (uint16_t)(bits >> 16);
    else
        ((float *)elements)[i] = single;
}

double random_form_read(const FormArg *arg, const void *elements, int64_t i) {
    if (arg->dtype == DTYPE_I32)
        return ((const int32_t *)elements)[i];
    if (arg->dtype == DTYPE_F32)
        return (double)((const float *)elements)[i];
    uint32_t bits = (uint32_t)((const uint16_t *)elements)[i] << 16;
    float single;
    memcpy(&single, &bits, sizeof single);
    return (double)single;
}

double random_form_margin(const RandomForm *random, const FormArg *arg, double expected) {
    double step = arg->dtype == DTYPE_BF16 ? fabs(expected) / 128 : 0;
    return random->tolerance * fmax(1, fabs(expected)) + step;
}

/* Of the gradient of bf16 attention: weights are rounded to bf16, half a step of 2^-8 off at most, and such errors add
   up as random ones do, over the queries that see a key. A random logsumexp, from -1 on, divides weights by 1 / e at
   least: they do not add up to 1. The sum's error is below 4 times what is expected of it. */
static double attention_tolerance(const Form *form) {
    double n = (double)(form->attention.window * form->attention.n_shared), largest_weight = exp(1);
    return 4 * sqrt(n) * largest_weight / 1024;
}

/* How far sums are off grows with what they add up. */
static double tolerance_of(const Form *form) {
    int64_t n =
        form_n_cols(&form->body) > form_n_rows(&form->body) ? form_n_cols(&form->body) : form_n_rows(&form->body);
    bool has_bf16 = false;
    for (size_t i = 0; i < form->n_args; i++)
        has_bf16 = has_bf16 || form->args[i].dtype == DTYPE_BF16;
    for (int i = 0; i < form->n_products; i++)
        n = form->products[i].k > n ? form->products[i].k : n;
    if (has_bf16 && form->kind == FORM_KIND_ATTENTION_GRAD)
        return fmax(0.05, attention_tolerance(form));
    return has_bf16 ? 0.05 : 2e-6 * (double)(n < 10 ? 10 : n);
}

RandomForm random_form_of(Arena *arena, const Form *form) {
    RandomForm random = {.form = arena_new_of(arena, Form),
                         .args = arena_array_of(arena, RandomFormArg, form->n_args),
                         .tolerance = tolerance_of(form)};
    int64_t limit = form_n_rows(&form->body);
    *random.form = *form;
    for (int i = 0; i < form->n_products && form->ragged == FORM_RAGGED_K; i++)
        limit = i == 0 || form->products[i].k < limit ? form->products[i].k : limit;
    for (size_t i = 0; i < form->n_args; i++) {
        bool is_offsets = form->ragged != FORM_DENSE && form->offsets == i;
        random.args[i] = (RandomFormArg){.n_positions = is_offsets ? limit : 2, .is_offsets = is_offsets};
    }
    return random;
}

double **random_form_values(Arena *arena, const RandomForm *random, uint64_t seed) {
    const Form *form = random->form;
    uint64_t state = seed * 2 + 1;
    double **values = arena_array_of(arena, double *, form->n_args);
    for (size_t i = 0; i < form->n_args; i++) {
        const FormArg *arg = &form->args[i];
        values[i] = arena_array_of(arena, double, (size_t)arg->n_elements);
        if (random->args[i].is_offsets) {
            fill_offsets(values[i], arg->n_elements - 1, random->args[i].n_positions, &state);
            continue;
        }
        for (int64_t j = 0; j < arg->n_elements; j++) {
            double draw = random_uniform(&state);
            if (arg->dtype == DTYPE_I32)
                values[i][j] = (double)(int64_t)(draw * (double)(random->args[i].n_positions + 1)) - 1;
            else
                values[i][j] =
                    arg->dtype == DTYPE_BF16 ? scalar_round_bf16(2 * draw - 1) : (double)(float)(2 * draw - 1);
        }
    }
    return values;
}
