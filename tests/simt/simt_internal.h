/* What the files of the simulator share. */
#ifndef MOEC_TESTS_SIMT_SIMT_INTERNAL_H
#define MOEC_TESTS_SIMT_SIMT_INTERNAL_H

#include "tests/simt/simt.h"

enum { SIMT_MAX_THREADS = 1024, SIMT_STACK_BYTES = 64 * 1024 };

typedef enum { SIMT_RUNNABLE, SIMT_WAITING, SIMT_EXITED } SimtState;
typedef enum {
    SIMT_BARRIER,
    SIMT_WARP_BARRIER,
    SIMT_SHUFFLE,
    SIMT_SHUFFLE_XOR,
    SIMT_SHUFFLE_UP,
    SIMT_BALLOT,
    SIMT_PRODUCT
} SimtMeeting;

typedef struct {
    int thread;
    void *top; /* of its stack, where it was left */
    SimtState state;
    /* Where it waits, or last did: */
    SimtMeeting meeting;
    int line;
    unsigned mask;
    uint32_t value, result; /* bits that it brings, and gets */
    int argument;
    /* Of a product, what it adds to and what it has of both operands. */
    float *sums;
    const uint32_t *lhs, *rhs;
} SimtFiber;

/* Who touched a word last, and when. -1: several. */
typedef struct {
    uint32_t launch;
    int32_t block;
    uint32_t epoch, warp_epoch;
    int16_t warp, thread;
} SimtAccess;

/* Of 4 bytes of memory. */
typedef struct {
    SimtAccess written, read;
} SimtShadow;

typedef struct {
    const SimtLaunch *launch;
    uint32_t n_launches;
    int64_t block;
    uint32_t epoch; /* goes up at each barrier, and at the start of a block */
    uint32_t warp_epochs[SIMT_MAX_THREADS / 32];
    SimtFiber fibers[SIMT_MAX_THREADS], *runnable[SIMT_MAX_THREADS], *current;
    int n_runnable, n_at_barrier;
    SimtFiber *at_barrier, *exited; /* the last of each, in the block */
    void *scheduler;                /* the top of its stack */
    char *stacks;
    SimtShadow **shadows; /* of each buffer, then of shared memory */
    uint64_t random;
    char error[512];
} Simulator;

extern Simulator simt;

/* Notes the first fault and stops the kernel: does not return. */
void simt_fault(const char *format, ...) __attribute__((format(printf, 1, 2)));

void simt_open_memory(void);
void simt_close_memory(void);
/* A block's shared memory starts as NaN. */
void simt_fill_shared(void);

#endif
