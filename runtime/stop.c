#include "runtime/stop.h"

#include <signal.h>
#include <stddef.h>

/* What a handler may write is this and nothing else. */
static volatile sig_atomic_t signal_seen;

/* Both signals get their default action back, whichever came. */
static void note(int number) {
    signal_seen = number;
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
}

void stop_listen(void) {
    struct sigaction action = {.sa_handler = note, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    signal_seen = 0;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

const char *stop_signal(void) {
    return signal_seen == 0 ? NULL : signal_seen == SIGINT ? "SIGINT" : "SIGTERM";
}
