/* Rows and columns of a kernel: numbers, loads, values, writes. */
#include <assert.h>

#include "codegen/form_cuda_internal.h"

/* ---- Four columns at once --------------------------------------------------------------------------------------- */

static bool is_access(const FormInstr *instr) {
    return instr->op == FORM_LOAD || instr->op == FORM_STORE || instr->op == FORM_ADD;
}

/* Whether the value, or where it is read, is the same for all of the innermost index. */
static bool is_same(const CudaPrinter *at, uint32_t i) {
    const FormInstr *instr = cuda_instr(at, i);
    if (instr->level == FORM_LEVEL_ROW)
        return true;
    if (form_instr_is_reduction(instr) || form_instr_writes(instr) ||
        (form_instr_has_map(instr) && instr->map.strides[at->base.body->n_indices - 1] != 0) ||
        (instr->map.gather != FORM_NONE && !is_same(at, instr->map.gather)))
        return false;
    for (int j = 0; j < form_instr_n_operands(instr); j++) {
        if (!is_same(at, form_instr_operand(instr, j)))
            return false;
    }
    return true;
}

/* Whether four elements from a multiple of 4 of the innermost index on are next to each other, and aligned. */
static bool is_aligned(const CudaPrinter *at, const FormInstr *instr) {
    const FormBody *body = at->base.body;
    const FormAccessMap *map = &instr->map;
    int inner = body->n_indices - 1;
    if (!is_access(instr) || instr->level != FORM_LEVEL_FULL || at->base.form->args[map->arg].dtype == DTYPE_I32 ||
        map->strides[inner] != 1 || map->offset % 4 != 0 || !cuda_is_aligned(at, map->arg))
        return false;
    for (int i = 0; i < inner; i++) {
        if (map->strides[i] % 4 != 0)
            return false;
    }
    return map->gather == FORM_NONE || (map->gather_stride % 4 == 0 && is_same(at, map->gather));
}

bool cuda_is_vector(const CudaPrinter *at, const FormInstr *instr) {
    return at->width == 4 && is_aligned(at, instr);
}

/* Of pieces, any number of columns will do: those that are over are done one by one. */
int cuda_width(const CudaPrinter *at) {
    const FormBody *body = at->base.body;
    if (body->n_indices == 0 || !body->indices[body->n_indices - 1].is_col)
        return 1;
    if (at->base.form->n_pieces == 0 && body->indices[body->n_indices - 1].extent % 4 != 0)
        return 1;
    for (size_t i = 0; i < body->n_instrs; i++) {
        if (at->phases.is_live[i] && is_aligned(at, &body->instrs[i]))
            return 4;
    }
    return 1;
}

/* ---- Numbers ---------------------------------------------------------------------------------------------------- */

const char *cuda_row_name(const CudaPrinter *at) {
    return at->first_col == 1 ? at->base.index_names[0] : "row";
}

const char *cuda_col_name(const CudaPrinter *at) {
    return at->base.body->n_indices - at->first_col == 1 ? at->base.index_names[at->first_col] : "col";
}

/* Of indices [first, end), which count to the number `name`. */
static void print_indices(CudaPrinter *at, int first, int end, const char *name) {
    CPrinter *c = at->base.c;
    const char *rest = name;
    for (int i = end - 1; i >= first && end - first > 1; i--) {
        long long extent = (long long)at->base.body->indices[i].extent;
        const char *index = at->base.index_names[i];
        if (i == first)
            c_line(c, "%s %s = %s;", at->int_type, index, rest);
        else
            c_line(c, "%s %s = %s %% %lld;", at->int_type, index, rest, extent);
        rest = arena_printf(c->arena, "%s / %lld", rest, extent);
    }
}

void cuda_print_row_indices(CudaPrinter *at) {
    print_indices(at, 0, at->first_col, "row");
}

void cuda_print_col_indices(CudaPrinter *at) {
    print_indices(at, at->first_col, at->base.body->n_indices, "col");
}

/* ---- Values of rows --------------------------------------------------------------------------------------------- */

/* Whether the row's threads read what one of them then writes. */
static bool reads_own_row(const CudaPrinter *at, uint32_t arg) {
    for (size_t i = 0; i < at->base.body->n_instrs; i++) {
        if (cuda_is_live(at, i, FORM_LOAD) && cuda_instr(at, i)->map.arg == arg)
            return true;
    }
    return false;
}

static void print_row_write(CudaPrinter *at, const FormInstr *instr, const char *writer) {
    CPrinter *c = at->base.c;
    if (writer[0] == '\0') {
        form_print_write(&at->base, instr);
        return;
    }
    if (reads_own_row(at, instr->map.arg))
        c_line(c, at->group > CUDA_WARP ? "__syncthreads();" : "__syncwarp();");
    c_line(c, "if (%s)", writer);
    c->depth++;
    form_print_write(&at->base, instr);
    c->depth--;
}

void cuda_print_values(CudaPrinter *at, int phase, bool writes, const char *writer) {
    for (uint32_t i = 0; i < at->base.body->n_instrs; i++) {
        const FormInstr *instr = cuda_instr(at, i);
        bool is_here = at->phases.is_live[i] && instr->level == FORM_LEVEL_ROW && at->phases.phases[i] == phase;
        if (!is_here || instr->op == FORM_CONST || form_instr_is_reduction(instr))
            continue;
        if (!form_instr_writes(instr))
            form_print_value(&at->base, i);
        else if (writes)
            print_row_write(at, instr, writer);
    }
}

/* ---- What a thread keeps ---------------------------------------------------------------------------------------- */

const char *cuda_place_text(const CudaPrinter *at) {
    return arena_printf(at->base.c->arena, "%s%s", at->n_vectors > 1 ? "[vector]" : "",
                        at->width > 1 ? "[element]" : "");
}

/* "[5][4]" */
static const char *extents_text(const CudaPrinter *at) {
    Arena *arena = at->base.c->arena;
    const char *text = at->n_vectors > 1 ? arena_printf(arena, "[%d]", at->n_vectors) : "";
    return at->width > 1 ? arena_printf(arena, "%s[%d]", text, at->width) : text;
}

void cuda_print_kept(CudaPrinter *at) {
    for (size_t i = 0; i < at->base.body->n_instrs; i++) {
        if (at->phases.kept_from[i] >= 0)
            c_line(at->base.c, "float kept_%zu%s;", i, extents_text(at));
    }
}

void cuda_print_parts(CudaPrinter *at) {
    int n_dims = (at->n_vectors > 1) + (at->width > 1);
    for (size_t i = 0; i < at->base.body->n_instrs; i++) {
        if (cuda_is_live(at, i, FORM_SUM_ROWS) || cuda_is_live(at, i, FORM_SCATTER))
            c_line(at->base.c, "float parts_%zu%s = %s;", i, extents_text(at),
                   n_dims == 2   ? "{{0.0f}}"
                   : n_dims == 1 ? "{0.0f}"
                                 : "0.0f");
    }
}

/* ---- Elements --------------------------------------------------------------------------------------------------- */

/* Whether one value will do for four columns, and the loop of the phase computes it. Positions are never kept, and so
   there is one for each gather by four. */
static bool is_hoisted(const CudaPrinter *at, uint32_t i, int phase) {
    const FormInstr *instr = cuda_instr(at, i);
    if (at->width == 1 || !at->is_needed[i] || phases_reads_kept(&at->phases, i, phase) || !is_same(at, i))
        return false;
    for (int j = 0; j < form_instr_n_operands(instr); j++) {
        uint32_t operand = form_instr_operand(instr, j);
        if (cuda_instr(at, operand)->level == FORM_LEVEL_FULL && !is_hoisted(at, operand, phase))
            return false;
    }
    return true;
}

static void print_hoisted(CudaPrinter *at, int phase) {
    for (uint32_t i = 0; i < at->base.body->n_instrs; i++) {
        if (is_hoisted(at, i, phase) && cuda_instr(at, i)->op != FORM_CONST)
            form_print_value(&at->base, i);
    }
}

/* Of a load by four: of its row, where it gathers. */
static const char *element_text(CudaPrinter *at, size_t i) {
    const FormInstr *instr = cuda_instr(at, i);
    return instr->map.gather == FORM_NONE
               ? form_element_text(&at->base, &instr->map)
               : form_scatter_text(&at->base, instr, arena_printf(at->base.c->arena, "v%zu_at", i));
}

/* Whether the loop of the phase loads it by four. */
static bool loads_vector(const CudaPrinter *at, size_t i, int phase) {
    return at->is_needed[i] && cuda_instr(at, i)->op == FORM_LOAD && !phases_reads_kept(&at->phases, i, phase) &&
           cuda_is_vector(at, cuda_instr(at, i));
}

/* Whether it is loaded right to where it is kept. */
static bool loads_to_kept(const CudaPrinter *at, size_t i, int phase) {
    return loads_vector(at, i, phase) && at->phases.kept_from[i] == phase && cuda_instr(at, i)->map.gather == FORM_NONE;
}

/* Of the instruction's argument. */
static const char *vector_suffix(const CudaPrinter *at, size_t i) {
    return at->base.form->args[cuda_instr(at, i)->map.arg].dtype == DTYPE_BF16 ? "_bf16" : "";
}

static const char *kept_vector(const CudaPrinter *at, size_t i) {
    return arena_printf(at->base.c->arena, "kept_%zu%s", i, at->n_vectors > 1 ? "[vector]" : "");
}

static void print_loads_to_kept(CudaPrinter *at, int phase) {
    for (size_t i = 0; i < at->base.body->n_instrs; i++) {
        if (loads_to_kept(at, i, phase))
            c_line(at->base.c, "moec_load4%s(%s, &%s);", vector_suffix(at, i), kept_vector(at, i), element_text(at, i));
    }
}

static void print_loads(CudaPrinter *at, int phase) {
    for (size_t i = 0; i < at->base.body->n_instrs; i++) {
        const FormInstr *instr = cuda_instr(at, i);
        if (loads_vector(at, i, phase) && !loads_to_kept(at, i, phase)) {
            c_line(at->base.c, "float loaded_%zu[4];", i);
            c_line(at->base.c, "moec_load4%s(loaded_%zu, &%s);", vector_suffix(at, i), i, element_text(at, i));
        }
        if (!form_instr_writes(instr) || !phases_is_root(&at->phases, i, phase) || !cuda_is_vector(at, instr))
            continue;
        c_line(at->base.c, "float stored_%zu[4];", i);
        if (instr->op == FORM_ADD)
            c_line(at->base.c, "moec_load4(stored_%zu, &%s);", i, element_text(at, i));
    }
}

static void print_stores(CudaPrinter *at, int phase) {
    for (size_t i = 0; i < at->base.body->n_instrs; i++) {
        const FormInstr *instr = cuda_instr(at, i);
        if (form_instr_writes(instr) && phases_is_root(&at->phases, i, phase) && cuda_is_vector(at, instr))
            c_line(at->base.c, "moec_store4%s(&%s, stored_%zu);", vector_suffix(at, i), element_text(at, i), i);
    }
}

/* Of columns that do not stay in registers, a thread's parts of sums over rows are in scratch memory, its alone. */
static void print_part(CudaPrinter *at, size_t i, const char *value) {
    CPrinter *c = at->base.c;
    if (at->n_vectors > 0) {
        c_line(c, "parts_%zu%s += %s;", i, cuda_place_text(at), value);
        return;
    }
    bool is_index = at->base.body->n_indices - at->first_col == 1; /* which is that of the element */
    const char *column = at->width > 1 && !is_index ? "col + element" : cuda_col_name(at);
    c_line(c, "partial_%zu[%s] = %s + (%s > begin ? partial_%zu[%s] : 0.0f);", i, column, value, cuda_row_name(at), i,
           column);
}

static void print_root(CudaPrinter *at, size_t i) {
    const FormInstr *instr = cuda_instr(at, i);
    CPrinter *c = at->base.c;
    const char *value = form_value_text(&at->base, instr->a), *element = at->width > 1 ? "[element]" : "";
    if (instr->op == FORM_SCATTER)
        c_line(c, "parts_%zu%s += %s;", i, cuda_place_text(at), value);
    else if (form_instr_writes(instr) && cuda_is_vector(at, instr))
        c_line(c, "stored_%zu[element] %s %s;", i, instr->op == FORM_ADD ? "+=" : "=", value);
    else if (form_instr_writes(instr))
        form_print_write(&at->base, instr);
    else if (instr->op == FORM_SUM_COLS)
        c_line(c, "v%zu += %s;", i, value);
    else if (instr->op == FORM_MAX_COLS)
        c_line(c, "v%zu = fmaxf(v%zu, %s);", i, i, value);
    else if (instr->op == FORM_SUM_ROWS)
        print_part(at, i, value);
    else {
        c_line(c, "terms_%zu%s = %s;", i, element, value);
        c_line(c, "maximum_%zu = fmaxf(maximum_%zu, %s);", i, i, value);
    }
}

/* The element of a vector, or what stands for it where there is no row to gather. */
static void print_loaded(CudaPrinter *at, uint32_t i, const char *vector) {
    CPrinter *c = at->base.c;
    const FormInstr *load = cuda_instr(at, i);
    c_line(c, "float v%u = %s[element];", i, vector);
    if (load->map.gather == FORM_NONE)
        return;
    const char *missing = form_instr_n_operands(load) > 0 ? form_value_text(&at->base, load->a) : "0.0f";
    c_line(c, "v%u = v%u_is ? v%u : %s;", i, i, i, missing);
}

static void print_value(CudaPrinter *at, uint32_t i, int phase) {
    CPrinter *c = at->base.c;
    if (phases_reads_kept(&at->phases, i, phase))
        c_line(c, "float v%u = kept_%u%s;", i, i, cuda_place_text(at));
    else if (loads_to_kept(at, i, phase))
        print_loaded(at, i, kept_vector(at, i));
    else if (loads_vector(at, i, phase))
        print_loaded(at, i, arena_printf(c->arena, "loaded_%u", i));
    else if (!is_hoisted(at, i, phase))
        form_print_value(&at->base, i);
    if (at->phases.kept_from[i] == phase && !loads_to_kept(at, i, phase))
        c_line(c, "kept_%u%s = %s;", i, cuda_place_text(at), form_value_text(&at->base, i));
}

/* Of the columns of the thread: the innermost index counts on by `element`. */
static void print_elements(CudaPrinter *at, int phase) {
    CPrinter *c = at->base.c;
    const FormBody *body = at->base.body;
    int inner = body->n_indices > 0 ? body->n_indices - 1 : 0;
    const char *name = at->base.index_names[inner];
    if (at->width > 1) {
        c_line(c, "#pragma unroll");
        c_open(c, "for (int element = 0; element < 4; element++)");
        at->base.index_names[inner] = arena_printf(c->arena, "(%s + element)", name);
    }
    for (uint32_t i = 0; i < body->n_instrs; i++) {
        if (at->is_needed[i] && cuda_instr(at, i)->op != FORM_CONST)
            print_value(at, i, phase);
        if (phases_is_root(&at->phases, i, phase))
            print_root(at, i);
    }
    at->base.index_names[inner] = name;
    if (at->width > 1)
        c_close(c);
}

/* ---- Loops ------------------------------------------------------------------------------------------------------ */

void cuda_print_starts(CudaPrinter *at, int phase) {
    cuda_print_for_each(at, phase, FORM_SUM_COLS, "float v$ = 0.0f;");
    cuda_print_for_each(at, phase, FORM_MAX_COLS, "float v$ = -INFINITY;");
    cuda_print_for_each(at, phase, FORM_LOGSUMEXP_COLS, "float maximum_$ = -FLT_MAX, sum_$ = 0.0f;");
}

/* The terms of logsumexps, of which the largest is known: what came before is corrected where that has grown. */
static void print_exponentials(CudaPrinter *at, int phase) {
    cuda_print_for_each(at, phase, FORM_LOGSUMEXP_COLS, "sum_$ *= moec_exp_weight(before_$ - maximum_$);");
    if (at->width > 1)
        cuda_print_for_each(at, phase, FORM_LOGSUMEXP_COLS,
                            "#pragma unroll\n"
                            "for (int element = 0; element < 4; element++)\n"
                            "    sum_$ += moec_exp_weight(terms_$[element] - maximum_$);");
    else
        cuda_print_for_each(at, phase, FORM_LOGSUMEXP_COLS, "sum_$ += moec_exp_weight(terms_$ - maximum_$);");
}

/* All of the phase at `width` columns. */
static void print_columns(CudaPrinter *at, int phase, bool is_loaded) {
    if (!is_loaded)
        print_loads_to_kept(at, phase);
    print_hoisted(at, phase);
    print_loads(at, phase);
    cuda_print_for_each(at, phase, FORM_LOGSUMEXP_COLS,
                        at->width > 1 ? "float before_$ = maximum_$, terms_$[4];"
                                      : "float before_$ = maximum_$, terms_$;");
    print_elements(at, phase);
    print_stores(at, phase);
    print_exponentials(at, phase);
}

/* Loops over the thread's columns: through registers, in steps, or none where it has but one. Returns how many blocks
   are open. */
static int open_columns(CudaPrinter *at, CudaColumns columns) {
    CPrinter *c = at->base.c;
    const char *col = cuda_col_name(at);
    int n_open = 1;
    if (at->base.body->n_indices == at->first_col) { /* one column */
        c_line(c, at->group > 1 ? "if (%s == 0) {" : "{", at->lane);
        c->depth++;
        return n_open;
    }
    if (at->n_vectors == 0 && columns.step) {
        c_open(c, "for (%s %s = %s; %s < %s; %s += %s)", at->int_type, col, columns.first, col, columns.end, col,
               columns.step);
        cuda_print_col_indices(at);
        return n_open;
    }
    const char *scale = at->width > 1 ? arena_printf(c->arena, " * %d", at->width) : "";
    if (at->n_vectors == 0) {
        c_line(c, "%s %s = %s%s;", at->int_type, col, columns.first, scale);
        if (columns.end[0] != '\0') {
            c_line(c, "if (%s >= %s)", col, columns.end);
            c_line(c, "    return;");
        }
        cuda_print_col_indices(at);
        return 0;
    }
    if (at->n_vectors > 1) {
        c_line(c, "#pragma unroll");
        c_open(c, "for (int vector = 0; vector < %d; vector++)", at->n_vectors);
    } else {
        c_line(c, "{");
        c->depth++;
    }
    if (at->n_vectors > 1 && at->group > 1)
        c_line(c, "%s %s = (vector * %d + %s)%s;", at->int_type, col, at->group, columns.first, scale);
    else if (at->n_vectors > 1)
        c_line(c, "%s %s = vector%s;", at->int_type, col, scale);
    else
        c_line(c, "%s %s = %s%s;", at->int_type, col, columns.first, at->group > 1 ? scale : "");
    if (columns.end[0] != '\0') {
        c_open(c, "if (%s%s < %s)", at->is_guarded ? "is_row && " : "", col, columns.end);
        n_open++;
    } else if (at->is_guarded) {
        c_open(c, "if (is_row)");
        n_open++;
    }
    cuda_print_col_indices(at);
    return n_open;
}

static void close_columns(CudaPrinter *at, int n_open) {
    while (n_open-- > 0)
        c_close(at->base.c);
}

static bool loads_any_to_kept(const CudaPrinter *at, int phase) {
    for (size_t i = 0; i < at->base.body->n_instrs; i++) {
        if (loads_to_kept(at, i, phase))
            return true;
    }
    return false;
}

/* What is kept is loaded by a loop of its own, so that all loads of a thread are under way before it waits for one. */
void cuda_print_loop(CudaPrinter *at, int phase, CudaColumns columns) {
    bool is_loaded = at->n_vectors > 1 && loads_any_to_kept(at, phase);
    if (is_loaded) {
        int n_open = open_columns(at, columns);
        print_loads_to_kept(at, phase);
        close_columns(at, n_open);
    }
    int n_open = open_columns(at, columns);
    print_columns(at, phase, is_loaded);
    close_columns(at, n_open);
}
