/* What all forms' C has in common: names, elements of arguments, statements. */
#include "codegen/form_c.h"

#include <assert.h>
#include <ctype.h>
#include <string.h>

#include "codegen/c_map.h"
#include "codegen/c_words.h"
#include "codegen/form_c_internal.h"

/* ---- Names ----------------------------------------------------------------------------------------------------- */

/* Variables of the printed loops, and how others of them start. */
static const char *const variables[] = {"row",  "first", "end",   "chunk", "tile",    "gemm",    "packed",
                                        "ld",   "group", "major", "minor", "n_major", "n_minor", "col",
                                        "out",  "begin", "stop",  "piece", "part",    "sizes",   "starts",
                                        "term", "place", "sums",  NULL};
static const char *const prefixes[] = {"sums_",   "sum_",     "block_",  "kept_",  "partial_", "parts_",
                                       "before_", "maximum_", "maxima_", "terms_", NULL};

static const char *const route_variables[] = {"N_EXPERTS", "N_CHUNKS", "K",     "COLUMNS", "counted", "n_lanes",
                                              "scores",    "scored",   "lane",  "largest", "places",  "columns",
                                              "value",     "bits",     "place", "moves",   "slot",    "expert",
                                              "next",      "ends",     "n",     "n_own",   NULL};

static bool is_in(const char *const *names, const char *name) {
    while (*names != NULL && strcmp(*names, name) != 0)
        names++;
    return *names != NULL;
}

static bool is_taken_besides(const FormPrinter *at, const char *name) {
    for (const char *const *taken = at->taken; taken != NULL && *taken != NULL; taken++) {
        size_t n = strlen(*taken);
        if (strcmp(*taken, name) == 0 || ((*taken)[n - 1] == '_' && strncmp(*taken, name, n) == 0))
            return true;
    }
    return false;
}

static bool is_free(const char *name, const FormPrinter *at, int n_indices) {
    bool is_taken = is_in(variables, name) || is_taken_besides(at, name) ||
                    (at->form->kind == FORM_KIND_ROUTE && is_in(route_variables, name));
    bool is = !is_taken && !c_is_word(name) && !(name[0] == 'v' && isdigit((unsigned char)name[1]));
    for (int i = 0; prefixes[i] != NULL; i++)
        is = is && strncmp(name, prefixes[i], strlen(prefixes[i])) != 0;
    for (size_t i = 0; i < at->form->n_args && at->arg_names[i] != NULL; i++)
        is = is && strcmp(name, at->arg_names[i]) != 0;
    for (int i = 0; i < n_indices; i++)
        is = is && strcmp(name, at->index_names[i]) != 0;
    return is;
}

/* The name itself, or with as many '_' as make it free. */
static const char *free_name(const FormPrinter *at, const char *name, int n_indices) {
    name = name[0] == '_' || !is_free(name, at, 0) ? arena_printf(at->c->arena, "x_%s", name) : name;
    while (!is_free(name, at, n_indices))
        name = arena_printf(at->c->arena, "%s_", name);
    return name;
}

FormPrinter form_printer_new(CPrinter *c, const Form *form, const FormBody *body) {
    return form_printer_with(c, form, body, NULL);
}

FormPrinter form_printer_with(CPrinter *c, const Form *form, const FormBody *body, const char *const *taken) {
    FormPrinter at = {.c = c, .form = form, .body = body, .taken = taken};
    at.arg_names = arena_array_of(c->arena, const char *, form->n_args);
    for (size_t i = 0; i < form->n_args; i++)
        at.arg_names[i] = free_name(&at, form->args[i].name, 0);
    for (int i = 0; i < body->n_indices; i++)
        at.index_names[i] = free_name(&at, body->indices[i].name, i);
    return at;
}

/* ---- Arguments ------------------------------------------------------------------------------------------------- */

static void print_pointers(FormPrinter *at, bool in_pieces) {
    for (size_t i = 0; i < at->form->n_args; i++) {
        const FormArg *arg = &at->form->args[i];
        bool is_touched = at->form->kind == FORM_KIND_ROUTE;
        for (size_t j = 0; j < at->body->n_instrs; j++) {
            const FormInstr *instr = &at->body->instrs[j];
            is_touched = is_touched || (form_instr_has_map(instr) && instr->map.arg == i);
        }
        if (is_touched && arg->is_in_pieces == in_pieces)
            c_line(at->c, "%s%s *restrict %s = args[%zu%s];", arg->access == FORM_IN ? "const " : "",
                   c_type(arg->dtype), at->arg_names[i], form_arg_entry(at->form, i), in_pieces ? " + piece" : "");
    }
}

void form_print_pointers(FormPrinter *at) {
    print_pointers(at, false);
}

void form_print_piece_pointers(FormPrinter *at) {
    print_pointers(at, true);
}

static const char *with_term(CPrinter *c, const char *sum, const char *name, int64_t factor) {
    if (factor == 0)
        return sum;
    const char *plus = sum[0] == '\0' ? "" : " + ";
    return factor == 1 ? arena_printf(c->arena, "%s%s%s", sum, plus, name)
                       : arena_printf(c->arena, "%s%s%s * %lld", sum, plus, name, (long long)factor);
}

/* What the map gives, after `sum`, what is added before it or "". */
static const char *number_text(FormPrinter *at, const FormAccessMap *map, const char *sum) {
    for (int i = 0; i < at->body->n_indices; i++)
        sum = with_term(at->c, sum, at->index_names[i], map->strides[i]);
    if (sum[0] == '\0' || map->offset != 0)
        sum = arena_printf(at->c->arena, "%s%s%lld", sum, sum[0] == '\0' ? "" : " + ", (long long)map->offset);
    return sum;
}

static const char *element_text(FormPrinter *at, const FormAccessMap *map, const char *before) {
    const char *sum = number_text(at, map, before);
    return arena_printf(at->c->arena, "%s[%s]", at->arg_names[map->arg], sum);
}

const char *form_element_text(FormPrinter *at, const FormAccessMap *map) {
    return element_text(at, map, "");
}

/* ---- Statements ------------------------------------------------------------------------------------------------ */

static bool is_truth(const FormInstr *instr) {
    return instr->op == FORM_EQUAL || instr->op == FORM_LESS;
}

const char *form_value_text(FormPrinter *at, uint32_t instr) {
    const FormInstr *value = &at->body->instrs[instr];
    return value->op == FORM_CONST ? c_literal(at->c, DTYPE_F32, value->value)
                                   : arena_printf(at->c->arena, "%sv%u", is_truth(value) ? "(float)" : "", instr);
}

/* How many positions lead to elements that are there. */
static int64_t n_positions(const FormPrinter *at, const FormAccessMap *map) {
    int64_t last = map->offset;
    for (int i = 0; i < at->body->n_indices; i++)
        last += (at->body->indices[i].extent - 1) * map->strides[i];
    return (at->form->args[map->arg].n_elements - 1 - last) / map->gather_stride + 1;
}

/* Where the row that the instruction gathers or scatters to starts, and whether there is one: else row 0 stands in, so
   that loops read without branching. */
static void print_gathered_row(FormPrinter *at, uint32_t instr) {
    const FormAccessMap *map = &at->body->instrs[instr].map;
    long long n = (long long)n_positions(at, map), limit = (long long)at->body->instrs[map->gather].limit;
    if (limit > 0 && limit <= n)
        c_line(at->c, "int v%u_is = v%u >= 0;", instr, map->gather);
    else
        c_line(at->c, "int v%u_is = (uint64_t)v%u < %lld;", instr, map->gather, n);
    c_line(at->c, "int64_t v%u_at = v%u_is ? v%u * %lld : 0;", instr, instr, map->gather,
           (long long)map->gather_stride);
}

/* The element that the instruction reads; where a position says to read none, that of row 0. */
static void print_read(FormPrinter *at, uint32_t instr, const char *type) {
    const FormAccessMap *map = &at->body->instrs[instr].map;
    const char *before = map->gather == FORM_NONE ? "" : arena_printf(at->c->arena, "v%u_at", instr);
    const char *element = element_text(at, map, before);
    if (at->form->args[map->arg].dtype == DTYPE_BF16)
        element = arena_printf(at->c->arena, "moec_widen(%s)", element);
    c_line(at->c, "%s v%u = %s;", type, instr, element);
}

/* What stands for it there. */
static void print_otherwise(FormPrinter *at, uint32_t instr, const char *missing) {
    const FormInstr *read = &at->body->instrs[instr];
    if (read->map.gather == FORM_NONE)
        return;
    missing = form_instr_n_operands(read) > 0 ? form_value_text(at, read->a) : missing;
    c_line(at->c, "v%u = v%u_is ? v%u : %s;", instr, instr, instr, missing);
}

static void print_position(FormPrinter *at, uint32_t instr) {
    const FormInstr *position = &at->body->instrs[instr];
    bool is_number = position->op == FORM_GROUP || position->map.arg == FORM_NONE;
    const char *number = is_number ? number_text(at, &position->map, "") : NULL;
    if (position->op == FORM_GROUP)
        c_line(at->c, "int64_t v%u = moec_group(%s, %lld, %s);", instr, at->arg_names[position->map.arg],
               (long long)position->divisor, number);
    else if (is_number)
        c_line(at->c, "int64_t v%u = %s;", instr, number);
    else
        print_read(at, instr, "int64_t");
    if (position->op == FORM_POSITION && position->divisor != 1)
        c_line(at->c, "v%u = v%u < 0 ? v%u : v%u / %lld;", instr, instr, instr, instr, (long long)position->divisor);
    if (position->limit > 0)
        c_line(at->c, "v%u = (uint64_t)v%u < %lld ? v%u : -1;", instr, instr, (long long)position->limit, instr);
    if (!is_number)
        print_otherwise(at, instr, "-1");
    for (size_t i = instr + 1; i < at->body->n_instrs; i++) {
        const FormInstr *gathering = &at->body->instrs[i];
        if (form_instr_has_map(gathering) && gathering->map.gather == instr)
            print_gathered_row(at, (uint32_t)i);
    }
}

/* Of two branches one is taken for each lane of a vector: truths are ints, which the compiler turns into masks. */
static const char *choice_text(FormPrinter *at, const FormInstr *select) {
    const FormInstr *truth = &at->body->instrs[select->a];
    const char *condition =
        is_truth(truth) ? arena_printf(at->c->arena, "v%u", select->a) : form_value_text(at, select->a);
    return arena_printf(at->c->arena, "%s ? %s : %s", condition, form_value_text(at, select->b),
                        form_value_text(at, select->c));
}

/* Vectors of any machine can make a float of a number of 32 bits. */
static void print_computed(FormPrinter *at, uint32_t instr) {
    const FormInstr *value = &at->body->instrs[instr];
    const char *x = value->a != FORM_NONE ? form_value_text(at, value->a) : NULL;
    const char *y = value->b != FORM_NONE ? form_value_text(at, value->b) : NULL;
    switch (value->op) {
    case FORM_INDEX:
        c_line(at->c, "float v%u = (float)(int32_t)(%s);", instr, number_text(at, &value->map, ""));
        break;
    case FORM_RESULT:
        c_line(at->c, "float v%u = sums[%s];", instr, number_text(at, &value->map, ""));
        break;
    case FORM_EQUAL:
        c_line(at->c, "int v%u = %s == %s;", instr, x, y);
        break;
    case FORM_LESS:
        c_line(at->c, "int v%u = %s < %s;", instr, x, y);
        break;
    case FORM_SELECT:
        c_line(at->c, "float v%u = %s;", instr, choice_text(at, value));
        break;
    default:
        assert(value->op == FORM_MAP);
        c_line(at->c, "float v%u = %s;", instr, c_map(at->c, value->map_op, x, y));
    }
}

void form_print_value(FormPrinter *at, uint32_t instr) {
    const FormInstr *value = &at->body->instrs[instr];
    if (form_instr_is_position(value))
        print_position(at, instr);
    else if (value->op != FORM_LOAD)
        print_computed(at, instr);
    else {
        print_read(at, instr, "float");
        print_otherwise(at, instr, "0.0f");
    }
}

const char *form_scatter_text(FormPrinter *at, const FormInstr *scatter, const char *place) {
    return element_text(at, &scatter->map, place);
}

void form_print_write(FormPrinter *at, const FormInstr *instr) {
    const char *value = form_value_text(at, instr->a);
    if (form_instr_is_position(&at->body->instrs[instr->a]))
        value = arena_printf(at->c->arena, "(int32_t)%s", value);
    else if (at->form->args[instr->map.arg].dtype == DTYPE_BF16)
        value = arena_printf(at->c->arena, "moec_narrow(%s)", value);
    c_line(at->c, "%s %s %s;", form_element_text(at, &instr->map), instr->op == FORM_ADD ? "+=" : "=", value);
}

/* ---- Work ------------------------------------------------------------------------------------------------------ */

int form_cost(const FormBody *body, const FormInstr *instr) {
    enum { SCATTERED_READ = 8, SEARCH = 8 };
    if (instr->op == FORM_GROUP)
        return SEARCH;
    if (instr->op == FORM_CONST)
        return 0;
    if (instr->op == FORM_MAP)
        return c_map_cost(instr->map_op);
    if (instr->op == FORM_LOGSUMEXP_COLS)
        return c_map_cost(OP_exp);
    bool is_scattered = instr->map.gather != FORM_NONE && body->instrs[instr->map.gather].level == FORM_LEVEL_FULL;
    return is_scattered ? SCATTERED_READ : 1;
}

bool *form_live(Arena *arena, const FormBody *body) {
    bool *is_live = arena_array_of(arena, bool, body->n_instrs);
    for (size_t i = body->n_instrs; i-- > 0;) {
        const FormInstr *instr = &body->instrs[i];
        if (!is_live[i] && !form_instr_writes(instr) && body->yield != i)
            continue;
        is_live[i] = true;
        for (int j = 0; j < form_instr_n_operands(instr); j++)
            is_live[form_instr_operand(instr, j)] = true;
        if (instr->map.gather != FORM_NONE)
            is_live[instr->map.gather] = true;
    }
    return is_live;
}

/* ---- Functions ------------------------------------------------------------------------------------------------- */

static FormBody copied(Arena *arena, const FormBody *body) {
    FormBody copy = *body;
    copy.instrs = arena_array_of(arena, FormInstr, body->n_instrs);
    for (size_t i = 0; i < body->n_instrs; i++)
        copy.instrs[i] = body->instrs[i];
    return copy;
}

Form *form_joined(Arena *arena, const Form *form) {
    Form *copy = arena_new_of(arena, Form);
    *copy = *form;
    copy->body = copied(arena, &form->body);
    for (int i = 0; i < form->n_operands; i++) {
        if (form->operands[i].part == NULL)
            continue;
        copy->operands[i].part = arena_new_of(arena, FormBody);
        *copy->operands[i].part = copied(arena, form->operands[i].part);
    }
    for (int i = 0; i < ATTENTION_N_TENSORS; i++) {
        if (form->attention.bodies[i] == NULL)
            continue;
        copy->attention.bodies[i] = arena_new_of(arena, FormBody);
        *copy->attention.bodies[i] = copied(arena, form->attention.bodies[i]);
    }
    form_merge_indices(copy);
    return copy;
}

void form_print_c(FILE *out, Arena *arena, const Form *given, const char *heading) {
    CPrinter c = {.arena = arena, .out = out};
    Form *form = form_joined(arena, given);
    if (form->kind == FORM_KIND_PRODUCT)
        form_print_product_functions(&c, form);
    if (form_is_attention(form)) {
        form_attention_widen(arena, form);
        form_print_attention_functions(&c, form);
    }
    if (heading != NULL)
        c_comment(&c, heading);
    c_open(&c, "static void %s(void *const *args)", form->name);
    if (form->kind == FORM_KIND_PRODUCT)
        form_print_product(&c, form);
    else if (form_is_attention(form))
        form_print_attention(&c, form);
    else if (form->kind == FORM_KIND_ROUTE)
        form_print_route(&c, form);
    else
        form_print_rows(&c, form);
    c_close(&c);
}
