/* Inner kernels of matrix products, one family for each kind of x86-64 processor.

   A panel is a few rows of an operand, packed so that a kernel reads it from front to back. k counts in units: one
   element, or two of bf16; a unit takes the room of one float. Element (i, k) of a panel of `width` rows is in unit
   panel[(k / unit) * width + i]. Panels of lhs are exactly as wide as they have rows; panels of rhs are one or two
   vectors wide, their missing rows are zeros. */
#ifndef MOEC_RUNTIME_GEMM_KERNELS_H
#define MOEC_RUNTIME_GEMM_KERNELS_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/gemm.h"

/* out[i * ld + j] = (lhs rhs^T)[i][j] + beta * out[i * ld + j] for j < n_cols, sums over n_units. With beta 0,
   out is not read. rhs is aligned to 64 bytes. */
typedef void GemmTile(int64_t n_units, const float *lhs, const float *rhs, float *out, int64_t ld, float beta,
                      int n_cols);

enum { GEMM_MAX_LANES = 16, GEMM_AHEAD = 64, GEMM_LINES_AHEAD = 8 };

/* Rows of an operand and where they go: the first unit of the part at hand is at `out`. */
typedef struct {
    int64_t row, n_rows; /* at most 2 * n_lanes */
    float *out;
    int64_t width;
} GemmPanel;

/* Lines are of floats, or of bf16 as uint16_t. Both ways of packing may write past a panel's last row, up to a multiple
   of n_lanes, so units are packed in ascending order, and some room is left behind the last one. A line that is NULL is
   zeros. */

/* Lines are rows of the panel, out(i, k) = lines[i][first + k] for k < n; `lines` goes on to the next multiple of
   n_lanes. */
typedef void GemmPackAcross(const void *const *lines, int64_t first, int64_t n, const GemmPanel *panel);

/* Lines are one for each k and go through all panels, so that a few are read from front to back at a time: out(i, k) =
   lines[k][row + i]. `lines` goes on for GEMM_LINES_AHEAD more, NULL or what is to be packed next. */
typedef void GemmPackAlong(const void *const *lines, int64_t n_lines, const GemmPanel *panels, int n_panels);

typedef struct {
    int n_lanes;               /* columns of a vector; panels of rhs have one or two vectors */
    int n_rows;                /* most rows of a panel of lhs, at most n_lanes */
    int unit;                  /* elements of k in a unit */
    GemmTile *const *tiles[2]; /* [vectors - 1][rows - 1] */
    int element;               /* bytes of an element of a line */
    GemmPackAcross *pack_across;
    GemmPackAlong *pack_along;
} GemmKernels;

/* Of each processor by precision, MoecGemmPrecision. */
enum { GEMM_N_PRECISIONS = MOEC_GEMM_BF16 + 1 };
extern const GemmKernels gemm_kernels_portable[GEMM_N_PRECISIONS];
#if defined __x86_64__
extern const GemmKernels gemm_kernels_avx2[GEMM_N_PRECISIONS], gemm_kernels_avx512[GEMM_N_PRECISIONS];
extern const GemmKernels gemm_kernels_avx512bf16; /* of bf16 */
#endif

/* The fastest that the processor has; the choice is made once. */
const GemmKernels *gemm_kernels(MoecGemmPrecision precision);

/* For tests: "avx512bf16", "avx512", "avx2" or "portable" from here on, NULL for the choice by the processor. False,
   and nothing changes, where the processor lacks it. Not while products run. */
bool gemm_kernels_force(const char *name);

#endif
