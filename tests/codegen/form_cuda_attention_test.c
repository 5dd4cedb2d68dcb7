// RUN: env MOEC_ROOT=%root %unit %s
/* Random forms of attention of bf16 as CUDA C of all tiers that they have, against the interpreter, and once more
   against themselves: under the simulator of tests/simt with another order of threads, or with MOEC_FORMS_ON=device on
   a CUDA device through the runtime's modules. MOEC_FORMS_STEP=N: every N-th case only. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "codegen/form_cuda.h"
#include "codegen/form_internal.h"
#include "tests/gpu/device_kernels.h"
#include "tests/simt/simt_load.h"
#include "tests/simt/simt_tensor_map.h"
#include "tests/support/random_form.h"

enum { N_FORMS = 24, AGAIN_ELEMENTS = 40000, N_CASES = N_FORMS * CUDA_N_TIERS, MAX_BUFFERS = 64, ALIGNMENT = 128 };

typedef struct {
    RandomForm random;
    const FormCuda *cuda; /* NULL: the form has no such tier, or is left out */
    int first_kernel;     /* of the shared object; on a device the number of its source */
} Case;

typedef struct {
    Arena *arena;
    Case cases[CUDA_N_TIERS][N_FORMS];
    int step;
    SimtObject object;
    bool is_on_device;
    DeviceKernels device;
    CudaKernelSource sources[N_CASES];
    size_t n_sources;
} Fixture;

static Fixture fixture;

/* ---- The cases -------------------------------------------------------------------------------------------------- */

static void add_case(int number) {
    int tier = number / N_FORMS, form = number % N_FORMS;
    Case *of = &fixture.cases[tier][form];
    const char *error, *name = arena_printf(fixture.arena, "form_%d_%d", tier, form);
    of->random = random_form_attention_bf16(fixture.arena, name, (uint64_t)form);
    if (number % fixture.step != 0 || !form_cuda_has_tier(of->random.form, (CudaTier)tier, NULL))
        return;
    of->cuda = form_cuda(fixture.arena, of->random.form, (CudaTier)tier, NULL, &error);
    if (!of->cuda)
        fail_msg("%s", error);
}

static void add_kernels(Case *of, SimtText *text) {
    fprintf(text->out, "\n%s", of->cuda->text);
    for (int i = 0; i < of->cuda->n_launches; i++) {
        size_t n_parameters = form_cuda_n_parameters(of->random.form, of->cuda);
        int kernel = simt_text_add_kernel(text, of->cuda->launches[i].kernel, n_parameters);
        of->first_kernel = i == 0 ? kernel : of->first_kernel;
    }
}

static void compile_for_simulator(void) {
    SimtText text;
    const char *error = simt_text_open(&text);
    for (int i = 0; i < N_CASES && !error; i++) {
        if (fixture.cases[i / N_FORMS][i % N_FORMS].cuda)
            add_kernels(&fixture.cases[i / N_FORMS][i % N_FORMS], &text);
    }
    if (!error)
        error = simt_text_close(&text, &fixture.object);
    if (error)
        fail_msg("%s", error);
}

static void compile_for_device(void) {
    Status status = STATUS_INIT;
    bool is_open = device_kernels_open(&fixture.device, NULL, &status);
    bool is_hopper = is_open && fixture.device.device.major == 9 && fixture.device.device.minor == 0;
    for (int i = 0; i < N_CASES && is_open; i++) {
        Case *of = &fixture.cases[i / N_FORMS][i % N_FORMS];
        if (i / N_FORMS == CUDA_SM_90A && !is_hopper)
            of->cuda = NULL;
        if (!of->cuda)
            continue;
        of->first_kernel = (int)fixture.n_sources;
        fixture.sources[fixture.n_sources++] = device_kernel_source(fixture.arena, of->random.form, of->cuda);
    }
    if (!is_open || !device_kernels_load(&fixture.device, fixture.sources, fixture.n_sources, &status))
        fail_msg("%s", status.message);
    print_message("on %s, %s\n", fixture.device.device.name, fixture.device.architecture);
}

static int set_up(void **state) {
    (void)state;
    const char *on = getenv("MOEC_FORMS_ON"), *step = getenv("MOEC_FORMS_STEP");
    fixture.arena = arena_new();
    fixture.is_on_device = on && strcmp(on, "device") == 0;
    fixture.step = step && atoi(step) > 0 ? atoi(step) : 1;
    for (int i = 0; i < N_CASES; i++)
        add_case(i);
    if (fixture.is_on_device)
        compile_for_device();
    else
        compile_for_simulator();
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    Status status = STATUS_INIT;
    if (fixture.is_on_device)
        device_kernels_close(&fixture.device, &status);
    else
        simt_unload(&fixture.object);
    arena_free(fixture.arena);
    if (status.failed)
        fail_msg("%s", status.message);
    return 0;
}

/* ---- Memory ------------------------------------------------------------------------------------------------------ */

typedef struct {
    void *args[MAX_BUFFERS];
    SimtBuffer buffers[MAX_BUFFERS]; /* one an argument, in order */
    size_t n;
} Memory;

static void *add_buffer(Memory *memory, const char *name, size_t n_bytes, bool is_read_only) {
    assert_true(memory->n < MAX_BUFFERS);
    void *data = aligned_alloc(ALIGNMENT, (n_bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    assert_non_null(data);
    memset(data, 0xff, n_bytes); /* NaN */
    memory->args[memory->n] = data;
    memory->buffers[memory->n++] =
        (SimtBuffer){.name = name, .data = data, .n_bytes = n_bytes, .is_read_only = is_read_only};
    return data;
}

static void encode(const FormCudaMap *map, char *address, void *encoded) {
    enum { BF16 = 9, SWIZZLED_128 = 3 }; /* as cuda.h has them */
    uint64_t extents[CUDA_MAP_RANK], strides[CUDA_MAP_RANK];
    uint32_t box[CUDA_MAP_RANK], steps[CUDA_MAP_RANK];
    for (int i = 0; i < map->rank; i++) {
        extents[i] = (uint64_t)map->extents[i];
        box[i] = (uint32_t)map->box[i];
        steps[i] = 1;
        if (i > 0)
            strides[i - 1] = (uint64_t)map->strides[i] * sizeof(uint16_t);
    }
    const SimtTensor tensor = {.type = BF16,
                               .rank = (unsigned)map->rank,
                               .address = address + (size_t)map->offset * sizeof(uint16_t),
                               .extents = extents,
                               .strides = strides,
                               .box = box,
                               .element_strides = steps,
                               .swizzle = SWIZZLED_128};
    const char *wrong = simt_tensor_map_encode(encoded, &tensor);
    if (wrong)
        fail_msg("a map: %s", wrong);
}

static Memory *memory_new(const Case *of, double *const *values) {
    const Form *form = of->random.form;
    Memory *memory = calloc(1, sizeof *memory);
    assert_non_null(memory);
    for (size_t i = 0; i < form->n_args; i++) {
        const FormArg *arg = &form->args[i];
        void *data =
            add_buffer(memory, arg->name, (size_t)arg->n_elements * dtype_size(arg->dtype), arg->access == FORM_IN);
        for (int64_t j = 0; j < arg->n_elements && arg->access != FORM_OUT; j++)
            random_form_write(arg, data, j, values[i][j]);
    }
    if (of->cuda->scratch_bytes > 0)
        add_buffer(memory, "scratch", (size_t)of->cuda->scratch_bytes, false);
    if (of->cuda->n_maps > 0) {
        char *maps = add_buffer(memory, DEVICE_MAPS, of->cuda->n_maps * SIMT_MAP_BYTES, true);
        for (size_t i = 0; i < of->cuda->n_maps; i++)
            encode(&of->cuda->maps[i], memory->args[of->cuda->maps[i].arg], maps + i * SIMT_MAP_BYTES);
    }
    return memory;
}

static void memory_free(Memory *memory) {
    for (size_t i = 0; i < memory->n; i++)
        free(memory->buffers[i].data);
    free(memory);
}

/* ---- Running ----------------------------------------------------------------------------------------------------- */

static void show(const Case *of) {
    form_print(stderr, of->random.form);
    fputs(of->cuda->text, stderr);
}

static const char *simulate(const Case *of, const Memory *memory, uint64_t seed) {
    const char *error = NULL;
    for (int i = 0; i < of->cuda->n_launches && !error; i++) {
        const FormCudaLaunch *launch = &of->cuda->launches[i];
        error = simt_launch(&(SimtLaunch){.name = launch->kernel,
                                          .kernel = fixture.object.kernels[of->first_kernel + i],
                                          .args = memory->args,
                                          .n_blocks = launch->n_blocks,
                                          .n_threads = launch->n_threads,
                                          .shared_bytes = (size_t)launch->shared_bytes,
                                          .module = fixture.object.module,
                                          .buffers = memory->buffers,
                                          .n_buffers = memory->n,
                                          .seed = seed});
    }
    return error;
}

/* `seed`: of the order of threads, which a device chooses itself. */
static void run(const Case *of, const Memory *memory, uint64_t seed) {
    Status status = STATUS_INIT;
    const char *error = NULL;
    if (!fixture.is_on_device)
        error = simulate(of, memory, seed);
    else if (!device_kernels_run(&fixture.device, (size_t)of->first_kernel, memory->args, memory->buffers, memory->n,
                                 &status))
        error = status.message;
    if (!error)
        return;
    show(of);
    fail_msg("%s", error);
}

/* Errors of weights add up over many keys, or queries, and are no smaller where the sum is; a body may make them
   larger. */
static void compare(const Case *of, const FormArg *arg, const void *actual, const double *expected) {
    const FormAttention *attention = &of->random.form->attention;
    bool has_body = true;
    for (int i = form_attention_first_result(of->random.form); i < form_attention_n_tensors(of->random.form); i++)
        has_body = has_body && (attention->bodies[i] || &of->random.form->args[attention->maps[i].arg] != arg);
    double largest = 1, tolerance = (has_body ? 5 : 1) * of->random.tolerance;
    for (int64_t i = 0; i < arg->n_elements; i++)
        largest = fmax(largest, fabs(expected[i]));
    for (int64_t i = 0; i < arg->n_elements; i++) {
        double a = random_form_read(arg, actual, i);
        if (fabs(a - expected[i]) <= tolerance * largest)
            continue;
        show(of);
        fail_msg("%s, element %lld: %.9g, expected %.9g, the largest being %.9g", arg->name, (long long)i, a,
                 expected[i], largest);
    }
}

/* In another order all bits must stay. */
static void run_again(const Case *of, double *const *values, const Memory *before) {
    Memory *memory = memory_new(of, values);
    run(of, memory, 2);
    for (size_t i = 0; i < of->random.form->n_args; i++) {
        if (memcmp(memory->args[i], before->args[i], memory->buffers[i].n_bytes) == 0)
            continue;
        show(of);
        fail_msg("%s changes with the order of threads", memory->buffers[i].name);
    }
    memory_free(memory);
}

static void form_test(void **state) {
    const Case *of = *state;
    const Form *form = of->random.form;
    if (!of->cuda)
        skip();
    double **values = random_form_values(fixture.arena, &of->random, 100);
    double **again = random_form_values(fixture.arena, &of->random, 100);
    Memory *memory = memory_new(of, values);
    const char *error = form_interpret(fixture.arena, form, values);
    if (error)
        fail_msg("%s", error);
    run(of, memory, 1);
    for (size_t i = 0; i < form->n_args; i++) {
        if (form->args[i].access != FORM_IN)
            compare(of, &form->args[i], memory->args[i], values[i]);
    }
    if (form_n_rows(&form->body) * form_n_cols(&form->body) < AGAIN_ELEMENTS)
        run_again(of, again, memory);
    memory_free(memory);
}

/* Forms of both kinds have each tier, where all of them run. */
static void tiers_test(void **state) {
    (void)state;
    if (fixture.is_on_device || fixture.step > 1)
        skip();
    for (int tier = 0; tier < CUDA_N_TIERS; tier++) {
        int n[FORM_N_KINDS] = {0};
        for (int i = 0; i < N_FORMS; i++)
            n[fixture.cases[tier][i].random.form->kind] += fixture.cases[tier][i].cuda != NULL;
        assert_true(n[FORM_KIND_ATTENTION] >= N_FORMS / 8 && n[FORM_KIND_ATTENTION_GRAD] >= N_FORMS / 8);
    }
}

/* One test a form and tier, named after these. */
int main(void) {
    static struct CMUnitTest tests[N_CASES + 1] = {{.name = "tiers", .test_func = tiers_test}};
    static char names[N_CASES][32];
    static const char *const tiers[] = {
#define X(id, architecture, capability, is_of_later) architecture,
        CUDA_TIERS(X)
#undef X
    };
    for (int i = 0; i < N_CASES; i++) {
        snprintf(names[i], sizeof names[i], "form %d on %s", i % N_FORMS, tiers[i / N_FORMS]);
        tests[i + 1] = (struct CMUnitTest){
            .name = names[i], .test_func = form_test, .initial_state = &fixture.cases[i / N_FORMS][i % N_FORMS]};
    }
    return _cmocka_run_group_tests("form_cuda_attention", tests, N_CASES + 1, set_up, tear_down);
}
