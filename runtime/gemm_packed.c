/* A rhs that stays packed: the panels that products would pack, of all columns and all of k, group after group. */
#include <omp.h>

#include "runtime/gemm.h"
#include "runtime/gemm_plan.h"

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static MoecGemm product_of(const MoecGemmPacked *packed) {
    MoecGemm gemm = {.precision = packed->precision,
                     .n_groups = packed->n_groups,
                     .n_rows = 1,
                     .n_cols = packed->n_cols,
                     .n_products = 1,
                     .n_results = 1};
    gemm.products[0].k = packed->k;
    gemm.products[0].rhs = (MoecGemmOperand){.data = packed->data,
                                             .stride = packed->stride,
                                             .k_stride = packed->k_stride,
                                             .group_stride = packed->group_stride};
    return gemm;
}

uint64_t moec_gemm_packed_bytes(const MoecGemmPacked *packed) {
    MoecGemm gemm = product_of(packed);
    GemmCall call = gemm_call(&gemm, 1);
    int64_t n_floats = packed->n_groups * gemm_packed_floats(&call, gemm_units(call.kernels, packed->k));
    return (uint64_t)(n_floats + GEMM_MAX_LANES) * sizeof(float); /* packing may write past the last panel */
}

/* Panels [first, first + n) of a group. Lines that are one for each k go through all of them. */
static void pack_panels(const GemmCall *call, int64_t group, int64_t first, int n, float *out) {
    GemmSource source = {call->gemm, call->kernels, &call->gemm->products[0].rhs, false};
    int64_t k = call->gemm->products[0].k, n_units = gemm_units(call->kernels, k);
    out += group * gemm_packed_floats(call, n_units);
    GemmPanel panels[GEMM_PACK_PANELS];
    for (int i = 0; i < n; i++) {
        int64_t panel = first + i, row = panel * call->width;
        panels[i] = (GemmPanel){row, least(call->gemm->n_cols - row, call->width), out + row * n_units,
                                gemm_panel_width(call, panel)};
    }
    gemm_pack(&source, group, panels, n, 0, k);
}

void moec_gemm_pack(const MoecGemmPacked *packed, void *out) {
    MoecGemm gemm = product_of(packed);
    GemmCall call = gemm_call(&gemm, 1);
    bool lines_are_rows = gemm_lines_are_rows(&gemm, &gemm.products[0].rhs);
    int64_t n = lines_are_rows ? 1 : GEMM_PACK_PANELS, n_parts = (call.n_panels + n - 1) / n;
#pragma omp parallel for schedule(dynamic, 4)
    for (int64_t job = 0; job < packed->n_groups * n_parts; job++) {
        int64_t panel = job % n_parts * n;
        pack_panels(&call, job / n_parts, panel, (int)least(n, call.n_panels - panel), out);
    }
}
