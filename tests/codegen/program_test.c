// RUN: env MOEC_ROOT=%root %unit %s
/* Generated programs against the interpreter: random programs and a model large enough for threads go through the
   passes, are compiled, loaded, and run on the same data, with everything that they write compared. All sources make
   one shared object. */
#include <dlfcn.h>
#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "codegen/codegen.h"
#include "frontend/frontend.h"
#include "passes/passes.h"
#include "runtime/packed.h"
#include "tests/support/program.h"
#include "tests/support/random_program.h"

/* The last case is Inputs/tiny.moe with other sizes. */
enum { N_RANDOM = 20, N_STEPS = 12, MODEL = N_RANDOM, N_CASES };

#ifdef __SANITIZE_ADDRESS__
#define SANITIZE "-fsanitize=address,undefined -fno-sanitize-recover=undefined"
#else
#define SANITIZE ""
#endif

typedef struct {
    Arena *arena;
    Module *module;
    uint64_t data_seed;
    double weight_scale; /* of random_program_fill's weights */
    int first_run;       /* index into run_order */
    const MoecPlan *plan;
    void *spaces[MOEC_SPACE_COUNT];
    Packed packed;
} Case;

/* The update comes last: it may bring values near a tie, where f32 and doubles part ways. Random programs have no
   "generate". */
static const char *const run_order[] = {"generate", "eval", "train", "update"};
enum { N_RUNS = sizeof run_order / sizeof *run_order };

static Case cases[N_CASES];
static void *library;

/* ---- Making ---------------------------------------------------------------------------------------------------- */

/* Random programs have their experts, and a loss that the upcycle pass would replace. */
static void compile_module(Module *module, const char *first_pass) {
    PlainReporter reporter;
    plain_reporter_init(&reporter, stderr);
    for (const Pass *pass = pass_find(first_pass); pass->name; pass++) {
        assert_true(pass->run(module, &reporter.base));
        const char *reason = module_verify(module);
        if (reason)
            fail_msg("%s after %s: %s", module->name, pass->name, reason);
    }
}

static void make_random_case(Case *at, uint64_t seed) {
    at->arena = arena_new();
    RandomProgram program = random_program(at->arena, seed, N_STEPS);
    at->module = program.module;
    at->data_seed = program.data_seed;
    at->weight_scale = 1;
    at->first_run = 1;
    compile_module(at->module, "autodiff");
}

static const char *root(void) {
    const char *path = getenv("MOEC_ROOT");
    return path ? path : ".";
}

static void make_model_case(Case *at) {
    static const SizeOverride sizes[] = {{"T", 48}, {"d", 64}, {"ff", 96}, {"heads", 4}, {"kv_heads", 2}};
    at->arena = arena_new();
    const char *path = arena_printf(at->arena, "%s/tests/codegen/Inputs/tiny.moe", root());
    LowerOptions options = {.overrides = sizes, .n_overrides = sizeof sizes / sizeof *sizes};
    Diagnostics *diagnostics = diagnostics_new(at->arena, stderr, DIAGNOSTICS_COLOR_NEVER);
    at->module = frontend_compile(at->arena, path, &options, diagnostics);
    diagnostics_flush(diagnostics);
    assert_non_null(at->module);
    at->data_seed = 1;
    at->weight_scale = 0.1;
    compile_module(at->module, "upcycle");
}

static void write_source(const Module *module, const char *path, const char *symbol) {
    PlainReporter reporter;
    plain_reporter_init(&reporter, stderr);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(codegen_emit_c(file, module, &(CodegenOptions){.plan_symbol = symbol}, &reporter.base));
    assert_int_equal(fclose(file), 0);
}

/* Writes, compiles and loads all programs. */
static int make_programs(void **state) {
    (void)state;
    Arena *arena = arena_new();
    char folder[] = "/tmp/program_test-XXXXXX";
    assert_non_null(mkdtemp(folder));
    for (int i = 0; i < N_RANDOM; i++)
        make_random_case(&cases[i], (uint64_t)i);
    make_model_case(&cases[MODEL]);
    for (int i = 0; i < N_CASES; i++)
        write_source(cases[i].module, arena_printf(arena, "%s/%d.c", folder, i), arena_printf(arena, "plan_%d", i));
    const char *command = arena_printf(arena,
                                       "root=$(cd %s && pwd) && cd %s && printf '%%s\\n' *.c | "
                                       "xargs -P 2 -n 1 ${CC:-cc} %s -O1 %s -march=native -fPIC -I$root -c && "
                                       "${CC:-cc} %s -fopenmp -shared -o all.so *.o -lm",
                                       root(), folder, CODEGEN_C_FLAGS, SANITIZE, SANITIZE);
    assert_int_equal(system(command), 0);
    library = dlopen(arena_printf(arena, "%s/all.so", folder), RTLD_NOW);
    if (!library)
        fail_msg("%s", dlerror());
    for (int i = 0; i < N_CASES; i++) {
        cases[i].plan = dlsym(library, arena_printf(arena, "plan_%d", i));
        assert_non_null(cases[i].plan);
    }
    assert_int_equal(system(arena_printf(arena, "rm -r %s", folder)), 0);
    arena_free(arena);
    return 0;
}

static int free_programs(void **state) {
    (void)state;
    for (int i = 0; i < N_CASES; i++)
        arena_free(cases[i].arena);
    return dlclose(library);
}

/* ---- Data ------------------------------------------------------------------------------------------------------ */

static void *address(const Case *at, MoecAddress address) {
    if (address.space == MOEC_PACKED)
        return at->packed.copies[address.offset];
    return (char *)at->spaces[address.space] + address.offset;
}

static void *state_address(const Case *at, const State *state) {
    static const char *const kinds[] = {"weight", "grad", "moment1", "moment2"};
    uint32_t space = 0;
    while (strcmp(kinds[space], state->kind) != 0)
        space++;
    const char *weight = space == MOEC_SPACE_WEIGHT ? state->name : state->name + strlen(state->kind) + 1;
    for (uint32_t i = 0; i < at->plan->n_weights; i++) {
        if (strcmp(at->plan->weights[i].name, weight) == 0 && space == MOEC_SPACE_GRAD)
            return address(at, at->plan->weights[i].gradient);
        if (strcmp(at->plan->weights[i].name, weight) == 0)
            return (char *)at->spaces[space] + at->plan->weights[i].offset;
    }
    fail_msg("the plan has no weight \"%s\"", weight);
    return NULL;
}

/* Rounds the tensor to what the program is given. */
static void write_values(Tensor *tensor, void *to) {
    for (int64_t i = 0; i < type_n_elements(&tensor->type); i++) {
        tensor->data[i] = tensor->type.dtype == DTYPE_I32 ? tensor->data[i] : (double)(float)tensor->data[i];
        if (tensor->type.dtype == DTYPE_I32)
            ((int32_t *)to)[i] = (int32_t)tensor->data[i];
        else
            ((float *)to)[i] = (float)tensor->data[i];
    }
}

/* Every byte of every space is a NaN before it gets a value. Of packed copies there are those that the use asks for. */
static void allocate_spaces(Case *at, PackedUse use) {
    Status status = STATUS_INIT;
    assert_true(packed_open(&at->packed, at->plan, use, 2, &status));
    for (int i = 0; i < MOEC_SPACE_COUNT; i++) {
        at->spaces[i] = aligned_alloc(64, at->plan->space_bytes[i] + 64 - at->plan->space_bytes[i] % 64);
        assert_non_null(at->spaces[i]);
        memset(at->spaces[i], 0xff, at->plan->space_bytes[i]);
    }
}

static void free_spaces(Case *at) {
    for (int i = 0; i < MOEC_SPACE_COUNT; i++)
        free(at->spaces[i]);
    packed_close(&at->packed);
}

static void fill_states(const Case *at, Interpreter *interpreter) {
    const Module *module = at->module;
    for (size_t i = 0; i < module->n_states; i++) {
        Tensor *tensor = interpreter_state(interpreter, module->states[i]->name);
        random_program_fill(tensor, module->states[i]->name, at->data_seed);
        bool is_weight = strcmp(module->states[i]->kind, "weight") == 0;
        for (int64_t j = 0; j < type_n_elements(&tensor->type) && is_weight; j++)
            tensor->data[j] *= at->weight_scale;
        write_values(tensor, state_address(at, module->states[i]));
    }
}

static void fill_inputs(const Case *at, const MoecProgram *program, Interpreter *interpreter) {
    for (uint32_t i = 0; i < program->n_inputs; i++) {
        const MoecTensor *input = &program->inputs[i];
        Type type = {.dtype = input->dtype == MOEC_DTYPE_I32 ? DTYPE_I32 : DTYPE_F32, .rank = input->rank};
        for (int j = 0; j < input->rank; j++)
            type.dims[j].extent = input->dims[j];
        Arena *arena = arena_new();
        Tensor tensor = tensor_new(arena, &type);
        random_program_fill(&tensor, input->name, at->data_seed);
        write_values(&tensor, address(at, input->at));
        interpreter_set_input(interpreter, input->name, tensor);
        arena_free(arena);
    }
}

/* ---- Running --------------------------------------------------------------------------------------------------- */

static const MoecProgram *find_program(const MoecPlan *plan, const char *name) {
    for (uint32_t i = 0; i < plan->n_programs; i++) {
        if (strcmp(plan->programs[i].name, name) == 0)
            return &plan->programs[i];
    }
    fail_msg("the plan has no program \"%s\"", name);
    return NULL;
}

static void run_program(const Case *at, const MoecProgram *program) {
    void *args[256];
    Memory memory = {0};
    memcpy(memory.spaces, at->spaces, sizeof at->spaces);
    packed_make(&at->packed, &memory);
    for (uint32_t i = 0; i < program->n_launches; i++) {
        const MoecLaunch *launch = &program->launches[i];
        assert_true(launch->n_args <= sizeof args / sizeof *args);
        for (uint32_t j = 0; j < launch->n_args; j++)
            args[j] = address(at, program->args[launch->first_arg + j]);
        at->plan->kernels[launch->kernel].function(args);
    }
}

static void compare(const char *program, const char *name, const Tensor *expected, const float *actual) {
    Arena *arena = arena_new();
    int64_t n = type_n_elements(&expected->type);
    double *values = arena_array_of(arena, double, n);
    for (int64_t i = 0; i < n; i++)
        values[i] = actual[i];
    expect_near(arena_printf(arena, "%s of %s", name, program), n, values, expected->data, 1e-4);
    arena_free(arena);
}

/* Gradients in the arena are there between "train" and "update" only. */
static bool has_state(const Case *at, const char *program, const State *state) {
    bool is_transient = strcmp(state->kind, "grad") == 0 && at->plan->weights[0].gradient.space == MOEC_SPACE_ARENA;
    return !is_transient || strcmp(program, "train") == 0;
}

static void compare_states(const Case *at, const char *program, Interpreter *interpreter) {
    const Module *module = at->module;
    for (size_t i = 0; i < module->n_states; i++) {
        const State *state = module->states[i];
        if (has_state(at, program, state))
            compare(program, state->name, interpreter_state(interpreter, state->name), state_address(at, state));
    }
}

static void a_program_computes_what_the_interpreter_does(void **state) {
    Case *at = *state;
    const Module *module = at->module;
    Arena *arena = arena_new();
    Interpreter *interpreter = interpreter_new(arena, module);
    allocate_spaces(at, PACKED_FOR_TRAINING);
    fill_states(at, interpreter);
    for (int i = at->first_run; i < N_RUNS; i++) {
        const MoecProgram *program = find_program(at->plan, run_order[i]);
        fill_inputs(at, program, interpreter);
        run_program(at, program);
        const char *failure = interpreter_run(interpreter, module_find_graph(module, program->name));
        if (failure)
            fail_msg("%s", failure);
        for (uint32_t j = 0; j < program->n_outputs; j++) {
            const MoecTensor *output = &program->outputs[j];
            compare(program->name, output->name, interpreter_output(interpreter, output->name),
                    address(at, output->at));
        }
        compare_states(at, program->name, interpreter);
    }
    free_spaces(at);
    arena_free(arena);
}

/* ---- The same bits --------------------------------------------------------------------------------------------- */

/* Everything that a program is told and tells, after one step. */
static uint64_t hash_of_a_step(Case *at, int n_threads, PackedUse use) {
    Arena *arena = arena_new();
    omp_set_num_threads(n_threads);
    allocate_spaces(at, use);
    Interpreter *interpreter = interpreter_new(arena, at->module);
    fill_states(at, interpreter);
    uint64_t hash = 0xcbf29ce484222325u;
    for (int i = at->first_run; i < N_RUNS; i++) {
        const MoecProgram *program = find_program(at->plan, run_order[i]);
        fill_inputs(at, program, interpreter);
        run_program(at, program);
        for (int space = 0; space < MOEC_SPACE_ARENA; space++) {
            for (uint64_t j = 0; j < at->plan->space_bytes[space]; j++)
                hash = (hash ^ ((unsigned char *)at->spaces[space])[j]) * 0x100000001b3u;
        }
    }
    free_spaces(at);
    arena_free(arena);
    return hash;
}

static void a_step_gives_the_same_bits_again(void **state) {
    Case *at = *state;
    uint64_t first = hash_of_a_step(at, 1, PACKED_FOR_NOTHING);
    assert_true(at->plan->n_packed > 0);
    for (int n_threads = 1; n_threads <= 3; n_threads++) {
        uint64_t hash = hash_of_a_step(at, n_threads, PACKED_FOR_NOTHING);
        assert_int_equal(hash, hash_of_a_step(at, n_threads, PACKED_FOR_TRAINING));
        if (hash != first)
            print_message("%d threads give other bits than one\n", n_threads);
    }
}

int main(void) {
    struct CMUnitTest tests[2 * N_CASES];
    static char names[N_CASES][32];
    for (int i = 0; i < N_CASES; i++) {
        snprintf(names[i], sizeof names[i], i == MODEL ? "tiny.moe" : "random program %d", i);
        tests[2 * i] =
            (struct CMUnitTest){names[i], a_program_computes_what_the_interpreter_does, NULL, NULL, &cases[i]};
        tests[2 * i + 1] = (struct CMUnitTest){names[i], a_step_gives_the_same_bits_again, NULL, NULL, &cases[i]};
    }
    return _cmocka_run_group_tests("programs", tests, 2 * N_CASES, make_programs, free_programs);
}
