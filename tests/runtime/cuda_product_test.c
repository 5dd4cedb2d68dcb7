// RUN: %unit %s
/* Matrix products by the fake cuBLASLt: layouts, sums in place, the choice of a kernel, and that it is remembered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/cuda_graph.h"
#include "runtime/cuda_product.h"
#include "tests/support_runtime/cuda_session.h"
#include "tests/support_runtime/folder.h"

/* Products of small whole numbers, on the session's memory: lhs, rhs and out each have a third of half of it, the
   workspace the other half. */
typedef struct {
    CudaSession session;
    Cublas cublas;
    CudaProducts products;
    CudaProductArgs args;
} Multiplier;

enum { MATRIX_BYTES = CUDA_SESSION_BYTES / 8, WORKSPACE_BYTES = CUDA_SESSION_BYTES / 2 };

static void multiplier_close(Multiplier *multiplier, Status *status) {
    cublas_close(&multiplier->cublas, status);
    cuda_session_close(&multiplier->session, status);
}

static bool multiplier_open(Multiplier *multiplier, const CudaFixture *fixture, const CudaCache *cache,
                            Status *status) {
    CudaSession *session = &multiplier->session;
    *multiplier = (Multiplier){0};
    if (!cuda_session_open(session, fixture, NULL, 0, status))
        return false;
    CUdeviceptr at = session->memory.parts[0];
    multiplier->args = (CudaProductArgs){at, at + MATRIX_BYTES, at + (CUdeviceptr)2 * MATRIX_BYTES, 0};
    multiplier->products = (CudaProducts){.cublas = &multiplier->cublas,
                                          .device = &session->device,
                                          .cache = cache,
                                          .workspace = at + CUDA_SESSION_BYTES / 2,
                                          .n_workspace_bytes = WORKSPACE_BYTES};
    if (!cublas_open(&multiplier->cublas, &fixture->places, session->driver.version, status))
        multiplier_close(multiplier, status);
    return !status->failed;
}

static CudaProductShape shape_of(int64_t n_rows, int64_t n_cols, int64_t k) {
    return (CudaProductShape){.n_rows = n_rows,
                              .n_cols = n_cols,
                              .k = k,
                              .lhs = {k, 1},
                              .rhs = {k, 1},
                              .out_stride = n_cols,
                              .operand_dtype = MOEC_DTYPE_F32,
                              .result_dtype = MOEC_DTYPE_F32,
                              .alignment = 16};
}

/* ---- What comes out ---------------------------------------------------------------------------------------------- */

static float value_of(int64_t i, int64_t j) {
    return (float)((3 * i + 5 * j) % 7 - 3);
}

static void store(CUdeviceptr matrix, MoecDtype dtype, int64_t i, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (dtype == MOEC_DTYPE_F32)
        ((float *)(uintptr_t)matrix)[i] = value;
    else
        ((uint16_t *)(uintptr_t)matrix)[i] = (uint16_t)(bits >> 16);
}

static float load(CUdeviceptr matrix, MoecDtype dtype, int64_t i) {
    if (dtype == MOEC_DTYPE_F32)
        return ((const float *)(uintptr_t)matrix)[i];
    uint32_t bits = (uint32_t)((const uint16_t *)(uintptr_t)matrix)[i] << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void fill(CUdeviceptr matrix, MoecDtype dtype, const CudaProductOperand *operand, int64_t n, int64_t k) {
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < k; j++)
            store(matrix, dtype, i * operand->stride + j * operand->k_stride, value_of(i, j));
    }
}

/* The product of the shape twice, each result compared with sums made here; the result begins as 1. */
static void expect_product(const Multiplier *multiplier, const CudaProductShape *shape) {
    const CudaProductArgs *args = &multiplier->args;
    const CudaDevice *device = &multiplier->session.device;
    CudaProduct product;
    Status status = STATUS_INIT;
    fill(args->lhs, shape->operand_dtype, &shape->lhs, shape->n_rows, shape->k);
    fill(args->rhs, shape->operand_dtype, &shape->rhs, shape->n_cols, shape->k);
    for (int64_t i = 0; i < shape->n_rows * shape->out_stride; i++)
        store(args->out, shape->result_dtype, i, 1);
    cuda_product_open(&product, &multiplier->products, shape, NULL, &status);
    for (int run = 0; run < 2; run++)
        cuda_product_launch(&product, &multiplier->products, args, CUDA_TO("multiply"), &status);
    cuda_device_wait(device, device->work, CUDA_TO("see"), &status);
    expect_success(&status);
    for (int64_t i = 0; i < shape->n_rows; i++) {
        for (int64_t j = 0; j < shape->out_stride; j++) {
            float sum = 0;
            for (int64_t k = 0; k < shape->k; k++)
                sum += value_of(i, k) * value_of(j, k);
            float expected = j >= shape->n_cols ? 1 : shape->adds ? 1 + 2 * sum : sum;
            assert_true(load(args->out, shape->result_dtype, i * shape->out_stride + j) == expected);
        }
    }
    cuda_product_close(&product, &multiplier->products, &status);
    expect_success(&status);
}

/* What is added to stands elsewhere, and stays. */
static void expect_sum_beside(Multiplier *multiplier, CudaFixture *fixture) {
    (void)fixture;
    CudaProductShape shape = shape_of(4, 5, 6);
    const CudaDevice *device = &multiplier->session.device;
    CudaProductArgs args = multiplier->args;
    CudaProduct product;
    Status status = STATUS_INIT;
    shape.adds = true;
    args.added = args.lhs + MATRIX_BYTES / 2;
    fill(args.lhs, MOEC_DTYPE_F32, &shape.lhs, 4, 6);
    fill(args.rhs, MOEC_DTYPE_F32, &shape.rhs, 5, 6);
    for (int64_t i = 0; i < 20; i++)
        store(args.added, MOEC_DTYPE_F32, i, (float)i);
    cuda_product_open(&product, &multiplier->products, &shape, NULL, &status);
    cuda_product_launch(&product, &multiplier->products, &args, CUDA_TO("multiply"), &status);
    cuda_device_wait(device, device->work, CUDA_TO("see"), &status);
    cuda_product_close(&product, &multiplier->products, &status);
    expect_success(&status);
    for (int64_t i = 0; i < 20; i++) {
        float sum = (float)i;
        for (int64_t k = 0; k < 6; k++)
            sum += value_of(i / 5, k) * value_of(i % 5, k);
        assert_true(load(args.out, MOEC_DTYPE_F32, i) == sum);
        assert_true(load(args.added, MOEC_DTYPE_F32, i) == (float)i);
    }
}

static void with_multiplier(void (*run)(Multiplier *multiplier, CudaFixture *fixture)) {
    CudaFixture fixture;
    Multiplier multiplier;
    Status status = STATUS_INIT;
    cuda_fixture_open(&fixture);
    multiplier_open(&multiplier, &fixture, NULL, &status);
    expect_success(&status);
    run(&multiplier, &fixture);
    multiplier_close(&multiplier, &status);
    expect_success(&status);
    cuda_fixture_close(&fixture);
}

/* Lines over k or over the other side, on both sides; results with room between rows, in place or not, of both types.
 */
static void expect_all_layouts(Multiplier *multiplier, CudaFixture *fixture) {
    (void)fixture;
    for (int bits = 0; bits < 32; bits++) {
        CudaProductShape shape = shape_of(4, 5, 6);
        shape.lhs = bits & 1 ? (CudaProductOperand){1, 7} : (CudaProductOperand){8, 1};
        shape.rhs = bits & 2 ? (CudaProductOperand){1, 5} : (CudaProductOperand){6, 1};
        shape.adds = bits & 4;
        shape.operand_dtype = bits & 8 ? MOEC_DTYPE_BF16 : MOEC_DTYPE_F32;
        shape.result_dtype = bits & 16 ? MOEC_DTYPE_BF16 : MOEC_DTYPE_F32;
        shape.out_stride = 5 + (bits & 3);
        expect_product(multiplier, &shape);
    }
}

static void products_of_all_layouts_come_out(void **state) {
    (void)state;
    with_multiplier(expect_all_layouts);
}

/* One row, one column, a sum of one: their stride may be anything. */
static void expect_thin(Multiplier *multiplier, CudaFixture *fixture) {
    (void)fixture;
    CudaProductShape row = shape_of(1, 4, 3), column = shape_of(4, 1, 3), one = shape_of(3, 4, 1);
    row.lhs = (CudaProductOperand){1, 1};
    column.rhs = (CudaProductOperand){1, 1};
    column.lhs = (CudaProductOperand){1, 4};
    one.rhs = (CudaProductOperand){1, 1};
    expect_product(multiplier, &row);
    expect_product(multiplier, &column);
    expect_product(multiplier, &one);
}

static void thin_products_come_out(void **state) {
    (void)state;
    with_multiplier(expect_thin);
}

/* A product in a graph adds at each replay. */
static void expect_recorded(Multiplier *multiplier, CudaFixture *fixture) {
    (void)fixture;
    const CudaDevice *device = &multiplier->session.device;
    CudaProductShape shape = shape_of(1, 1, 1);
    CudaProduct product;
    CudaGraph graph;
    Status status = STATUS_INIT;
    shape.adds = true;
    store(multiplier->args.lhs, MOEC_DTYPE_F32, 0, 2);
    store(multiplier->args.rhs, MOEC_DTYPE_F32, 0, 3);
    store(multiplier->args.out, MOEC_DTYPE_F32, 0, 100);
    cuda_product_open(&product, &multiplier->products, &shape, NULL, &status);
    cuda_graph_begin(device, &status);
    cuda_product_launch(&product, &multiplier->products, &multiplier->args, CUDA_TO("multiply"), &status);
    cuda_graph_end(&graph, device, &status);
    for (int i = 0; i < 3; i++)
        cuda_graph_launch(&graph, "train", &status);
    cuda_graph_close(&graph, &status);
    expect_success(&status);
    assert_true(load(multiplier->args.out, MOEC_DTYPE_F32, 0) == 118);
    cuda_product_close(&product, &multiplier->products, &status);
    expect_success(&status);
}

static void a_recorded_product_adds_at_each_replay(void **state) {
    (void)state;
    with_multiplier(expect_recorded);
}

/* ---- Which kernel ------------------------------------------------------------------------------------------------ */

static int kernel_of(const Multiplier *multiplier, const CudaProductShape *shape, const CudaProductArgs *scratch,
                     bool *is_remembered) {
    CudaProduct product;
    Status status = STATUS_INIT;
    cuda_product_open(&product, &multiplier->products, shape, scratch, &status);
    expect_success(&status);
    int kernel = (int)product.algorithm.data[0];
    *is_remembered = product.is_remembered;
    cuda_product_close(&product, &multiplier->products, &status);
    expect_success(&status);
    return kernel;
}

static void set_times(CudaFixture *fixture, int a, int b, int c, int d) {
    const int microseconds[FAKE_CANDIDATES] = {a, b, c, d};
    memcpy(fixture->fake->microseconds, microseconds, sizeof microseconds);
}

static void expect_choices(Multiplier *multiplier, CudaFixture *fixture) {
    const CudaProductShape shape = shape_of(2, 2, 2);
    const CudaProductArgs *scratch = &multiplier->args;
    bool is_remembered;
    set_times(fixture, 3000, 1500, 0, 3000);
    assert_int_equal(kernel_of(multiplier, &shape, NULL, &is_remembered), 0);
    assert_int_equal(fixture->fake->n_products, 0);
    assert_int_equal(kernel_of(multiplier, &shape, scratch, &is_remembered), 2);
    assert_false(is_remembered);
    /* What cannot be used is passed over. */
    set_times(fixture, -1, 3000, -1, 0);
    assert_int_equal(kernel_of(multiplier, &shape, NULL, &is_remembered), 1);
    /* The last needs more memory than there is. */
    assert_int_equal(kernel_of(multiplier, &shape, scratch, &is_remembered), 1);
}

static void the_fastest_kernel_is_chosen(void **state) {
    (void)state;
    with_multiplier(expect_choices);
}

static void expect_none(Multiplier *multiplier, CudaFixture *fixture) {
    CudaProduct product;
    Status status = STATUS_INIT;
    CudaProductShape shape = shape_of(20, 30, 40);
    shape.operand_dtype = MOEC_DTYPE_BF16;
    set_times(fixture, -1, -1, -1, -1);
    assert_false(cuda_product_open(&product, &multiplier->products, &shape, NULL, &status));
    expect_failure(&status, STATUS_SYSTEM, "cuBLASLt has no kernel for product 20 x 30 x 40 of bf16");
}

static void no_kernel_is_told(void **state) {
    (void)state;
    with_multiplier(expect_none);
}

static void a_choice_is_remembered(void **state) {
    (void)state;
    CudaFixture fixture;
    Multiplier multiplier;
    CudaCache cache;
    Folder folder = folder_make();
    Status status = STATUS_INIT;
    bool is_remembered;
    cuda_cache_open(&cache, disk_system(), folder.path, CUDA_CACHE_BYTES, &status);
    cuda_fixture_open(&fixture);
    multiplier_open(&multiplier, &fixture, &cache, &status);
    expect_success(&status);
    const CudaProductArgs *scratch = &multiplier.args;
    CudaProductShape shape = shape_of(2, 2, 2);
    set_times(&fixture, 2000, 0, 2000, 2000);
    assert_int_equal(kernel_of(&multiplier, &shape, scratch, &is_remembered), 1);
    long n_products = fixture.fake->n_products;
    set_times(&fixture, 0, 2000, 2000, 2000);
    assert_int_equal(kernel_of(&multiplier, &shape, scratch, &is_remembered), 1);
    assert_true(is_remembered);
    assert_int_equal(fixture.fake->n_products, n_products);
    /* Without measuring, the choice is always the same, whatever was measured once. */
    assert_int_equal(kernel_of(&multiplier, &shape, NULL, &is_remembered), 0);
    shape.adds = true;
    assert_int_equal(kernel_of(&multiplier, &shape, scratch, &is_remembered), 0);
    assert_false(is_remembered);
    assert_int_equal(folder_count(&folder, "."), 2);
    multiplier.cublas.version++;
    kernel_of(&multiplier, &shape, scratch, &is_remembered);
    assert_false(is_remembered);
    multiplier_close(&multiplier, &status);
    expect_success(&status);
    cuda_cache_close(&cache);
    cuda_fixture_close(&fixture);
    folder_remove(&folder);
}

/* ---- Failures ---------------------------------------------------------------------------------------------------- */

static void multiply_once(CudaFixture *fixture, void *state, Status *status) {
    (void)state;
    Multiplier multiplier;
    CudaProduct product;
    const CudaProductShape shape = shape_of(2, 2, 2);
    if (!multiplier_open(&multiplier, fixture, NULL, status))
        return;
    memset((void *)(uintptr_t)multiplier.args.lhs, 0, 3 * (size_t)MATRIX_BYTES);
    if (cuda_product_open(&product, &multiplier.products, &shape, &multiplier.args, status)) {
        cuda_product_launch(&product, &multiplier.products, &multiplier.args, CUDA_TO("multiply"), status);
        cuda_product_close(&product, &multiplier.products, status);
    }
    multiplier_close(&multiplier, status);
}

static void every_failure_is_told(void **state) {
    (void)state;
    CudaFixture fixture;
    cuda_fixture_open(&fixture);
    cuda_fixture_fail_each(&fixture, multiply_once, NULL);
    cuda_fixture_close(&fixture);
}

static void expect_named(Multiplier *multiplier, CudaFixture *fixture) {
    CudaProduct product;
    Status status = STATUS_INIT;
    const CudaProductShape shape = shape_of(2, 3, 4);
    fixture->fake->fail_at = fixture->fake->n_calls;
    assert_false(cuda_product_open(&product, &multiplier->products, &shape, NULL, &status));
    expect_failure(&status, STATUS_SYSTEM,
                   "cublasLtMatmulDescCreate, to choose how to do it (product 2 x 3 x 4 of f32): "
                   "CUBLAS_STATUS_INTERNAL_ERROR (an internal operation failed)");
}

static void a_failure_names_the_product(void **state) {
    (void)state;
    with_multiplier(expect_named);
}

static void what_is_added_may_stand_elsewhere(void **state) {
    (void)state;
    with_multiplier(expect_sum_beside);
}

static void a_missing_library_is_told(void **state) {
    (void)state;
    CudaFixture fixture;
    Cublas cublas;
    Status status = STATUS_INIT;
    cuda_fixture_open(&fixture);
    assert_false(cublas_open(&cublas, &fixture.places, 12040, &status));
    expect_failure(&status, STATUS_SYSTEM,
                   "cannot open cuBLASLt, which multiplies matrices: no usable "
                   "libcublasLt.so.12 in",
                   "pip install nvidia-cublas-cu12");
    cuda_fixture_close(&fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_of_all_layouts_come_out),
        cmocka_unit_test(thin_products_come_out),
        cmocka_unit_test(what_is_added_may_stand_elsewhere),
        cmocka_unit_test(a_recorded_product_adds_at_each_replay),
        cmocka_unit_test(the_fastest_kernel_is_chosen),
        cmocka_unit_test(no_kernel_is_told),
        cmocka_unit_test(a_choice_is_remembered),
        cmocka_unit_test(every_failure_is_told),
        cmocka_unit_test(a_failure_names_the_product),
        cmocka_unit_test(a_missing_library_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
