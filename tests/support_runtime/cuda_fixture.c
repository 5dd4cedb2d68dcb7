#include "tests/support_runtime/cuda_fixture.h"

#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support_runtime/folder.h"

/* Beside the folder of the tests' programs. */
const char *cuda_fixture_folder(void) {
    static char folder[512];
    char path[400];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    assert_true(length > 0);
    path[length] = '\0';
    *strrchr(path, '/') = '\0';
    snprintf(folder, sizeof folder, "%s/../../fake_cuda", path);
    return folder;
}

void cuda_fixture_open(CudaFixture *fixture) {
    char path[600];
    Status status = STATUS_INIT;
    *fixture = (CudaFixture){0};
    snprintf(path, sizeof path, "%s/libcuda.so.1", cuda_fixture_folder());
    fixture->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!fixture->library)
        fail_msg("%s", dlerror());
    FakeCuda *(*get)(void);
    void *symbol = dlsym(fixture->library, "fake_cuda");
    memcpy(&get, &symbol, sizeof get);
    fixture->fake = get();
    symbol = dlsym(fixture->library, "fake_reset");
    memcpy(&fixture->reset, &symbol, sizeof symbol);
    fixture->reset();
    cuda_places_add(&fixture->places, cuda_fixture_folder(), &status);
    expect_success(&status);
}

void cuda_fixture_close(CudaFixture *fixture) {
    cuda_fixture_check(fixture);
    cuda_places_close(&fixture->places);
    dlclose(fixture->library);
}

void cuda_fixture_check(const CudaFixture *fixture) {
    static const char *const names[FAKE_KINDS] = {"contexts", "blocks",  "pinned blocks", "streams",
                                                  "events",   "modules", "graphs",        "graph instances",
                                                  "programs", "handles", "descriptions"};
    const char *failed = fixture->fake->failed ? fixture->fake->failed : "none";
    for (int kind = 0; kind < FAKE_KINDS; kind++) {
        if (fixture->fake->alive[kind] != 0)
            fail_msg("%ld %s are left (failing call: %s)", (long)fixture->fake->alive[kind], names[kind], failed);
    }
    if (*fixture->fake->misuse)
        fail_msg("%s (failing call: %s)", fixture->fake->misuse, failed);
}

/* Whether the message names the call, whose symbol may end in a version. */
static bool is_told(const Status *status, const char *symbol) {
    char name[64];
    snprintf(name, sizeof name, "%s", symbol);
    char *end = strstr(name, "_v");
    if (!end)
        end = strstr(name, "WithFlags");
    if (end)
        *end = '\0';
    return strstr(status->message, name);
}

void cuda_fixture_fail_each(CudaFixture *fixture, CudaScenario *scenario, void *state) {
    bool has_failed = true;
    for (long call = 0; has_failed; call++) {
        Status status = STATUS_INIT;
        fixture->reset();
        fixture->fake->fail_at = call;
        scenario(fixture, state, &status);
        has_failed = fixture->fake->failed;
        cuda_fixture_check(fixture);
        if (!has_failed)
            expect_success(&status);
        else if (!status.failed)
            fail_msg("the failure of %s (call %ld) goes unsaid", fixture->fake->failed, call);
        else if (!is_told(&status, fixture->fake->failed))
            fail_msg("the failure of %s is told as: %s", fixture->fake->failed, status.message);
    }
}
