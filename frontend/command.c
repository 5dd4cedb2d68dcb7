#include "frontend/command.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

void command_add(CommandLine *command, const char *word) {
    arena_push(command->arena, command->words, command->n, command->capacity, arena_strdup(command->arena, word));
}

void command_add_words(CommandLine *command, const char *text) {
    char *copy = arena_strdup(command->arena, text), *rest = NULL;
    for (char *word = strtok_r(copy, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest))
        command_add(command, word);
}

void command_end(CommandLine *command) {
    arena_push(command->arena, command->words, command->n, command->capacity, NULL);
}

/* As a shell reads it: what could mean something else to one stands in quotes. */
static void print_word(const char *word) {
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-+=:,./%@";
    if (word[0] != '\0' && word[strspn(word, plain)] == '\0') {
        fputs(word, stdout);
        return;
    }
    putchar('\'');
    for (; *word != '\0'; word++) {
        if (*word == '\'')
            fputs("'\\'", stdout); /* ends the quotes, adds one, opens them again */
        putchar(*word);
    }
    putchar('\'');
}

void command_print(const CommandLine *command) {
    for (size_t i = 0; command->words[i] != NULL; i++) {
        fputs(i > 0 ? " " : "", stdout);
        print_word(command->words[i]);
    }
    putchar('\n');
}

/* As in system(3), an interrupt from the terminal ends the command and not moec, which has files to remove. */
int command_run(const CommandLine *command) {
    const struct sigaction ignore = {.sa_handler = SIG_IGN};
    struct sigaction interrupt, quit;
    sigaction(SIGINT, &ignore, &interrupt);
    sigaction(SIGQUIT, &ignore, &quit);
    pid_t child = fork();
    if (child == 0) {
        sigaction(SIGINT, &interrupt, NULL);
        sigaction(SIGQUIT, &quit, NULL);
        execvp(command->words[0], command->words);
        _exit(COMMAND_MISSING);
    }
    int status = -1;
    if (child < 0)
        fprintf(stderr, "moec: cannot start %s: %s\n", command->words[0], strerror(errno));
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    sigaction(SIGINT, &interrupt, NULL);
    sigaction(SIGQUIT, &quit, NULL);
    if (child < 0)
        return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : COMMAND_KILLED;
}
