#include "codegen/form_c_phases.h"

#include <string.h>

#include "codegen/form_c_internal.h"

/* Recomputing up to this much is no more than writing and reading a buffer. */
static const int CHEAP = 6;

/* Bytes of all buffers of a row. */
static const int64_t MAX_KEPT_BYTES = 16 * 1024;

static int phase_of_operand(const Phases *at, uint32_t operand) {
    return operand == FORM_NONE ? 0 : at->phases[operand];
}

static int phase_of(const Phases *at, const FormInstr *instr) {
    int last = 0;
    for (int i = 0; i < 3; i++) {
        int phase = phase_of_operand(at, form_instr_operand(instr, i));
        last = phase > last ? phase : last;
    }
    return last + form_instr_reduces_cols(instr);
}

bool phases_is_root(const Phases *at, size_t i, int phase) {
    const FormInstr *instr = &at->body->instrs[i];
    bool is_write = form_instr_writes(instr) && instr->level == FORM_LEVEL_FULL;
    if (!at->is_live[i] || (!is_write && !form_instr_is_reduction(instr)))
        return false;
    return (is_write ? at->phases[i] : at->phases[instr->a]) == phase;
}

bool phases_reads_kept(const Phases *at, size_t i, int phase) {
    return at->kept_from[i] >= 0 && at->kept_from[i] < phase;
}

bool phases_needs(const Phases *at, int phase, bool *is_needed) {
    bool has_root = false;
    memset(is_needed, 0, at->body->n_instrs * sizeof *is_needed);
    for (size_t i = at->body->n_instrs; i-- > 0;) {
        const FormInstr *instr = &at->body->instrs[i];
        bool is_root = phases_is_root(at, i, phase);
        has_root = has_root || is_root;
        if (!is_root && (!is_needed[i] || phases_reads_kept(at, i, phase)))
            continue;
        const uint32_t sources[] = {instr->a, instr->b, instr->c, instr->map.gather};
        for (int j = 0; j < 4; j++) {
            if (sources[j] != FORM_NONE && at->body->instrs[sources[j]].level == FORM_LEVEL_FULL)
                is_needed[sources[j]] = true;
        }
    }
    return has_root;
}

/* ---- Updates --------------------------------------------------------------------------------------------------- */

/* The last phase the loop of which loads elements of the argument. */
static int last_load(const Phases *at, uint32_t arg, bool *is_needed) {
    int last = 0;
    for (int phase = 0; phase < at->n_phases; phase++) {
        phases_needs(at, phase, is_needed);
        for (size_t i = 0; i < at->body->n_instrs; i++) {
            const FormInstr *instr = &at->body->instrs[i];
            if (is_needed[i] && instr->op == FORM_LOAD && instr->map.arg == arg)
                last = phase;
        }
    }
    return last;
}

/* What is written must not be read again: it is written by the last loop that reads it, which may read other arguments
   later than before. */
static void delay_writes(Phases *at, Arena *arena) {
    bool *is_needed = arena_array_of(arena, bool, at->body->n_instrs), is_settled = false;
    while (!is_settled) {
        is_settled = true;
        for (size_t i = 0; i < at->body->n_instrs; i++) {
            const FormInstr *instr = &at->body->instrs[i];
            if (!form_instr_writes(instr) || instr->level != FORM_LEVEL_FULL)
                continue;
            int last = last_load(at, instr->map.arg, is_needed);
            is_settled = is_settled && last <= at->phases[i];
            at->phases[i] = last > at->phases[i] ? last : at->phases[i];
        }
    }
}

/* ---- What to keep ---------------------------------------------------------------------------------------------- */

/* What it costs a loop to compute the value, as far as `is_counted` does not have it yet. */
static int cost_of(const FormBody *body, uint32_t i, bool *is_counted) {
    if (i == FORM_NONE || body->instrs[i].level != FORM_LEVEL_FULL || is_counted[i])
        return 0;
    const FormInstr *instr = &body->instrs[i];
    is_counted[i] = true;
    return form_cost(body, instr) + cost_of(body, instr->a, is_counted) + cost_of(body, instr->b, is_counted) +
           cost_of(body, instr->c, is_counted) + cost_of(body, instr->map.gather, is_counted);
}

/* At most max_kept values, which cost more than `cheap` to compute again. Later values first, so that no buffer holds
   what leads to another only. */
static void choose_kept(Phases *at, Arena *arena, int cheap, int64_t max_kept) {
    size_t n = at->body->n_instrs;
    bool *is_needed = arena_array_of(arena, bool, n), *is_counted = arena_array_of(arena, bool, n);
    int *computed = arena_array_of(arena, int, n); /* the first loop + 1 */
    int64_t n_kept = 0;
    for (int phase = 0; phase < at->n_phases; phase++) {
        for (size_t i = n; i-- > 0;) {
            phases_needs(at, phase, is_needed);
            if (!is_needed[i] || computed[i] == 0 || at->kept_from[i] >= 0)
                continue;
            memset(is_counted, 0, n * sizeof *is_counted);
            const FormInstr *instr = &at->body->instrs[i];
            bool is_number = form_instr_is_position(instr) || instr->op == FORM_INDEX;
            if (n_kept == max_kept || is_number || cost_of(at->body, (uint32_t)i, is_counted) <= cheap)
                continue;
            at->kept_from[i] = computed[i] - 1;
            n_kept++;
        }
        phases_needs(at, phase, is_needed);
        for (size_t i = 0; i < n; i++)
            computed[i] = is_needed[i] && computed[i] == 0 ? phase + 1 : computed[i];
    }
}

static Phases phases_new(Arena *arena, const FormBody *body) {
    size_t n = body->n_instrs;
    Phases at = {.body = body, .is_live = form_live(arena, body), .n_phases = 1};
    at.phases = arena_array_of(arena, int, n);
    at.kept_from = arena_array_of(arena, int, n);
    for (size_t i = 0; i < n; i++) {
        at.phases[i] = phase_of(&at, &body->instrs[i]);
        at.kept_from[i] = -1;
        if (at.is_live[i] && at.phases[i] >= at.n_phases)
            at.n_phases = at.phases[i] + 1;
    }
    delay_writes(&at, arena);
    return at;
}

Phases phases_of(Arena *arena, const FormBody *body) {
    Phases at = phases_new(arena, body);
    choose_kept(&at, arena, CHEAP, MAX_KEPT_BYTES / (form_n_cols(body) * (int64_t)sizeof(float)));
    return at;
}

Phases phases_keeping(Arena *arena, const FormBody *body, int max_kept) {
    Phases at = phases_new(arena, body);
    choose_kept(&at, arena, 0, max_kept);
    return at;
}
