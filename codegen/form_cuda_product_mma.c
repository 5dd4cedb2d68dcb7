/* Products by mma.sync, of operands in shared memory, however these came there. */
#include "codegen/form_cuda_product.h"

/* Fragments of mma.m16n8k16 by ldmatrix, which reads four 8 x 8 matrices: lane l says where row l % 8 of matrix l / 8
   starts. Matrices of lhs are (rows, k) (0, 0), (8, 0), (0, 8), (8, 8); those of rhs, for 16 columns, (0, 0), (0, 8),
   (8, 0), (8, 8). Where lines go along the side instead of k, rows of a matrix are k, and it is transposed on the way.
   PTX ISA, "Matrix multiply-accumulate operation using mma instruction", m16n8k16. */
static void print_fragments(const ProductPrinter *at, const ProductPass *pass, int number, int n,
                            ProductPlaceOf *place_of) {
    CPrinter *c = at->c;
    bool is_lhs = number < 0, is_k = product_k_is_minor(at, product_operand(at, pass, number));
    const char *inner = "lane % 8", *first = "lane / 8 % 2 * 8", *second = "lane / 16 * 8";
    const char *side_half = is_lhs ? first : second, *k_half = is_lhs ? second : first;
    ProductPlace place = place_of(at, pass, number);
    c_line(c, "#pragma unroll");
    c_open(c, "for (int i = 0; i < %d; i++)", n);
    c_line(c, "int side = %s + i * 16 + %s%s%s;", is_lhs ? "warp_row" : "warp_col", side_half, is_k ? " + " : "",
           is_k ? inner : "");
    c_line(c, "int deep = k + %s%s%s;", k_half, is_k ? "" : " + ", is_k ? "" : inner);
    c_line(c, "%s(%s[i], %s, %s);", is_k ? "moec_ldmatrix" : "moec_ldmatrix_transposed", is_lhs ? "a" : "b", place.tile,
           place.element);
    c_close(c);
}

void product_print_mma(const ProductPrinter *at, const ProductPass *pass, ProductPlaceOf *place_of) {
    CPrinter *c = at->c;
    int n_rows = at->n_warp_rows / 16, n_cols = at->n_warp_cols / 8;
    bool leaves_registers = n_rows * n_cols * 4 <= 64; /* of a thread's 255, beside its sums */
    c_line(c, leaves_registers ? "#pragma unroll" : "#pragma unroll 1");
    c_open(c, "for (int k = 0; k < %d; k += 16)", at->n_tile_k);
    c_line(c, "uint32_t a[%d][4], b[%d][4];", n_rows, n_cols / 2);
    print_fragments(at, pass, -1, n_rows, place_of);
    for (int i = 0; i < pass->n_rhs; i++) {
        print_fragments(at, pass, i, n_cols / 2, place_of);
        c_line(c, "#pragma unroll");
        c_open(c, "for (int i = 0; i < %d; i++)", n_rows * n_cols);
        c_line(c, "int col = i %% %d;", n_cols);
        c_line(c, "moec_mma(&sums_%d[i * 4], a[i / %d], &b[col / 2][col %% 2 * 2]);", pass->results[i], n_cols);
        c_close(c);
    }
    c_close(c);
}
