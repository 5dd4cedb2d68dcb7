// RUN: env MOEC_ROOT=%root %unit %s
// RUN: sed 's/d = 16/d = 64/; s/ff = 24/ff = 64/; s/heads = 2, kv/heads = 1, kv/' %S/Inputs/tiny.moe > %t.moe
// RUN: moec emit --precision bf16 --after=schedule %t.moe > %t.ir
// RUN: env MOEC_ROOT=%root MOEC_FORMS_MODULE=%t.ir %unit %s
// RUN: sed 's/B = 2, T = 8/B = 1, T = 256/; s/d = 16/d = 128/; s/ff = 24/ff = 64/' %S/Inputs/tiny.moe > %t.long.moe
// RUN: moec emit --precision bf16 --after=schedule %t.long.moe > %t.long.ir
// RUN: env MOEC_ROOT=%root MOEC_FORMS_STEP=1000 MOEC_FORMS_MODULE=%t.long.ir %unit %s
/* Random forms, and a few given ones, as CUDA C against the interpreter, and once more against themselves: under the
   simulator of tests/simt with other orders of threads, or with MOEC_FORMS_ON=device on a CUDA device through the
   runtime's modules. MOEC_FORMS_STEP=N: every N-th form only. MOEC_FORMS_MODULE=FILE.ir: the forms of a module's
   kernels in their place; attention is among them whatever the step. */
#include <assert.h>
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
#include "tests/support/module_kernels.h"
#include "tests/support/random_form.h"

/* What random forms rarely are. */
static const char *const given[] = {
    /* A warp a row, and some reads of four. */
    "form norm_0 rows { arg y f32[6336] out arg x f32[6336] in arg scale f32[576] in\n"
    "row t 11 col d 576\n"
    "%0 = load x[t*576 + d]\n"
    "%1 = mul %0, %0\n"
    "%2 = sum_cols %1\n"
    "%3 = const 0.001736111111111111\n"
    "%4 = mul %2, %3\n"
    "%5 = rsqrt %4\n"
    "%6 = mul %0, %5\n"
    "%7 = load scale[d]\n"
    "%8 = mul %6, %7\n"
    "store y[t*576 + d] = %8\n"
    "}\n",
    /* Its gradient: a block a row, sums of both kinds. */
    "form norm_grad rows { arg dx f32[30720] inout arg dscale f32[1024] inout arg x f32[30720] in\n"
    "arg dy f32[30720] in arg scale f32[1024] in\n"
    "row b 3 row t 10 col d 1024\n"
    "%0 = load x[b*10240 + t*1024 + d]\n"
    "%1 = load dy[b*10240 + t*1024 + d]\n"
    "%2 = load scale[d]\n"
    "%3 = mul %1, %2\n"
    "%4 = mul %3, %0\n"
    "%5 = sum_cols %4\n"
    "%6 = mul %5, %0\n"
    "%7 = sub %3, %6\n"
    "add dx[b*10240 + t*1024 + d] += %7\n"
    "%8 = mul %1, %0\n"
    "%9 = sum_rows %8\n"
    "add dscale[d] += %9\n"
    "}\n",
    /* Eight rows share a warp, and the last warp has fewer. */
    "form softmax rows { arg y f32[72] out arg last f32[9] inout arg x f32[72] in\n"
    "row t 9 col e 8\n"
    "%0 = load x[t*8 + e]\n"
    "%1 = max_cols %0\n"
    "%2 = sub %0, %1\n"
    "%3 = exp %2\n"
    "%4 = sum_cols %3\n"
    "%5 = div %3, %4\n"
    "store y[t*8 + e] = %5\n"
    "%6 = load last[t]\n"
    "%7 = mul %6, %1\n"
    "store last[t] = %7\n"
    "}\n",
    /* Rows that no registers hold, and a loop that is left with what was loaded. */
    "form losses rows { arg y f32[70] out arg g f32[350000] inout arg t i32[70] in\n"
    "row i 70 col j 5000\n"
    "%0 = load g[i*5000 + j]\n"
    "%1 = logsumexp_cols %0\n"
    "%2 = sub %0, %1\n"
    "%3 = exp %2\n"
    "%4 = index[j]\n"
    "%5 = load t[i]\n"
    "%6 = equal %4, %5\n"
    "%7 = sub %3, %6\n"
    "store g[i*5000 + j] = %7\n"
    "%8 = select %6, %2, %6\n"
    "%9 = sum_cols %8\n"
    "store y[i] = %9\n"
    "}\n",
    /* Few long rows, of which several blocks have parts, and what is written once a row is read before. */
    "form long_rows rows { arg y f32[80000] out arg n f32[2] inout arg x f32[80000] in\n"
    "row i 2 col j 40000\n"
    "%0 = load x[i*40000 + j]\n"
    "%1 = load n[i]\n"
    "%2 = mul %0, %1\n"
    "%3 = logsumexp_cols %2\n"
    "%4 = sub %0, %3\n"
    "store y[i*40000 + j] = %4\n"
    "store n[i] = %3\n"
    "}\n",
    /* Sums over rows of columns that no registers hold. */
    "form wide rows { arg s f32[70000] out arg m f32[5] out arg x f32[350000] in\n"
    "row i 5 col j 70000\n"
    "%0 = load x[i*70000 + j]\n"
    "%1 = sum_rows %0\n"
    "%2 = max_cols %0\n"
    "store s[j] = %1\n"
    "store m[i] = %2\n"
    "}\n",
    /* Rows side by side where the columns of an array leap. */
    "form across rows { arg y f32[510] out arg x f32[35700] in\n"
    "row b 3 row d 170 col t 35 col u 2\n"
    "%0 = load x[b*11900 + d + t*170 + u*5950]\n"
    "%1 = sum_cols %0\n"
    "store y[b*170 + d] = %1\n"
    "}\n",
};

/* Random forms of each kind. */
static const struct {
    const char *word;
    RandomForm (*make)(Arena *arena, const char *name, uint64_t seed);
    int n;
    CudaTier tier;
} kinds[] = {
    {"rows", random_form_rows, 90, CUDA_SM_80},
    {"scatter", random_form_scatter, 20, CUDA_SM_80},
    {"pieces", random_form_pieces, 16, CUDA_SM_80},
    {"product", random_form_product, 40, CUDA_SM_80},
    {"attention", random_form_attention, 20, CUDA_SM_80},
    {"route", random_form_route, 40, CUDA_SM_80},
    {"slots", random_form_attention_slots, 16, CUDA_SM_80},
    {"tiles", random_form_tiles, 18, CUDA_SM_80},
    {"tiles of sm_90a", random_form_tiles, 36, CUDA_SM_90A},
};

enum {
    N_RANDOM = 90 + 20 + 16 + 40 + 20 + 40 + 16 + 18 + 36,
    N_GIVEN = sizeof given / sizeof given[0],
    N_FORMS = N_RANDOM + N_GIVEN
};
enum { MOST_ELEMENTS = 400000, MAX_BUFFERS = 400 };

typedef struct {
    RandomForm random;
    const bool *is_unaligned; /* arguments */
    CudaTier tier;
    const FormCuda *cuda; /* NULL: it is left out */
    bool is_positive;     /* values are, since some results would be NaN */
    int first_kernel;     /* of the shared object; on a device the number of its source */
} Case;

typedef struct {
    Arena *arena;
    Case cases[N_FORMS];
    int n_cases;
    SimtObject object;
    bool is_on_device;
    DeviceKernels device;
    CudaKernelSource sources[N_FORMS];
    size_t n_sources;
    int step;
} Fixture;

static Fixture fixture;

/* ---- The cases -------------------------------------------------------------------------------------------------- */

static RandomForm read_given(int index) {
    const char *error = NULL;
    Form *form = form_read(fixture.arena, given[index], strlen(given[index]), &error);
    assert(form);
    return (RandomForm){
        .form = form, .args = arena_array_of(fixture.arena, RandomFormArg, form->n_args), .tolerance = 1e-5};
}

static int64_t count_elements(const Form *form) {
    int64_t n = form_n_rows(&form->body) * form_n_cols(&form->body);
    for (size_t i = 0; i < form->n_args; i++)
        n = form->args[i].n_elements > n ? form->args[i].n_elements : n;
    return n;
}

/* Every other argument of every fourth form, one after the other. */
static const bool *draw_unaligned(const Form *form, CudaTier tier, int number) {
    bool *is_unaligned = arena_array_of(fixture.arena, bool, form->n_args + 1);
    for (size_t i = 0; i < form->n_args && number % 4 == 0 && tier == CUDA_SM_80; i++)
        is_unaligned[i] = ((size_t)number / 4 + i) % 2 == 0;
    return is_unaligned;
}

/* NULL, or why there is no such case. `is_kept`: whatever the step. */
static const char *add_case(RandomForm random, CudaTier tier, bool is_kept) {
    const char *error = "there are too many forms";
    int number = fixture.n_cases++;
    if (number == N_FORMS)
        return error;
    Case *added = &fixture.cases[number];
    *added = (Case){.random = random, .tier = tier, .is_unaligned = draw_unaligned(random.form, tier, number)};
    CudaProductChoice choices[CUDA_MOST_CHOICES];
    FormCudaOptions options = {.heading = "a random form", .is_unaligned = added->is_unaligned};
    int n_choices = cuda_product_choices(random.form, tier, &options, choices);
    options.choice = n_choices > 0 ? &choices[number % n_choices] : NULL;
    if (!form_cuda_has_tier(random.form, tier, &options))
        return NULL;
    if (count_elements(random.form) > MOST_ELEMENTS || (number % fixture.step != 0 && !is_kept))
        return NULL;
    added->cuda = form_cuda(fixture.arena, random.form, tier, &options, &error);
    return added->cuda ? NULL : error;
}

static const char *add_random_cases(void) {
    const char *error = NULL;
    for (size_t kind = 0; kind < sizeof kinds / sizeof *kinds; kind++) {
        for (int i = 0; i < kinds[kind].n && !error; i++) {
            const char *name = arena_printf(fixture.arena, "form_%d", fixture.n_cases);
            error = add_case(kinds[kind].make(fixture.arena, name, (uint64_t)fixture.n_cases), kinds[kind].tier, false);
        }
    }
    assert(error || fixture.n_cases == N_RANDOM);
    for (int i = 0; i < (int)N_GIVEN && !error; i++)
        error = add_case(read_given(i), CUDA_SM_80, false);
    return error;
}

/* The tiers' kernels are in one text, under names of their own. */
static const char *add_tiers(const Form *form) {
    bool is_attention = form->kind == FORM_KIND_ATTENTION || form->kind == FORM_KIND_ATTENTION_GRAD;
    RandomForm random = random_form_of(fixture.arena, form);
    const char *error = add_case(random, CUDA_SM_80, is_attention);
    if (error || !form_cuda_has_tier(form, CUDA_SM_90A, NULL))
        return error;
    random = random_form_of(fixture.arena, form);
    random.form->name = arena_printf(fixture.arena, "%s_sm_90a", form->name);
    return add_case(random, CUDA_SM_90A, is_attention);
}

static const char *add_module_cases(const char *path) {
    Module *module = module_read_file(fixture.arena, path);
    Kernels *kernels = module ? module_kernels(fixture.arena, module) : NULL;
    const char *error = kernels ? NULL : path;
    for (size_t i = 0; kernels && i < kernels_count(kernels) && !error; i++) {
        const Kernel *kernel = kernels_get(kernels, i);
        if (kernel->form)
            error = add_tiers(kernel->form);
    }
    return error;
}

/* ---- As a shared object, or on a device -------------------------------------------------------------------------- */

static void add_kernels(Case *of, SimtText *text) {
    fprintf(text->out, "\n%s", of->cuda->text);
    for (int i = 0; i < of->cuda->n_launches; i++) {
        size_t n_parameters = form_cuda_n_parameters(of->random.form, of->cuda);
        int number = simt_text_add_kernel(text, of->cuda->launches[i].kernel, n_parameters);
        of->first_kernel = i == 0 ? number : of->first_kernel;
    }
}

static void compile_for_simulator(void) {
    SimtText text;
    const char *error = simt_text_open(&text);
    for (int i = 0; i < fixture.n_cases && !error; i++) {
        if (fixture.cases[i].cuda)
            add_kernels(&fixture.cases[i], &text);
    }
    if (!error)
        error = simt_text_close(&text, &fixture.object);
    if (error)
        fail_msg("%s", error);
}

static void compile_for_device(void) {
    Status status = STATUS_INIT;
    bool is_open = device_kernels_open(&fixture.device, NULL, &status);
    for (int i = 0; i < fixture.n_cases && is_open; i++) {
        Case *of = &fixture.cases[i];
        if (of->tier == CUDA_SM_90A && (fixture.device.device.major != 9 || fixture.device.device.minor != 0))
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
    const char *on = getenv("MOEC_FORMS_ON");
    fixture.is_on_device = on && strcmp(on, "device") == 0;
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
    if (status.failed)
        fail_msg("%s", status.message);
    return 0;
}

/* ---- Running ---------------------------------------------------------------------------------------------------- */

/* A kernel's arguments, and all memory that they lead to. */
typedef struct {
    void *args[MAX_BUFFERS];
    SimtBuffer buffers[MAX_BUFFERS];
    void *blocks[MAX_BUFFERS]; /* what they are parts of */
    size_t n_args, n_buffers;
} Memory;

/* `shift`: bytes behind a multiple of 16. */
static void *add_buffer(Memory *memory, const char *name, size_t n_bytes, bool is_read_only, size_t shift) {
    assert_true(memory->n_buffers < MAX_BUFFERS);
    char *block = malloc(shift + n_bytes), *data = block + shift;
    assert_non_null(block);
    memset(data, 0xff, n_bytes); /* NaN */
    memory->blocks[memory->n_buffers] = block;
    memory->buffers[memory->n_buffers++] =
        (SimtBuffer){.name = name, .data = data, .n_bytes = n_bytes, .is_read_only = is_read_only};
    return data;
}

/* n elements of the argument. Of what is only written, what was there must not matter, unless some of it is kept. */
static void *add_elements(Memory *memory, const FormArg *arg, const double *values, int64_t n, bool is_kept,
                          bool is_unaligned) {
    size_t size = dtype_size(arg->dtype);
    void *data = add_buffer(memory, arg->name, (size_t)n * size, arg->access == FORM_IN, is_unaligned ? size : 0);
    for (int64_t i = 0; i < n && (is_kept || arg->access != FORM_OUT); i++)
        random_form_write(arg, data, i, values[i]);
    return data;
}

/* As the simulator reads them. */
static void add_maps(Memory *memory, const Form *form, const FormCuda *cuda) {
    assert_true(memory->n_buffers < MAX_BUFFERS);
    size_t n_bytes = cuda->n_maps * SIMT_MAP_BYTES;
    char *maps = aligned_alloc(SIMT_MAP_BYTES, n_bytes);
    assert_non_null(maps);
    for (size_t i = 0; i < cuda->n_maps; i++) {
        const FormCudaMap *map = &cuda->maps[i];
        bool is_scratch = map->arg == form->n_args; /* which holds factors of bf16 */
        DType dtype = is_scratch ? DTYPE_BF16 : form->args[map->arg].dtype;
        uint64_t extents[CUDA_MAP_RANK], strides[CUDA_MAP_RANK];
        uint32_t box[CUDA_MAP_RANK], every[CUDA_MAP_RANK];
        for (int j = 0; j < map->rank; j++) {
            extents[j] = (uint64_t)map->extents[j];
            strides[j] = (uint64_t)map->strides[j] * dtype_size(dtype);
            box[j] = (uint32_t)map->box[j];
            every[j] = 1;
        }
        const SimtTensor tensor = {
            .type = dtype == DTYPE_BF16 ? CUDA_MAP_BF16 : CUDA_MAP_F32,
            .rank = (unsigned)map->rank,
            .address = (char *)memory->args[map->arg] + (size_t)map->offset * dtype_size(dtype),
            .extents = extents,
            .strides = strides + 1,
            .box = box,
            .element_strides = every,
            .swizzle = map->swizzle == 128 ? CUDA_MAP_SWIZZLED_128 : CUDA_MAP_NOT_SWIZZLED,
        };
        const char *wrong = simt_tensor_map_encode(maps + i * SIMT_MAP_BYTES, &tensor);
        if (wrong)
            fail_msg("map %zu of %s: %s", i, form->name, wrong);
    }
    memory->blocks[memory->n_buffers] = maps;
    memory->buffers[memory->n_buffers++] =
        (SimtBuffer){.name = DEVICE_MAPS, .data = maps, .n_bytes = n_bytes, .is_read_only = true};
    memory->args[memory->n_args++] = maps;
}

/* What is behind the last group is nobody's: NaN there must not show. */
static void poison_rest(const Form *form, const Memory *memory, const FormOperand *operand, bool is_lhs, int64_t k) {
    size_t size = dtype_size(form->args[operand->arg].dtype);
    int64_t side = is_lhs ? form_operand_side(form, true) : form_n_cols(&form->body);
    int64_t end = ((const int32_t *)memory->args[form->offsets])[form->n_groups];
    bool is_k = form->ragged == FORM_RAGGED_K;
    for (int64_t i = is_k ? 0 : end; i < side; i++) {
        for (int64_t j = is_k ? end : 0; j < k; j++)
            memset((char *)memory->args[operand->arg] +
                       size * (size_t)(operand->offset + i * operand->stride + j * operand->k_stride),
                   0xff, size);
    }
}

static void poison(const Form *form, const Memory *memory) {
    for (int i = 0; i < form->n_products && form->ragged != FORM_DENSE; i++) {
        const FormProduct *product = &form->products[i];
        const FormOperand *lhs = &form->operands[product->lhs], *rhs = &form->operands[product->rhs];
        if (!lhs->part && lhs->gather == FORM_NONE)
            poison_rest(form, memory, lhs, true, product->k);
        if (!rhs->part && rhs->gather == FORM_NONE && form->ragged == FORM_RAGGED_K)
            poison_rest(form, memory, rhs, false, product->k);
    }
}

static Memory *memory_new(const Case *of, double *const *values) {
    const Form *form = of->random.form;
    Memory *memory = calloc(1, sizeof *memory);
    bool keeps_rows = form->ragged == FORM_RAGGED_ROWS; /* those behind the last group's */
    assert_non_null(memory);
    for (size_t i = 0; i < form->n_args; i++) {
        const FormArg *arg = &form->args[i];
        if (!arg->is_in_pieces) {
            memory->args[memory->n_args++] =
                add_elements(memory, arg, values[i], arg->n_elements, keeps_rows, of->is_unaligned[i]);
            continue;
        }
        void **pieces = add_buffer(memory, DEVICE_TABLE, form->n_pieces * sizeof(void *), true, 0);
        int64_t first = 0;
        for (size_t j = 0; j < form->n_pieces; first += form->pieces[j++])
            pieces[j] = add_elements(memory, arg, values[i] + first, form->pieces[j], false, of->is_unaligned[i]);
        memory->args[memory->n_args++] = pieces;
    }
    poison(form, memory);
    if (of->cuda->scratch_bytes > 0)
        memory->args[memory->n_args++] = add_buffer(memory, "scratch", (size_t)of->cuda->scratch_bytes, false, 0);
    if (of->cuda->n_maps > 0)
        add_maps(memory, form, of->cuda);
    return memory;
}

static void memory_free(Memory *memory) {
    for (size_t i = 0; i < memory->n_buffers; i++)
        free(memory->blocks[i]);
    free(memory);
}

static void show(const Case *of) {
    form_print(stderr, of->random.form);
    fputs(of->cuda->text, stderr);
}

/* As if there were three multiprocessors. */
static int64_t count_blocks(const FormCudaLaunch *launch) {
    enum { MULTIPROCESSORS = 3 };
    int64_t n_resident = (int64_t)launch->n_resident * MULTIPROCESSORS;
    return n_resident > 0 && n_resident < launch->n_blocks ? n_resident : launch->n_blocks;
}

static const char *simulate(const Case *of, const Memory *memory, uint64_t seed) {
    const char *error = NULL;
    for (int i = 0; i < of->cuda->n_launches && !error; i++) {
        const FormCudaLaunch *launch = &of->cuda->launches[i];
        error = simt_launch(&(SimtLaunch){.name = launch->kernel,
                                          .kernel = fixture.object.kernels[of->first_kernel + i],
                                          .args = memory->args,
                                          .n_blocks = count_blocks(launch),
                                          .n_threads = launch->n_threads,
                                          .shared_bytes = (size_t)launch->shared_bytes,
                                          .module = fixture.object.module,
                                          .buffers = memory->buffers,
                                          .n_buffers = memory->n_buffers,
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
    else if (!device_kernels_run(&fixture.device, (size_t)of->first_kernel, memory->args, memory->buffers,
                                 memory->n_buffers, &status))
        error = status.message;
    if (!error)
        return;
    show(of);
    fail_msg("%s", error);
}

static void compare(const Case *of, const FormArg *arg, const void *actual, const double *expected, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        double a = random_form_read(arg, actual, i);
        if (fabs(a - expected[i]) <= random_form_margin(&of->random, arg, expected[i]))
            continue;
        show(of);
        fail_msg("%s, element %lld: %.9g, expected %.9g", arg->name, (long long)i, a, expected[i]);
    }
}

static void compare_all(const Case *of, const Memory *memory, double *const *expected) {
    const Form *form = of->random.form;
    for (size_t i = 0; i < form->n_args; i++) {
        const FormArg *arg = &form->args[i];
        int64_t first = 0;
        if (arg->access == FORM_IN)
            continue;
        if (!arg->is_in_pieces)
            compare(of, arg, memory->args[i], expected[i], arg->n_elements);
        for (size_t j = 0; j < form->n_pieces && arg->is_in_pieces; first += form->pieces[j++])
            compare(of, arg, ((void *const *)memory->args[i])[j], expected[i] + first, form->pieces[j]);
    }
}

/* In another order all bits must stay. */
static void run_again(const Case *of, double *const *values, const Memory *before, uint64_t seed) {
    Memory *memory = memory_new(of, values);
    run(of, memory, seed);
    for (size_t i = 0; i < memory->n_buffers; i++) {
        const SimtBuffer *buffer = &memory->buffers[i];
        if (strcmp(buffer->name, DEVICE_TABLE) == 0 || strcmp(buffer->name, DEVICE_MAPS) == 0 ||
            memcmp(buffer->data, before->buffers[i].data, buffer->n_bytes) == 0)
            continue;
        show(of);
        fail_msg("%s changes with the order of threads", buffer->name);
    }
    memory_free(memory);
}

static bool are_finite(const Form *form, double *const *values) {
    for (size_t i = 0; i < form->n_args; i++) {
        for (int64_t j = 0; j < form->args[i].n_elements; j++) {
            if (!isfinite(values[i][j]))
                return false;
        }
    }
    return true;
}

static double **draw(const Case *of) {
    const Form *form = of->random.form;
    double **values = random_form_values(fixture.arena, &of->random, 100);
    for (size_t i = 0; i < form->n_args && of->is_positive; i++) {
        for (int64_t j = 0; j < form->args[i].n_elements; j++)
            values[i][j] = fabs(values[i][j]);
    }
    return values;
}

/* What the form makes of the values that draw gives; NULL where they are none for it, as may be of a module's, whose
   positions mean something. */
static double **interpret(Case *of) {
    const Form *form = of->random.form;
    double **values = draw(of);
    const char *error = form_interpret(fixture.arena, form, values);
    if (error) {
        print_message("%s: left out: %s\n", form->name, error);
        return NULL;
    }
    if (are_finite(form, values) || of->is_positive)
        return values;
    of->is_positive = true;
    return interpret(of);
}

static void form_test(void **state) {
    Case *of = *state;
    double **expected = of->cuda ? interpret(of) : NULL;
    if (!expected)
        skip();
    Memory *memory = memory_new(of, draw(of));
    run(of, memory, 1);
    compare_all(of, memory, expected);
    if (count_elements(of->random.form) < MOST_ELEMENTS / 10)
        run_again(of, draw(of), memory, 2);
    memory_free(memory);
}

static const char *word_of(int form) {
    size_t kind = 0;
    for (; kind < sizeof kinds / sizeof *kinds && form >= kinds[kind].n; kind++)
        form -= kinds[kind].n;
    return kind < sizeof kinds / sizeof *kinds ? kinds[kind].word : "given";
}

/* One test a form, named after it. */
int main(void) {
    static struct CMUnitTest tests[N_FORMS];
    static char names[N_FORMS][64];
    const char *step = getenv("MOEC_FORMS_STEP"), *module = getenv("MOEC_FORMS_MODULE");
    fixture.arena = arena_new();
    fixture.step = step && atoi(step) > 0 ? atoi(step) : 1;
    const char *error = module ? add_module_cases(module) : add_random_cases();
    if (error) {
        fprintf(stderr, "form_cuda_test: %s\n", error);
        return 1;
    }
    for (int i = 0; i < fixture.n_cases; i++) {
        snprintf(names[i], sizeof names[i], "%s %d%s", module ? fixture.cases[i].random.form->name : word_of(i), i,
                 fixture.cases[i].tier == CUDA_SM_90A ? " on sm_90a" : "");
        tests[i] = (struct CMUnitTest){.name = names[i], .test_func = form_test, .initial_state = &fixture.cases[i]};
    }
    int n_failed = _cmocka_run_group_tests("form_cuda", tests, (size_t)fixture.n_cases, set_up, tear_down);
    arena_free(fixture.arena);
    return n_failed;
}
