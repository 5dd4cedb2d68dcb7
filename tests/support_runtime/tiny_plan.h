/* A small plan, as codegen would print it: an embedding, a router, one layer of four experts, a norm. */
#ifndef MOEC_TESTS_SUPPORT_RUNTIME_TINY_PLAN_H
#define MOEC_TESTS_SUPPORT_RUNTIME_TINY_PLAN_H

#include "runtime/plan.h"
#include "tests/support_runtime/folder.h"

enum { TINY_VOCAB = 10, TINY_D = 6, TINY_FF = 8, TINY_EXPERTS = 4 };

typedef enum { TINY_EMBED, TINY_ROUTER, TINY_GATE, TINY_UP, TINY_DOWN, TINY_NORM, TINY_WEIGHTS } TinyWeight;

typedef struct {
    MoecPlan plan;
    MoecWeight weights[TINY_WEIGHTS]; /* may be changed before tiny_plan_place */
    void *spaces[MOEC_SPACE_COUNT];
} TinyPlan;

/* Freed by tiny_plan_free. */
TinyPlan *tiny_plan_new(void);
/* Offsets by the weights' dims; spaces of zeros. */
void tiny_plan_place(TinyPlan *tiny);
void tiny_plan_free(TinyPlan *tiny);

float *tiny_plan_values(TinyPlan *tiny, MoecSpace space, TinyWeight weight);
uint64_t tiny_plan_elements(const TinyPlan *tiny, TinyWeight weight);

/* Fills weights and moments with values of all kinds, infinities and NaN payloads too. */
void tiny_plan_fill(TinyPlan *tiny, uint64_t seed);
/* Whether weights and moments are the same bits. */
bool tiny_plan_same(const TinyPlan *a, const TinyPlan *b);

/* Writes the dense checkpoint that the plan upcycles, config.json and model.safetensors, into the folder NAME. Element
   i of a weight's tensor is tiny_plan_dense_value(weight, i); all are different, and exact in F16 up to i = 1023. */
void tiny_plan_write_dense(const TinyPlan *tiny, Folder *folder, const char *name);
float tiny_plan_dense_value(TinyWeight weight, uint64_t i);

/* config.json of that checkpoint. */
extern const char tiny_plan_dense_config[];

#endif
