/* Forms that read or write across the lines of some array. */
#include "codegen/form_c_rows.h"

/* Elements of a line of the cache. */
enum { LINE = 16 };

int rows_transposed_index(const RowsPrinter *at) {
    const FormBody *body = at->base.body;
    if (rows_n_col_indices(at) != 1 || rows_write_values(at))
        return -1;
    int inner = body->n_indices - 1;
    for (int i = 0; i < at->first_col; i++) {
        for (size_t j = 0; j < body->n_instrs; j++) {
            const FormAccessMap *map = &body->instrs[j].map;
            bool leaps = map->arg != FORM_NONE && map->strides[i] == 1 && map->strides[inner] >= LINE;
            if (form_instr_has_map(&body->instrs[j]) && leaps && body->indices[i].extent >= LINE &&
                body->indices[inner].extent >= LINE)
                return i;
        }
    }
    return -1;
}

/* The lines of that array are run through from end to end, as many side by side as fill a line of the others. */
void rows_print_transposed(RowsPrinter *at, int transposed) {
    CPrinter *c = at->base.c;
    const FormBody *body = at->base.body;
    int inner = body->n_indices - 1;
    long long extent = (long long)body->indices[inner].extent;
    long long n_rows = (long long)(form_n_rows(body) / body->indices[transposed].extent);
    c_parallel(c, at->work, n_rows > 1 ? "collapse(2)" : "");
    if (n_rows > 1)
        c_open(c, "for (int64_t row = 0; row < %lld; row++)", n_rows);
    c_open(c, "for (int64_t first = 0; first < %lld; first += %d)", extent, LINE);
    c_line(c, "int64_t end = first + %d < %lld ? first + %d : %lld;", LINE, extent, LINE, extent);
    if (n_rows > 1)
        rows_print_indices(at, transposed);
    rows_open_index(at, transposed);
    rows_print_values(at, 0);
    phases_needs(&at->phases, 0, at->is_needed);
    c_line(c, "#pragma omp simd");
    rows_open_part(at, inner, "first", "end");
    rows_print_elements(at, 0);
    c_close(c);
    c_close(c);
    c_close(c);
    if (n_rows > 1)
        c_close(c);
}
