// RUN: env MOEC_ROOT=%root %unit %s
/* Random forms, and a few given ones, as C against the interpreter, and with other numbers of threads against
   themselves. All of them become one shared object. */
#include <dlfcn.h>
#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "codegen/codegen.h"
#include "codegen/form_c.h"
#include "codegen/kernels.h"
#include "runtime/plan.h"
#include "tests/support/random_form.h"

/* What random forms rarely are. */
static const char *const given[] = {
    /* Written once a row, where column indices cannot be joined. */
    "form add_once rows { arg x f32[28] in arg y f32[35] in arg full f32[420] out arg once f32[35] inout\n"
    "row i 7 row j 5 col k 4 col l 3\n"
    "%0 = load x[i*4 + k]\n"
    "%1 = load y[i*5 + j]\n"
    "store full[i*60 + j*12 + k*3 + l] = %0\n"
    "add once[i*5 + j] += %1\n"
    "}\n",
    /* Of two products that are added, the compiler fuses one with the addition, not everywhere the same. */
    "form flat rows { arg x f32[53560] in arg y f32[53560] in arg sum f32[53560] inout arg other f32[53560] inout\n"
    "row i 52 col j 1030\n"
    "%0 = load x[i*1030 + j]\n"
    "%1 = load y[i*1030 + j]\n"
    "%2 = tanh %1\n"
    "%3 = exp %2\n"
    "%4 = gelu_grad %1, %1\n"
    "%5 = tanh %4\n"
    "%6 = const 0.5\n"
    "%7 = add %1, %3\n"
    "%8 = mul %7, %6\n"
    "%9 = mul %8, %5\n"
    "%10 = silu %0\n"
    "%11 = add %10, %9\n"
    "%12 = mul %11, %6\n"
    "add sum[i*1030 + j] += %12\n"
    "add other[i*1030 + j] += %10\n"
    "}\n",
    /* The same where rows have one column and are computed side by side. */
    "form one_col rows { arg x f32[1] in arg sum f32[3721] inout\n"
    "row i 3721\n"
    "%0 = load x[0]\n"
    "%1 = tanh %0\n"
    "%2 = exp %1\n"
    "%3 = sum_cols %2\n"
    "%4 = mul %3, %0\n"
    "add sum[i] += %4\n"
    "}\n",
    /* What a later loop reads is not written before. */
    "form updates rows { arg w f32[2100] inout arg m f32[2100] inout\n"
    "row r 2 col c 1050\n"
    "%0 = load w[r*1050 + c]\n"
    "%1 = load m[r*1050 + c]\n"
    "%2 = sum_cols %0\n"
    "store m[r*1050 + c] = %0\n"
    "%3 = mul %1, %2\n"
    "%4 = tanh %3\n"
    "add w[r*1050 + c] += %4\n"
    "}\n",
    /* Rows side by side where the columns of an array leap. */
    "form across rows { arg y f32[510] out arg z f32[510] out arg x f32[35700] in arg s f32[3] in\n"
    "row b 3 row d 170 col t 35 col u 2\n"
    "%0 = load x[b*11900 + d + t*170 + u*5950]\n"
    "%1 = load s[b]\n"
    "%2 = mul %0, %1\n"
    "%3 = sum_cols %2\n"
    "%4 = tanh %1\n"
    "%5 = add %3, %4\n"
    "store y[b*170 + d] = %5\n"
    "store z[b*170 + d] = %4\n"
    "}\n",
    /* Truths as numbers, two of which are divided, and choices by what is no truth. */
    "form choices rows { arg x f32[1300] in arg t i32[20] in arg y f32[1300] out arg n f32[20] out\n"
    "row i 20 col j 65\n"
    "%0 = load x[i*65 + j]\n"
    "%1 = index[j]\n"
    "%2 = load t[i]\n"
    "%3 = equal %1, %2\n"
    "%4 = less %1, %2\n"
    "%5 = const 2.0\n"
    "%6 = const 9.0\n"
    "%7 = less %5, %6\n"
    "%8 = div %4, %7\n"
    "%9 = neg %3\n"
    "%10 = select %9, %8, %0\n"
    "%11 = select %1, %10, %7\n"
    "%12 = sum_cols %4\n"
    "%13 = max_cols %3\n"
    "%14 = add %12, %13\n"
    "store y[i*65 + j] = %11\n"
    "store n[i] = %14\n"
    "}\n",
};

/* Random forms of each kind. */
static const struct {
    const char *word;
    RandomForm (*make)(Arena *arena, const char *name, uint64_t seed);
    int n;
} kinds[] = {
    {"rows", random_form_rows, 70},
    {"scatter", random_form_scatter, 20},
    {"pieces", random_form_pieces, 20},
    {"product", random_form_product, 40},
    {"attention", random_form_attention, 24},
    {"route", random_form_route, 50},
    {"slots", random_form_attention_slots, 32},
};

enum {
    N_RANDOM = 70 + 20 + 20 + 40 + 24 + 50 + 32,
    N_GIVEN = sizeof given / sizeof given[0],
    N_FORMS = N_RANDOM + N_GIVEN
};

typedef struct {
    Arena *arena;
    RandomForm forms[N_FORMS];
    MoecKernelFunction *const *functions;
    void *shared_object;
} Fixture;

static Fixture fixture;

/* ---- The shared object ---------------------------------------------------------------------------------------- */

static void write_source(const char *path) {
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    kernels_print_prelude(out);
    for (int i = 0; i < N_FORMS; i++) {
        fputc('\n', out);
        form_print_c(out, fixture.arena, fixture.forms[i].form, "a random form");
    }
    fputs("\nMoecKernelFunction *const test_kernels[] = {\n", out);
    for (int i = 0; i < N_FORMS; i++)
        fprintf(out, "    %s,\n", fixture.forms[i].form->name);
    fputs("};\n", out);
    assert_int_equal(fclose(out), 0);
}

/* Under the sanitizers the kernels run under them too. */
#ifdef __SANITIZE_ADDRESS__
static const char sanitize_flags[] = "-O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined";
#else
static const char sanitize_flags[] = "";
#endif

static void compile(void) {
    char folder[] = "/tmp/moec-forms-XXXXXX";
    assert_non_null(mkdtemp(folder));
    const char *root = getenv("MOEC_ROOT"), *cc = getenv("CC");
    const char *source = arena_printf(fixture.arena, "%s/forms.c", folder);
    const char *object = arena_printf(fixture.arena, "%s/forms.so", folder);
    write_source(source);
    const char *command =
        arena_printf(fixture.arena, "%s %s %s -march=native -shared -fPIC -I%s -o %s %s", cc ? cc : "gcc",
                     CODEGEN_C_FLAGS, sanitize_flags, root ? root : ".", object, source);
    if (system(command) != 0)
        fail_msg("failed: %s", command);
    fixture.shared_object = dlopen(object, RTLD_NOW);
    if (!fixture.shared_object)
        fail_msg("%s", dlerror());
    fixture.functions = dlsym(fixture.shared_object, "test_kernels");
    assert_non_null(fixture.functions);
    unlink(source);
    unlink(object);
    rmdir(folder);
}

static RandomForm read_given(int index) {
    const char *error = NULL;
    Form *form = form_read(fixture.arena, given[index], strlen(given[index]), &error);
    if (!form)
        fail_msg("%s", error);
    return (RandomForm){
        .form = form, .args = arena_array_of(fixture.arena, RandomFormArg, form->n_args), .tolerance = 1e-5};
}

static int set_up(void **state) {
    (void)state;
    int n = 0;
    fixture.arena = arena_new();
    for (size_t kind = 0; kind < sizeof kinds / sizeof *kinds; kind++) {
        for (int i = 0; i < kinds[kind].n; i++, n++) {
            const char *name = arena_printf(fixture.arena, "form_%d", n);
            fixture.forms[n] = kinds[kind].make(fixture.arena, name, (uint64_t)n);
        }
    }
    assert_int_equal(n, N_RANDOM);
    for (int i = 0; i < (int)N_GIVEN; i++)
        fixture.forms[N_RANDOM + i] = read_given(i);
    compile();
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    dlclose(fixture.shared_object);
    arena_free(fixture.arena);
    return 0;
}

/* ---- Running -------------------------------------------------------------------------------------------------- */

/* What one entry of a kernel's argument list holds: n elements of argument `arg` from `first` on. */
typedef struct {
    size_t arg;
    int64_t first, n;
} Entry;

static Entry entry_of(const Form *form, size_t number) {
    Entry entry = {.arg = 0};
    while (form_arg_entry(form, entry.arg + 1) <= number)
        entry.arg++;
    const FormArg *arg = &form->args[entry.arg];
    entry.n = arg->n_elements;
    if (!arg->is_in_pieces)
        return entry;
    size_t piece = number - form_arg_entry(form, entry.arg);
    entry.n = form->pieces[piece];
    for (size_t i = 0; i < piece; i++)
        entry.first += form->pieces[i];
    return entry;
}

static size_t entry_bytes(const Form *form, Entry entry) {
    return (size_t)entry.n * dtype_size(form->args[entry.arg].dtype);
}

static size_t count_entries(const Form *form) {
    return form_arg_entry(form, form->n_args);
}

/* Arguments as kernels see them, behind them no packed copies; each exactly as large, so that the sanitizers see what
 * lies beyond. */
static void **storage_of(Arena *arena, const Form *form, double *const *values) {
    void **storage = arena_array_of(arena, void *, count_entries(form) + FORM_MAX_OPERANDS);
    for (size_t i = 0; i < count_entries(form); i++) {
        Entry entry = entry_of(form, i);
        storage[i] = malloc(entry_bytes(form, entry));
        assert_non_null(storage[i]);
        for (int64_t j = 0; j < entry.n; j++)
            random_form_write(&form->args[entry.arg], storage[i], j, values[entry.arg][entry.first + j]);
    }
    return storage;
}

static void free_storage(const Form *form, void **storage) {
    for (size_t i = 0; i < count_entries(form); i++)
        free(storage[i]);
}

static void compare(const RandomForm *random, Entry entry, const void *actual, const double *expected) {
    const FormArg *arg = &random->form->args[entry.arg];
    for (int64_t j = 0; j < entry.n && arg->access != FORM_IN; j++) {
        double a = random_form_read(arg, actual, j), e = expected[entry.first + j];
        if (fabs(a - e) <= random_form_margin(random, arg, e))
            continue;
        form_print(stderr, random->form);
        form_print_c(stderr, fixture.arena, random->form, NULL);
        fail_msg("%s, element %lld: %.9g, expected %.9g", arg->name, (long long)(entry.first + j), a, e);
    }
}

/* With that many threads all bits must stay. */
static void run_again(const RandomForm *random, int index, double *const *values, void *const *before, int n_threads) {
    const Form *form = random->form;
    void **storage = storage_of(fixture.arena, form, values);
    int n_before = omp_get_max_threads();
    omp_set_num_threads(n_threads);
    fixture.functions[index](storage);
    omp_set_num_threads(n_before);
    for (size_t i = 0; i < count_entries(form); i++) {
        Entry entry = entry_of(form, i);
        if (memcmp(storage[i], before[i], entry_bytes(form, entry)) != 0)
            fail_msg("%s changes with %d threads", form->args[entry.arg].name, n_threads);
    }
    free_storage(form, storage);
}

static void form_test(void **state) {
    const RandomForm *random = *state;
    int index = (int)(random - fixture.forms);
    const Form *form = random->form;
    for (uint64_t seed = 0; seed < 2; seed++) {
        double **values = random_form_values(fixture.arena, random, seed + 100);
        double **again = random_form_values(fixture.arena, random, seed + 100);
        void **storage = storage_of(fixture.arena, form, values);
        const char *error = form_interpret(fixture.arena, form, values);
        if (error)
            fail_msg("%s", error);
        fixture.functions[index](storage);
        for (size_t i = 0; i < count_entries(form); i++) {
            Entry entry = entry_of(form, i);
            compare(random, entry, storage[i], values[entry.arg]);
        }
        if (seed == 0) {
            run_again(random, index, again, storage, 1);
            run_again(random, index, again, storage, 3);
        }
        free_storage(form, storage);
    }
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
    static char names[N_FORMS][32];
    for (int i = 0; i < N_FORMS; i++) {
        snprintf(names[i], sizeof names[i], "%s %d", word_of(i), i);
        tests[i] = (struct CMUnitTest){.name = names[i], .test_func = form_test, .initial_state = &fixture.forms[i]};
    }
    return _cmocka_run_group_tests("form_c", tests, N_FORMS, set_up, tear_down);
}
