// RUN: env MOEC_ROOT=%root %unit %s
/* Every op's kernel against the interpreter. The graphs of Inputs/kernels.ir have odd shapes; all their kernels become
   one shared object, and each node is run on the interpreter's operands, rounded to floats. */
#include <dlfcn.h>
#include <float.h>
#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "codegen/codegen.h"
#include "codegen/kernels.h"
#include "ir/interpret.h"
#include "ir/view.h"
#include "runtime/plan.h"
#include "tests/support/random.h"
#include "tests/support/random_form.h"

/* ---- Data ----------------------------------------------------------------------------------------------------- */

/* What integer inputs hold: [low, high). Float inputs hold [-1, 1), "wide" ones [-8, 8), "hyper"
   what AdamW is used with. */
static const struct {
    const char *name;
    double low, high;
} integer_inputs[] = {{"rows", 0, 3},    {"columns", 0, 5}, {"tokens", 0, 1000},
                      {"choices", 0, 4}, {"few", 0, 3},     {"targets", -1, 1100}};

static const double hyper[] = {1e-3, 0.9, 0.95, 1e-8, 0.1, 0.271, 0.142625};

static void fill(Tensor *tensor, const char *name, uint64_t seed) {
    double range = strcmp(name, "wide") == 0 ? 8 : 1;
    for (size_t i = 0; i < sizeof integer_inputs / sizeof integer_inputs[0]; i++) {
        if (strcmp(name, integer_inputs[i].name) == 0)
            random_fill(tensor, seed, integer_inputs[i].low, integer_inputs[i].high);
    }
    if (tensor->type.dtype == DTYPE_F32)
        random_fill(tensor, seed, strcmp(name, "moment2:w") == 0 ? 0.01 : -range, range);
    if (strcmp(name, "hyper") == 0)
        memcpy(tensor->data, hyper, sizeof hyper);
    for (int64_t i = 0; i < type_n_elements(&tensor->type); i++)
        tensor->data[i] = (float)tensor->data[i];
}

/* ---- The shared object ---------------------------------------------------------------------------------------- */

static const char *root(void) {
    const char *path = getenv("MOEC_ROOT");
    return path ? path : ".";
}

typedef struct {
    Arena *arena;
    Module *module;
    Kernels *kernels;
    MoecKernelFunction *const *functions; /* by kernel index */
    void *shared_object;
} Fixture;

static bool has_kernel(const Node *node) {
    OpClass class = op_info(node->op)->class;
    return class != OP_CLASS_LEAF && class != OP_CLASS_VIEW;
}

/* The call of a kernel of this node alone. */
static KernelCall call_of(const Fixture *fixture, const Node *node) {
    PlainReporter reporter;
    plain_reporter_init(&reporter, stderr);
    KernelCall call;
    Node *nodes[] = {(Node *)node};
    if (!kernels_add(fixture->kernels, nodes, 1, &(LoweredStorage){0}, &reporter.base, &call))
        fail_msg("no kernel for %s", op_info(node->op)->name);
    return call;
}

static uint32_t kernel_of(const Fixture *fixture, const Node *node) {
    return call_of(fixture, node).kernel;
}

static void write_source(const Fixture *fixture, const char *path) {
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    kernels_print_prelude(out);
    size_t n = kernels_count(fixture->kernels);
    for (size_t i = 0; i < n; i++)
        fprintf(out, "\n%s", kernels_get(fixture->kernels, i)->text);
    fputs("\nMoecKernelFunction *const test_kernels[] = {\n", out);
    for (size_t i = 0; i < n; i++)
        fprintf(out, "    %s,\n", kernels_get(fixture->kernels, i)->name);
    fputs("};\n", out);
    assert_int_equal(fclose(out), 0);
}

/* Under the sanitizers the kernels run under them too. */
#ifdef __SANITIZE_ADDRESS__
static const char sanitize_flags[] = "-O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined";
#else
static const char sanitize_flags[] = "";
#endif

static void compile(Fixture *fixture) {
    char folder[] = "/tmp/moec-kernels-XXXXXX";
    assert_non_null(mkdtemp(folder));
    const char *source = arena_printf(fixture->arena, "%s/kernels.c", folder);
    const char *object = arena_printf(fixture->arena, "%s/kernels.so", folder);
    write_source(fixture, source);
    const char *cc = getenv("CC");
    const char *command = arena_printf(fixture->arena, "%s %s %s -march=native -shared -fPIC -I%s -o %s %s",
                                       cc ? cc : "gcc", CODEGEN_C_FLAGS, sanitize_flags, root(), object, source);
    if (system(command) != 0)
        fail_msg("failed: %s", command);
    fixture->shared_object = dlopen(object, RTLD_NOW);
    if (!fixture->shared_object)
        fail_msg("%s", dlerror());
    fixture->functions = dlsym(fixture->shared_object, "test_kernels");
    assert_non_null(fixture->functions);
    unlink(source);
    unlink(object);
    rmdir(folder);
}

static Fixture fixture;

static char *read_file(Arena *arena, const char *path, size_t *n_bytes) {
    FILE *in = fopen(path, "r");
    if (!in)
        fail_msg("cannot read %s", path);
    enum { CAPACITY = 1 << 16 };
    char *text = arena_array_of(arena, char, CAPACITY);
    *n_bytes = fread(text, 1, CAPACITY, in);
    assert_true(*n_bytes < CAPACITY);
    fclose(in);
    return text;
}

static void set_up(void) {
    fixture.arena = arena_new();
    const char *error = NULL;
    size_t n_bytes;
    const char *path = arena_printf(fixture.arena, "%s/tests/codegen/Inputs/kernels.ir", root());
    const char *text = read_file(fixture.arena, path, &n_bytes);
    fixture.module = module_read(fixture.arena, "kernels.ir", text, n_bytes, &error);
    if (!fixture.module)
        fail_msg("kernels.ir:%s", error);
    fixture.kernels = kernels_new(fixture.arena, fixture.module);
    for (size_t i = 0; i < fixture.module->n_graphs; i++) {
        graph_number(fixture.module->graphs[i]);
        for (const Node *node = fixture.module->graphs[i]->first; node; node = node->next) {
            if (has_kernel(node))
                kernel_of(&fixture, node);
        }
    }
    compile(&fixture);
}

static int tear_down(void **state) {
    (void)state;
    dlclose(fixture.shared_object);
    arena_free(fixture.arena);
    return 0;
}

/* ---- Running -------------------------------------------------------------------------------------------------- */

/* Storage of a tensor as kernels see it; exactly as large, so that the sanitizers see what lies beyond. */
static void *storage_of(const Tensor *tensor) {
    const FormArg arg = {.dtype = tensor->type.dtype};
    void *storage = malloc((size_t)type_n_bytes(&tensor->type));
    assert_non_null(storage);
    for (int64_t i = 0; i < type_n_elements(&tensor->type); i++)
        random_form_write(&arg, storage, i, tensor->data[i]);
    return storage;
}

static void compare(const Node *node, int result, const void *actual, const Tensor *expected) {
    const FormArg arg = {.dtype = expected->type.dtype};
    double step = arg.dtype == DTYPE_BF16 ? 1 / 128. : 1e-5; /* bf16 may round to the next number */
    for (int64_t i = 0; i < type_n_elements(&expected->type); i++) {
        double a = random_form_read(&arg, actual, i), e = expected->data[i];
        bool is_unused_row = isnan(e) && type_is_ragged(&expected->type);
        if (is_unused_row || (isnan(e) && isnan(a)) || fabs(a - e) <= step * fmax(1, fabs(e)))
            continue;
        fail_msg("%s (%%%u), result %d, element %lld: %.9g, expected %.9g", op_info(node->op)->name,
                 node->results[0].number, result, (long long)i, a, e);
    }
}

enum { MAX_ARGS = 16, MAX_STATES = 4 };

/* What one graph's kernels run on: the interpreter's values, and the states as they were before. */
typedef struct {
    Interpreter *interpreter;
    Tensor states[MAX_STATES];
} Run;

static const Tensor *owner_values(const Run *run, const Value *owner) {
    for (size_t i = 0; i < fixture.module->n_states && owner->def->op == OP_state; i++) {
        if (strcmp(fixture.module->states[i]->name, attrs_string(&owner->def->attrs, "name", "")) == 0)
            return &run->states[i];
    }
    return interpreter_value(run->interpreter, owner);
}

/* Which result of the node is there, or -1. */
static int result_at(const Node *node, const LoweredArgument *place) {
    for (int i = 0; i < node->n_results; i++) {
        if (view_owner((Value *)&node->results[i]) == place->owner && place->offset == 0)
            return i;
    }
    return -1;
}

/* Runs a kernel again with 1 and with 3 threads: the results must not change in a bit. */
static void run_with_other_threads(const Node *node, const KernelCall *call, void *const *args) {
    void *again[MAX_ARGS];
    memcpy(again, args, sizeof again);
    int n_threads = omp_get_max_threads();
    for (int n = 1; n <= 3; n += 2) {
        for (size_t i = 0; i < call->n_args; i++) {
            if (result_at(node, &call->args[i]) >= 0)
                again[i] = calloc(1, (size_t)type_n_bytes(&call->args[i].owner->type));
        }
        omp_set_num_threads(n);
        fixture.functions[call->kernel](again);
        for (size_t i = 0; i < call->n_args; i++) {
            if (result_at(node, &call->args[i]) < 0)
                continue;
            if (memcmp(again[i], args[i], (size_t)type_n_bytes(&call->args[i].owner->type)) != 0)
                fail_msg("%s (%%%u) changes with %d threads", op_info(node->op)->name, node->results[0].number, n);
            free(again[i]);
        }
    }
    omp_set_num_threads(n_threads);
}

static void run_node(const Run *run, const Node *node) {
    void *args[MAX_ARGS] = {NULL}, *storages[MAX_ARGS];
    KernelCall call = call_of(&fixture, node);
    bool is_update = op_info(node->op)->class == OP_CLASS_UPDATE;
    assert_true(call.n_args <= MAX_ARGS);
    for (size_t i = 0; i < call.n_args; i++) {
        const LoweredArgument *place = &call.args[i];
        bool is_new = !is_update && result_at(node, place) >= 0;
        storages[i] =
            is_new ? calloc(1, (size_t)type_n_bytes(&place->owner->type)) : storage_of(owner_values(run, place->owner));
        args[i] = (float *)storages[i] + place->offset;
    }
    for (size_t i = 0; i < call.n_args && is_update; i++) { /* a state is one storage, however often it is named */
        for (size_t j = 0; j < i; j++)
            args[i] = call.args[j].owner == call.args[i].owner ? args[j] : args[i];
    }
    fixture.functions[call.kernel](args);
    for (size_t i = 0; i < call.n_args; i++) {
        int result = result_at(node, &call.args[i]);
        if (result >= 0)
            compare(node, result, args[i], interpreter_value(run->interpreter, &node->results[result]));
    }
    if (!is_update && op_info(node->op)->class != OP_CLASS_CONTRACT)
        run_with_other_threads(node, &call, args);
    for (size_t i = 0; i < call.n_args; i++)
        free(storages[i]);
}

static Run run_new(const Graph *graph) {
    Run run = {.interpreter = interpreter_new(fixture.arena, fixture.module)};
    for (size_t i = 0; i < fixture.module->n_states; i++) {
        const State *at = fixture.module->states[i];
        run.states[i] = tensor_new(fixture.arena, &at->type);
        fill(&run.states[i], at->name, i + 100);
        interpreter_set_state(run.interpreter, at->name, run.states[i]);
    }
    uint64_t seed = 1;
    for (const Node *node = graph->first; node; node = node->next) {
        if (node->op != OP_input)
            continue;
        Tensor input = tensor_new(fixture.arena, &node->results[0].type);
        const char *name = attrs_string(&node->attrs, "name", "");
        fill(&input, name, seed++);
        interpreter_set_input(run.interpreter, name, input);
    }
    return run;
}

static void graph_test(void **state) {
    const Graph *graph = *state;
    Run run = run_new(graph);
    const char *error = interpreter_run(run.interpreter, graph);
    if (error)
        fail_msg("%s", error);
    for (const Node *node = graph->first; node; node = node->next) {
        if (has_kernel(node))
            run_node(&run, node);
    }
}

/* ---- The table ------------------------------------------------------------------------------------------------ */

static const Node *find_op(const char *graph, OpKind op) {
    const Node *node = module_find_graph(fixture.module, graph)->first;
    while (node && node->op != op)
        node = node->next;
    assert_non_null(node);
    return node;
}

static void equal_nodes_share_a_kernel(void **state) {
    (void)state;
    size_t n = kernels_count(fixture.kernels);
    const Node *flat = find_op("map_flat", OP_silu), *parallel = find_op("map_parallel", OP_silu);
    assert_int_equal(kernel_of(&fixture, flat), kernel_of(&fixture, flat));
    assert_int_not_equal(kernel_of(&fixture, flat), kernel_of(&fixture, parallel));
    assert_int_equal(kernels_count(fixture.kernels), n);
}

static void arguments_are_not_constants(void **state) {
    (void)state;
    const Node *sub = find_op("map_constant", OP_sub);
    assert_true(kernel_operand_is_argument(sub, 0));
    assert_false(kernel_operand_is_argument(sub, 1));
}

/* ---- Data that no test of values has -------------------------------------------------------------------------- */

static void run_kernel(const char *graph, OpKind op, void *const *args) {
    fixture.functions[kernel_of(&fixture, find_op(graph, op))](args);
}

static void maps_keep_nans_and_infinities(void **state) {
    (void)state;
    enum { N = 3 * 5 * 37 };
    static const OpKind ops[] = {OP_exp,  OP_tanh,      OP_sigmoid,   OP_relu,      OP_silu,      OP_gelu,
                                 OP_sqrt, OP_gelu_tanh, OP_relu_grad, OP_silu_grad, OP_gelu_grad, OP_gelu_tanh_grad};
    static float x[N], y[N], out[N];
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        for (int j = 0; j < N; j++) {
            x[j] = j % 3 == 0 ? NAN : 0.5f;
            y[j] = 1.0f;
        }
        run_kernel("map_flat", ops[i], (void *const[]){out, x, y});
        for (int j = 0; j < N; j++) {
            if (isnan(out[j]) != (j % 3 == 0))
                fail_msg("%s of %g is %g", op_info(ops[i])->name, (double)x[j], (double)out[j]);
        }
    }
    for (int j = 0; j < N; j++)
        x[j] = j % 2 == 0 ? INFINITY : -INFINITY;
    run_kernel("map_flat", OP_exp, (void *const[]){out, x});
    for (int j = 0; j < N; j++)
        assert_true(out[j] == (j % 2 == 0 ? INFINITY : 0.0f));
    run_kernel("map_flat", OP_tanh, (void *const[]){out, x});
    for (int j = 0; j < N; j++)
        assert_true(out[j] == (j % 2 == 0 ? 1.0f : -1.0f));
}

static double sigmoid(double x) {
    return 1 / (1 + exp(-x));
}

static void exponentials_are_good_to_a_few_units(void **state) {
    (void)state;
    enum { N = 3 * 5 * 37 };
    static const struct {
        OpKind op;
        double (*function)(double x);
        double range;
    } rows[] = {{OP_exp, exp, 87}, {OP_exp, exp, 1}, {OP_sigmoid, sigmoid, 87}, {OP_tanh, tanh, 8}, {OP_tanh, tanh, 1}};
    static float x[N], out[N];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (int j = 0; j < N; j++)
            x[j] = (float)(rows[i].range * (2.0 * j / (N - 1) - 1));
        run_kernel("map_flat", rows[i].op, (void *const[]){out, x});
        for (int j = 0; j < N; j++) {
            double expected = rows[i].function((double)x[j]);
            if (fabs((double)out[j] - expected) > 3 * (double)FLT_EPSILON * fabs(expected))
                fail_msg("%s of %.9g is %.9g, expected %.9g", op_info(rows[i].op)->name, (double)x[j], (double)out[j],
                         expected);
        }
    }
}

static void indices_out_of_range_touch_nothing(void **state) {
    (void)state;
    float table[3 * 2 * 5] = {0}, rows[2 * 7 * 2 * 5], sums[5 * 2 * 5];
    int32_t indices[2 * 7] = {0, 3, -1, 1 << 30};
    run_kernel("move", OP_gather, (void *const[]){rows, table, indices});
    for (int i = 0; i < 2 * 7 * 2 * 5; i++)
        assert_int_equal(isnan(rows[i]), i / 10 >= 1 && i / 10 <= 3);
    for (int i = 0; i < 2 * 7 * 2 * 5; i++)
        rows[i] = i / 10 == 1 || i / 10 == 2 || i / 10 == 3 ? NAN : 1;
    indices[1] = 5;
    run_kernel("move", OP_scatter_add, (void *const[]){sums, rows, indices});
    for (int i = 0; i < 5 * 2 * 5; i++)
        assert_true(sums[i] == (i < 10 ? 11.0f : 0.0f));
}

/* Whatever the values, a row's choices are different columns. */
static void choices_among_nans_are_columns(void **state) {
    (void)state;
    enum { ROWS = 70, WIDTH = 9, K = 3 };
    static float x[ROWS * WIDTH], values[ROWS * K];
    static int32_t indices[ROWS * K];
    for (int i = 0; i < ROWS * WIDTH; i++)
        x[i] = i % 2 == 0 || i < 2 * WIDTH ? NAN : -INFINITY;
    run_kernel("choices", OP_top_k, (void *const[]){values, indices, x});
    for (int row = 0; row < ROWS; row++) {
        const int32_t *chosen = indices + row * K;
        for (int i = 0; i < K; i++) {
            assert_in_range(chosen[i], 0, WIDTH - 1);
            assert_int_not_equal(chosen[i], chosen[(i + 1) % K]);
        }
    }
}

/* One test a graph, named after it. */
int main(void) {
    static const struct CMUnitTest others[] = {
        cmocka_unit_test(equal_nodes_share_a_kernel),         cmocka_unit_test(arguments_are_not_constants),
        cmocka_unit_test(maps_keep_nans_and_infinities),      cmocka_unit_test(exponentials_are_good_to_a_few_units),
        cmocka_unit_test(indices_out_of_range_touch_nothing), cmocka_unit_test(choices_among_nans_are_columns),
    };
    enum { MAX_TESTS = 64, N_OTHERS = sizeof others / sizeof others[0] };
    static struct CMUnitTest tests[MAX_TESTS];
    set_up();
    if (fixture.module->n_graphs + N_OTHERS > MAX_TESTS)
        return 1;
    size_t n = 0;
    for (; n < fixture.module->n_graphs; n++) {
        Graph *graph = fixture.module->graphs[n];
        tests[n] = (struct CMUnitTest){.name = graph->name, .test_func = graph_test, .initial_state = graph};
    }
    for (size_t i = 0; i < N_OTHERS; i++)
        tests[n++] = others[i];
    int n_failed = _cmocka_run_group_tests("kernels", tests, n, NULL, tear_down);
    return n_failed;
}
