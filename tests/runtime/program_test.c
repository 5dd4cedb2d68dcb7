// RUN: %unit
/* Running a program, and what --check memory makes of a plan in which a value ends too early. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "runtime/program.h"

enum { N = 4, BYTES = N * sizeof(float) };

static void add_one(void *const *args) {
    float *y = args[0];
    const float *x = args[1];
    for (int i = 0; i < N; i++)
        y[i] = x[i] + 1.0f;
}

/* x at 0, its successor at 64, that one's at 128. */
static const MoecAddress args[] = {
    {MOEC_SPACE_ARENA, 64}, {MOEC_SPACE_ARENA, 0}, {MOEC_SPACE_ARENA, 128}, {MOEC_SPACE_ARENA, 64}};
static const MoecTensor input = {"x", MOEC_DTYPE_F32, 1, {N}, {MOEC_SPACE_ARENA, 0}};
static const MoecTensor output = {"z", MOEC_DTYPE_F32, 1, {N}, {MOEC_SPACE_ARENA, 128}};
static const MoecKernel kernel = {add_one, "add_one", N, 2 * BYTES};
static const MoecRange ends[] = {{0, BYTES}, {64, BYTES}};
static const MoecLaunch right[] = {{0, 0, 2, "%1", "", 0, 1}, {0, 2, 2, "%2", "", 1, 1}};
static const MoecLaunch wrong[] = {{0, 0, 2, "%1", "", 0, 2}, {0, 2, 2, "%2", "", 2, 0}};

/* Element 0 of x, its successor y, and z after a run. */
static void run(const MoecLaunch *launches, bool fills_ends, float *x, float *y, float *z) {
    MoecProgram code = {.name = "main",
                        .launches = launches,
                        .n_launches = 2,
                        .args = args,
                        .n_args = 4,
                        .ends = ends,
                        .n_ends = 2,
                        .inputs = &input,
                        .n_inputs = 1,
                        .outputs = &output,
                        .n_outputs = 1,
                        .arena_bytes = 192};
    MoecPlan plan = {.model = "test", .kernels = &kernel, .n_kernels = 1, .programs = &code, .n_programs = 1};
    uint64_t n_bytes[MOEC_SPACE_COUNT] = {[MOEC_SPACE_ARENA] = 192};
    Memory memory;
    Program program;
    Status status = {0};
    assert_true(memory_open(&memory, n_bytes, NULL, &status));
    memory.fills_ends = fills_ends;
    assert_true(program_open(&program, &plan, "main", &memory, &status));
    float *in = program_input(&program, "x");
    for (int i = 0; i < N; i++)
        in[i] = 1.0f;
    assert_true(program_run(&program, &status));
    *x = in[0];
    *y = ((float *)memory_at(&memory, (MoecAddress){MOEC_SPACE_ARENA, 64}))[0];
    *z = program_output(&program, "z")[0];
    program_close(&program);
    memory_close(&memory);
}

static void values_are_nan_after_their_last_use(void **state) {
    (void)state;
    float x, y, z;
    run(right, false, &x, &y, &z);
    assert_true(x == 1.0f && y == 2.0f && z == 3.0f);
    run(right, true, &x, &y, &z);
    assert_true(isnan(x) && isnan(y) && z == 3.0f);
}

static void a_value_that_ends_too_early_shows(void **state) {
    (void)state;
    float x, y, z;
    run(wrong, false, &x, &y, &z);
    assert_true(z == 3.0f);
    run(wrong, true, &x, &y, &z);
    assert_true(isnan(z));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_nan_after_their_last_use),
        cmocka_unit_test(a_value_that_ends_too_early_shows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
