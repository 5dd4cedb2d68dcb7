/* From nodes that ir/space.h has no space for to kernels of their own: ops.def's column `lower`, one function a name.

   In: a node whose operands have the layout that passes/layout.c leaves. Out: a form, and where its arguments stand.
   Never here: addresses, what the back ends make of a form. */
#ifndef MOEC_CODEGEN_LOWER_H
#define MOEC_CODEGEN_LOWER_H

#include "codegen/c_print.h"
#include "codegen/lower_block.h"

/* A node under way. The form is of kind rows, without arguments, indices and instructions at first. */
typedef struct {
    Arena *arena;
    Node *node;
    LoweredBlock *lowered;
    size_t capacity; /* of its arguments */
    CPrinter *text;  /* of the C of a kernel that has no form */
    bool has_text;
} NodeLowering;

typedef void LowerFunction(NodeLowering *at);

/* Every function that a row of ops.def names. */
#define OP(name, operands, results, class, attributes, infer, flops, interpret, rows, derive, lower)                   \
    void lower_##lower(NodeLowering *at);
#include "ir/ops.def"
#undef OP

/* ---- For the lower functions ---------------------------------------------------------------------------------- */

static inline const Type *lower_operand_type(const Node *node, int i) {
    return &node->operands[i]->type;
}

/* Adds an argument that starts where the value does, n_elements of which are used; its number. */
uint32_t lower_argument(NodeLowering *at, const char *name, Value *value, int64_t n_elements, FormAccess access);

/* All of an operand or of a result, which are dense. */
uint32_t lower_operand(NodeLowering *at, const char *name, int operand);
uint32_t lower_result(NodeLowering *at, const char *name, int result);

/* Adds an index, the next inner one. */
void lower_index(NodeLowering *at, const char *name, int64_t extent, bool is_col);

uint32_t lower_instr(NodeLowering *at, FormInstr instr);
uint32_t lower_map(NodeLowering *at, OpKind op, uint32_t a, uint32_t b);
/* The element at the map: of i32 as a position. `otherwise`: what stands for one that a gather does not read, or
   FORM_NONE. */
uint32_t lower_read(NodeLowering *at, FormAccessMap map, uint32_t otherwise);
void lower_store(NodeLowering *at, FormAccessMap map, uint32_t value);

#endif
