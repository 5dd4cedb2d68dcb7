/* The command line of moec, parsed by the table in options.def. */
#ifndef MOEC_FRONTEND_OPTIONS_H
#define MOEC_FRONTEND_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "frontend/frontend.h"
#include "ir/arena.h"

typedef enum {
#define COMMAND(id, name, operands, summary) COMMAND_##id,
#include "frontend/options.def"
    COMMAND_COUNT
} Command;

/* Exit codes of moec. */
enum { EXIT_OK = 0, EXIT_BAD_INPUT = 1, EXIT_BAD_USAGE = 2, EXIT_BUG = 70 };

typedef struct {
    Command command;
    char **files;
    int n_files;
    SizeOverride *overrides;
    size_t n_overrides, overrides_capacity;
    const char **passes;
    size_t n_passes, passes_capacity;
    bool dense, no_fuse, dry_run, write, time_passes, quiet;
    int64_t generate_window;         /* 0: the sequence length */
    int64_t memory_budget;           /* bytes; 0: none */
    int64_t chunk_bytes, chunk_rows; /* 0: the pass's own */
    uint64_t seed;
    const char *fuse, *output, *keep, *march, *after, *format, *graph, *print_after, *color, *precision,
        *tuning; /* NULL where not given */
} Options;

/* Parses argv onto `arena`. True: go on with *options. False: leave with *exit_code; help went to stdout, or one
   message with what is wrong and what is possible to stderr. */
bool options_parse(Arena *arena, int argc, char **argv, Options *options, int *exit_code);

/* The manual page in roff. */
void options_print_man(FILE *out);

#endif
