/* Fusion: nodes into kernel blocks. spec/ir.md, "Fusion".

   In: any graph after the layout pass; the directive "fuse" where not all kinds of fusion are allowed. Out: the same
   nodes, those that run as one kernel in a block, those of each block neighbours. Every kernel that codegen lowers by
   its space gets a block, of one node too, which says what it moves; what has a kernel of its own gets none.

   A general algorithm that knows no chains of ops. At first every node is a group of its own. Two groups of which one
   reads what the other makes, or that read the same value, may become one if nothing outside needs the one and is
   needed by the other, if ir/space.h finds a space for all their nodes, and if that takes less time
   (passes/fuse_cost.c). Pairs have their turn by stages, see below; within a stage those that save most bytes come
   first, each group once a round, and after each success the first stage comes again. What a pair was refused for holds
   as long as both groups stay as they are, so each pair is looked at once; a graph of n nodes takes O(n) pairs. At last
   updates of states become one kernel wherever they are one computation: what saves launches, and no bytes. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "ir/block.h"
#include "passes/fuse_pairs.h"
#include "passes/order.h"
#include "passes/passes.h"

/* Loops that read the same value become one where it is so much of what the larger one moves. */
#define LEAST_SHARE (1.0 / 6)

typedef struct {
    FusePair **items;
    size_t n, capacity;
} PairList;

typedef struct {
    Fuse fuse;
    FusePairs pairs;
    PairList waiting[FUSE_STAGE_COUNT]; /* pairs that are not refused; of some a group has been merged meanwhile */
} Fuser;

static const char *const kind_names[] = {
#define X(id, name, what) name,
    FUSE_KINDS(X)
#undef X
};

const char *fuse_kind_name(FuseKind kind) {
    return kind_names[kind];
}

/* ---- Kinds ------------------------------------------------------------------------------------------------------ */

static bool is_accumulation(const FuseGroup *group) {
    bool is_one = true;
    for (size_t i = 0; i < group->n_nodes && is_one; i++)
        is_one = group->nodes[i]->op == OP_accumulate;
    return is_one;
}

static bool reads_group(const Fuse *fuse, const Node *node, const FuseGroup *group) {
    bool reads = false;
    for (int i = 0; i < node->n_operands && !reads; i++) {
        const Node *owner = view_owner(node->operands[i])->def;
        reads = node_computes(owner) && fuse->groups[fuse_unit_of(fuse, owner)] == group;
    }
    return reads;
}

/* Whether what `a` makes is read by `b`, which has products or attention, for operands of these; else it is in their
 * epilogue. */
static bool feeds_operands(const Fuse *fuse, const FuseGroup *a, const FuseGroup *b) {
    bool is_after[SPACE_MAX_NODES] = {false}; /* reads what a product makes */
    for (size_t i = 0; i < b->n_nodes; i++) {
        const Node *node = b->nodes[i];
        for (size_t j = 0; j < i; j++) {
            for (int k = 0; k < node->n_operands && is_after[j]; k++)
                is_after[i] |= view_owner(node->operands[k])->def == b->nodes[j];
        }
        if (!is_after[i] && reads_group(fuse, node, a))
            return true;
        is_after[i] |= fuse_is_skeleton(node);
    }
    return false;
}

static FuseKind kind_of(const Fuse *fuse, const FuseGroup *a, const FuseGroup *b, bool is_edge) {
    if (!is_edge)
        return FUSE_SIBLINGS;
    if (is_accumulation(b))
        return FUSE_ACCUMULATE;
    if (!a->has_products && b->has_products && feeds_operands(fuse, a, b))
        return FUSE_PROLOGUE;
    return a->has_products || b->has_products ? FUSE_EPILOGUE : FUSE_ROWS;
}

static FuseStage stage_of(const FusePair *pair, bool stores_less) {
    bool has_products = pair->a->has_products || pair->b->has_products;
    if (pair->kind == FUSE_PROLOGUE)
        return FUSE_STAGE_PROLOGUES;
    if (pair->kind == FUSE_SIBLINGS)
        return has_products ? FUSE_STAGE_PRODUCT_SIBLINGS : FUSE_STAGE_LOOP_SIBLINGS;
    if (stores_less)
        return FUSE_STAGE_NOTHING_STORED;
    return has_products ? FUSE_STAGE_PRODUCTS : FUSE_STAGE_LOOPS;
}

/* ---- Pairs ------------------------------------------------------------------------------------------------------ */

static bool holds_more(const Fuse *fuse, const FusePair *pair) {
    HeldKernel a = {pair->a->nodes, pair->a->n_nodes}, b = {pair->b->nodes, pair->b->n_nodes};
    return (double)held_bytes(&fuse->held, a, b) > pair->saved;
}

static void evaluate(Fuser *at, FusePair *pair, bool is_edge) {
    Fuse *fuse = &at->fuse;
    Node *nodes[SPACE_MAX_NODES];
    size_t n = fuse_union(pair->a, pair->b, nodes);
    pair->kind = kind_of(fuse, pair->a, pair->b, is_edge);
    if (!fuse->allows[pair->kind]) {
        pair->reason = arena_printf(fuse->arena, "directive fuse leaves out %s", fuse_kind_name(pair->kind));
        return;
    }
    if (pair->kind == FUSE_SIBLINGS && (fuse_only_gathers(pair->a) || fuse_only_gathers(pair->b))) {
        pair->reason = "rows are gathered where they are read";
        return;
    }
    if (n == 0) {
        pair->reason = "a kernel has no room for so many nodes";
        return;
    }
    FuseCost cost = fuse_count(fuse, nodes, n);
    const FuseCost *a = &pair->a->cost, *b = &pair->b->cost;
    double a_bytes = a->bytes_in + a->bytes_out, b_bytes = b->bytes_in + b->bytes_out;
    pair->saved = a_bytes + b_bytes - cost.bytes_in - cost.bytes_out;
    pair->stage = stage_of(pair, cost.bytes_out < a->bytes_out + b->bytes_out);
    double least = pair->stage == FUSE_STAGE_LOOP_SIBLINGS ? LEAST_SHARE * (a_bytes > b_bytes ? a_bytes : b_bytes) : 0;
    if (pair->saved <= least)
        pair->reason = "together they move hardly fewer bytes";
    else if (pair->stage == FUSE_STAGE_PRODUCT_SIBLINGS && holds_more(fuse, pair))
        pair->reason = "together they hold more bytes at a time than they spare moving";
}

/* Looks at the pair if it is new, and has it wait for its turn. */
static void consider(Fuser *at, FuseGroup *a, FuseGroup *b, bool is_edge) {
    if (a == b || !a->is_open || !b->is_open)
        return;
    FusePair *pair = fuse_pairs_get(&at->pairs, a->id, b->id);
    if (pair->a)
        return;
    pair->a = a;
    pair->b = b;
    evaluate(at, pair, is_edge);
    PairList *list = &at->waiting[pair->stage];
    if (!pair->reason)
        arena_push(at->fuse.arena, list->items, list->n, list->capacity, pair);
}

/* Readers of one value: each with the one before it that is of the same kind, loops or products. */
static void consider_siblings(Fuser *at, const Value *value) {
    IndexList readers = index_list(&at->fuse.readers, value->number);
    FuseGroup *before[2] = {NULL, NULL};
    for (uint32_t i = 0; i < readers.n; i++) {
        FuseGroup *group = at->fuse.groups[readers.items[i]];
        FuseGroup **last = &before[group->has_products];
        if (!group->is_open)
            continue;
        if (*last && (*last)->id < group->id)
            consider(at, *last, group, false);
        else if (*last)
            consider(at, group, *last, false);
        *last = group;
    }
}

/* All pairs of the group with one that makes what it reads, reads what it makes, or reads the same. */
static void consider_group(Fuser *at, FuseGroup *group) {
    const Fuse *fuse = &at->fuse;
    for (size_t i = 0; i < group->n_nodes && group->is_open; i++) {
        const Node *node = group->nodes[i];
        for (int j = 0; j < node->n_operands; j++) {
            const Value *owner = view_owner(node->operands[j]);
            if (node_computes(owner->def))
                consider(at, fuse->groups[fuse_unit_of(fuse, owner->def)], group, true);
        }
        for (int j = 0; j < node->n_results; j++) {
            IndexList readers = index_list(&fuse->readers, node->results[j].number);
            for (uint32_t k = 0; k < readers.n; k++)
                consider(at, group, fuse->groups[readers.items[k]], true);
        }
    }
    for (size_t i = 0; i < group->n_nodes && group->is_open; i++) {
        const Node *node = group->nodes[i];
        for (int j = 0; j < node->n_operands; j++) {
            const Value *owner = view_owner(node->operands[j]);
            if (owner->def->op != OP_constant)
                consider_siblings(at, owner);
        }
    }
}

/* ---- Merging ---------------------------------------------------------------------------------------------------- */

/* What others read must be stored. Of nodes that are marked. */
static const char *find_unstorable(const Fuse *fuse, const Space *space, Node *const *nodes, size_t n) {
    for (size_t i = 0; i < n; i++) {
        bool escapes = false;
        for (int j = 0; j < nodes[i]->n_results; j++)
            escapes = escapes || fuse_escapes(fuse, &nodes[i]->results[j]);
        if (escapes && !space_can_store(space, nodes[i]))
            return arena_printf(fuse->arena, "others read what %s makes", op_info(nodes[i]->op)->name);
    }
    return NULL;
}

/* Makes one group of the pair; NULL, and pair->reason, where that can't be or does not pay. */
static FuseGroup *try_merge(Fuse *fuse, FusePair *pair) {
    Node *nodes[SPACE_MAX_NODES];
    size_t n = fuse_union(pair->a, pair->b, nodes);
    pair->reason = fuse_find_path(fuse, pair->a, pair->b);
    if (pair->reason)
        return NULL;
    Arena *arena = arena_new();
    FuseCost cost = fuse_count(fuse, nodes, n);
    const char *reason;
    const Space *space = space_of(arena, nodes, n, &reason);
    if (space)
        reason = find_unstorable(fuse, space, nodes, n);
    if (!reason) {
        fuse_time(space, &cost);
        reason = cost.seconds < pair->a->cost.seconds + pair->b->cost.seconds
                     ? NULL
                     : "computing again costs more than it saves";
    }
    if (reason)
        pair->reason = arena_strdup(fuse->arena, reason);
    arena_free(arena);
    return reason ? NULL : fuse_merge(fuse, pair->a, pair->b, nodes, n, &cost);
}

/* What saves most first; of equals the older groups. */
static int order_of_pairs(const void *left, const void *right) {
    const FusePair *a = *(FusePair *const *)left, *b = *(FusePair *const *)right;
    if (a->saved != b->saved)
        return a->saved > b->saved ? -1 : 1;
    if (a->a_id != b->a_id)
        return a->a_id < b->a_id ? -1 : 1;
    return (a->b_id > b->b_id) - (a->b_id < b->b_id);
}

/* Whether any pair of the stage has become one. */
static bool run_round(Fuser *at, FuseStage stage) {
    bool has_merged = false;
    PairList list = at->waiting[stage];
    at->waiting[stage] = (PairList){0};
    if (list.n > 0)
        qsort(list.items, list.n, sizeof *list.items, order_of_pairs);
    for (size_t i = 0; i < list.n; i++) {
        FusePair *pair = list.items[i];
        if (pair->a->is_merged || pair->b->is_merged)
            continue;
        FuseGroup *merged = try_merge(&at->fuse, pair);
        if (merged)
            consider_group(at, merged);
        has_merged = has_merged || merged;
    }
    return has_merged;
}

/* ---- Blocks ----------------------------------------------------------------------------------------------------- */

/* "OP: REASON; ..." with one more, of the pair of groups, if it has not been given yet. */
static const char *with_reason(const Fuser *at, Arena *arena, const char *reasons, const Node *of, const FuseGroup *a,
                               const FuseGroup *b) {
    const FusePair *pair = a == b ? NULL : fuse_pairs_find(&at->pairs, a->id, b->id);
    if (!pair || !pair->reason || strstr(reasons, pair->reason))
        return reasons;
    return arena_printf(arena, "%s%s%s: %s", reasons, reasons[0] ? "; " : "", op_info(of->op)->name, pair->reason);
}

/* Of readers that have no block where that would be said. */
static const char *find_reasons_of_readers(const Fuser *at, const FuseGroup *group, const Node *node, Arena *arena,
                                           const char *reasons) {
    for (int i = 0; i < node->n_results; i++) {
        IndexList readers = index_list(&at->fuse.readers, node->results[i].number);
        for (uint32_t j = 0; j < readers.n; j++) {
            const FuseGroup *reader = at->fuse.groups[readers.items[j]];
            if (reader->is_open && reader->has_own_form)
                reasons = with_reason(at, arena, reasons, reader->nodes[0], group, reader);
        }
    }
    return reasons;
}

/* Why the group stands apart from those whose values it reads, each reason once. */
static const char *find_reasons(const Fuser *at, const FuseGroup *group, Arena *arena) {
    const char *reasons = "";
    for (size_t i = 0; i < group->n_nodes; i++) {
        const Node *node = group->nodes[i];
        for (int j = 0; j < node->n_operands; j++) {
            const Node *owner = view_owner(node->operands[j])->def;
            const FuseGroup *source = node_computes(owner) ? at->fuse.groups[fuse_unit_of(&at->fuse, owner)] : group;
            reasons = with_reason(at, arena, reasons, owner, source, group);
        }
        reasons = find_reasons_of_readers(at, group, node, arena, reasons);
    }
    return reasons;
}

static void make_blocks(const Fuser *at) {
    const Fuse *fuse = &at->fuse;
    for (size_t unit = 0; unit < fuse->units.n_units; unit++) {
        const FuseGroup *group = fuse->groups[unit];
        if (!group->is_open || group->has_own_form || fuse_unit_of(fuse, group->nodes[0]) != unit)
            continue;
        Block *block = block_new(fuse->graph);
        fuse_describe(fuse->graph->module->arena, group, block, find_reasons(at, group, fuse->arena));
        for (size_t i = 0; i < group->n_nodes; i++)
            group->nodes[i]->block = block;
    }
    bool is_acyclic = graph_gather_blocks(fuse->graph);
    assert(is_acyclic);
    (void)is_acyclic;
}

static void fuse_graph(Graph *graph, const bool *allows) {
    Arena *arena = arena_new();
    graph_forget_plan(graph);
    graph_forget_blocks(graph);
    if (allows[FUSE_PROLOGUE])
        fuse_split_gathers(graph, allows[FUSE_SIBLINGS]);
    if (allows[FUSE_PROLOGUE])
        fuse_split_turns(graph);
    Fuser fuser = {.fuse = fuse_new(arena, graph), .pairs = {.arena = arena}};
    memcpy(fuser.fuse.allows, allows, sizeof fuser.fuse.allows);
    for (size_t unit = 0; unit < fuser.fuse.units.n_units; unit++)
        consider_group(&fuser, fuser.fuse.groups[unit]);
    FuseStage stage = 0;
    while (stage < FUSE_STAGE_COUNT)
        stage = run_round(&fuser, stage) ? 0 : stage + 1;
    if (allows[FUSE_UPDATES])
        fuse_join_updates(&fuser.fuse);
    make_blocks(&fuser);
    arena_free(arena);
}

/* ---- The directive ---------------------------------------------------------------------------------------------- */

/* Sets what the list of names, "rows,epilogue", allows; false where one of them is none. */
static bool read_kinds(const char *list, bool *allows, const char **wrong) {
    while (*list != '\0') {
        size_t n = strcspn(list, ",");
        FuseKind kind = 0;
        while (kind < FUSE_KIND_COUNT && (strlen(kind_names[kind]) != n || strncmp(kind_names[kind], list, n) != 0))
            kind++;
        *wrong = list;
        if (kind == FUSE_KIND_COUNT)
            return false;
        allows[kind] = true;
        list += n + (list[n] == ',');
    }
    return true;
}

bool pass_takes_fuse_list(const char *list) {
    bool allows[FUSE_KIND_COUNT];
    const char *wrong;
    return read_kinds(list, allows, &wrong);
}

static bool find_kinds(const Module *module, bool *allows, Reporter *reporter) {
    const Directive *directive = module_find_directive(module, "fuse");
    const Attr *only = directive ? attrs_find(&directive->attrs, "only") : NULL;
    const char *wrong = "";
    for (FuseKind kind = 0; kind < FUSE_KIND_COUNT; kind++)
        allows[kind] = !only;
    if (!only || (only->kind == ATTR_STRING && read_kinds(only->as.s, allows, &wrong)))
        return true;
    report_error(reporter, module, directive->loc,
                 "directive fuse allows kinds of fusion in a list such as only = \"rows,epilogue\"; '%s' is not one of "
                 "rows, epilogue, prologue, siblings, accumulate, updates",
                 wrong);
    return false;
}

bool fuse_run(Module *module, Reporter *reporter) {
    bool allows[FUSE_KIND_COUNT];
    if (!find_kinds(module, allows, reporter))
        return false;
    for (size_t i = 0; i < module->n_graphs; i++)
        fuse_graph(module->graphs[i], allows);
    return true;
}
