// RUN: %unit %s
/* Tensor maps as the driver is asked for them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/cuda_device.h"
#include "runtime/cuda_maps.h"
#include "tests/simt/simt_tensor_map.h"
#include "tests/support_runtime/cuda_fixture.h"
#include "tests/support_runtime/folder.h"

/* Rows of 40 of 48 elements, in three groups. */
static const MoecCudaMap rows = {.offset = 64,
                                 .dtype = MOEC_DTYPE_BF16,
                                 .rank = 3,
                                 .extents = {40, 10, 3},
                                 .strides = {2, 96, 960},
                                 .box = {64, 128, 1},
                                 .swizzle = 128};

static SimtTensorMap encode(const MoecCudaMap *map, CUdeviceptr at, Status *status) {
    CudaFixture fixture;
    CudaDriver driver;
    CudaDevice device;
    CudaTensorMap encoded;
    SimtTensorMap decoded = {0};
    cuda_fixture_open(&fixture);
    if (cuda_driver_open(&driver, &fixture.places, status) && cuda_device_open(&device, &driver, 0, status)) {
        if (cuda_map_encode(&driver, map, at, "up_proj", &encoded, status))
            memcpy(&decoded, &encoded, sizeof decoded);
        cuda_device_close(&device, status);
    }
    cuda_driver_close(&driver);
    cuda_fixture_close(&fixture);
    return decoded;
}

static void maps_say_where_elements_are(void **state) {
    (void)state;
    Status status = STATUS_INIT;
    SimtTensorMap map = encode(&rows, 4096, &status);
    expect_success(&status);
    assert_int_equal(map.address, 4096 + 64);
    assert_int_equal(map.element_bytes, 2);
    assert_int_equal(map.rank, 3);
    assert_int_equal(map.swizzle_bytes, 128);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(map.extents[i], rows.extents[i]);
        assert_int_equal(map.box[i], rows.box[i]);
    }
    assert_int_equal(map.strides[0], 96);
    assert_int_equal(map.strides[1], 960);
}

static void what_the_driver_refuses_is_told_with_the_kernel(void **state) {
    (void)state;
    Status status = STATUS_INIT;
    encode(&rows, 4104, &status);
    expect_failure(&status, STATUS_SYSTEM, "cuTensorMapEncodeTiled, to describe an argument of kernel up_proj",
                   "CUDA_ERROR_INVALID_VALUE");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(maps_say_where_elements_are),
        cmocka_unit_test(what_the_driver_refuses_is_told_with_the_kernel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
