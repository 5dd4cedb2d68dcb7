/* The parts of the fuse pass: groups of nodes that are to run as one kernel, what merging two of them would save, and
   what is said about it.

   In: a graph whose kernels stand alone. Out: groups. Never here: whether nodes can be one kernel (ir/space.h). */
#ifndef MOEC_PASSES_FUSE_H
#define MOEC_PASSES_FUSE_H

#include "ir/space.h"
#include "passes/dependence.h"
#include "passes/fuse_held.h"

/* Ways in which two groups become one: id, name, what it is. */
#define FUSE_KINDS(X)                                                                                                  \
    X(ROWS, "rows", "loops over the same rows and columns")                                                            \
    X(EPILOGUE, "epilogue", "what follows a matrix product or attention, on parts of its result")                      \
    X(PROLOGUE, "prologue", "what makes an operand of a matrix product or attention, where it is read")                \
    X(SIBLINGS, "siblings", "kernels that read the same value")                                                        \
    X(ACCUMULATE, "accumulate", "the addition of what a kernel makes to a state")                                      \
    X(UPDATES, "updates", "one update of many states")

typedef enum {
#define X(id, name, what) FUSE_##id,
    FUSE_KINDS(X)
#undef X
        FUSE_KIND_COUNT
} FuseKind;

const char *fuse_kind_name(FuseKind kind);

/* Bytes that a kernel reads and stores, FLOPs of its nodes, and how long it may take. */
typedef struct {
    double bytes_in, bytes_out, flops, seconds;
} FuseCost;

/* Nodes that run as one kernel, or one unit that stays alone. */
typedef struct {
    uint32_t id;       /* no two groups have had the same, merged ones included */
    bool is_open;      /* may be merged with others */
    bool has_own_form; /* by itself it has a kernel that its op alone says, and no block */
    bool has_products; /* matmul, grouped_matmul; attention, attention_grad */
    bool is_merged;    /* into another */
    uint32_t place;    /* in Fuse.places */
    uint32_t visit;    /* of the search for paths that saw it last */
    Node **nodes;      /* in list order */
    size_t n_nodes;
    FuseCost cost;
} FuseGroup;

/* What is known of the graph for the whole of the pass. */
typedef struct {
    Arena *arena;
    Graph *graph;
    Dependence units;
    Held held;
    FuseGroup **groups; /* by unit */
    FuseGroup **places; /* groups in an order that keeps all dependences between them; NULL where one was merged */
    uint32_t n_ids, n_visits;
    IndexLists readers; /* units, by number of the value that a kernel makes; through views */
    bool *is_output;    /* the same */
    /* fuse_count makes a new mark, n_marks, each time. */
    uint32_t n_marks;
    uint32_t *marked_units; /* by unit: the last mark of nodes that were counted */
    uint32_t *marked_reads; /* by value number: the last mark of what they read */
    double *read_bytes;     /* the same: how much of it */
    bool allows[FUSE_KIND_COUNT];
} Fuse;

/* Whether kernels are built around it: a product or attention. */
static inline bool fuse_is_skeleton(const Node *node) {
    return op_info(node->op)->class == OP_CLASS_CONTRACT || node->op == OP_attention || node->op == OP_attention_grad;
}

/* Of a node that computes. */
static inline uint32_t fuse_unit_of(const Fuse *fuse, const Node *node) {
    return fuse->units.unit_of[node->results[0].number];
}

/* ---- fuse_graph.c ---------------------------------------------------------------------------------------------- */

/* One group for each unit, open where space_of takes the node alone, and all that is known of the graph but `allows`.
   The graph has no blocks. */
Fuse fuse_new(Arena *arena, Graph *graph);

/* The nodes of both groups in list order in `nodes`; how many, or 0 where they are more than a kernel can have. */
size_t fuse_union(const FuseGroup *a, const FuseGroup *b, Node *nodes[SPACE_MAX_NODES]);

/* NULL, or why `a` and `b` can't run as one, on the arena: something outside of both needs one and is needed by the
   other, or they are too far apart. */
const char *fuse_find_path(Fuse *fuse, const FuseGroup *a, const FuseGroup *b);

/* Makes one group of the two, of the nodes that fuse_union gave, right after fuse_find_path found nothing. */
FuseGroup *fuse_merge(Fuse *fuse, FuseGroup *a, FuseGroup *b, Node *const *nodes, size_t n, const FuseCost *cost);

/* ---- fuse_gathers.c -------------------------------------------------------------------------------------------- */

/* Whether all that the group does is to put rows elsewhere, which whoever reads them may do. */
bool fuse_only_gathers(const FuseGroup *group);

/* Gathers rows again for each kernel of products that reads them, if nothing else does. */
void fuse_split_gathers(Graph *graph, bool allows_siblings);

/* ---- fuse_turns.c ---------------------------------------------------------------------------------------------- */

/* Turns queries and keys again for each attention that reads them, if nothing else does and it pays. */
void fuse_split_turns(Graph *graph);

/* ---- fuse_cost.c ----------------------------------------------------------------------------------------------- */

/* Bytes and FLOPs; `seconds` is left out. The nodes' units, and what the nodes read, are marked with fuse->n_marks. */
FuseCost fuse_count(Fuse *fuse, Node *const *nodes, size_t n);

/* Whether something that fuse_count has not marked reads the value, or it is an output. */
bool fuse_escapes(const Fuse *fuse, const Value *value);

/* Fills in `seconds` of what has been counted, from the kernel's space; NULL: of a rope by itself. */
void fuse_time(const Space *space, FuseCost *cost);

/* Whether it takes less time to compute a rope in n kernels that read it than in one of its own. */
bool fuse_pays_to_turn_again(const Node *rope, int n);

/* ---- fuse_updates.c -------------------------------------------------------------------------------------------- */

/* Makes one group of all updates that are one computation on states of their own, each alone in a group. The last thing
   to be done: groups do not know their places any more. */
void fuse_join_updates(Fuse *fuse);

/* ---- fuse_report.c --------------------------------------------------------------------------------------------- */

/* Sets the attributes of the group's block; `apart` may be "". */
void fuse_describe(Arena *arena, const FuseGroup *group, Block *block, const char *apart);

#endif
