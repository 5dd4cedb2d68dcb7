/* Routing: which experts a token goes to, and the way of its row there and back. spec/numerics.md, "Routing".

   N tokens choose k experts each. Slot s = token * k + choice. route sorts the slots by expert; a routed tensor has one
   row a kept slot, expert after expert. slot_of_row and row_of_slot are each other's inverse where both are not -1. */
#include "ir/interpret_internal.h"

#include <math.h>
#include <string.h>

#include "ir/ops_internal.h"

/* x[.., E] -> values [.., k] in descending order and their indices i32[.., k]; of equal values the lower index first.
 */
void interpret_top_k(Interpreter *interpreter, const Node *node) {
    const Tensor *x = interpreter_operand(interpreter, node, 0);
    Tensor *values = interpreter_result(interpreter, node, 0);
    Tensor *indices = interpreter_result(interpreter, node, 1);
    int64_t extent = type_extent(&x->type, -1), k = type_extent(&values->type, -1);
    int64_t n_rows = type_n_elements(&x->type) / extent;
    for (int64_t row = 0; row < n_rows; row++) {
        const double *x_row = x->data + row * extent;
        double *chosen = indices->data + row * k;
        for (int64_t j = 0; j < k; j++) {
            int64_t best = -1;
            for (int64_t i = 0; i < extent; i++) {
                bool is_taken = false;
                for (int64_t earlier = 0; earlier < j; earlier++)
                    is_taken = is_taken || chosen[earlier] == (double)i;
                if (!is_taken && (best < 0 || x_row[i] > x_row[best]))
                    best = i;
            }
            chosen[j] = (double)best;
            values->data[row * k + j] = x_row[best];
        }
    }
}

/* indices i32[..] -> [bins]: how often each index occurs. */
void interpret_histogram(Interpreter *interpreter, const Node *node) {
    const Tensor *indices = interpreter_operand(interpreter, node, 0);
    Tensor *result = interpreter_result(interpreter, node, 0);
    int64_t n_bins = type_n_elements(&result->type), n_indices = type_n_elements(&indices->type);
    for (int64_t i = 0; i < n_indices; i++) {
        if (!interpreter_check_index(interpreter, node, "bin", indices->data[i], n_bins))
            return;
        result->data[(int64_t)indices->data[i]]++;
    }
}

/* indices i32[.., k] -> offsets i32[E+1], slot_of_row i32[R] (-1 past the last offset), row_of_slot i32[.., k] (-1 for
   a dropped slot). An expert keeps its first `capacity` slots in slot order; 0 keeps all. */
void interpret_route(Interpreter *interpreter, const Node *node) {
    const Tensor *indices = interpreter_operand(interpreter, node, 0);
    Tensor *offsets = interpreter_result(interpreter, node, 0);
    Tensor *slot_of_row = interpreter_result(interpreter, node, 1);
    Tensor *row_of_slot = interpreter_result(interpreter, node, 2);
    int64_t n_experts = attrs_int(&node->attrs, "experts", 0), capacity = attrs_int(&node->attrs, "capacity", 0);
    int64_t n_slots = type_n_elements(&indices->type), n_rows = type_n_elements(&slot_of_row->type);
    for (int64_t slot = 0; slot < n_slots; slot++) {
        if (!interpreter_check_index(interpreter, node, "expert", indices->data[slot], n_experts))
            return;
        row_of_slot->data[slot] = -1;
    }
    for (int64_t row = 0; row < n_rows; row++)
        slot_of_row->data[row] = -1;

    int64_t row = 0;
    for (int64_t expert = 0; expert < n_experts; expert++) {
        int64_t n_kept = 0;
        for (int64_t slot = 0; slot < n_slots; slot++) {
            if (indices->data[slot] != (double)expert || (capacity > 0 && n_kept == capacity))
                continue;
            if (row == n_rows) {
                interpreter_fail(interpreter, node, "more slots are kept than the %lld rows there are",
                                 (long long)n_rows);
                return;
            }
            slot_of_row->data[row] = (double)slot;
            row_of_slot->data[slot] = (double)row;
            row++;
            n_kept++;
        }
        offsets->data[expert + 1] = (double)row;
    }
}

/* (x, slot_of_row, row_of_slot) -> [~R, rest..]: row r is x's row for slot_of_row[r]. x has a row for each token
   ([N.., rest..]) or, with per_slot, for each slot ([N.., k, rest..]). Rows without a slot are NaN. */
void interpret_dispatch(Interpreter *interpreter, const Node *node) {
    const Tensor *x = interpreter_operand(interpreter, node, 0);
    const Tensor *slot_of_row = interpreter_operand(interpreter, node, 1);
    const Tensor *row_of_slot = interpreter_operand(interpreter, node, 2);
    Tensor *result = interpreter_result(interpreter, node, 0);
    int64_t n_rows = type_n_elements(&slot_of_row->type), width = type_n_elements(&result->type) / n_rows;
    int64_t n_slots = type_n_elements(&row_of_slot->type);
    int64_t slots_per_source = n_slots * width / type_n_elements(&x->type); /* k, or 1 with per_slot */
    for (int64_t row = 0; row < n_rows; row++) {
        double slot = slot_of_row->data[row];
        for (int64_t j = 0; slot == -1 && j < width; j++)
            result->data[row * width + j] = NAN;
        if (slot == -1)
            continue;
        if (!interpreter_check_index(interpreter, node, "slot", slot, n_slots))
            return;
        memcpy(result->data + row * width, x->data + (int64_t)slot / slots_per_source * width,
               sizeof(double) * (size_t)width);
    }
}

/* Adjoint of dispatch: (y[~R, rest..], slot_of_row, row_of_slot) -> [N.., rest..], the sum over a token's kept slots of
   their rows, or with per_slot [N.., k, rest..]. A dropped slot adds nothing. */
void interpret_combine(Interpreter *interpreter, const Node *node) {
    const Tensor *y = interpreter_operand(interpreter, node, 0);
    const Tensor *row_of_slot = interpreter_operand(interpreter, node, 2);
    Tensor *result = interpreter_result(interpreter, node, 0);
    int64_t n_rows = type_extent(&y->type, 0), width = type_n_elements(&y->type) / n_rows;
    int64_t n_slots = type_n_elements(&row_of_slot->type);
    int64_t slots_per_result = n_slots * width / type_n_elements(&result->type); /* k, or 1 with per_slot */
    for (int64_t slot = 0; slot < n_slots; slot++) {
        double row = row_of_slot->data[slot];
        if (row == -1)
            continue;
        if (!interpreter_check_index(interpreter, node, "row", row, n_rows))
            return;
        for (int64_t j = 0; j < width; j++)
            result->data[slot / slots_per_result * width + j] += y->data[(int64_t)row * width + j];
    }
}
