/* `moec tune`, and the files that it leaves. */
#ifndef MOEC_FRONTEND_TUNE_H
#define MOEC_FRONTEND_TUNE_H

#include "codegen/tuning.h"
#include "frontend/options.h"
#include "ir/report.h"

/* Builds an executable with all choices of its kernels for GPUs (after the memory pass), and has it time them and write
   down the best. The exit code; on failure one message was printed. */
int tune_model(Arena *arena, const Module *module, const Options *options, Reporter *reporter);

/* A file of `moec tune`, on the arena; NULL after a message on stderr. */
const Tuning *tune_read_file(Arena *arena, const char *path);

#endif
