/* Copies of weights that are kept packed, as the launches' arguments name them (spec/kernels.md, "Packed weights").

   A run makes those that its programs read often enough, after each change of the weights, and hands products NULL in
   place of the others: results are the same. */
#include <stdlib.h>
#include <string.h>

#include "codegen/plan.h"
#include "ir/view.h"

enum { ALIGNMENT = 64, LANES = 16 };

/* Which states, by index, nothing but "update" changes: weights, and what it makes of them. */
static bool *find_weights(Arena *arena, const Module *module) {
    bool *are_weights = arena_array_of(arena, bool, module->n_states + 1);
    for (size_t i = 0; i < module->n_states; i++)
        are_weights[i] = strcmp(module->states[i]->kind, "grad") != 0;
    for (size_t i = 0; i < module->n_graphs; i++) {
        bool is_update = strcmp(module->graphs[i]->name, "update") == 0;
        for (const Node *node = module->graphs[i]->first; node && !is_update; node = node->next) {
            for (int j = 0; op_info(node->op)->class == OP_CLASS_UPDATE && j < node->n_results; j++) {
                const Node *state = view_owner(node->operands[j])->def;
                size_t index;
                if (names_find(&module->state_indices, attrs_string(&state->attrs, "name", ""), &index))
                    are_weights[index] = false;
            }
        }
    }
    return are_weights;
}

const bool *plan_find_packable(Arena *arena, const Graph *graph, uint32_t n_values) {
    const bool *are_weights = find_weights(arena, graph->module);
    bool *is_packable = arena_array_of(arena, bool, n_values + 1);
    for (const Node *node = graph->first; node && strcmp(graph->name, "update") != 0; node = node->next) {
        size_t index;
        if (node->op == OP_state &&
            names_find(&graph->module->state_indices, attrs_string(&node->attrs, "name", ""), &index))
            is_packable[node->results[0].number] = are_weights[index];
    }
    return is_packable;
}

/* What the kernels need that the compiler knows of; a processor that needs more keeps none (runtime/packed.h). */
static int64_t packed_bytes(const LoweredPacked *shape) {
    int64_t n_lines = (shape->n_cols + LANES - 1) / LANES * LANES;
    int64_t n_bytes = (shape->n_groups * n_lines * shape->k + LANES) * (int64_t)sizeof(float);
    return (n_bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

size_t plan_add_packed(Arena *arena, Plan *plan, PlanAddress address, const LoweredPacked *shape, const Graph *reader) {
    const char *key =
        arena_printf(arena, "%d %lld %lld %lld %lld %lld %lld %lld", (int)address.space, (long long)address.offset,
                     (long long)shape->n_groups, (long long)shape->n_cols, (long long)shape->k,
                     (long long)shape->stride, (long long)shape->k_stride, (long long)shape->group_stride);
    size_t index = plan->n_packed;
    if (!names_find(&plan->packed_indices, key, &index)) {
        names_add(&plan->packed_indices, key, index);
        PlanPacked packed = {.from = address, .shape = *shape, .n_bytes = packed_bytes(shape)};
        arena_push(arena, plan->packed, plan->n_packed, plan->packed_capacity, packed);
    }
    PlanPacked *packed = &plan->packed[index];
    packed->n_trained += strcmp(reader->name, "train") == 0;
    packed->n_evaluated += strcmp(reader->name, "eval") == 0;
    packed->n_generated += strcmp(reader->name, "generate") == 0;
    packed->number = index;
    return index;
}

/* What a step reads most often first. */
static int more_often_first(const void *left, const void *right) {
    const PlanPacked *a = left, *b = right;
    int order = (a->n_trained < b->n_trained) - (a->n_trained > b->n_trained);
    return order ? order : (a->number > b->number) - (a->number < b->number);
}

static void renumber(Arena *arena, Plan *plan) {
    size_t *numbers = arena_array_of(arena, size_t, plan->n_packed + 1);
    for (size_t i = 0; i < plan->n_packed; i++)
        numbers[plan->packed[i].number] = i;
    for (size_t i = 0; i < plan->n_programs; i++) {
        for (size_t j = 0; j < plan->programs[i].n_args; j++) {
            PlanAddress *address = &plan->programs[i].args[j];
            if (address->space == PLAN_PACKED)
                address->offset = (int64_t)numbers[address->offset];
        }
    }
}

/* Bytes that a memory budget leaves; without one, INT64_MAX. */
static int64_t bytes_left(const Plan *plan) {
    const Directive *memory = module_find_directive(plan->module, "memory");
    int64_t budget = memory ? attrs_int(&memory->attrs, "budget", 0) : 0, left = budget - plan_bytes(plan);
    return budget == 0 ? INT64_MAX : left > 0 ? left : 0;
}

/* How often a copy must spare packing in a run of "train" to be worth its memory: the share of a step's time that this
   saves, times WORTH, is then the share of its memory that the copy takes. Under a budget memory costs nothing. */
static double least_spared(const Plan *plan, const PlanPacked *packed) {
    enum { WORTH = 3 };
    const LoweredPacked *shape = &packed->shape;
    const PlanFigures *figures = &plan->figures;
    if (plan->packed_limit < INT64_MAX)
        return 0;
    double n_elements = (double)shape->n_groups * (double)shape->n_cols * (double)shape->k;
    double flops = n_elements * 2 * LOWERED_PACKING_ROWS;
    double all_flops = figures->flops_per_token * (double)(figures->micro_batch * figures->sequence);
    return (double)packed->n_bytes / (double)plan_bytes(plan) / WORTH * all_flops / flops;
}

/* Of n micro-batches, one packing is that which makes the copy. */
static bool pays(const PlanPacked *packed, int64_t n_micro_batches) {
    double n_spared = (double)packed->n_trained - 1.0 / (double)n_micro_batches;
    return n_spared > 0 && n_spared >= packed->least_spared;
}

void plan_finish_packed(Arena *arena, Plan *plan) {
    if (plan->n_packed > 1)
        qsort(plan->packed, plan->n_packed, sizeof *plan->packed, more_often_first);
    renumber(arena, plan);
    plan->packed_limit = bytes_left(plan);
    int64_t n_micro_batches = plan_n_micro_batches(plan);
    for (size_t i = 0; i < plan->n_packed; i++) {
        PlanPacked *packed = &plan->packed[i];
        packed->least_spared = least_spared(plan, packed);
        packed->pays = pays(packed, n_micro_batches);
        packed->is_made = packed->pays && packed->n_bytes <= plan->packed_limit - plan->packed_bytes;
        plan->packed_bytes += packed->is_made ? packed->n_bytes : 0;
    }
}
