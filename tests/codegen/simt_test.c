// RUN: env MOEC_ROOT=%root %unit %s
/* Faults planted in kernels: the simulator of tests/simt finds each of them, and nothing in the kernel that has none.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/simt/simt_load.h"

enum { N_THREADS = 96, N_BLOCKS = 3, N = N_THREADS * N_BLOCKS };

/* All take (float *y, const float *x), of N elements each. */
typedef struct {
    const char *name, *body;
    const char *found; /* what is said of it; NULL: nothing */
} Planted;

static const Planted planted[] = {
    {"sums",
     "MOEC_SHARED float sums[3];\n"
     "int thread = threadIdx.x, i = blockIdx.x * 96 + thread;\n"
     "float sum = moec_lanes_sum(x[i], 32);\n"
     "if (thread % 32 == 0)\n"
     "    sums[thread / 32] = sum;\n"
     "__syncthreads();\n"
     "y[i] = moec_warps_sum(sums, 3);\n",
     NULL},
    {"no_barrier",
     "MOEC_SHARED float sums[3];\n"
     "int thread = threadIdx.x, i = blockIdx.x * 96 + thread;\n"
     "float sum = moec_lanes_sum(x[i], 32);\n"
     "if (thread % 32 == 0)\n"
     "    sums[thread / 32] = sum;\n"
     "y[i] = moec_warps_sum(sums, 3);\n",
     "of shared memory, which"},
    /* The sums of the second time take the place of the first ones, which some have not read. */
    {"no_second_barrier",
     "MOEC_SHARED float sums[3];\n"
     "int thread = threadIdx.x, i = blockIdx.x * 96 + thread;\n"
     "for (int time = 0; time < 2; time++) {\n"
     "    if (thread % 32 == 0)\n"
     "        sums[thread / 32] = x[i];\n"
     "    __syncthreads();\n"
     "    y[i] = moec_warps_sum(sums, 3);\n"
     "}\n",
     "no barrier stands between"},
    /* A barrier of the warp is none for what other warps do. */
    {"only_a_warp_barrier",
     "MOEC_SHARED float of_last[96];\n"
     "int thread = threadIdx.x, i = blockIdx.x * 96 + thread;\n"
     "of_last[thread] = x[i];\n"
     "__syncwarp();\n"
     "y[i] = of_last[95 - thread];\n",
     "no barrier stands between"},
    {"warp_barrier",
     "MOEC_SHARED float of_warp[96];\n"
     "int thread = threadIdx.x, i = blockIdx.x * 96 + thread;\n"
     "of_warp[thread] = x[i];\n"
     "__syncwarp();\n"
     "y[i] = of_warp[thread ^ 1];\n",
     NULL},
    {"divergent_shuffle",
     "int thread = threadIdx.x, i = blockIdx.x * 96 + thread;\n"
     "float value = x[i];\n"
     "if (thread % 32 < 16)\n"
     "    value = moec_lanes_sum(value, 16);\n"
     "y[i] = value;\n",
     "thread"},
    {"shuffle_out_of_mask",
     "int thread = threadIdx.x, i = blockIdx.x * 96 + thread;\n"
     "float value = x[i];\n"
     "if (thread % 32 < 16)\n"
     "    value += __shfl_xor_sync(0xffffu, value, 16);\n"
     "y[i] = value;\n",
     "shuffles with lane"},
    {"divergent_barriers",
     "int thread = threadIdx.x, i = blockIdx.x * 96 + thread;\n"
     "if (thread == 70)\n"
     "    __syncthreads();\n"
     "else\n"
     "    __syncthreads();\n"
     "y[i] = x[i];\n",
     "at the __syncthreads of line"},
    {"exit_before_barrier",
     "int thread = threadIdx.x, i = blockIdx.x * 96 + thread;\n"
     "if (i >= 280)\n"
     "    return;\n"
     "__syncthreads();\n"
     "y[i] = x[i];\n",
     "exit"},
    {"reads_beyond", "int i = blockIdx.x * 96 + threadIdx.x;\ny[i] = x[i + 1];\n",
     "reads 4 bytes at byte 1152 of x, which has 1152"},
    {"reads_before", "int i = blockIdx.x * 96 + threadIdx.x;\ny[i] = x[i - 1];\n", "reads 4 bytes at"},
    {"writes_what_is_read", "int i = blockIdx.x * 96 + threadIdx.x;\n((float *)x)[i] = 0.0f;\n", "which is only read"},
    {"misaligned",
     "int i = blockIdx.x * 96 + threadIdx.x;\n"
     "float four[4];\n"
     "moec_load4(four, &x[i < 284 ? i : 0]);\n"
     "y[i] = four[3];\n",
     "no multiple"},
    {"blocks_race", "y[threadIdx.x] = x[blockIdx.x * 96 + threadIdx.x];\n", "of another block"},
    /* A row's threads, one of which writes what all have read. */
    {"writes_early",
     "int i = blockIdx.x * 96 + threadIdx.x;\n"
     "float first = y[blockIdx.x];\n"
     "if (threadIdx.x == 0)\n"
     "    y[blockIdx.x] = first + x[i];\n",
     "no barrier stands between"},
};

enum { N_PLANTED = sizeof planted / sizeof planted[0] };

static SimtObject object;

static int set_up(void **state) {
    (void)state;
    SimtText text;
    const char *error = simt_text_open(&text);
    for (int i = 0; i < N_PLANTED && !error; i++) {
        fprintf(text.out, "\nMOEC_KERNEL(96) void %s(float *__restrict__ y, const float *__restrict__ x) {\n%s}\n",
                planted[i].name, planted[i].body);
        simt_text_add_kernel(&text, planted[i].name, 2);
    }
    if (!error)
        error = simt_text_close(&text, &object);
    if (error)
        fail_msg("%s", error);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    simt_unload(&object);
    return 0;
}

static const char *launch(int index, float *y, float *x, uint64_t seed) {
    const SimtBuffer buffers[] = {{.name = "y", .data = y, .n_bytes = N * sizeof(float)},
                                  {.name = "x", .data = x, .n_bytes = N * sizeof(float), .is_read_only = true}};
    return simt_launch(&(SimtLaunch){.name = planted[index].name,
                                     .kernel = object.kernels[index],
                                     .args = (void *const[]){y, x},
                                     .n_blocks = N_BLOCKS,
                                     .n_threads = N_THREADS,
                                     .module = object.module,
                                     .buffers = buffers,
                                     .n_buffers = 2,
                                     .seed = seed});
}

/* Whatever the order. */
static void planted_test(void **state) {
    int index = (int)((const Planted *)*state - planted);
    float *x = calloc(N, sizeof *x), *y = calloc(N, sizeof *y);
    for (int i = 0; i < N; i++)
        x[i] = (float)(i % 7);
    for (uint64_t seed = 0; seed < 5; seed++) {
        const char *error = launch(index, y, x, seed), *expected = planted[index].found;
        if (!expected && error)
            fail_msg("%s", error);
        if (expected && (!error || !strstr(error, expected)))
            fail_msg("found: %s; expected: ... %s ...", error ? error : "nothing", expected);
    }
    free(x);
    free(y);
}

static void results_test(void **state) {
    (void)state;
    float x[N], y[N], sum = 0;
    for (int i = 0; i < N; i++)
        x[i] = (float)(i % 7);
    for (int i = 0; i < N_THREADS; i++)
        sum += x[N_THREADS + i];
    assert_null(launch(0, y, x, 1));
    assert_true(y[N_THREADS] == sum && y[2 * N_THREADS - 1] == sum);
}

static void launch_bounds_test(void **state) {
    (void)state;
    assert_non_null(simt_launch(&(SimtLaunch){.name = "k", .n_blocks = 0, .n_threads = 32}));
    assert_non_null(simt_launch(&(SimtLaunch){.name = "k", .n_blocks = 1, .n_threads = 1025}));
}

int main(void) {
    struct CMUnitTest tests[N_PLANTED + 2];
    for (int i = 0; i < N_PLANTED; i++)
        tests[i] = (struct CMUnitTest){
            .name = planted[i].name, .test_func = planted_test, .initial_state = (void *)(uintptr_t)&planted[i]};
    tests[N_PLANTED] = (struct CMUnitTest)cmocka_unit_test(results_test);
    tests[N_PLANTED + 1] = (struct CMUnitTest)cmocka_unit_test(launch_bounds_test);
    return _cmocka_run_group_tests("simt", tests, N_PLANTED + 2, set_up, tear_down);
}
