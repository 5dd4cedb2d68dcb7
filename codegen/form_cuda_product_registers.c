/* Products whose operands come through registers to shared memory a part of k at a time, the next part on its way while
   this one is multiplied; then the body is computed on the sums where they are, in registers. A block computes a tile
   of the results. No sum is shared by blocks, so its order is always the same.

   Of bf16 the tensor cores multiply (mma.sync), else each thread multiplies floats. */
#include <assert.h>
#include <string.h>

#include "codegen/form_cuda_product.h"

enum { N_THREADS = 256, N_WARPS = N_THREADS / CUDA_WARP };

/* Rows of a tile of results in a band: blocks that run at once then read the same parts of operands. */
enum { BAND = 8 };

/* A block has 48 KiB of shared memory without asking for more; a thread has about 64 sums. */
static void set_tile(ProductPrinter *at) {
    int most = at->most_rhs > at->form->n_results ? at->most_rhs : at->form->n_results;
    at->n_tile_rows = most > 2 ? 64 : 128;
    at->n_tile_cols = most > 1 ? 64 : 128;
    at->uses_tensor_cores = product_dtype(at->form) == DTYPE_BF16;
    at->n_unit = product_dtype(at->form) == DTYPE_BF16 ? 8 : 4;
    at->n_tile_k = at->uses_tensor_cores ? 32 : 16;
    at->n_warp_cols = 32;
    at->n_warp_rows = at->n_tile_rows * at->n_tile_cols / N_WARPS / at->n_warp_cols;
}

static int n_sums(const ProductPrinter *at) {
    return at->n_tile_rows * at->n_tile_cols / N_THREADS;
}

/* How a tile lies in shared memory: lines along the minor side, each a little longer than that, so that lines that are
   read at once are in different banks. */
typedef struct {
    int n_lines, n_minor, stride;
    int n_units; /* that each thread copies */
} Layout;

static Layout layout_of(const ProductPrinter *at, const FormOperand *operand, int number) {
    int side = number < 0 ? at->n_tile_rows : at->n_tile_cols;
    bool is_k = product_k_is_minor(at, operand);
    Layout layout = {.n_lines = is_k ? side : at->n_tile_k, .n_minor = is_k ? at->n_tile_k : side};
    layout.stride = layout.n_minor + (at->uses_tensor_cores ? 8 : 4);
    layout.n_units = layout.n_lines * layout.n_minor / at->n_unit / N_THREADS;
    assert(layout.n_units > 0);
    return layout;
}

/* Whether the elements of a unit are read at once: they start at multiples of 16 bytes, and end with their line. */
static bool reads_vectors(const ProductPrinter *at, const FormOperand *operand, int number, int64_t k) {
    bool is_k = product_k_is_minor(at, operand);
    int64_t side = number < 0 ? form_operand_side(at->form, true) : form_n_cols(&at->form->body);
    int64_t n_minor = is_k ? k : side, line = is_k ? operand->stride : operand->k_stride;
    bool is_ragged = is_k ? at->form->ragged == FORM_RAGGED_K : number < 0 && at->form->ragged == FORM_RAGGED_ROWS;
    return !operand->part && !is_ragged && cuda_is_aligned(at->cuda, operand->arg) &&
           operand->offset % at->n_unit == 0 && operand->group_stride % at->n_unit == 0 && line % at->n_unit == 0 &&
           n_minor % at->n_unit == 0;
}

/* ---- Copying operands ------------------------------------------------------------------------------------------- */

static void open_units(ProductPrinter *at, Layout layout) {
    c_line(at->c, "#pragma unroll");
    c_open(at->c, "for (int unit = 0; unit < %d; unit++)", layout.n_units);
    c_line(at->c, "int at = unit * %d + (int)threadIdx.x;", N_THREADS);
}

/* Where the unit is in its tile. */
static const char *line_text(const ProductPrinter *at, Layout layout) {
    return arena_printf(at->c->arena, "at / %d", layout.n_minor / at->n_unit);
}

static const char *minor_text(const ProductPrinter *at, Layout layout) {
    return arena_printf(at->c->arena, "at %% %d * %d", layout.n_minor / at->n_unit, at->n_unit);
}

/* Into loaded_NAME, from k_at on; 0 where there is nothing. */
static void print_load(ProductPrinter *at, const ProductPass *pass, int number) {
    CPrinter *c = at->c;
    const FormOperand *operand = product_operand(at, pass, number);
    Layout layout = layout_of(at, operand, number);
    const char *side = number < 0 ? "row" : "col", *name = product_tile_name(at, number), *type = at->cuda->int_type;
    const char *line = product_k_is_minor(at, operand) ? side : "k",
               *minor = product_k_is_minor(at, operand) ? "k" : side;
    open_units(at, layout);
    c_line(c, "%s line = %s_at + %s, minor = %s_at + %s;", type, line, line_text(at, layout), minor,
           minor_text(at, layout));
    c_line(c, "bool is_line = line < %s_end;", line);
    if (operand->gather != FORM_NONE)
        product_print_gathered_line(at, operand);
    if (reads_vectors(at, operand, number, pass->k)) {
        const char *address = product_address_text(at, operand, "minor");
        if (product_dtype(at->form) == DTYPE_BF16)
            c_line(c, "loaded_%s[unit] = moec_load8_if(is_line && minor < %s_end, %s);", name, minor, address);
        else
            c_line(c, "moec_load4_if(is_line && minor < %s_end, loaded_%s[unit], %s);", minor, name, address);
    } else if (product_dtype(at->form) == DTYPE_BF16) {
        c_line(c, "uint32_t elements[8];");
        c_line(c, "#pragma unroll");
        c_line(c, "for (int i = 0; i < 8; i++)");
        c_line(c, "    elements[i] = is_line && minor + i < %s_end ? *(%s) : 0;", minor,
               product_address_text(at, operand, "minor + i"));
        c_line(c, "loaded_%s[unit] = moec_eight(elements);", name);
    } else {
        const char *element = operand->part
                                  ? arena_printf(c->arena, "%s_%s(%s, line, minor + i)", at->form->name, operand->name,
                                                 cuda_arguments_text(at->cuda))
                                  : arena_printf(c->arena, "*(%s)", product_address_text(at, operand, "minor + i"));
        c_line(c, "#pragma unroll");
        c_line(c, "for (int i = 0; i < %d; i++)", at->n_unit);
        c_line(c, "    loaded_%s[unit][i] = is_line && minor + i < %s_end ? %s : 0.0f;", name, minor, element);
    }
    c_close(c);
}

/* From loaded_NAME to the tile. */
static void print_keep(ProductPrinter *at, const ProductPass *pass, int number) {
    Layout layout = layout_of(at, product_operand(at, pass, number), number);
    const char *name = product_tile_name(at, number);
    open_units(at, layout);
    const char *store = at->uses_tensor_cores ? "moec_store8" : "moec_store4";
    c_line(at->c, "%s(&tile_%s[!buffer][%s * %d + %s], loaded_%s[unit]);", store, name, line_text(at, layout),
           layout.stride, minor_text(at, layout), name);
    c_close(at->c);
}

/* ---- Multiplying ------------------------------------------------------------------------------------------------ */

static ProductPlace place_of(const ProductPrinter *at, const ProductPass *pass, int number) {
    const FormOperand *operand = product_operand(at, pass, number);
    bool is_k = product_k_is_minor(at, operand);
    return (ProductPlace){.tile = arena_printf(at->c->arena, "tile_%s[buffer]", product_tile_name(at, number)),
                          .element = arena_printf(at->c->arena, "%s * %d + %s", is_k ? "side" : "deep",
                                                  layout_of(at, operand, number).stride, is_k ? "deep" : "side")};
}

/* Element (side, k) of a tile. */
static const char *element_text(ProductPrinter *at, const ProductPass *pass, int number, const char *side) {
    const FormOperand *operand = product_operand(at, pass, number);
    Layout layout = layout_of(at, operand, number);
    const char *name = product_tile_name(at, number);
    return product_k_is_minor(at, operand)
               ? arena_printf(at->c->arena, "tile_%s[buffer][(%s) * %d + k]", name, side, layout.stride)
               : arena_printf(at->c->arena, "tile_%s[buffer][k * %d + %s]", name, layout.stride, side);
}

/* A thread's rows and columns are 16 apart: the lanes of a warp read neighbours. */
static void print_floats(ProductPrinter *at, const ProductPass *pass) {
    CPrinter *c = at->c;
    int n_rows = at->n_tile_rows / 16, n_cols = at->n_tile_cols / 16;
    c_line(c, "#pragma unroll");
    c_open(c, "for (int k = 0; k < %d; k++)", at->n_tile_k);
    c_line(c, "float a[%d], b[%d];", n_rows, n_cols);
    c_line(c, "#pragma unroll");
    c_line(c, "for (int i = 0; i < %d; i++)", n_rows);
    c_line(c, "    a[i] = %s;", element_text(at, pass, -1, "thread_row + i * 16"));
    for (int i = 0; i < pass->n_rhs; i++) {
        c_line(c, "#pragma unroll");
        c_line(c, "for (int i = 0; i < %d; i++)", n_cols);
        c_line(c, "    b[i] = %s;", element_text(at, pass, i, "thread_col + i * 16"));
        c_line(c, "#pragma unroll");
        c_line(c, "for (int i = 0; i < %d; i++)", n_rows * n_cols);
        c_line(c, "    sums_%d[i] += a[i / %d] * b[i %% %d];", pass->results[i], n_cols, n_cols);
    }
    c_close(c);
}

/* While a part of k is multiplied, the next one comes. In turns they are in one half of the tiles' memory and the
   other, so that one barrier a part is enough. */
static void print_pass(ProductPrinter *at, const ProductPass *pass) {
    CPrinter *c = at->c;
    const char *type = at->cuda->int_type;
    c_line(c, "{");
    c->depth++;
    if (at->form->ragged == FORM_RAGGED_K)
        c_line(c, "%s k_first = group_first, k_end = group_end;", type);
    else
        c_line(c, "const %s k_first = 0, k_end = %lld;", type, (long long)pass->k);
    c_line(c, "%s n_parts = (k_end - k_first + %d) / %d;", type, at->n_tile_k - 1, at->n_tile_k);
    c_open(c, "for (%s part = -1; part < n_parts; part++)", type);
    for (int i = -1; i < pass->n_rhs; i++) {
        int n_units = layout_of(at, product_operand(at, pass, i), i).n_units;
        c_line(c, product_dtype(at->form) == DTYPE_BF16 ? "uint4 loaded_%s[%d];" : "float loaded_%s[%d][4];",
               product_tile_name(at, i), n_units);
    }
    c_line(c, "int buffer = (int)(part & 1);");
    c_open(c, "if (part + 1 < n_parts)");
    c_line(c, "%s k_at = k_first + (part + 1) * %d;", type, at->n_tile_k);
    for (int i = -1; i < pass->n_rhs; i++)
        print_load(at, pass, i);
    c_close(c);
    c_open(c, "if (part >= 0)");
    if (at->uses_tensor_cores)
        product_print_mma(at, pass, place_of);
    else
        print_floats(at, pass);
    c_close(c);
    c_open(c, "if (part + 1 < n_parts)");
    for (int i = -1; i < pass->n_rhs; i++)
        print_keep(at, pass, i);
    c_close(c);
    c_line(c, "__syncthreads();");
    c_close(c);
    c_close(c);
}

/* ---- Results ---------------------------------------------------------------------------------------------------- */

/* Of the thread's sum number i. */
static void print_place(ProductPrinter *at) {
    CPrinter *c = at->c;
    const char *type = at->cuda->int_type;
    int n_cols = at->uses_tensor_cores ? at->n_warp_cols / 8 : at->n_tile_cols / 16;
    if (at->uses_tensor_cores) {
        c_line(c, "%s row = row_at + warp_row + i / %d * 16 + i / 2 %% 2 * 8 + lane / 4;", type, 4 * n_cols);
        c_line(c, "%s col = col_at + warp_col + i / 4 %% %d * 8 + lane %% 4 * 2 + i %% 2;", type, n_cols);
    } else {
        c_line(c, "%s row = row_at + thread_row + i / %d * 16;", type, n_cols);
        c_line(c, "%s col = col_at + thread_col + i %% %d * 16;", type, n_cols);
    }
}

static void print_results(ProductPrinter *at) {
    CPrinter *c = at->c;
    FormPrinter *base = &at->cuda->base;
    const bool *is_live = form_live(c->arena, base->body);
    c_line(c, "#pragma unroll");
    c_open(c, "for (int i = 0; i < %d; i++)", n_sums(at));
    print_place(at);
    c_line(c, "if (row >= row_end || col >= col_end)");
    c_line(c, "    continue;");
    if (at->form->ragged == FORM_RAGGED_K)
        c_line(c, "row += group * %lld;", (long long)form_operand_side(at->form, true));
    form_print_side_indices(base, at->cuda->int_type, false, "row");
    form_print_side_indices(base, at->cuda->int_type, true, "col");
    for (uint32_t i = 0; i < base->body->n_instrs; i++) {
        const FormInstr *instr = &base->body->instrs[i];
        if (!is_live[i] || instr->op == FORM_CONST)
            continue;
        if (form_instr_writes(instr))
            form_print_write(base, instr);
        else if (instr->op == FORM_SUM)
            c_line(c, "float v%u = sums_%d[i];", i, instr->result);
        else
            form_print_value(base, i);
    }
    c_close(c);
}

/* ---- The kernel ------------------------------------------------------------------------------------------------- */

/* Leaves, where the block has none. */
static void print_ragged_rows(ProductPrinter *at) {
    CPrinter *c = at->c;
    const char *offsets = at->cuda->base.arg_names[at->form->offsets], *type = at->cuda->int_type;
    c_line(c, "%s group = 0;", type);
    c_line(c, "%s row_at = 0, row_end = 0;", type);
    c_open(c, "for (; group < %lld; group++)", (long long)at->form->n_groups);
    c_line(c, "row_at = %s[group] + row_tile * %d;", offsets, at->n_tile_rows);
    c_line(c, "row_end = %s[group + 1];", offsets);
    c_line(c, "if (row_at < row_end)");
    c_line(c, "    break;");
    c_line(c, "row_tile -= (row_end - %s[group] + %d) / %d;", offsets, at->n_tile_rows - 1, at->n_tile_rows);
    c_close(c);
    c_line(c, "if (group == %lld)", (long long)at->form->n_groups);
    c_line(c, "    return;");
}

static void print_tile(ProductPrinter *at) {
    CPrinter *c = at->c;
    const Form *form = at->form;
    const char *type = at->cuda->int_type;
    long long n_rows = (long long)product_n_row_tiles(at), n_cols = (long long)product_n_col_tiles(at);
    c_line(c, "int tile = (int)blockIdx.x;");
    if (form->ragged == FORM_RAGGED_K) {
        const char *offsets = at->cuda->base.arg_names[form->offsets];
        c_line(c, "%s group = tile / %lld;", type, n_rows * n_cols);
        c_line(c, "tile %%= %lld;", n_rows * n_cols);
        c_line(c, "%s group_first = %s[group], group_end = %s[group + 1];", type, offsets, offsets);
    }
    c_line(c, "int band = tile / %lld, n_band = %lld - band * %d < %d ? %lld - band * %d : %d;", BAND * n_cols, n_rows,
           BAND, BAND, n_rows, BAND, BAND);
    c_line(c, "int row_tile = band * %d + tile %% %lld %% n_band, col_tile = tile %% %lld / n_band;", BAND,
           BAND * n_cols, BAND * n_cols);
    if (form->ragged == FORM_RAGGED_ROWS)
        print_ragged_rows(at);
    else
        c_line(c, "%s row_at = row_tile * %d, row_end = %lld;", type, at->n_tile_rows,
               (long long)form_operand_side(form, true));
    c_line(c, "%s col_at = col_tile * %d, col_end = %lld;", type, at->n_tile_cols, (long long)form_n_cols(&form->body));
}

/* As large as any pass needs. */
static void print_shared(ProductPrinter *at) {
    for (int number = -1; number < at->most_rhs; number++) {
        int n_elements = 0;
        for (int i = 0; i < at->n_passes; i++) {
            if (number >= at->passes[i].n_rhs)
                continue;
            Layout layout = layout_of(at, product_operand(at, &at->passes[i], number), number);
            int n = layout.n_lines * layout.stride;
            n_elements = n > n_elements ? n : n_elements;
        }
        c_line(at->c, "MOEC_SHARED MOEC_ALIGN(16) %s tile_%s[2][%d];", at->uses_tensor_cores ? "uint16_t" : "float",
               product_tile_name(at, number), n_elements);
    }
}

static void print_thread(ProductPrinter *at) {
    int n_cols = at->n_tile_cols / at->n_warp_cols;
    if (!at->uses_tensor_cores) {
        c_line(at->c, "int thread_row = (int)threadIdx.x / 16, thread_col = (int)threadIdx.x %% 16;");
        return;
    }
    c_line(at->c, "int lane = (int)threadIdx.x %% 32, warp = (int)threadIdx.x / 32;");
    c_line(at->c, "int warp_row = warp / %d * %d, warp_col = warp %% %d * %d;", n_cols, at->n_warp_rows, n_cols,
           at->n_warp_cols);
}

void product_print_by_registers(ProductPrinter *at) {
    const Form *form = at->form;
    set_tile(at);
    for (int i = 0; i < form->n_operands; i++) {
        if (form->operands[i].part)
            cuda_print_element(at->cuda, form->operands[i].part,
                               arena_printf(at->c->arena, "%s_%s", form->name, form->operands[i].name));
    }
    cuda_open_kernel(at->cuda, product_n_tiles(at), N_THREADS);
    print_shared(at);
    for (int i = 0; i < form->n_results; i++)
        c_line(at->c, "float sums_%d[%d] = {0};", i, n_sums(at));
    print_tile(at);
    print_thread(at);
    for (int i = 0; i < at->n_passes; i++)
        print_pass(at, &at->passes[i]);
    print_results(at);
    c_close(at->c);
}
