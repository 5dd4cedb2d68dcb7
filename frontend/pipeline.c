#include "frontend/pipeline.h"

#include <string.h>
#include <time.h>

#include "passes/passes.h"

double pipeline_clock(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void pipeline_report_stage(const Module *module, const char *name, const Options *options, double start_seconds) {
    if (options->time_passes)
        fprintf(stderr, "%-10s %9.2f ms %9.1f MB\n", name, 1e3 * (pipeline_clock() - start_seconds),
                (double)arena_used(module->arena) / 1e6);
    if (options->print_after != NULL &&
        (strcmp(options->print_after, "all") == 0 || strcmp(options->print_after, name) == 0)) {
        fprintf(stderr, "# after %s\n", name);
        module_print(stderr, module);
    }
}

bool pipeline_run_pass(Module *module, const char *name, const Options *options, Reporter *reporter, int *exit_code) {
    double start = pipeline_clock();
    *exit_code = EXIT_BAD_INPUT;
    if (!pass_find(name)->run(module, reporter))
        return false;
    const char *broken = module_verify(module);
    if (broken != NULL) {
        fprintf(stderr, "moec: internal error after pass %s: %s; please report this with the model\n", name, broken);
        *exit_code = EXIT_BUG;
        return false;
    }
    pipeline_report_stage(module, name, options, start);
    return true;
}

bool pipeline_run_until(Module *module, const char *last, const Options *options, Reporter *reporter, int *exit_code) {
    for (const Pass *pass = passes; pass->name != NULL; pass++) {
        if (!pipeline_run_pass(module, pass->name, options, reporter, exit_code))
            return false;
        if (last != NULL && strcmp(pass->name, last) == 0)
            break;
    }
    return true;
}
