/* What the files that print forms as C share. */
#ifndef MOEC_CODEGEN_FORM_C_INTERNAL_H
#define MOEC_CODEGEN_FORM_C_INTERNAL_H

#include "codegen/c_print.h"
#include "codegen/form_internal.h"

/* A body under way. The value of instruction n is the variable vn. */
typedef struct {
    CPrinter *c;
    const Form *form;
    const FormBody *body;
    const char **arg_names;
    const char *index_names[FORM_MAX_INDICES];
    /* NULL, or names that are taken besides those of C, up to NULL; what ends in '_' is how such names start. */
    const char *const *taken;
} FormPrinter;

/* Names arguments and indices so that they collide with nothing in C. */
FormPrinter form_printer_new(CPrinter *c, const Form *form, const FormBody *body);
/* The same in another language, which takes more names. */
FormPrinter form_printer_with(CPrinter *c, const Form *form, const FormBody *body, const char *const *taken);

/* A copy on the arena, with as few indices as it can have. */
Form *form_joined(Arena *arena, const Form *form);

/* `const float *restrict x = args[2];` of the arguments that the body touches and that are not in pieces. */
void form_print_pointers(FormPrinter *at);
/* `const float *restrict x = args[2 + piece];` of those that are. */
void form_print_piece_pointers(FormPrinter *at);

/* "v3", or a literal. */
const char *form_value_text(FormPrinter *at, uint32_t instr);

/* What the map names, without regard to a gather: "x[t * 576 + d]". */
const char *form_element_text(FormPrinter *at, const FormAccessMap *map);

/* Declares vn, of an instruction that is neither a constant nor a reduction nor writes. */
void form_print_value(FormPrinter *at, uint32_t instr);

/* The element that a scatter writes, or a gather reads, where `place` is what its position adds: "y[place + d]". */
const char *form_scatter_text(FormPrinter *at, const FormInstr *scatter, const char *place);

/* The statement of a store or an add. */
void form_print_write(FormPrinter *at, const FormInstr *instr);

/* What computing the instruction once costs, beside an addition. */
int form_cost(const FormBody *body, const FormInstr *instr);

/* Which instructions something that is written, or the yield, depends on; on the arena. */
bool *form_live(Arena *arena, const FormBody *body);

/* ---- Bodies of operands and results (form_c_bodies.c) ----------------------------------------------------------- */

/* `int64_t t = row % 64;` for each index of one side, from the flat number `flat`, of the type `type`. */
void form_print_side_indices(FormPrinter *at, const char *type, bool is_col, const char *flat);
/* The values of one level that are needed, in order; all that is written goes with the full ones. */
void form_print_level(FormPrinter *at, const bool *is_live, FormLevel level);

/* The function FORM_NAME that computes rows of a tensor of attention, one behind the other, `step` from each to the
   next, and returns where they are. */
void form_print_rows_of_part(CPrinter *c, const Form *form, const FormBody *part, const char *name, int64_t step);
/* The function FORM_NAME that has a row of a result. */
void form_print_row_of_result(CPrinter *c, const Form *form, const FormBody *body, const char *name);

/* ---- Texts of attention's kernels (form_attention_text.c) -------------------------------------------------------- */

/* "Q" of q. */
const char *form_upper_case(CPrinter *c, const char *name);

enum { FORM_MAX_GIVEN = 5 };

/* What stands for `$q(b, t, h)`, where the first of `given` is b; NULL behind the last. NULL: the line is left out. */
typedef const char *FormTensorText(const FormPrinter *at, int tensor, const char *const *given);

/* Lines of which some are marked: `?q `, only where tensor q is in memory, `!q `, only where it has a body. */
void form_print_filled(const FormPrinter *at, const char *text, FormTensorText *text_of);

/* ---- Functions of forms ------------------------------------------------------------------------------------------ */

/* The body of the function of a form of kind ROWS, the indices of which it may change. */
void form_print_rows(CPrinter *c, Form *form);

/* The same of kind ROUTE. */
void form_print_route(CPrinter *c, const Form *form);

/* What stands before the function of a form of kind PRODUCT, and its body. */
void form_print_product_functions(CPrinter *c, const Form *form);
void form_print_product(CPrinter *c, const Form *form);

/* The same of attention or its gradient. */
void form_print_attention_functions(CPrinter *c, const Form *form);
void form_print_attention(CPrinter *c, const Form *form);

#endif
