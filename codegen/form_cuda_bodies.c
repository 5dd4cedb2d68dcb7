/* Bodies of operands and results as functions that kernels call, of one element each. */
#include "codegen/form_cuda_internal.h"

/* All that comes before what the element is for. */
static void print_values(const CudaPrinter *at, FormPrinter *body, const bool *is_live) {
    form_print_side_indices(body, at->int_type, false, "row");
    form_print_side_indices(body, at->int_type, true, "col");
    for (uint32_t i = 0; i < body->body->n_instrs; i++) {
        const FormInstr *instr = &body->body->instrs[i];
        if (is_live[i] && form_instr_writes(instr))
            form_print_write(body, instr);
        else if (is_live[i] && instr->op != FORM_CONST)
            form_print_value(body, i);
    }
}

void cuda_print_element(const CudaPrinter *at, const FormBody *part, const char *name) {
    CPrinter *c = at->base.c;
    FormPrinter body = form_printer_with(c, at->base.form, part, at->base.taken);
    c_open(c, "MOEC_DEVICE float %s(%s, %s row, %s col)", name, cuda_parameters_text(at), at->int_type, at->int_type);
    print_values(at, &body, form_live(c->arena, part));
    c_line(c, "return %s;", form_value_text(&body, part->yield));
    c_close(c);
    c_text(c, "\n");
}

void cuda_print_result(const CudaPrinter *at, const FormBody *result, const char *name) {
    CPrinter *c = at->base.c;
    FormPrinter body = form_printer_with(c, at->base.form, result, at->base.taken);
    c_open(c, "MOEC_DEVICE void %s(%s, %s row, %s col, const float *sums)", name, cuda_parameters_text(at),
           at->int_type, at->int_type);
    print_values(at, &body, form_live(c->arena, result));
    c_close(c);
    c_text(c, "\n");
}
