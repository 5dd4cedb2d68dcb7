#include "tests/support/module_kernels.h"

#include <stdio.h>

#include "ir/block.h"

Module *module_read_file(Arena *arena, const char *path) {
    FILE *in = fopen(path, "r");
    if (in == NULL) {
        perror(path);
        return NULL;
    }
    char *text = NULL;
    size_t n_bytes = 0, capacity = 0;
    for (int c = fgetc(in); c != EOF; c = fgetc(in))
        arena_push(arena, text, n_bytes, capacity, (char)c);
    fclose(in);
    const char *error = NULL;
    Module *module = module_read(arena, path, text, n_bytes, &error);
    if (module == NULL)
        fprintf(stderr, "%s:%s\n", path, error);
    return module;
}

Kernels *module_kernels(Arena *arena, const Module *module) {
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
                return NULL;
            block = node->block;
        }
    }
    return kernels;
}
