/* The fake of CUDA's libraries (tests/fake_cuda) in a test: opened, and looked at. */
#ifndef MOEC_TESTS_SUPPORT_RUNTIME_CUDA_FIXTURE_H
#define MOEC_TESTS_SUPPORT_RUNTIME_CUDA_FIXTURE_H

#include "runtime/cuda_library.h"
#include "tests/fake_cuda/fake_cuda.h"

typedef struct {
    void *library;
    FakeCuda *fake;
    void (*reset)(void);
    CudaPlaces places; /* the fake's folder only */
} CudaFixture;

void cuda_fixture_open(CudaFixture *fixture);
void cuda_fixture_close(CudaFixture *fixture);

/* The folder that the fake libraries are in; valid until the next call. */
const char *cuda_fixture_folder(void);

/* All objects have ended, and nothing was done that a driver would not forgive. */
void cuda_fixture_check(const CudaFixture *fixture);

/* Runs the scenario once with every call of the libraries failing in turn, and once with none: each failure must be
   told by the call's name, and leave nothing behind. `state` is handed to it. */
typedef void CudaScenario(CudaFixture *fixture, void *state, Status *status);
void cuda_fixture_fail_each(CudaFixture *fixture, CudaScenario *scenario, void *state);

#endif
