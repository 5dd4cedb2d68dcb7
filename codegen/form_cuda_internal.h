/* What the files that print forms as CUDA C share. */
#ifndef MOEC_CODEGEN_FORM_CUDA_INTERNAL_H
#define MOEC_CODEGEN_FORM_CUDA_INTERNAL_H

#include "codegen/form_c_internal.h"
#include "codegen/form_c_phases.h"
#include "codegen/form_cuda.h"

enum {
    CUDA_WARP = 32,
    CUDA_THREADS = 256, /* of a block, where nothing asks for another number */
    CUDA_MAX_THREADS = 1024,
};

/* A form's kernels under way. */
typedef struct {
    FormPrinter base;
    FormCuda *out;
    size_t launches_capacity, maps_capacity;
    const bool *is_unaligned; /* arguments; NULL: none */
    Phases phases;
    bool *is_needed;      /* by the loop at hand */
    int first_col;        /* the first column index */
    const char *int_type; /* of indices and elements' numbers */
    int width;            /* columns, one after the other, that a thread reads at a time: 4, or 1 */
    int n_threads;        /* of a block */
    int group;            /* threads that share a row: the block, or a power of two that divides a warp */
    const char *lane;     /* the variable that counts these */
    int n_vectors;   /* times that a thread reads `width` columns of a row, in registers; 0: it loops through them */
    bool is_guarded; /* some threads of a warp have no row: `is_row` */
} CudaPrinter;

/* Where a loop's thread begins, where the row ends, how far the thread's next columns are: texts. */
typedef struct {
    const char *first, *end, *step; /* step NULL: there is but one */
} CudaColumns;

static inline const FormInstr *cuda_instr(const CudaPrinter *at, size_t i) {
    return &at->base.body->instrs[i];
}

static inline bool cuda_is_live(const CudaPrinter *at, size_t i, FormOp op) {
    return at->phases.is_live[i] && at->base.body->instrs[i].op == op;
}

/* ---- Kernels (form_cuda.c) -------------------------------------------------------------------------------------- */

/* Opens the form's next kernel. */
void cuda_open_kernel(CudaPrinter *at, int64_t n_blocks, int n_threads);
/* What stands between the brackets of a kernel, or of a function that it calls with all that it has. */
const char *cuda_parameters_text(const CudaPrinter *at);
const char *cuda_arguments_text(const CudaPrinter *at);
/* Room for n floats in scratch memory: the number of the first. */
int64_t cuda_add_scratch(CudaPrinter *at, int64_t n);
/* Its number in the parameter `maps`. Before the first kernel is opened. */
size_t cuda_add_map(CudaPrinter *at, FormCudaMap map);
/* Whether the argument starts at a multiple of 16 bytes. */
bool cuda_is_aligned(const CudaPrinter *at, uint32_t arg);

/* ---- Rows and columns (form_cuda_columns.c) --------------------------------------------------------------------- */

/* Whether the access is to `width` elements at once. */
bool cuda_is_vector(const CudaPrinter *at, const FormInstr *instr);
/* 4 where the body can read four columns at once, else 1. */
int cuda_width(const CudaPrinter *at);

/* "d", or "col" where a row has several column indices: the name of the number of the column. */
const char *cuda_col_name(const CudaPrinter *at);
const char *cuda_row_name(const CudaPrinter *at);
/* `int b = row / 256, t = row % 256;` */
void cuda_print_row_indices(CudaPrinter *at);
void cuda_print_col_indices(CudaPrinter *at);

/* What has one value for each row, of the phase; `writes`: what is written of that, too, by one of the row's threads
   ("": there is just one). */
void cuda_print_values(CudaPrinter *at, int phase, bool writes, const char *writer);

/* Variables that live from one loop of a row to the next; of sums over rows, from row to row. */
void cuda_print_kept(CudaPrinter *at);
void cuda_print_parts(CudaPrinter *at);
/* "[vector][element]" of such. */
const char *cuda_place_text(const CudaPrinter *at);

/* The loop of a phase, and the thread's part of the sums over columns. */
void cuda_print_starts(CudaPrinter *at, int phase);
void cuda_print_loop(CudaPrinter *at, int phase, CudaColumns columns);

/* ---- Sums over columns (form_cuda_sums.c) ----------------------------------------------------------------------- */

/* Whether the loop of the phase adds something up over the columns. */
bool cuda_reduces(const CudaPrinter *at, int phase);
/* Shared memory for all such of the form, where blocks add up. */
void cuda_print_shared(CudaPrinter *at);
/* From the threads' parts to the row's, in all its threads; a logsumexp stays in two parts. */
void cuda_print_combined(CudaPrinter *at, int phase);
/* The values from these parts. */
void cuda_print_ends(CudaPrinter *at, int phase);
/* One line for each reduction over columns of the phase, its number put in for $. */
void cuda_print_for_each(CudaPrinter *at, int phase, FormOp op, const char *line);

/* ---- Bodies of operands and results (form_cuda_bodies.c) -------------------------------------------------------- */

/* The function `float NAME(arguments, row, col)` of what a part yields. */
void cuda_print_element(const CudaPrinter *at, const FormBody *part, const char *name);
/* The function `void NAME(arguments, row, col, sums)` that does with a result of attention what its body says, in the
   column; the result's row is there at `sums`. */
void cuda_print_result(const CudaPrinter *at, const FormBody *result, const char *name);

/* ---- Ways ------------------------------------------------------------------------------------------------------- */

/* Threads share a row (form_cuda_rows.c). */
void cuda_print_by_row(CudaPrinter *at);
/* Blocks share a row, or there are no rows (form_cuda_chunks.c). */
void cuda_print_flat(CudaPrinter *at);
void cuda_print_by_chunk(CudaPrinter *at);
void cuda_print_pieces(CudaPrinter *at);

/* Forms of kind PRODUCT (form_cuda_product.c), and of kinds ATTENTION and ATTENTION_GRAD, of which some are refused:
   why on the arena, or NULL (form_cuda_attention.c). */
extern const char *const cuda_product_names[],
    *const cuda_attention_names[], *const cuda_attention_tensor_names[],
                                       *const cuda_route_names[]; /* variables of their kernels, up to NULL */
void cuda_print_route(CudaPrinter *at, const Form *form);         /* (form_cuda_route.c) */
/* The first kernels of a form: another one, of kind ROWS, whose arguments are the form's and one that is scratch memory
   from its start. */
void cuda_print_form_of_rows(CudaPrinter *at, Form *rows);
void cuda_print_scatter(CudaPrinter *at, const Form *form); /* of kind ROWS, that scatter (form_cuda_scatter.c) */
void cuda_print_product(CudaPrinter *at, const Form *form, CudaTier tier, const FormCudaOptions *options);
void cuda_print_attention(CudaPrinter *at);
const char *cuda_refuse_attention(Arena *arena, const Form *form);
/* The same where operands are of bf16 in memory, or some are, and the rest is computed: on mma.sync
   (form_cuda_attention_mma.c). */
bool cuda_attention_is_bf16(const Form *form);
void cuda_print_attention_mma(CudaPrinter *at);
/* The same on wgmma, where the copy engine can bring the operands (form_cuda_attention_wgmma.c). */
bool cuda_attention_has_maps(const Form *form, const bool *is_unaligned);
void cuda_print_attention_wgmma(CudaPrinter *at);

/* Parts of the prelude (prelude_cuda_*.c). */
extern const char cuda_prelude_products[], cuda_prelude_bf16[], cuda_prelude_attention[];
void cuda_print_prelude_async(FILE *out);
void cuda_print_prelude_wgmma(FILE *out);
extern const char cuda_prelude_attention_mma[];

/* Plans and prints a form of kind ROWS, the indices of which it may change (form_cuda_rows.c). */
void cuda_print_rows(CudaPrinter *at, Form *form);

#endif
