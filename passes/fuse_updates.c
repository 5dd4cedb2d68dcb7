/* Updates: the step of an optimizer on each weight, as one kernel whatever the number of weights. */
#include "ir/block.h"
#include "passes/fuse.h"

/* Updates that may be one computation, in list order. */
typedef struct {
    Node **nodes;
    size_t n, capacity;
} Candidates;

typedef struct {
    Candidates *items;
    size_t n, capacity;
} CandidateLists;

static bool is_update_alone(const FuseGroup *group) {
    const Node *node = group->nodes[0];
    return group->is_open && group->n_nodes == 1 && op_info(node->op)->class == OP_CLASS_UPDATE &&
           node->n_operands > node->n_results;
}

/* Whether what they read beside states is the same: ir/space.h has the last word, on all of them. */
static bool may_be_one(const Node *a, const Node *b) {
    bool may = a->op == b->op && a->n_operands == b->n_operands;
    for (int i = a->n_results; i < a->n_operands && may; i++)
        may = a->operands[i] == b->operands[i];
    return may && attrs_equal(&a->attrs, &b->attrs);
}

static CandidateLists find_candidates(const Fuse *fuse) {
    CandidateLists lists = {0};
    for (size_t unit = 0; unit < fuse->units.n_units; unit++) {
        const FuseGroup *group = fuse->groups[unit];
        if (!is_update_alone(group))
            continue;
        size_t i = 0;
        while (i < lists.n && !may_be_one(lists.items[i].nodes[0], group->nodes[0]))
            i++;
        if (i == lists.n)
            arena_push(fuse->arena, lists.items, lists.n, lists.capacity, (Candidates){0});
        Candidates *list = &lists.items[i];
        arena_push(fuse->arena, list->nodes, list->n, list->capacity, group->nodes[0]);
    }
    return lists;
}

/* ---- What must come after what ---------------------------------------------------------------------------------- */

static FuseGroup *group_of(const Fuse *fuse, const Node *node) {
    return fuse->groups[fuse_unit_of(fuse, node)];
}

/* Marks the groups that need the group. */
static void mark_next(const Fuse *fuse, const FuseGroup *group) {
    for (size_t i = 0; i < group->n_nodes; i++) {
        IndexList next = index_list(&fuse->units.successors, fuse_unit_of(fuse, group->nodes[i]));
        for (uint32_t j = 0; j < next.n; j++) {
            FuseGroup *reader = fuse->groups[next.items[j]];
            if (reader != group)
                reader->visit = fuse->n_visits;
        }
    }
}

/* Leaves out those that need others of the list, or something between. Marked are groups that need a candidate; all of
   them come behind it in `places`, which no search for a path reads any more. */
static void leave_dependent(Fuse *fuse, Candidates *list) {
    bool *is_candidate = arena_array_of(fuse->arena, bool, fuse->n_ids);
    size_t n_kept = 0;
    for (size_t i = 0; i < list->n; i++)
        is_candidate[group_of(fuse, list->nodes[i])->id] = true;
    fuse->n_visits++;
    for (size_t place = 0; place < fuse->units.n_units; place++) {
        const FuseGroup *group = fuse->places[place];
        if (!group)
            continue;
        bool is_marked = group->visit == fuse->n_visits;
        is_candidate[group->id] = is_candidate[group->id] && !is_marked;
        if (is_marked || is_candidate[group->id])
            mark_next(fuse, group);
    }
    for (size_t i = 0; i < list->n; i++) {
        if (is_candidate[group_of(fuse, list->nodes[i])->id])
            list->nodes[n_kept++] = list->nodes[i];
    }
    list->n = n_kept;
}

/* ---- Joining ---------------------------------------------------------------------------------------------------- */

static bool can_be_one(const Candidates *list) {
    Arena *arena = arena_new();
    const char *reason;
    bool can = list->n > 1 && space_of(arena, list->nodes, list->n, &reason);
    arena_free(arena);
    return can;
}

/* The group after all that is not marked, before all that is. */
static void place_joined(Fuse *fuse, FuseGroup *joined) {
    size_t n_units = fuse->units.n_units, n = 0;
    FuseGroup **places = arena_array_of(fuse->arena, FuseGroup *, n_units);
    for (int marked = 0; marked < 2; marked++) {
        for (size_t i = 0; i < n_units; i++) {
            FuseGroup *group = fuse->places[i];
            if (group && !group->is_merged && (group->visit == fuse->n_visits) == marked)
                places[n++] = group;
        }
        if (!marked)
            places[n++] = joined;
    }
    fuse->places = places;
}

static void join(Fuse *fuse, const Candidates *list) {
    FuseGroup *group = arena_new_of(fuse->arena, FuseGroup);
    *group = (FuseGroup){.id = fuse->n_ids++,
                         .is_open = true,
                         .nodes = list->nodes,
                         .n_nodes = list->n,
                         .cost = fuse_count(fuse, list->nodes, list->n)};
    for (size_t i = 0; i < list->n; i++) {
        group_of(fuse, list->nodes[i])->is_merged = true;
        fuse->groups[fuse_unit_of(fuse, list->nodes[i])] = group;
    }
    place_joined(fuse, group);
}

void fuse_join_updates(Fuse *fuse) {
    CandidateLists lists = find_candidates(fuse);
    for (size_t i = 0; i < lists.n; i++) {
        if (lists.items[i].n < 2)
            continue;
        leave_dependent(fuse, &lists.items[i]);
        if (can_be_one(&lists.items[i]))
            join(fuse, &lists.items[i]);
    }
}
