/* A library takes matrices and gives matrices: operands that are gathered or computed are written out before, some rows
   at a time where groups have rows, and the epilogue goes over whole rows of the results afterwards. */
#include "runtime/gemm_blas.h"

#include <string.h>

#include "runtime/blas.h"
#include "runtime/gemm_pack.h"
#include "runtime/gemm_workspace.h"

/* Rows of a result at a time. */
enum { ROWS = 1024 };

static bool is_chosen_now;

void gemm_choose_blas(bool is_chosen) {
    is_chosen_now = is_chosen;
}

bool gemm_is_on_blas(void) {
    return is_chosen_now;
}

/* ---- Operands --------------------------------------------------------------------------------------------------- */

/* Part of an operand: sides [side, side + n_sides) by k in [k, k + n_k), counted across all groups where ragged. */
typedef struct {
    const MoecGemm *gemm;
    const MoecGemmOperand *operand;
    int64_t group, side, n_sides, k, n_k;
} Part;

/* As a library reads it: row-major, lines over k or over the sides. */
typedef struct {
    const float *data;
    int64_t ld;
    bool lines_are_sides;
} Matrix;

static int64_t part_floats(const Part *part) {
    bool is_made = part->operand->load || part->operand->gather;
    return is_made ? part->n_sides * part->n_k : 0;
}

static void gather_lines(const Part *part, int64_t first, int64_t n, int64_t stride, int64_t minor, int64_t n_minor,
                         float *out) {
    const MoecGemmOperand *operand = part->operand;
    const float *data = (const float *)operand->data + part->group * operand->group_stride + minor;
    int64_t divisor = operand->gather_divisor > 1 ? operand->gather_divisor : 1;
#pragma omp parallel for
    for (int64_t i = 0; i < n; i++) {
        int64_t index = operand->gather[first + i];
        if (index < 0)
            memset(out + i * n_minor, 0, (size_t)n_minor * sizeof *out);
        else
            memcpy(out + i * n_minor, data + index / divisor * stride, (size_t)n_minor * sizeof *out);
    }
}

static void load_lines(const Part *part, int64_t first, int64_t n, int64_t minor, int64_t n_minor, float *out) {
#pragma omp parallel for
    for (int64_t i = 0; i < n; i++)
        part->operand->load(part->gemm->args, part->group, first + i, 1, minor, n_minor, out + i * n_minor, n_minor);
}

/* The part where it is, or in `scratch`, of part_floats. */
static Matrix matrix_of(const Part *part, float *scratch) {
    const MoecGemmOperand *operand = part->operand;
    bool lines_are_sides = gemm_lines_are_rows(part->gemm, operand);
    int64_t first = lines_are_sides ? part->side : part->k, n = lines_are_sides ? part->n_sides : part->n_k;
    int64_t minor = lines_are_sides ? part->k : part->side, n_minor = lines_are_sides ? part->n_k : part->n_sides;
    int64_t stride = lines_are_sides ? operand->stride : operand->k_stride;
    if (!operand->load && !operand->gather) {
        int64_t ld = stride > n_minor ? stride : n_minor; /* of one line, any stride will do */
        return (Matrix){(const float *)operand->data + part->group * operand->group_stride + first * stride + minor, ld,
                        lines_are_sides};
    }
    if (operand->load)
        load_lines(part, first, n, minor, n_minor, scratch);
    else
        gather_lines(part, first, n, stride, minor, n_minor, scratch);
    return (Matrix){scratch, n_minor, lines_are_sides};
}

/* ---- Results ---------------------------------------------------------------------------------------------------- */

/* Rows [row, row + n_rows) of a group's results, counted across all groups where ragged. */
typedef struct {
    int64_t group, row, n_rows, first_k, n_k; /* n_k: -1 where each product has its own */
} Block;

/* out = product + beta * out. */
static void multiply(const MoecGemm *gemm, const Block *block, int product, float beta, float *out, int64_t ld) {
    const MoecGemmProduct *at = &gemm->products[product];
    int64_t n_k = block->n_k < 0 ? at->k : block->n_k;
    Part lhs = {gemm, &at->lhs, block->group, block->row, block->n_rows, block->first_k, n_k};
    Part rhs = {gemm, &at->rhs, block->group, 0, gemm->n_cols, block->first_k, n_k};
    Matrix a = matrix_of(&lhs, gemm_workspace(GEMM_BUFFER_LHS, part_floats(&lhs)));
    Matrix b = matrix_of(&rhs, gemm_workspace(GEMM_BUFFER_RHS, part_floats(&rhs)));
    blas_matmul(!a.lines_are_sides, b.lines_are_sides, block->n_rows, gemm->n_cols, n_k, 1.0f, a.data, a.ld, b.data,
                b.ld, beta, out, ld);
}

/* Computes a block of each result into `rows`, lines ld[r] apart, adding beta[r] times what is there. */
static void compute(const MoecGemm *gemm, const Block *block, float *const *rows, const int64_t *ld,
                    const float *beta) {
    bool has_sum[MOEC_GEMM_MAX_RESULTS] = {false};
    for (int p = 0; p < gemm->n_products; p++) {
        int r = gemm->products[p].result;
        multiply(gemm, block, p, has_sum[r] ? 1.0f : beta[r], rows[r], ld[r]);
        has_sum[r] = true;
    }
}

static void store(const MoecGemm *gemm, const Block *block) {
    float *rows[MOEC_GEMM_MAX_RESULTS], beta[MOEC_GEMM_MAX_RESULTS];
    int64_t ld[MOEC_GEMM_MAX_RESULTS];
    for (int r = 0; r < gemm->n_results; r++) {
        const MoecGemmResult *result = &gemm->results[r];
        rows[r] = result->out + block->group * result->group_stride + block->row * result->stride;
        ld[r] = result->stride;
        beta[r] = result->beta;
    }
    compute(gemm, block, rows, ld, beta);
}

static void finish(const MoecGemm *gemm, const Block *block) {
    int64_t n_floats = block->n_rows * gemm->n_cols, ld[MOEC_GEMM_MAX_RESULTS];
    float beta[MOEC_GEMM_MAX_RESULTS] = {0.0f};
    MoecGemmTile tile = {
        .group = block->group, .row = block->row, .n_rows = block->n_rows, .n_cols = gemm->n_cols, .ld = gemm->n_cols};
    float *sums = gemm_workspace(GEMM_BUFFER_SUMS, gemm->n_results * n_floats);
    for (int r = 0; r < gemm->n_results; r++) {
        tile.sums[r] = sums + r * n_floats;
        ld[r] = gemm->n_cols;
    }
    compute(gemm, block, tile.sums, ld, beta);
#pragma omp parallel for
    for (int64_t row = 0; row < block->n_rows; row++) {
        MoecGemmTile line = tile;
        line.row += row;
        line.n_rows = 1;
        for (int r = 0; r < gemm->n_results; r++)
            line.sums[r] += row * tile.ld;
        gemm->epilogue(gemm->args, &line);
    }
}

void gemm_on_blas(const MoecGemm *gemm) {
    for (int64_t group = 0; group < gemm->n_groups; group++) {
        int64_t start = gemm->offsets ? gemm->offsets[group] : 0, end = gemm->offsets ? gemm->offsets[group + 1] : 0;
        bool has_rows = gemm->ragged == MOEC_GEMM_ROWS, has_k = gemm->ragged == MOEC_GEMM_K;
        int64_t first = has_rows ? start : 0, last = has_rows ? end : gemm->n_rows;
        for (int64_t row = first; row < last; row += ROWS) {
            Block block = {group, row, last - row < ROWS ? last - row : ROWS, has_k ? start : 0,
                           has_k ? end - start : -1};
            if (gemm->epilogue)
                finish(gemm, &block);
            else
                store(gemm, &block);
        }
    }
}
