/* kernel_bench FILE.ir..: how long the generated kernel of each node takes, the best of many runs, beside its FLOPs and
   bytes. Nodes run in order on each other's results. Float inputs are random in [-1, 1); an i32 input "NAME_9" has
   whole numbers below 9. MARCH: another -march than native. Run from the root. */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "codegen/codegen.h"
#include "codegen/kernels.h"
#include "ir/block.h"
#include "runtime/plan.h"
#include "tests/support/random.h"

enum { MAX_ARGS = 16 };

static _Noreturn void fail(const char *message, const char *what) {
    fprintf(stderr, "kernel_bench: %s %s\n", message, what);
    exit(1);
}

static double seconds(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static Module *read_module(Arena *arena, const char *path) {
    enum { CAPACITY = 1 << 16 };
    FILE *in = fopen(path, "r");
    if (in == NULL)
        fail("cannot read", path);
    char *text = arena_array_of(arena, char, CAPACITY);
    size_t n_bytes = fread(text, 1, CAPACITY, in);
    fclose(in);
    const char *error = NULL;
    Module *module = module_read(arena, path, text, n_bytes, &error);
    if (module == NULL)
        fail(path, error);
    return module;
}

/* The call of a kernel of this node alone. */
static KernelCall call_of(Kernels *kernels, Node *node) {
    PlainReporter reporter;
    plain_reporter_init(&reporter, stderr);
    KernelCall call;
    if (!kernels_add(kernels, &node, 1, &(LoweredStorage){0}, &reporter.base, &call))
        fail("no kernel for", op_info(node->op)->name);
    return call;
}

/* ---- The shared object ---------------------------------------------------------------------------------------- */

static void write_source(const Kernels *kernels, const char *path) {
    FILE *out = fopen(path, "w");
    if (out == NULL)
        fail("cannot write", path);
    kernels_print_prelude(out);
    size_t n = kernels_count(kernels);
    for (size_t i = 0; i < n; i++)
        fprintf(out, "\n%s", kernels_get(kernels, i)->text);
    fputs("\nMoecKernelFunction *const bench_kernels[] = {\n", out);
    for (size_t i = 0; i < n; i++)
        fprintf(out, "    %s,\n", kernels_get(kernels, i)->name);
    fputs("};\n", out);
    fclose(out);
}

static MoecKernelFunction *const *compile(Arena *arena, const Kernels *kernels) {
    char folder[] = "/tmp/moec-bench-XXXXXX";
    if (mkdtemp(folder) == NULL)
        fail("cannot make", folder);
    const char *source = arena_printf(arena, "%s/kernels.c", folder);
    const char *object = arena_printf(arena, "%s/kernels.so", folder);
    write_source(kernels, source);
    const char *cc = getenv("CC"), *march = getenv("MARCH");
    const char *command = arena_printf(arena, "%s %s -march=%s -shared -fPIC -I. -o %s %s", cc != NULL ? cc : "gcc",
                                       CODEGEN_C_FLAGS, march != NULL ? march : "native", object, source);
    if (system(command) != 0)
        fail("failed:", command);
    void *shared_object = dlopen(object, RTLD_NOW);
    if (shared_object == NULL)
        fail("cannot load:", dlerror());
    unlink(source);
    unlink(object);
    rmdir(folder);
    return dlsym(shared_object, "bench_kernels");
}

/* ---- Data ----------------------------------------------------------------------------------------------------- */

static void fill_input(const Node *node, float *storage, uint64_t *seed) {
    const Type *type = &node->results[0].type;
    const char *suffix = strrchr(attrs_string(&node->attrs, "name", ""), '_');
    double bound = suffix != NULL ? strtod(suffix + 1, NULL) : 1;
    for (int64_t i = 0; i < type_n_elements(type); i++) {
        double x = random_uniform(seed);
        int32_t whole = (int32_t)(x * bound);
        if (type->dtype == DTYPE_I32)
            memcpy(storage + i, &whole, sizeof whole);
        else
            storage[i] = (float)(2 * x - 1);
    }
}

/* Storage of each value by its number: of inputs filled, of results zero, of views none. */
static void **storages_of(Arena *arena, const Graph *graph) {
    uint32_t n_values = 0;
    for (const Node *node = graph->first; node != NULL; node = node->next)
        n_values += (uint32_t)node->n_results;
    void **storages = arena_array_of(arena, void *, n_values);
    uint64_t seed = 1;
    for (const Node *node = graph->first; node != NULL; node = node->next) {
        for (int i = 0; i < node->n_results; i++) {
            size_t n_bytes = ((size_t)type_n_bytes(&node->results[i].type) + 63) / 64 * 64;
            void **storage = &storages[node->results[i].number];
            *storage = op_info(node->op)->class == OP_CLASS_VIEW ? NULL : aligned_alloc(64, n_bytes);
            if (*storage != NULL)
                memset(*storage, 0, n_bytes);
            if (node->op == OP_input)
                fill_input(node, *storage, &seed);
        }
    }
    return storages;
}

/* ---- Running -------------------------------------------------------------------------------------------------- */

static void run_node(const Node *node, const KernelCall *call, MoecKernelFunction *kernel, void *const *storages) {
    void *args[MAX_ARGS];
    if (call->n_args > MAX_ARGS)
        fail("too many arguments:", op_info(node->op)->name);
    for (size_t i = 0; i < call->n_args; i++)
        args[i] = (float *)storages[call->args[i].owner->number] + call->args[i].offset;
    double best = 1e9, end = seconds() + 0.4;
    for (int run = 0; run < 5 || (run < 1000 && seconds() < end); run++) {
        double start = seconds();
        kernel(args);
        double taken = seconds() - start;
        best = taken < best ? taken : best;
    }
    printf("  %-20s %10.3f ms %8.1f GFLOP/s %8.1f GB/s\n", op_info(node->op)->name, best * 1e3,
           node_flops(node) / best * 1e-9, node_bytes(node) / best * 1e-9);
    fflush(stdout);
}

static void run_graph(Arena *arena, const Graph *graph, Kernels *kernels, MoecKernelFunction *const *functions) {
    printf("%s\n", graph->name);
    void **storages = storages_of(arena, graph);
    for (Node *node = graph->first; node != NULL; node = node->next) {
        if (!node_computes(node))
            continue;
        KernelCall call = call_of(kernels, node);
        run_node(node, &call, functions[call.kernel], storages);
    }
    for (const Node *node = graph->first; node != NULL; node = node->next) {
        for (int i = 0; i < node->n_results; i++)
            free(storages[node->results[i].number]);
    }
}

static void run_file(const char *path) {
    Arena *arena = arena_new();
    Module *module = read_module(arena, path);
    Kernels *kernels = kernels_new(arena, module);
    for (size_t i = 0; i < module->n_graphs; i++) {
        graph_number(module->graphs[i]);
        for (Node *node = module->graphs[i]->first; node != NULL; node = node->next) {
            if (node_computes(node))
                call_of(kernels, node);
        }
    }
    MoecKernelFunction *const *functions = compile(arena, kernels);
    for (size_t i = 0; i < module->n_graphs; i++)
        run_graph(arena, module->graphs[i], kernels, functions);
    arena_free(arena);
}

int main(int n_arguments, char **arguments) {
    for (int i = 1; i < n_arguments; i++)
        run_file(arguments[i]);
    return 0;
}
