/* --generate: continues a text, one token at a time. */
#ifndef MOEC_RUNTIME_GENERATE_H
#define MOEC_RUNTIME_GENERATE_H

#include "runtime/session.h"

/* Prints the text and what follows it to standard output. */
bool generate_run(Session *session, Status *status);

#endif
