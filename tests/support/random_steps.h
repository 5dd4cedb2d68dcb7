/* The steps of random programs: what random_program.c draws from, and the state that steps share.

   In: a program under construction with at least its hidden values [B, T, d]. Out: one op or pattern more. Never here:
   the data, the loss. A step that finds no operand of a shape it needs does nothing. */
#ifndef MOEC_TESTS_SUPPORT_RANDOM_STEPS_H
#define MOEC_TESTS_SUPPORT_RANDOM_STEPS_H

#include "ir/ir.h"

enum { RANDOM_POOL_SIZE = 256 };

/* A dense float value that later steps may use. */
typedef struct {
    Value *value;
    double bound; /* about the largest magnitude of its elements */
    bool is_used;
} PoolItem;

typedef struct {
    Arena *arena;
    Module *module;
    Builder builder;
    uint64_t random; /* state of random_uniform */
    int64_t B, T, d; /* sequences, positions, width of the hidden values */
    Value *tokens;   /* i32[B, T] */
    Value *indices;  /* i32[.., k] of the last top_k that a step made, below n_choices; NULL before */
    int64_t n_choices;
    PoolItem pool[RANDOM_POOL_SIZE];
    size_t n_pool;
    int n_weights, n_inputs;
    Value *balance, *z_loss, *expert_load; /* of the routed step, at most one a program; NULL before */
} Generator;

/* One random step. */
void random_step(Generator *generator);

/* The routed step: a mixture of experts on hidden values. */
void random_step_route(Generator *generator);

/* ---- What steps are made of ------------------------------------------------------------------------------------ */

int64_t random_below(Generator *generator, int64_t n);
/* Adds `value` for later steps; too large values go through tanh first. */
void random_push(Generator *generator, Value *value, double bound);
/* A value of the pool, now used, with `accepts` true (NULL: any); NULL if there is none. */
PoolItem *random_pick(Generator *generator, bool (*accepts)(const Generator *generator, const Type *type));
bool random_is_hidden(const Generator *generator, const Type *type); /* f32[B, T, d] */
bool random_is_any(const Generator *generator, const Type *type);

Type random_type(int rank, const int64_t *extents);
/* A new weight, or a new float input, with elements in [-1, 1). */
Value *random_weight(Generator *generator, Type type);
Value *random_input(Generator *generator, Type type);
/* x plus a new weight: values that do not lie close together or at 0, whatever x has become. */
Value *random_spread(Generator *generator, Value *x);
/* x[.., K] times a new weight in mode nt or nn, as large as x: [.., n]. */
Value *random_linear(Generator *generator, Value *x, int64_t n);
/* The rows of `x` ([.., 1]-shaped without its last dim) repeated along the last dim of `type`. */
Value *random_repeat_last(Generator *generator, Value *rows, const Type *type);
/* The mean over all elements of a dense value, f32[]. */
Value *random_mean(Generator *generator, Value *x);
/* One node with at most three integer attributes; pairs end at a NULL key. Result 0. */
typedef struct {
    const char *key;
    int64_t value;
} RandomAttr;
Value *random_node(Generator *generator, OpKind op, int n_operands, Value *const *operands, const RandomAttr *attrs);

#endif
