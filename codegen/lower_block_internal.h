/* What the files that lower kernel blocks to forms share. */
#ifndef MOEC_CODEGEN_LOWER_BLOCK_INTERNAL_H
#define MOEC_CODEGEN_LOWER_BLOCK_INTERNAL_H

#include "codegen/lower_block.h"

/* A block under way. */
typedef struct {
    Arena *arena;
    const Space *space;
    const LoweredStorage *storage;
    const Value *replaced[SPACE_MAX_NODES]; /* by node: what its first result is written over, or NULL */
    bool is_named;
    Form *form;
    LoweredArgument *arguments;
    size_t n_arguments, capacity;
} Lowering;

/* A body under way: the nodes of one space. */
typedef struct {
    Lowering *lowering;
    const Space *space;
    FormBody *body;
    uint32_t instrs[SPACE_MAX_NODES][SPACE_MAX_RESULTS]; /* of each node's results */
    /* The same of the first result in the same place of one half of the columns: its instruction + 1, or 0. */
    uint32_t in_half[2][SPACE_MAX_NODES];
} BodyLowering;

/* The argument that starts at the view's element [0, .., 0]; at least n_elements are used from there on. */
uint32_t lowering_argument(Lowering *at, const View *view, FormAccess access, int64_t n_elements);

/* Where the value's elements are, as an argument and strides. */
FormAccessMap body_access(BodyLowering *at, Value *value, Role role, FormAccess access);

/* The same of the state that node i of the space updates by its operand; in pieces where the space is. */
FormAccessMap body_state_access(BodyLowering *at, size_t i, int operand);

/* The value at the row and column: a literal, what the block made, or a load. */
uint32_t body_element(BodyLowering *at, Value *value, Role role);

uint32_t body_add(BodyLowering *at, FormInstr instr);
uint32_t body_add_map(BodyLowering *at, OpKind op, uint32_t a, uint32_t b);
uint32_t body_add_reduction(BodyLowering *at, FormOp op, uint32_t a);
uint32_t body_add_binary(BodyLowering *at, FormOp op, uint32_t a, uint32_t b);
uint32_t body_add_select(BodyLowering *at, uint32_t truth, uint32_t x, uint32_t otherwise);
uint32_t body_add_constant(BodyLowering *at, double value);

/* ---- lower_block.c ----------------------------------------------------------------------------------------------- */

/* Names the body's indices, which are those of the space. */
void body_set_indices(const Lowering *at, const Space *space, FormBody *body);
/* The arguments that the space's nodes write. */
void body_add_results(BodyLowering *at);
/* All of the space's nodes but those that are done, and the stores of their results. */
void body_lower_nodes(BodyLowering *at, const bool *is_done);
/* The body, on the arena, that yields the value, which a node of the space makes. */
FormBody *body_lower_part(Lowering *at, const Space *space, Value *value);

/* ---- lower_attention.c ------------------------------------------------------------------------------------------- */

/* The form of attention and what surrounds it, of which there is the kind alone. */
void lower_attention(Lowering *at);
/* The instruction of a rope, node i of the space. */
uint32_t body_lower_rope(BodyLowering *at, const Node *node);
/* The element of what the body follows. */
uint32_t body_given(BodyLowering *at);

/* ---- lower_block_packed.c -------------------------------------------------------------------------------------- */

/* Marks operands of which a packed copy is worth its memory, and adds these as arguments: behind all others. */
void lowering_add_packed(Lowering *at);

/* ---- lower_block_train.c: node i of the space ------------------------------------------------------------------ */

/* Sets the instructions of its results. */
void body_lower_cross_entropy(BodyLowering *at, size_t i);
/* That of its result. */
uint32_t body_lower_cross_entropy_grad(BodyLowering *at, const Node *node);
void body_lower_adamw(BodyLowering *at, size_t i);

/* ---- lower_block_route.c ----------------------------------------------------------------------------------------- */

/* The arguments that a route fills, and what is said of it. */
void body_add_route_results(BodyLowering *at);
/* The scores, once the nodes that make them are lowered. */
void body_lower_scores(BodyLowering *at);

#endif
