#include "tests/simt/simt_source.h"

#include <stdlib.h>
#include <unistd.h>

enum { COMMAND_BYTES = 2048 };

static void path_set(char path[SIMT_PATH_BYTES], const SimtSource *source, const char *file) {
    snprintf(path, SIMT_PATH_BYTES, "%s/%s", source->folder, file);
}

const char *simt_source_open(SimtSource *source) {
    char path[SIMT_PATH_BYTES];
    *source = (SimtSource){.folder = "/tmp/moec-simt-XXXXXX"};
    if (!mkdtemp(source->folder))
        return "no folder below /tmp can be made";
    path_set(source->object, source, "kernels.so");
    path_set(source->log, source, "log");
    path_set(path, source, "kernels.c");
    source->out = fopen(path, "w");
    return source->out ? NULL : "the text cannot be written";
}

/* Aliasing: the text reads floats by four. Contraction: GPUs add products in one step, and this compiler should not do
   so in some places only. */
static const char flags[] = "-std=c11 -D_GNU_SOURCE -DSIMT_TEXT -O1 -g -fPIC -fno-strict-aliasing -ffp-contract=off -w";
/* For the object only: linked with it, it would bring the compiler's own checks. */
static const char checking_flags[] = "-fsanitize=thread --param tsan-instrument-func-entry-exit=0";

const char *simt_source_compile(SimtSource *source, bool checks) {
    char command[COMMAND_BYTES];
    const char *root = getenv("MOEC_ROOT");
    int failed = fclose(source->out);
    source->out = NULL;
    if (failed)
        return "the text cannot be written";
    snprintf(command, sizeof command,
             "exec >%s 2>&1; LC_ALL=C gcc %s %s -I%s -include tests/simt/simt.h -c -o %s/kernels.o %s/kernels.c && "
             "gcc -shared -o %s %s/kernels.o -lm",
             source->log, flags, checks ? checking_flags : "", root ? root : ".", source->folder, source->folder,
             source->object, source->folder);
    return system(command) == 0 ? NULL : "the compiler refuses the text";
}

void simt_source_close(SimtSource *source) {
    static const char *const files[] = {"kernels.c", "kernels.o", "kernels.so", "log"};
    char path[SIMT_PATH_BYTES];
    if (source->out)
        fclose(source->out);
    if (getenv("MOEC_KEEP_TEXT"))
        return;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        path_set(path, source, files[i]);
        unlink(path);
    }
    rmdir(source->folder);
}
