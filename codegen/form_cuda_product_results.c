/* What is done with the results of products, which a thread has in pairs of columns: the body, element by element, its
   loads and stores two at a time where these follow each other in memory. */
#include "codegen/form_cuda_product.h"

typedef struct {
    const ProductPrinter *at;
    FormPrinter *base;
    const FormBody *body;
    const bool *is_live;
} Results;

/* Whether the access is to both elements of a pair at once: they have one place behind the other, which starts at a
   multiple of two. */
static bool is_pair(const Results *of, uint32_t i) {
    const FormInstr *instr = &of->body->instrs[i];
    const FormAccessMap *map = &instr->map;
    int inner = of->body->n_indices - 1;
    if ((instr->op != FORM_LOAD && instr->op != FORM_STORE && instr->op != FORM_ADD) || map->gather != FORM_NONE ||
        instr->level != FORM_LEVEL_FULL)
        return false;
    if (!of->body->indices[inner].is_col || of->body->indices[inner].extent % 2 != 0 || map->strides[inner] != 1 ||
        map->offset % 2 != 0 || of->at->form->args[map->arg].dtype == DTYPE_I32 ||
        !cuda_is_aligned(of->at->cuda, map->arg))
        return false;
    for (int j = 0; j < inner; j++) {
        if (map->strides[j] % 2 != 0)
            return false;
    }
    return true;
}

static bool is_wanted(const Results *of, uint32_t i) {
    return of->is_live[i] && of->body->instrs[i].op != FORM_CONST;
}

static const char *suffix(const Results *of, uint32_t i) {
    return of->at->form->args[of->body->instrs[i].map.arg].dtype == DTYPE_BF16 ? "_bf16" : "";
}

static bool has_pairs(const Results *of) {
    for (uint32_t i = 0; i < of->body->n_instrs; i++) {
        if (is_wanted(of, i) && is_pair(of, i))
            return true;
    }
    return false;
}

/* Of what is added to, too. */
static void print_loads(const Results *of) {
    CPrinter *c = of->at->c;
    for (uint32_t i = 0; i < of->body->n_instrs; i++) {
        const FormInstr *instr = &of->body->instrs[i];
        if (!is_wanted(of, i) || !is_pair(of, i))
            continue;
        const char *name = form_instr_writes(instr) ? "stored" : "loaded";
        c_line(c, "float %s_%u[2];", name, i);
        if (instr->op != FORM_STORE)
            c_line(c, "moec_load2%s(%s_%u, &%s);", suffix(of, i), name, i, form_element_text(of->base, &instr->map));
    }
}

static void print_stores(const Results *of) {
    for (uint32_t i = 0; i < of->body->n_instrs; i++) {
        const FormInstr *instr = &of->body->instrs[i];
        if (is_wanted(of, i) && form_instr_writes(instr) && is_pair(of, i))
            c_line(of->at->c, "moec_store2%s(&%s, stored_%u);", suffix(of, i), form_element_text(of->base, &instr->map),
                   i);
    }
}

static void print_element(const Results *of, uint32_t i) {
    CPrinter *c = of->at->c;
    const FormInstr *instr = &of->body->instrs[i];
    if (instr->op == FORM_SUM)
        c_line(c, "float v%u = sums_%d[i * 2 + element];", i, instr->result);
    else if (form_instr_writes(instr) && is_pair(of, i))
        c_line(c, "stored_%u[element] %s %s;", i, instr->op == FORM_ADD ? "+=" : "=",
               form_value_text(of->base, instr->a));
    else if (form_instr_writes(instr))
        form_print_write(of->base, instr);
    else if (is_pair(of, i))
        c_line(c, "float v%u = loaded_%u[element];", i, i);
    else
        form_print_value(of->base, i);
}

/* Values of the row alone come before its pairs. */
static void print_rows(const Results *of) {
    form_print_side_indices(of->base, of->at->cuda->int_type, false, "row");
    for (uint32_t i = 0; i < of->body->n_instrs; i++) {
        const FormInstr *instr = &of->body->instrs[i];
        if (is_wanted(of, i) && instr->level == FORM_LEVEL_ROW && !form_instr_writes(instr))
            form_print_value(of->base, i);
    }
}

static void print_pair(const Results *of) {
    CPrinter *c = of->at->c;
    bool is_even = form_n_cols(of->body) % 2 == 0;
    if (has_pairs(of)) {
        form_print_side_indices(of->base, of->at->cuda->int_type, true, "pair");
        print_loads(of);
    }
    c_line(c, "#pragma unroll");
    c_open(c, "for (int element = 0; element < 2; element++)");
    c_line(c, "%s col = pair + element;", of->at->cuda->int_type);
    if (!is_even) {
        c_line(c, "if (col >= col_end)");
        c_line(c, "    continue;");
    }
    form_print_side_indices(of->base, of->at->cuda->int_type, true, "col");
    for (uint32_t i = 0; i < of->body->n_instrs; i++) {
        const FormInstr *instr = &of->body->instrs[i];
        if (is_wanted(of, i) && (instr->level != FORM_LEVEL_ROW || form_instr_writes(instr)))
            print_element(of, i);
    }
    c_close(c);
    print_stores(of);
}

void product_print_results(const ProductPrinter *at, ProductFragments fragments) {
    CPrinter *c = at->c;
    FormPrinter *base = &at->cuda->base;
    const Results of = {.at = at, .base = base, .body = base->body, .is_live = form_live(c->arena, base->body)};
    const char *type = at->cuda->int_type;
    c_line(c, "#pragma unroll");
    c_open(c, "for (int half = 0; half < %d; half++)", 2 * fragments.n_blocks);
    c_line(c, "%s row = row_at + %s + half / 2 * %d + half %% 2 * 8;", type, fragments.row, fragments.block_rows);
    c_line(c, "if (row >= row_end)");
    c_line(c, "    continue;");
    if (at->form->ragged == FORM_RAGGED_K)
        c_line(c, "row += group * %lld;", (long long)form_operand_side(at->form, true));
    print_rows(&of);
    c_line(c, "#pragma unroll");
    c_open(c, "for (int j = 0; j < %d; j++)", fragments.n_groups);
    c_line(c, "%s pair = col_at + %s + j * 8;", type, fragments.col);
    c_line(c, "int i = (half / 2 * %d + j) * 2 + half %% 2;", fragments.n_groups);
    c_open(c, "if (pair < col_end)");
    print_pair(&of);
    c_close(c);
    c_close(c);
    c_close(c);
}
