/* Products of bf16 for sm_90a. Of a block's three warpgroups, one brings parts of k to a ring of stages in shared
   memory: the copy engine (TMA) copies tiles as tensor maps describe them, and where rows are gathered its threads
   copy. The two others multiply 64 rows of a tile each (wgmma) and compute the body on the sums, which stay in
   registers. A barrier of each stage says that it is full, another one that it is empty; the ring runs on from tile to
   tile. No sum is shared by blocks, so its order is always the same. */
#include "codegen/form_cuda_product.h"

#include <assert.h>

/* The warpgroups that multiply; registers of a thread where only one thread copies, and where all of them do. LAG:
   parts that threads have on their way at a time. */
enum { N_CONSUMERS = 2, GROUP_THREADS = 128, N_THREADS = (N_CONSUMERS + 1) * GROUP_THREADS, GROUP_ROWS = 64 };
enum { COPIER_REGISTERS = 40, GATHERER_REGISTERS = 88, REGISTERS = 232, REGISTERS_BESIDE_GATHERS = 208, LAG = 2 };
enum { ATOM_BYTES = LINE * TILE_K * ELEMENT_BYTES };

static bool gathers(const ProductPrinter *at, const ProductPass *pass, int number) {
    return product_operand(at, pass, number)->gather != FORM_NONE;
}

static bool pass_gathers(const ProductPrinter *at, const ProductPass *pass) {
    bool is = false;
    for (int i = -1; i < pass->n_rhs; i++)
        is = is || gathers(at, pass, i);
    return is;
}

static bool any_gathers(const ProductPrinter *at) {
    bool is = false;
    for (int i = 0; i < at->n_passes; i++)
        is = is || pass_gathers(at, &at->passes[i]);
    return is;
}

/* Whether the copy engine brings an operand of it. */
static bool pass_has_maps(const ProductPrinter *at, const ProductPass *pass) {
    bool has = false;
    for (int i = -1; i < pass->n_rhs; i++)
        has = has || !gathers(at, pass, i);
    return has;
}

bool product_can_sm90(const Form *form, const FormCudaOptions *options) {
    if (!product_can_copy(form, options))
        return false;
    for (int i = 0; i < form->n_products; i++) {
        const FormOperand *lhs = &form->operands[form->products[i].lhs], *rhs = &form->operands[form->products[i].rhs];
        if (lhs->group_stride != 0 || (rhs->group_stride != 0 && form->ragged != FORM_RAGGED_ROWS) ||
            rhs->group_stride < 0)
            return false;
    }
    return true;
}

/* ---- Shared memory ---------------------------------------------------------------------------------------------- */

static int64_t stage_bytes(const ProductPrinter *at) {
    return ((int64_t)product_tile_elements(at, -1) + (int64_t)at->most_rhs * product_tile_elements(at, 0)) *
           ELEMENT_BYTES;
}

static int64_t tile_bytes(const ProductPrinter *at, int number) {
    return (int64_t)product_tile_elements(at, number) * ELEMENT_BYTES;
}

/* "shared + stage * 49152 + 16384" */
static const char *tile_text(const ProductPrinter *at, int number) {
    int64_t first = number < 0 ? 0 : tile_bytes(at, -1) + number * tile_bytes(at, 0);
    return arena_printf(at->c->arena, "shared + stage * %lld + %lld", (long long)stage_bytes(at), (long long)first);
}

/* ---- Tensor maps ------------------------------------------------------------------------------------------------ */

/* Along k: [k, side] in boxes of 64 x the tile's rows or columns. Else [side, k] in boxes of 64 x 64. Behind them the
   groups, where each has a matrix. */
static void add_map(ProductPrinter *at, const ProductPass *pass, int number) {
    int operand_number = number < 0 ? pass->lhs : pass->rhs[number];
    const FormOperand *operand = &at->form->operands[operand_number];
    bool is_k = product_k_is_minor(at, operand);
    int64_t side = number < 0 ? form_operand_side(at->form, true) : form_n_cols(&at->form->body);
    if (at->maps[operand_number] >= 0 || operand->gather != FORM_NONE)
        return;
    FormCudaMap map = {.arg = operand->arg,
                       .offset = operand->offset,
                       .rank = 2,
                       .extents = {is_k ? pass->k : side, is_k ? side : pass->k},
                       .strides = {1, is_k ? operand->stride : operand->k_stride},
                       .box = {LINE, is_k ? (number < 0 ? at->n_tile_rows : at->n_tile_cols) : TILE_K},
                       .swizzle = LINE * ELEMENT_BYTES};
    if (operand->group_stride != 0) {
        map.rank = 3;
        map.extents[2] = at->form->n_groups;
        map.strides[2] = operand->group_stride;
        map.box[2] = 1;
    }
    at->maps[operand_number] = (int)cuda_add_map(at->cuda, map);
}

static void add_maps(ProductPrinter *at) {
    for (int i = 0; i < FORM_MAX_OPERANDS; i++)
        at->maps[i] = -1;
    for (int i = 0; i < at->n_passes; i++) {
        for (int number = -1; number < at->passes[i].n_rhs; number++)
            add_map(at, &at->passes[i], number);
    }
}

/* ---- Copying ---------------------------------------------------------------------------------------------------- */

/* One box, or as many as the tile has lines of. */
static void print_load(const ProductPrinter *at, const ProductPass *pass, int number) {
    CPrinter *c = at->c;
    const FormOperand *operand = product_operand(at, pass, number);
    int map = at->maps[number < 0 ? pass->lhs : pass->rhs[number]],
        n_side = number < 0 ? at->n_tile_rows : at->n_tile_cols;
    const char *side = number < 0 ? "row" : "col", *tile = tile_text(at, number);
    bool has_groups = operand->group_stride != 0;
    const char *rank = has_groups ? "3d" : "2d", *group = has_groups ? ", group" : "";
    if (product_k_is_minor(at, operand)) {
        c_line(c, "moec_tma_load_%s(%s, maps + %d, (int)k_at, (int)%s_at%s, &full[stage]);", rank, tile, map, side,
               group);
        return;
    }
    for (int i = 0; i < n_side / LINE; i++)
        c_line(c, "moec_tma_load_%s(%s, maps + %d, (int)%s_at + %d, (int)k_at%s, &full[stage]);", rank,
               arena_printf(c->arena, "%s + %d", tile, i * ATOM_BYTES), map, side, i * LINE, group);
}

static void print_loads(const ProductPrinter *at, const ProductPass *pass) {
    int64_t n_bytes = 0;
    for (int i = -1; i < pass->n_rhs; i++)
        n_bytes += gathers(at, pass, i) ? 0 : tile_bytes(at, i);
    c_line(at->c, "moec_barrier_expect(&full[stage], %lld);", (long long)n_bytes);
    for (int i = -1; i < pass->n_rhs; i++) {
        if (!gathers(at, pass, i))
            print_load(at, pass, i);
    }
}

static void print_next_stage(const ProductPrinter *at) {
    c_open(at->c, "if (++stage == %d)", at->n_stages);
    c_line(at->c, "stage = 0;");
    c_line(at->c, "parity ^= 1;");
    c_close(at->c);
}

/* What a thread has copied is there once it has waited for it, and the tensor cores see it behind a fence. */
static void print_arrival(const ProductPrinter *at, const char *stage) {
    c_line(at->c, "moec_fence_async();");
    c_line(at->c, "__syncwarp();");
    c_line(at->c, "if (lane == 0)");
    c_line(at->c, "    moec_barrier_arrive(&full[%s]);", stage);
}

/* Of a pass with gathers a stage is full when the copy engine and all four warps say so; of one without, by a block
   whose other passes have some, the warps say so at once. */
static void print_copy_pass(const ProductPrinter *at, const ProductPass *pass, bool all_copy) {
    CPrinter *c = at->c;
    c_line(c, "{");
    c->depth++;
    product_print_parts(at, pass);
    for (int i = -1; i < pass->n_rhs; i++) {
        if (gathers(at, pass, i))
            product_print_lines(at, pass, i, GROUP_THREADS);
    }
    c_line(c, "#pragma unroll 1"); /* a loop over few parts would take more registers than copying has */
    c_open(c, "for (int part = 0; part < n_parts; part++)");
    c_line(c, "%s k_at = k_first + part * %d;", at->cuda->int_type, TILE_K);
    c_line(c, "moec_barrier_wait(&empty[stage], parity ^ 1);");
    if (all_copy) {
        c_open(c, "if (threadIdx.x == 0)");
        if (pass_has_maps(at, pass))
            print_loads(at, pass);
        else
            c_line(c, "moec_barrier_arrive(&full[stage]);");
        c_close(c);
        for (int i = -1; i < pass->n_rhs; i++) {
            if (gathers(at, pass, i))
                product_print_copy(at, pass, i, arena_printf(c->arena, "(uint16_t *)(%s)", tile_text(at, i)),
                                   GROUP_THREADS);
        }
        for (int i = -1; i < pass->n_rhs; i++)
            product_print_next_lines(at, pass, i, "k_at + 64", GROUP_THREADS);
        c_line(c, "moec_copy_async_commit();");
        c_open(c, "if (n_issued++ >= %d)", LAG);
        c_line(c, "MOEC_COPY_ASYNC_WAIT(%d);", LAG);
        print_arrival(at, arena_printf(c->arena, "(stage + %d) %% %d", at->n_stages - LAG, at->n_stages));
        c_close(c);
    } else {
        print_loads(at, pass);
    }
    print_next_stage(at);
    c_close(c);
    c_close(c);
}

/* The parts that are still on their way at the end. */
static void print_last_arrivals(const ProductPrinter *at) {
    CPrinter *c = at->c;
    c_line(c, "MOEC_COPY_ASYNC_WAIT(0);");
    c_open(c, "for (int n_left = n_issued < %d ? n_issued : %d; n_left > 0; n_left--)", LAG, LAG);
    print_arrival(at, arena_printf(c->arena, "(stage + %d - n_left) %% %d", at->n_stages, at->n_stages));
    c_close(c);
}

static void print_producer(const ProductPrinter *at) {
    CPrinter *c = at->c;
    bool all_copy = any_gathers(at);
    c_line(c, "MOEC_REGISTERS_DEC(%d);", all_copy ? GATHERER_REGISTERS : COPIER_REGISTERS);
    if (!all_copy)
        c_open(c, "if (threadIdx.x == 0)");
    if (all_copy && at->cuda->out->n_maps > 0)
        c_line(c, "if (threadIdx.x == 0)");
    for (size_t i = 0; i < at->cuda->out->n_maps && !all_copy; i++)
        c_line(c, "moec_tma_prefetch(maps + %zu);", i);
    if (all_copy && at->cuda->out->n_maps > 0) {
        c_line(c, "    for (int i = 0; i < %zu; i++)", at->cuda->out->n_maps);
        c_line(c, "        moec_tma_prefetch(maps + i);");
    }
    c_line(c, all_copy ? "int stage = 0, parity = 0, n_issued = 0;" : "int stage = 0, parity = 0;");
    product_open_tiles(at);
    for (int i = 0; i < at->n_passes; i++)
        print_copy_pass(at, &at->passes[i], all_copy);
    c_close(c);
    if (all_copy)
        print_last_arrivals(at);
    else
        c_close(c);
}

/* ---- Multiplying ------------------------------------------------------------------------------------------------ */

/* Of the last part of a group's k, lines behind its end are the next group's, or what is left of a product before: both
   operands' must be zero, since zero times NaN is NaN. */
static void print_zeros(const ProductPrinter *at, const ProductPass *pass) {
    CPrinter *c = at->c;
    c_open(c, "if (k_end - k_first - part * %d < %d)", TILE_K, TILE_K);
    c_line(c, "const uint4 zero = {0, 0, 0, 0};");
    c_line(c, "int n_left = (int)(k_end - k_first) - part * %d;", TILE_K);
    for (int number = -1; number < pass->n_rhs; number++) {
        int n_atoms = (number < 0 ? at->n_tile_rows : at->n_tile_cols) / LINE;
        if (gathers(at, pass, number))
            continue; /* zeros are copied */
        c_open(c, "for (int i = (int)threadIdx.x - %d; i < (%d - n_left) * %d; i += %d)", GROUP_THREADS, TILE_K,
               8 * n_atoms, N_CONSUMERS * GROUP_THREADS);
        c_line(c, "int line = n_left + i / %d, chunk = i %% %d;", 8 * n_atoms, 8 * n_atoms);
        c_line(c, "*(uint4 *)MOEC_ALIGNED(%s + chunk / 8 * %d + line * %d + chunk %% 8 * 16) = zero;",
               tile_text(at, number), ATOM_BYTES, LINE * ELEMENT_BYTES);
        c_close(c);
    }
    c_line(c, "moec_fence_async();");
    c_line(c, "moec_named_barrier(1, %d);", N_CONSUMERS * GROUP_THREADS);
    c_close(c);
}

/* Of 16 of the part's k from k on. Along k, 8 lines are 1024 bytes, and 16 k are 32 bytes of them; else 16 k are 16
   lines. */
static const char *descriptor_text(const ProductPrinter *at, const ProductPass *pass, int number) {
    bool is_k = product_k_is_minor(at, product_operand(at, pass, number));
    const char *tile = tile_text(at, number);
    int group_bytes = is_k ? GROUP_ROWS * LINE * ELEMENT_BYTES : ATOM_BYTES;
    if (number < 0)
        tile = arena_printf(at->c->arena, "%s + (warpgroup - 1) * %d", tile, group_bytes);
    return arena_printf(at->c->arena, "moec_matrix_descriptor(%s + k * %d, %d, 1024)", tile,
                        is_k ? ELEMENT_BYTES : LINE * ELEMENT_BYTES, is_k ? 0 : ATOM_BYTES);
}

static void print_products(const ProductPrinter *at, const ProductPass *pass) {
    CPrinter *c = at->c;
    bool is_lhs_k = product_k_is_minor(at, product_operand(at, pass, -1));
    c_line(c, "moec_wgmma_fence();");
    c_line(c, "#pragma unroll");
    c_open(c, "for (int k = 0; k < %d; k += 16)", TILE_K);
    c_line(c, "uint64_t a = %s;", descriptor_text(at, pass, -1));
    for (int i = 0; i < pass->n_rhs; i++) {
        bool is_k = product_k_is_minor(at, product_operand(at, pass, i));
        const char *ways[2][2] = {{"", "_tb"}, {"_ta", "_tatb"}};
        c_line(c, "moec_wgmma_n%d%s(sums_%d, a, %s, %s);", at->n_tile_cols, ways[!is_lhs_k][!is_k], pass->results[i],
               descriptor_text(at, pass, i), pass->is_first[i] ? "part > 0 || k > 0" : "1");
    }
    c_close(c);
    c_line(c, "moec_wgmma_commit();");
}

/* A stage is empty once both warpgroups' products have been waited for, by each warp. */
static void print_release(const ProductPrinter *at) {
    c_line(at->c, "if (lane == 0)");
    c_line(at->c, "    moec_barrier_arrive(&empty[(stage + %d) %% %d]);", at->n_stages - 1, at->n_stages);
}

static void print_multiply_pass(const ProductPrinter *at, const ProductPass *pass) {
    CPrinter *c = at->c;
    c_line(c, "{");
    c->depth++;
    product_print_parts(at, pass);
    c_line(c, "#pragma unroll 1"); /* registers are for the sums */
    c_open(c, "for (int part = 0; part < n_parts; part++)");
    c_line(c, "moec_barrier_wait(&full[stage], parity);");
    if (at->form->ragged == FORM_RAGGED_K && pass_has_maps(at, pass))
        print_zeros(at, pass);
    print_products(at, pass);
    c_open(c, "if (part > 0)");
    c_line(c, "MOEC_WGMMA_WAIT(1);");
    print_release(at);
    c_close(c);
    print_next_stage(at);
    c_close(c);
    c_line(c, "MOEC_WGMMA_WAIT(0);");
    for (int i = 0; i < pass->n_rhs; i++)
        c_line(c, "moec_wgmma_hold(sums_%d, %d);", pass->results[i], at->n_tile_cols / 2);
    if (at->form->ragged == FORM_RAGGED_K)
        c_open(c, "if (n_parts > 0)");
    print_release(at);
    if (at->form->ragged == FORM_RAGGED_K)
        c_close(c);
    c_close(c);
}

static void print_consumers(const ProductPrinter *at) {
    CPrinter *c = at->c;
    int n_sums = at->n_tile_cols / 2;
    c_line(c, "MOEC_REGISTERS_INC(%d);", any_gathers(at) ? REGISTERS_BESIDE_GATHERS : REGISTERS);
    c_line(c, "int stage = 0, parity = 0;");
    for (int i = 0; i < at->form->n_results; i++)
        c_line(c, "float sums_%d[%d];", i, n_sums);
    product_open_tiles(at);
    for (int i = 0; i < at->n_passes; i++)
        print_multiply_pass(at, &at->passes[i]);
    if (at->form->ragged == FORM_RAGGED_K) { /* a group without any k */
        c_open(c, "if (group_first == group_end)");
        c_line(c, "#pragma unroll");
        c_open(c, "for (int i = 0; i < %d; i++)", n_sums);
        for (int i = 0; i < at->form->n_results; i++)
            c_line(c, "sums_%d[i] = 0.0f;", i);
        c_close(c);
        c_close(c);
    }
    product_print_results(
        at, (ProductFragments){.row = arena_printf(c->arena, "(warpgroup - 1) * %d + warp * 16 + lane / 4", GROUP_ROWS),
                               .col = "lane % 4 * 2",
                               .n_blocks = 1,
                               .block_rows = GROUP_ROWS,
                               .n_groups = at->n_tile_cols / 8});
    c_close(c);
}

/* ---- The kernel ------------------------------------------------------------------------------------------------- */

static void print_barriers(const ProductPrinter *at) {
    CPrinter *c = at->c;
    c_open(c, "if (threadIdx.x == 0)");
    c_open(c, "for (int i = 0; i < %d; i++)", at->n_stages);
    c_line(c, "moec_barrier_init(&full[i], %d);", any_gathers(at) ? 1 + GROUP_THREADS / CUDA_WARP : 1);
    c_line(c, "moec_barrier_init(&empty[i], %d);", N_CONSUMERS * GROUP_THREADS / CUDA_WARP);
    c_close(c);
    c_line(c, "moec_barrier_init_fence();");
    c_close(c);
    c_line(c, "__syncthreads();");
}

void product_print_sm90(ProductPrinter *at) {
    CPrinter *c = at->c;
    assert(at->n_tile_rows == N_CONSUMERS * GROUP_ROWS && at->n_tile_cols % LINE == 0);
    assert(at->n_stages > LAG + 1);
    add_maps(at);
    cuda_open_kernel(at->cuda, product_n_tiles(at), N_THREADS);
    FormCudaLaunch *launch = &at->cuda->out->launches[0];
    launch->shared_bytes = at->n_stages * (stage_bytes(at) + 2 * (int64_t)sizeof(uint64_t));
    launch->n_resident = 1;
    c_line(c, "MOEC_DYNAMIC_SHARED(shared);");
    c_line(c, "uint64_t *full = (uint64_t *)(shared + %lld), *empty = full + %d;",
           (long long)stage_bytes(at) * at->n_stages, at->n_stages);
    c_line(c,
           "int warpgroup = (int)threadIdx.x / %d, warp = (int)threadIdx.x / 32 %% 4, lane = (int)threadIdx.x %% 32;",
           GROUP_THREADS);
    print_barriers(at);
    c_open(c, "if (warpgroup == 0)");
    print_producer(at);
    c_close(c);
    c_open(c, "if (warpgroup > 0)");
    print_consumers(at);
    c_close(c);
    c_close(c);
}
