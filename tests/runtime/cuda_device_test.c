// RUN: %unit %s
/* A device, its memory and copies to and from it, with the fake driver. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/cuda_memory.h"
#include "runtime/cuda_transfer.h"
#include "tests/support_runtime/cuda_fixture.h"
#include "tests/support_runtime/folder.h"

/* ---- Devices ----------------------------------------------------------------------------------------------------- */

static void with_device(int ordinal, CudaFixture *fixture, CudaDriver *driver, CudaDevice *device, Status *status) {
    cuda_fixture_open(fixture);
    cuda_driver_open(driver, &fixture->places, status);
    expect_success(status);
    cuda_device_open(device, driver, ordinal, status);
}

static void without_device(CudaFixture *fixture, CudaDriver *driver, CudaDevice *device) {
    Status status = STATUS_INIT;
    if (device->driver)
        cuda_device_close(device, &status);
    expect_success(&status);
    cuda_driver_close(driver);
    cuda_fixture_close(fixture);
}

static void a_device_says_what_it_is(void **state) {
    (void)state;
    CudaFixture fixture;
    CudaDriver driver;
    CudaDevice device;
    Status status = STATUS_INIT;
    with_device(1, &fixture, &driver, &device, &status);
    expect_success(&status);
    assert_string_equal(device.name, "Fake GPU 1");
    assert_int_equal(device.major, 9);
    assert_int_equal(device.minor, 0);
    assert_int_equal(device.n_multiprocessors, 132);
    assert_int_equal(device.max_shared_bytes, 232448);
    assert_int_equal(device.n_bytes, 1 << 26);
    without_device(&fixture, &driver, &device);
}

static void a_device_that_is_not_there_is_told(void **state) {
    (void)state;
    CudaFixture fixture;
    CudaDriver driver;
    CudaDevice device;
    Status status = STATUS_INIT;
    with_device(2, &fixture, &driver, &device, &status);
    expect_failure(&status, STATUS_USAGE, "--device cuda:2: there are 2 devices, numbered from 0");
    without_device(&fixture, &driver, &device);
}

static void an_old_device_is_refused(void **state) {
    (void)state;
    CudaFixture fixture;
    CudaDriver driver;
    CudaDevice device;
    Status status = STATUS_INIT;
    cuda_fixture_open(&fixture);
    fixture.fake->major = 7;
    fixture.fake->minor = 5;
    cuda_driver_open(&driver, &fixture.places, &status);
    expect_success(&status);
    cuda_device_open(&device, &driver, 0, &status);
    expect_failure(&status, STATUS_SYSTEM, "Fake GPU 0 has compute capability 7.5, 8.0 (A100) or newer is needed");
    without_device(&fixture, &driver, &device);
}

/* ---- Memory ------------------------------------------------------------------------------------------------------ */

static void parts_begin_at_pages(void **state) {
    (void)state;
    CudaFixture fixture;
    CudaDriver driver;
    CudaDevice device;
    CudaMemory memory;
    Status status = STATUS_INIT;
    static const CudaPart parts[] = {{"weights", (2 << 20) + 1}, {"gradients", 0}, {"activations", 5}};
    with_device(0, &fixture, &driver, &device, &status);
    cuda_memory_open(&memory, &device, parts, 3, &status);
    expect_success(&status);
    assert_int_equal(memory.n_bytes, 6 << 20);
    assert_int_equal(memory.parts[0], memory.block);
    assert_int_equal(memory.parts[1], memory.block + (4 << 20));
    assert_int_equal(memory.parts[2], memory.block + (4 << 20));
    uint64_t n_free;
    assert_true(cuda_device_free_bytes(&device, &n_free, &status));
    assert_int_equal(n_free, (64 - 6) << 20);
    cuda_memory_close(&memory, &device, &status);
    expect_success(&status);
    without_device(&fixture, &driver, &device);
}

static void no_memory_is_none(void **state) {
    (void)state;
    CudaFixture fixture;
    CudaDriver driver;
    CudaDevice device;
    CudaMemory memory;
    Status status = STATUS_INIT;
    static const CudaPart parts[] = {{"weights", 0}};
    with_device(0, &fixture, &driver, &device, &status);
    cuda_memory_open(&memory, &device, parts, 1, &status);
    cuda_memory_close(&memory, &device, &status);
    expect_success(&status);
    without_device(&fixture, &driver, &device);
}

static void too_much_memory_is_told_before_it_is_taken(void **state) {
    (void)state;
    CudaFixture fixture;
    CudaDriver driver;
    CudaDevice device;
    CudaMemory memory;
    Status status = STATUS_INIT;
    static const CudaPart parts[] = {
        {"weights", (uint64_t)12 << 30}, {"gradients", (uint64_t)24 << 30}, {"moments", 0}, {"activations", 3 << 28}};
    cuda_fixture_open(&fixture);
    fixture.fake->total_bytes = (size_t)40 << 30;
    fixture.fake->free_bytes = (size_t)36 << 30;
    cuda_driver_open(&driver, &fixture.places, &status);
    cuda_device_open(&device, &driver, 0, &status);
    expect_success(&status);
    long n_calls = fixture.fake->n_calls;
    assert_false(cuda_memory_open(&memory, &device, parts, 4, &status));
    expect_failure(&status, STATUS_SYSTEM,
                   "cuda:0 (Fake GPU 0): needs 36.75 GiB of memory (weights 12.00, gradients 24.00, activations 0.75), "
                   "36.00 of 40.00 are free; build with --memory-budget, fewer layers (-D layers=..)");
    assert_int_equal(fixture.fake->n_calls, n_calls + 1);
    without_device(&fixture, &driver, &device);
}

/* ---- Copies ------------------------------------------------------------------------------------------------------ */

enum { PATTERN_BYTES = 1000, BUFFER_BYTES = 64 };

static unsigned char pattern(uint64_t offset) {
    return (unsigned char)(offset * 7 + offset / 256);
}

/* Gives the pattern; fails from a place on. */
typedef struct {
    CudaReader reader;
    uint64_t fails_at;
} PatternReader;

static bool read_pattern(CudaReader *self, void *bytes, uint64_t offset, size_t n, Status *status) {
    const PatternReader *reader = (PatternReader *)(void *)self;
    if (offset + n > reader->fails_at)
        return status_fail(status, STATUS_INPUT, "the file ends");
    for (size_t i = 0; i < n; i++)
        ((unsigned char *)bytes)[i] = pattern(offset + i);
    return true;
}

/* Compares with the pattern. */
typedef struct {
    CudaWriter writer;
    uint64_t n_bytes, n_wrong;
    bool fails;
} PatternWriter;

static bool write_pattern(CudaWriter *self, const void *bytes, uint64_t offset, size_t n, Status *status) {
    PatternWriter *writer = (PatternWriter *)(void *)self;
    if (writer->fails)
        return status_fail(status, STATUS_SYSTEM, "the disk is full");
    assert_int_equal(offset, writer->n_bytes);
    writer->n_bytes += n;
    for (size_t i = 0; i < n; i++)
        writer->n_wrong += ((const unsigned char *)bytes)[i] != pattern(offset + i);
    return true;
}

typedef struct {
    uint64_t n_bytes;
    PatternReader reader;
    PatternWriter writer;
} Copies;

static void copy_there_and_back(CudaTransfer *transfer, CUdeviceptr at, Copies *copies, Status *status) {
    const uint64_t n = copies->n_bytes;
    if (cuda_transfer_upload(transfer, at, n, &copies->reader.reader, "wq", status) &&
        cuda_transfer_finish(transfer, status))
        cuda_transfer_download(transfer, at, n, &copies->writer.writer, "wq", status);
}

static void run_copies(CudaFixture *fixture, void *state, Status *status) {
    CudaDriver driver;
    CudaDevice device;
    CudaMemory memory;
    CudaTransfer transfer;
    static const CudaPart parts[] = {{"weights", PATTERN_BYTES}};
    Copies *copies = state;
    copies->writer.n_bytes = 0;
    if (!cuda_driver_open(&driver, &fixture->places, status))
        return;
    if (cuda_device_open(&device, &driver, 0, status)) {
        if (cuda_memory_open(&memory, &device, parts, 1, status)) {
            if (cuda_transfer_open(&transfer, &device, BUFFER_BYTES, status)) {
                copy_there_and_back(&transfer, memory.parts[0], copies, status);
                cuda_transfer_close(&transfer, status);
            }
            cuda_memory_close(&memory, &device, status);
        }
        cuda_device_close(&device, status);
    }
    cuda_driver_close(&driver);
}

static Copies copies_of(uint64_t n_bytes) {
    return (Copies){.n_bytes = n_bytes,
                    .reader = {.reader = {.read = read_pattern}, .fails_at = UINT64_MAX},
                    .writer = {.writer = {.write = write_pattern}}};
}

/* Copies happen as late as they may, so a buffer that is filled too early shows. */
static void what_is_uploaded_comes_back(void **state) {
    (void)state;
    static const uint64_t sizes[] = {0, 1, BUFFER_BYTES, BUFFER_BYTES + 1, 5 * BUFFER_BYTES, PATTERN_BYTES};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        CudaFixture fixture;
        Status status = STATUS_INIT;
        Copies copies = copies_of(sizes[i]);
        cuda_fixture_open(&fixture);
        run_copies(&fixture, &copies, &status);
        expect_success(&status);
        assert_int_equal(copies.writer.n_bytes, sizes[i]);
        assert_int_equal(copies.writer.n_wrong, 0);
        cuda_fixture_close(&fixture);
    }
}

static void every_failure_is_told(void **state) {
    (void)state;
    CudaFixture fixture;
    Copies copies = copies_of(3 * BUFFER_BYTES + 1);
    cuda_fixture_open(&fixture);
    cuda_fixture_fail_each(&fixture, run_copies, &copies);
    assert_true(fixture.fake->n_calls > 40);
    cuda_fixture_close(&fixture);
}

static void a_reader_s_and_a_writer_s_failure_stays(void **state) {
    (void)state;
    CudaFixture fixture;
    Status ends = STATUS_INIT, full = STATUS_INIT;
    Copies copies = copies_of(PATTERN_BYTES);
    cuda_fixture_open(&fixture);
    copies.reader.fails_at = 5 * BUFFER_BYTES;
    run_copies(&fixture, &copies, &ends);
    expect_failure(&ends, STATUS_INPUT, "the file ends");
    copies = copies_of(PATTERN_BYTES);
    copies.writer.fails = true;
    run_copies(&fixture, &copies, &full);
    expect_failure(&full, STATUS_SYSTEM, "the disk is full");
    cuda_fixture_close(&fixture);
}

static void a_copy_s_failure_names_the_weight(void **state) {
    (void)state;
    CudaFixture fixture;
    CudaDriver driver;
    CudaDevice device;
    CudaTransfer transfer;
    Status status = STATUS_INIT;
    Copies copies = copies_of(1);
    with_device(0, &fixture, &driver, &device, &status);
    cuda_transfer_open(&transfer, &device, BUFFER_BYTES, &status);
    expect_success(&status);
    fixture.fake->fail_at = fixture.fake->n_calls;
    cuda_transfer_upload(&transfer, 0, 1, &copies.reader.reader, "model.layers.3.wq", &status);
    expect_failure(&status, STATUS_SYSTEM, "cuMemcpyHtoDAsync, to upload (model.layers.3.wq): CUDA_ERROR_UNKNOWN");
    cuda_transfer_close(&transfer, &status);
    without_device(&fixture, &driver, &device);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_device_says_what_it_is),
        cmocka_unit_test(a_device_that_is_not_there_is_told),
        cmocka_unit_test(an_old_device_is_refused),
        cmocka_unit_test(parts_begin_at_pages),
        cmocka_unit_test(no_memory_is_none),
        cmocka_unit_test(too_much_memory_is_told_before_it_is_taken),
        cmocka_unit_test(what_is_uploaded_comes_back),
        cmocka_unit_test(every_failure_is_told),
        cmocka_unit_test(a_reader_s_and_a_writer_s_failure_stays),
        cmocka_unit_test(a_copy_s_failure_names_the_weight),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
