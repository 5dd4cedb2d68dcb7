/* The moec command. */
#include <errno.h>
#include <string.h>

#include "frontend/driver.h"

int main(int argc, char **argv) {
    Arena *arena = arena_new();
    Options options;
    int exit_code;
    if (options_parse(arena, argc, argv, &options, &exit_code))
        exit_code = driver_run(arena, &options);
    arena_free(arena);
    if (ferror(stdout) || fflush(stdout) != 0) { /* what was lost on the way, a flush at the end does not tell */
        fprintf(stderr, "moec: cannot write the output: %s\n", strerror(errno));
        return EXIT_BAD_INPUT;
    }
    return exit_code;
}
