// RUN: env MOEC_ROOT=%root %unit %s
/* What is asynchronous, piece by piece: copies, barriers, tiles and products do what the PTX ISA says of them, and the
   simulator of tests/simt finds what is wrong with their use. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/simt/simt_load.h"
#include "tests/simt/simt_tensor_map.h"

enum { N_THREADS = 128, N = 8192, N_MAPS = 3, SHARED_BYTES = 65536 };

/* Kernels of one block take (float *y, const float *x, const MoecTensorMap *maps), of N elements each. x[i] is i % 61,
   and so are the bf16 of maps 0 [40, 72] by boxes [8, 64] with a swizzle of 128 bytes, 1 [2, 20, 48] by [1, 4, 16], and
   of map 2, which is y as f32 [10, 36], by [4, 8]. */
typedef struct {
    const char *name, *body;
    const char *found; /* what is said of it; NULL: nothing */
} Planted;

#define BEGIN_BARRIER                                                                                                  \
    "MOEC_DYNAMIC_SHARED(tile);\n"                                                                                     \
    "MOEC_SHARED uint64_t barrier[2];\n"                                                                               \
    "int thread = threadIdx.x;\n"                                                                                      \
    "if (thread == 0) {\n"                                                                                             \
    "    for (int i = 0; i < 3; i++)\n"                                                                                \
    "        moec_tma_prefetch(&maps[i]);\n"                                                                           \
    "    moec_barrier_init(&barrier[0], 1);\n"                                                                         \
    "    moec_barrier_init(&barrier[1], 128);\n"                                                                       \
    "    moec_barrier_init_fence();\n"                                                                                 \
    "}\n"                                                                                                              \
    "__syncthreads();\n"

/* Under way, with 4 registers as a. */
#define PRODUCT                                                                                                        \
    "MOEC_DYNAMIC_SHARED(tile);\n"                                                                                     \
    "((float *)tile)[threadIdx.x] = ((float *)tile)[threadIdx.x + 128] = 0.0f;\n"                                      \
    "moec_fence_async();\n"                                                                                            \
    "__syncthreads();\n"                                                                                               \
    "float sums[4] = {0};\n"                                                                                           \
    "uint32_t registers[4] = {1, 2, 3, 4};\n"                                                                          \
    "moec_wgmma_fence();\n"                                                                                            \
    "moec_wgmma_n8_ra(sums, registers, moec_matrix_descriptor(tile, 0, 1024), 0);\n"                                   \
    "moec_wgmma_commit();\n"

static const Planted planted[] = {
    /* ---- Copies ---- */
    {"copies",
     "MOEC_SHARED MOEC_ALIGN(16) float copied[512];\n"
     "int thread = threadIdx.x;\n"
     "moec_copy_async16(copied + thread * 4, x + thread * 4, thread % 2 * 8);\n"
     "moec_copy_async_commit();\n"
     "MOEC_COPY_ASYNC_WAIT(0);\n"
     "__syncthreads();\n"
     "for (int i = 0; i < 4; i++)\n"
     "    y[i * 128 + thread] = copied[i * 128 + thread];\n",
     NULL},
    {"copies_not_waited_for",
     "MOEC_SHARED MOEC_ALIGN(16) float copied[512];\n"
     "moec_copy_async16(copied + threadIdx.x * 4, x + threadIdx.x * 4, 16);\n"
     "moec_copy_async_commit();\n"
     "y[threadIdx.x] = copied[threadIdx.x * 4];\n",
     "which moec_copy_async16 of line"},
    {"copies_not_committed",
     "MOEC_SHARED MOEC_ALIGN(16) float copied[512];\n"
     "moec_copy_async16(copied + threadIdx.x * 4, x + threadIdx.x * 4, 16);\n"
     "MOEC_COPY_ASYNC_WAIT(0);\n"
     "y[threadIdx.x] = copied[threadIdx.x * 4];\n",
     "which moec_copy_async16 of line"},
    {"copies_of_newest_group_not_waited_for",
     "MOEC_SHARED MOEC_ALIGN(16) float copied[1024];\n"
     "for (int i = 0; i < 2; i++) {\n"
     "    moec_copy_async16(copied + i * 512 + threadIdx.x * 4, x + threadIdx.x * 4, 16);\n"
     "    moec_copy_async_commit();\n"
     "}\n"
     "MOEC_COPY_ASYNC_WAIT(1);\n"
     "y[threadIdx.x] = copied[threadIdx.x * 4] + copied[512 + threadIdx.x * 4];\n",
     "which moec_copy_async16 of line"},
    {"copies_of_others",
     "MOEC_SHARED MOEC_ALIGN(16) float copied[512];\n"
     "moec_copy_async16(copied + threadIdx.x * 4, x + threadIdx.x * 4, 16);\n"
     "moec_copy_async_commit();\n"
     "MOEC_COPY_ASYNC_WAIT(0);\n"
     "y[threadIdx.x] = copied[511 - threadIdx.x * 4];\n",
     "of shared memory, which"},
    {"copies_misaligned",
     "MOEC_SHARED MOEC_ALIGN(16) float copied[512];\n"
     "moec_copy_async16(copied + threadIdx.x * 4, x + threadIdx.x * 4 + 1, 16);\n",
     "from no multiple of 16 bytes"},
    {"copies_too_long",
     "MOEC_SHARED MOEC_ALIGN(16) float copied[512];\n"
     "moec_copy_async16(copied + threadIdx.x * 4, x + threadIdx.x * 4, 20);\n",
     "of 20 bytes"},
    {"copies_for_a_barrier",
     BEGIN_BARRIER "for (int i = 0; i < 3; i++) {\n"
                   "    float *copied = (float *)tile + i * 512;\n"
                   "    moec_copy_async16(copied + thread * 4, x + i * 512 + thread * 4, 16);\n"
                   "    moec_copy_async_arrive(&barrier[1]);\n"
                   "    moec_barrier_wait(&barrier[1], i % 2);\n"
                   "    y[i * 128 + thread] = copied[511 - thread * 4];\n"
                   "}\n",
     NULL},
    {"copies_for_a_barrier_not_waited_for",
     BEGIN_BARRIER "moec_copy_async16(tile + thread * 16, x + thread * 4, 16);\n"
                   "moec_copy_async_arrive(&barrier[1]);\n"
                   "if (thread < 127)\n"
                   "    moec_barrier_wait(&barrier[1], 0);\n"
                   "y[thread] = tile[2047 - thread * 16];\n",
     "of shared memory, which"},
    /* ---- Barriers ---- */
    {"barriers_of_warps",
     "MOEC_SHARED float left[128];\n"
     "left[threadIdx.x] = x[threadIdx.x];\n"
     "moec_named_barrier(1 + threadIdx.x / 64, 64);\n"
     "y[threadIdx.x] = left[threadIdx.x ^ 63];\n",
     NULL},
    {"barriers_of_other_warps",
     "MOEC_SHARED float left[128];\n"
     "left[threadIdx.x] = x[threadIdx.x];\n"
     "moec_named_barrier(1 + threadIdx.x / 64, 64);\n"
     "y[threadIdx.x] = left[127 - threadIdx.x];\n",
     "and no barrier stands between"},
    {"barriers_of_half_warps", "moec_named_barrier(1, 48);\n", "no warps of the block have 48 threads"},
    {"barrier_of_the_block", "moec_named_barrier(0, 128);\n", "barriers are 1 to 15, not 0"},
    {"barrier_of_too_few_warps", "if (threadIdx.x < 32)\n    moec_named_barrier(3, 64);\n",
     "threads 0 to 31 wait at the moec_named_barrier of line"},
    {"arrivals",
     BEGIN_BARRIER "float *left = (float *)tile;\n"
                   "left[thread] = x[thread];\n"
                   "moec_barrier_arrive(&barrier[1]);\n"
                   "moec_barrier_wait(&barrier[1], 0);\n"
                   "y[thread] = left[127 - thread];\n",
     NULL},
    {"arrivals_before_the_write",
     BEGIN_BARRIER "float *left = (float *)tile;\n"
                   "moec_barrier_arrive(&barrier[1]);\n"
                   "left[thread] = x[thread];\n"
                   "moec_barrier_wait(&barrier[1], 0);\n"
                   "y[thread] = left[127 - thread];\n",
     "and no barrier stands between"},
    {"readers_that_do_not_arrive",
     BEGIN_BARRIER "float *left = (float *)tile;\n"
                   "if (thread == 0)\n"
                   "    left[0] = x[0];\n"
                   "moec_barrier_arrive(&barrier[1]);\n"
                   "moec_barrier_wait(&barrier[1], 0);\n"
                   "y[thread] = left[0];\n"
                   "if (thread == 0)\n"
                   "    left[0] = x[1];\n",
     "has read, and no barrier stands between"},
    {"readers_that_arrive",
     BEGIN_BARRIER "float *left = (float *)tile;\n"
                   "for (int i = 0; i < 4; i++) {\n"
                   "    if (thread == i)\n"
                   "        left[0] = x[i];\n"
                   "    moec_barrier_arrive(&barrier[1]);\n"
                   "    moec_barrier_wait(&barrier[1], 0);\n"
                   "    y[i * 128 + thread] = left[0];\n"
                   "    moec_barrier_arrive(&barrier[1]);\n"
                   "    moec_barrier_wait(&barrier[1], 1);\n"
                   "}\n",
     NULL},
    {"too_many_arrivals",
     BEGIN_BARRIER "if (thread > 0)\n"
                   "    moec_barrier_arrive(&barrier[1]);\n"
                   "if (thread == 0)\n"
                   "    moec_barrier_expect(&barrier[0], 16);\n"
                   "__syncthreads();\n"
                   "if (thread == 0)\n"
                   "    moec_barrier_arrive(&barrier[0]);\n",
     "one more arrives at the barrier"},
    {"too_few_arrivals",
     BEGIN_BARRIER "if (thread > 0)\n"
                   "    moec_barrier_arrive(&barrier[1]);\n"
                   "moec_barrier_wait(&barrier[1], 0);\n",
     "which misses 1 of 128 arrivals and 0 bytes"},
    {"a_barrier_begun_again", BEGIN_BARRIER "if (thread == 0)\n    moec_barrier_init(&barrier[0], 2);\n",
     "is there, at byte"},
    {"a_barrier_overwritten", BEGIN_BARRIER "if (thread == 0)\n    barrier[1] = 0;\n", "which is a barrier"},
    {"no_barrier", BEGIN_BARRIER "moec_barrier_wait((uint64_t *)tile, 0);\n", "there is no barrier at byte 0"},
    {"no_parity", BEGIN_BARRIER "moec_barrier_wait(barrier, 2);\n", "2 is no parity"},
    /* ---- Tiles ---- */
    {"tiles",
     BEGIN_BARRIER "if (thread == 0) {\n"
                   "    moec_barrier_expect(barrier, 1024 + 128);\n"
                   "    moec_tma_load_2d(tile, &maps[0], 16, -3, barrier);\n"
                   "    moec_tma_load_3d(tile + 1024, &maps[1], 40, 18, 1, barrier);\n"
                   "}\n"
                   "moec_barrier_wait(barrier, 0);\n"
                   "for (int i = thread; i < 512; i += 128) {\n"
                   "    int row = i / 64, column = i % 64;\n"
                   "    y[i] = moec_widen(((uint16_t *)tile)[row * 64 + (column / 8 ^ row) * 8 + column % 8]);\n"
                   "}\n"
                   "if (thread < 64)\n"
                   "    y[512 + thread] = moec_widen(((uint16_t *)tile)[512 + thread]);\n",
     NULL},
    {"stores",
     BEGIN_BARRIER "if (thread < 32)\n"
                   "    ((float *)tile)[thread] = (float)(thread + 1);\n"
                   "moec_fence_async();\n"
                   "__syncthreads();\n"
                   "if (thread == 64) {\n"
                   "    moec_tma_store_2d(&maps[2], tile, 32, 8);\n"
                   "    moec_tma_store_2d(&maps[2], tile, 0, 0);\n"
                   "    moec_tma_store_commit();\n"
                   "    MOEC_TMA_STORE_WAIT(0);\n"
                   "}\n",
     NULL},
    {"a_fence_of_the_storer",
     BEGIN_BARRIER "if (thread < 32)\n"
                   "    ((float *)tile)[thread] = (float)(thread + 1);\n"
                   "__syncthreads();\n"
                   "if (thread == 64) {\n"
                   "    moec_fence_async();\n"
                   "    moec_tma_store_2d(&maps[2], tile, 0, 0);\n"
                   "    moec_tma_store_commit();\n"
                   "    MOEC_TMA_STORE_WAIT(0);\n"
                   "}\n",
     NULL},
    {"a_store_without_fence",
     BEGIN_BARRIER "if (thread < 32)\n"
                   "    ((float *)tile)[thread] = (float)(thread + 1);\n"
                   "__syncthreads();\n"
                   "if (thread == 64)\n"
                   "    moec_tma_store_2d(&maps[2], tile, 0, 0);\n",
     "no moec_fence_async stands between"},
    {"a_tile_misaligned",
     BEGIN_BARRIER "if (thread == 0)\n    moec_tma_load_3d(tile + 64, &maps[1], 0, 0, 0, barrier);\n",
     "is no multiple of 128"},
    {"a_tile_of_other_rank", BEGIN_BARRIER "if (thread == 0)\n    moec_tma_load_2d(tile, &maps[1], 0, 0, barrier);\n",
     "of 2 indices, and the tensor has 3"},
    {"a_tile_beyond", BEGIN_BARRIER "if (thread == 0)\n    moec_tma_load_2d(tile + 65536, &maps[0], 0, 0, barrier);\n",
     "does not fit in shared memory"},
    {"a_tile_in_device_memory", BEGIN_BARRIER "if (thread == 0)\n    moec_tma_load_2d(y, &maps[0], 0, 0, barrier);\n",
     "does not fit in shared memory"},
    {"a_tile_over_a_barrier",
     BEGIN_BARRIER "if (thread == 0) {\n"
                   "    moec_barrier_init((uint64_t *)tile, 1);\n"
                   "    moec_barrier_init_fence();\n"
                   "    moec_tma_load_2d(tile, &maps[0], 0, 0, barrier);\n"
                   "}\n",
     "overwrites a barrier"},
    {"a_tile_over_what_was_written",
     BEGIN_BARRIER "if (thread == 0) {\n"
                   "    ((float *)tile)[3] = 1.0f;\n"
                   "    moec_tma_load_2d(tile, &maps[0], 0, 0, barrier);\n"
                   "}\n",
     "no moec_fence_async stands between"},
    {"no_map", BEGIN_BARRIER "if (thread == 0)\n    moec_tma_prefetch((const MoecTensorMap *)x);\n", "there is no map"},
    /* ---- Products ---- */
    {"no_warpgroup", "if (threadIdx.x < 64)\n    MOEC_REGISTERS_DEC(24);\n", "which has"},
    {"registers_overwritten",
     PRODUCT "registers[1] = 7;\n"
             "MOEC_WGMMA_WAIT(0);\n"
             "y[threadIdx.x] = sums[0] + registers[1];\n",
     "writes register 1 of moec_wgmma of line"},
    {"registers_of_the_newest_group_overwritten",
     PRODUCT "uint32_t next[4] = {1, 2, 3, 4};\n"
             "moec_wgmma_fence();\n"
             "moec_wgmma_n8_ra(sums, next, moec_matrix_descriptor(tile, 0, 1024), 1);\n"
             "moec_wgmma_commit();\n"
             "MOEC_WGMMA_WAIT(1);\n"
             "registers[1] = 7;\n"
             "next[3] = 7;\n"
             "MOEC_WGMMA_WAIT(0);\n"
             "y[threadIdx.x] = sums[0] + registers[1] + next[3];\n",
     "writes register 3 of moec_wgmma of line"},
    {"registers_overwritten_behind_the_wait",
     PRODUCT "MOEC_WGMMA_WAIT(0);\n"
             "registers[1] = 7;\n"
             "y[threadIdx.x] = sums[0] + registers[1];\n",
     NULL},
    {"other_registers", "if (threadIdx.x < 64)\n    MOEC_REGISTERS_DEC(24);\nelse\n    MOEC_REGISTERS_DEC(32);\n",
     "MOEC_REGISTERS of line"},
};

enum { N_PLANTED = sizeof planted / sizeof planted[0] };

/* ---- Products ---------------------------------------------------------------------------------------------------- */

/* a [64, 32] and b [n, 32] from x as bf16, where rows along k: at (row, k) x[row * 32 + k], swizzled by hand; or along
   the columns, tiles of 64 of them. */
typedef struct {
    const char *suffix;
    bool is_a_transposed, is_b_transposed, has_registers;
} Way;

static const Way ways[] = {{"", false, false, false},    {"_ta", true, false, false}, {"_tb", false, true, false},
                           {"_tatb", true, true, false}, {"_ra", false, false, true}, {"_ra_tb", false, true, true}};
static const int widths[] = {8, 64, 96, 256};

enum { N_WAYS = sizeof ways / sizeof *ways, N_WIDTHS = sizeof widths / sizeof *widths, DEPTH = 32 };

/* Stores x, as a matrix [n, 32], where a descriptor finds it. */
static void print_fill(FILE *out, const char *tile, const char *from, int n, bool is_transposed) {
    fprintf(out, "    for (int i = thread; i < %d * 32; i += 128) {\n", n);
    fputs("        int row = i / 32, k = i % 32;\n", out);
    if (is_transposed)
        fputs("        int byte = row / 64 * 4096 + k / 8 * 1024 + k % 8 * 128 + row % 64 * 2;\n", out);
    else
        fputs("        int byte = row / 8 * 1024 + row % 8 * 128 + k * 2;\n", out);
    fprintf(out, "        *(uint16_t *)(%s + (byte ^ (byte >> 3 & 0x70))) = moec_narrow(%s[i]);\n    }\n", tile, from);
}

static void print_operand(FILE *out, const char *name, const char *tile, bool is_transposed) {
    fprintf(out, "        uint64_t %s = moec_matrix_descriptor(%s + step * %s);\n", name, tile,
            is_transposed ? "2048, 4096, 1024" : "32, 0, 1024");
}

static void print_product(FILE *out, int width, const Way *way) {
    fprintf(out, "\nMOEC_KERNEL(128) void product_%d%s(float *y, const float *x) {\n", width, way->suffix);
    fputs("    MOEC_DYNAMIC_SHARED(tile);\n    int thread = threadIdx.x, lane = thread % 32;\n", out);
    fprintf(out, "    float sums[%d];\n", width / 2);
    print_fill(out, "tile", "x", 64, way->is_a_transposed);
    print_fill(out, "tile + 16384", "(x + 2048)", width, way->is_b_transposed);
    fputs("    moec_fence_async();\n    __syncthreads();\n", out);
    fputs("    uint32_t registers[2][4];\n    int row = thread / 32 * 16 + lane / 4;\n", out);
    fputs("    for (int i = 0; i < 8; i++) {\n", out);
    fputs("        const float *from = x + (row + i % 2 * 8) * 32 + i / 4 * 16 + i / 2 % 2 * 8 + lane % 4 * 2;\n", out);
    fputs("        registers[i / 4][i % 4] = moec_bf16x2(from[0], from[1]);\n    }\n    moec_wgmma_fence();\n", out);
    fputs("    for (int step = 0; step < 2; step++) {\n", out);
    print_operand(out, "a", "tile", way->is_a_transposed);
    print_operand(out, "b", "tile + 16384", way->is_b_transposed);
    fprintf(out, "        moec_wgmma_n%d%s(sums, %s, b, step > 0);\n", width, way->suffix,
            way->has_registers ? "registers[step]" : "a");
    fputs("    }\n    moec_wgmma_commit();\n    MOEC_WGMMA_WAIT(0);\n", out);
    fprintf(out, "    for (int i = 0; i < %d; i++)\n", width / 2);
    fprintf(out, "        y[(row + i / 2 %% 2 * 8) * %d + i / 4 * 8 + lane %% 4 * 2 + i %% 2] = sums[i];\n}\n", width);
}

/* ---- Running ----------------------------------------------------------------------------------------------------- */

static SimtObject object;
static float *x, *y;
static uint16_t *halves;

/* Integers below 61, which bf16 has. */
static uint16_t half_of(int i) {
    union {
        float number;
        uint32_t bits;
    } word = {(float)(i % 61)};
    return (uint16_t)(word.bits >> 16);
}

static int set_up(void **state) {
    (void)state;
    SimtText text;
    char name[64];
    const char *error = simt_text_open(&text);
    for (int i = 0; i < N_PLANTED && !error; i++) {
        fprintf(text.out, "\nMOEC_KERNEL(128) void %s(float *y, const float *x, const MoecTensorMap *maps) {\n%s}\n",
                planted[i].name, planted[i].body);
        simt_text_add_kernel(&text, planted[i].name, 3);
    }
    for (int i = 0; i < N_WAYS * N_WIDTHS && !error; i++) {
        print_product(text.out, widths[i / N_WAYS], &ways[i % N_WAYS]);
        snprintf(name, sizeof name, "product_%d%s", widths[i / N_WAYS], ways[i % N_WAYS].suffix);
        simt_text_add_kernel(&text, name, 2);
    }
    if (!error)
        error = simt_text_close(&text, &object);
    if (error)
        fail_msg("%s", error);
    x = aligned_alloc(128, 2 * N * sizeof *x);
    y = aligned_alloc(128, 2 * N * sizeof *y);
    halves = aligned_alloc(128, N * sizeof *halves);
    for (int i = 0; i < 2 * N; i++)
        x[i] = (float)(i % 61);
    for (int i = 0; i < N; i++)
        halves[i] = half_of(i);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    simt_unload(&object);
    free(x);
    free(y);
    free(halves);
    return 0;
}

static char maps[N_MAPS][SIMT_MAP_BYTES] __attribute__((aligned(128)));

static void set_maps(void) {
    const uint32_t ones[] = {1, 1, 1};
    const SimtTensor tensors[N_MAPS] = {
        {9, 2, halves, (const uint64_t[]){72, 40}, (const uint64_t[]){144}, (const uint32_t[]){64, 8}, ones, 0, 3, 0,
         0},
        {9, 3, halves, (const uint64_t[]){48, 20, 2}, (const uint64_t[]){96, 1920}, (const uint32_t[]){16, 4, 1}, ones,
         0, 0, 0, 0},
        {7, 2, y, (const uint64_t[]){36, 10}, (const uint64_t[]){144}, (const uint32_t[]){8, 4}, ones, 0, 0, 0, 0},
    };
    for (int i = 0; i < N_MAPS; i++)
        assert_null(simt_tensor_map_encode(maps[i], &tensors[i]));
}

static const char *launch(int index, const char *name, uint64_t seed) {
    set_maps();
    memset(y, 0, 2 * N * sizeof *y);
    const SimtBuffer buffers[] = {
        {.name = "y", .data = y, .n_bytes = 2 * N * sizeof *y},
        {.name = "x", .data = x, .n_bytes = 2 * N * sizeof *x, .is_read_only = true},
        {.name = "halves", .data = halves, .n_bytes = N * sizeof *halves, .is_read_only = true},
        {.name = "maps", .data = maps, .n_bytes = sizeof maps, .is_read_only = true}};
    return simt_launch(&(SimtLaunch){.name = name,
                                     .kernel = object.kernels[index],
                                     .args = (void *const[]){y, x, maps},
                                     .n_blocks = 1,
                                     .n_threads = N_THREADS,
                                     .module = object.module,
                                     .buffers = buffers,
                                     .n_buffers = 4,
                                     .seed = seed,
                                     .shared_bytes = SHARED_BYTES});
}

static void planted_test(void **state) {
    const Planted *fault = *state;
    for (uint64_t seed = 0; seed < 5; seed++) {
        const char *error = launch((int)(fault - planted), fault->name, seed);
        if (!fault->found && error)
            fail_msg("%s", error);
        if (fault->found && (!error || !strstr(error, fault->found)))
            fail_msg("found: %s; expected: ... %s ...", error ? error : "nothing", fault->found);
    }
}

/* ---- Results ----------------------------------------------------------------------------------------------------- */

static int index_of(const char *name) {
    int i = 0;
    while (strcmp(planted[i].name, name) != 0)
        i++;
    return i;
}

static void expect(int i, int value) {
    if (y[i] != (float)value)
        fail_msg("y[%d]: %g, expected %d", i, (double)y[i], value);
}

static void copies_fill_with_zeros(void **state) {
    (void)state;
    assert_null(launch(index_of("copies"), "copies", 1));
    for (int i = 0; i < 512; i++)
        expect(i, i / 4 % 2 == 1 && i % 4 < 2 ? i % 61 : 0);
}

static void tiles_are_swizzled_and_filled(void **state) {
    (void)state;
    assert_null(launch(index_of("tiles"), "tiles", 1));
    for (int i = 0; i < 512; i++) {
        int row = i / 64 - 3, column = i % 64 + 16;
        expect(i, row >= 0 && column < 72 ? (row * 72 + column) % 61 : 0);
    }
    for (int i = 0; i < 64; i++) {
        int row = i / 16 + 18, column = i % 16 + 40;
        expect(512 + i, row < 20 && column < 48 ? (960 + row * 48 + column) % 61 : 0);
    }
}

static void stores_are_clipped(void **state) {
    (void)state;
    assert_null(launch(index_of("stores"), "stores", 1));
    for (int i = 0; i < 11 * 36; i++) {
        int row = i / 36, column = i % 36;
        bool is_first = row < 4 && column < 8, is_last = row >= 8 && row < 10 && column >= 32;
        expect(i, is_first ? row * 8 + column + 1 : is_last ? (row - 8) * 8 + column - 32 + 1 : 0);
    }
}

/* Sums of integers below 2^24 are exact. */
static void products_multiply(void **state) {
    (void)state;
    for (int i = 0; i < N_WAYS * N_WIDTHS; i++) {
        const char *error = launch(N_PLANTED + i, ways[i % N_WAYS].suffix, 1);
        if (error)
            fail_msg("n%d%s", widths[i / N_WAYS], error);
        for (int j = 0; j < 64 * widths[i / N_WAYS]; j++) {
            int row = j / widths[i / N_WAYS], column = j % widths[i / N_WAYS], sum = 0;
            for (int k = 0; k < DEPTH; k++)
                sum += (row * DEPTH + k) % 61 * ((2048 + column * DEPTH + k) % 61);
            expect(j, sum);
        }
    }
}

static void maps_are_checked(void **state) {
    (void)state;
    uint64_t extents[] = {64, 64}, strides[] = {128};
    uint32_t box[] = {64, 64}, ones[] = {1, 1};
    const SimtTensor good = {9, 2, halves, extents, strides, box, ones, 0, 3, 2, 0};
    SimtTensor tensor = good;
    assert_null(simt_tensor_map_encode(maps[0], &good));
    assert_non_null(simt_tensor_map_encode(maps[0] + 32, &good));
    tensor.rank = 6;
    assert_non_null(simt_tensor_map_encode(maps[0], &tensor));
    tensor = good;
    tensor.address = halves + 1;
    assert_non_null(simt_tensor_map_encode(maps[0], &tensor));
    tensor = good;
    tensor.interleave = 1;
    assert_non_null(simt_tensor_map_encode(maps[0], &tensor));
    tensor = good;
    tensor.swizzle = 2; /* rows are 128 bytes */
    assert_non_null(simt_tensor_map_encode(maps[0], &tensor));
    strides[0] = 136;
    assert_non_null(simt_tensor_map_encode(maps[0], &good));
    strides[0] = 128;
    box[1] = 257;
    assert_non_null(simt_tensor_map_encode(maps[0], &good));
    box[1] = 64;
    extents[1] = 0;
    assert_non_null(simt_tensor_map_encode(maps[0], &good));
    extents[1] = 64;
    ones[1] = 2;
    assert_non_null(simt_tensor_map_encode(maps[0], &good));
}

int main(void) {
    const struct CMUnitTest results[] = {
        cmocka_unit_test(copies_fill_with_zeros), cmocka_unit_test(tiles_are_swizzled_and_filled),
        cmocka_unit_test(stores_are_clipped),     cmocka_unit_test(products_multiply),
        cmocka_unit_test(maps_are_checked),
    };
    enum { N_RESULTS = sizeof results / sizeof *results };
    struct CMUnitTest tests[N_PLANTED + N_RESULTS];
    for (int i = 0; i < N_PLANTED; i++)
        tests[i] = (struct CMUnitTest){
            .name = planted[i].name, .test_func = planted_test, .initial_state = (void *)(uintptr_t)&planted[i]};
    memcpy(tests + N_PLANTED, results, sizeof results);
    return _cmocka_run_group_tests("simt_async", tests, N_PLANTED + N_RESULTS, set_up, tear_down);
}
