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

/* out[i * ld + j] = alpha * (lhs rhs^T)[i][j] + beta * out[i * ld + j] for j < n_cols, sums over n_units. With beta 0,
   out is not read. rhs is aligned to 64 bytes. */
typedef void GemmTile(int64_t n_units, const float *lhs, const float *rhs, float *out, int64_t ld, float alpha,
                      float beta, int n_cols);

/* Packs into a panel, whose first unit of the part at hand is at `out`. A line that is NULL is zeros.
   across: lines are rows of the panel, out(i, k) = lines[i][first + k] for i < n_lines, k < n; `lines` goes on to the
   next multiple of n_lanes.
   along: lines are one for each k, out(i, k) = lines[k][first + i] for k < n_lines, i < n; `lines` goes on for
   GEMM_AHEAD more, NULL or what is to be packed soon.
   Both may write past the panel's last row, up to a multiple of n_lanes, so units are packed in ascending order, and
   some room is left behind the last one. */
typedef void GemmPack(const float *const *lines, int64_t n_lines, int64_t first, int64_t n, float *out, int64_t width);

enum { GEMM_MAX_LANES = 16, GEMM_AHEAD = 64 };

typedef struct {
    int n_lanes;               /* columns of a vector; panels of rhs have one or two vectors */
    int n_rows;                /* most rows of a panel of lhs, at most n_lanes */
    int unit;                  /* elements of k in a unit */
    GemmTile *const *tiles[2]; /* [vectors - 1][rows - 1] */
    GemmPack *pack_across, *pack_along;
} GemmKernels;

extern const GemmKernels gemm_kernels_portable, gemm_kernels_portable_rounded;
#if defined __x86_64__
extern const GemmKernels gemm_kernels_avx2, gemm_kernels_avx2_rounded;
extern const GemmKernels gemm_kernels_avx512, gemm_kernels_avx512_rounded, gemm_kernels_avx512bf16;
#endif

/* The fastest that the processor has; the choice is made once. */
const GemmKernels *gemm_kernels(MoecGemmPrecision precision);

/* For tests: "avx512bf16", "avx512", "avx2" or "portable" from here on, NULL for the choice by the processor. False,
   and nothing changes, where the processor lacks it. Not while products run. */
bool gemm_kernels_force(const char *name);

#endif
