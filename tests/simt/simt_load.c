#include "tests/simt/simt_load.h"

#include <dlfcn.h>

#include "codegen/form_cuda.h"

const char *simt_text_open(SimtText *text) {
    *text = (SimtText){0};
    const char *error = simt_source_open(&text->source);
    text->out = text->source.out;
    if (!error)
        form_cuda_print_prelude(text->out);
    return error;
}

int simt_text_add_kernel(SimtText *text, const char *name, size_t n_parameters) {
    fprintf(text->out, "\nstatic SIMT_HOST void call_%d(void *const *args) {\n    %s(", text->n_kernels, name);
    for (size_t i = 0; i < n_parameters; i++)
        fprintf(text->out, "%sargs[%zu]", i > 0 ? ", " : "", i);
    fputs(");\n}\n\n", text->out);
    return text->n_kernels++;
}

static void show(const char *path) {
    char line[512];
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file))
        fputs(line, stderr);
    if (file)
        fclose(file);
}

static const char *load(SimtText *text, SimtObject *object) {
    const char *error = simt_source_compile(&text->source, true);
    if (error) {
        show(text->source.log);
        return error;
    }
    object->object = dlopen(text->source.object, RTLD_NOW);
    if (!object->object)
        return dlerror();
    object->kernels = dlsym(object->object, "simt_kernels");
    object->module = dlsym(object->object, "simt_module");
    return object->kernels && object->module ? NULL : "the text has no table of kernels";
}

const char *simt_text_close(SimtText *text, SimtObject *object) {
    fputs("\nSIMT_MODULE;\nSimtKernel *const simt_kernels[] = {\n", text->out);
    for (int i = 0; i < text->n_kernels; i++)
        fprintf(text->out, "    call_%d,\n", i);
    fputs("};\n", text->out);
    const char *error = load(text, object);
    simt_source_close(&text->source);
    return error;
}

void simt_unload(SimtObject *object) {
    if (object->object)
        dlclose(object->object);
}
