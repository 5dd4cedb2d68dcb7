/* What the files that print products as CUDA C share.

   There are three ways. Operands that are computed, of f32, or that lie across 16-byte units come through registers
   (form_cuda_product_registers.c). Others, of bf16, are copied as they are: by threads, for sm_80
   (form_cuda_product_sm80.c), or by the copy engine, for sm_90a (form_cuda_product_sm90.c), as tiles of 128-byte lines
   that are swizzled alike (form_cuda_product_copy.c). The last two walk through tiles (form_cuda_product.c), and their
   results are pairs of columns in a thread's registers (form_cuda_product_results.c). */
#ifndef MOEC_CODEGEN_FORM_CUDA_PRODUCT_H
#define MOEC_CODEGEN_FORM_CUDA_PRODUCT_H

#include "codegen/form_cuda_internal.h"

/* Of a tile that is copied: k at a time, elements of a 16-byte unit and of a swizzled line, bytes of an element. */
enum { TILE_K = 64, UNIT = 8, LINE = 64, ELEMENT_BYTES = 2 };

/* Products that share their lhs and their k are multiplied together. */
typedef struct {
    int lhs, n_rhs, rhs[FORM_MAX_PRODUCTS], results[FORM_MAX_PRODUCTS];
    bool is_first[FORM_MAX_PRODUCTS]; /* of those that add to the result */
    int64_t k;
} ProductPass;

typedef struct {
    CudaPrinter *cuda;
    CPrinter *c;
    const Form *form;
    int n_passes, most_rhs;
    ProductPass passes[FORM_MAX_PRODUCTS];
    int n_tile_rows, n_tile_cols, n_tile_k; /* of a block */
    int n_stages, band;
    bool uses_tensor_cores;
    int n_warp_rows, n_warp_cols; /* of a warp, with mma */
    int n_unit;                   /* elements that are copied at a time: of 16 bytes of memory */
    int maps[FORM_MAX_OPERANDS];  /* tensor maps of operands; -1: none */
} ProductPrinter;

/* ---- All ways (form_cuda_product.c) ----------------------------------------------------------------------------- */

int64_t product_ceil_div(int64_t a, int64_t b);
DType product_dtype(const Form *form);
/* Tiles; of one group where each has rows of its own. At most so many with ragged rows. */
int64_t product_n_row_tiles(const ProductPrinter *at);
int64_t product_n_col_tiles(const ProductPrinter *at);
int64_t product_n_tiles(const ProductPrinter *at);

/* Number `number` of a pass: -1 is lhs, the others are its rhs. */
const FormOperand *product_operand(const ProductPrinter *at, const ProductPass *pass, int number);
/* What its tile is called: passes use the same memory. */
const char *product_tile_name(const ProductPrinter *at, int number);
/* Whether elements lie one after the other along k. */
bool product_k_is_minor(const ProductPrinter *at, const FormOperand *operand);
/* "x + 64 + group * 4096 + line * 48 + minor" */
const char *product_address_text(const ProductPrinter *at, const FormOperand *operand, const char *minor);
/* Of the lines from `line` on that `is_line` says are there, the one that is read instead: none where the position is
   negative. */
void product_print_gathered_line(const ProductPrinter *at, const FormOperand *operand);

/* Opens the loop of a block through its tiles: row_at, row_end, col_at, col_end, of ragged rows group, of ragged k also
   group_first and group_end. */
void product_open_tiles(const ProductPrinter *at);
/* k_first, k_end, n_parts of the pass. */
void product_print_parts(const ProductPrinter *at, const ProductPass *pass);

/* ---- Tiles (form_cuda_product_copy.c) --------------------------------------------------------------------------- */

/* Lines of 128 bytes, the units of which are swizzled: unit u of line l is where u ^ l % 8 would be. Along k, a line
   for each row or column; else a line for each k, of 64 rows or columns, then those of the next 64. */
int product_tile_elements(const ProductPrinter *at, int number);
/* Where in the tile the unit with the element is; texts. */
const char *product_place_text(const ProductPrinter *at, bool is_k, const char *side, const char *deep);

/* Whether all operands can be copied 16 bytes at a time. */
bool product_can_copy(const Form *form, const FormCudaOptions *options);
/* Before the loop through k: which lines are gathered. Where these are lines of k, product_print_next_lines says behind
   the copies of a part which the next one's are, from k_at on, a text. */
void product_print_lines(const ProductPrinter *at, const ProductPass *pass, int number, int n_threads);
void product_print_next_lines(const ProductPrinter *at, const ProductPass *pass, int number, const char *k_at,
                              int n_threads);
/* Starts copies of the part from k_at on, by all of n_threads, to `tile`. */
void product_print_copy(const ProductPrinter *at, const ProductPass *pass, int number, const char *tile, int n_threads);

/* ---- Products by mma.sync (form_cuda_product_mma.c) ---------------------------------------------------------------
 */

/* Element (side, deep) of an operand in shared memory: the tile, and where in it; texts. */
typedef struct {
    const char *tile, *element;
} ProductPlace;

typedef ProductPlace ProductPlaceOf(const ProductPrinter *at, const ProductPass *pass, int number);

/* Adds the part to sums_R[16 rows][8 columns][4]: what a lane has of the result of an mma. */
void product_print_mma(const ProductPrinter *at, const ProductPass *pass, ProductPlaceOf *place_of);

/* ---- Results (form_cuda_product_results.c) ---------------------------------------------------------------------- */

/* Where a thread's sums are: sums_R[((block * n_groups + group) * 2 + half) * 2 + element] is of row
   ROW + block * block_rows + half * 8 and column COL + group * 8 + element. */
typedef struct {
    const char *row, *col;
    int n_blocks, block_rows, n_groups;
} ProductFragments;

void product_print_results(const ProductPrinter *at, ProductFragments of);

/* ---- Ways ------------------------------------------------------------------------------------------------------- */

void product_print_by_registers(ProductPrinter *at);
void product_print_sm80(ProductPrinter *at);
bool product_can_sm90(const Form *form, const FormCudaOptions *options);
void product_print_sm90(ProductPrinter *at);

#endif
