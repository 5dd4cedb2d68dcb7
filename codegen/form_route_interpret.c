/* What a route means: choices, counts, and the sorting of slots by expert. */
#include "codegen/form_route.h"

/* Of equals the earlier column stands first. */
static void choose_row(const double *scores, int64_t n, int64_t k, double *values, double *chosen) {
    for (int64_t i = 0; i < k; i++) {
        int64_t best = -1;
        for (int64_t col = 0; col < n; col++) {
            bool is_taken = false;
            for (int64_t j = 0; j < i; j++)
                is_taken = is_taken || (int64_t)chosen[j] == col;
            if (!is_taken && (best < 0 || scores[col] > scores[best]))
                best = col;
        }
        chosen[i] = (double)best;
        values[i] = scores[best];
    }
}

static double *result(const Form *form, double *const *args, FormRouteResult which) {
    uint32_t arg = form->route.results[which];
    return arg == FORM_NONE ? NULL : args[arg];
}

/* Experts that are none have no slots. */
static void sort_slots(Arena *arena, const Form *form, double *const *args, const double *experts) {
    int64_t n_experts = form_n_cols(&form->body), n_slots = form_n_slots(form), row = 0;
    double *counts = result(form, args, FORM_ROUTE_COUNTS), *offsets = result(form, args, FORM_ROUTE_OFFSETS);
    double *slot_of_row = result(form, args, FORM_ROUTE_SLOT_OF_ROW);
    double *row_of_slot = result(form, args, FORM_ROUTE_ROW_OF_SLOT), *rows = arena_array_of(arena, double, n_slots);
    int64_t n_rows = slot_of_row ? form->args[form->route.results[FORM_ROUTE_SLOT_OF_ROW]].n_elements : 0;
    for (int64_t i = 0; i < n_rows; i++)
        slot_of_row[i] = -1;
    for (int64_t slot = 0; slot < n_slots; slot++)
        rows[slot] = -1;
    for (int64_t expert = 0; expert < n_experts; expert++) {
        int64_t n = 0, first = row;
        for (int64_t slot = 0; slot < n_slots; slot++) {
            if (experts[slot] < (double)expert || experts[slot] > (double)expert)
                continue;
            n++;
            if (form->route.capacity > 0 && n > form->route.capacity)
                continue;
            if (slot_of_row)
                slot_of_row[row] = (double)slot;
            rows[slot] = (double)row++;
        }
        if (counts)
            counts[expert] = (double)n;
        if (offsets)
            offsets[expert] = (double)first;
    }
    if (offsets)
        offsets[n_experts] = (double)row;
    for (int64_t slot = 0; slot < n_slots && row_of_slot; slot++)
        row_of_slot[slot] = rows[slot];
}

void form_interpret_route(Arena *arena, const Form *form, double *const *args, const double *scores) {
    int64_t n_rows = form_n_rows(&form->body), n_cols = form_n_cols(&form->body), k = form->route.k;
    const double *experts = form->route.given == FORM_NONE ? NULL : args[form->route.given];
    if (!experts) {
        double *values = arena_array_of(arena, double, n_rows *k), *chosen = arena_array_of(arena, double, n_rows *k);
        for (int64_t row = 0; row < n_rows; row++)
            choose_row(scores + row * n_cols, n_cols, k, values + row * k, chosen + row * k);
        double *stored_values = result(form, args, FORM_ROUTE_VALUES);
        double *stored_experts = result(form, args, FORM_ROUTE_EXPERTS);
        for (int64_t slot = 0; slot < n_rows * k; slot++) {
            if (stored_values)
                stored_values[slot] = values[slot];
            if (stored_experts)
                stored_experts[slot] = chosen[slot];
        }
        experts = chosen;
    }
    sort_slots(arena, form, args, experts);
}
