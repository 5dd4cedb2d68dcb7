/* From generated C to an executable: files, the C compiler, the runtime's archive. */
#ifndef MOEC_FRONTEND_BUILD_H
#define MOEC_FRONTEND_BUILD_H

#include "codegen/codegen.h"
#include "frontend/options.h"
#include "ir/report.h"

/* Compiles `module`'s generated C (after the memory pass) with cc and links the runtime that stands beside moec's own
   executable. The result appears at its name only when it is complete. The exit code; on failure one message went to
   the reporter or to stderr and nothing is left behind. */
int build_executable(Arena *arena, const Module *module, const Options *options, const CodegenOptions *codegen,
                     Reporter *reporter);

#endif
