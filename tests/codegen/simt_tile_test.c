// RUN: env MOEC_ROOT=%root %unit %s
/* A product of tiles with everything that sm_90a has (Inputs/tile_product.cu), and faults planted in it: the simulator
   of tests/simt finds each of them, whatever the order, and nothing in the kernel that has none. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/simt/simt_load.h"
#include "tests/simt/simt_tensor_map.h"

enum { ROWS = 200, COLUMNS = 136, DEPTH = 320, N_BLOCKS = 4, N_THREADS = 384, SHARED_BYTES = 98304 + 16384 };

/* A line of the text, what becomes of it, and what is said then. */
typedef struct {
    const char *name, *line, *instead, *found;
} Planted;

static const Planted planted[] = {
    {"none", "", "", NULL},
    {"no_syncthreads", "    __syncthreads();\n", "", "has begun the barrier, and no barrier stands between"},
    {"no_wait_for_tiles", "        moec_barrier_wait(&full[step % 3], step / 3 % 2);\n", "", "is still to bring"},
    {"no_wait_for_consumers", "            moec_barrier_wait(&empty[step % 3], 1 - step / 3 % 2);\n", "",
     "one more arrives"},
    {"wrong_parity_of_consumers", "moec_barrier_wait(&full[step % 3], step / 3 % 2)",
     "moec_barrier_wait(&full[step % 3], 1 - step / 3 % 2)", "is still to bring"},
    {"wrong_parity_of_producer", "moec_barrier_wait(&empty[step % 3], 1 - step / 3 % 2)",
     "moec_barrier_wait(&empty[step % 3], step / 3 % 2)", "nothing more comes"},
    {"wrong_swizzle", "(chunk ^ own_row % 8) * 16", "(chunk ^ own_row % 4) * 16", "the result is wrong"},
    {"wrong_stride_of_descriptor", "group * 8192 + k * 32, 0, 1024)", "group * 8192 + k * 32, 0, 2048)",
     "the result is wrong"},
    {"no_multiple_as_stride", "group * 8192 + k * 32, 0, 1024)", "group * 8192 + k * 32, 0, 512)",
     "are no multiples of 1024 bytes"},
    {"no_fence_async", "        moec_fence_async();\n", "", "no moec_fence_async stands between"},
    {"no_wait_for_products", "        MOEC_WGMMA_WAIT(0);\n", "", "whose group it has not waited for"},
    {"waits_for_too_few_products", "        MOEC_WGMMA_WAIT(0);\n        moec_wgmma_hold(sums, 64);\n",
     "        MOEC_WGMMA_WAIT(1);\n", "and nothing says that it is done"},
    {"no_commit_of_products", "        moec_wgmma_commit();\n", "", "whose group it has not waited for"},
    {"no_fence_of_products", "        moec_wgmma_fence();\n", "", "no moec_wgmma_fence"},
    {"expects_too_few_bytes", "moec_barrier_expect(&full[step % 3], 32768)",
     "moec_barrier_expect(&full[step % 3], 16384)", "byte"},
    {"expects_too_many_bytes", "moec_barrier_expect(&full[step % 3], 32768)",
     "moec_barrier_expect(&full[step % 3], 32784)", "misses 0 of 1 arrivals and 16 bytes"},
    {"no_named_barrier_before_store", "        moec_named_barrier(1 + group, 128);\n        if (thread % 128 == 0) {\n",
     "        if (thread % 128 == 0) {\n", "and no barrier stands between"},
    {"source_of_store_too_early",
     "        if (thread % 128 == 0)\n            MOEC_TMA_STORE_WAIT(0);\n        moec_named_barrier",
     "        moec_named_barrier", "moec_tma_store of line"},
    {"ends_before_stores", "    if (thread % 128 == 0)\n        MOEC_TMA_STORE_WAIT(0);\n}", "}",
     "ends before moec_tma_store"},
    {"too_few_arrivals_counted", "moec_barrier_init(&empty[i], 2)", "moec_barrier_init(&empty[i], 1)", "byte"},
    {"too_many_arrivals_counted", "moec_barrier_init(&empty[i], 2)", "moec_barrier_init(&empty[i], 3)",
     "nothing more comes"},
    {"no_fence_of_barriers", "        moec_barrier_init_fence();\n", "", "no moec_barrier_init_fence"},
    {"no_prefetch", "moec_tma_prefetch(&maps[i])", "moec_tma_prefetch(&maps[0])", "has called moec_tma_prefetch"},
    {"same_named_barrier", "moec_named_barrier(1 + group, 128)", "moec_named_barrier(1, 128)", "byte"},
    {"odd_registers", "MOEC_REGISTERS_INC(240)", "MOEC_REGISTERS_INC(236)", "is no multiple of 8"},
    {"too_many_registers", "MOEC_REGISTERS_INC(240)", "MOEC_REGISTERS_INC(256)", "registers, and a processor has"},
    {"half_a_warpgroup", "    MOEC_REGISTERS_INC(240);\n", "    if (thread % 128 >= 64)\n        return;\n",
     "which has exited"},
    {"tile_off_its_swizzle", "moec_tma_load_2d(tile, &", "moec_tma_load_2d(tile + 128, &", "is no multiple of 1024"},
    {"one_lane_waits", "        moec_barrier_wait(&full[step % 3], step / 3 % 2);\n",
     "        if (thread % 128 == 0)\n            moec_barrier_wait(&full[step % 3], step / 3 % 2);\n", "byte"},
};

enum { N_PLANTED = sizeof planted / sizeof planted[0] };

static SimtObject object;
static uint16_t *a, *b, *y;
static float *expected;

/* ---- The text ---------------------------------------------------------------------------------------------------- */

static char *read_text(void) {
    char path[512];
    const char *root = getenv("MOEC_ROOT");
    snprintf(path, sizeof path, "%s/tests/codegen/Inputs/tile_product.cu", root ? root : ".");
    FILE *file = fopen(path, "r");
    char *text = calloc(1, 1 << 16);
    if (!file || fread(text, 1, (1 << 16) - 1, file) == 0)
        fail_msg("%s cannot be read", path);
    fclose(file);
    return text;
}

/* With all of `what` replaced; the number of them. */
static int print_replaced(FILE *out, const char *text, const char *what, const char *instead) {
    int n = 0;
    for (const char *next; (next = strstr(text, what)); text = next + strlen(what), n++)
        fprintf(out, "%.*s%s", (int)(next - text), text, instead);
    fputs(text, out);
    return n;
}

static void print_planted(FILE *out, const char *text, const Planted *fault) {
    char *named = NULL, name[64];
    size_t n_bytes;
    FILE *stream = open_memstream(&named, &n_bytes);
    snprintf(name, sizeof name, "planted_%d", (int)(fault - planted));
    print_replaced(stream, text, "tile_product", name);
    fclose(stream);
    fputc('\n', out);
    if (fault->line[0] == '\0')
        fputs(named, out);
    else if (print_replaced(out, named, fault->line, fault->instead) == 0)
        fail_msg("%s: the text has no \"%s\"", fault->name, fault->line);
    free(named);
}

/* ---- Operands ---------------------------------------------------------------------------------------------------- */

static float from_bf16(uint16_t half) {
    union {
        uint32_t bits;
        float number;
    } word = {(uint32_t)half << 16};
    return word.number;
}

/* Multiples of an eighth below 1, which bf16 has. */
static uint16_t draw(uint32_t *state) {
    union {
        float number;
        uint32_t bits;
    } word;
    *state = *state * 1664525u + 1013904223u;
    word.number = (float)(*state >> 28) / 8.0f - 1.0f;
    return (uint16_t)(word.bits >> 16);
}

static void set_operands(void) {
    uint32_t state = 1;
    a = malloc(ROWS * DEPTH * sizeof *a);
    b = malloc(COLUMNS * DEPTH * sizeof *b);
    y = aligned_alloc(16, ROWS * COLUMNS * sizeof *y);
    expected = calloc(ROWS * COLUMNS, sizeof *expected);
    for (int i = 0; i < ROWS * DEPTH; i++)
        a[i] = draw(&state);
    for (int i = 0; i < COLUMNS * DEPTH; i++)
        b[i] = draw(&state);
    for (int i = 0; i < ROWS * COLUMNS * DEPTH; i++) {
        int row = i / DEPTH / COLUMNS, column = i / DEPTH % COLUMNS;
        expected[i / DEPTH] += from_bf16(a[row * DEPTH + i % DEPTH]) * from_bf16(b[column * DEPTH + i % DEPTH]);
    }
}

static void set_map(void *map, void *address, uint64_t n_rows, uint64_t n_columns, uint32_t box_rows) {
    const SimtTensor tensor = {.type = 9,
                               .rank = 2,
                               .address = address,
                               .extents = (const uint64_t[]){n_columns, n_rows},
                               .strides = (const uint64_t[]){n_columns * 2},
                               .box = (const uint32_t[]){64, box_rows},
                               .element_strides = (const uint32_t[]){1, 1},
                               .swizzle = 3,
                               .promotion = 2};
    const char *wrong = simt_tensor_map_encode(map, &tensor);
    if (wrong)
        fail_msg("%s", wrong);
}

/* ---- Tests ------------------------------------------------------------------------------------------------------- */

static int set_up(void **state) {
    (void)state;
    SimtText text;
    char *original = read_text();
    const char *error = simt_text_open(&text);
    for (int i = 0; i < N_PLANTED && !error; i++) {
        char name[64];
        snprintf(name, sizeof name, "planted_%d", i);
        print_planted(text.out, original, &planted[i]);
        simt_text_add_kernel(&text, name, 1);
    }
    free(original);
    if (!error)
        error = simt_text_close(&text, &object);
    if (error)
        fail_msg("%s", error);
    set_operands();
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    simt_unload(&object);
    free(a);
    free(b);
    free(y);
    free(expected);
    return 0;
}

/* NULL, or what is wrong. */
static const char *launch(int index, uint64_t seed, bool is_checked) {
    static char maps[3][SIMT_MAP_BYTES] __attribute__((aligned(128)));
    set_map(maps[0], a, ROWS, DEPTH, 128);
    set_map(maps[1], b, COLUMNS, DEPTH, 128);
    set_map(maps[2], y, ROWS, COLUMNS, 64);
    const SimtBuffer buffers[] = {
        {.name = "maps", .data = maps, .n_bytes = sizeof maps, .is_read_only = true},
        {.name = "a", .data = a, .n_bytes = ROWS * DEPTH * sizeof *a, .is_read_only = true},
        {.name = "b", .data = b, .n_bytes = COLUMNS * DEPTH * sizeof *b, .is_read_only = true},
        {.name = "y", .data = y, .n_bytes = ROWS * COLUMNS * sizeof *y}};
    memset(y, 0xff, ROWS * COLUMNS * sizeof *y);
    const char *error = simt_launch(&(SimtLaunch){.name = planted[index].name,
                                                  .kernel = object.kernels[index],
                                                  .args = (void *const[]){maps},
                                                  .n_blocks = N_BLOCKS,
                                                  .n_threads = N_THREADS,
                                                  .module = object.module,
                                                  .buffers = buffers,
                                                  .n_buffers = is_checked ? 4 : 0,
                                                  .seed = seed,
                                                  .shared_bytes = SHARED_BYTES});
    for (int i = 0; i < ROWS * COLUMNS && !error; i++) {
        float found = from_bf16(y[i]);
        if (!(fabsf(found - expected[i]) <= fabsf(expected[i]) / 256.0f))
            error = "the result is wrong";
    }
    return error;
}

static void planted_test(void **state) {
    const Planted *fault = *state;
    int index = (int)(fault - planted);
    for (uint64_t seed = 0; seed < (fault->found ? 3u : 8u); seed++) {
        const char *error = launch(index, seed, true);
        if (!fault->found && error)
            fail_msg("%s", error);
        if (fault->found && (!error || !strstr(error, fault->found)))
            fail_msg("found: %s; expected: ... %s ...", error ? error : "nothing", fault->found);
    }
}

/* What is read too early is NaN. */
static void unchecked_test(void **state) {
    (void)state;
    assert_null(launch(0, 1, false));
    assert_non_null(launch(2, 1, false));
    assert_non_null(launch(10, 1, false));
}

int main(void) {
    struct CMUnitTest tests[N_PLANTED + 1];
    for (int i = 0; i < N_PLANTED; i++)
        tests[i] = (struct CMUnitTest){
            .name = planted[i].name, .test_func = planted_test, .initial_state = (void *)(uintptr_t)&planted[i]};
    tests[N_PLANTED] = (struct CMUnitTest)cmocka_unit_test(unchecked_test);
    return _cmocka_run_group_tests("simt_tile", tests, N_PLANTED + 1, set_up, tear_down);
}
