/* What the files of the kernel form share. */
#ifndef MOEC_CODEGEN_FORM_INTERNAL_H
#define MOEC_CODEGEN_FORM_INTERNAL_H

#include "codegen/form.h"

/* op, its word in the text, number of operands, whether it has a map; a FORM_MAP's word and operands are its map_op's,
   and what gathers may have one operand more */
#define FORM_OPS(X)                                                                                                    \
    X(CONST, "const", 0, false)                                                                                        \
    X(LOAD, "load", 0, true)                                                                                           \
    X(POSITION, "position", 0, true)                                                                                   \
    X(GROUP, "group", 0, true)                                                                                         \
    X(INDEX, "index", 0, true)                                                                                         \
    X(MAP, "map", 0, false)                                                                                            \
    X(EQUAL, "equal", 2, false)                                                                                        \
    X(LESS, "less", 2, false)                                                                                          \
    X(SELECT, "select", 3, false)                                                                                      \
    X(SUM_COLS, "sum_cols", 1, false)                                                                                  \
    X(MAX_COLS, "max_cols", 1, false)                                                                                  \
    X(LOGSUMEXP_COLS, "logsumexp_cols", 1, false)                                                                      \
    X(SUM_ROWS, "sum_rows", 1, false)                                                                                  \
    X(SUM, "sum", 0, false)                                                                                            \
    X(RESULT, "result", 0, true)                                                                                       \
    X(STORE, "store", 1, true)                                                                                         \
    X(ADD, "add", 1, true)                                                                                             \
    X(SCATTER, "scatter", 1, true)

const char *form_instr_word(const FormInstr *instr);
int form_instr_n_operands(const FormInstr *instr);
static inline uint32_t form_instr_operand(const FormInstr *instr, int i) {
    return i == 0 ? instr->a : i == 1 ? instr->b : instr->c;
}
bool form_instr_has_map(const FormInstr *instr);
/* Whether it writes: a store, an add or a scatter. */
bool form_instr_writes(const FormInstr *instr);
/* Whether its value is a position. */
bool form_instr_is_position(const FormInstr *instr);
/* The body's scatter, or NULL. */
const FormInstr *form_scatter_of(const FormBody *body);
bool form_instr_is_reduction(const FormInstr *instr);
/* Over the columns of each row. */
bool form_instr_reduces_cols(const FormInstr *instr);

/* The level that the instruction has as number `n` of the body, from those of its operands. Of one that writes: where
   it writes. */
FormLevel form_level(const FormBody *body, const FormInstr *instr);

/* Whether the map moves with some row index, or some column index. */
bool form_map_varies(const FormBody *body, const FormAccessMap *map, bool by_col);

/* Extents of an operand as the product takes it: [side, k], across all groups where they are ragged. */
int64_t form_operand_side(const Form *form, bool is_lhs);
/* Of the elements in memory, which those of all operands of a form share; f32 of a part. */
DType form_operand_dtype(const Form *form, const FormOperand *operand);
/* Whether the gather replaces k; else it replaces the side. Where both strides are 1, ragged k decides, as in
   runtime/gemm.h. */
bool form_gathers_k(const Form *form, const FormOperand *operand);

/* Whether both name the same element at every row and column. */
bool form_maps_equal(const FormAccessMap *a, const FormAccessMap *b);

const char *form_kind_word(FormKind kind); /* "rows" */

/* ---- Attention ------------------------------------------------------------------------------------------------- */

enum { ATTENTION_SEQUENCE, ATTENTION_POSITION, ATTENTION_HEAD, ATTENTION_COLUMN, ATTENTION_N_INDICES };
enum { ATTENTION_MAX_TILE = 256 };

bool form_is_attention(const Form *form);
/* The form's tensors are [0, n); from the first result on they are results. */
int form_attention_n_tensors(const Form *form);
int form_attention_first_result(const Form *form);
const char *form_attention_name(int tensor);
bool form_attention_is_result(const Form *form, int tensor);
/* The form's indices as they run over the tensor: keys and values have fewer heads, a logsumexp has one column. */
FormBody form_attention_indices(const Form *form, int tensor);

/* Gives tensors that are not of f32 in memory bodies that load or store them; joins indices. */
void form_attention_widen(Arena *arena, Form *form);

/* The results from the operands, each dense in the order of its indices; results are zero at first. */
void form_interpret_attention(Arena *arena, const Form *form, double *const *of_tensors);

int64_t form_find_arg(const Form *form, const char *name); /* -1: none */

#endif
