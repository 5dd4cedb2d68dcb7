/* Commands that moec runs: the C compiler, and what it has made. */
#ifndef MOEC_FRONTEND_COMMAND_H
#define MOEC_FRONTEND_COMMAND_H

#include "ir/arena.h"

/* A command line under construction; to be run or printed it ends in NULL. */
typedef struct {
    Arena *arena;
    char **words;
    size_t n, capacity;
} CommandLine;

void command_add(CommandLine *command, const char *word);
/* Adds each blank-separated word of `text`. */
void command_add_words(CommandLine *command, const char *text);
void command_end(CommandLine *command);

/* As a shell reads it, on standard output. */
void command_print(const CommandLine *command);

/* What a shell says of a command that it can't find, and of one that a signal ended. */
enum { COMMAND_MISSING = 127, COMMAND_KILLED = 128 };

/* Runs the command and waits: its exit code; -1 after a message on stderr where nothing could be started. */
int command_run(const CommandLine *command);

#endif
