/* Tiles of bf16 operands in shared memory, as the copy engine of sm_90a lays them out with a swizzle of 128 bytes, and
   copies of 16 bytes by which threads fill them. */
#include "codegen/form_cuda_product.h"

#include <assert.h>

static int side_of(const ProductPrinter *at, int number) {
    return number < 0 ? at->n_tile_rows : at->n_tile_cols;
}

int product_tile_elements(const ProductPrinter *at, int number) {
    return side_of(at, number) * TILE_K;
}

const char *product_place_text(const ProductPrinter *at, bool is_k, const char *side, const char *deep) {
    Arena *arena = at->c->arena;
    if (is_k)
        return arena_printf(arena, "%s * %d + (%s / %d ^ %s %% 8) * %d", side, LINE, deep, UNIT, side, UNIT);
    return arena_printf(arena, "%s / %d * %d + %s * %d + (%s %% %d / %d ^ %s %% 8) * %d", side, LINE, LINE * TILE_K,
                        deep, LINE, side, LINE, UNIT, deep, UNIT);
}

/* ---- Which operands can be copied ------------------------------------------------------------------------------- */

static bool can_copy_operand(const Form *form, const FormOperand *operand, const FormCudaOptions *options) {
    if (operand->part || form_operand_dtype(form, operand) != DTYPE_BF16 ||
        (options->is_unaligned && options->is_unaligned[operand->arg]))
        return false;
    bool is_k = !form_gathers_k(form, operand);
    int64_t line = is_k ? operand->stride : operand->k_stride;
    if (is_k && form->ragged == FORM_RAGGED_K) /* groups start anywhere */
        return false;
    return line > 0 && line % UNIT == 0 && operand->offset % UNIT == 0 && operand->group_stride % UNIT == 0;
}

/* Whether the lines of an operand are those of the ragged side, which starts anywhere: then units would be cut. */
static bool cuts_units(const Form *form, const FormOperand *operand, bool is_lhs) {
    return is_lhs && form->ragged == FORM_RAGGED_ROWS && form_gathers_k(form, operand);
}

bool product_can_copy(const Form *form, const FormCudaOptions *options) {
    for (int i = 0; i < form->n_operands; i++) {
        if (!can_copy_operand(form, &form->operands[i], options))
            return false;
    }
    for (int i = 0; i < form->n_products; i++) {
        if (cuts_units(form, &form->operands[form->products[i].lhs], true))
            return false;
    }
    return true;
}

/* ---- Copying ---------------------------------------------------------------------------------------------------- */

typedef struct {
    bool is_k;
    int n_lines, n_chunks; /* lines of a tile, units of each */
    int n_units;           /* of a thread */
} Copies;

static Copies copies_of(const ProductPrinter *at, const FormOperand *operand, int number, int n_threads) {
    bool is_k = product_k_is_minor(at, operand);
    int side = side_of(at, number);
    Copies copies = {
        .is_k = is_k, .n_lines = is_k ? side : TILE_K, .n_chunks = (is_k ? TILE_K : side) / UNIT, .n_units = 0};
    copies.n_units = copies.n_lines * copies.n_chunks / n_threads;
    assert(copies.n_units > 0 && copies.n_units * n_threads == copies.n_lines * copies.n_chunks);
    return copies;
}

static void open_units(const ProductPrinter *at, const Copies *copies, int n_threads) {
    c_line(at->c, "#pragma unroll");
    c_open(at->c, "for (int unit = 0; unit < %d; unit++)", copies->n_units);
    c_line(at->c, "int at = unit * %d + (int)threadIdx.x, chunk = at %% %d;", n_threads, copies->n_chunks);
}

/* Whether a thread's lines are the same in all parts. */
static bool keeps_lines(const ProductPrinter *at, const FormOperand *operand) {
    return operand->gather != FORM_NONE && product_k_is_minor(at, operand);
}

/* Whether lines are gathered anew for each part: a lane of a warp looks one of the warp's up. */
static bool shares_lines(const ProductPrinter *at, const FormOperand *operand) {
    return operand->gather != FORM_NONE && !product_k_is_minor(at, operand);
}

void product_print_next_lines(const ProductPrinter *at, const ProductPass *pass, int number, const char *k_at,
                              int n_threads) {
    CPrinter *c = at->c;
    const FormOperand *operand = product_operand(at, pass, number);
    if (!shares_lines(at, operand))
        return;
    Copies copies = copies_of(at, operand, number, n_threads);
    int n_beside = CUDA_WARP / copies.n_chunks; /* lines of a warp at a time */
    const char *name = product_tile_name(at, number), *type = at->cuda->int_type;
    assert(n_beside > 0);
    c_line(c, "{");
    c->depth++;
    c_line(c, "%s line = %s + lane / %d * %d + (int)threadIdx.x / 32 * %d + lane %% %d;", type, k_at, n_beside,
           n_threads / copies.n_chunks, n_beside, n_beside);
    c_line(c, "bool is_line = lane < %d && line < k_end;", copies.n_units * n_beside);
    product_print_gathered_line(at, operand);
    c_line(c, "lines_%s = is_line ? (int)line : -1;", name);
    c_close(c);
}

void product_print_lines(const ProductPrinter *at, const ProductPass *pass, int number, int n_threads) {
    CPrinter *c = at->c;
    const FormOperand *operand = product_operand(at, pass, number);
    if (shares_lines(at, operand)) {
        c_line(c, "int lines_%s;", product_tile_name(at, number));
        product_print_next_lines(at, pass, number, "k_first", n_threads);
    }
    if (!keeps_lines(at, operand))
        return;
    Copies copies = copies_of(at, operand, number, n_threads);
    const char *side = number < 0 ? "row" : "col", *name = product_tile_name(at, number);
    c_line(c, "%s lines_%s[%d];", at->cuda->int_type, name, copies.n_units);
    c_line(c, "#pragma unroll");
    c_open(c, "for (int unit = 0; unit < %d; unit++)", copies.n_units);
    c_line(c, "%s line = %s_at + (unit * %d + (int)threadIdx.x) / %d;", at->cuda->int_type, side, n_threads,
           copies.n_chunks);
    c_line(c, "bool is_line = line < %s_end;", side);
    product_print_gathered_line(at, operand);
    c_line(c, "lines_%s[unit] = is_line ? line : -1;", name);
    c_close(c);
}

/* `n_bytes`, of the unit that starts at `minor`: all of them, or those before the end of the line. */
static void print_n_bytes(const ProductPrinter *at, const char *minor, int64_t n_minor) {
    CPrinter *c = at->c;
    if (n_minor % UNIT == 0) {
        c_line(c, "int n_bytes = is_line && minor < %s_end ? 16 : 0;", minor);
        return;
    }
    c_line(c, "int n_bytes = is_line && minor < %s_end ? (int)(%s_end - minor) * %d : 0;", minor, minor, ELEMENT_BYTES);
    c_line(c, "n_bytes = n_bytes < 16 ? n_bytes : 16;");
}

void product_print_copy(const ProductPrinter *at, const ProductPass *pass, int number, const char *tile,
                        int n_threads) {
    CPrinter *c = at->c;
    const FormOperand *operand = product_operand(at, pass, number);
    Copies copies = copies_of(at, operand, number, n_threads);
    const char *side = number < 0 ? "row" : "col", *type = at->cuda->int_type;
    const char *line = copies.is_k ? side : "k", *minor = copies.is_k ? "k" : side;
    int64_t n_minor = copies.is_k  ? pass->k
                      : number < 0 ? form_operand_side(at->form, true)
                                   : form_n_cols(&at->form->body);
    open_units(at, &copies, n_threads);
    c_line(c, "%s minor = %s_at + chunk * %d;", type, minor, UNIT);
    if (keeps_lines(at, operand)) {
        c_line(c, "%s line = lines_%s[unit];", type, product_tile_name(at, number));
        c_line(c, "bool is_line = line >= 0;");
    } else if (shares_lines(at, operand)) {
        int n_beside = CUDA_WARP / copies.n_chunks;
        c_line(c, "%s line = (int)__shfl_sync(0xffffffffu, lines_%s, unit * %d + lane / %d);", type,
               product_tile_name(at, number), n_beside, copies.n_chunks);
        c_line(c, "bool is_line = line >= 0;");
    } else {
        c_line(c, "%s line = %s_at + at / %d;", type, line, copies.n_chunks);
        c_line(c, "bool is_line = line < %s_end;", line);
    }
    print_n_bytes(at, minor, n_minor);
    const char *in_tile = arena_printf(c->arena, "at / %d", copies.n_chunks),
               *unit = arena_printf(c->arena, "chunk * %d", UNIT);
    c_line(c, "moec_copy_async16(%s + %s, n_bytes > 0 ? %s : %s, n_bytes);", tile,
           copies.is_k ? product_place_text(at, true, arena_printf(c->arena, "(%s)", in_tile), unit)
                       : product_place_text(at, false, unit, arena_printf(c->arena, "(%s)", in_tile)),
           product_address_text(at, operand, "minor"), at->cuda->base.arg_names[operand->arg]);
    c_close(c);
}
