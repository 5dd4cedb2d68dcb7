/* In which pass over a row's columns what is computed.

   In: a body. Out: phases. Never here: text.

   A phase is a part of a row's work: first values of the row, then one loop over the columns. What depends on a sum
   over the columns comes a phase later than the loop that adds it up. A full value is computed in each loop that needs
   it, unless that costs much: then it is kept in a buffer of the row's length from the first loop on. */
#ifndef MOEC_CODEGEN_FORM_C_PHASES_H
#define MOEC_CODEGEN_FORM_C_PHASES_H

#include "codegen/form.h"

typedef struct {
    const FormBody *body;
    bool *is_live;
    int n_phases;
    int *phases;    /* of each instruction: the first phase that can read it; of one that writes, where it does */
    int *kept_from; /* of each: the phase whose loop leaves it in the buffer, or -1 */
} Phases;

Phases phases_of(Arena *arena, const FormBody *body);

/* The same of a back end that has room for `max_kept` values of each column, and keeps all that a later loop needs
   again. */
Phases phases_keeping(Arena *arena, const FormBody *body, int max_kept);

/* Whether the loop of the phase does something with the instruction's operand: adds it up, or stores it. */
bool phases_is_root(const Phases *phases, size_t instr, int phase);

/* Sets, for each instruction, whether the loop of the phase must have its value. False: there is nothing to loop for.
 */
bool phases_needs(const Phases *phases, int phase, bool *is_needed);

/* Whether the loop reads it from the buffer. */
bool phases_reads_kept(const Phases *phases, size_t instr, int phase);

#endif
