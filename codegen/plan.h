/* What a planned module comes to: kernels, and for each graph the launches that compute it, with addresses.

   In: a module after the memory pass. Out: the tables that plan_print.c writes as C and summary.c counts. Never here:
   text of any kind, the body of a kernel (codegen/kernels.h). */
#ifndef MOEC_CODEGEN_PLAN_H
#define MOEC_CODEGEN_PLAN_H

#include "codegen/kernels.h"
#include "ir/names.h"
#include "ir/report.h"

/* Memory kinds, as MoecSpace in runtime/plan.h: id, the kind of state that it holds, what a summary calls it. The arena
   holds what is no state. */
#define PLAN_SPACES(X)                                                                                                 \
    X(WEIGHT, "weight", "weights")                                                                                     \
    X(GRAD, "grad", "gradients")                                                                                       \
    X(MOMENT1, "moment1", "first moments")                                                                             \
    X(MOMENT2, "moment2", "second moments")                                                                            \
    X(ARENA, "", "activations")

typedef enum {
#define X(id, kind, title) PLAN_##id,
    PLAN_SPACES(X)
#undef X
        PLAN_SPACE_COUNT,
    PLAN_PACKED = PLAN_SPACE_COUNT /* packed copies of weights: the run lays them out */
} PlanSpace;

typedef struct {
    PlanSpace space;
    int64_t offset; /* bytes; of PLAN_PACKED, an index into Plan.packed */
} PlanAddress;

/* An input or an output of a program. */
typedef struct {
    const char *name;
    const Type *type;
    PlanAddress at;
} PlanTensor;

typedef struct {
    const Node *node;
    uint32_t kernel; /* index into Plan.kernels */
    size_t first_arg, n_args;
    size_t first_end, n_ends; /* values whose life in the arena ends with the launch */
} PlanLaunch;

/* A graph. Its values are numbered. */
typedef struct {
    const Graph *graph;
    PlanLaunch *launches;
    size_t n_launches, launches_capacity;
    PlanAddress *args;
    size_t n_args, args_capacity;
    const Value **ends;
    size_t n_ends, ends_capacity;
    PlanTensor *inputs;
    size_t n_inputs, inputs_capacity;
    PlanTensor *outputs;
    size_t n_outputs;
    int64_t arena_bytes;
    int64_t lower_bound; /* no plan of this order of nodes needs less */
} PlanProgram;

/* A weight; its moments have the same offset in their spaces, and so has its gradient in its own: where that is in the
   arena, this is where gradients of several micro-batches are added up. */
typedef struct {
    const State *state;
    int64_t offset; /* bytes */
    PlanAddress gradient;
} PlanWeight;

/* A copy of a weight, or of a part of one, as the panels that matrix products read. */
typedef struct {
    PlanAddress from; /* of its first element */
    LoweredPacked shape;
    int64_t n_bytes;
    int64_t n_trained, n_evaluated, n_generated; /* products that read it in one run of each program */
    double least_spared;                         /* packings of one run of "train" that it must spare to be made */
    bool pays, is_made; /* it does so, and there is room for it, in training as the train clause says */
    size_t number;      /* in the order in which they were found */
} PlanPacked;

/* What is known of a model without running it; 0 where it has no such thing. */
typedef struct {
    int64_t micro_batch, sequence, vocab, generate_sequence;
    int64_t n_experts, top_k, n_moe_layers;
    double total_parameters, active_parameters;
    const char *precision;       /* of matrix products: "f32", "bf16" */
    double flops_per_token;      /* in training: spec/numerics.md, "FLOPs" */
    double full_flops_per_token; /* with attention's squares in full, as some count */
} PlanFigures;

typedef struct {
    const Module *module;
    Kernels *kernels;
    PlanProgram *programs;
    size_t n_programs;
    PlanWeight *weights; /* in the order of the module */
    size_t n_weights;
    int64_t space_bytes[PLAN_SPACE_COUNT];
    PlanPacked *packed; /* those read most often first */
    size_t n_packed, packed_capacity;
    Names packed_indices;
    int64_t packed_limit, packed_bytes; /* what they may take at most, and take */
    PlanFigures figures;
} Plan;

/* On `arena`; NULL after an error was reported: an op or dtype that the C backend does not have. */
Plan *plan_collect(Arena *arena, const Module *module, Reporter *reporter);

PlanFigures plan_figures(const Module *module);

/* Micro-batches of an optimizer step as the train clause has it. */
int64_t plan_n_micro_batches(const Plan *plan);

/* What a step takes in all but packed weights, as the train clause has it, in bytes; and of one kind. */
int64_t plan_bytes(const Plan *plan);
int64_t plan_bytes_of(const Plan *plan, PlanSpace space);

/* ---- For plan.c: packed weights --------------------------------------------------------------------------------- */

/* By value number: whether packed copies of it can be kept while the graph runs. */
const bool *plan_find_packable(Arena *arena, const Graph *graph, uint32_t n_values);

/* The copy of what stands at the address, that the graph reads once more; an index into plan->packed. */
size_t plan_add_packed(Arena *arena, Plan *plan, PlanAddress address, const LoweredPacked *shape, const Graph *reader);

/* Orders them, and says which are made. After all programs. */
void plan_finish_packed(Arena *arena, Plan *plan);

/* Where the program's launches, arguments and tensors, the weights and the kernels differ, so does this, most likely:
   32 hexadecimal digits. Places in the source, names of values and the train clause take no part. */
char *plan_hash(Arena *arena, const Plan *plan);

#endif
