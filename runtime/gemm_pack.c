#include "runtime/gemm_pack.h"

#include <assert.h>
#include <stddef.h>

enum {
    MAX_LINES = 2 * GEMM_MAX_LANES,
    /* Elements of k at a time: even, and few enough for a part of all panels, and the next one, to stay in the second
       cache. */
    PART_K = GEMM_AHEAD
};

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
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

/* Each line is a row of one panel. */
static void pack_rows(const GemmSource *source, int64_t group, const GemmPanel *panel, int64_t k, int64_t n_k) {
    const float *lines[MAX_LINES] = {NULL};
    for (int64_t i = 0; i < panel->n_rows; i++)
        lines[i] = line_at(source->operand, group, source->operand->stride, panel->row + i);
    source->kernels->pack_across(lines, panel->n_rows, k, n_k, panel->out, panel->width);
}

/* Each line is one k of all panels. The lines of the next part go along, to be on their way when they are needed. */
static void pack_columns(const GemmSource *source, int64_t group, const GemmPanel *panels, int n_panels, int64_t k,
                         int64_t n_k) {
    for (int64_t part = 0; part < n_k; part += PART_K) {
        const float *lines[2 * PART_K] = {NULL};
        int64_t n_lines = least(PART_K, n_k - part), n_known = least(2 * PART_K, n_k - part);
        for (int64_t i = 0; i < n_known; i++)
            lines[i] = line_at(source->operand, group, source->operand->k_stride, k + part + i);
        for (int i = 0; i < n_panels; i++) {
            const GemmPanel *panel = &panels[i];
            float *out = panel->out + part / source->kernels->unit * panel->width;
            source->kernels->pack_along(lines, n_lines, panel->row, panel->n_rows, out, panel->width);
        }
    }
}

/* The callback computes a part of a panel, as lines of either kind. */
static void pack_loaded(const GemmSource *source, int64_t group, const GemmPanel *panel, int64_t k, int64_t n_k) {
    const GemmKernels *kernels = source->kernels;
    void *const *args = source->gemm->args;
    bool are_rows = gemm_lines_are_rows(source->gemm, source->operand);
    for (int64_t part = 0; part < n_k; part += PART_K) {
        float loaded[MAX_LINES * PART_K];
        const float *lines[2 * PART_K] = {NULL};
        int64_t ld = are_rows ? PART_K : MAX_LINES, n_part = least(PART_K, n_k - part);
        int64_t n_lines = are_rows ? panel->n_rows : n_part;
        for (int64_t i = 0; i < n_lines; i++)
            lines[i] = loaded + i * ld;
        float *out = panel->out + part / kernels->unit * panel->width;
        if (are_rows) {
            source->operand->load(args, group, panel->row, panel->n_rows, k + part, n_part, loaded, ld);
            kernels->pack_across(lines, n_lines, 0, n_part, out, panel->width);
        } else {
            source->operand->load(args, group, k + part, n_part, panel->row, panel->n_rows, loaded, ld);
            kernels->pack_along(lines, n_lines, 0, panel->n_rows, out, panel->width);
        }
    }
}

void gemm_pack(const GemmSource *source, int64_t group, const GemmPanel *panels, int n_panels, int64_t k, int64_t n_k) {
    assert(n_panels <= GEMM_PACK_PANELS);
    bool is_loaded = source->operand->load, are_rows = gemm_lines_are_rows(source->gemm, source->operand);
    for (int i = 0; i < n_panels && (is_loaded || are_rows); i++) {
        if (is_loaded)
            pack_loaded(source, group, &panels[i], k, n_k);
        else
            pack_rows(source, group, &panels[i], k, n_k);
    }
    if (!is_loaded && !are_rows)
        pack_columns(source, group, panels, n_panels, k, n_k);
}
