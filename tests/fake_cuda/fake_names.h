/* Functions that are known by their names. */
#ifndef MOEC_TESTS_FAKE_NAMES_H
#define MOEC_TESTS_FAKE_NAMES_H

#include "tests/fake_cuda/fake_code.h"

typedef CudaResult FakeFunction(void *const *arguments);

typedef struct FakeName {
    const char *name;
    FakeFunction *run;
    int n_parameters;
} FakeName;

/* NULL: it is none. */
const FakeName *fake_name_find(const char *name);

#endif
