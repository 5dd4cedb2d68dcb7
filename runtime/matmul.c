/* Matrix products on OpenBLAS, in its OpenMP flavour: it shares the threads of generated kernels, and inside a parallel
   region each of its calls stays on the calling thread. */
#include "runtime/matmul.h"

#include <assert.h>
#include <cblas.h>
#include <limits.h>
#include <omp.h>
#include <string.h>

/* OpenBLAS as Debian builds it counts in 32 bits. */
static blasint blas_int(int64_t n) {
    assert(n >= 0 && n <= INT_MAX);
    return (blasint)n;
}

/* c = beta * c. */
static void scale_rows(int64_t m, int64_t n, float beta, float *c, int64_t ldc) {
    for (int64_t row = 0; row < m; row++) {
        if (beta == 0.0f) {
            memset(c + row * ldc, 0, (size_t)n * sizeof *c);
            continue;
        }
        for (int64_t column = 0; column < n; column++)
            c[row * ldc + column] *= beta;
    }
}

void moec_matmul(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                 int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc) {
    if (m == 0 || n == 0)
        return;
    if (k == 0) { /* BLAS would refuse leading dimensions of 0, and c is to be scaled all the same */
        scale_rows(m, n, beta, c, ldc);
        return;
    }
    cblas_sgemm(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans, transpose_b ? CblasTrans : CblasNoTrans,
                blas_int(m), blas_int(n), blas_int(k), alpha, a, blas_int(lda), b, blas_int(ldb), beta, c,
                blas_int(ldc));
}

/* ---- Grouped products ------------------------------------------------------------------------------------------ */

/* Groups are cut into pieces of about equal work, several for each thread, so that a large group does not leave the
   other threads idle. A piece is a band of the group's result, cut across the longer side: that packs operands least
   often. Every element is one dot product in one piece, so its bits do not depend on which thread computes it. */
enum {
    PIECES_PER_THREAD = 6,
    PIECE_STEP = 16, /* bands are multiples of the width of OpenBLAS's inner kernels */
    PIECE_LEAST = 64 /* and no narrower than this: narrow ones are slow */
};

/* The result of group e is [m, n], each element a sum of k products; m or k is the group's rows. */
typedef struct {
    int64_t m, n, k;
} GroupShape;

typedef struct {
    int64_t group;
    int64_t first_row, n_rows, first_column, n_columns;
} Piece;

static double group_work(GroupShape shape) {
    return (double)shape.m * (double)shape.n * ((double)shape.k + 1.0);
}

static int64_t ceil_div(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

/* Length of the bands that `side` is cut into so that there are at most n_pieces. */
static int64_t band_length(int64_t side, int64_t n_pieces) {
    int64_t length = ceil_div(ceil_div(side, n_pieces), PIECE_STEP) * PIECE_STEP;
    return length < PIECE_LEAST ? PIECE_LEAST : length;
}

/* Work of a piece: total / (threads * PIECES_PER_THREAD). */
static int64_t group_bands(GroupShape shape, double piece_work, int64_t *length) {
    int64_t side = shape.m > shape.n ? shape.m : shape.n;
    if (side == 0)
        return 0;
    *length = band_length(side, (int64_t)(group_work(shape) / piece_work) + 1);
    return ceil_div(side, *length);
}

/* What the pieces of all groups need to be found by number. */
typedef struct {
    int64_t n_groups;
    const int32_t *offsets;
    int64_t m, n, k; /* of a group, -1 for the one that is its number of rows */
    double piece_work;
} Grouping;

static GroupShape group_shape(const Grouping *grouping, int64_t group) {
    int64_t n_rows = grouping->offsets[group + 1] - grouping->offsets[group];
    return (GroupShape){
        .m = grouping->m < 0 ? n_rows : grouping->m, .n = grouping->n, .k = grouping->k < 0 ? n_rows : grouping->k};
}

/* Sets the work of a piece; the number of pieces. */
static int64_t grouping_cut(Grouping *grouping) {
    double work = 0.0;
    for (int64_t group = 0; group < grouping->n_groups; group++)
        work += group_work(group_shape(grouping, group));
    grouping->piece_work = work / ((double)omp_get_max_threads() * PIECES_PER_THREAD);
    int64_t n_pieces = 0, length;
    for (int64_t group = 0; work > 0.0 && group < grouping->n_groups; group++)
        n_pieces += group_bands(group_shape(grouping, group), grouping->piece_work, &length);
    return n_pieces;
}

static Piece grouping_piece(const Grouping *grouping, int64_t index) {
    int64_t group = 0, length = 0;
    GroupShape shape = group_shape(grouping, 0);
    for (int64_t n_bands; index >= (n_bands = group_bands(shape, grouping->piece_work, &length)); index -= n_bands)
        shape = group_shape(grouping, ++group);
    Piece piece = {.group = group, .n_rows = shape.m, .n_columns = shape.n};
    bool cuts_rows = shape.m > shape.n;
    int64_t first = index * length, left = (cuts_rows ? shape.m : shape.n) - first;
    *(cuts_rows ? &piece.first_row : &piece.first_column) = first;
    *(cuts_rows ? &piece.n_rows : &piece.n_columns) = left < length ? left : length;
    return piece;
}

void moec_grouped_matmul_rows(bool transpose_b, int64_t n_groups, const int32_t *offsets, int64_t n, int64_t k,
                              const float *a, const float *b, float *c) {
    Grouping grouping = {.n_groups = n_groups, .offsets = offsets, .m = -1, .n = n, .k = k};
    int64_t n_pieces = grouping_cut(&grouping);
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t i = 0; i < n_pieces; i++) {
        Piece piece = grouping_piece(&grouping, i);
        int64_t row = offsets[piece.group] + piece.first_row;
        const float *matrix = b + piece.group * n * k + piece.first_column * (transpose_b ? k : 1);
        moec_matmul(false, transpose_b, piece.n_rows, piece.n_columns, k, 1.0f, a + row * k, k, matrix,
                    transpose_b ? k : n, 0.0f, c + row * n + piece.first_column, n);
    }
}

void moec_grouped_matmul_weights(int64_t n_groups, const int32_t *offsets, int64_t m, int64_t n, const float *a,
                                 const float *b, float *c) {
    Grouping grouping = {.n_groups = n_groups, .offsets = offsets, .m = m, .n = n, .k = -1};
    int64_t n_pieces = grouping_cut(&grouping);
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t i = 0; i < n_pieces; i++) {
        Piece piece = grouping_piece(&grouping, i);
        int64_t row = offsets[piece.group], n_rows = offsets[piece.group + 1] - row;
        moec_matmul(true, false, piece.n_rows, piece.n_columns, n_rows, 1.0f, a + row * m + piece.first_row, m,
                    b + row * n + piece.first_column, n, 0.0f,
                    c + (piece.group * m + piece.first_row) * n + piece.first_column, n);
    }
}
