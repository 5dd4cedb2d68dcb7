/* Names that generated C can't give to its variables. */
#ifndef MOEC_CODEGEN_C_WORDS_H
#define MOEC_CODEGEN_C_WORDS_H

#include <stdbool.h>

/* Letters, digits and '_', no digit first. */
bool c_is_identifier(const char *name);
/* C's and CUDA C's words, macros that compilers and headers have, functions that expressions call, and all that starts
   as the prelude's names do. */
bool c_is_word(const char *name);

#endif
