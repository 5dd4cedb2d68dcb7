/* Clauses to directives: what the settings may be, and what they are where nobody says. */
#ifndef MOEC_FRONTEND_CLAUSES_H
#define MOEC_FRONTEND_CLAUSES_H

#include "frontend/program.h"

/* Checks every clause and adds one directive each to the module; false after an error. With options->dense, upcycle
   clauses are checked but left out, and export clauses too. There is always a train directive. Comes after lowering:
   says of each weight whether it decays, and knows how often a function is called. */
bool clauses_lower(Program *program, Module *module);

#endif
