#include "tests/simt/simt_load.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "codegen/form_cuda.h"

enum { MAX_PATH = 256, MAX_COMMAND = 2048 };

const char *simt_text_open(SimtText *text) {
    char path[MAX_PATH];
    *text = (SimtText){.folder = "/tmp/moec-simt-XXXXXX"};
    if (!mkdtemp(text->folder))
        return "no folder below /tmp can be made";
    snprintf(path, sizeof path, "%s/kernels.c", text->folder);
    text->out = fopen(path, "w");
    if (!text->out)
        return "the text cannot be written";
    form_cuda_print_prelude(text->out);
    return NULL;
}

int simt_text_add_kernel(SimtText *text, const char *name, size_t n_parameters) {
    fprintf(text->out, "\nstatic SIMT_HOST void call_%d(void *const *args) {\n    %s(", text->n_kernels, name);
    for (size_t i = 0; i < n_parameters; i++)
        fprintf(text->out, "%sargs[%zu]", i > 0 ? ", " : "", i);
    fputs(");\n}\n\n", text->out);
    return text->n_kernels++;
}

/* Aliasing: the text reads floats by four. Contraction: GPUs add products in one step, and this compiler should not do
   so in some places only. */
static const char flags[] = "-std=c11 -D_GNU_SOURCE -O1 -g -fPIC -fno-strict-aliasing -ffp-contract=off -w "
                            "-fsanitize=thread --param tsan-instrument-func-entry-exit=0";

static const char *load(const SimtText *text, SimtObject *object) {
    char path[MAX_PATH], command[MAX_COMMAND];
    const char *root = getenv("MOEC_ROOT");
    snprintf(command, sizeof command,
             "gcc %s -I%s -include tests/simt/simt.h -c -o %s/kernels.o %s/kernels.c && gcc -shared -o %s/kernels.so "
             "%s/kernels.o",
             flags, root ? root : ".", text->folder, text->folder, text->folder, text->folder);
    if (system(command) != 0)
        return "the compiler refuses the text";
    snprintf(path, sizeof path, "%s/kernels.so", text->folder);
    object->object = dlopen(path, RTLD_NOW);
    if (!object->object)
        return dlerror();
    object->kernels = dlsym(object->object, "simt_kernels");
    object->module = dlsym(object->object, "simt_module");
    return object->kernels && object->module ? NULL : "the text has no table of kernels";
}

const char *simt_text_close(SimtText *text, SimtObject *object) {
    static const char *const files[] = {"kernels.c", "kernels.o", "kernels.so"};
    char path[MAX_PATH];
    fputs("\nSIMT_MODULE;\nSimtKernel *const simt_kernels[] = {\n", text->out);
    for (int i = 0; i < text->n_kernels; i++)
        fprintf(text->out, "    call_%d,\n", i);
    fputs("};\n", text->out);
    if (fclose(text->out) != 0)
        return "the text cannot be written";
    const char *error = load(text, object);
    for (int i = 0; i < 3 && !getenv("MOEC_KEEP_TEXT"); i++) {
        snprintf(path, sizeof path, "%s/%s", text->folder, files[i]);
        unlink(path);
    }
    rmdir(text->folder);
    return error;
}

void simt_unload(SimtObject *object) {
    if (object->object)
        dlclose(object->object);
}
