/* Signals that end a run: the first is noted, so that the run can save; a second SIGINT or SIGTERM kills. */
#ifndef MOEC_RUNTIME_STOP_H
#define MOEC_RUNTIME_STOP_H

#include <stdbool.h>

/* From here on SIGINT and SIGTERM are noted, and SIGHUP and SIGPIPE: whoever watched the run has gone. */
void stop_listen(void);

/* The name of the newest, "SIGINT"; NULL: none has come. */
const char *stop_signal(void);

#endif
