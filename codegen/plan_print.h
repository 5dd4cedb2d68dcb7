/* The tables of a plan as C initialisers: runtime/plan.h. */
#ifndef MOEC_CODEGEN_PLAN_PRINT_H
#define MOEC_CODEGEN_PLAN_PRINT_H

#include <stdio.h>

#include "codegen/codegen.h"
#include "codegen/plan.h"

/* A C string literal; NULL prints as NULL. */
void plan_print_string(FILE *out, const char *text);
/* "model.moe:14:7" as a literal; "" where unknown. */
void plan_print_loc(FILE *out, const Module *module, Loc loc);
/* A double literal. */
void plan_print_double(FILE *out, double value);
/* {64, 128}; {0} for a scalar. */
void plan_print_dims(FILE *out, const Type *type);

/* "    .kernels = kernels,\n    .n_kernels = 12,\n"; NULL and 0 where there are none: C has no empty arrays. */
void plan_print_table_fields(FILE *out, const char *field, const char *array, size_t n);

/* The arrays `programs` and `weights`, `dense_config`, `export_config` (each only if it has elements). */
void plan_print_programs(FILE *out, const Plan *plan);
void plan_print_weights(FILE *out, const Plan *plan);
void plan_print_packed(FILE *out, const Plan *plan);
void plan_print_configs(FILE *out, const Plan *plan);

/* The fields of MoecPlan that come from the last three. */
void plan_print_model_fields(FILE *out, const Plan *plan);

/* plan_print_cuda.c: all kernels as CUDA C, and CUDA_FIELDS, what a MoecPlan says of them. False after an error was
   reported: a tuning that does not fit. */
bool plan_print_cuda(FILE *out, Arena *arena, const Plan *plan, const CodegenOptions *options, Reporter *reporter);

#endif
