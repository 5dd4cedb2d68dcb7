/* Modules from files, and the kernels of their nodes. */
#ifndef MOEC_TESTS_SUPPORT_MODULE_KERNELS_H
#define MOEC_TESTS_SUPPORT_MODULE_KERNELS_H

#include "codegen/kernels.h"

/* On the arena; NULL after it has said on standard error what is wrong. */
Module *module_read_file(Arena *arena, const char *path);

/* Those of all nodes, in order; NULL after an error was reported on standard error. */
Kernels *module_kernels(Arena *arena, const Module *module);

#endif
