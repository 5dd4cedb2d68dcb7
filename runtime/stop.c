#include "runtime/stop.h"

#include <signal.h>
#include <stddef.h>

/* What a handler may write is this and nothing else. */
static volatile sig_atomic_t signal_seen;

/* Both that people send get their default action back, whichever came. The others don't: a terminal that goes away may
   say so twice, and each line into a broken pipe raises the signal again. */
static void note(int number) {
    signal_seen = number;
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
}

void stop_listen(void) {
    struct sigaction action = {.sa_handler = note, .sa_flags = SA_RESTART}, old;
    sigemptyset(&action.sa_mask);
    signal_seen = 0;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGPIPE, &action, NULL);
    sigaction(SIGHUP, &action, &old);
    if (old.sa_handler == SIG_IGN) /* nohup */
        signal(SIGHUP, SIG_IGN);
}

const char *stop_signal(void) {
    switch (signal_seen) {
    case 0:
        return NULL;
    case SIGINT:
        return "SIGINT";
    case SIGTERM:
        return "SIGTERM";
    case SIGHUP:
        return "SIGHUP";
    default:
        return "SIGPIPE";
    }
}
