/* From a planned module to C text: kernels (equal nodes share one), and the MoecPlan that lists their launches.

   In: a module after the memory pass. Out: one C source that needs only runtime/plan.h, runtime/gemm.h and libc.
   Never here: running cc, files, the runtime's own structures (their text is printed, their header not included). */
#ifndef MOEC_CODEGEN_CODEGEN_H
#define MOEC_CODEGEN_CODEGEN_H

#include "codegen/tuning.h"
#include "ir/ir.h"
#include "ir/report.h"

/* How the generated C is to be compiled, blank-separated: cc's flags but for -march, paths and libraries. The C of two
   kernels may not be contracted differently by chance: -ffp-contract is fixed. */
#define CODEGEN_C_FLAGS "-std=gnu11 -O3 -g1 -fopenmp -fno-math-errno -fno-trapping-math -ffp-contract=fast -w"

typedef struct {
    const char *plan_symbol; /* "moec_plan" */
    const Tuning *tuning;    /* what kernels for GPUs are cut by; NULL: guesses */
    bool has_choices;        /* all choices of these kernels are in the plan, for the executable to time them */
} CodegenOptions;

/* Prints the whole source. The text depends on the module alone: equal modules, equal bytes. False after an error was
   reported (an op or dtype that the C backend does not have). */
bool codegen_emit_c(FILE *out, const Module *module, const CodegenOptions *options, Reporter *reporter);

/* What a build prints and `moec emit --after=plan` shows: bytes by memory kind, parameters, FLOPs per token, launches,
   and distinct kernels. False after an error was reported, as above. */
bool codegen_print_summary(FILE *out, const Module *module, Reporter *reporter);

#endif
