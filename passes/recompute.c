/* Keep or compute again: passes/recompute.h says in which terms.

   In: graph "train", simplified; the directive "memory" where there is a budget. Out: the same values and writes, bit
   for bit, with clones of forward nodes in the backward half, right before who first reads them, and the attributes
   "recomputed.." of passes/passes.h. What is cheap to compute again always is; with a budget as much more as it takes
   for the plan to fit, without one a little more where that pays, which is found by making the plan. Never here: the
   order of nodes beyond that, offsets. */
#include "passes/recompute.h"

#include <inttypes.h>
#include <string.h>

#include "ir/block.h"
#include "passes/liveness.h"
#include "passes/passes.h"

/* Drops what is cheap, and the first n places of the list. */
static RecomputeResult drop(Graph *graph, const RecomputeList *list, size_t n) {
    Arena *arena = arena_new();
    Recompute survey = recompute_survey(arena, graph);
    recompute_drop_cheap(&survey);
    for (size_t i = 0; i < n; i++)
        survey.items[list->items[i].place].is_dropped = true;
    RecomputeResult result = recompute_clone(&survey);
    arena_free(arena);
    return result;
}

/* ---- The plan that it would come to ----------------------------------------------------------------------------- */

typedef struct {
    int64_t n_bytes;     /* of the arena; INT64_MAX where there is no plan */
    bool is_behind_loss; /* it is fullest when no output is left to compute */
} Outlook;

static void ignore(Reporter *self, ReportKind kind, const Module *module, Loc loc, const char *message) {
    (void)self, (void)kind, (void)module, (void)loc, (void)message;
}

static bool is_fullest_behind_loss(Arena *arena, Graph *graph) {
    Liveness liveness;
    if (!liveness_of(arena, graph, &liveness))
        return false;
    Recompute survey = recompute_survey(arena, graph);
    for (size_t i = liveness.peak; i < survey.n_items; i++) { /* place i - 1 is time i */
        if (!survey.items[i].is_backward && node_computes(survey.items[i].node))
            return false;
    }
    return liveness.peak > survey.backward_begin;
}

/* What a copy of the graph comes to after the passes that are still to run. `list` NULL: as it stands. */
static Outlook plan_copy(const Graph *graph, const RecomputeList *list, size_t n) {
    Arena *arena = arena_new();
    Module module = *graph->module;
    module.arena = arena;
    module.graphs = NULL;
    module.n_graphs = module.graphs_capacity = 0;
    Graph source = *graph;
    source.module = &module;
    Graph *copy = graph_clone(&source, graph->name);
    if (list)
        drop(copy, list, n);
    Reporter reporter = {.emit = ignore};
    bool succeeded = true;
    for (const Pass *pass = pass_find("recompute") + 1; pass->name && succeeded; pass++)
        succeeded = pass->run(&module, &reporter);
    Outlook outlook = {.n_bytes = INT64_MAX};
    if (succeeded) {
        outlook.n_bytes = attrs_int(&copy->attrs, "arena_bytes", INT64_MAX);
        outlook.is_behind_loss = is_fullest_behind_loss(arena, copy);
    }
    arena_free(arena);
    return outlook;
}

static int64_t planned_bytes(const Graph *graph, const RecomputeList *list, size_t n) {
    return plan_copy(graph, list, n).n_bytes;
}

/* Gradients in the arena are added up outside of it where a step has several micro-batches. */
static int64_t state_bytes(const Module *module) {
    int64_t n_bytes = 0;
    bool counts_gradients = !gradients_are_in_arena(module) || passes_n_micro_batches(module) > 1;
    for (size_t i = 0; i < module->n_states; i++) {
        const State *state = module->states[i];
        n_bytes += counts_gradients || strcmp(state->kind, "grad") != 0 ? arena_bytes_of(&state->type) : 0;
    }
    return n_bytes;
}

/* The arena that the graphs other than this need. */
static int64_t other_bytes(const Module *module, const Graph *graph) {
    int64_t largest = 0;
    for (size_t i = 0; i < module->n_graphs; i++) {
        int64_t n_bytes = module->graphs[i] == graph ? 0 : planned_bytes(module->graphs[i], NULL, 0);
        largest = n_bytes > largest ? n_bytes : largest;
    }
    return largest;
}

/* What could be dropped beside what is cheap, and the time of all nodes. */
static RecomputeList list_of(Arena *arena, Graph *graph, double *time) {
    Recompute survey = recompute_survey(arena, graph);
    recompute_drop_cheap(&survey);
    *time = survey.time;
    return recompute_drop_rest(&survey);
}

/* ---- Without a budget ------------------------------------------------------------------------------------------- */

/* The time that a step may take longer, as a share of it. */
static const double MOST_TIME = 0.01;

/* How much of the list to drop where nobody asked for less memory. While the loss is computed all that is saved is
   there, and less is a choice between memory and time. But where the arena is fullest behind that, a few kernels of the
   backward half stand out, and to take something from under them pays if all that a run holds gets smaller by a larger
   share than a step gets longer. */
static size_t find_default_length(const Graph *graph, const RecomputeList *list, double step_time) {
    double time = 0, n_bytes = 0;
    size_t n = 0;
    if (attrs_find(&graph->attrs, "recomputed")) /* an earlier run of the pass has had its share */
        return 0;
    for (; n < list->n && time + list->items[n].time <= MOST_TIME * step_time; n++) {
        time += list->items[n].time;
        n_bytes += (double)list->items[n].n_bytes;
    }
    double share = time / step_time, n_state_bytes = (double)state_bytes(graph->module);
    if (n == 0 || n_bytes <= share * n_state_bytes) /* plans take time */
        return 0;
    Outlook before = plan_copy(graph, list, 0);
    if (!before.is_behind_loss)
        return 0;
    int64_t others = other_bytes(graph->module, graph), after = planned_bytes(graph, list, n);
    after = after > others ? after : others;
    return (double)(before.n_bytes - after) > share * (n_state_bytes + (double)before.n_bytes) ? n : 0;
}

/* ---- The budget ------------------------------------------------------------------------------------------------- */

/* How much of the list to drop so that the graph needs at most `budget` bytes: of so many equal steps along the list
   the first that does, and within that step the least by bisection. False where none does; *least is what the best of
   them needs. */
enum { N_LIST_STEPS = 16 };

static bool find_length(const Graph *graph, const RecomputeList *list, int64_t budget, size_t *length, int64_t *least) {
    size_t low = 0, high = 0;
    *least = planned_bytes(graph, list, 0);
    for (size_t step = 1; *least > budget && step <= N_LIST_STEPS; step++) {
        low = high;
        high = list->n * step / N_LIST_STEPS;
        int64_t n_bytes = high > low ? planned_bytes(graph, list, high) : INT64_MAX;
        *least = n_bytes < *least ? n_bytes : *least;
    }
    while (*least <= budget && high - low > 1) {
        size_t middle = low + (high - low) / 2;
        bool fits = planned_bytes(graph, list, middle) <= budget;
        *(fits ? &high : &low) = middle;
    }
    *length = high;
    return *least <= budget;
}

/* "123M": at least so many bytes, as the command line takes them. */
static const char *round_up(Arena *arena, int64_t n_bytes) {
    static const char units[] = "KMG";
    int64_t unit = 1024;
    int i = 0;
    for (; i < 2 && n_bytes >= 100000 * unit; i++)
        unit *= 1024;
    return arena_printf(arena, "%" PRId64 "%c", n_bytes / unit + (n_bytes % unit > 0), units[i]);
}

static void report_excess(Reporter *reporter, const Module *module, const Directive *memory, int64_t least) {
    Arena *arena = module->arena;
    int64_t n_state_bytes = state_bytes(module);
    report_error(reporter, module, memory->loc,
                 "a run needs at least %s: %s for weights, gradients and moments, %s for activations with all computed "
                 "again that can be; the memory budget is %" PRId64 " bytes: raise it, or make the micro-batch, the "
                 "sequence or the model smaller",
                 round_up(arena, n_state_bytes + least), round_up(arena, n_state_bytes), round_up(arena, least),
                 attrs_int(&memory->attrs, "budget", 0));
}

/* ---- The pass -------------------------------------------------------------------------------------------------- */

static void set_attrs(Graph *graph, const RecomputeResult *result) {
    Arena *arena = graph->module->arena;
    if (result->n_values == 0) /* what an earlier run of the pass has done stands */
        return;
    attrs_set_int(arena, &graph->attrs, "recomputed", result->n_values);
    attrs_set_int(arena, &graph->attrs, "recomputed_bytes", result->n_bytes);
    attrs_set_float(arena, &graph->attrs, "recomputed_flops", result->flops);
}

/* How much of the list to drop. False after an error. */
static bool keep_to_budget(const Directive *memory, Graph *graph, const RecomputeList *list, Reporter *reporter,
                           size_t *length) {
    const Module *module = graph->module;
    const Attr *budget = attrs_find(&memory->attrs, "budget");
    if (!budget || budget->kind != ATTR_INT) {
        report_error(reporter, module, memory->loc, "directive memory needs an attribute budget, in whole bytes");
        return false;
    }
    int64_t others = other_bytes(module, graph), least, most = budget->as.i - state_bytes(module);
    if (find_length(graph, list, most, length, &least) && others <= most)
        return true;
    report_excess(reporter, module, memory, others > least ? others : least);
    return false;
}

bool recompute_run(Module *module, Reporter *reporter) {
    Graph *graph = module_find_graph(module, "train");
    const Directive *memory = module_find_directive(module, "memory");
    if (!graph)
        return true;
    Arena *arena = arena_new();
    double step_time;
    RecomputeList list = list_of(arena, graph, &step_time);
    size_t length = 0;
    bool succeeded = true;
    if (memory)
        succeeded = keep_to_budget(memory, graph, &list, reporter, &length);
    else
        length = find_default_length(graph, &list, step_time);
    if (succeeded) {
        RecomputeResult result = drop(graph, &list, length);
        set_attrs(graph, &result);
    }
    arena_free(arena);
    return succeeded;
}
