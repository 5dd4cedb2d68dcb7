/* Which weights products read as packed copies that are kept (spec/kernels.md, "Packed weights"). */
#include "codegen/form_internal.h"
#include "codegen/lower_block_internal.h"

/* A copy is worth its memory where that is at least this part of the product's time. */
enum { LEAST_PART = 20 };

static bool has_few_rows(const Form *form) {
    int64_t n_rows = form_n_rows(&form->body) / (form->ragged == FORM_RAGGED_ROWS ? form->n_groups : 1);
    return n_rows <= LEAST_PART * LOWERED_PACKING_ROWS;
}

/* The product that reads the operand as its rhs, as all do; NULL if one has it as its lhs. */
static const FormProduct *product_of_rhs(const Form *form, int operand) {
    const FormProduct *found = NULL;
    for (int i = 0; i < form->n_products; i++) {
        if (form->products[i].lhs == operand)
            return NULL;
        if (form->products[i].rhs == operand)
            found = &form->products[i];
    }
    return found;
}

void lowering_add_packed(Lowering *at) {
    Form *form = at->form;
    if (!at->storage->is_packable || form->ragged == FORM_RAGGED_K || !has_few_rows(form))
        return;
    for (int i = 0; i < form->n_operands; i++) {
        FormOperand *operand = &form->operands[i];
        const FormProduct *product = product_of_rhs(form, i);
        if (operand->part || operand->gather != FORM_NONE || !product)
            continue;
        LoweredArgument place = at->arguments[form_arg_entry(form, operand->arg)];
        if (!at->storage->is_packable[place.owner->number] || form_operand_dtype(form, operand) != DTYPE_F32)
            continue;
        LoweredPacked *packed = arena_new_of(at->arena, LoweredPacked);
        *packed = (LoweredPacked){.n_groups = operand->group_stride ? form->n_groups : 1,
                                  .n_cols = form_n_cols(&form->body),
                                  .k = product->k,
                                  .stride = operand->stride,
                                  .k_stride = operand->k_stride,
                                  .group_stride = operand->group_stride};
        operand->is_packed = true;
        place.offset += operand->offset;
        place.packed = packed;
        arena_push(at->arena, at->arguments, at->n_arguments, at->capacity, place);
    }
}
