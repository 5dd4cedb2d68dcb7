#include "runtime/gemm_pack.h"

#include <assert.h>
#include <stddef.h>

enum { MAX_LINES = 2 * GEMM_MAX_LANES };

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* Line number `index`; NULL for zeros. */
static const void *line_at(const GemmSource *source, int64_t group, int64_t stride, int64_t index) {
    const MoecGemmOperand *operand = source->operand;
    if (operand->gather) {
        index = operand->gather[index];
        if (index < 0)
            return NULL;
        if (operand->gather_divisor > 1)
            index /= operand->gather_divisor;
    }
    int64_t first = group * operand->group_stride + index * stride;
    return (const char *)operand->data + first * source->kernels->element;
}

/* Moves the panels on by n_k elements, whole units. */
static void advance(const GemmSource *source, GemmPanel *panels, int n_panels, int64_t n_k) {
    for (int i = 0; i < n_panels; i++)
        panels[i].out += n_k / source->kernels->unit * panels[i].width;
}

/* ---- Lines that are rows, each over k ---------------------------------------------------------------------------- */

static void pack_rows(const GemmSource *source, int64_t group, const GemmPanel *panel, int64_t k, int64_t n_k) {
    const void *lines[MAX_LINES] = {NULL};
    for (int64_t i = 0; i < panel->n_rows; i++)
        lines[i] = line_at(source, group, source->operand->stride, panel->row + i);
    source->kernels->pack_across(lines, k, n_k, panel);
}

static void load_rows(const GemmSource *source, int64_t group, GemmPanel *panel, int64_t k, int64_t n_k) {
    enum { PART = GEMM_AHEAD };
    float loaded[MAX_LINES * PART];
    const void *lines[MAX_LINES] = {NULL};
    for (int64_t i = 0; i < panel->n_rows; i++)
        lines[i] = loaded + i * PART;
    for (int64_t part = 0; part < n_k; part += PART) {
        int64_t n = least(PART, n_k - part);
        source->operand->load(source->gemm->args, group, panel->row, panel->n_rows, k + part, n, loaded, PART);
        source->kernels->pack_across(lines, 0, n, panel);
        advance(source, panel, 1, n);
    }
}

/* ---- Lines that are one for each k ------------------------------------------------------------------------------- */

enum { PART_LINES = GEMM_LINES_AHEAD }; /* an even number */

static void pack_columns(const GemmSource *source, int64_t group, GemmPanel *panels, int n_panels, int64_t k,
                         int64_t n_k) {
    for (int64_t part = 0; part < n_k; part += PART_LINES) {
        const void *lines[2 * PART_LINES] = {NULL};
        int64_t n_known = least(2 * PART_LINES, n_k - part);
        for (int64_t i = 0; i < n_known; i++)
            lines[i] = line_at(source, group, source->operand->k_stride, k + part + i);
        source->kernels->pack_along(lines, least(PART_LINES, n_k - part), panels, n_panels);
        advance(source, panels, n_panels, PART_LINES);
    }
}

static void load_columns(const GemmSource *source, int64_t group, GemmPanel *panels, int n_panels, int64_t k,
                         int64_t n_k) {
    enum { MAX_ROWS = GEMM_PACK_PANELS * MAX_LINES };
    float loaded[PART_LINES * MAX_ROWS];
    int64_t first = panels[0].row, n_rows = panels[n_panels - 1].row + panels[n_panels - 1].n_rows - first;
    for (int64_t part = 0; part < n_k; part += PART_LINES) {
        const void *lines[2 * PART_LINES] = {NULL};
        int64_t n_lines = least(PART_LINES, n_k - part);
        for (int64_t i = 0; i < n_lines; i++)
            lines[i] = loaded + i * n_rows - first;
        source->operand->load(source->gemm->args, group, k + part, n_lines, first, n_rows, loaded, n_rows);
        source->kernels->pack_along(lines, n_lines, panels, n_panels);
        advance(source, panels, n_panels, PART_LINES);
    }
}

void gemm_pack(const GemmSource *source, int64_t group, GemmPanel *panels, int n_panels, int64_t k, int64_t n_k) {
    assert(n_panels <= GEMM_PACK_PANELS);
    bool is_loaded = source->operand->load;
    if (!gemm_lines_are_rows(source->gemm, source->operand)) {
        (is_loaded ? load_columns : pack_columns)(source, group, panels, n_panels, k, n_k);
        return;
    }
    for (int i = 0; i < n_panels; i++) {
        if (is_loaded)
            load_rows(source, group, &panels[i], k, n_k);
        else
            pack_rows(source, group, &panels[i], k, n_k);
    }
}
