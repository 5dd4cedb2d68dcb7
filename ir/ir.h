/* The IR: SSA dataflow graphs of tensors, grouped in a module. spec/ir.md describes the text form and the ops.

   In: calls of the builder below (frontend, passes) or text (ir_read). Out: the same structures, text, values.
   Never here: anything about the surface language, code generation, devices or the host program.

   Everything lives on the module's arena and dies with it. A graph's node list is a topological order; passes keep
   it so. Nothing iterates over pointers: order is always list order. */
#ifndef MOEC_IR_IR_H
#define MOEC_IR_IR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "ir/arena.h"
#include "ir/names.h"

/* ---- Types -------------------------------------------------------------------------------------------------- */

/* name, bytes per element */
#define DTYPES(X)                                                                                                      \
    X(F32, "f32", 4)                                                                                                   \
    X(BF16, "bf16", 2)                                                                                                 \
    X(F16, "f16", 2)                                                                                                   \
    X(I32, "i32", 4)

typedef enum {
#define X(id, name, size) DTYPE_##id,
    DTYPES(X)
#undef X
        DTYPE_COUNT
} DType;

const char *dtype_name(DType dtype);
size_t dtype_size(DType dtype);
bool dtype_parse(const char *name, DType *out);
bool dtype_is_float(DType dtype);

enum { MAX_RANK = 6 };

/* No tensor is larger, so that element and byte counts, and sums of a few of them, fit an int64_t. */
#define MAX_ELEMENTS_LOG2 48
#define MAX_ELEMENTS ((int64_t)1 << MAX_ELEMENTS_LOG2)

/* One dimension: its extent in elements and the name its size has in the source, such as "d" or "heads*head_dim";
   NULL where the source used a plain number. `is_ragged` marks the row dimension of tensors whose rows are grouped by
   expert: its extent is the capacity, the rows in use are [0, offsets[n_groups]) for the offsets value that the
   consuming op takes as an operand. Rows past the last offset hold unspecified values that no op may let reach a
   used row. */
typedef struct {
    int64_t extent;
    const char *name;
    bool is_ragged;
} Dim;

typedef struct {
    DType dtype;
    int rank;
    Dim dims[MAX_RANK];
} Type;

int64_t type_n_elements(const Type *type);
int64_t type_n_bytes(const Type *type);
/* Same dtype, rank, extents and raggedness. Names are for people: they do not take part. */
bool type_equal(const Type *a, const Type *b);
/* Same extent and raggedness. */
bool dim_equal(const Dim *a, const Dim *b);
/* Whether dim 0 is ragged; no other can be. */
bool type_is_ragged(const Type *type);
/* Extent of dim `i`, counted from the end where negative: -1 is the last. */
int64_t type_extent(const Type *type, int i);
/* Product of the extents of dims [first, end). */
int64_t type_span(const Type *type, int first, int end);
/* Row-major strides, in elements; one a dim. */
void type_strides(const Type *type, int64_t *strides);
/* "f32[B=4, T=256, ~rows=2048, 3]"; scalars print as "f32[]". */
char *type_format(Arena *arena, const Type *type);
/* "B=4", "3", "~rows=2048". */
char *dim_format(Arena *arena, const Dim *dim);
/* NULL, or why no value can have this type: its rank, an extent below 1, too many elements, a ragged dim that isn't the
   first. Reads as the rest of a sentence about the type: "dim 1 is d=0; an extent must be at least 1". */
const char *type_check(Arena *arena, const Type *type);

/* ---- Where things come from ---------------------------------------------------------------------------------- */

/* A source position; `file` indexes Module.files, line and column count from 1. line 0: unknown. */
typedef struct {
    uint32_t file, line, column;
} Loc;

/* One call of a source function, after inlining. Scope 0 is the call of main; parents come before children. */
typedef struct {
    uint32_t parent;
    const char *function; /* "mlp" */
    const char *path;     /* checkpoint name prefix, "model.layers.3.mlp"; "" at the root */
    uint32_t ordinal;     /* how many calls of this function came before this one: its layer number */
    Loc loc;              /* the call */
} Scope;

/* ---- Attributes ---------------------------------------------------------------------------------------------- */

typedef enum { ATTR_INT, ATTR_FLOAT, ATTR_BOOL, ATTR_STRING, ATTR_INTS } AttrKind;

typedef struct {
    const char *key;
    AttrKind kind;
    union {
        int64_t i;
        double f;
        bool b;
        const char *s;
        struct {
            const int64_t *items;
            int n;
        } ints;
    } as;
    Loc loc; /* where a directive's value stands in the source; unknown for attributes of nodes */
} Attr;

typedef struct {
    Attr *items;
    size_t n, capacity;
} Attrs;

const Attr *attrs_find(const Attrs *attrs, const char *key);
/* The value, or `otherwise` where the key is absent. A present key of another kind is a bug (assert), except that an
   int is taken where a float is asked for. */
int64_t attrs_int(const Attrs *attrs, const char *key, int64_t otherwise);
double attrs_float(const Attrs *attrs, const char *key, double otherwise);
bool attrs_bool(const Attrs *attrs, const char *key, bool otherwise);
const char *attrs_string(const Attrs *attrs, const char *key, const char *otherwise);
const int64_t *attrs_ints(const Attrs *attrs, const char *key, int *n);
/* Set, replacing an earlier value of the key. Strings and lists are copied to the arena. */
void attrs_set_int(Arena *arena, Attrs *attrs, const char *key, int64_t value);
void attrs_set_float(Arena *arena, Attrs *attrs, const char *key, double value);
void attrs_set_bool(Arena *arena, Attrs *attrs, const char *key, bool value);
void attrs_set_string(Arena *arena, Attrs *attrs, const char *key, const char *value);
void attrs_set_ints(Arena *arena, Attrs *attrs, const char *key, const int64_t *items, int n);
/* Where the value of `key` stands in the source; nothing if the key is absent. */
void attrs_set_loc(Attrs *attrs, const char *key, Loc loc);
void attrs_remove(Attrs *attrs, const char *key);
Attrs attrs_clone(Arena *arena, const Attrs *attrs); /* deep */
/* The same keys with the same values in the same order; NaN equals NaN, 0.0 does not equal -0.0. */
bool attrs_equal(const Attrs *a, const Attrs *b);

/* ---- Ops, nodes, graphs -------------------------------------------------------------------------------------- */

typedef enum {
#define OP(name, ...) OP_##name,
#include "ir/ops.def"
#undef OP
    OP_COUNT
} OpKind;

/* How an op touches memory; decides how it is lowered and fused. */
typedef enum {
    OP_CLASS_LEAF,     /* no kernel: input, state, constant */
    OP_CLASS_VIEW,     /* no kernel: the result reads its operand's storage by another index map */
    OP_CLASS_MAP,      /* one element of the result from the same element of each operand */
    OP_CLASS_REDUCE,   /* whole dims of the operand fold into one element */
    OP_CLASS_CONTRACT, /* matrix products */
    OP_CLASS_SPECIAL,  /* others; most read dense operands */
    OP_CLASS_UPDATE,   /* writes in place into the storage of its first operands (states) */
} OpClass;

typedef struct Node Node;
typedef struct Graph Graph;
typedef struct Module Module;
struct Interpreter;

typedef struct Value {
    Type type;
    Node *def;
    int result;       /* which result of def */
    const char *hint; /* source variable it came from, or NULL */
    uint32_t number;  /* its number in list order; set by graph_number */
} Value;

/* Nodes that run as one kernel; they stand next to each other in the list (leaves and views that they use may stand
   between them). What only they read has no storage. ir/block.h */
typedef struct {
    Attrs attrs;     /* what the fuse pass says of it, for people */
    uint32_t number; /* among the graph's blocks, in list order; set by graph_number */
} Block;

struct Node {
    OpKind op;
    int n_operands, n_results;
    Value **operands;
    Value *results; /* n_results of them, owned by the node */
    Attrs attrs;
    Loc loc;
    uint32_t scope;
    Block *block;      /* NULL: a kernel of its own, or none (leaves and views) */
    Node *prev, *next; /* the graph's list */
    void *scratch;     /* a pass's own; meaningless between passes */
};

typedef struct {
    const char *name;
    Value *value;
} Output;

struct Graph {
    const char *name;
    Module *module;
    Node *first, *last;
    size_t n_nodes;
    Output *outputs;
    size_t n_outputs, outputs_capacity;
    /* Filled by the memory plan (value number -> offset) once it has run; see passes/passes.h. */
    Attrs attrs;
};

/* A tensor that outlives a step: a weight, its gradient accumulator, an optimizer moment. Its attributes say how it is
   made from a dense checkpoint and exported: spec/ir.md, "States". */
typedef struct {
    const char *name; /* unique in the module; "grad:NAME" etc. for what belongs to weight NAME */
    const char *kind; /* "weight", "grad", "moment1", "moment2" */
    Type type;
    Attrs attrs;
    Loc loc;
} State;

/* A clause of the source that a pass or the runtime reads: upcycle, train, mesh, checkpoint, export. */
typedef struct {
    const char *kind;
    const char *name; /* "" where the clause has none */
    Attrs attrs;
    Loc loc;
} Directive;

struct Module {
    Arena *arena;
    const char *name;
    const char **files;
    size_t n_files, files_capacity;
    Scope *scopes;
    size_t n_scopes, scopes_capacity;
    State **states;
    size_t n_states, states_capacity;
    Names state_indices; /* of module_find_state: name -> index in states */
    Directive *directives;
    size_t n_directives, directives_capacity;
    Graph **graphs;
    size_t n_graphs, graphs_capacity;
};

/* One row per op: everything in ir/ops.def that this layer owns. */
typedef struct {
    const char *name;
    int n_operands; /* -1: one or more */
    int n_results;
    OpClass class;
    /* Allowed attributes: "key:kind" separated by spaces, kind one of i f b s l; a '?' after it: optional. */
    const char *attrs;
    /* Result types from operands and attributes. NULL on success, else the reason, on the arena. `results` comes in
       holding the types that the node is given: ops whose operands and attributes don't determine the result (leaves,
       reshape, broadcast, slice, rope_table) check them, all others overwrite them. Node.results is not looked at. */
    const char *(*infer)(Arena *arena, const Node *node, Type *results);
    /* FLOPs of one evaluation (an add, a multiply, a comparison or a transcendental each count as one; a
       multiply-add as two). Bytes are operands plus results unless the op is a view. */
    double (*flops)(const Node *node);
    /* Evaluates the node in double precision; see ir/interpret.h. */
    void (*interpret)(struct Interpreter *interpreter, const Node *node);
} OpInfo;

const OpInfo *op_info(OpKind op);
bool op_parse(const char *name, OpKind *out);
double node_flops(const Node *node);
double node_bytes(const Node *node);
/* An estimate of how long it takes by itself, in bytes that could be moved to or from memory meanwhile: the larger of
   what it moves and what it computes. */
double node_time(const Node *node);

/* ---- Building ------------------------------------------------------------------------------------------------ */

Module *module_new(Arena *arena, const char *name);
uint32_t module_add_file(Module *module, const char *path); /* same path, same index */
uint32_t module_add_scope(Module *module, Scope scope);
State *module_add_state(Module *module, const char *name, const char *kind, const Type *type, Loc loc);
State *module_find_state(const Module *module, const char *name);
/* Makes `states` the list, in this order. */
void module_replace_states(Module *module, State *const *states, size_t n);
Directive *module_add_directive(Module *module, const char *kind, const char *name, Loc loc);
Directive *module_find_directive(const Module *module, const char *kind); /* the first, or NULL */
Graph *module_add_graph(Module *module, const char *name);
Graph *module_find_graph(const Module *module, const char *name);
/* A deep copy of `source` (nodes, outputs) under another name, added to the same module. */
Graph *graph_clone(const Graph *source, const char *name);

/* Where new nodes go and what they carry. `before` NULL: at the end. */
typedef struct {
    Graph *graph;
    Node *before;
    Loc loc;
    uint32_t scope;
} Builder;

/* Adds a node, infers its result types. Attributes are copied; `attrs` may be NULL. A failure (operand count,
   attributes that the op's row does not allow, shapes) returns NULL, adds nothing and sets *error to the reason, which
   starts with the op's name, on the module's arena. */
Node *build_try(Builder *builder, OpKind op, int n_operands, Value *const *operands, const Attrs *attrs,
                const char **error);
/* The same with the type of each result given, n_results of them. Needed by the ops whose result is not determined by
   operands and attributes (see OpInfo.infer). For the others the inferred types must equal the given ones; either way
   the given dim names stand. */
Node *build_typed(Builder *builder, OpKind op, int n_operands, Value *const *operands, const Attrs *attrs,
                  const Type *types, const char **error);
/* build_try where the caller has already made sure that it holds: asserts on failure. Result 0. */
Value *build(Builder *builder, OpKind op, int n_operands, Value *const *operands, const Attrs *attrs);
/* Leaves. */
Value *build_input(Builder *builder, const char *name, const Type *type);
Value *build_state(Builder *builder, const State *state);
Value *build_constant(Builder *builder, double value, const Type *type);
/* Short forms of the common ops; all assert that shapes fit. */
Value *build_unary(Builder *builder, OpKind op, Value *x);
Value *build_binary(Builder *builder, OpKind op, Value *a, Value *b);
Value *build_scale(Builder *builder, Value *x, double factor); /* x * constant of its type */
Value *build_reshape(Builder *builder, Value *x, const Type *type);
/* Elements [start, start + extent) of dim `dim`. */
Value *build_slice(Builder *builder, Value *x, int dim, int64_t start, int64_t extent);
/* `map[i]`: the dim of `type` that dim i of x becomes, strictly increasing; x's extent there equals the result's. */
Value *build_broadcast(Builder *builder, Value *x, const Type *type, const int64_t *map);
Value *build_reduce_sum(Builder *builder, Value *x, const int64_t *dims, int n_dims);
Value *build_matmul(Builder *builder, const char *mode, Value *a, Value *b);
Value *build_grouped_matmul(Builder *builder, const char *mode, Value *a, Value *b, Value *offsets);
/* A product of a and b in another mode than `like`, a matmul or grouped_matmul, with all that it has besides. */
Value *build_product_like(Builder *builder, const Node *like, const char *mode, Value *a, Value *b);

void graph_add_output(Graph *graph, const char *name, Value *value);
/* NULL where there is none of the name. */
Value *graph_find_input(const Graph *graph, const char *name);
Value *graph_find_output(const Graph *graph, const char *name);
/* Unlinks a node; its results must have no users left. */
void graph_remove(Graph *graph, Node *node);
/* Moves `node` to stand before `before` (NULL: last). */
void graph_move(Graph *graph, Node *node, Node *before);

typedef struct {
    const Value *from;
    Value *to;
} Replacement;

/* Every use of a `from` (operands and outputs) becomes its `to`; none is also a `to`. Numbers the graph's values. */
void graph_replace_uses(Graph *graph, const Replacement *replacements, size_t n);

/* Numbers the results, and the blocks, in list order from 0 and returns how many results there are. */
uint32_t graph_number(const Graph *graph);

/* ---- Text, checks -------------------------------------------------------------------------------------------- */

/* Prints everything there is; reading it back gives an equal module, and printing that the same bytes. */
void module_print(FILE *out, const Module *module);
void module_print_dot(FILE *out, const Module *module);
void module_print_json(FILE *out, const Module *module);

/* Parses text; NULL on failure with *error = "line:column: reason" on the arena. `path` is for messages. The result
   has passed module_verify. */
Module *module_read(Arena *arena, const char *path, const char *text, size_t n_bytes, const char **error);

/* Every invariant that spec/ir.md lists: NULL if all hold, else the first that does not, on the arena. */
const char *module_verify(const Module *module);

#endif
