/* Matrix products: a round's rhs is packed by all threads together, then each computes pieces of the results
   (runtime/gemm_plan.h). Which thread computes what is decided as they go, and changes no bit: an element's sum runs
   over k in the same passes, and in one order within each, in a tile of any size. */
#include "runtime/gemm.h"

#include <omp.h>
#include <string.h>

#include "runtime/gemm_blas.h"
#include "runtime/gemm_plan.h"
#include "runtime/gemm_workspace.h"

/* What threads claim in a round, in places that do not share a line of cache. */
typedef struct {
    _Alignas(64) int64_t next_job; /* of packing rhs */
    _Alignas(64) int64_t next_panel;
} Claims;

typedef struct {
    GemmCall call;
    float *rhs;
    Claims claims[2]; /* rounds take turns */
} Team;

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static int64_t ceil_div(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

/* ---- Packing rhs ------------------------------------------------------------------------------------------------ */

/* What is packed at a time: long parts of lines, whichever way they lie. */
typedef struct {
    int64_t n_panels, n_k;
} JobSize;

static JobSize job_size(const GemmCall *call, int slot) {
    const MoecGemmOperand *rhs = &call->gemm->products[call->rhs_product[slot]].rhs;
    return gemm_lines_are_rows(call->gemm, rhs) ? (JobSize){4, 256} : (JobSize){GEMM_PACK_PANELS, 64};
}

/* Jobs of one slot of a group. */
static int64_t count_jobs(const GemmCall *call, const GemmRound *round, const GemmGroup *group, int slot) {
    if (call->gemm->products[call->rhs_product[slot]].rhs.packed)
        return 0;
    JobSize size = job_size(call, slot);
    return ceil_div(round->end_panel - round->first_panel, size.n_panels) *
           ceil_div(group->n_k[call->rhs_product[slot]], size.n_k);
}

/* Packs job number `job` of one slot of a group, whose panels start at `out`. */
static void pack_job(const Team *team, const GemmRound *round, const GemmGroup *group, int slot, float *out,
                     int64_t job) {
    const GemmCall *call = &team->call;
    int product = call->rhs_product[slot];
    GemmSource source = {call->gemm, call->kernels, &call->gemm->products[product].rhs, false};
    JobSize size = job_size(call, slot);
    int64_t n_k = group->n_k[product], n_units = group->n_units[product], n_parts = ceil_div(n_k, size.n_k);
    int64_t k = job % n_parts * size.n_k, panel = round->first_panel + job / n_parts * size.n_panels;
    int n_panels = (int)least(size.n_panels, round->end_panel - panel);
    GemmPanel panels[GEMM_PACK_PANELS];
    for (int i = 0; i < n_panels; i++) {
        int64_t row = (panel + i) * call->width, width = gemm_panel_width(call, panel + i);
        float *panel_start = out + (panel + i - round->first_panel) * call->width * n_units;
        panels[i] = (GemmPanel){row, least(call->gemm->n_cols - row, call->width),
                                panel_start + k / call->kernels->unit * width, width};
    }
    gemm_pack(&source, group->group, panels, n_panels, group->first_k[product] + k, least(size.n_k, n_k - k));
}

static void pack_rhs(Team *team, const GemmRound *round, Claims *claims) {
    const GemmCall *call = &team->call;
    int64_t first_job = 0, job = __atomic_fetch_add(&claims->next_job, 1, __ATOMIC_RELAXED);
    float *out = team->rhs;
    for (int64_t index = round->first_group; index < round->end_group; index++) {
        GemmGroup group = gemm_round_group(call, round, index);
        for (int slot = 0; slot < call->n_rhs && group.n_rows > 0; slot++) {
            int64_t n_jobs = count_jobs(call, round, &group, slot);
            for (; job < first_job + n_jobs; job = __atomic_fetch_add(&claims->next_job, 1, __ATOMIC_RELAXED))
                pack_job(team, round, &group, slot, out, job - first_job);
            first_job += n_jobs;
            out += gemm_slot_floats(call, round, &group, slot);
        }
    }
}

/* ---- One piece -------------------------------------------------------------------------------------------------- */

/* Panels [first_row_panel, end_row_panel) of a group's rows by panels [first_panel, end_panel) of columns. */
typedef struct {
    const GemmCall *call;
    const GemmRound *round;
    const GemmGroup *group;
    const float *rhs; /* of the group */
    float *lhs;       /* of the piece: for each slot, its panels */
    int64_t first_row_panel, end_row_panel, first_panel, end_panel;
} Piece;

static int64_t piece_rows(const Piece *piece) {
    return gemm_panel_row(piece->group, piece->end_row_panel) - gemm_panel_row(piece->group, piece->first_row_panel);
}

/* Floats of one slot of a piece's lhs: packing may write past a panel. */
static int64_t lhs_slot_floats(const Piece *piece, int slot) {
    return piece_rows(piece) * piece->group->n_units[piece->call->lhs_product[slot]] +
           (piece->end_row_panel - piece->first_row_panel) * GEMM_MAX_LANES;
}

static float *lhs_panel(const Piece *piece, int product, int64_t panel) {
    int64_t index = panel - piece->first_row_panel;
    int64_t row = gemm_panel_row(piece->group, panel) - gemm_panel_row(piece->group, piece->first_row_panel);
    float *lhs = piece->lhs + row * piece->group->n_units[product] + index * GEMM_MAX_LANES;
    for (int slot = 0; slot < piece->call->lhs_slot[product]; slot++)
        lhs += lhs_slot_floats(piece, slot);
    return lhs;
}

/* One slot of panels of rows [first, end). */
static void pack_lhs_panels(const Piece *piece, int slot, int64_t first, int64_t end) {
    const GemmGroup *group = piece->group;
    int product = piece->call->lhs_product[slot];
    GemmSource source = {piece->call->gemm, piece->call->kernels, &piece->call->gemm->products[product].lhs, true};
    GemmPanel panels[GEMM_PACK_PANELS];
    for (int64_t index = first; index < end; index++) {
        int64_t row = gemm_panel_row(group, index), n_rows = gemm_panel_row(group, index + 1) - row;
        panels[index - first] = (GemmPanel){group->first_row + row, n_rows, lhs_panel(piece, product, index), n_rows};
    }
    gemm_pack(&source, group->group, panels, (int)(end - first), group->first_k[product], group->n_k[product]);
}

static void pack_lhs(const Piece *piece) {
    for (int slot = 0; slot < piece->call->n_lhs; slot++) {
        for (int64_t first = piece->first_row_panel; first < piece->end_row_panel; first += GEMM_PACK_PANELS)
            pack_lhs_panels(piece, slot, first, least(first + GEMM_PACK_PANELS, piece->end_row_panel));
    }
}

/* Columns [first_panel, end_panel) of a piece, and where their sums are if there is an epilogue: result r of row i of
   the piece, at sums + r * result_floats + i * ld. Where one pass does, all panels of rows use the first rows. */
typedef struct {
    int64_t first_panel, end_panel;
    float *sums;
    int64_t ld, result_floats;
} Tile;

/* Of one panel of rows: the first one, and how many. */
typedef struct {
    int64_t index;
    int64_t row, n_rows; /* of the group */
    int64_t sums_row;
} RowPanel;

static RowPanel row_panel(const Piece *piece, int64_t index) {
    int64_t row = gemm_panel_row(piece->group, index);
    RowPanel panel = {.index = index, .row = row, .n_rows = gemm_panel_row(piece->group, index + 1) - row};
    if (piece->group->n_blocks > 1)
        panel.sums_row = row - gemm_panel_row(piece->group, piece->first_row_panel);
    return panel;
}

/* Panels of a product's rhs from some panel on, which lie n_units apart for each of their columns; units of a pass. */
typedef struct {
    const float *first;
    int64_t n_units;
} RhsPanels;

static RhsPanels rhs_panels(const Piece *piece, int product, int64_t panel) {
    const GemmCall *call = piece->call;
    const GemmGroup *group = piece->group;
    const MoecGemmOperand *operand = &call->gemm->products[product].rhs;
    if (operand->packed) { /* all of k, whatever the pass */
        int64_t n_units = gemm_units(call->kernels, call->gemm->products[product].k);
        int64_t index = operand->group_stride ? group->group : 0;
        const float *panels = (const float *)operand->packed + index * gemm_packed_floats(call, n_units);
        int64_t first = group->first_k[product] / call->kernels->unit;
        return (RhsPanels){panels + panel * call->width * n_units + first * gemm_panel_width(call, panel), n_units};
    }
    const float *rhs = piece->rhs;
    for (int slot = 0; slot < call->rhs_slot[product]; slot++)
        rhs += gemm_slot_floats(call, piece->round, group, slot);
    int64_t n_units = group->n_units[product];
    return (RhsPanels){rhs + (panel - piece->round->first_panel) * call->width * n_units, n_units};
}

/* Whether a product before this one adds to the result in the pass at hand. */
static bool has_sum(const Piece *piece, int end_product, int result) {
    const MoecGemmProduct *products = piece->call->gemm->products;
    for (int p = 0; p < end_product; p++) {
        if (products[p].result == result && piece->group->n_units[p] > 0)
            return true;
    }
    return false;
}

/* The first element of a tile's results that a panel of rows starts with, without an epilogue. */
static float *result_at(const Piece *piece, const Tile *tile, RowPanel rows, const MoecGemmResult *result) {
    return result->out + piece->group->group * result->group_stride +
           (piece->group->first_row + rows.row) * result->stride + tile->first_panel * piece->call->width;
}

/* One pass of one product over a panel of rows and the columns of a tile. */
static void multiply_panel(const Piece *piece, const Tile *tile, RowPanel rows, int product, int64_t block) {
    const GemmCall *call = piece->call;
    const MoecGemm *gemm = call->gemm;
    const GemmGroup *group = piece->group;
    int64_t first, n;
    gemm_block(group, product, block, &first, &n);
    if (n == 0)
        return;
    const float *lhs = lhs_panel(piece, product, rows.index) + first * rows.n_rows;
    RhsPanels rhs = rhs_panels(piece, product, tile->first_panel);
    int index = gemm->products[product].result;
    const MoecGemmResult *result = &gemm->results[index];
    bool is_first = piece->round->block == 0 && block == 0 && !has_sum(piece, product, index);
    bool has_epilogue = gemm->epilogue;
    float beta = !is_first ? 1.0f : has_epilogue ? 0.0f : result->beta;
    int64_t ld = has_epilogue ? tile->ld : result->stride;
    float *out = has_epilogue ? tile->sums + index * tile->result_floats + rows.sums_row * ld
                              : result_at(piece, tile, rows, result);
    for (int64_t panel = tile->first_panel; panel < tile->end_panel; panel++) {
        int64_t width = gemm_panel_width(call, panel);
        int64_t n_cols = has_epilogue ? width : least(width, gemm->n_cols - panel * call->width);
        GemmTile *const *tiles = call->kernels->tiles[width / call->kernels->n_lanes - 1];
        tiles[rows.n_rows - 1](n, lhs, rhs.first + first * width, out, ld, beta, (int)n_cols);
        rhs.first += width * rhs.n_units;
        out += width;
    }
}

static void clear_rows(float *rows, int64_t ld, int64_t n_rows, int64_t n_cols) {
    for (int64_t i = 0; i < n_rows; i++)
        memset(rows + i * ld, 0, (size_t)n_cols * sizeof *rows);
}

/* Hands the sums of a panel of rows to the epilogue; sums over no k at all are 0. */
static void finish_panel(const Piece *piece, const Tile *tile, RowPanel rows) {
    const MoecGemm *gemm = piece->call->gemm;
    int64_t width = piece->call->width, col = tile->first_panel * width;
    MoecGemmTile result = {.group = piece->group->group,
                           .row = piece->group->first_row + rows.row,
                           .col = col,
                           .n_rows = rows.n_rows,
                           .n_cols = least(gemm->n_cols, tile->end_panel * width) - col,
                           .ld = tile->ld};
    for (int r = 0; r < gemm->n_results; r++) {
        result.sums[r] = tile->sums + r * tile->result_floats + rows.sums_row * tile->ld;
        if (!has_sum(piece, gemm->n_products, r))
            clear_rows(result.sums[r], tile->ld, result.n_rows, result.n_cols);
    }
    gemm->epilogue(gemm->args, &result);
}

/* out = beta * out, of results that have nothing to sum. */
static void scale_panel(const Piece *piece, const Tile *tile, RowPanel rows) {
    const MoecGemm *gemm = piece->call->gemm;
    int64_t width = piece->call->width;
    int64_t n_cols = least(gemm->n_cols, tile->end_panel * width) - tile->first_panel * width;
    for (int r = 0; r < gemm->n_results; r++) {
        const MoecGemmResult *result = &gemm->results[r];
        float *out = result_at(piece, tile, rows, result);
        if (has_sum(piece, gemm->n_products, r))
            continue;
        if (result->beta == 0.0f)
            clear_rows(out, result->stride, rows.n_rows, n_cols);
        for (int64_t i = 0; i < rows.n_rows && result->beta != 0.0f; i++) {
            for (int64_t j = 0; j < n_cols; j++)
                out[i * result->stride + j] *= result->beta;
        }
    }
}

static void compute_tile(const Piece *piece, const Tile *tile) {
    const MoecGemm *gemm = piece->call->gemm;
    int64_t n_blocks = piece->group->n_blocks, block = 0;
    do {
        for (int64_t index = piece->first_row_panel; index < piece->end_row_panel; index++) {
            RowPanel rows = row_panel(piece, index);
            for (int p = 0; p < gemm->n_products; p++)
                multiply_panel(piece, tile, rows, p, block);
            if (gemm->epilogue && block + 1 >= n_blocks)
                finish_panel(piece, tile, rows);
            else if (!gemm->epilogue && block == 0 && piece->round->block == 0)
                scale_panel(piece, tile, rows);
        }
    } while (++block < n_blocks);
}

/* Makes room for a piece's lhs and packs it. */
static void open_piece(Piece *piece) {
    int64_t n_floats = 0;
    for (int slot = 0; slot < piece->call->n_lhs; slot++)
        n_floats += lhs_slot_floats(piece, slot);
    piece->lhs = gemm_workspace(GEMM_BUFFER_LHS, n_floats);
    pack_lhs(piece);
}

static void compute_piece(Piece *piece) {
    const GemmCall *call = piece->call;
    const GemmGroup *group = piece->group;
    int64_t n_rows = piece_rows(piece);
    int64_t n_panels = gemm_tile_panels(call, group, piece->end_panel - piece->first_panel);
    Tile tile = {.ld = n_panels * call->width};
    tile.result_floats = (group->n_blocks > 1 ? n_rows : call->kernels->n_rows) * tile.ld;
    if (call->gemm->epilogue)
        tile.sums = gemm_workspace(GEMM_BUFFER_SUMS, call->gemm->n_results * tile.result_floats);
    for (int64_t panel = piece->first_panel; panel < piece->end_panel; panel += n_panels) {
        tile.first_panel = panel;
        tile.end_panel = least(panel + n_panels, piece->end_panel);
        compute_tile(piece, &tile);
    }
}

/* ---- All pieces of a round -------------------------------------------------------------------------------------- */

/* Panels of rows count on over groups, and again for each part of the columns. A thread's claims only grow, so it finds
   them by going forward. */
typedef struct {
    int64_t part, index, first; /* first: what the group's first panel counts as */
    GemmGroup group;
    const float *rhs;
} Cursor;

static void cursor_move(const Team *team, const GemmRound *round, Cursor *cursor, int64_t panel) {
    while (panel >= cursor->first + cursor->group.n_panels) {
        cursor->first += cursor->group.n_panels;
        cursor->rhs += gemm_rhs_floats(&team->call, round, &cursor->group);
        if (++cursor->index == round->end_group) {
            cursor->part++;
            cursor->index = round->first_group;
            cursor->rhs = team->rhs;
        }
        cursor->group = gemm_round_group(&team->call, round, cursor->index);
    }
}

/* Claims panels of one group, fewer towards the end so that all threads end at about the same time; how many there are,
   0 at the end. */
static int64_t claim_panels(const Team *team, const GemmRound *round, Claims *claims, Cursor *cursor, int64_t n_total,
                            int64_t *panel) {
    int64_t at = __atomic_load_n(&claims->next_panel, __ATOMIC_RELAXED), n;
    do {
        if (at >= n_total)
            return 0;
        cursor_move(team, round, cursor, at);
        n = gemm_piece_panels(&team->call, &cursor->group, cursor->first + cursor->group.n_panels - at);
        if (team->call.n_threads > 1)
            n = least(n, (n_total - at) / (2 * team->call.n_threads) + 1);
    } while (!__atomic_compare_exchange_n(&claims->next_panel, &at, at + n, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    *panel = at - cursor->first;
    return n;
}

static void multiply_round(const Team *team, const GemmRound *round, Claims *claims) {
    const GemmCall *call = &team->call;
    int64_t n_row_panels = gemm_round_panels(call, round), n_parts = gemm_parts(call, round, n_row_panels);
    int64_t n_columns = round->end_panel - round->first_panel, panel, n;
    Cursor cursor = {
        .index = round->first_group, .group = gemm_round_group(call, round, round->first_group), .rhs = team->rhs};
    while ((n = claim_panels(team, round, claims, &cursor, n_parts * n_row_panels, &panel)) > 0) {
        Piece piece = {.call = call, .round = round, .group = &cursor.group, .rhs = cursor.rhs};
        piece.first_row_panel = panel;
        piece.end_row_panel = panel + n;
        piece.first_panel = round->first_panel + cursor.part * n_columns / n_parts;
        piece.end_panel = round->first_panel + (cursor.part + 1) * n_columns / n_parts;
        open_piece(&piece);
        compute_piece(&piece);
    }
}

/* ---- Tiles that are packed where they are used ------------------------------------------------------------------- */

/* All of a round's rhs, of one group, by the calling thread. */
static void pack_tile(const Team *team, const GemmRound *round, const GemmGroup *group, float *out) {
    for (int slot = 0; slot < team->call.n_rhs; slot++) {
        int64_t n_jobs = count_jobs(&team->call, round, group, slot);
        for (int64_t job = 0; job < n_jobs; job++)
            pack_job(team, round, group, slot, out, job);
        out += gemm_slot_floats(&team->call, round, group, slot);
    }
}

/* Computes tile number `tile`, of `width` panels, of the columns of `rows`, all of a group's, which are packed. */
static void multiply_tile(Team *team, const Piece *rows, int64_t width, int64_t tile) {
    const GemmCall *call = &team->call;
    Piece piece = *rows;
    int64_t index = rows->group->group;
    GemmRound round = {.first_group = index,
                       .end_group = index + 1,
                       .first_panel = tile * width,
                       .end_panel = least((tile + 1) * width, call->n_panels)};
    float *rhs = gemm_workspace(GEMM_BUFFER_RHS, gemm_rhs_floats(call, &round, rows->group));
    pack_tile(team, &round, rows->group, rhs);
    piece.round = &round;
    piece.rhs = rhs;
    piece.first_panel = round.first_panel;
    piece.end_panel = round.end_panel;
    compute_piece(&piece);
}

static int64_t count_tiles(const GemmCall *call, const GemmGroup *group, int64_t *width) {
    *width = gemm_tile_panels(call, group, call->n_panels);
    return group->n_rows > 0 ? ceil_div(call->n_panels, *width) : 0;
}

/* Threads claim groups: of many, so that all end at about the same time. */
static void multiply_groups(Team *team) {
    const GemmCall *call = &team->call;
    int64_t index, width;
    while ((index = __atomic_fetch_add(&team->claims[0].next_panel, 1, __ATOMIC_RELAXED)) < call->gemm->n_groups) {
        GemmGroup group = gemm_group(call, index);
        Piece piece = {.call = call, .group = &group, .end_row_panel = group.n_panels};
        int64_t n_tiles = count_tiles(call, &group, &width);
        if (n_tiles > 0)
            open_piece(&piece);
        for (int64_t tile = 0; tile < n_tiles; tile++)
            multiply_tile(team, &piece, width, tile);
    }
}

/* Threads claim tiles of columns, group after group; rows of a group stay packed from one of its tiles to the next. */
static void multiply_tiles(Team *team) {
    const GemmCall *call = &team->call;
    int64_t packed_group = -1, index = 0, first = 0; /* first: what the group's first tile counts as */
    GemmGroup group = gemm_group(call, 0);
    Piece piece = {.call = call, .group = &group};
    for (;;) {
        int64_t tile = __atomic_fetch_add(&team->claims[0].next_panel, 1, __ATOMIC_RELAXED), width, n_tiles;
        for (;; first += n_tiles, group = gemm_group(call, index)) {
            n_tiles = count_tiles(call, &group, &width);
            if (tile < first + n_tiles)
                break;
            if (++index == call->gemm->n_groups)
                return;
        }
        piece.end_row_panel = group.n_panels;
        if (packed_group != index)
            open_piece(&piece);
        packed_group = index;
        multiply_tile(team, &piece, width, tile - first);
    }
}

/* ---- The call --------------------------------------------------------------------------------------------------- */

/* A thread alone must not wait: inside of a parallel region, the others would never come. */
static void team_wait(const Team *team) {
    if (team->call.n_threads > 1) {
#pragma omp barrier
    }
}

/* What each thread does. */
static void team_run(Team *team) {
    if (gemm_packs_tiles(&team->call)) {
        if (gemm_has_many_groups(&team->call))
            multiply_groups(team);
        else
            multiply_tiles(team);
        return;
    }
    GemmRound round = {0};
    for (int turn = 0; gemm_next_round(&team->call, &round); turn = !turn) {
        pack_rhs(team, &round, &team->claims[turn]);
        team_wait(team);
        __atomic_store_n(&team->claims[!turn].next_job, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&team->claims[!turn].next_panel, 0, __ATOMIC_RELAXED);
        multiply_round(team, &round, &team->claims[turn]);
        team_wait(team);
    }
}

static int64_t largest_round(const GemmCall *call) {
    int64_t most = 0;
    for (GemmRound round = {0}; gemm_next_round(call, &round);) {
        int64_t n_floats = 0;
        for (int64_t index = round.first_group; index < round.end_group; index++) {
            GemmGroup group = gemm_round_group(call, &round, index);
            n_floats += gemm_rhs_floats(call, &round, &group);
        }
        most = n_floats > most ? n_floats : most;
    }
    return most;
}

/* Multiplications below which starting other threads takes longer than it saves. */
static const double ALONE = 1e6;

static int count_threads(const MoecGemm *gemm) {
    double n = 0.0;
    for (int p = 0; p < gemm->n_products; p++)
        n += (double)gemm->n_rows * (double)gemm->n_cols * (double)gemm->products[p].k;
    return omp_in_parallel() || n < ALONE ? 1 : omp_get_max_threads();
}

void moec_gemm(const MoecGemm *gemm) {
    if (gemm->n_rows == 0 || gemm->n_cols == 0 || gemm->n_groups == 0)
        return;
    if (gemm_is_on_blas()) {
        gemm_on_blas(gemm);
        return;
    }
    Team team = {.call = gemm_call(gemm, count_threads(gemm))};
    if (!gemm_packs_tiles(&team.call))
        team.rhs = gemm_workspace(GEMM_BUFFER_RHS, largest_round(&team.call));
    if (team.call.n_threads == 1) {
        team_run(&team);
        return;
    }
#pragma omp parallel num_threads(team.call.n_threads)
    team_run(&team);
}
