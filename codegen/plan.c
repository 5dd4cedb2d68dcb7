#include "codegen/plan.h"

#include <assert.h>
#include <string.h>

#include "ir/block.h"
#include "ir/names.h"
#include "ir/view.h"

enum { ALIGNMENT = 64 };

/* The collection under way. */
typedef struct {
    Arena *arena;
    Reporter *reporter;
    Plan *plan;
    Names states;           /* name -> index in the module's list */
    PlanAddress *addresses; /* of the module's states */
    PlanProgram *program;
    const int64_t *offsets; /* of the program's values in the arena */
    size_t *last_uses;      /* of the program's values: number of the last launch that has it as an argument, from 1; 0
                               where its storage is not free then */
} Collector;

/* ---- States ---------------------------------------------------------------------------------------------------- */

static PlanSpace space_of_state(const State *state) {
    static const char *const kinds[] = {
#define X(id, kind, title) kind,
        PLAN_SPACES(X)
#undef X
    };
    PlanSpace space = PLAN_WEIGHT;
    while (space < PLAN_ARENA && strcmp(kinds[space], state->kind) != 0)
        space++;
    assert(space < PLAN_ARENA);
    return space;
}

static int64_t align(int64_t n_bytes) {
    return (n_bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static void add_weights(Collector *at) {
    Plan *plan = at->plan;
    const Module *module = plan->module;
    int64_t n_bytes = 0;
    plan->weights = arena_array_of(at->arena, PlanWeight, module->n_states);
    for (size_t i = 0; i < module->n_states; i++) {
        const State *state = module->states[i];
        names_add(&at->states, state->name, i);
        if (space_of_state(state) != PLAN_WEIGHT)
            continue;
        plan->weights[plan->n_weights++] = (PlanWeight){.state = state, .offset = n_bytes};
        at->addresses[i] = (PlanAddress){PLAN_WEIGHT, n_bytes};
        n_bytes += align(type_n_bytes(&state->type));
    }
    plan->space_bytes[PLAN_WEIGHT] = n_bytes;
}

/* "grad:NAME" stands at the offset of weight NAME. */
static void add_companions(Collector *at) {
    const Module *module = at->plan->module;
    for (size_t i = 0; i < module->n_states; i++) {
        const State *state = module->states[i];
        PlanSpace space = space_of_state(state);
        size_t weight;
        if (space == PLAN_WEIGHT)
            continue;
        bool has_weight = names_find(&at->states, state->name + strlen(state->kind) + 1, &weight);
        assert(has_weight);
        (void)has_weight;
        at->addresses[i] = (PlanAddress){space, at->addresses[weight].offset};
        at->plan->space_bytes[space] = at->plan->space_bytes[PLAN_WEIGHT];
    }
}

/* ---- Programs -------------------------------------------------------------------------------------------------- */

static PlanAddress address_of_owner(const Collector *at, const Value *owner) {
    if (owner->def->op != OP_state) {
        int64_t offset = at->offsets[owner->number];
        assert(offset >= 0);
        return (PlanAddress){PLAN_ARENA, offset};
    }
    size_t state;
    bool is_known = names_find(&at->states, attrs_string(&owner->def->attrs, "name", ""), &state);
    assert(is_known);
    (void)is_known;
    return at->addresses[state];
}

static PlanAddress address_of(const Collector *at, const LoweredArgument *place) {
    PlanAddress address = address_of_owner(at, place->owner);
    address.offset += place->offset * (int64_t)dtype_size(place->owner->type.dtype);
    return address;
}

/* Of a launch's argument: of its packed copy where that is meant. */
static PlanAddress address_of_argument(Collector *at, const LoweredArgument *argument) {
    PlanAddress address = address_of(at, argument);
    if (!argument->packed)
        return address;
    size_t index = plan_add_packed(at->arena, at->plan, address, argument->packed, at->program->graph);
    return (PlanAddress){PLAN_PACKED, (int64_t)index};
}

/* Of the value's first element. */
static PlanAddress address_of_value(const Collector *at, Value *value) {
    View view;
    bool has_map = view_of(value, &view);
    assert(has_map);
    (void)has_map;
    return address_of(at, &(LoweredArgument){.owner = view.owner, .offset = view.offset});
}

/* The launch of what `first` begins: its block, or itself. */
static bool add_launch(Collector *at, Node *first, const LoweredStorage *storage) {
    PlanProgram *program = at->program;
    size_t n = 1;
    Node **nodes = first->block ? block_nodes(at->arena, first, &n) : &first;
    KernelCall call;
    if (!kernels_add(at->plan->kernels, nodes, n, storage, at->reporter, &call))
        return false;
    PlanLaunch launch = {
        .node = nodes[n - 1], .kernel = call.kernel, .first_arg = program->n_args, .n_args = call.n_args};
    arena_push(at->arena, program->launches, program->n_launches, program->launches_capacity, launch);
    for (size_t i = 0; i < call.n_args; i++) {
        PlanAddress address = address_of_argument(at, &call.args[i]);
        arena_push(at->arena, program->args, program->n_args, program->args_capacity, address);
        at->last_uses[call.args[i].owner->number] = program->n_launches;
        if (call.args[i].replaced)
            at->last_uses[call.args[i].replaced->number] = 0;
    }
    return true;
}

/* Which values each launch is the last to use; outputs live on, and so does what holds another value now. */
static void add_ends(Collector *at, const Graph *graph) {
    PlanProgram *program = at->program;
    const Value ***ends = arena_array_of(at->arena, const Value **, program->n_launches + 1);
    size_t *counts = arena_array_of(at->arena, size_t, program->n_launches + 1);
    size_t *capacities = arena_array_of(at->arena, size_t, program->n_launches + 1);
    for (size_t i = 0; i < graph->n_outputs; i++)
        at->last_uses[view_owner(graph->outputs[i].value)->number] = 0;
    for (const Node *node = graph->first; node; node = node->next) {
        for (int i = 0; i < node->n_results; i++) {
            const Value *value = &node->results[i];
            size_t launch = at->last_uses[value->number];
            if (launch > 0 && at->offsets[value->number] >= 0 && node->op != OP_state)
                arena_push(at->arena, ends[launch], counts[launch], capacities[launch], value);
        }
    }
    for (size_t i = 0; i < program->n_launches; i++) {
        program->launches[i].first_end = program->n_ends;
        program->launches[i].n_ends = counts[i + 1];
        for (size_t j = 0; j < counts[i + 1]; j++)
            arena_push(at->arena, program->ends, program->n_ends, program->ends_capacity, ends[i + 1][j]);
    }
}

static void add_input(Collector *at, Node *node) {
    Value *value = &node->results[0];
    PlanTensor input = {attrs_string(&node->attrs, "name", ""), &value->type, address_of_value(at, value)};
    arena_push(at->arena, at->program->inputs, at->program->n_inputs, at->program->inputs_capacity, input);
}

/* A gradient that has a place in the arena, the same in all programs. */
static void move_gradient(Collector *at, const Node *node) {
    int64_t offset = at->offsets[node->results[0].number];
    size_t state;
    if (offset >= 0 && names_find(&at->states, attrs_string(&node->attrs, "name", ""), &state))
        at->addresses[state] = (PlanAddress){PLAN_ARENA, offset};
}

static void set_gradients(Collector *at) {
    for (size_t i = 0; i < at->plan->n_weights; i++) {
        PlanWeight *weight = &at->plan->weights[i];
        size_t gradient;
        if (names_find(&at->states, arena_printf(at->arena, "grad:%s", weight->state->name), &gradient))
            weight->gradient = at->addresses[gradient];
    }
}

static void add_outputs(Collector *at, const Graph *graph) {
    PlanProgram *program = at->program;
    program->n_outputs = graph->n_outputs;
    program->outputs = arena_array_of(at->arena, PlanTensor, graph->n_outputs);
    for (size_t i = 0; i < graph->n_outputs; i++) {
        const Output *output = &graph->outputs[i];
        program->outputs[i] = (PlanTensor){output->name, &output->value->type, address_of_value(at, output->value)};
    }
}

static bool add_program(Collector *at, const Graph *graph) {
    int n_offsets;
    at->program = &at->plan->programs[at->plan->n_programs++];
    at->offsets = attrs_ints(&graph->attrs, "offsets", &n_offsets);
    *at->program = (PlanProgram){.graph = graph,
                                 .arena_bytes = attrs_int(&graph->attrs, "arena_bytes", 0),
                                 .lower_bound = attrs_int(&graph->attrs, "lower_bound", 0)};
    uint32_t n_values = graph_number(graph);
    assert(n_values == (uint32_t)n_offsets);
    at->last_uses = arena_array_of(at->arena, size_t, n_values);
    LoweredStorage storage = {block_escapes(at->arena, graph), at->offsets,
                              plan_find_packable(at->arena, graph, n_values)};
    const Block *block = NULL; /* of the launch before */
    bool succeeded = true;
    for (Node *node = graph->first; node; node = node->next) {
        if (node->op == OP_state)
            move_gradient(at, node);
        else if (node->op == OP_input)
            add_input(at, node);
        else if (node_computes(node) && (!node->block || node->block != block))
            succeeded = add_launch(at, node, &storage) && succeeded;
        block = node_computes(node) ? node->block : block;
    }
    add_outputs(at, graph);
    add_ends(at, graph);
    if (at->plan->space_bytes[PLAN_ARENA] < at->program->arena_bytes)
        at->plan->space_bytes[PLAN_ARENA] = at->program->arena_bytes;
    return succeeded;
}

int64_t plan_n_micro_batches(const Plan *plan) {
    const Directive *train = module_find_directive(plan->module, "train");
    int64_t n_sequences = train ? attrs_int(&train->attrs, "global_batch", 1) : 1;
    int64_t micro_batch = plan->figures.micro_batch;
    return n_sequences > micro_batch && micro_batch > 0 ? n_sequences / micro_batch : 1;
}

int64_t plan_bytes_of(const Plan *plan, PlanSpace space) {
    bool is_in_arena = plan->n_weights > 0 && plan->weights[0].gradient.space == PLAN_ARENA;
    bool is_needed = space != PLAN_GRAD || !is_in_arena || plan_n_micro_batches(plan) > 1;
    return is_needed ? plan->space_bytes[space] : 0;
}

int64_t plan_bytes(const Plan *plan) {
    int64_t n_bytes = 0;
    for (PlanSpace space = 0; space < PLAN_SPACE_COUNT; space++)
        n_bytes += plan_bytes_of(plan, space);
    return n_bytes;
}

Plan *plan_collect(Arena *arena, const Module *module, Reporter *reporter) {
    Plan *plan = arena_new_of(arena, Plan);
    *plan = (Plan){.module = module,
                   .kernels = kernels_new(arena, module),
                   .packed_indices.arena = arena,
                   .figures = plan_figures(module)};
    Collector at = {.arena = arena, .reporter = reporter, .plan = plan, .states = {.arena = arena}};
    at.addresses = arena_array_of(arena, PlanAddress, module->n_states);
    add_weights(&at);
    add_companions(&at);
    plan->programs = arena_array_of(arena, PlanProgram, module->n_graphs);
    bool succeeded = true;
    for (size_t i = 0; i < module->n_graphs; i++)
        succeeded = add_program(&at, module->graphs[i]) && succeeded;
    set_gradients(&at);
    plan_finish_packed(arena, plan);
    return succeeded ? plan : NULL;
}
