/* PRODUCT forms as CUDA C: which way they are printed, how they are cut, and which tiles a block has. */
#include "codegen/form_cuda_product.h"

#include <assert.h>
#include <string.h>

const char *const cuda_product_names[] = {
    "i",          "j",           "k",          "a",          "b",         "row",         "col",       "at",
    "line",       "minor",       "side",       "deep",       "unit",      "buffer",      "tile",      "tile_",
    "band",       "n_band",      "n_parts",    "row_tile",   "col_tile",  "row_at",      "row_end",   "col_at",
    "col_end",    "k_at",        "k_first",    "k_end",      "group",     "group_first", "group_end", "is_line",
    "warp_row",   "warp_col",    "thread_row", "thread_col", "sums_",     "uint16_t",    "elements",  "eight",
    "part",       "stage",       "parity",     "full",       "empty",     "shared",      "tiles",     "lines_",
    "first_tile", "n_row_tiles", "local",      "chunk",      "n_bytes",   "half",        "pair",      "lhs",
    "rhs0",       "rhs1",        "rhs2",       "rhs3",       "warpgroup", "n_issued",    "n_left",    "zero",
    "coming",     "maps",        NULL};

int64_t product_ceil_div(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

DType product_dtype(const Form *form) {
    return form_operand_dtype(form, &form->operands[0]);
}

/* ---- Passes and tiles ------------------------------------------------------------------------------------------- */

static void set_passes(ProductPrinter *at) {
    bool has_product[FORM_MAX_RESULTS] = {false};
    for (int i = 0; i < at->form->n_products; i++) {
        const FormProduct *product = &at->form->products[i];
        int pass = 0;
        while (pass < at->n_passes && (at->passes[pass].lhs != product->lhs || at->passes[pass].k != product->k))
            pass++;
        if (pass == at->n_passes)
            at->passes[at->n_passes++] = (ProductPass){.lhs = product->lhs, .k = product->k};
        ProductPass *to = &at->passes[pass];
        to->rhs[to->n_rhs] = product->rhs;
        to->results[to->n_rhs++] = product->result;
        at->most_rhs = to->n_rhs > at->most_rhs ? to->n_rhs : at->most_rhs;
    }
    for (int pass = 0; pass < at->n_passes; pass++) { /* in the order in which they are multiplied */
        for (int i = 0; i < at->passes[pass].n_rhs; i++) {
            int result = at->passes[pass].results[i];
            at->passes[pass].is_first[i] = !has_product[result];
            has_product[result] = true;
        }
    }
}

int64_t product_n_row_tiles(const ProductPrinter *at) {
    int64_t n = product_ceil_div(form_operand_side(at->form, true), at->n_tile_rows);
    return at->form->ragged == FORM_RAGGED_ROWS ? n + at->form->n_groups - 1 : n; /* each group's last may be short */
}

int64_t product_n_col_tiles(const ProductPrinter *at) {
    return product_ceil_div(form_n_cols(&at->form->body), at->n_tile_cols);
}

int64_t product_n_tiles(const ProductPrinter *at) {
    int64_t n = product_n_row_tiles(at) * product_n_col_tiles(at);
    return at->form->ragged == FORM_RAGGED_K ? n * at->form->n_groups : n;
}

/* ---- Operands --------------------------------------------------------------------------------------------------- */

const FormOperand *product_operand(const ProductPrinter *at, const ProductPass *pass, int number) {
    return &at->form->operands[number < 0 ? pass->lhs : pass->rhs[number]];
}

const char *product_tile_name(const ProductPrinter *at, int number) {
    return number < 0 ? "lhs" : arena_printf(at->c->arena, "rhs%d", number);
}

bool product_k_is_minor(const ProductPrinter *at, const FormOperand *operand) {
    return operand->part ? !operand->k_is_major : !form_gathers_k(at->form, operand);
}

const char *product_address_text(const ProductPrinter *at, const FormOperand *operand, const char *minor) {
    Arena *arena = at->c->arena;
    int64_t line = product_k_is_minor(at, operand) ? operand->stride : operand->k_stride;
    const char *text = at->cuda->base.arg_names[operand->arg];
    if (operand->offset != 0)
        text = arena_printf(arena, "%s + %lld", text, (long long)operand->offset);
    if (at->form->ragged == FORM_RAGGED_ROWS && operand->group_stride != 0)
        text = arena_printf(arena, "%s + group * %lld", text, (long long)operand->group_stride);
    return arena_printf(arena, "%s + line * %lld + %s", text, (long long)line, minor);
}

void product_print_gathered_line(const ProductPrinter *at, const FormOperand *operand) {
    const char *divided = operand->gather_divisor == 1 ? "line"
                                                       : arena_printf(at->c->arena, "line < 0 ? -1 : line / %lld",
                                                                      (long long)operand->gather_divisor);
    c_line(at->c, "line = is_line ? %s[line] : -1;", at->cuda->base.arg_names[operand->gather]);
    c_line(at->c, "is_line = line >= 0;");
    if (operand->gather_divisor != 1)
        c_line(at->c, "line = %s;", divided);
}

/* ---- The walk through tiles ------------------------------------------------------------------------------------- */

/* Tiles of a band share columns: blocks that run at once then read the same parts of operands. */
static void print_band(const ProductPrinter *at, const char *n_rows) {
    long long n_cols = (long long)product_n_col_tiles(at), n_band = at->band * n_cols;
    c_line(at->c, "int band = local / %lld * %d, n_band = %s - band < %d ? %s - band : %d;", n_band, at->band, n_rows,
           at->band, n_rows, at->band);
    c_line(at->c, "int row_tile = band + local %% %lld %% n_band, col_tile = local %% %lld / n_band;", n_band, n_band);
}

/* A block's tiles rise, and so do their groups. */
static void open_ragged_tiles(const ProductPrinter *at) {
    CPrinter *c = at->c;
    const char *offsets = at->cuda->base.arg_names[at->form->offsets], *type = at->cuda->int_type;
    long long n_cols = (long long)product_n_col_tiles(at), n_groups = (long long)at->form->n_groups;
    c_line(c, "%s group = 0;", type);
    c_line(c, "int first_tile = 0;");
    c_open(c, "for (int tile = (int)blockIdx.x;; tile += (int)gridDim.x)");
    c_line(c, "int n_row_tiles = 0;");
    c_open(c, "for (; group < %lld; group++)", n_groups);
    c_line(c, "n_row_tiles = (%s[group + 1] - %s[group] + %d) / %d;", offsets, offsets, at->n_tile_rows - 1,
           at->n_tile_rows);
    c_line(c, "if (tile < first_tile + n_row_tiles * %lld)", n_cols);
    c_line(c, "    break;");
    c_line(c, "first_tile += n_row_tiles * %lld;", n_cols);
    c_close(c);
    c_line(c, "if (group == %lld)", n_groups);
    c_line(c, "    break;");
    c_line(c, "int local = tile - first_tile;");
    print_band(at, "n_row_tiles");
    c_line(c, "%s row_at = %s[group] + row_tile * %d, row_end = %s[group + 1];", type, offsets, at->n_tile_rows,
           offsets);
}

void product_open_tiles(const ProductPrinter *at) {
    CPrinter *c = at->c;
    const Form *form = at->form;
    const char *type = at->cuda->int_type;
    long long n_rows = (long long)product_n_row_tiles(at), n_cols = (long long)product_n_col_tiles(at);
    if (form->ragged == FORM_RAGGED_ROWS) {
        open_ragged_tiles(at);
    } else {
        c_open(c, "for (int tile = (int)blockIdx.x; tile < %lld; tile += (int)gridDim.x)",
               (long long)product_n_tiles(at));
        if (form->ragged == FORM_RAGGED_K) {
            const char *offsets = at->cuda->base.arg_names[form->offsets];
            c_line(c, "%s group = tile / %lld;", type, n_rows * n_cols);
            c_line(c, "int local = tile %% %lld;", n_rows * n_cols);
            c_line(c, "%s group_first = %s[group], group_end = %s[group + 1];", type, offsets, offsets);
        } else {
            c_line(c, "int local = tile;");
        }
        print_band(at, arena_printf(c->arena, "%lld", n_rows));
        c_line(c, "%s row_at = row_tile * %d, row_end = %lld;", type, at->n_tile_rows,
               (long long)form_operand_side(form, true));
    }
    c_line(c, "%s col_at = col_tile * %d, col_end = %lld;", type, at->n_tile_cols, (long long)form_n_cols(&form->body));
}

void product_print_parts(const ProductPrinter *at, const ProductPass *pass) {
    const char *type = at->cuda->int_type;
    if (at->form->ragged == FORM_RAGGED_K)
        c_line(at->c, "%s k_first = group_first, k_end = group_end;", type);
    else
        c_line(at->c, "const %s k_first = 0, k_end = %lld;", type, (long long)pass->k);
    c_line(at->c, "int n_parts = (int)((k_end - k_first + %d) / %d);", TILE_K - 1, TILE_K);
}

/* ---- Choices ---------------------------------------------------------------------------------------------------- */

/* What a tier has room for: columns of all results' tiles together, bytes of shared memory for stages, and the widest
   tile that is tried first. */
typedef struct {
    int most_cols, first_cols;
    int64_t n_bytes;
    int most_stages;
} Room;

static const Room rooms[CUDA_N_TIERS] = {
    [CUDA_SM_80] = {.most_cols = 256, .first_cols = 128, .n_bytes = 96 * 1024, .most_stages = 4},
    [CUDA_SM_90A] = {.most_cols = 256, .first_cols = 256, .n_bytes = 224 * 1024, .most_stages = 6},
};

static bool can_copy(const Form *form, CudaTier tier, const FormCudaOptions *options) {
    return tier == CUDA_SM_90A ? product_can_sm90(form, options) : product_can_copy(form, options);
}

/* Results side by side, or operands. */
static int most_tiles(const Form *form, int *most_rhs) {
    ProductPrinter at = {.form = form};
    set_passes(&at);
    *most_rhs = at.most_rhs;
    return at.most_rhs > form->n_results ? at.most_rhs : form->n_results;
}

static CudaProductChoice choice_of(const Form *form, CudaTier tier, int n_cols, int n_band) {
    int most_rhs, n_results = most_tiles(form, &most_rhs);
    int n_rows = tier == CUDA_SM_80 && n_results > 2 ? 64 : 128;
    int64_t stage = (int64_t)(n_rows + most_rhs * n_cols) * TILE_K * ELEMENT_BYTES;
    int64_t n_bytes = rooms[tier].n_bytes;
    if (tier == CUDA_SM_80 && n_results * n_cols > rooms[tier].first_cols)
        n_bytes = 144 * 1024; /* which not all devices have */
    int64_t n_stages = n_bytes / stage;
    return (CudaProductChoice){.n_tile_rows = n_rows,
                               .n_tile_cols = n_cols,
                               .n_stages =
                                   (int)(n_stages < rooms[tier].most_stages ? n_stages : rooms[tier].most_stages),
                               .n_band = n_band};
}

/* Columns that tiles of this width have beyond the form's, per thousand of these. */
static int64_t waste(const Form *form, int n_cols) {
    int64_t n = form_n_cols(&form->body);
    return (product_ceil_div(n, n_cols) * n_cols - n) * 1000 / n;
}

/* Lines of these tiles are units of a power of two. */
static bool gathers_any_k(const Form *form) {
    bool gathers = false;
    for (int i = 0; i < form->n_operands; i++)
        gathers = gathers || (form->operands[i].gather != FORM_NONE && form_gathers_k(form, &form->operands[i]));
    return gathers;
}

int cuda_product_choices(const Form *form, CudaTier tier, const FormCudaOptions *options,
                         CudaProductChoice choices[CUDA_MOST_CHOICES]) {
    static const int widths[] = {256, 192, 128, 64}, bands[] = {8, 16};
    enum { N_WIDTHS = sizeof widths / sizeof *widths, N_BANDS = sizeof bands / sizeof *bands, LITTLE = 20 };
    int sorted[N_WIDTHS], n_sorted = 0, n = 0, most_rhs;
    if (form->kind != FORM_KIND_PRODUCT || !can_copy(form, tier, options))
        return 0;
    int n_results = most_tiles(form, &most_rhs);
    for (int i = 0; i < N_WIDTHS; i++) { /* little waste first, then wide ones */
        int width = widths[i], place = n_sorted;
        if (width * n_results > rooms[tier].most_cols || (width == 192 && (tier == CUDA_SM_80 || gathers_any_k(form))))
            continue;
        bool is_late = width * n_results > rooms[tier].first_cols && width > 64;
        while (place > 0 && !is_late &&
               (waste(form, sorted[place - 1]) > waste(form, width) + LITTLE ||
                (sorted[place - 1] * n_results > rooms[tier].first_cols)))
            place--;
        memmove(sorted + place + 1, sorted + place, (size_t)(n_sorted - place) * sizeof *sorted);
        sorted[place] = width;
        n_sorted++;
    }
    for (int i = 0; i < n_sorted; i++) {
        for (int j = 0; j < N_BANDS; j++)
            choices[n++] = choice_of(form, tier, sorted[i], bands[j]);
    }
    assert(n <= CUDA_MOST_CHOICES && n > 0);
    return n;
}

/* ---- The kernel ------------------------------------------------------------------------------------------------- */

void cuda_print_product(CudaPrinter *cuda, const Form *form, CudaTier tier, const FormCudaOptions *options) {
    ProductPrinter at = {.cuda = cuda, .c = cuda->base.c, .form = form};
    CudaProductChoice choices[CUDA_MOST_CHOICES];
    set_passes(&at);
    if (cuda_product_choices(form, tier, options, choices) == 0) {
        product_print_by_registers(&at);
        return;
    }
    const CudaProductChoice *choice = options->choice ? options->choice : &choices[0];
    at.n_tile_rows = choice->n_tile_rows;
    at.n_tile_cols = choice->n_tile_cols;
    at.n_tile_k = TILE_K;
    at.n_stages = choice->n_stages;
    at.band = choice->n_band;
    at.uses_tensor_cores = true;
    at.n_unit = UNIT;
    if (tier == CUDA_SM_90A)
        product_print_sm90(&at);
    else
        product_print_sm80(&at);
}
