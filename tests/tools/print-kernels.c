/* print-kernels FILE.ir: the C kernels of a module's nodes, each where it is first needed, without the prelude. */
#include <stdio.h>

#include "tests/support/module_kernels.h"

int main(int n_arguments, char **arguments) {
    if (n_arguments != 2) {
        fputs("usage: print-kernels FILE.ir\n", stderr);
        return 2;
    }
    Arena *arena = arena_new();
    Module *module = module_read_file(arena, arguments[1]);
    Kernels *kernels = module != NULL ? module_kernels(arena, module) : NULL;
    for (size_t i = 0; kernels != NULL && i < kernels_count(kernels); i++)
        printf("%s%s", i > 0 ? "\n" : "", kernels_get(kernels, i)->text);
    arena_free(arena);
    return kernels != NULL ? 0 : 1;
}
