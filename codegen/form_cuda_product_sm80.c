/* Products of bf16 for sm_80 and later: threads copy parts of k to a ring of stages in shared memory, some of which are
   on their way while one is multiplied by the tensor cores (mma.sync). A block goes through tiles of the results. No
   sum is shared by blocks, so its order is always the same. */
#include "codegen/form_cuda_product.h"

enum { N_THREADS = 256, N_WARPS = N_THREADS / CUDA_WARP };

static int64_t stage_elements(const ProductPrinter *at) {
    return product_tile_elements(at, -1) + (int64_t)at->most_rhs * product_tile_elements(at, 0);
}

/* "tiles + (part % 3) * 16384 + 8192" */
static const char *tile_text(const ProductPrinter *at, int number, const char *part) {
    int64_t first = number < 0 ? 0 : product_tile_elements(at, -1) + (int64_t)number * product_tile_elements(at, 0);
    return arena_printf(at->c->arena, "tiles + %s %% %d * %lld + %lld", part, at->n_stages,
                        (long long)stage_elements(at), (long long)first);
}

/* ---- Copying ---------------------------------------------------------------------------------------------------- */

/* Part number `coming`, if there is such a one, as one group. */
static void print_copies(const ProductPrinter *at, const ProductPass *pass) {
    CPrinter *c = at->c;
    c_open(c, "if (coming < n_parts)");
    c_line(c, "%s k_at = k_first + coming * %d;", at->cuda->int_type, TILE_K);
    for (int i = -1; i < pass->n_rhs; i++)
        product_print_copy(at, pass, i, tile_text(at, i, "coming"), N_THREADS);
    for (int i = -1; i < pass->n_rhs; i++)
        product_print_next_lines(at, pass, i, "k_at + 64", N_THREADS);
    c_close(c);
    c_line(c, "moec_copy_async_commit();");
}

/* ---- Multiplying ------------------------------------------------------------------------------------------------ */

static ProductPlace place_of(const ProductPrinter *at, const ProductPass *pass, int number) {
    bool is_k = product_k_is_minor(at, product_operand(at, pass, number));
    return (ProductPlace){tile_text(at, number, "part"), product_place_text(at, is_k, "side", "deep")};
}

/* The stage that a copy goes to is the one that was multiplied before the barrier. Loops over few parts would be
   unrolled, which takes registers that the sums need. */
static void print_pass(const ProductPrinter *at, const ProductPass *pass) {
    CPrinter *c = at->c;
    c_line(c, "{");
    c->depth++;
    product_print_parts(at, pass);
    for (int i = -1; i < pass->n_rhs; i++)
        product_print_lines(at, pass, i, N_THREADS);
    c_line(c, "__syncthreads();");
    c_line(c, "#pragma unroll 1");
    c_open(c, "for (int coming = 0; coming < %d; coming++)", at->n_stages - 1);
    print_copies(at, pass);
    c_close(c);
    c_line(c, "#pragma unroll 1");
    c_open(c, "for (int part = 0; part < n_parts; part++)");
    c_line(c, "int coming = part + %d;", at->n_stages - 1);
    c_line(c, "MOEC_COPY_ASYNC_WAIT(%d);", at->n_stages - 2);
    c_line(c, "__syncthreads();");
    print_copies(at, pass);
    product_print_mma(at, pass, place_of);
    c_close(c);
    c_close(c);
}

/* ---- The kernel ------------------------------------------------------------------------------------------------- */

/* A warp has at most as many sums as fit in registers beside the fragments. */
static void set_warps(ProductPrinter *at) {
    at->n_warp_cols = at->n_tile_cols >= 256 ? 64 : 32;
    at->n_warp_rows = at->n_tile_rows * at->n_tile_cols / N_WARPS / at->n_warp_cols;
}

void product_print_sm80(ProductPrinter *at) {
    CPrinter *c = at->c;
    const Form *form = at->form;
    set_warps(at);
    int n_sums = at->n_tile_rows * at->n_tile_cols / N_THREADS, n_warps = at->n_tile_cols / at->n_warp_cols;
    cuda_open_kernel(at->cuda, product_n_tiles(at), N_THREADS);
    FormCudaLaunch *launch = &at->cuda->out->launches[0];
    launch->shared_bytes = at->n_stages * stage_elements(at) * ELEMENT_BYTES;
    launch->n_resident = 1;
    c_line(c, "MOEC_DYNAMIC_SHARED(shared);");
    c_line(c, "uint16_t *tiles = (uint16_t *)shared;");
    c_line(c, "int lane = (int)threadIdx.x %% 32, warp = (int)threadIdx.x / 32;");
    c_line(c, "int warp_row = warp / %d * %d, warp_col = warp %% %d * %d;", n_warps, at->n_warp_rows, n_warps,
           at->n_warp_cols);
    product_open_tiles(at);
    for (int i = 0; i < form->n_results; i++)
        c_line(c, "float sums_%d[%d] = {0};", i, n_sums);
    for (int i = 0; i < at->n_passes; i++)
        print_pass(at, &at->passes[i]);
    product_print_results(at, (ProductFragments){.row = "warp_row + lane / 4",
                                                 .col = "warp_col + lane % 4 * 2",
                                                 .n_blocks = at->n_warp_rows / 16,
                                                 .block_rows = 16,
                                                 .n_groups = at->n_warp_cols / 8});
    c_close(c);
    c_line(c, "MOEC_COPY_ASYNC_WAIT(0);");
    c_close(c);
}
