#include "runtime/gemm_pack.h"

#include <assert.h>
#include <stddef.h>

enum {
    MAX_LINES = 2 * GEMM_MAX_LANES,
    PART_K = 64 /* elements of k at a time: even, and few enough for the loaded ones to stay in the nearest cache */
};

/* Lines of memory are rows of an operand, each over k, or the other way round. */
static bool lines_are_rows(const GemmSource *source) {
    const MoecGemmOperand *operand = source->operand;
    bool is_ragged_k = source->gemm->ragged == MOEC_GEMM_K;
    if (operand->load)
        return !is_ragged_k;
    return operand->k_stride == 1 && (operand->stride != 1 || !is_ragged_k);
}

/* Line number `index`; NULL for zeros. */
static const float *line_at(const MoecGemmOperand *operand, int64_t group, int64_t stride, int64_t index) {
    if (operand->gather) {
        index = operand->gather[index];
        if (index < 0)
            return NULL;
        if (operand->gather_divisor > 1)
            index /= operand->gather_divisor;
    }
    return operand->data + group * operand->group_stride + index * stride;
}

/* The lines of a part, and the first element in each of them that belongs to it. */
typedef struct {
    const float *lines[PART_K > MAX_LINES ? PART_K : MAX_LINES];
    int64_t first;
} Lines;

static void find_lines(const GemmSource *source, GemmRange range, bool are_rows, float *loaded, Lines *lines) {
    const MoecGemmOperand *operand = source->operand;
    int64_t major = are_rows ? range.row : range.k, n_major = are_rows ? range.n_rows : range.n_k;
    int64_t minor = are_rows ? range.k : range.row, n_minor = are_rows ? range.n_k : range.n_rows;
    lines->first = operand->load ? 0 : minor;
    if (operand->load) {
        int64_t ld = are_rows ? PART_K : MAX_LINES;
        operand->load(source->gemm->args, range.group, major, n_major, minor, n_minor, loaded, ld);
        for (int64_t i = 0; i < n_major; i++)
            lines->lines[i] = loaded + i * ld;
    } else {
        int64_t stride = are_rows ? operand->stride : operand->k_stride;
        for (int64_t i = 0; i < n_major; i++)
            lines->lines[i] = line_at(operand, range.group, stride, major + i);
    }
    for (int64_t i = n_major; are_rows && i < MAX_LINES; i++)
        lines->lines[i] = NULL;
}

void gemm_pack(const GemmSource *source, GemmRange range, float *out, int64_t width) {
    const GemmKernels *kernels = source->kernels;
    assert(range.n_rows <= 2 * kernels->n_lanes);
    bool are_rows = lines_are_rows(source);
    int64_t step = are_rows && !source->operand->load ? range.n_k : PART_K;
    for (int64_t k = 0; k < range.n_k; k += step) {
        float loaded[MAX_LINES * PART_K];
        Lines lines;
        GemmRange part = range;
        part.k += k;
        part.n_k = range.n_k - k < step ? range.n_k - k : step;
        find_lines(source, part, are_rows, loaded, &lines);
        float *target = out + k / kernels->unit * width;
        if (are_rows)
            kernels->pack_across(lines.lines, part.n_rows, lines.first, part.n_k, target, width);
        else
            kernels->pack_along(lines.lines, part.n_k, lines.first, part.n_rows, target, width);
    }
}
