/* PRODUCT forms as C: a call of moec_gemm (runtime/gemm.h), the epilogue that it hands tiles of results to, and a
   function for each operand that is computed while it is packed. */
#include <assert.h>
#include <string.h>

#include "codegen/form_c_internal.h"

/* ---- Operands that are computed --------------------------------------------------------------------------------- */

static void print_load(CPrinter *c, const Form *form, const FormOperand *operand) {
    FormPrinter at = form_printer_new(c, form, operand->part);
    const bool *is_live = form_live(c->arena, operand->part);
    c_line(c, "static void %s_%s(void *const *args, int64_t group, int64_t major, int64_t n_major, int64_t minor,",
           form->name, operand->name);
    c_open(c, "    int64_t n_minor, float *out, int64_t ld)");
    form_print_pointers(&at);
    c_line(c, "(void)group;"); /* rows and k count across all groups */
    c_open(c, "for (int64_t row = major; row < major + n_major; row++)");
    form_print_side_indices(&at, "int64_t", false, "row");
    form_print_level(&at, is_live, FORM_LEVEL_ROW);
    c_line(c, "float *packed = out + (row - major) * ld;");
    c_line(c, "#pragma omp simd");
    c_open(c, "for (int64_t col = 0; col < n_minor; col++)");
    form_print_side_indices(&at, "int64_t", true, "(minor + col)");
    form_print_level(&at, is_live, FORM_LEVEL_FULL);
    c_line(c, "packed[col] = %s;", form_value_text(&at, operand->part->yield));
    c_close(c);
    c_close(c);
    c_close(c);
    fputc('\n', c->out);
}

/* ---- The epilogue ----------------------------------------------------------------------------------------------- */

/* Elements from one value of the side's flat number to the next, in a map that counts it evenly; -1 in others. */
static int64_t side_stride(const FormBody *body, const FormAccessMap *map, bool is_col) {
    int64_t stride = 0, inner = 1;
    for (int i = body->n_indices - 1; i >= 0; i--) {
        if (body->indices[i].is_col != is_col)
            continue;
        stride = inner == 1 ? map->strides[i] : stride;
        if (map->strides[i] != stride * inner)
            return -1;
        inner *= body->indices[i].extent;
    }
    return stride;
}

/* What writes result `result` if the body does no more with it than to write it as it is or add it, line by line, and
   no less; NULL if not. */
static const FormInstr *plain_write(const Form *form, int result) {
    const FormInstr *write = NULL;
    for (uint32_t i = 0; i < form->body.n_instrs; i++) {
        const FormInstr *instr = &form->body.instrs[i];
        if (!form_instr_writes(instr) || form->body.instrs[instr->a].op != FORM_SUM ||
            form->body.instrs[instr->a].result != result)
            continue;
        if (form->args[instr->map.arg].dtype != DTYPE_F32)
            return NULL;
        int64_t n_cols = form_n_cols(&form->body), n_rows = form_n_rows(&form->body);
        if (write || (n_cols > 1 && side_stride(&form->body, &instr->map, true) != 1) ||
            (n_rows > 1 && side_stride(&form->body, &instr->map, false) < n_cols))
            return NULL;
        write = instr;
    }
    return write;
}

/* Whether moec_gemm can write all results by itself. */
static bool is_plain(const Form *form) {
    for (uint32_t i = 0; i < form->body.n_instrs; i++) {
        if (form->body.instrs[i].op != FORM_SUM && !form_instr_writes(&form->body.instrs[i]))
            return false;
    }
    for (int result = 0; result < form->n_results; result++) {
        if (!plain_write(form, result))
            return false;
    }
    return true;
}

/* Rows of each group's result where groups have one each. */
static int64_t rows_of_group(const Form *form) {
    return form_n_rows(&form->body) / (form->ragged == FORM_RAGGED_K ? form->n_groups : 1);
}

static void print_epilogue(CPrinter *c, const Form *form) {
    FormPrinter at = form_printer_new(c, form, &form->body);
    const bool *is_live = form_live(c->arena, &form->body);
    c_open(c, "static void %s_epilogue(void *const *args, const MoecGemmTile *tile)", form->name);
    form_print_pointers(&at);
    if (form->ragged == FORM_RAGGED_K)
        c_line(c, "int64_t first = tile->group * %lld + tile->row;", (long long)rows_of_group(form));
    else
        c_line(c, "int64_t first = tile->row;");
    c_open(c, "for (int64_t row = first; row < first + tile->n_rows; row++)");
    form_print_side_indices(&at, "int64_t", false, "row");
    for (int i = 0; i < form->n_results; i++)
        c_line(c, "const float *sums_%d = tile->sums[%d] + (row - first) * tile->ld;", i, i);
    form_print_level(&at, is_live, FORM_LEVEL_ROW);
    c_line(c, "#pragma omp simd");
    c_open(c, "for (int64_t col = 0; col < tile->n_cols; col++)");
    form_print_side_indices(&at, "int64_t", true, "(tile->col + col)");
    form_print_level(&at, is_live, FORM_LEVEL_FULL);
    c_close(c);
    c_close(c);
    c_close(c);
    fputc('\n', c->out);
}

void form_print_product_functions(CPrinter *c, const Form *form) {
    for (int i = 0; i < form->n_operands; i++) {
        if (form->operands[i].part)
            print_load(c, form, &form->operands[i]);
    }
    if (!is_plain(form))
        print_epilogue(c, form);
}

/* ---- The call --------------------------------------------------------------------------------------------------- */

/* Where the kernel's argument list has the operand's packed copy. */
static size_t packed_entry(const Form *form, const FormOperand *operand) {
    size_t entry = form_arg_entry(form, form->n_args);
    for (const FormOperand *before = form->operands; before < operand; before++)
        entry += before->is_packed;
    return entry;
}

/* {.data = args[3], .stride = 576, .k_stride = 1}; strides tell which side is major even where a function computes. */
static const char *operand_text(CPrinter *c, const Form *form, const FormOperand *operand) {
    const char *text =
        operand->part
            ? arena_printf(c->arena, "{.load = %s_%s", form->name, operand->name)
            : arena_printf(c->arena, "{.data = (const %s *)args[%u]%s", c_type(form->args[operand->arg].dtype),
                           operand->arg,
                           operand->offset ? arena_printf(c->arena, " + %lld", (long long)operand->offset) : "");
    text = arena_printf(c->arena, "%s, .stride = %lld, .k_stride = %lld", text, (long long)operand->stride,
                        (long long)operand->k_stride);
    if (operand->group_stride)
        text = arena_printf(c->arena, "%s, .group_stride = %lld", text, (long long)operand->group_stride);
    if (operand->gather != FORM_NONE)
        text = arena_printf(c->arena, "%s, .gather = args[%u], .gather_divisor = %lld", text, operand->gather,
                            (long long)operand->gather_divisor);
    if (operand->is_packed)
        text = arena_printf(c->arena, "%s, .packed = args[%zu]", text, packed_entry(form, operand));
    return arena_printf(c->arena, "%s}", text);
}

static void print_results(CPrinter *c, const Form *form) {
    if (!is_plain(form)) {
        c_line(c, ".epilogue = %s_epilogue,", form->name);
        return;
    }
    c_open(c, ".results =");
    for (int result = 0; result < form->n_results; result++) {
        const FormInstr *write = plain_write(form, result);
        int64_t stride = side_stride(&form->body, &write->map, false), group_stride = rows_of_group(form) * stride;
        const char *text = arena_printf(c->arena, "{.out = (float *)args[%u]", write->map.arg);
        if (write->map.offset)
            text = arena_printf(c->arena, "%s + %lld", text, (long long)write->map.offset);
        text = arena_printf(c->arena, "%s, .stride = %lld", text, (long long)stride);
        if (form->ragged == FORM_RAGGED_K)
            text = arena_printf(c->arena, "%s, .group_stride = %lld", text, (long long)group_stride);
        c_line(c, "%s, .beta = %s},", text, write->op == FORM_ADD ? "1.0f" : "0.0f");
    }
    c->depth--;
    c_line(c, "},");
}

void form_print_product(CPrinter *c, const Form *form) {
    static const char *const ragged[] = {"MOEC_GEMM_DENSE", "MOEC_GEMM_ROWS", "MOEC_GEMM_K"};
    c_open(c, "const MoecGemm gemm =");
    bool is_bf16 = form_operand_dtype(form, &form->operands[0]) == DTYPE_BF16;
    c_line(c, ".precision = %s, .ragged = %s,", is_bf16 ? "MOEC_GEMM_BF16" : "MOEC_GEMM_F32", ragged[form->ragged]);
    if (form->offsets != FORM_NONE)
        c_line(c, ".n_groups = %lld, .offsets = args[%u],", (long long)form->n_groups, form->offsets);
    else
        c_line(c, ".n_groups = 1,");
    c_line(c, ".n_rows = %lld, .n_cols = %lld,", (long long)rows_of_group(form), (long long)form_n_cols(&form->body));
    c_line(c, ".n_products = %d, .n_results = %d,", form->n_products, form->n_results);
    c_open(c, ".products =");
    for (int i = 0; i < form->n_products; i++) {
        const FormProduct *product = &form->products[i];
        c_line(c, "{.lhs = %s,", operand_text(c, form, &form->operands[product->lhs]));
        c_line(c, " .rhs = %s,", operand_text(c, form, &form->operands[product->rhs]));
        c_line(c, " .k = %lld, .result = %d},", (long long)product->k, product->result);
    }
    c->depth--;
    c_line(c, "},");
    print_results(c, form);
    c_line(c, ".args = args,");
    c->depth--;
    c_line(c, "};");
    c_line(c, "moec_gemm(&gemm);");
}
