/* Signals that ask a run to end: the first is noted, so that the run can save; a second one kills. */
#ifndef MOEC_RUNTIME_STOP_H
#define MOEC_RUNTIME_STOP_H

#include <stdbool.h>

/* From here on SIGINT and SIGTERM are noted. */
void stop_listen(void);

/* "SIGINT" or "SIGTERM" once one has come, else NULL. */
const char *stop_signal(void);

#endif
