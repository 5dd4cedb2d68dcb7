#include "runtime/gemm_plan.h"

#include <assert.h>
#include <string.h>
#include <unistd.h>

/* ---- The machine ------------------------------------------------------------------------------------------------ */

/* Bytes of a cache, as the system says, held to what a share of a common machine has. Asking it is slow in a virtual
   machine, so it is asked once; threads that ask at once get the same. */
static int64_t cache_bytes(int name, int64_t *known, int64_t least, int64_t most) {
    int64_t n_bytes = __atomic_load_n(known, __ATOMIC_RELAXED);
    if (n_bytes == 0) {
        n_bytes = sysconf(name);
        n_bytes = n_bytes < least ? least : n_bytes > most ? most : n_bytes;
        __atomic_store_n(known, n_bytes, __ATOMIC_RELAXED);
    }
    return n_bytes;
}

static int64_t second_cache_floats(void) {
    static int64_t known;
    return cache_bytes(_SC_LEVEL2_CACHE_SIZE, &known, 256 << 10, 4 << 20) / (int64_t)sizeof(float);
}

static int64_t last_cache_floats(void) {
    static int64_t known;
    return cache_bytes(_SC_LEVEL3_CACHE_SIZE, &known, 8 << 20, 64 << 20) / (int64_t)sizeof(float);
}

static int64_t ceil_div(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* ---- Calls and groups ------------------------------------------------------------------------------------------- */

static bool same_operand(const MoecGemmOperand *a, const MoecGemmOperand *b) {
    return a->data == b->data && a->packed == b->packed && a->stride == b->stride && a->k_stride == b->k_stride &&
           a->group_stride == b->group_stride && a->gather == b->gather && a->gather_divisor == b->gather_divisor &&
           a->load == b->load;
}

/* Which of the first *n_slots products has the same operand; a new slot where none does. */
static int find_slot(const MoecGemm *gemm, int product, bool is_lhs, int *slot_product, int *n_slots) {
    const MoecGemmProduct *products = gemm->products;
    for (int slot = 0; slot < *n_slots; slot++) {
        const MoecGemmProduct *other = &products[slot_product[slot]];
        if (other->k == products[product].k &&
            same_operand(is_lhs ? &other->lhs : &other->rhs, is_lhs ? &products[product].lhs : &products[product].rhs))
            return slot;
    }
    slot_product[*n_slots] = product;
    return (*n_slots)++;
}

GemmCall gemm_call(const MoecGemm *gemm, int n_threads) {
    GemmCall call = {.gemm = gemm, .kernels = gemm_kernels(gemm->precision), .n_threads = n_threads};
    call.width = 2 * call.kernels->n_lanes;
    call.n_panels = ceil_div(gemm->n_cols, call.width);
    for (int p = 0; p < gemm->n_products; p++) {
        call.lhs_slot[p] = find_slot(gemm, p, true, call.lhs_product, &call.n_lhs);
        call.rhs_slot[p] = find_slot(gemm, p, false, call.rhs_product, &call.n_rhs);
    }
    return call;
}

static int64_t n_blocks_of(int64_t n_units) {
    return ceil_div(n_units, GEMM_BLOCK_UNITS);
}

GemmGroup gemm_group(const GemmCall *call, int64_t index) {
    const MoecGemm *gemm = call->gemm;
    GemmGroup group = {.group = index, .n_rows = gemm->n_rows};
    int64_t start = gemm->offsets ? gemm->offsets[index] : 0;
    int64_t n = gemm->offsets ? gemm->offsets[index + 1] - start : 0;
    if (gemm->ragged == MOEC_GEMM_ROWS) {
        group.first_row = start;
        group.n_rows = n;
    }
    for (int p = 0; p < gemm->n_products; p++) {
        group.first_k[p] = gemm->ragged == MOEC_GEMM_K ? start : 0;
        group.n_k[p] = gemm->ragged == MOEC_GEMM_K ? n : gemm->products[p].k;
        group.n_units[p] = gemm_units(call->kernels, group.n_k[p]);
        int64_t n_blocks = n_blocks_of(group.n_units[p]);
        group.n_blocks = n_blocks > group.n_blocks ? n_blocks : group.n_blocks;
    }
    group.n_panels = ceil_div(group.n_rows, call->kernels->n_rows);
    return group;
}

void gemm_block(const GemmGroup *group, int product, int64_t block, int64_t *first, int64_t *n) {
    int64_t n_units = group->n_units[product], n_blocks = n_blocks_of(n_units);
    int64_t length = n_blocks > 0 ? ceil_div(n_units, n_blocks) : 0;
    *first = block * length;
    *n = block < n_blocks ? least(length, n_units - *first) : 0;
}

GemmGroup gemm_round_group(const GemmCall *call, const GemmRound *round, int64_t index) {
    GemmGroup group = gemm_group(call, index), pass = group;
    if (call->gemm->epilogue)
        return group;
    pass.n_blocks = round->block < group.n_blocks;
    if (round->block > 0 && pass.n_blocks == 0)
        pass.n_rows = pass.n_panels = 0;
    for (int p = 0; p < call->gemm->n_products; p++) {
        int64_t first, unit = call->kernels->unit;
        gemm_block(&group, p, round->block, &first, &pass.n_units[p]);
        pass.first_k[p] += first * unit;
        pass.n_k[p] = least(pass.n_units[p] * unit, group.n_k[p] - first * unit);
        if (pass.n_units[p] == 0)
            pass.n_k[p] = 0;
    }
    return pass;
}

int64_t gemm_panel_width(const GemmCall *call, int64_t panel) {
    return call->gemm->n_cols - panel * call->width > call->kernels->n_lanes ? call->width : call->kernels->n_lanes;
}

int64_t gemm_packed_floats(const GemmCall *call, int64_t n_units) {
    int64_t last = call->n_panels - 1;
    return (last * call->width + gemm_panel_width(call, last)) * n_units;
}

/* ---- Rounds ----------------------------------------------------------------------------------------------------- */

int64_t gemm_slot_floats(const GemmCall *call, const GemmRound *round, const GemmGroup *group, int slot) {
    if (group->n_rows == 0 || call->gemm->products[call->rhs_product[slot]].rhs.packed)
        return 0;
    int64_t last = round->end_panel - 1;
    int64_t n_columns = (last - round->first_panel) * call->width + gemm_panel_width(call, last);
    return n_columns * group->n_units[call->rhs_product[slot]];
}

int64_t gemm_rhs_floats(const GemmCall *call, const GemmRound *round, const GemmGroup *group) {
    int64_t n_floats = 0;
    for (int slot = 0; slot < call->n_rhs; slot++)
        n_floats += gemm_slot_floats(call, round, group, slot);
    return n_floats;
}

/* rhs is written once and read by all threads many times, from the last cache. A small part of that: rounds use the
   same memory again, which so is never written back, and what else is in the cache stays. */
static int64_t round_floats(void) {
    return last_cache_floats() / 8;
}

/* Passes over k, the first of which is the longest, that groups of a round take. */
static void set_blocks(const GemmCall *call, GemmRound *round) {
    round->n_blocks = 1;
    for (int64_t index = round->first_group; index < round->end_group && !call->gemm->epilogue; index++) {
        int64_t n_blocks = gemm_group(call, index).n_blocks;
        round->n_blocks = n_blocks > round->n_blocks ? n_blocks : round->n_blocks;
    }
}

/* As many whole groups from first_group on as fit. */
static GemmRound take_groups(const GemmCall *call, int64_t first_group) {
    GemmRound round = {.first_group = first_group, .end_group = first_group, .end_panel = call->n_panels};
    int64_t left = round_floats();
    while (round.end_group < call->gemm->n_groups) {
        GemmGroup group = gemm_round_group(call, &round, round.end_group);
        left -= gemm_rhs_floats(call, &round, &group);
        if (left < 0)
            break;
        round.end_group++;
    }
    set_blocks(call, &round);
    return round;
}

/* As many panels of one group as fit, equal shares of it, from first_panel on. */
static GemmRound take_panels(const GemmCall *call, int64_t index, int64_t first_panel) {
    GemmRound round = {.first_group = index, .end_group = index + 1, .end_panel = call->n_panels};
    GemmGroup group = gemm_round_group(call, &round, index);
    int64_t n_rounds = ceil_div(gemm_rhs_floats(call, &round, &group), round_floats());
    assert(n_rounds > 0); /* what fits is a round of whole groups */
    round.first_panel = first_panel;
    round.end_panel = least(first_panel + ceil_div(call->n_panels, n_rounds), call->n_panels);
    set_blocks(call, &round);
    return round;
}

bool gemm_next_round(const GemmCall *call, GemmRound *round) {
    if (round->block + 1 < round->n_blocks) {
        round->block++;
        return true;
    }
    if (round->end_panel > 0 && round->end_panel < call->n_panels) {
        *round = take_panels(call, round->first_group, round->end_panel);
        return true;
    }
    if (round->end_group == call->gemm->n_groups)
        return false;
    GemmRound groups = take_groups(call, round->end_group);
    *round = groups.end_group > groups.first_group ? groups : take_panels(call, groups.first_group, 0);
    return true;
}

/* ---- Pieces ----------------------------------------------------------------------------------------------------- */

enum {
    MOST_ROW_PANELS = 16,      /* of lhs in a piece */
    MOST_TILE_ROW_PANELS = 40, /* the same where threads pack tiles */
    MOST_COLUMN_PANELS = 8,    /* of a tile: an epilogue's rows stay in the nearest cache */
    PIECES_PER_THREAD = 4
};

bool gemm_packs_tiles(const GemmCall *call) {
    int64_t n_columns = call->n_panels * call->width;
    for (int64_t index = 0; index < call->gemm->n_groups; index++) {
        GemmGroup group = gemm_group(call, index);
        int64_t n_floats = 0;
        for (int slot = 0; slot < call->n_lhs; slot++)
            n_floats += group.n_units[call->lhs_product[slot]] * group.n_rows;
        if (group.n_panels > MOST_TILE_ROW_PANELS || n_floats > 3 * second_cache_floats() || group.n_rows > n_columns)
            return false;
    }
    return call->n_panels >= 2 * call->n_threads;
}

bool gemm_has_many_groups(const GemmCall *call) {
    return call->gemm->n_groups >= (int64_t)call->n_threads * PIECES_PER_THREAD;
}

int64_t gemm_round_panels(const GemmCall *call, const GemmRound *round) {
    int64_t n = 0;
    for (int64_t index = round->first_group; index < round->end_group; index++)
        n += gemm_round_group(call, round, index).n_panels;
    return n;
}

int64_t gemm_parts(const GemmCall *call, const GemmRound *round, int64_t n_row_panels) {
    int64_t n_pieces = call->n_threads > 1 ? (int64_t)call->n_threads * PIECES_PER_THREAD : 1;
    int64_t n_columns = round->end_panel - round->first_panel;
    return n_row_panels == 0 || n_row_panels >= n_pieces ? 1 : least(ceil_div(n_pieces, n_row_panels), n_columns);
}

int64_t gemm_piece_panels(const GemmCall *call, const GemmGroup *group, int64_t n_left) {
    int64_t n_floats = 1;
    for (int slot = 0; slot < call->n_lhs; slot++)
        n_floats += group->n_units[call->lhs_product[slot]] * call->kernels->n_rows;
    int64_t most = least(2 * second_cache_floats() / n_floats, MOST_ROW_PANELS);
    return most < 1 ? 1 : ceil_div(n_left, ceil_div(n_left, most));
}

int64_t gemm_tile_panels(const GemmCall *call, const GemmGroup *group, int64_t n_panels) {
    int64_t n_floats = 1;
    for (int p = 0; p < call->gemm->n_products; p++)
        n_floats += least(group->n_units[p], GEMM_BLOCK_UNITS) * call->width;
    int64_t most = least(second_cache_floats() * 5 / 8 / n_floats, MOST_COLUMN_PANELS);
    return most < 1 ? 1 : ceil_div(n_panels, ceil_div(n_panels, most));
}
