/* The moec command. */
#include "frontend/driver.h"

int main(int argc, char **argv) {
    Arena *arena = arena_new();
    Options options;
    int exit_code;
    if (options_parse(arena, argc, argv, &options, &exit_code))
        exit_code = driver_run(arena, &options);
    arena_free(arena);
    return exit_code;
}
