/* A driver, an NVRTC and a cuBLASLt for tests on machines without a GPU: one shared object under the three names.

   Memory of the device is memory of the host, so AddressSanitizer sees what is read and written past its end. What goes
   to a stream happens as late as the rules allow: when something waits for it. What functions of a module do is
   another matter (fake_code.h). cuBLASLt multiplies, by one of FAKE_CANDIDATES kernels that take their time. */
#ifndef MOEC_TESTS_FAKE_CUDA_H
#define MOEC_TESTS_FAKE_CUDA_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

typedef enum {
    FAKE_CONTEXT,
    FAKE_MEMORY,
    FAKE_PINNED,
    FAKE_STREAM,
    FAKE_EVENT,
    FAKE_MODULE,
    FAKE_GRAPH,
    FAKE_INSTANCE,
    FAKE_PROGRAM,
    FAKE_HANDLE,
    FAKE_DESCRIPTION, /* of a product, a layout, a preference */
    FAKE_KINDS
} FakeKind;

enum { FAKE_TEXT_BYTES = 256, FAKE_ARCHITECTURES = 4, FAKE_CANDIDATES = 4, FAKE_FAULT = 700 };

typedef struct {
    /* What the machine is, and which call fails; tests change it. */
    const char *device; /* its name, which a number follows */
    int driver_version, nvrtc_major, nvrtc_minor, n_devices, major, minor;
    int architectures[FAKE_ARCHITECTURES]; /* that NVRTC knows, 0 ends them */
    size_t free_bytes, total_bytes;
    int microseconds[FAKE_CANDIDATES]; /* that cuBLASLt's kernels take; below 0: it can't be used */
    long fail_at;                      /* the call that fails, counted from 0; -1: none */
    const struct FakeName *names;      /* [n_names]: functions of modules that are known besides (fake_names.h) */
    size_t n_names;

    /* What happened. A call that fails and ends something ends it even so. */
    atomic_long n_calls, n_compiled;
    const char *failed;             /* name of the call that failed, or NULL */
    atomic_long alive[FAKE_KINDS];  /* objects */
    long n_launches, n_replays;     /* functions that ran, graphs that did */
    long n_products;                /* that ran */
    int kernel;                     /* of the newest one */
    char launched[FAKE_TEXT_BYTES]; /* the newest launch, "name grid 1 2 3 block 4 5 6 shared 7" */
    char misuse[FAKE_TEXT_BYTES];   /* the first thing that a real driver would not forgive; "" none */
} FakeCuda;

/* Of the library. */
FakeCuda *fake_cuda(void);
/* Everything as it was when the library was opened. */
void fake_reset(void);

/* Counts a call; whether it is to fail. */
bool fake_fails(const char *call);
void fake_misuse(const char *what);

/* Memory of the device, block by block; NULL: before the first, behind the last. */
typedef struct FakeBlock FakeBlock;
const FakeBlock *fake_block_next(const FakeBlock *block);
void *fake_block_bytes(const FakeBlock *block, size_t *n_bytes);

#endif
