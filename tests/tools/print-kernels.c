/* print-kernels FILE.ir: the C kernels of a module's nodes, each where it is first needed, without the prelude. */
#include <stdio.h>
#include <stdlib.h>

#include "codegen/kernels.h"
#include "ir/block.h"

static Module *read_module(Arena *arena, const char *path) {
    enum { CAPACITY = 1 << 20 };
    FILE *in = fopen(path, "r");
    if (in == NULL) {
        perror(path);
        return NULL;
    }
    char *text = arena_array_of(arena, char, CAPACITY);
    size_t n_bytes = fread(text, 1, CAPACITY, in);
    fclose(in);
    const char *error = NULL;
    Module *module = module_read(arena, path, text, n_bytes, &error);
    if (module == NULL)
        fprintf(stderr, "%s:%s\n", path, error);
    return module;
}

static bool print_kernels(Arena *arena, const Module *module) {
    PlainReporter reporter;
    plain_reporter_init(&reporter, stderr);
    Kernels *kernels = kernels_new(arena, module);
    for (size_t i = 0; i < module->n_graphs; i++) {
        LoweredStorage storage = {.escapes = block_escapes(arena, module->graphs[i])};
        const Block *block = NULL; /* of the kernel before */
        for (Node *node = module->graphs[i]->first; node != NULL; node = node->next) {
            if (!node_computes(node) || (node->block != NULL && node->block == block))
                continue;
            size_t n = 1;
            Node **nodes = node->block != NULL ? block_nodes(arena, node, &n) : &node;
            KernelCall call;
            if (!kernels_add(kernels, nodes, n, &storage, &reporter.base, &call))
                return false;
            block = node->block;
        }
    }
    for (size_t i = 0; i < kernels_count(kernels); i++)
        printf("%s%s", i > 0 ? "\n" : "", kernels_get(kernels, i)->text);
    return true;
}

int main(int n_arguments, char **arguments) {
    if (n_arguments != 2) {
        fputs("usage: print-kernels FILE.ir\n", stderr);
        return 2;
    }
    Arena *arena = arena_new();
    Module *module = read_module(arena, arguments[1]);
    bool is_done = module != NULL && print_kernels(arena, module);
    arena_free(arena);
    return is_done ? 0 : 1;
}
