/* What kernels of attention on tensor cores share, whichever instruction multiplies: what a block has, how tensors are
   named, and how results leave the registers. In these, element i of a warp's scores, and of its sums of results, is
   that of mma.m16n8k16 (codegen/prelude_cuda_attention_mma.c). */
#ifndef MOEC_CODEGEN_FORM_CUDA_ATTENTION_TENSOR_H
#define MOEC_CODEGEN_FORM_CUDA_ATTENTION_TENSOR_H

#include "codegen/form_cuda_internal.h"

/* What a kernel computes: results of queries, gradients of queries, gradients of keys and values, or of one of these.
 */
typedef enum { ATTENTION_FORWARD, ATTENTION_OF_QUERIES, ATTENTION_OF_KEYS, ATTENTION_N_TASKS } AttentionTask;

/* Of a block: rows of its own, rows of the others at a time, warps that compute, and tiles of the others that there is
   room for. */
typedef struct {
    int n_rows, n_others, n_warps, n_stages;
} AttentionTile;

/* A kernel under way. Own tensors are those of the block's rows, others those of the rows that it goes through. */
typedef struct {
    CudaPrinter *cuda;
    CPrinter *c;
    const Form *form;
    AttentionTile tile;
    int64_t n_heads; /* of own tensors */
    int width;       /* columns of a tile, up to a multiple of what products take */
    int n_own, n_others, n_results;
    int own[2], others[2], results[2];
} AttentionPrinter;

/* Variables and constants of the kernels of both tiers, up to NULL. */
extern const char *const cuda_attention_tensor_names[];

/* The tensors of the task, in a tile's order, vectors rounded up to a multiple of `unit` columns. */
AttentionPrinter attention_printer_new(CudaPrinter *cuda, AttentionTask task, AttentionTile tile, int unit);
bool attention_has_result(const AttentionPrinter *at, int tensor);

/* Before anything else: the functions of bodies; room in scratch memory, of a gradient for out . dout of each query
   from its start on; and then for factors that are computed, which are tensors of bf16 from here on. */
void attention_start(CudaPrinter *cuda);
/* Then all kernels: the first, if there are such, computes these factors. */
typedef struct {
    AttentionPrinter (*printer_of)(CudaPrinter *cuda, AttentionTask task);
    void (*print_forward)(CudaPrinter *cuda);
    void (*print_of_queries)(CudaPrinter *cuda);
    void (*print_of_keys)(const AttentionPrinter *at, const char *what);
} AttentionPrinters;
void attention_print_kernels(CudaPrinter *cuda, const AttentionPrinters *printers);

int64_t attention_extent(const AttentionPrinter *at, int index);
const FormAccessMap *attention_map(const AttentionPrinter *at, int tensor);
/* "all_q + b * Q_B + h * Q_H + (position) * Q_T" */
const char *attention_vector(const AttentionPrinter *at, int tensor, const char *head, const char *position);
/* "Q" */
const char *attention_upper_case(const AttentionPrinter *at, int tensor);
/* The element as a float, where it is in memory or a part computes it. */
const char *attention_element(const AttentionPrinter *at, int tensor, const char *head, const char *position,
                              const char *column);
bool attention_has_body(const AttentionPrinter *at, int tensor);
/* Whether each vector is of bf16, starts at a multiple of 16 bytes, and ends at one. */
bool attention_has_units(const AttentionPrinter *at, int tensor);
bool attention_is_bf16(const AttentionPrinter *at, int tensor);

/* Opens the kernel with what it computes, all sizes and tensors; then which rows of which head the block has: `first`,
   `b`, `h`; `head` counts both. The last `n_rows` rows of all, or the first, come first: those with the longest work.
 */
void attention_open_kernel(const AttentionPrinter *at, const char *what, int n_products, int n_threads,
                           int64_t shared_bytes);

/* `seen`, `n_tiles`: which keys the block's queries see, and in how many tiles. */
extern const char attention_seen_keys[];
/* Of queries that see the block's keys, in all heads that share these: tile n is of head h * SHARED + n % SHARED. */
extern const char attention_seen_queries[];

/* Scores times the scale, where a larger score would else have a smaller weight. */
void attention_print_scaled_scores(const AttentionPrinter *at);
/* sums_NAME times the scale. */
void attention_print_scaled_sums(const AttentionPrinter *at, int tensor);
/* mean[], lowered[]: what the gradient needs of the lane's queries; the first goes to scratch memory, too. */
void attention_print_means(const AttentionPrinter *at);
/* logsumexp, and sums_out by the sums of weights. */
extern const char attention_forward_end[];

/* Shared memory that a result needs on its way. */
int64_t attention_result_bytes(const AttentionPrinter *at);

/* From sums_NAME of the warps to memory, through shared memory from `shared` on, so that neighbours are written
   together; `barrier` is what all threads that compute wait at. */
void attention_print_results(const AttentionPrinter *at, const char *barrier);

#endif
