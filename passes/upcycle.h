/* Upcycling: calls of the named function become mixtures of experts made from its weights (Komatsuzaki et al. 2023).
   What the parts of the pass share. spec/numerics.md says what the result computes.

   In: graphs as lowering leaves them, the upcycle and export directives. Out: the same graphs with routed experts in
   the place of the calls, and the states that the experts need in the place of the dense ones. Never here: how a model
   is trained; the runtime's way of filling weights, which the attributes of states describe.

   One call goes through the files in this order, and nothing is changed until the first four have accepted it:
     upcycle_settings.c  the directive, checked; once a module
     upcycle_region.c    the nodes of the call, its one input and one output
     upcycle_hidden.c    which dim of which value the segments cut
     upcycle_scale.c     which weights take the factors of segments and of the shared expert
     upcycle_weights.c   states of the experts
     upcycle_router.c    routing and its losses
     upcycle_experts.c   the body on the rows of experts
     upcycle_export.c    names in the exported checkpoint; once a module */
#ifndef MOEC_PASSES_UPCYCLE_H
#define MOEC_PASSES_UPCYCLE_H

#include "ir/ir.h"
#include "ir/names.h"
#include "ir/report.h"

/* ---- Settings ------------------------------------------------------------------------------------------------ */

typedef struct {
    int64_t n_experts, top_k;
    bool is_softmax_first; /* softmax_then_topk */
    const char *router_init, *router_name;
    double router_std;
    double capacity;                            /* 0: dropless */
    double balance, z_loss;                     /* coefficients */
    int64_t first_layer, end_layer, layer_step; /* end_layer -1: no end */
    double noise, drop;                         /* 0: none */
    int64_t n_segments;
    const char *hidden; /* NULL: to be found */
    bool has_shared;
} UpcycleSettings;

/* ---- One call ------------------------------------------------------------------------------------------------ */

/* What a value of the function belongs to. */
typedef enum {
    EXPERT_SPLAT,  /* one number in every element, the same for all experts */
    EXPERT_WEIGHT, /* made of weights alone: a value per expert, [E, dims..] */
    EXPERT_ROWS,   /* a row per routed token, [~rows, dims..]: its first dims in the function are the input's */
} ExpertKind;

/* A weight that a call reads. */
typedef struct {
    State *dense;
    const Node *first_use;  /* the state node */
    bool is_segment_scaled; /* times the number of segments: summed over the hidden dim, it makes 1 / segments */
    bool is_halved;         /* the routed and the shared expert give half of the result each */
    State *expert, *shared; /* set by upcycle_weights.c; shared NULL without a shared expert */
} RegionWeight;

/* What is known of one value of a call. */
typedef struct {
    uint32_t call;        /* index of the call + 1 */
    RegionWeight *weight; /* what a state node reads; else NULL */
    int cut;              /* the dim that segments cut, or -1 */
    bool is_mean;         /* only the mean over the segments is the dense value */
    bool can_halve;       /* whether weights behind it can take a factor 1/2 */
    bool wants_half;      /* and do */
    int n_halvings;       /* how many factors 1/2 it has */
    ExpertKind kind;
    double number; /* of a splat */
    Value *expert; /* what it is on the experts' rows; NULL for a splat */
    Value *shared; /* what it is in the shared expert */
} RegionValue;

typedef struct {
    const Scope *scope;
    uint32_t index, scope_index;
    Node **nodes; /* first all of the call in list order, then those that the output depends on, leaves included */
    size_t n_nodes, capacity;
    Value *output, *other_output; /* used outside of the call; NULL: none. other_output should be NULL */
    Value *input;
    RegionValue input_value;
    RegionWeight *weights;
    size_t n_weights, weights_capacity;
    Dim hidden; /* what segments and drop work on; extent 0 where neither is asked for */
} Region;

/* Number of dims of the input that count rows: all but the last. */
static inline int region_row_rank(const Region *region) {
    return region->input->type.rank - 1;
}

/* ---- The pass ------------------------------------------------------------------------------------------------ */

/* A dense weight that has become the experts', and for which calls. */
typedef struct {
    State *dense, *router, *expert, *shared;
    bool brings_router; /* the first weight of its router in the list */
    const char *path;
} UpcycledWeight;

typedef struct {
    Module *module;
    Reporter *reporter;
    Arena *arena; /* the pass's own */
    const Directive *directive;
    UpcycleSettings settings;
    int32_t *call_of_scope; /* index of the call that a scope belongs to, or -1 */
    uint32_t n_calls;
    UpcycledWeight *weights;
    size_t n_weights, weights_capacity;
    Names weight_names; /* dense name -> index in weights */
} Upcycle;

/* Where the value of a setting stands, or the clause. */
Loc upcycle_setting_loc(const Upcycle *at, const char *key);

/* Reports why a call can't become experts, with a note at the clause that says what can. Returns false. */
bool upcycle_refuse(const Upcycle *at, Loc loc, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The parts. All that return bool report an error before they return false. */
bool upcycle_read_settings(Upcycle *at);

/* All calls with nodes in `graph`, at->n_calls of them. */
Region *upcycle_find_regions(const Upcycle *at, Graph *graph);
/* Reduces the nodes to those that matter, finds input and weights. */
bool upcycle_check_region(const Upcycle *at, Region *region);
/* What is known of `value` in the call; it must be the input, a node of the call, or a leaf that it reads. */
RegionValue *region_value(Region *region, const Value *value);

/* A state or a constant, which is the same value wherever it is read and so no input of a call. */
bool region_is_leaf(const Node *node);

bool upcycle_find_hidden(const Upcycle *at, Region *region);
bool upcycle_cut(const Upcycle *at, Region *region);
/* Whether `dim` is the hidden one. */
bool region_is_hidden(const Region *region, const Dim *dim);
/* The dim, or with `is_cut` a segment of it. */
Dim region_cut_dim(const Upcycle *at, const Dim *dim, bool is_cut);

bool upcycle_scale(const Upcycle *at, Region *region);

/* Adds or finds the states of a call; *router is the router's. */
bool upcycle_add_weights(Upcycle *at, Region *region, State **router);
/* Replaces the dense states by the experts' in the module's list; an error where a graph still reads one. */
bool upcycle_replace_states(Upcycle *at);

/* Where the rows of one call go. */
typedef struct {
    Value *logits, *probabilities; /* f32[.., E]; the second NULL unless the softmax comes first */
    Value *indices;                /* i32[.., k] */
    Value *weights;                /* f32[.., k] */
    Value *offsets, *slot_of_row, *row_of_slot;
} Routing;

/* `capacity` 0: none is dropped. The builder carries the clause's location. */
Routing upcycle_route(const Upcycle *at, Builder *builder, Value *x, const State *router, int64_t capacity);
/* A row of x for each row of the experts, [~R, dims..]. */
Value *upcycle_dispatch(Builder *builder, const Routing *routing, Value *x);
/* rows[~R, dims..] times their routing weights, summed for each token. */
Value *upcycle_combine(Builder *builder, const Routing *routing, Value *rows);

/* Losses and load of one graph: the sums over its calls, and what each call adds to the load. */
typedef struct {
    Value *balance, *z_loss; /* f32[]; NULL before the first call */
    Value **loads;           /* f32[1, E] each */
    size_t n_loads, loads_capacity;
} RoutingLosses;

void upcycle_add_losses(const Upcycle *at, Builder *builder, const Routing *routing, RoutingLosses *losses);
/* Outputs loss, balance, z_loss and expert_load. */
void upcycle_add_outputs(const Upcycle *at, Builder *builder, const RoutingLosses *losses, Value *nll);

/* The body on experts' rows; NULL after an error. */
Value *upcycle_build_experts(const Upcycle *at, Region *region, Builder *builder, const Routing *routing);
/* The body as it was, on the shared expert's weights. */
Value *upcycle_build_shared(Region *region, Builder *builder);

/* Renames what is exported, or says that the layout can't hold the model. */
void upcycle_name_exports(const Upcycle *at, bool is_partial);

#endif
