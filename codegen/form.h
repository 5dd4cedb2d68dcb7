/* The kernel form: one kernel as loops, loads, an expression graph, reductions and stores. Both back ends print it; it
   has a text that reads back, a verifier and an interpreter. spec/kernels.md describes it.

   In: kernel blocks, from codegen/lower_block.c, or text. Out: the structure, text, values. Never here: the IR's nodes
   and values, C or CUDA C.

   A form has arguments, which are flat arrays, and a body. The body computes over rows and columns: its indices are
   row indices, then column indices, outermost first. Instructions are in SSA form and in order; each has a level:

     ROW   one value for each row (it varies along no column index)
     FULL  one for each row and column
     COL   one for each column: a sum over all rows

   The one column index of a form in pieces counts through these, one after the other: the elements of many tensors,
   which one kernel runs through. An argument is in pieces, or the same for all.

   Of kind ROWS, the body is the kernel. Of kind PRODUCT, matrix products come first: instruction SUM is the value of a
   product's result at the row and column, and the body is the epilogue. Operands of products are strided arrays, rows
   of which may be gathered, or parts of their own: bodies over the operand's rows and columns that yield a value.

   Of kinds ATTENTION and ATTENTION_GRAD, the form is one op on tensors of four indices: row indices sequence, position
   and head, and a column index along a head's vectors. Tensors are strided arrays, or have bodies of their own: an
   operand a part, as products' operands have, a result what is done with it. Of kind ROUTE, rows are tokens and columns
   experts; the body yields scores, by which tokens choose experts. */
#ifndef MOEC_CODEGEN_FORM_H
#define MOEC_CODEGEN_FORM_H

#include "ir/ir.h"

enum { FORM_MAX_INDICES = 8, FORM_MAX_OPERANDS = 8, FORM_MAX_PRODUCTS = 4, FORM_MAX_RESULTS = 3 };

#define FORM_NONE UINT32_MAX

/* Floats hold all whole numbers up to here. */
enum { FORM_INDEX_END = 1 << 24 };

typedef enum {
    FORM_IN,    /* read only */
    FORM_OUT,   /* every element is written */
    FORM_INOUT, /* what is added to, and what is updated: an element is loaded before it is written */
} FormAccess;

typedef struct {
    const char *name; /* a C identifier, unique in the form */
    DType dtype;      /* f32, bf16 or i32; elements of bf16 are floats as soon as they are loaded */
    int64_t n_elements;
    FormAccess access;
    bool is_in_pieces; /* an array a piece of the form, which follow each other */
} FormArg;

typedef struct {
    const char *name; /* a C identifier, unique in the body */
    int64_t extent;
    bool is_col;
} FormIndex;

/* Element offset + sum(index * stride) of an argument; one stride an index of the body. */
typedef struct {
    uint32_t arg; /* FORM_NONE: the number itself, of an INDEX, or a POSITION */
    int64_t offset;
    int64_t strides[FORM_MAX_INDICES];
    /* FORM_NONE, or the position whose value times gather_stride is added. Where it is negative nothing is read or
       written. */
    uint32_t gather;
    int64_t gather_stride;
} FormAccessMap;

/* operation, operands (a, b, c), text */
typedef enum {
    FORM_CONST, /* value */
    FORM_LOAD,  /* at `map`; of i32 the number as a float. Where `map` gathers and there is nothing to read: a, or 0 */
    /* A position is a whole number, for gathers, scatters and stores of i32. Of POSITION it is the i32 at `map`, or
       what `map` counts to; divided by `divisor` where it is not negative; -1 where it is not below `limit`. Where
       `map` gathers and there is nothing to read: the position a, or -1. Of GROUP it is the group of row number `map`
       by the offsets of `divisor` groups, the argument: that which has offsets[group] <= row < offsets[group + 1], or
       -1. */
    FORM_POSITION,
    FORM_GROUP,
    FORM_INDEX,          /* the number that `map` gives, less than FORM_INDEX_END */
    FORM_MAP,            /* op(a, b): a map of ir/ops.def */
    FORM_EQUAL,          /* 1 where a equals b, else 0 */
    FORM_LESS,           /* 1 where a is less than b, else 0 */
    FORM_SELECT,         /* b where a is not 0, else c */
    FORM_SUM_COLS,       /* FULL -> ROW: the sum of a over the columns */
    FORM_MAX_COLS,       /* FULL -> ROW: the largest */
    FORM_LOGSUMEXP_COLS, /* FULL -> ROW: log(sum(exp(a))) */
    FORM_SUM_ROWS,       /* FULL -> COL: the sum of a over all rows; only stores read it */
    FORM_SUM,            /* PRODUCT only: result number `result` of the products */
    FORM_RESULT,         /* a result's body in ATTENTION only: its element in the row and the column that `map` gives */
    FORM_STORE,          /* at `map`: a */
    FORM_ADD,            /* at `map`: what is there + a */
    FORM_SCATTER         /* at `map`, which gathers: what rows before have put there, or 0, + a; rows in order */
} FormOp;

typedef enum { FORM_LEVEL_ROW, FORM_LEVEL_FULL, FORM_LEVEL_COL } FormLevel;

typedef struct {
    FormOp op;
    OpKind map_op;
    uint32_t a, b, c; /* earlier instructions, or FORM_NONE */
    double value;
    FormAccessMap map;
    int64_t divisor, limit; /* limit 0: none */
    int result;
    FormLevel level; /* set by form_add */
} FormInstr;

typedef struct {
    int n_indices;
    FormIndex indices[FORM_MAX_INDICES]; /* rows first */
    FormInstr *instrs;
    size_t n_instrs, capacity;
    uint32_t yield; /* of an operand's part, or the scores of a route; FORM_NONE in other bodies */
} FormBody;

/* An operand of a product, [rows, k] or [cols, k]. Ragged sides count across all groups. */
typedef struct {
    const char *name;
    /* Element (i, k) of group g is data[offset + g * group_stride + i * stride + k * k_stride]; one of the strides is
       1. The index of the side whose stride is not 1 is gather[index] / gather_divisor where there is a gather. */
    uint32_t arg;
    int64_t offset, stride, k_stride, group_stride;
    uint32_t gather; /* argument, or FORM_NONE */
    int64_t gather_divisor;
    /* NULL, or what computes the element instead: its rows are the major side (the one whose elements lie further apart
       in the tensor that it stands for), its columns the minor. k_is_major says which side k is. No groups. */
    FormBody *part;
    bool k_is_major;
    /* A rhs of which the kernel may have a packed copy as well, as a pointer behind those of its arguments, in the
       order of the operands: NULL where there is none. To back ends that do not pack it means nothing. */
    bool is_packed;
} FormOperand;

typedef struct {
    int lhs, rhs; /* operands */
    int64_t k;
    int result;
} FormProduct;

typedef enum { FORM_DENSE, FORM_RAGGED_ROWS, FORM_RAGGED_K } FormRagged; /* as in runtime/gemm.h */

/* Tensor, its name, whether its heads are those of keys and values. Attention has those up to LOGSUMEXP, the last two
   of which are its results; its gradient has all, the last three of which are results. */
#define FORM_ATTENTION_TENSORS(X)                                                                                      \
    X(Q, "q", false)                                                                                                   \
    X(K, "k", true)                                                                                                    \
    X(V, "v", true)                                                                                                    \
    X(OUT, "out", false)                                                                                               \
    X(LOGSUMEXP, "logsumexp", false)                                                                                   \
    X(DOUT, "dout", false)                                                                                             \
    X(DQ, "dq", false)                                                                                                 \
    X(DK, "dk", true)                                                                                                  \
    X(DV, "dv", true)

/* Numbers of tensors; int is their type, since they are counted through and compared with operands' numbers. */
enum {
#define X(id, name, has_kv_heads) ATTENTION_##id,
    FORM_ATTENTION_TENSORS(X)
#undef X
        ATTENTION_N_TENSORS
};

/* Position t of a sequence sees (t - window, t]. Scores are scale q.k, and the logsumexp is over those of a query. */
typedef struct {
    int64_t n_shared; /* query heads, one after the other, that share a head of keys and values */
    int64_t window;   /* at most as many as there are positions */
    double scale;
    int64_t tile_queries, tile_keys; /* positions whose scores are computed at a time; back ends round them up */
    FormAccessMap maps[ATTENTION_N_TENSORS]; /* strides of sequence, position, head and column */
    /* NULL: the tensor is at its map. Else, of an operand what computes it, which yields the element, and of a result
       what is done with it, which writes. Rows are those of the tensor, (sequence, position, head), and columns the
       vector's, each as one index or several. A logsumexp has none. */
    FormBody *bodies[ATTENTION_N_TENSORS];
} FormAttention;

/* What a route makes of the slots, k for each row, slot s = row * k + choice: id, its word, dtype, what it holds. */
#define FORM_ROUTE_RESULTS(X)                                                                                          \
    X(VALUES, "values", F32, "the score of each slot's expert")                                                        \
    X(EXPERTS, "experts", I32, "the expert of each slot")                                                              \
    X(COUNTS, "counts", F32, "how many slots chose each expert")                                                       \
    X(OFFSETS, "offsets", I32, "[E + 1]: each expert's rows, expert after expert, start there")                        \
    X(SLOT_OF_ROW, "slot_of_row", I32, "an expert's rows in the order of their slots; -1 behind the last offset")      \
    X(ROW_OF_SLOT, "row_of_slot", I32, "the inverse; -1 for a slot that found its expert full")

typedef enum {
#define X(id, word, dtype, what) FORM_ROUTE_##id,
    FORM_ROUTE_RESULTS(X)
#undef X
        FORM_ROUTE_RESULT_COUNT
} FormRouteResult;

typedef struct {
    uint32_t given;   /* the argument that holds the experts, one a row, where there is no choice; or FORM_NONE */
    int64_t k;        /* experts that a row chooses, by the largest yields; of equals the earlier first */
    int64_t capacity; /* rows that an expert has at most; 0: any number */
    uint32_t results[FORM_ROUTE_RESULT_COUNT]; /* arguments; FORM_NONE where not wanted */
} FormRoute;

/* Scores that are not just loaded are held for some rows at a time. */
enum { FORM_MAX_COMPUTED_SCORES = 4096 };

typedef enum {
    FORM_KIND_ROWS,
    FORM_KIND_PRODUCT,
    FORM_KIND_ATTENTION,
    FORM_KIND_ATTENTION_GRAD,
    FORM_KIND_ROUTE,
    FORM_N_KINDS
} FormKind;

typedef struct {
    const char *name; /* "rms_norm_0" */
    FormKind kind;
    FormArg *args;
    size_t n_args, args_capacity;
    FormBody body;
    size_t n_pieces; /* 0: it is not in pieces */
    int64_t *pieces; /* how many columns each has */
    /* Of products: */
    FormRagged ragged;
    int64_t n_groups; /* 1 where dense */
    uint32_t offsets; /* argument, i32[n_groups + 1], or FORM_NONE */
    int n_operands, n_products, n_results;
    FormOperand operands[FORM_MAX_OPERANDS];
    FormProduct products[FORM_MAX_PRODUCTS];
    /* Of attention and its gradient: */
    FormAttention attention;
    FormRoute route; /* of kind ROUTE */
} Form;

/* Where the kernel's argument list has the argument: those before it have an entry each, or one for each piece. */
size_t form_arg_entry(const Form *form, size_t arg);

/* With RAGGED_K and more than one group the body's rows run over all groups' results, one group after the other. */
int64_t form_n_rows(const FormBody *body);
int64_t form_n_cols(const FormBody *body);

/* A dense form of kind rows without arguments, indices and instructions; on the arena. `name` must outlive it. */
Form *form_new(Arena *arena, const char *name);

/* Appends the instruction, its level found; returns its number. An instruction that equals an earlier one and stores
   nothing is that one. */
uint32_t form_add(Arena *arena, FormBody *body, FormInstr instr);

/* Joins neighbouring indices that every access runs through evenly, and leaves out those of extent 1. */
void form_merge_indices(Form *form);

/* NULL if all invariants of spec/kernels.md hold, else the first that does not, on the arena. */
const char *form_verify(Arena *arena, const Form *form);

void form_print(FILE *out, const Form *form);
/* NULL on failure with *error = "line:column: reason" on the arena. The result has passed form_verify. */
Form *form_read(Arena *arena, const char *text, size_t n_bytes, const char **error);

/* Runs the form in double precision: args[i] holds argument i's elements (i32 as whole numbers, bf16 rounded
   to it; pieces one after the other); outputs are written there. Offsets and positions come from data: NULL, or what is
   wrong with them. */
const char *form_interpret(Arena *arena, const Form *form, double *const *args);

#endif
