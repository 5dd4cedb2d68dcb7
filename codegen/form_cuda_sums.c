/* Sums over the columns of a row, from the parts of its threads. */
#include <string.h>

#include "codegen/form_cuda_internal.h"

static bool is_reduced(const CudaPrinter *at, size_t i, int phase) {
    return form_instr_reduces_cols(cuda_instr(at, i)) && phases_is_root(&at->phases, i, phase);
}

bool cuda_reduces(const CudaPrinter *at, int phase) {
    for (size_t i = 0; i < at->base.body->n_instrs; i++) {
        if (is_reduced(at, i, phase))
            return true;
    }
    return false;
}

void cuda_print_for_each(CudaPrinter *at, int phase, FormOp op, const char *line) {
    for (size_t i = 0; i < at->base.body->n_instrs; i++) {
        if (!is_reduced(at, i, phase) || cuda_instr(at, i)->op != op)
            continue;
        const char *text = "";
        const char *rest = line;
        for (const char *next; (next = strchr(rest, '$')) != NULL; rest = next + 1)
            text = arena_printf(at->base.c->arena, "%s%.*s%zu", text, (int)(next - rest), rest, i);
        c_text(at->base.c, arena_printf(at->base.c->arena, "%s%s\n", text, rest));
    }
}

static int n_warps(const CudaPrinter *at) {
    return at->n_threads / CUDA_WARP;
}

void cuda_print_shared(CudaPrinter *at) {
    if (at->group <= CUDA_WARP)
        return;
    for (size_t i = 0; i < at->base.body->n_instrs; i++) {
        const FormInstr *instr = cuda_instr(at, i);
        if (!at->phases.is_live[i] || !form_instr_reduces_cols(instr))
            continue;
        if (instr->op == FORM_LOGSUMEXP_COLS)
            c_line(at->base.c, "MOEC_SHARED float shared_maximum_%zu[%d];", i, n_warps(at));
        c_line(at->base.c, "MOEC_SHARED float shared_%zu[%d];", i, n_warps(at));
    }
}

static void print_in_lanes(CudaPrinter *at, int phase, int n) {
    Arena *arena = at->base.c->arena;
    cuda_print_for_each(at, phase, FORM_SUM_COLS, arena_printf(arena, "v$ = moec_lanes_sum(v$, %d);", n));
    cuda_print_for_each(at, phase, FORM_MAX_COLS, arena_printf(arena, "v$ = moec_lanes_max(v$, %d);", n));
    cuda_print_for_each(at, phase, FORM_LOGSUMEXP_COLS,
                        arena_printf(arena, "moec_lanes_logsumexp(&maximum_$, &sum_$, %d);", n));
}

/* Each warp leaves its part, and each thread adds up those of all warps. */
static void print_in_block(CudaPrinter *at, int phase) {
    CPrinter *c = at->base.c;
    c_open(c, "if (thread %% 32 == 0)");
    cuda_print_for_each(at, phase, FORM_SUM_COLS, "shared_$[thread / 32] = v$;");
    cuda_print_for_each(at, phase, FORM_MAX_COLS, "shared_$[thread / 32] = v$;");
    cuda_print_for_each(at, phase, FORM_LOGSUMEXP_COLS,
                        "shared_maximum_$[thread / 32] = maximum_$;\n"
                        "shared_$[thread / 32] = sum_$;");
    c_close(c);
    c_line(c, "__syncthreads();");
    int n = n_warps(at);
    cuda_print_for_each(at, phase, FORM_SUM_COLS, arena_printf(c->arena, "v$ = moec_warps_sum(shared_$, %d);", n));
    cuda_print_for_each(at, phase, FORM_MAX_COLS, arena_printf(c->arena, "v$ = moec_warps_max(shared_$, %d);", n));
    cuda_print_for_each(
        at, phase, FORM_LOGSUMEXP_COLS,
        arena_printf(c->arena, "moec_warps_logsumexp(&maximum_$, &sum_$, shared_maximum_$, shared_$, %d);", n));
}

void cuda_print_combined(CudaPrinter *at, int phase) {
    if (at->group == 1 || !cuda_reduces(at, phase))
        return;
    print_in_lanes(at, phase, at->group < CUDA_WARP ? at->group : CUDA_WARP);
    if (at->group > CUDA_WARP)
        print_in_block(at, phase);
}

void cuda_print_ends(CudaPrinter *at, int phase) {
    cuda_print_for_each(at, phase, FORM_LOGSUMEXP_COLS, "float v$ = maximum_$ + logf(sum_$);");
}
