/* The C kernels of a program: one function per distinct computation, shared by all nodes that need the same text.

   In: nodes whose operands have the layout that passes/layout.c leaves (ir/view.h). Out: C functions of type
   MoecKernelFunction (runtime/plan.h) as text. Never here: addresses, launches, the plan (codegen/plan_*.c).

   A kernel is `static void NAME(void *const *args)`; what each argument must be, its KernelCall says. It is printed
   from its kernel form (codegen/form.h), which blocks that ir/space.h accepts have from codegen/lower_block.c, other
   nodes from codegen/lower.h. */
#ifndef MOEC_CODEGEN_KERNELS_H
#define MOEC_CODEGEN_KERNELS_H

#include "codegen/lower_block.h"
#include "ir/report.h"

typedef struct {
    const char *name;    /* unique C identifier: "matmul_3" */
    const char *key;     /* what it computes: no other kernel has the same; without names of the source */
    const char *text;    /* the whole C function with its comment, newline at the end */
    double flops, bytes; /* of one launch */
    const Form *form;    /* what `text` is printed from; NULL: a node that has no form */
    const char *heading; /* of that */
} Kernel;

/* A growing table, on the arena, of the kernels of one module. */
typedef struct Kernels Kernels;

Kernels *kernels_new(Arena *arena, const Module *module);

/* A kernel by number, and where its arguments stand. */
typedef struct {
    uint32_t kernel;
    LoweredArgument *args;
    size_t n_args;
} KernelCall;

/* The kernel that computes the nodes (no leaves, no views; of one block, or one alone), made if there is none yet with
   the same body. Stored is what value_has_storage says of `escapes` (ir/block.h). The graph must be numbered.
   False after an error was reported: an op or dtype that the C backend does not have. */
bool kernels_add(Kernels *kernels, Node *const *nodes, size_t n, const LoweredStorage *storage, Reporter *reporter,
                 KernelCall *call);

size_t kernels_count(const Kernels *kernels);
const Kernel *kernels_get(const Kernels *kernels, size_t index);

/* C text that must precede the kernels: includes, and small functions that they call. */
void kernels_print_prelude(FILE *out);

/* Whether the operand is an argument of the kernel: constants and views of constants are written into the text. */
bool kernel_operand_is_argument(const Node *node, int operand);

#endif
