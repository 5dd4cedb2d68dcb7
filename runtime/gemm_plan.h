/* How one call is cut. Its rhs is packed for all threads at a time, in rounds of what the last cache holds. In a round,
   each thread claims pieces: some panels of rows of one group by all columns of the round, or a part of them. A piece
   is computed a tile of columns at a time, as many as the second cache holds, and a tile in passes over k. */
#ifndef MOEC_RUNTIME_GEMM_PLAN_H
#define MOEC_RUNTIME_GEMM_PLAN_H

#include "runtime/gemm_pack.h"

/* Of k in a pass. This decides the order of a sum's terms, so it does not depend on the machine. */
enum { GEMM_BLOCK_UNITS = 1024 };

/* A call, and what follows from it. Slots are the different operands among its products. */
typedef struct {
    const MoecGemm *gemm;
    const GemmKernels *kernels;
    int n_threads;
    int n_lhs, n_rhs;
    int lhs_slot[MOEC_GEMM_MAX_PRODUCTS], rhs_slot[MOEC_GEMM_MAX_PRODUCTS];       /* of a product */
    int lhs_product[MOEC_GEMM_MAX_PRODUCTS], rhs_product[MOEC_GEMM_MAX_PRODUCTS]; /* the first product of a slot */
    int64_t width, n_panels; /* columns of a panel of rhs, but for the last one; panels of all columns */
} GemmCall;

GemmCall gemm_call(const MoecGemm *gemm, int n_threads);

/* Columns that a panel of rhs is packed to. */
int64_t gemm_panel_width(const GemmCall *call, int64_t panel);

/* Floats of one group of a rhs that stays packed: all panels, each over all of k. */
int64_t gemm_packed_floats(const GemmCall *call, int64_t n_units);

/* One group of a call, all of k or one pass of it. Its rows start at first_row of the operands, k at first_k. */
typedef struct {
    int64_t group, first_row, n_rows;
    int64_t first_k[MOEC_GEMM_MAX_PRODUCTS], n_k[MOEC_GEMM_MAX_PRODUCTS], n_units[MOEC_GEMM_MAX_PRODUCTS];
    int64_t n_blocks; /* passes over k of the longest product */
    int64_t n_panels; /* of rows; 0: nothing to do */
} GemmGroup;

GemmGroup gemm_group(const GemmCall *call, int64_t index);

/* The row of the group where panel `index` of lhs starts: panels differ by one row at most. */
static inline int64_t gemm_panel_row(const GemmGroup *group, int64_t index) {
    return index * group->n_rows / group->n_panels;
}

/* Units of k of a product in pass number `block`; n is 0 where the product has fewer passes. */
void gemm_block(const GemmGroup *group, int product, int64_t block, int64_t *first, int64_t *n);

/* Either whole groups, or some panels of the columns of one; without an epilogue, which wants whole sums, one pass over
   k of these, so that what is packed is still in a near cache when it is used. */
typedef struct {
    int64_t first_group, end_group, first_panel, end_panel;
    int64_t block, n_blocks; /* the pass; 1 with an epilogue */
} GemmRound;

/* What a round does of a group. */
GemmGroup gemm_round_group(const GemmCall *call, const GemmRound *round, int64_t index);

/* The round after `round`, {0} being before the first; false where there is none. */
bool gemm_next_round(const GemmCall *call, GemmRound *round);

/* Floats of one slot of a group's rhs as packed in a round, and of all its slots: 0 where nothing needs it. */
int64_t gemm_slot_floats(const GemmCall *call, const GemmRound *round, const GemmGroup *group, int slot);
int64_t gemm_rhs_floats(const GemmCall *call, const GemmRound *round, const GemmGroup *group);

/* Whether each thread packs the columns of rhs that it is to use by itself, a tile at a time, instead of all threads
   all of it before they begin: where all rows of a group are one piece, not much larger than the second cache. A tile
   is then read from there while it is new. */
bool gemm_packs_tiles(const GemmCall *call);
/* Whether there are enough groups for threads to take whole ones, whose rows are then packed once. */
bool gemm_has_many_groups(const GemmCall *call);

/* Panels of rows of all groups of a round. */
int64_t gemm_round_panels(const GemmCall *call, const GemmRound *round);

/* Into how many parts the columns of a round are cut so that all threads have work: 1 where there are rows enough. */
int64_t gemm_parts(const GemmCall *call, const GemmRound *round, int64_t n_row_panels);

/* Panels of rows that a piece has at most where the group has n_left, and panels of columns that a tile has of
   n_panels: equal shares. */
int64_t gemm_piece_panels(const GemmCall *call, const GemmGroup *group, int64_t n_left);
int64_t gemm_tile_panels(const GemmCall *call, const GemmGroup *group, int64_t n_panels);

#endif
