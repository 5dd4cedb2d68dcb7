/* Forms that scatter as CUDA C: a column belongs to one thread, which goes through all rows in order, so that the sums
   have one order. Rows that follow each other and go to one place are added up in a register first. */
#include "codegen/form_cuda_internal.h"

enum { N_THREADS = 64 };

static void print_zeros(CudaPrinter *at, const FormInstr *scatter) {
    CPrinter *c = at->base.c;
    long long n = (long long)at->base.form->args[scatter->map.arg].n_elements;
    cuda_open_kernel(at, (n + CUDA_THREADS - 1) / CUDA_THREADS, CUDA_THREADS);
    c_line(c, "int64_t element = (int64_t)blockIdx.x * %d + threadIdx.x;", CUDA_THREADS);
    c_line(c, "if (element < %lld)", n);
    c_line(c, "    %s[element] = 0.0f;", at->base.arg_names[scatter->map.arg]);
    c_close(c);
}

/* Values of the level, in order. */
static void print_level(CudaPrinter *at, FormLevel level) {
    for (uint32_t i = 0; i < at->base.body->n_instrs; i++) {
        const FormInstr *instr = cuda_instr(at, i);
        if (at->phases.is_live[i] && instr->level == level && instr->op != FORM_CONST && instr->op != FORM_SCATTER)
            form_print_value(&at->base, i);
    }
}

void cuda_print_scatter(CudaPrinter *at, const Form *form) {
    CPrinter *c = at->base.c;
    const FormBody *body = at->base.body;
    const FormInstr *scatter = form_scatter_of(body);
    size_t number = (size_t)(scatter - body->instrs);
    long long n_cols = (long long)form_n_cols(body);
    at->phases = phases_keeping(c->arena, body, 0);
    while (at->first_col < body->n_indices && !body->indices[at->first_col].is_col)
        at->first_col++;
    if (form->args[scatter->map.arg].access == FORM_OUT)
        print_zeros(at, scatter);
    cuda_open_kernel(at, (n_cols + N_THREADS - 1) / N_THREADS, N_THREADS);
    const char *col = at->first_col < body->n_indices ? at->base.index_names[at->first_col] : "element";
    const char *row = cuda_row_name(at);
    c_line(c, "%s %s = (%s)(blockIdx.x * %d + threadIdx.x);", at->int_type, col, at->int_type, N_THREADS);
    c_line(c, "if (%s >= %lld)", col, n_cols);
    c_line(c, "    return;");
    c_line(c, "int64_t place_ = 0;");
    c_line(c, "float sum_ = 0.0f;");
    c_open(c, "for (%s %s = 0; %s < %lld; %s++)", at->int_type, row, row, (long long)form_n_rows(body), row);
    cuda_print_row_indices(at);
    print_level(at, FORM_LEVEL_ROW);
    c_line(c, "if (!v%zu_is)", number);
    c_line(c, "    continue;");
    c_open(c, "if (v%zu_at != place_)", number);
    c_line(c, "%s += sum_;", form_scatter_text(&at->base, scatter, "place_"));
    c_line(c, "sum_ = 0.0f;");
    c_line(c, "place_ = v%zu_at;", number);
    c_close(c);
    print_level(at, FORM_LEVEL_FULL);
    c_line(c, "sum_ += %s;", form_value_text(&at->base, scatter->a));
    c_close(c);
    c_line(c, "%s += sum_;", form_scatter_text(&at->base, scatter, "place_"));
    c_close(c);
}
