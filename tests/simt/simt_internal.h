/* What the files of the simulator share. */
#ifndef MOEC_TESTS_SIMT_SIMT_INTERNAL_H
#define MOEC_TESTS_SIMT_SIMT_INTERNAL_H

#include "tests/simt/simt_async.h"

enum {
    SIMT_MAX_THREADS = 1024,
    SIMT_STACK_BYTES = 64 * 1024,
    SIMT_WARPGROUP = 128,
    SIMT_CHUNK = 16, /* bytes that asynchronous copies and products take together */
    SIMT_SHARED_ALIGNMENT = 1024,
    SIMT_MAX_SHARED = 227 * 1024,
    SIMT_MAX_BARRIERS = 64,
    SIMT_MAX_GROUPS = SIMT_MAX_THREADS / SIMT_WARPGROUP,
    SIMT_MAX_STORERS = 16,
    SIMT_NAMED_BARRIERS = 16,
    SIMT_POISON = 0x7fa1 /* of bf16 a signalling NaN, twice one of f32 */
};

typedef enum { SIMT_RUNNABLE, SIMT_WAITING, SIMT_EXITED } SimtState;
typedef enum {
    SIMT_BARRIER,
    SIMT_WARP_BARRIER,
    SIMT_SHUFFLE,
    SIMT_SHUFFLE_XOR,
    SIMT_SHUFFLE_UP,
    SIMT_BALLOT,
    SIMT_PRODUCT,
    /* Not of a warp, nor of the block: */
    SIMT_PHASE, /* of a barrier in shared memory */
    SIMT_NAMED_BARRIER,
    SIMT_WARPGROUP_PRODUCT,
    SIMT_REGISTERS
} SimtMeeting;

/* ---- Order ------------------------------------------------------------------------------------------------------ */

/* Agents are what touches memory: threads, then barriers for what they let in, warpgroups for what their products read,
   threads for what their stores read. Each has a clock; of each agent, what is known up to which time, and up to which
   the asynchronous proxy sees it. */
typedef struct {
    uint32_t *known, *fenced;
} SimtClocks;

/* ---- Asynchronous operations ------------------------------------------------------------------------------------ */

/* A barrier in shared memory. */
typedef struct {
    size_t offset;
    int number, n_arrivals, n_missing, line; /* where it began */
    int n_waiting;
    int64_t n_bytes;     /* missing: below 0 where bytes came before they were expected */
    uint32_t phase;      /* the one under way */
    int16_t initializer; /* thread */
    uint32_t init_clock, init_epoch;
    bool is_fenced;
    SimtClocks current, ended; /* of who has arrived in the phase, in those that ended */
} SimtBarrier;

typedef struct SimtTensorBox SimtTensorBox;

/* One of a thread's cp.async. */
typedef struct {
    size_t offset;
    const char *from;
    int n_bytes, line;
    uint32_t group, serial;
} SimtCopy;

/* What comes for a barrier on its own: a tile, or an arrival once a thread's copies up to one are there. */
typedef struct {
    SimtBarrier *barrier;
    SimtTensorBox *box; /* NULL: an arrival */
    int thread, line;
    uint32_t phase, serial;
} SimtTransfer;

/* What is asynchronous about 16 bytes of shared memory. Agents: 0 is none. */
typedef struct {
    int16_t loader, storer, copier; /* what has brought them, what reads them to store, thread + 1 that copies */
    bool is_coming, is_generic;     /* not there yet; brought by copies of threads */
    uint8_t barriers;               /* which halves are one */
    uint32_t load_clock, store_clock, product_clocks[SIMT_MAX_GROUPS];
    int32_t load_line, store_line, copy_line, product_line;
} SimtChunk;

/* A tile on its way from shared memory. */
typedef struct {
    SimtTensorBox *box;
    uint32_t group, serial;
} SimtStore;

/* ---- Threads ---------------------------------------------------------------------------------------------------- */

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
    /* Of a warpgroup's, descriptors of operands in shared memory. */
    uint64_t a, b;
    SimtBarrier *barrier;
    /* Copies and stores under way, in order. */
    SimtCopy *copies;
    SimtStore *stores;
    size_t n_copies, copies_capacity, n_stores, stores_capacity;
    uint32_t copy_group, copy_serial, store_group, store_serial; /* of the next one */
    int16_t store_agent;
    uint32_t product_group, n_groups_waited, n_fences;
    int n_registers; /* 0: as launched */
} SimtFiber;

/* Who touched a word last, and when. -1: several. */
typedef struct {
    uint32_t launch;
    int32_t block;
    uint32_t epoch, clock;
    int16_t warp, thread;
} SimtAccess;

/* Of 2 bytes of memory. */
typedef struct {
    SimtAccess written, read;
    uint32_t *readers; /* by thread, its clock: if several have read, and clocks are kept */
} SimtShadow;

/* A barrier of warps. */
typedef struct {
    int n_threads, n_missing;
    SimtClocks clocks;
} SimtNamed;

typedef struct {
    const SimtLaunch *launch;
    bool is_checked; /* accesses are seen */
    uint32_t n_launches;
    int64_t block;
    uint32_t epoch, first_epoch; /* goes up at each barrier, and at the start of a block; of the block's start */
    SimtFiber fibers[SIMT_MAX_THREADS], *runnable[SIMT_MAX_THREADS], *current;
    int n_runnable, n_at_barrier;
    SimtFiber *at_barrier, *exited; /* the last of each, in the block */
    void *scheduler;                /* the top of its stack */
    char *stacks;
    SimtShadow **shadows; /* of each buffer, then of shared memory */
    bool lists_readers;   /* some of them do */
    uint64_t random;
    char error[1024];

    /* Shared memory is what the launch asks for, then what the text declares, by its offset: as addresses of a GPU's.
     */
    size_t declared_offset, shared_bytes;
    char *dynamic;
    SimtChunk *chunks; /* NULL: nothing asynchronous has been done */

    /* Clocks: of warps, as long as their threads know nothing but each other and what was before the last barrier. */
    bool keeps_clocks;
    uint32_t warp_clocks[SIMT_MAX_THREADS / 32], barrier_clocks[SIMT_MAX_THREADS / 32];
    size_t n_clocks;
    SimtClocks clocks; /* of thread t from t * n_clocks */
    SimtClocks common; /* of a product at hand: what all warps of its warpgroup know */

    SimtBarrier barriers[SIMT_MAX_BARRIERS];
    int n_barriers, n_storers;
    SimtNamed named[SIMT_NAMED_BARRIERS];
    SimtTransfer *transfers;
    size_t n_transfers, transfers_capacity;
    const void *maps[SIMT_MAX_BARRIERS]; /* that threads have made sure of */
    SimtAccess map_accesses[SIMT_MAX_BARRIERS];
    int n_maps;
} Simulator;

extern Simulator simt;

/* Notes the first fault and stops the kernel: does not return. Of a thread that is not running: notes it. */
void simt_fault(const char *format, ...) __attribute__((format(printf, 1, 2)));
void simt_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- Waiting (simt.c) ------------------------------------------------------------------------------------------- */

uint64_t simt_draw(uint64_t n);
/* The running thread waits from now on, but runs until simt_leave. */
void simt_wait_at(SimtMeeting meeting, int line, unsigned mask);
void simt_leave(void);
void simt_make_runnable(SimtFiber *fiber);
/* Room for one more of n. */
void *simt_grow(void *items, size_t n, size_t *capacity, size_t item_bytes);
/* Whether all threads of the running one's warpgroup now wait where it does; waits if not. */
bool simt_meet_in_warpgroup(SimtMeeting meeting, int line);
void simt_release_warpgroup(void);

/* ---- Memory (simt_memory.c) ------------------------------------------------------------------------------------- */

void simt_open_memory(void);
void simt_close_memory(void);
/* A block's shared memory starts as NaN. */
void simt_fill_shared(void);
/* Of n bytes in shared memory: where they start; SIZE_MAX: they are elsewhere. */
size_t simt_shared_offset(const void *address, size_t n_bytes);
/* NULL: there are no n bytes there. */
char *simt_shared_at(size_t offset, size_t n_bytes);
/* From now on. */
void simt_use_chunks(void);
/* As an access of the running thread. */
void simt_check(const void *address, size_t n_bytes, bool is_write);
/* Asynchronous accesses to a chunk, on behalf of who knows `clocks`; `line`, `what`: for messages. */
void simt_check_async_write(size_t offset, const SimtClocks *clocks, const char *what, int line);
void simt_check_async_read(size_t offset, const SimtClocks *clocks, const char *what, int line);
/* The chunk is there now, by the running thread's own copy. */
void simt_set_written(size_t offset);
/* It was brought there by no thread. */
void simt_set_unwritten(size_t offset);
SimtAccess simt_access_now(void);
/* Whether the running thread knows of the access, of the same block. */
bool simt_knows_access(const SimtAccess *access);

/* ---- Order (simt_order.c) --------------------------------------------------------------------------------------- */

void simt_order_begin(void); /* a block */
void simt_order_close(void);
/* Keeps clocks from now on. */
void simt_keep_clocks(void);
SimtClocks simt_clocks_of(int thread);
uint32_t simt_clock_now(void); /* of the running thread */
int16_t simt_barrier_agent(int number);
int16_t simt_group_agent(int group);
int16_t simt_storer_agent(int number);
SimtClocks simt_clocks_new(void);
void simt_clocks_free(SimtClocks *clocks);
void simt_clocks_copy(SimtClocks *to, const SimtClocks *from);
/* The running thread's knowledge becomes that of who acquires `to`. */
void simt_order_release(SimtClocks *to);
void simt_order_acquire(int thread, const SimtClocks *from);
void simt_order_learn(int thread, int agent, uint32_t clock);
void simt_order_block(void);
void simt_order_warp(int warp, unsigned mask);
/* What all warps of a warpgroup know. */
void simt_order_common(int group, SimtClocks *clocks);

/* ---- Barriers in shared memory (simt_barrier.c) ----------------------------------------------------------------- */

void simt_begin_barriers(void); /* a block's */
void simt_close_barriers(void);
/* That the text names; it must be one, and known. */
SimtBarrier *simt_find_barrier(const uint64_t *address, const char *what, int line);
void simt_add_transfer(const SimtTransfer *transfer);
/* Something that is waited for comes; false: nothing does. */
bool simt_land(void);
void simt_barrier_bring(SimtBarrier *barrier, int64_t n_bytes, int line);
void simt_barrier_count(SimtBarrier *barrier);
/* "the barrier at byte 64 of shared memory, 1 of whose 2 arrivals .. are missing" */
void simt_barrier_describe(const SimtBarrier *barrier, char *text, size_t n_bytes);

/* ---- Copies, tiles and products (simt_copy.c, simt_tma.c, simt_wgmma.c) ----------------------------------------- */

/* Copies of the thread up to a serial number: for a barrier, or (NULL) the thread itself. */
void simt_land_copies(SimtFiber *fiber, uint32_t serial, const SimtBarrier *barrier);
int64_t simt_land_box(const SimtTensorBox *box);
void simt_end_copies(SimtFiber *fiber); /* of a thread that has ended, or a block that was stopped */
void simt_check_stores(void);           /* of a thread that ends */
void simt_end_stores(SimtFiber *fiber);
void simt_free_box(SimtTensorBox *box);
void simt_begin_products(void);
void simt_check_products(void); /* of a thread that ends */
/* The running thread touches its own stack. */
void simt_touch_stack(const char *address, size_t n_bytes, bool is_write);

#endif
