/* Forms as C.

   In: a form that passes form_verify. Out: functions as text, to stand behind the prelude of codegen/kernels.h. Never
   here: addresses, what equals what. */
#ifndef MOEC_CODEGEN_FORM_C_H
#define MOEC_CODEGEN_FORM_C_H

#include "codegen/form.h"

/* Prints `static void NAME(void *const *args)`, NAME that of the form, the args in the order of the form's arguments,
   with the heading as a comment on top (NULL: none), and before it the functions that it hands to moec_gemm, called
   NAME_OPERAND and NAME_epilogue. Needs work memory on the arena. */
void form_print_c(FILE *out, Arena *arena, const Form *form, const char *heading);

#endif
