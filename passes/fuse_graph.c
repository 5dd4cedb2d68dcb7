/* Groups of nodes, which of them depend on which, and how they become one. */
#include "ir/block.h"
#include "passes/fuse.h"

/* Of places. Nodes that are further apart would be moved so far that what they read or make lives much longer: what the
   recompute pass has put next to its readers in the backward half stays there. It bounds the steps of a merge, too. */
enum { MAX_DISTANCE = 32 };

/* ---- The graph -------------------------------------------------------------------------------------------------- */

/* The value that the operand shows through views. */
static const Value *shown_value(const Value *value) {
    while (op_info(value->def->op)->class == OP_CLASS_VIEW)
        value = value->def->operands[0];
    return value;
}

/* Readers of a value in list order, each unit once. */
static IndexLists find_readers(Arena *arena, const Graph *graph, const Dependence *units, uint32_t n_values) {
    IndexLists lists = {.starts = arena_array_of(arena, uint32_t, n_values + 2)};
    uint32_t *last = arena_array_of(arena, uint32_t, n_values); /* by value: its last reader's unit + 1 */
    for (int round = 0; round < 2; round++) {                   /* lengths, then items */
        for (const Node *node = graph->first; node; node = node->next) {
            uint32_t unit = units->unit_of[node->results[0].number];
            for (int i = 0; i < node->n_operands && node_computes(node); i++) {
                uint32_t number = shown_value(node->operands[i])->number;
                if (last[number] == unit + 1)
                    continue;
                last[number] = unit + 1;
                if (round == 0)
                    lists.starts[number + 2]++;
                else
                    lists.items[lists.starts[number + 1]++] = unit; /* moves from its list's begin to its end */
            }
        }
        for (uint32_t i = 2; i < n_values + 2 && round == 0; i++)
            lists.starts[i] += lists.starts[i - 1];
        if (round == 0)
            lists.items = arena_array_of(arena, uint32_t, lists.starts[n_values + 1]);
        for (uint32_t i = 0; i < n_values; i++)
            last[i] = 0;
    }
    return lists;
}

/* Whether anything comes of running the node. */
static bool is_needed(const Fuse *fuse, const Node *node) {
    bool is_needed = op_info(node->op)->class == OP_CLASS_UPDATE;
    for (int i = 0; i < node->n_results; i++) {
        uint32_t number = node->results[i].number;
        is_needed = is_needed || fuse->is_output[number] || index_list(&fuse->readers, number).n > 0;
    }
    return is_needed;
}

static FuseGroup *group_new(Fuse *fuse, uint32_t unit, Node *node) {
    FuseGroup *group = arena_new_of(fuse->arena, FuseGroup);
    *group = (FuseGroup){.id = fuse->n_ids++, .place = unit, .n_nodes = 1};
    group->nodes = arena_array_of(fuse->arena, Node *, 1);
    group->nodes[0] = node;
    if (!node_computes(node) || !is_needed(fuse, node))
        return group;
    Arena *arena = arena_new();
    const char *reason;
    const Space *space = space_of(arena, &node, 1, &reason);
    group->has_own_form = !space;
    group->is_open = space || node->op == OP_rope;
    group->has_products = space && fuse_is_skeleton(node);
    group->cost = fuse_count(fuse, &node, 1);
    if (group->is_open)
        fuse_time(space, &group->cost);
    arena_free(arena);
    return group;
}

Fuse fuse_new(Arena *arena, Graph *graph) {
    Fuse fuse = {.arena = arena, .graph = graph, .units = dependence_of(arena, graph)};
    uint32_t n_values = graph_number(graph);
    size_t n_units = fuse.units.n_units;
    fuse.held = held_of(arena, graph);
    fuse.readers = find_readers(arena, graph, &fuse.units, n_values);
    fuse.is_output = arena_array_of(arena, bool, n_values);
    fuse.marked_units = arena_array_of(arena, uint32_t, n_units);
    fuse.marked_reads = arena_array_of(arena, uint32_t, n_values);
    fuse.read_bytes = arena_array_of(arena, double, n_values);
    fuse.groups = arena_array_of(arena, FuseGroup *, n_units);
    fuse.places = arena_array_of(arena, FuseGroup *, n_units);
    for (size_t i = 0; i < graph->n_outputs; i++)
        fuse.is_output[shown_value(graph->outputs[i].value)->number] = true;
    for (Node *node = graph->first; node; node = node->next) {
        uint32_t unit = fuse.units.unit_of[node->results[0].number];
        if (unit != NO_INDEX)
            fuse.groups[unit] = fuse.places[unit] = group_new(&fuse, unit, node);
    }
    return fuse;
}

/* ---- Paths ------------------------------------------------------------------------------------------------------ */

/* A search from one group on for a path to another: every group on it has a place between theirs. */
typedef struct {
    Fuse *fuse;
    const FuseGroup *from, *to;
    FuseGroup *waiting[MAX_DISTANCE];
    size_t n_waiting;
    const FuseGroup *found; /* the last on the path, or NULL */
} PathSearch;

static void visit(PathSearch *at, FuseGroup *group, const FuseGroup *before) {
    if (group == at->to && before != at->from)
        at->found = before;
    if (group == at->from || group->place >= at->to->place || group->visit == at->fuse->n_visits)
        return;
    group->visit = at->fuse->n_visits;
    at->waiting[at->n_waiting++] = group;
}

static void leave(PathSearch *at, const FuseGroup *group) {
    const Fuse *fuse = at->fuse;
    for (size_t i = 0; i < group->n_nodes && !at->found; i++) {
        IndexList next = index_list(&fuse->units.successors, fuse_unit_of(fuse, group->nodes[i]));
        for (uint32_t j = 0; j < next.n && !at->found; j++)
            visit(at, fuse->groups[next.items[j]], group);
    }
}

const char *fuse_find_path(Fuse *fuse, const FuseGroup *a, const FuseGroup *b) {
    bool is_before = a->place < b->place;
    PathSearch search = {.fuse = fuse, .from = is_before ? a : b, .to = is_before ? b : a};
    if (search.to->place - search.from->place > MAX_DISTANCE)
        return "they are far apart";
    fuse->n_visits++;
    leave(&search, search.from);
    while (search.n_waiting > 0 && !search.found)
        leave(&search, search.waiting[--search.n_waiting]);
    return search.found ? arena_printf(fuse->arena, "%s stands between them", op_info(search.found->nodes[0]->op)->name)
                        : NULL;
}

/* ---- Merging ---------------------------------------------------------------------------------------------------- */

size_t fuse_union(const FuseGroup *a, const FuseGroup *b, Node *nodes[SPACE_MAX_NODES]) {
    size_t n = a->n_nodes + b->n_nodes, i = 0, j = 0;
    if (n > SPACE_MAX_NODES)
        return 0;
    while (i + j < n) {
        bool takes_a =
            j == b->n_nodes || (i < a->n_nodes && a->nodes[i]->results[0].number < b->nodes[j]->results[0].number);
        nodes[i + j] = takes_a ? a->nodes[i] : b->nodes[j];
        i += takes_a;
        j += !takes_a;
    }
    return n;
}

/* Of the groups between the two, those that the search has found behind the first go behind the merged one, all others
   before it; one place is left empty. */
static void place_merged(Fuse *fuse, FuseGroup *group, uint32_t first, uint32_t last) {
    FuseGroup *behind[MAX_DISTANCE];
    uint32_t n_behind = 0, place = first;
    for (uint32_t i = first + 1; i < last; i++) {
        FuseGroup *other = fuse->places[i];
        if (other && other->visit == fuse->n_visits)
            behind[n_behind++] = other;
        else
            fuse->places[place++] = other;
    }
    fuse->places[place++] = group;
    for (uint32_t i = 0; i < n_behind; i++)
        fuse->places[place++] = behind[i];
    fuse->places[place] = NULL;
    for (uint32_t i = first; i < last; i++) {
        if (fuse->places[i])
            fuse->places[i]->place = i;
    }
}

FuseGroup *fuse_merge(Fuse *fuse, FuseGroup *a, FuseGroup *b, Node *const *nodes, size_t n, const FuseCost *cost) {
    FuseGroup *group = arena_new_of(fuse->arena, FuseGroup);
    *group = (FuseGroup){.id = fuse->n_ids++,
                         .is_open = true,
                         .has_products = a->has_products || b->has_products,
                         .n_nodes = n,
                         .cost = *cost};
    group->nodes = arena_array_of(fuse->arena, Node *, n);
    for (size_t i = 0; i < n; i++) {
        group->nodes[i] = nodes[i];
        fuse->groups[fuse_unit_of(fuse, nodes[i])] = group;
    }
    bool is_before = a->place < b->place;
    place_merged(fuse, group, is_before ? a->place : b->place, is_before ? b->place : a->place);
    a->is_merged = b->is_merged = true;
    return group;
}
