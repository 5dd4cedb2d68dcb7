#include "codegen/cuda_library.h"

/* ---- Operands --------------------------------------------------------------------------------------------------- */

/* Lines must not overlap; libraries want that of one line, too. */
static bool read_operand(const Form *form, int number, int64_t n, int64_t k, CudaLibraryMatrix *matrix) {
    const FormOperand *operand = &form->operands[number];
    if (operand->part || operand->gather != FORM_NONE)
        return false;
    *matrix = (CudaLibraryMatrix){operand->arg, operand->offset, operand->stride, operand->k_stride};
    bool lines_are_k = operand->k_stride == 1;
    int64_t length = lines_are_k ? k : n, n_lines = lines_are_k ? n : k;
    int64_t *stride = lines_are_k ? &matrix->stride : &matrix->k_stride;
    if (n_lines == 1)
        *stride = length;
    return *stride >= length && (lines_are_k || operand->stride == 1);
}

/* ---- The result ------------------------------------------------------------------------------------------------- */

/* Elements from one row, or column, to the next, if the map counts all of them evenly: else -1. 0 where there is one.
 */
static int64_t stride_of(const FormBody *body, const FormAccessMap *map, bool is_col) {
    int64_t stride = 0, inner = 1;
    for (int i = body->n_indices - 1; i >= 0; i--) {
        const FormIndex *index = &body->indices[i];
        if (index->is_col != is_col || index->extent == 1)
            continue;
        if (inner == 1)
            stride = map->strides[i];
        if (map->strides[i] != stride * inner)
            return -1;
        inner *= index->extent;
    }
    return stride;
}

static bool read_map(const FormBody *body, const FormAccessMap *map, CudaLibraryMatrix *matrix) {
    *matrix = (CudaLibraryMatrix){map->arg, map->offset, stride_of(body, map, false), stride_of(body, map, true)};
    return map->arg != FORM_NONE && map->gather == FORM_NONE && matrix->stride >= 0 && matrix->k_stride >= 0;
}

static bool is_rounding(const FormInstr *instr) {
    return instr->op == FORM_MAP && instr->map_op == OP_to_bf16;
}

/* What the body adds to the sum by a load: FORM_NONE if nothing; `value` is the number of what is stored. False: it
   does more than that. */
static bool read_body(const FormBody *body, uint32_t *load, const FormInstr **write) {
    const FormInstr *instrs = body->instrs, *value = NULL;
    size_t n = body->n_instrs;
    *load = FORM_NONE;
    if (n < 2 || (instrs[n - 1].op != FORM_STORE && instrs[n - 1].op != FORM_ADD))
        return false;
    *write = &instrs[n - 1];
    value = &instrs[(*write)->a];
    size_t n_used = 2;
    if (is_rounding(value)) {
        value = &instrs[value->a];
        n_used++;
    }
    if (value->op == FORM_MAP && value->map_op == OP_add && (*write)->op == FORM_STORE) {
        bool sum_is_first = instrs[value->a].op == FORM_SUM;
        *load = sum_is_first ? value->b : value->a;
        value = &instrs[sum_is_first ? value->a : value->b];
        n_used += 2;
    }
    return value->op == FORM_SUM && n == n_used && (*load == FORM_NONE || instrs[*load].op == FORM_LOAD);
}

/* A result whose columns lie further apart than its rows is that of the other product. */
static void transpose(CudaLibraryProduct *product) {
    CudaLibraryMatrix lhs = product->lhs;
    int64_t n_rows = product->n_rows, stride = product->out.stride;
    product->lhs = product->rhs;
    product->rhs = lhs;
    product->n_rows = product->n_cols;
    product->n_cols = n_rows;
    product->out.stride = product->added.stride = product->out.k_stride;
    product->out.k_stride = product->added.k_stride = stride;
}

static bool read_result(const Form *form, CudaLibraryProduct *product) {
    const FormBody *body = &form->body;
    const FormInstr *write = NULL;
    uint32_t load;
    if (!read_body(body, &load, &write) || !read_map(body, &write->map, &product->out))
        return false;
    product->adds = write->op == FORM_ADD || load != FORM_NONE;
    product->added = product->out;
    if (load != FORM_NONE) {
        const FormInstr *added = &body->instrs[load];
        if (added->a != FORM_NONE || !read_map(body, &added->map, &product->added) ||
            product->added.stride != product->out.stride || product->added.k_stride != product->out.k_stride)
            return false;
    }
    if (product->n_cols > 1 && product->out.k_stride != 1)
        transpose(product);
    CudaLibraryMatrix *out = &product->out;
    if (product->n_cols == 1)
        out->k_stride = product->added.k_stride = 1;
    if (product->n_rows == 1)
        out->stride = product->added.stride = product->n_cols;
    return out->k_stride == 1 && out->stride >= product->n_cols;
}

/* ---- The whole -------------------------------------------------------------------------------------------------- */

/* Operands are both of one dtype, and what is added to has the result's; sums of f32 are not rounded to less. */
static bool has_dtypes(const Form *form, const CudaLibraryProduct *product) {
    DType lhs = form->args[product->lhs.arg].dtype, out = form->args[product->out.arg].dtype;
    bool is_f32 = lhs == DTYPE_F32 && out == DTYPE_F32;
    bool is_bf16 = lhs == DTYPE_BF16 && (out == DTYPE_F32 || (out == DTYPE_BF16 && !product->adds));
    return form->args[product->rhs.arg].dtype == lhs && form->args[product->added.arg].dtype == out &&
           (is_f32 || is_bf16);
}

/* Rounded values are stored as bf16, which a library does by itself. */
static bool rounds_as_stored(const Form *form) {
    bool rounds = false;
    for (size_t i = 0; i < form->body.n_instrs; i++)
        rounds = rounds || is_rounding(&form->body.instrs[i]);
    return !rounds || form->args[form->body.instrs[form->body.n_instrs - 1].map.arg].dtype == DTYPE_BF16;
}

bool cuda_library_product(const Form *form, CudaLibraryProduct *product) {
    if (form->kind != FORM_KIND_PRODUCT || form->ragged != FORM_DENSE || form->n_groups != 1 || form->n_products != 1 ||
        form->n_results != 1 || form->n_pieces != 0)
        return false;
    const FormProduct *only = &form->products[0];
    *product =
        (CudaLibraryProduct){.n_rows = form_n_rows(&form->body), .n_cols = form_n_cols(&form->body), .k = only->k};
    return read_operand(form, only->lhs, product->n_rows, only->k, &product->lhs) &&
           read_operand(form, only->rhs, product->n_cols, only->k, &product->rhs) && read_result(form, product) &&
           has_dtypes(form, product) && rounds_as_stored(form);
}
